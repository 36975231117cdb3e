package agent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/metrics"
	"github.com/keyturn/keyturn/internal/replica"
)

// houseEvery is how often the copy is swept of what the clock has ended.
const houseEvery = time.Minute

func (a *Agent) keepHouse(ctx context.Context) {
	tick := time.NewTicker(houseEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		removed, err := a.sweep(ctx, a.now())
		a.metrics.Swept(removed)
		if err != nil && ctx.Err() == nil {
			a.log.Warn().Err(err).Msg("cannot sweep the copy of the ledgers")
		}
	}
}

// report logs what happens to the replica.
func (a *Agent) report(e replica.Event) {
	switch e.What {
	case replica.Refused:
		a.log.Error().Err(e.Err).Str("region", e.Region).Uint64("seq", e.Seq).Msg("a record of the authority does not fit, and is not taken")
	case replica.Unproven:
		a.log.Error().Err(e.Err).Msg("a proof of freshness does not count")
	case replica.Broken:
		a.trouble.Store(nil) // it was asked, and this says more
		a.log.Error().Err(e.Err).Msg("the authority's ledger does not continue this copy: going on with the copy; " +
			"where the authority was restored from a backup, run keyturn-sidecar resync")
	case replica.Failed:
		why := e.Err.Error()
		a.trouble.Store(&why)
		a.log.Warn().Err(e.Err).Msg("the ledgers cannot be pulled or kept: " + a.goingOn())
	case replica.Pulling:
		a.trouble.Store(nil)
		a.log.Info().Msg("the ledgers are pulled again")
	case replica.Resynced:
		a.trouble.Store(nil)
		a.log.Warn().Msg("the copy of the ledgers was replaced by the authority's")
	}
}

// goingOn says with what a sidecar goes on that hears nothing.
func (a *Agent) goingOn() string {
	if _, err := a.replica.Cluster(context.Background()); err != nil {
		return "there is no copy of them yet, so nobody is let in before they can be"
	}
	return "going on with the copy"
}

// observe counts an answered request, and logs what went wrong.
func (a *Agent) observe(o httpapi.Observation) {
	a.metrics.Request(metrics.Request{Method: o.Method, Route: o.Route, Status: o.Status, Code: o.Code, Took: o.Took})
	if o.Forwarded {
		a.metrics.Proxied()
	} else if o.Route == "/v1/oauth/token" && o.Status == 200 {
		a.metrics.Token(o.Superseded)
	}
	a.used.count(o)
	level := zerolog.DebugLevel
	switch {
	case o.Status == 503:
		level = zerolog.WarnLevel
	case o.Status >= 500:
		level = zerolog.ErrorLevel
	}
	if a.c.Log.GetLevel() > level {
		return
	}
	a.c.Log.WithLevel(level).Time("time", o.At).Str("request_id", o.RequestID).Str("method", o.Method).Str("route", o.Route).Int("status", o.Status).
		Str("code", o.Code).Str("source", o.Source).Str("client_id", o.ClientID).Int("version", o.Version).Err(o.Err).Send()
}

// gauges are read when somebody looks at the metrics.
func (a *Agent) gauges() []metrics.Sample {
	at := a.now()
	tokens, pairs := a.cached.Stats()
	list := []metrics.Sample{
		{Name: "keyturn_replica_refused_records_total", Value: float64(a.replica.Refused())},
		{Name: "keyturn_replica_broken", Value: truth(a.replica.Broken() != nil)},
		{Name: "keyturn_replica_pulled_anew", Value: truth(a.damaged)},
		{Name: "keyturn_replica_reachable", Value: truth(a.up.reachable.Load())},
		{Name: "keyturn_replica_bound_seconds", Labels: [][2]string{{"scopes", "read"}}, Value: float64(a.bounds().Read)},
		{Name: "keyturn_replica_bound_seconds", Labels: [][2]string{{"scopes", "write"}}, Value: float64(a.bounds().Write)},
		{Name: "keyturn_peer_active", Value: truth(!a.removed(at))},
		{Name: "keyturn_cache_hits_total", Labels: [][2]string{{"cache", "tokens"}}, Value: float64(tokens.Hits)},
		{Name: "keyturn_cache_misses_total", Labels: [][2]string{{"cache", "tokens"}}, Value: float64(tokens.Misses)},
		{Name: "keyturn_cache_hits_total", Labels: [][2]string{{"cache", "pairs"}}, Value: float64(pairs.Hits)},
		{Name: "keyturn_cache_misses_total", Labels: [][2]string{{"cache", "pairs"}}, Value: float64(pairs.Misses)},
		{Name: "keyturn_denied", Value: float64(len(a.denied.list()))},
	}
	if age := a.ageSeconds(at); age != nil {
		list = append(list, metrics.Sample{Name: "keyturn_replica_age_seconds", Value: float64(*age)})
	}
	for region, seq := range a.replica.Cursors() {
		list = append(list, metrics.Sample{Name: "keyturn_replica_cursor", Labels: [][2]string{{"region", region}}, Value: float64(seq)})
	}
	for region, seq := range a.replica.Heads() {
		list = append(list, metrics.Sample{Name: "keyturn_replica_head", Labels: [][2]string{{"region", region}}, Value: float64(seq)})
	}
	if info, err := os.Stat(filepath.Join(a.c.DataDir, replicaFile)); err == nil {
		list = append(list, metrics.Sample{Name: "keyturn_store_bytes", Value: float64(info.Size())})
	}
	return list
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Running is where a sidecar answers, what proves to it that a caller can read its data directory, and what proves to the
// caller that it is that sidecar.
type Running struct {
	URL         string `json:"url"`
	Control     string `json:"control"`
	Certificate string `json:"certificate_sha256,omitempty"` // where URL is https: of the one for listen.PrivateName, in hex
	PID         int    `json:"pid"`
}

func (a *Agent) sayRunning() error {
	return writeJSON(filepath.Join(a.c.DataDir, runningFile), Running{a.URL(), a.control, sumOfCertificate(a.private), os.Getpid()})
}

func (a *Agent) sayStopped() {
	if err := os.Remove(filepath.Join(a.c.DataDir, runningFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Warn().Err(err).Msg("cannot take back where this sidecar answers")
	}
}
