//go:build unix

package testport_test

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/testdose"
	"github.com/keyturn/keyturn/internal/testport"
)

// listens listens where it is told to, and answers one connection.
func listens(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func TestHold_IsForWhoeverNamesItAsOftenAsTheyLike(t *testing.T) {
	t.Parallel()
	address := testport.Hold(t)
	for range 3 {
		if _, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody listens, and dialling says %v", err)
		}
		listens(t, address)
	}
}

// Whoever asks for any port gets all that there are, but for this one: were it not kept, it would be among them.
func TestTake_NobodyGetsItByChance(t *testing.T) {
	p, err := testport.Take()
	if err != nil {
		t.Fatal(err)
	}
	if _, port, _ := strings.Cut(p.Address(), ":"); port != p.Number() {
		t.Errorf("%s, %s", p.Address(), p.Number())
	}
	if n := taken(t, p.Address()); n != 0 {
		t.Errorf("somebody else got it %d times", n)
	}
	p.Release()
	p.Release()
	(*testport.Port)(nil).Release()
	listens(t, p.Address()) // it is nobody's
}

// taken is how often the system gives a port to who asks for any.
func taken(t *testing.T, address string) (n int) {
	t.Helper()
	for range (testdose.Dose{Least: 5000, Most: 20_000, Within: 2 * time.Second}).Rounds(t) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if l.Addr().String() == address {
			n++
		}
		_ = l.Close()
	}
	return n
}
