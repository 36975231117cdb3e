package dynamo_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/authority/storetest"
	"github.com/keyturn/keyturn/internal/dynamo"
	"github.com/keyturn/keyturn/internal/dynamo/local"
)

// quick gives up an attempt soon, and a call late: for transports with faults.
var quick = dynamo.Options{Patience: 2 * time.Minute, Attempt: 600 * time.Millisecond}

// certain repeats nothing but what fails, however slow the machine: for tests that count requests.
var certain = dynamo.Options{Patience: 2 * time.Minute, Attempt: 30 * time.Second}

// faulty returns a store in a new table whose requests go through faults.
func faulty(t testing.TB, o dynamo.Options) (*dynamo.Store, *local.Faults) {
	t.Helper()
	f := &local.Faults{Next: transport(t)}
	table := server.Table(t, server.Client(t, region, nil))
	return openTable(t, server.Client(t, region, f), table, o), f
}

func transport(t testing.TB) http.RoundTripper {
	next := http.DefaultTransport.(*http.Transport).Clone()
	next.MaxIdleConnsPerHost = 32
	t.Cleanup(next.CloseIdleConnections)
	return next
}

// Every fifth request of the whole suite goes wrong, each time in another way, and nobody notices.
func TestStore_SuiteUnderFaults(t *testing.T) {
	storetest.Run(t, func(t *testing.T) authority.Store {
		s, f := faulty(t, quick)
		faults := local.AllFaults()
		f.Plan = func(n int, _ string) local.Fault {
			if n%5 != 0 {
				return ""
			}
			return faults[n/5%len(faults)]
		}
		t.Cleanup(func() {
			if n := len(f.Calls()); n >= 5 && f.Fired() == 0 {
				t.Errorf("none of %d requests went wrong", n)
			}
		})
		return s
	})
}
