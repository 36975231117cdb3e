package boot

import (
	"strconv"
	"strings"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/lambdahttp"
)

// namespace of the metrics in CloudWatch.
const namespace = "keyturn"

// observe writes the one line of an answered request, which is also its metrics, in CloudWatch's embedded format. Below the
// configured level only the metrics are left of it.
func (a *App) observe(o httpapi.Observation) {
	level := zerolog.InfoLevel
	if o.Status >= 500 {
		level = zerolog.ErrorLevel
	}
	code := o.Code
	if code == "" {
		code = "OK"
	}
	e := a.log.Log().Time("time", o.At).Str("level", level.String()).Str("route", o.Route).Str("code", code)
	if level >= a.s.level {
		e = describe(e, o)
	}
	a.measure(e, o).Send()
}

// describe adds what a person looks for. It holds no secret, no token, no query string and no body.
func describe(e *zerolog.Event, o httpapi.Observation) *zerolog.Event {
	invocation, trace := lambdahttp.Invocation(o.Context)
	e = e.Str("request_id", o.RequestID).Str("method", o.Method).Int("status", o.Status).Float64("ms", millis(o.Took)).
		Str("source", o.Source)
	if invocation != "" {
		e = e.Str("lambda_request_id", invocation)
	}
	if trace != "" {
		e = e.Str("trace_id", trace)
	}
	if o.ClientID != "" {
		e = e.Str("client_id", o.ClientID).Int("version", o.Version)
	}
	if o.Superseded {
		e = e.Bool("superseded", true)
	}
	return e.AnErr("error", o.Err)
}

// directive names metrics of a line and their dimensions, which are members of the line too.
type directive struct {
	Namespace  string
	Dimensions [][]string
	Metrics    []metric
}

type metric struct{ Name, Unit string }

func count(name string, dimensions ...[]string) directive {
	if len(dimensions) == 0 {
		dimensions = [][]string{{}}
	}
	return directive{namespace, dimensions, []metric{{name, "Count"}}}
}

// measure adds the metrics: requests by route and code; secrets that were accepted, by whether they are current, and by
// version for the shared credential; rotations, revocations, and the latency of the store.
func (a *App) measure(e *zerolog.Event, o httpapi.Observation) *zerolog.Event {
	list := []directive{count("Requests", []string{"route", "code"})}
	e = e.Int("Requests", 1)
	if o.Route == "/v1/oauth/token" && o.Status == 200 {
		by := [][]string{{"Secret"}}
		e = e.Int("Accepted", 1).Str("Secret", map[bool]string{false: "current", true: "superseded"}[o.Superseded])
		if strings.Contains(o.ClientID, "-") { // the shared credential: a client id for each version
			by = append(by, []string{"SecretVersion"})
			e = e.Str("SecretVersion", strconv.Itoa(o.Version))
		}
		list = append(list, count("Accepted", by...))
	}
	switch {
	case o.Status == 200 && strings.HasSuffix(o.Route, "/rotate"):
		list, e = append(list, count("Rotations")), e.Int("Rotations", 1)
	case o.Status == 204 && o.Method == "DELETE":
		list, e = append(list, count("Revocations")), e.Int("Revocations", 1)
	}
	if took := a.latency.take(); len(took) > 0 {
		list = append(list, directive{namespace, [][]string{{}}, []metric{{"StoreLatency", "Milliseconds"}}})
		e = e.Floats64("StoreLatency", took)
	}
	return e.Interface("_aws", struct {
		Timestamp         int64
		CloudWatchMetrics []directive
	}{o.At.UnixMilli(), list})
}
