package boot

import (
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/lambdahttp"
)

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
	a.count(o)
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

// The directives of CloudWatch's embedded metric format: each names a metric of the line and its dimensions, which are
// members of the line too.
const (
	requests  = `{"Namespace":"keyturn","Dimensions":[["route","code"]],"Metrics":[{"Name":"Requests","Unit":"Count"}]}`
	accepted  = `,{"Namespace":"keyturn","Dimensions":[["Secret"]],"Metrics":[{"Name":"Accepted","Unit":"Count"}]}`
	byVersion = `,{"Namespace":"keyturn","Dimensions":[["Secret"],["SecretVersion"]],"Metrics":[{"Name":"Accepted","Unit":"Count"}]}`
	rotations = `,{"Namespace":"keyturn","Dimensions":[[]],"Metrics":[{"Name":"Rotations","Unit":"Count"}]}`
	revoked   = `,{"Namespace":"keyturn","Dimensions":[[]],"Metrics":[{"Name":"Revocations","Unit":"Count"}]}`
	kept      = `{"Namespace":"keyturn","Dimensions":[["FunctionName"]],"Metrics":[{"Name":"HouseKept","Unit":"Count"}]}`
	store     = `,{"Namespace":"keyturn","Dimensions":[[]],"Metrics":[{"Name":"StoreLatency","Unit":"Milliseconds"}]}`
)

// measure adds the metrics: requests by route and code; secrets that were accepted, by whether they are current, and by
// version for the shared credential; rotations, revocations, and the latency of the store.
func (a *App) measure(e *zerolog.Event, o httpapi.Observation) *zerolog.Event {
	list := append(make([]byte, 0, 512), `{"Timestamp":`...)
	list = strconv.AppendInt(list, o.At.UnixMilli(), 10)
	list = append(list, `,"CloudWatchMetrics":[`+requests...)
	e = e.Int("Requests", 1)
	switch {
	case o.Route == "/v1/oauth/token" && o.Status == 200:
		secret := "current"
		if o.Superseded {
			secret = "superseded"
		}
		e = e.Int("Accepted", 1).Str("Secret", secret)
		if strings.Contains(o.ClientID, "-") { // the shared credential: a client id for each version
			list, e = append(list, byVersion...), e.Str("SecretVersion", strconv.Itoa(o.Version))
		} else {
			list = append(list, accepted...)
		}
	case o.Status == 200 && strings.HasSuffix(o.Route, "/rotate"):
		list, e = append(list, rotations...), e.Int("Rotations", 1)
	case o.Status == 204 && o.Method == "DELETE":
		list, e = append(list, revoked...), e.Int("Revocations", 1)
	}
	if took := a.latency.take(); len(took) > 0 {
		list, e = append(list, store...), e.Floats64("StoreLatency", took)
	}
	return e.RawJSON("_aws", append(list, "]}"...))
}

// houseKept writes the metric that the alarm HouseNotKept looks at. The function's name in the account tells the stacks apart.
func (a *App) houseKept(at time.Time) {
	metrics := append(make([]byte, 0, 256), `{"Timestamp":`...)
	metrics = strconv.AppendInt(metrics, at.UnixMilli(), 10)
	metrics = append(metrics, `,"CloudWatchMetrics":[`+kept+`]}`...)
	a.log.Log().Time("time", at).Str("level", zerolog.InfoLevel.String()).Str("FunctionName", a.s.aws.function).
		Int("HouseKept", 1).RawJSON("_aws", metrics).Send()
}
