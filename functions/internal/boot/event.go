package boot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/lambdahttp"
)

// request is an event of the recover function.
type request struct {
	Action  string          `json:"action"`
	Reason  string          `json:"reason"`  // of a recovery, for the audit trail
	Issuer  string          `json:"issuer"`  // of a bootstrap, unless the settings name one
	License json.RawMessage `json:"license"` // of a bootstrap; none where the authority is its own vendor
}

// Recover handles {"action":"recover","reason":"…"}, which mints the next version of the shared credential, and
// {"action":"bootstrap","issuer":"https://…"}. Who may invoke the function has proven enough: it has no route. The answers
// are those of the API to a rotation and to a bootstrap; they hold the secret, and are not logged.
func Recover(ctx context.Context, a *App, event json.RawMessage) (any, error) {
	var r request
	d := json.NewDecoder(bytes.NewReader(event))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return nil, fmt.Errorf("send {\"action\":\"recover\",\"reason\":\"…\"} or {\"action\":\"bootstrap\",\"issuer\":\"https://…\"}: %w", err)
	}
	out, err := r.do(ctx, a)
	line := a.log.Info()
	if err != nil {
		line = a.log.Error().Err(err)
	}
	id, trace := lambdahttp.Invocation(ctx)
	line.Time("time", a.instant()).Str("lambda_request_id", id).Str("trace_id", trace).Str("action", r.Action).Send()
	return out, err
}

func (r request) do(ctx context.Context, a *App) (any, error) {
	if err := credential.CheckReason(r.Reason); err != nil {
		return nil, err
	}
	open, err := a.Authority(ctx)
	if err != nil {
		return nil, err
	}
	id, _ := lambdahttp.Invocation(ctx)
	o := authority.Origin{At: a.instant(), RequestID: id, Source: "recover function", Reason: r.Reason}
	open.Refresh(ctx, o.At)
	switch r.Action {
	case "recover":
		done, err := open.Recover(ctx, o)
		if err != nil {
			return nil, err
		}
		return httpapi.RotationOf(done), nil
	case "bootstrap":
		done, err := open.Bootstrap(ctx, o, authority.BootstrapRequest{
			License: r.License, URL: r.Issuer,
		}, authority.Once{})
		if err != nil {
			return nil, err
		}
		return httpapi.BootstrappedOf(done), nil
	}
	return nil, errors.New(`action has to be "recover" or "bootstrap"`)
}

// Tick handles the event of a schedule, whatever is in it: a token key is published where one is missing, and retired once
// its last token is dead; and a proof of freshness is stored, which the authorities of other regions pass on to their peers. A
// run that has done all of it says so: there is an alarm on the silence, whether runs fail or do not happen.
func Tick(ctx context.Context, a *App, _ json.RawMessage) (any, error) {
	open, err := a.Authority(ctx)
	if err != nil {
		return nil, err
	}
	at := a.instant()
	open.Refresh(ctx, at)
	err = errors.Join(open.EnsureKeys(ctx, at), open.RetireKeys(ctx, at))
	if err != nil {
		a.log.Error().Time("time", at).Err(err).Msg("cannot look after the token keys")
	}
	if stale := open.StoreFreshness(ctx, at); stale != nil {
		a.log.Error().Time("time", at).Err(stale).Msg("cannot store a proof of freshness")
		err = errors.Join(err, stale)
	}
	if err == nil {
		a.houseKept(at)
	}
	return struct{}{}, err
}
