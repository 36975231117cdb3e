//go:build unix

package bolt_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/testdose"
)

// Tests that need a process of their own run their test again, as a child, with the path of a store in the environment.
const childPath = "KEYTURN_TEST_CHILD"

func child(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.count=1")
	c.Env = append(os.Environ(), childPath+"="+path)
	return c
}

func TestChild_Lock(t *testing.T) {
	t.Parallel()
	if path := os.Getenv(childPath); path != "" {
		open(t, path)
		fmt.Println("opened")
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent lets go
		return
	}
	path := newPath(t)
	c := child(t, path)
	in, err1 := c.StdinPipe()
	out, err2 := c.StdoutPipe()
	if err := errors.Join(err1, err2, c.Start()); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "opened\n" {
		t.Fatalf("child says %q, %v", line, err)
	}
	if _, err := bolt.Open(path, bolt.Options{LockTimeout: -1}); !errors.Is(err, bolt.ErrLocked) {
		t.Errorf("%v, want ErrLocked", err)
	}
	_ = in.Close()
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
	open(t, path)
}

// However and whenever a process dies, what it has acknowledged is there.
func TestChild_Killed(t *testing.T) {
	t.Parallel()
	if path := os.Getenv(childPath); path != "" {
		appendForEver(t, path)
		return
	}
	path := newPath(t)
	r := rand.New(rand.NewPCG(5, 6))
	var acknowledged uint64
	for round := range (testdose.Dose{Least: 5, Most: 50, Within: 5 * time.Second}).Rounds(t) {
		c := child(t, path)
		out, err := c.StdoutPipe()
		if err := errors.Join(err, c.Start()); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := r.IntN(12); n >= 0 && lines.Scan(); n-- {
			if _, err := fmt.Sscanf(lines.Text(), "committed %d", &acknowledged); err != nil {
				t.Fatalf("child says %q", lines.Text())
			}
		}
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it managed to say before it died counts
			_, _ = fmt.Sscanf(lines.Text(), "committed %d", &acknowledged)
		}
		_ = c.Wait()
		s := open(t, path)
		checkFleet(t, s, acknowledged)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	t.Logf("%d entries", acknowledged)
}

func appendForEver(t *testing.T, path string) {
	s := open(t, path)
	h, err := s.Heads(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for head := h["local"]; ; {
		b := fleet(head, 5)
		if err := s.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		head = authority.Head{Seq: b.Entries[4].Seq, Sum: b.Entries[4].Sum}
		fmt.Printf("committed %d\n", head.Seq)
		if head.Seq%20 == 0 { // die in a sweep too
			if _, err := s.Sweep(t.Context(), b.Entries[4].SecretExpires); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// checkFleet checks that a store holds at least the first n entries of fleet, whole batches of five, and nothing else.
func checkFleet(t *testing.T, s *bolt.Store, n uint64) {
	t.Helper()
	es, err := s.Ledger(t.Context(), "local", 0, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	if uint64(len(es)) < n || len(es)%5 != 0 {
		t.Errorf("%d entries, %d were acknowledged in batches of 5", len(es), n)
	}
	want := fleet(authority.Head{}, len(es)).Entries
	for i, e := range es {
		if w := want[i]; e.Seq != w.Seq || e.Subject != w.Subject || string(e.Data) != string(w.Data) {
			t.Fatalf("entry %d is %+v", i, e)
		}
	}
}

// A full disk is an error, not the end: reads go on, and so do writes when there is room again. A limit on the size of
// files stands in for the disk: it refuses the growth of the file, or, below its size, the write of a page.
func TestChild_DiskFull(t *testing.T) {
	t.Parallel()
	if path := os.Getenv(childPath); path != "" {
		signal.Ignore(syscall.SIGXFSZ)
		fillUp(t, path)
		return
	}
	if out, err := child(t, newPath(t)).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func fillUp(t *testing.T, path string) {
	filled(t, path, 500, 100)
	s := open(t, path)
	h, err := s.Heads(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	head := h["local"]
	for round, room := range []int64{0, -600_000, -300_000, 0, -900_000} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		limitFiles(t, info.Size()+room)
		acknowledged, err := appendUntilItFails(t, s, &head)
		t.Logf("round %d: %d bytes and %d more: %d appends, then %v", round, info.Size(), room, acknowledged, err)
		if !errors.Is(err, syscall.EFBIG) && !isGrowth(err) {
			t.Errorf("round %d: %v, want EFBIG", round, err)
		}
		for range 3 { // as often as one likes
			if err := s.Append(t.Context(), fleet(head, 5)); err == nil {
				t.Errorf("round %d: room on a full disk", round)
			}
			checkFleet(t, s, head.Seq)
		}
		if h, err := s.Heads(t.Context()); err != nil || h["local"].Seq != head.Seq {
			t.Errorf("round %d: head %d, %v, want %d", round, h["local"].Seq, err, head.Seq)
		}
		checkDoubt(t, s, head)
		limitFiles(t, -1)
		if _, err := s.Heads(t.Context()); err != nil || s.Doubtful() {
			t.Errorf("round %d: heads: %v, in doubt: %t", round, err, s.Doubtful())
		}
		b := fleet(head, 5)
		if err := s.Append(t.Context(), b); err != nil {
			t.Fatalf("round %d: no room on an empty disk: %v", round, err)
		}
		head = authority.Head{Seq: b.Entries[4].Seq, Sum: b.Entries[4].Sum}
		checkFleet(t, s, head.Seq)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	checkFleet(t, open(t, path), head.Seq)
}

// checkDoubt checks that nothing is answered from a commit whose fsync failed as long as it cannot be repeated, whatever
// else fails meanwhile.
func checkDoubt(t *testing.T, s *bolt.Store, head authority.Head) {
	t.Helper()
	limitFiles(t, 8192) // the meta pages, and nothing else
	if err := s.Append(t.Context(), fleet(head, 1)); err == nil || s.Doubtful() {
		t.Errorf("a commit that never came to its meta page: %v, in doubt: %t", err, s.Doubtful())
	}
	s.Doubt()
	for range 3 {
		if _, err := s.Heads(t.Context()); err == nil || !s.Doubtful() {
			t.Errorf("heads: %v, in doubt: %t", err, s.Doubtful())
		}
		if err := s.Append(t.Context(), fleet(authority.Head{}, 1)); !errors.Is(err, authority.ErrConflict) {
			t.Errorf("append: %v, want ErrConflict", err)
		}
	}
}

// isGrowth knows the error of a file that cannot grow, which bbolt turns into text.
func isGrowth(err error) bool {
	return err != nil && strings.Contains(err.Error(), "file resize error")
}

func appendUntilItFails(t *testing.T, s *bolt.Store, head *authority.Head) (n int, err error) {
	for ; n < 2000; n++ {
		b := fleet(*head, 5)
		if err := s.Append(t.Context(), b); err != nil {
			return n, err
		}
		*head = authority.Head{Seq: b.Entries[4].Seq, Sum: b.Entries[4].Sum}
	}
	return n, nil
}

// limitFiles limits the size of files of this process; below zero it lifts the limit.
func limitFiles(t *testing.T, size int64) {
	t.Helper()
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
		t.Fatal(err)
	}
	l.Cur = l.Max
	if size >= 0 {
		l.Cur = uint64(size)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
		t.Fatal(err)
	}
}
