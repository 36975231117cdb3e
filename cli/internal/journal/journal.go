// Package journal remembers a request from before it is sent until its answer has arrived where it belongs: what makes
// "run the same command again" heal a crash at any instant. It sends nothing and judges no answer.
//
// An entry holds an access token, so it is kept like a secret: mode 0600, in a folder with mode 0700.
package journal

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keyturn/keyturn/cli/internal/safefile"
)

// Entry is one request whose answer is still owed.
type Entry struct {
	Server       string    `json:"server"`
	Context      string    `json:"context,omitempty"` // of the config; "": none
	Command      string    `json:"command"`           // as a person would type it again
	Started      time.Time `json:"started"`
	Method       string    `json:"method"`
	Path         string    `json:"path"`
	Body         []byte    `json:"body,omitempty"`   // the exact bytes: the authority compares them
	Key          string    `json:"idempotency_key"`  // NewKey
	Token        string    `json:"token,omitempty"`  // the access token of the first attempt: the proof for a replay
	UpdateConfig bool      `json:"update_config"`    // the answer belongs into Context
	Client       string    `json:"client,omitempty"` // the credential that asked, cli_<26>
}

// Same reports whether other asks the same of the same server.
func (e Entry) Same(other Entry) bool {
	return e.Server == other.Server && e.Method == other.Method && e.Path == other.Path && string(e.Body) == string(other.Body)
}

// NewKey makes an Idempotency-Key: 52 random characters. The authority encrypts the answer under it.
func NewKey() string { return rand.Text() + rand.Text() }

// Name makes a journal's name of what tells one command from another, in an order that the caller keeps to.
func Name(parts ...string) string {
	h := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return hex.EncodeToString(h[:16])
}

// Journal is the place of one entry, locked until Close.
type Journal struct {
	path string
	lock *safefile.Lock
}

// Open locks the journal of that name in folder, which is made where it is missing. It waits while another process has it
// until ctx ends, after one call of waiting (which may be nil).
func Open(ctx context.Context, folder, name string, waiting func()) (*Journal, error) {
	path := filepath.Join(folder, name+".json")
	lock, err := safefile.Acquire(ctx, path, waiting)
	if err != nil {
		return nil, fmt.Errorf("pending request: %w", err)
	}
	return &Journal{path, lock}, nil
}

// Path returns where the entry is kept.
func (j *Journal) Path() string { return j.path }

// Entry returns the entry, and false where there is none.
func (j *Journal) Entry() (Entry, bool, error) {
	e, err := read(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return Entry{}, false, nil
	}
	return e, err == nil, err
}

// Write keeps e, on durable media when it returns.
func (j *Journal) Write(e Entry) error {
	b, err := json.Marshal(e)
	if err == nil {
		err = safefile.Write(j.path, append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("pending request: %w", err)
	}
	return nil
}

// Remove forgets the entry. It is no error where there is none.
func (j *Journal) Remove() error {
	if err := os.Remove(j.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("pending request: %w", err)
	}
	return nil
}

// Close lets others have the journal, and removes the folder where nothing is left in it.
func (j *Journal) Close() {
	j.lock.Release()
	_ = os.Remove(filepath.Dir(j.path)) // fails, as it should, when something else is pending
}

// All returns the entries of a folder, unlocked: for telling a person. What cannot be read is left out.
func All(folder string) []Entry {
	names, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return nil
	}
	var all []Entry
	for _, name := range names {
		if e, err := read(name); err == nil {
			all = append(all, e)
		}
	}
	return all
}

func read(path string) (Entry, error) {
	b, err := safefile.Read(path)
	if err != nil {
		return Entry{}, err
	}
	var e Entry
	if json.Unmarshal(b, &e) != nil || e.Key == "" || e.Path == "" {
		return Entry{}, fmt.Errorf("pending request: %s is damaged; remove it once you know whether its request had an effect", path)
	}
	return e, nil
}
