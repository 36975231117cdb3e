// Package testleak fails a package's tests where goroutines are left behind. Nothing but tests uses it.
package testleak

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines may take to end after the last test. net/http's alone may sleep for half a second in a
// connection that it closes, which is longer than goleak waits.
const patience = 20 * time.Second

// Main runs the tests of a package, waits until no goroutine of theirs is left, and ends the process: TestMain calls it.
func Main(m *testing.M) {
	exit := m.Run()
	if exit == 0 {
		if err := Find(patience); err != nil {
			fmt.Fprintln(os.Stderr, "goroutines are left behind:", err)
			exit = 1
		}
	}
	os.Exit(exit)
}

// Find returns nil as soon as only the caller's goroutine is left, and what is left otherwise after about so long.
func Find(patience time.Duration) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for {
		err := goleak.Find()
		if err == nil {
			return nil
		}
		select {
		case <-late:
			return err
		case <-tick.C:
		}
	}
}
