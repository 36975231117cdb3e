package testleak_test

import (
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/testleak"
)

func TestMain(m *testing.M) { testleak.Main(m) }

// Not parallel: it looks at all goroutines.
func TestFind(t *testing.T) {
	stay := make(chan struct{})
	go staying(stay)
	if err := testleak.Find(time.Millisecond); err == nil || !strings.Contains(err.Error(), "staying") {
		t.Errorf("one is left: %v", err)
	}
	go func() {
		time.Sleep(time.Second) // longer than goleak waits by itself
		close(stay)
	}()
	if err := testleak.Find(time.Minute); err != nil {
		t.Error(err)
	}
}

func staying(until <-chan struct{}) { <-until }
