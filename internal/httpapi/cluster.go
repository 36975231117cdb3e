package httpapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/license"
)

// live is GET /livez: the process answers.
func (s *server) live(*call) (answer, error) { return answer{body: Health{Status: "ok"}}, nil }

// ready is GET /readyz: the store, the keys and the clock can be used.
func (s *server) ready(c *call) (answer, error) {
	if failed := s.node.Ready(c.Context(), c.at); len(failed) > 0 {
		c.seen.Code = string(Unavailable)
		return answer{
			status: http.StatusServiceUnavailable, body: Health{"unavailable", failed}, header: map[string]string{"Retry-After": "5"},
		}, nil
	}
	return answer{body: Health{Status: "ok"}}, nil
}

// discovery is the metadata of RFC 8414 §3 and of OpenID Connect Discovery §4. The endpoints are at the address that was
// asked.
func (s *server) discovery(c *call) (answer, error) {
	cluster, err := s.node.Cluster(c.Context())
	if err != nil {
		return answer{}, err
	}
	algs := []string{}
	for _, key := range cluster.JWKS().Keys {
		algs = append(algs, key.Alg())
	}
	base := s.base(c.Request)
	auth := []string{"client_secret_basic", "client_secret_post", "private_key_jwt"}
	return answer{body: Discovery{
		Issuer: cluster.Issuer, TokenEndpoint: base + "/v1/oauth/token", JWKSURI: base + "/.well-known/jwks.json",
		IntrospectionEndpoint: base + "/v1/oauth/introspect",
		GrantTypes:            []string{"client_credentials"}, ResponseTypes: []string{"none"}, SubjectTypes: []string{"public"},
		IDTokenAlgs: unique(algs), TokenAuthMethods: auth, TokenAuthAlgs: []string{"ES256", "EdDSA", "RS256"},
		IntrospectionEndpointMethods: auth, Scopes: credential.NewScopes(credential.KnownScopes()...).Strings(),
	}, header: cacheable()}, nil
}

func cacheable() map[string]string {
	return map[string]string{"Cache-Control": "public, max-age=300"}
}

func unique(list []string) []string {
	seen, out := map[string]bool{}, []string{}
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// jwks is GET /.well-known/jwks.json (RFC 7517 §5).
func (s *server) jwks(c *call) (answer, error) {
	set, err := s.node.KeySet(c.Context(), c.at)
	if err != nil {
		return answer{}, err
	}
	return answer{body: set, header: cacheable()}, nil
}

// identity is GET /v1/cluster/identity.
func (s *server) identity(c *call) (answer, error) {
	cluster, err := s.node.Cluster(c.Context())
	if err != nil {
		return answer{}, err
	}
	if cluster.License == nil {
		return answer{}, fmt.Errorf("%w: the license has not arrived yet", access.ErrUnavailable)
	}
	l, err := license.Parse(cluster.License)
	return answer{body: Identity{
		ClusterID: cluster.ID.String(), Issuer: cluster.Issuer, Region: s.node.Region(), HomeRegion: cluster.Home,
		PeerID: s.node.Self().String(), LicenseID: l.LicenseID.String(), LedgerKeys: cluster.LedgerKeys, Version: s.o.Version,
	}}, err
}

// bootstrap is POST /v1/bootstrap. Its idempotency key is proven by the bootstrap token, where one is set.
func (s *server) bootstrap(c *call) (answer, error) {
	h := func(c *call) (answer, error) {
		r := authority.BootstrapRequest{Token: c.Header.Get(HeaderBootstrapToken), URL: s.base(c.Request), License: c.body}
		if json.Valid(c.body) && string(compact(c.body)) == "{}" {
			r.License = nil
		}
		done, err := s.authority.Bootstrap(c.Context(), c.origin(""), r, c.once)
		return resultOf(done, err)
	}
	if err := s.authority.MayBootstrap(c.Header.Get(HeaderBootstrapToken)); err != nil {
		return answer{}, err
	}
	if s.authority.OpenToThisHost() && !namesThisHost(c.Host) {
		return answer{}, refuse(http.StatusBadRequest, InvalidRequest, "without a bootstrap token, call this host by a loopback address or localhost")
	}
	return c.withOnce(h, idempotent{caller: "bootstrap"})
}

func compact(body []byte) []byte {
	var b bytes.Buffer
	_ = json.Compact(&b, body)
	return b.Bytes()
}

// license is PUT /v1/license.
func (s *server) license(c *call) (answer, error) {
	body, err := c.bodyOf("application/json")
	if err != nil {
		return answer{}, err
	}
	applied, err := s.authority.ApplyLicense(c.Context(), c.origin(""), body)
	if err != nil {
		return answer{}, err
	}
	return answer{body: applied}, nil
}

// maxSealed is the longest sealed part of a ledger key, in bytes.
const maxSealed = 4 << 10

// moveHome is POST /v1/cluster/home. The region that is to become home answers it.
func (s *server) moveHome(c *call) (answer, error) {
	body, err := c.bodyOf("application/json")
	if err != nil {
		return answer{}, err
	}
	var w HomeRequest
	if err := decodeBody(body, &w); err != nil {
		return answer{}, err
	}
	if w.Region == "" {
		return answer{}, refuse(http.StatusBadRequest, InvalidRequest, "region is missing: name the one that is to become home")
	}
	if err := credential.CheckReason(w.Reason); err != nil {
		return answer{}, err
	}
	moved, err := s.authority.MoveHome(c.Context(), c.caller, c.origin(w.Reason), w.Region)
	return answer{body: Home{moved.To, moved.From, Time{moved.At}}}, err
}

// vouch is POST /v1/ledger-keys.
func (s *server) vouch(c *call) (answer, error) {
	body, err := c.bodyOf("application/json")
	if err != nil {
		return answer{}, err
	}
	var w VouchRequest
	if err := decodeBody(body, &w); err != nil {
		return answer{}, err
	}
	key, err := publicKey(w.PublicKey)
	if err != nil {
		return answer{}, err
	}
	if key == nil {
		return answer{}, refuse(http.StatusBadRequest, InvalidRequest, "public_key is missing")
	}
	if err := credential.CheckReason(w.Reason); err != nil {
		return answer{}, err
	}
	var carried SealedKey
	if err := json.Unmarshal(w.PublicKey, &carried); err != nil || len(carried.Sealed) > maxSealed || len(carried.Anchor) > maxSealed {
		return answer{}, refuse(http.StatusBadRequest, InvalidRequest, "public_key: its sealed parts have to be base64, and short")
	}
	sealed := authority.NewKey{Key: *key, Sealed: carried.Sealed}
	if err := s.authority.VouchSealed(c.Context(), c.caller, c.origin(w.Reason), sealed, carried.Anchor); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusCreated, body: struct {
		Keys []jwk.Key `json:"keys"`
	}{[]jwk.Key{*key}}}, nil
}

