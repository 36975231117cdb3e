package agent

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/disk"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/token"
)

// denied is what an operator of this host refuses, whatever the ledgers say. It is read on every use, and kept on disk.
type denied struct {
	path string
	mu   sync.Mutex // held by who changes it
	set  atomic.Pointer[map[deniedID]bool]
}

// deniedID is a credential or a peer, or one version of a credential.
type deniedID struct {
	id      id.ID
	version int // 0: all of it
}

type deniedFileBody struct {
	Denied []string `json:"denied"`
}

func openDenied(path string) (*denied, error) {
	d := &denied{path: path}
	d.set.Store(&map[deniedID]bool{})
	return d, d.reload()
}

// reload reads the file again. What was denied stays denied where the file cannot be read.
func (d *denied) reload() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	text, err := disk.ReadPrivate(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var body deniedFileBody
	if err := json.Unmarshal(text, &body); err != nil {
		return fmt.Errorf("%s is damaged: restore it, or remove it and deny again what has to be denied", d.path)
	}
	set := map[deniedID]bool{}
	for _, name := range body.Denied {
		parsed, err := parseDenied(name)
		if err != nil {
			return fmt.Errorf("%s: %w", d.path, err)
		}
		set[parsed] = true
	}
	d.set.Store(&set)
	return nil
}

// parseDenied reads a client id, of a credential or of a version, or a peer id. It returns access.ErrRequest.
func parseDenied(name string) (deniedID, error) {
	if p, err := id.Parse(id.Peer, name); err == nil {
		return deniedID{p, 0}, nil
	}
	c, err := id.ParseClientID(name)
	if err != nil {
		return deniedID{}, fmt.Errorf("%w: %.64q is neither a client id (cli_…) nor a peer id (peer_…)", access.ErrRequest, name)
	}
	return deniedID{c.Credential, c.Version}, nil
}

// Deniable reports whether a name is one that a sidecar can be told to deny: a client id, of a credential or of a version, or
// a peer id.
func Deniable(name string) bool {
	_, err := parseDenied(name)
	return err == nil
}

func (n deniedID) String() string {
	if n.id.Kind() == id.Client {
		return id.ClientID{Credential: n.id, Version: n.version}.String()
	}
	return n.id.String()
}

// has reports whether a credential is denied, or that version of it, or a peer.
func (d *denied) has(subject id.ID, version int) bool {
	set := *d.set.Load()
	return len(set) > 0 && (set[deniedID{subject, 0}] || set[deniedID{subject, version}])
}

// names reports whether a client id or a peer id names what is denied.
func (d *denied) names(name string) bool {
	n, err := parseDenied(name)
	return err == nil && d.has(n.id, n.version)
}

// Denies implements httpapi.Sidecar.
func (a *Agent) Denies(text string) bool {
	c, err := token.Unverified(text)
	return err == nil && (a.denied.has(id.ID(c.Subject), c.Version) || a.denied.has(id.ID(c.PeerID), 0))
}

// passOn is ErrBeyond for a proof that the authority has to judge (ErrStale where its ledger does not continue this copy), and a
// refusal for one of what is denied here: by the client id that it names, by the subject of an assertion, or as also says.
func (a *Agent) passOn(p access.Proof, also func(*denied) bool) error {
	subject, err := token.UnverifiedSubject(p.Assertion)
	if a.denied.names(p.ClientID) || err == nil && a.denied.names(subject) || also != nil && also(a.denied) {
		return errDenied()
	}
	return cmp.Or(a.forked(), access.ErrBeyond)
}

func errDenied() error {
	return fmt.Errorf("%w: this credential is denied on this host", access.ErrRefused)
}

// change adds or removes a name. It is on disk before it holds for good, and holds at once for a new one.
func (d *denied) change(name string, deny bool) error {
	parsed, err := parseDenied(name)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	set := maps.Clone(*d.set.Load())
	if deny {
		set[parsed] = true
		d.set.Store(&set)
	} else {
		delete(set, parsed)
	}
	if err := writeJSON(d.path, deniedFileBody{names(set)}); err != nil {
		return notKept(parsed, deny, err)
	}
	d.set.Store(&set)
	return nil
}

// notKept tells who can read the data directory, and nobody else can ask, what holds although it is not on disk.
func notKept(n deniedID, deny bool, err error) error {
	words := fmt.Sprintf("%s is still denied: that it is not any more cannot be kept on disk: %v", n, err)
	if deny {
		words = fmt.Sprintf("%s is denied from now on, but only until this sidecar is started again: it cannot be kept on disk: %v", n, err)
	}
	return &httpapi.Error{Status: http.StatusInternalServerError, Code: httpapi.Internal, Message: words}
}

func names(set map[deniedID]bool) []string {
	list := make([]string, 0, len(set))
	for n := range set {
		list = append(list, n.String())
	}
	slices.Sort(list)
	return list
}

// list is what is denied, in order; never nil.
func (d *denied) list() []string { return names(*d.set.Load()) }
