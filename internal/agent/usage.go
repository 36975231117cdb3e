package agent

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/backoff"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/disk"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/usage"
)

// When a sidecar reports who uses which version.
const (
	firstReport  = 5 * time.Second           // after the start
	reportRest   = usage.Every + time.Second // the authority counts whole seconds
	reportSpread = 10 * time.Second          // so that many hosts do not report at the same instant
	hurrySpread  = time.Second               // the same where the shared credential has changed, or the authority says when
	againFirst   = 2 * time.Second           // after a report that has failed; doubled with each one
	againMost    = 20 * time.Second          // the longest of these
	reportAnyway = 4 * time.Minute           // although there is nothing new: who is silent for ten minutes is unknown
	reportBytes  = 60 << 10                  // a body of the API has 64 KiB at most
	lastReport   = 5 * time.Second           // how long the report of a sidecar that stops may take
	changesSeen  = 8                         // changes in one page of the ledger that are looked at one by one
)

// usageFile is where counts wait for the next start that could not be reported.
const usageFile = "usage.json"

// reporter counts the uses of this host and reports them.
type reporter struct {
	agent *Agent
	tally *usage.Tally
	hurry chan struct{} // the shared credential may have changed

	mu      sync.Mutex
	changed []id.ID // credentials that have

	// Of the one goroutine that runs:
	sending  *usage.Report // what may have arrived, though nobody said so: the next one is made from it, under its id
	cursor   map[string]uint64
	told     time.Time // when a report arrived last, by the sidecar's clock
	failures int       // reports in a row that the authority has not heard
}

func newReporter(a *Agent) *reporter {
	return &reporter{agent: a, tally: usage.NewTally(usage.Sources), hurry: make(chan struct{}, 1)}
}

// count counts an answered request.
func (r *reporter) count(o httpapi.Observation) {
	if k, ok := o.Use(); ok {
		k.Source = o.Source // what this host passes on it has counted
		r.tally.Count(k, o.At)
	}
}

// moved is told what has changed in the ledger. Of a first copy, or after an outage, nothing is looked at.
func (r *reporter) moved(subjects []id.ID) {
	if len(subjects) > changesSeen {
		return
	}
	r.mu.Lock()
	for _, s := range subjects {
		if s.Kind() == id.Client && len(r.changed) < changesSeen {
			r.changed = append(r.changed, s)
		}
	}
	some := len(r.changed) > 0
	r.mu.Unlock()
	if some {
		select {
		case r.hurry <- struct{}{}:
		default:
		}
	}
}

// urgent reports whether the shared credential is among what has changed.
func (r *reporter) urgent(ctx context.Context) bool {
	r.mu.Lock()
	changed := r.changed
	r.changed = nil
	r.mu.Unlock()
	for _, s := range changed {
		if c, err := r.agent.replica.Credential(ctx, r.agent.now(), s); err == nil && c.Kind == credential.Shared {
			return true
		}
	}
	return false
}

// run reports until ctx ends, at most once a minute, and at once where the shared credential has changed. What could not be
// reported in the end is left for the next start.
func (r *reporter) run(ctx context.Context) {
	r.load()
	defer r.stop(context.WithoutCancel(ctx))
	next := time.NewTimer(mathrand.N(firstReport))
	defer next.Stop()
	var rested time.Time // nothing is reported before
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.hurry:
			if r.urgent(ctx) {
				next.Reset(min(max(rested.Sub(r.agent.c.Now()), 0), reportRest) + mathrand.N(hurrySpread))
			}
			continue
		case <-next.C:
		}
		rest, spread := reportRest, reportSpread
		if r.due() {
			if wait, again := r.send(ctx, r.report(false)); again {
				rest, spread = wait, hurrySpread
			}
			rested = r.agent.c.Now().Add(rest)
		}
		next.Reset(rest + mathrand.N(spread))
	}
}

// due reports whether there is something to tell.
func (r *reporter) due() bool {
	return r.sending != nil || !r.tally.Empty() || !maps.Equal(r.cursor, r.agent.replica.Cursors()) ||
		r.agent.now().Sub(r.told) >= reportAnyway
}