// rotateKey is POST /v1/keys/rotate: a new key to sign tokens with.
func (s *server) rotateKey(c *call) (answer, error) {
	body, err := c.bodyOf("application/json")
	if err != nil {
		return answer{}, err
	}
	var w TokenKeyRequest
	if err := decodeBody(body, &w); err != nil {
		return answer{}, err
	}
	if err := credential.CheckReason(w.Reason); err != nil {
		return answer{}, err
	}
	p, err := s.authority.RotateTokenKey(c.Context(), c.caller, c.origin(w.Reason))
	return answer{status: http.StatusCreated, body: TokenKey{p.Key, Time{p.PublishedAt}, Time{p.SignsAt}}}, err
}

// audit is GET /v1/audit.
func (s *server) audit(c *call) (answer, error) {
	query, err := c.query()
	if err != nil {
		return answer{}, err
	}
	limit, err := limited(query, 50, 500)
	if err != nil {
		return answer{}, err
	}
	filter := authority.AuditFilter{Subject: query.Get("subject"), Actor: query.Get("actor")}
	events, next, err := s.authority.Audit(c.Context(), c.caller, query.Get("after"), limit, filter)
	if err != nil {
		return answer{}, err
	}
	w := AuditPage{Events: make([]Event, 0, len(events)), NextCursor: optional(next)}
	for _, e := range events {
		w.Events = append(w.Events, eventWire(e))
	}
	return answer{body: w}, nil
}

// maxExport keeps an answer of the export below 4 MB, in bytes.
const maxExport = 3 << 20

// export is GET /v1/export: JSON lines.
func (s *server) export(c *call) (answer, error) {
	query, err := c.query()
	if err != nil {
		return answer{}, err
	}
	limit, err := limited(query, 2000, 5000)
	if err != nil {
		return answer{}, err
	}
	var lines bytes.Buffer
	encode := json.NewEncoder(&lines)
	next, err := s.authority.Export(c.Context(), c.caller, c.at, query.Get("after"), limit, func(e authority.Exported) bool {
		if lines.Len() > maxExport {
			return false
		}
		b64 := base64.RawURLEncoding.EncodeToString
		record := ExportLine{Record: &SignedRecord{b64(e.Signed.Payload), e.Signed.KeyID, b64(e.Signed.Signature)}}
		if encode.Encode(record) != nil {
			return false
		}
		return e.Hash == nil || encode.Encode(ExportLine{Hash: &LiveHash{e.Region, e.Seq, b64(e.Hash)}}) == nil
	})
	if err != nil {
		return answer{}, err
	}
	cursor := "null"
	if next != "" {
		cursor = strconv.Quote(next)
	}
	lines.WriteString(`{"next_cursor":` + cursor + "}\n")
	return answer{raw: lines.Bytes(), media: "application/jsonl"}, nil
}
