package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/usage"
)

// HeaderSidecar names the sidecar that passes a request on after it has seen and counted the client's secret itself.
const HeaderSidecar = "Keyturn-Sidecar"

// Use is what counts as one use of a version: ok where a secret, or a key, was shown and accepted. What a sidecar says to have
// counted has it in its source, so that nobody hides behind one.
func (o Observation) Use() (k usage.Key, ok bool) {
	k = usage.Key{ClientID: o.ClientID, Version: o.Version, Source: o.Source}
	if o.Sidecar != "" {
		k.Source += usage.Via + o.Sidecar
	}
	return k, o.Proven && o.Version > 0
}

// reportUsage is POST /v1/peers/self/usage: a peer tells who has used which version there.
func (s *server) reportUsage(c *call) (answer, error) {
	if c.caller.Peer == nil {
		return answer{}, refuse(http.StatusForbidden, Forbidden, "insufficient scope")
	}
	body, err := c.bodyOf("application/json")
	if err != nil {
		return answer{}, err
	}
	var w UsageReport
	if err := decodeBody(body, &w); err != nil {
		return answer{}, err
	}
	if err := strict(body, &w); err != nil {
		return answer{}, err
	}
	r, err := w.report()
	if err != nil {
		return answer{}, err
	}
	r.From = c.seen.Source
	err = s.authority.ReportUsage(c.Context(), c.caller, c.at, r)
	var soon *authority.TooSoonError
	if errors.As(err, &soon) {
		e := refuse(http.StatusTooManyRequests, RateLimited, soon.Error())
		e.RetryAfter = soon.Wait
		return answer{}, e
	}
	return answer{status: http.StatusNoContent}, err
}

// strict refuses members that are unknown further inside.
func strict(body []byte, into any) error {
	if len(body) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if d.Decode(into) != nil {
		return refuse(http.StatusBadRequest, InvalidRequest, "invalid body: one of its objects has an unknown member")
	}
	return nil
}

// report is what a UsageReport stands for.
func (w UsageReport) report() (usage.Report, error) {
	cursor, err := authority.ParseCursor(w.Cursor)
	if err != nil {
		return usage.Report{}, err
	}
	if w.At.IsZero() {
		return usage.Report{}, refuse(http.StatusBadRequest, InvalidRequest, "at is missing")
	}
	r := usage.Report{ID: w.ID, At: whole(w.At), Cursor: maps.Clone(cursor), Partial: w.Partial, Final: w.Final}
	for _, u := range w.Uses {
		r.Uses = append(r.Uses, usage.Use{
			Key: usage.Key{ClientID: u.ClientID, Version: u.Version, Source: u.Source}, First: whole(u.FirstAt), Last: whole(u.LastAt), Count: u.Count,
		})
	}
	return r, nil
}

// ReportUsage tells the authority who has used which version at this peer. bearer has to be the peer's own token. It returns the
// errors of Call: RATE_LIMITED within a minute of the report before.
func (c *Client) ReportUsage(ctx context.Context, bearer string, r usage.Report) error {
	w := UsageReport{ID: r.ID, At: Time{r.At}, Cursor: authority.Cursor(r.Cursor).String(), Partial: r.Partial, Final: r.Final, Uses: []UsageEntry{}}
	for _, u := range r.Uses {
		w.Uses = append(w.Uses, UsageEntry{u.ClientID, u.Version, u.Source, Time{u.First}, Time{u.Last}, u.Count})
	}
	_, err := c.Call(ctx, Request{Method: http.MethodPost, Path: "/v1/peers/self/usage", Bearer: bearer, Body: w})
	return err
}

// detail is a credential with its versions, the newest first, each with who uses it.
func (c *call) detail(found *credential.Credential) (answer, error) {
	used, err := c.server.authority.Usage(c.Context(), c.caller, c.at, found)
	if err != nil {
		return answer{}, err
	}
	list := make([]Version, 0, len(used))
	for i := len(used) - 1; i >= 0; i-- {
		v := &found.Versions[i]
		w := Version{
			Version: v.Number, ClientID: found.ClientID(v.Number), Status: string(found.VersionStatus(v, c.at)),
			CreatedAt: Time{v.CreatedAt}, ExpiresAt: Time{v.NotAfter}, KnownSince: Time{used[i].KnownSince},
		}
		w.use(used[i])
		list = append(list, w)
	}
	return answer{body: CredentialDetail{credentialWire(found, c.at), list}}, nil
}

// use fills in who uses the version.
func (w *Version) use(v usage.Version) {
	w.AcceptedBy, w.LastUsed, w.Unreported, w.Unsettled = []Acceptance{}, []Sighting{}, []PeerName{}, []Unsettled{}
	for _, a := range v.AcceptedBy {
		w.AcceptedBy = append(w.AcceptedBy, Acceptance{a.ID.String(), a.Name, Time{a.Since}})
	}
	for _, s := range v.LastUsed {
		w.LastUsed = append(w.LastUsed, Sighting{peerOf(s), s.Name, s.Source, Time{s.At}, s.Count, s.Gone})
	}
	for _, r := range v.Unreported {
		w.Unreported = append(w.Unreported, PeerName{r.ID.String(), r.Name})
	}
	for _, u := range v.Unsettled {
		w.Unsettled = append(w.Unsettled, Unsettled{peerOf(u.Sighting), u.Name, u.Source, Time{u.At}, Time{u.Until}})
	}
	if v.Verdict != nil {
		w.Verdict = &Verdict{v.Verdict.Safe, v.Verdict.WouldLockOut, v.Verdict.Unknown, v.Verdict.Text}
	}
}

// peerOf is the peer that a use was seen at; nil where it was an authority.
func peerOf(s usage.Sighting) *string {
	if s.Authority {
		return nil
	}
	return optional(s.ID.String())
}

func whole(t Time) time.Time { return t.UTC().Truncate(time.Second) }