// report is made when it is sent, and says what was until then. One before it that may have arrived is in it, under the same id:
// the authority counts what is more.
func (r *reporter) report(final bool) usage.Report {
	at, cursor := r.agent.now(), r.agent.replica.Cursors() // before the counts: what comes meanwhile is not said to be told
	if r.sending == nil {
		r.sending = &usage.Report{ID: rand.Text()}
	}
	uses, partial := r.tally.Take()
	fit, rest := usage.Pack(uses, reportBytes-usage.Size(r.sending.Uses), r.superseded)
	r.tally.Return(rest, false)
	r.sending = &usage.Report{
		ID: r.sending.ID, At: at, Cursor: cursor, Final: final,
		Partial: r.sending.Partial || partial || len(rest) > 0, Uses: usage.Merge(r.sending.Uses, fit),
	}
	return *r.sending
}

// superseded reports whether a version is not the current one.
func (r *reporter) superseded(k usage.Key) bool {
	parsed, err := id.ParseClientID(k.ClientID)
	if err != nil {
		return false
	}
	c, err := r.agent.replica.Credential(context.Background(), r.agent.now(), parsed.Credential)
	return err == nil && c.Current() != nil && c.Current().Number != k.Version
}

// send reports. What fails is to be made and sent again after that wait, but for what the authority cannot read.
func (r *reporter) send(ctx context.Context, report usage.Report) (wait time.Duration, again bool) {
	err := r.agent.up.withToken(ctx, func(bearer string) error { return r.agent.up.client.ReportUsage(ctx, bearer, report) })
	var refused *httpapi.Error
	switch {
	case err == nil:
		if r.failures > 0 {
			r.agent.log.Info().Msg("the authority hears again who uses which version")
		}
		r.sending, r.cursor, r.told, r.failures = nil, report.Cursor, r.agent.now(), 0
		return 0, false
	case ctx.Err() != nil:
		return 0, false
	case errors.As(err, &refused) && refused.Status == http.StatusTooManyRequests:
		return min(max(refused.RetryAfter, time.Second), reportRest), true
	case errors.As(err, &refused) && (refused.Status == http.StatusBadRequest || refused.Status == http.StatusRequestEntityTooLarge):
		r.sending = nil
	}
	if r.failures == 0 {
		r.agent.log.Warn().Err(err).Msg("cannot tell the authority who uses which version: counting on")
	}
	r.failures++
	return backoff.Jitter(backoff.Grown(r.failures, againFirst, againMost), backoff.Fifth), true
}

// stop reports a last time, and keeps what is left for the next start.
func (r *reporter) stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastReport)
	defer cancel()
	if r.sending != nil || !r.tally.Empty() {
		_, _ = r.send(ctx, r.report(true))
	}
	if err := r.save(); err != nil {
		r.agent.log.Warn().Err(err).Msg("cannot keep who has used which version for the next start")
	}
}

// unreported is usage.json.
type unreported struct {
	Sending *usage.Report `json:"sending,omitempty"`
	Uses    []usage.Use   `json:"uses,omitempty"`
	Partial bool          `json:"partial,omitempty"` // beside Uses there were more than could be counted
}

func (r *reporter) path() string { return filepath.Join(r.agent.c.DataDir, usageFile) }

func (r *reporter) save() error {
	left := unreported{Sending: r.sending}
	left.Uses, left.Partial = r.tally.Take()
	if left.Sending != nil || len(left.Uses) > 0 {
		return writeJSON(r.path(), left)
	}
	if err := os.Remove(r.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// load takes over what was left. Counts are not worth a start that fails: what cannot be read is left out.
func (r *reporter) load() {
	text, err := disk.ReadPrivate(r.path())
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var left unreported
	if err == nil {
		err = json.Unmarshal(text, &left)
	}
	if err != nil {
		r.agent.log.Warn().Err(err).Msg("cannot read who had used which version before")
		return
	}
	if err := os.Remove(r.path()); err != nil {
		r.agent.log.Warn().Err(err).Msg("cannot take over who had used which version before")
		return // else it would count at each start
	}
	r.sending = left.Sending
	r.tally.Return(left.Uses, left.Partial)
}
