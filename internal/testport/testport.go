// Package testport keeps ports of loopback for tests, so that nobody else gets one by chance: where a server has ended, and
// nobody is to answer, or the same one is to come back; and where a program is told its port before it listens. Nothing but
// tests uses it.
package testport

import (
	"strings"
	"sync"
	"testing"
)

// Port is a port of 127.0.0.1 that the system gives to nobody who asks for any port. Who names it may listen there, as often as
// they like; as long as nobody does, connections are refused. On systems other than unix it is only free at first.
type Port struct {
	address string
	release func()
	once    sync.Once
}

// Take keeps a port until Release. The error is the system's, where it has none.
func Take() (*Port, error) { return take() }

// Address is HOST:PORT.
func (p *Port) Address() string { return p.address }

// Number is the port alone.
func (p *Port) Number() string {
	_, port, _ := strings.Cut(p.address, ":")
	return port
}

// Release lets go of the port. Releasing it again, or releasing nil, does nothing.
func (p *Port) Release() {
	if p != nil {
		p.once.Do(p.release)
	}
}

// Hold returns HOST:PORT that is kept until the test ends.
func Hold(t testing.TB) string {
	t.Helper()
	p, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Release)
	return p.Address()
}
