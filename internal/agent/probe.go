package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/httpapi"
)

// NotReadyError says what keeps a sidecar that runs from saying yes to anybody.
type NotReadyError struct {
	Checks  map[string]string // of GET /readyz: what fails, and why
	Problem string            // of GET /v1/sidecar/status, which says more; "": nothing
}

// Error says why in one line. It begins with STALE where the copy of the ledgers is too old, as the answers of such a sidecar do.
func (e *NotReadyError) Error() string {
	why := e.Problem
	if why == "" {
		var list []string
		for _, name := range slices.Sorted(maps.Keys(e.Checks)) {
			list = append(list, name+": "+e.Checks[name])
		}
		why = strings.Join(list, "; ")
	}
	if _, stale := e.Checks["replica"]; stale {
		return "STALE: " + why
	}
	return "not ready: " + why
}

// probeTimeout is how long a sidecar of this host may take to say whether it is ready.
const probeTimeout = 10 * time.Second

// Probe asks for /livez or /readyz, and returns the answer unchanged; beside it a *NotReadyError where that is no.
func (r *Remote) Probe(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, r.server+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	q.Header.Set("User-Agent", "keyturn-sidecar")
	a, err := r.transport.RoundTrip(q)
	if err != nil {
		return nil, r.unanswered(err)
	}
	body, err := io.ReadAll(io.LimitReader(a.Body, 64<<10))
	if err = errors.Join(err, a.Body.Close()); err != nil {
		return nil, r.unanswered(err)
	}
	if a.StatusCode == http.StatusOK {
		return body, nil
	}
	var health httpapi.Health
	if json.Unmarshal(body, &health) != nil || len(health.Checks) == 0 {
		return nil, fmt.Errorf("%w: what answers at %s is no sidecar: %s", ErrNoAnswer, r.where, a.Status)
	}
	return body, &NotReadyError{health.Checks, r.problem(ctx)}
}

// problem is the one of the status; "" where there is none, or no answer.
func (r *Remote) problem(ctx context.Context) string {
	body, err := r.Status(ctx)
	var s httpapi.SidecarStatus
	if err != nil || json.Unmarshal(body, &s) != nil {
		return ""
	}
	return s.Problem
}
