package agent

import (
	"context"
	"net/http"
	"time"

	"github.com/keyturn/keyturn/internal/id"
)

// HandedOver is how many connections had to be left to net/http.
func (a *Agent) HandedOver() int64 { return a.http.HandedOver() }

// NewClock returns the clock by which a sidecar decides, on a machine with two clocks that are made up.
func NewClock(read func() (wall time.Time, up time.Duration), fresh func() time.Time) func() time.Time {
	return (&clock{read: read, fresh: fresh}).now
}

// NewTransport returns the way to the authority, with t underneath.
func NewTransport(t *http.Transport) http.RoundTripper { return newTransport(t) }

// PeerToken is the token with which a sidecar asks the authority.
func (a *Agent) PeerToken(ctx context.Context) (string, error) { return a.up.token(ctx) }

// Hurries reports whether a change of the replica makes a sidecar look whether it has to report at once.
func (a *Agent) Hurries(subjects []id.ID, cluster bool) bool {
	a.moved(subjects, cluster)
	select {
	case <-a.used.hurry:
		return true
	default:
		return false
	}
}
