package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
)

// tokenRoute is the token endpoint (RFC 6749 §3.2).
const tokenRoute = "/v1/oauth/token"

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// oauth reads the form of an OAuth endpoint.
func oauth(h func(*call, url.Values) (answer, error)) handler {
	return func(c *call) (answer, error) {
		form, err := c.form()
		if err != nil {
			return answer{}, err
		}
		return h(c, form)
	}
}

// token is POST /v1/oauth/token (RFC 6749 §4.4).
func (s *server) token(c *call, form url.Values) (answer, error) {
	switch grant := form.Get("grant_type"); grant {
	case "client_credentials":
	case "":
		return answer{}, refuse(http.StatusBadRequest, InvalidRequest, "grant_type is missing: send client_credentials")
	default:
		return answer{}, &Error{Status: http.StatusBadRequest, Code: InvalidRequest, OAuth: "unsupported_grant_type", Message: "grant_type has to be client_credentials"}
	}
	client, err := c.client(form)
	if err != nil {
		return answer{}, err
	}
	issued, err := s.node.Issue(c.Context(), c.at, client, access.TokenRequest{
		Scope: form.Get("scope"), Audience: form.Get("audience"), Resource: form.Get("resource"),
	})
	if err != nil {
		return answer{}, err
	}
	t := Token{
		AccessToken: issued.AccessToken, TokenType: "Bearer", ExpiresIn: int(issued.ExpiresIn.Seconds()), Scope: issued.Scope,
		SecretVersionCurrent: issued.SecretVersionCurrent,
	}
	if !issued.SecretExpiresAt.IsZero() {
		t.SecretExpiresAt = &Time{issued.SecretExpiresAt}
		c.seen.Superseded = true
	}
	return answer{body: t, header: map[string]string{"Pragma": "no-cache"}}, nil
}

// client authenticates the client of an OAuth request (RFC 6749 §2.3, RFC 7523 §2.2).
func (c *call) client(form url.Values) (access.Client, error) {
	proof, err := c.proof(form)
	if err != nil {
		return access.Client{}, err
	}
	client, err := c.server.node.Authenticate(c.Context(), c.at, proof)
	if err == nil {
		c.seen.ClientID, c.seen.Version, c.seen.Proven = client.ClientID(), client.Number(), true
		if named := c.Header.Get(HeaderSidecar); named != "" {
			if peer, bad := id.Parse(id.Peer, named); bad == nil {
				c.seen.Sidecar = peer.String()
			}
		}
	}
	return client, err
}

// proof finds the one way in which the client authenticates.
func (c *call) proof(form url.Values) (access.Proof, error) {
	p := access.Proof{ClientID: form.Get("client_id"), Secret: form.Get("client_secret")}
	if kind := form.Get("client_assertion_type"); kind != "" || form.Get("client_assertion") != "" {
		if kind != assertionType {
			return p, refuse(http.StatusBadRequest, InvalidRequest, "client_assertion_type has to be "+assertionType)
		}
		if p.Assertion = form.Get("client_assertion"); p.Assertion == "" {
			return p, refuse(http.StatusBadRequest, InvalidRequest, "client_assertion is missing")
		}
	}
	user, password, basic, err := basicAuth(c.Request)
	if err != nil {
		return p, err
	}
	if ways := count(basic, p.Secret != "", p.Assertion != ""); ways > 1 {
		return p, refuse(http.StatusBadRequest, InvalidRequest, "authenticate in one way only: Basic, client_secret or client_assertion")
	}
	if basic {
		if p.ClientID != "" && p.ClientID != user {
			return p, refuse(http.StatusBadRequest, InvalidRequest, "client_id differs from the one in the Authorization header")
		}
		p.ClientID, p.Secret = user, password
	}
	return p, nil
}

func count(conditions ...bool) (n int) {
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n
}

// basicAuth reads HTTP Basic as RFC 6749 §2.3.1 wants it: both parts are percent-encoded inside.
func basicAuth(r *http.Request) (user, password string, ok bool, err error) {
	values := r.Header.Values("Authorization")
	if len(values) > 1 {
		return "", "", false, refuse(http.StatusBadRequest, InvalidRequest, "there are several Authorization headers")
	}
	if len(values) == 0 {
		return "", "", false, nil
	}
	scheme, encoded, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", false, nil
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return "", "", false, access.ErrRefused
	}
	user, password, found := strings.Cut(string(decoded), ":")
	user, err1 := url.QueryUnescape(user)
	password, err2 := url.QueryUnescape(password)
	if !found || err1 != nil || err2 != nil {
		return "", "", false, access.ErrRefused
	}
	return user, password, true, nil
}

// introspect is POST /v1/oauth/introspect (RFC 7662).
func (s *server) introspect(c *call, form url.Values) (answer, error) {
	text := form.Get("token")
	asker, scopes, err := c.introspector(form)
	if denier, ok := s.node.(Sidecar); ok && errors.Is(err, access.ErrBeyond) && denier.Denies(text) {
		return answer{body: Introspection{}}, nil // the authority would say more
	}
	if err != nil {
		return answer{}, err
	}
	if text == "" {
		return answer{}, refuse(http.StatusBadRequest, InvalidRequest, "token is missing")
	}
	claims, active, err := s.node.Introspect(c.Context(), c.at, asker, scopes, text)
	if errors.Is(err, access.ErrUnknown) && !errors.Is(s.unknownHere(c, err), errElsewhere) {
		err = nil // at home what is not known is not active
	}
	if err != nil || !active {
		return answer{body: Introspection{}}, err
	}
	audience, err := json.Marshal(claims.Audience)
	return answer{body: Introspection{
		Active: true, ClientID: claims.ClientID, Subject: claims.Subject, Scope: claims.Scope, ExpiresAt: claims.ExpiresAt,
		IssuedAt: claims.IssuedAt, Audience: audience, Issuer: claims.Issuer, ID: claims.ID, TokenType: "Bearer",
	}}, err
}

// introspector says who asks: by a Bearer token, or as at the token endpoint.
func (c *call) introspector(form url.Values) (id.ID, credential.Scopes, error) {
	text, ok := bearerToken(c.Request)
	if !ok {
		client, err := c.client(form)
		if err != nil {
			return "", nil, err
		}
		return client.ID(), client.Scopes(), nil
	}
	if form.Get("client_secret") != "" || form.Get("client_assertion") != "" {
		return "", nil, refuse(http.StatusBadRequest, InvalidRequest, "authenticate in one way only: a Bearer token, or as at the token endpoint")
	}
	caller, err := c.server.node.Check(c.Context(), c.at, text, "")
	if err != nil {
		return "", nil, err
	}
	c.seen.ClientID, c.seen.Version = caller.Claims.ClientID, caller.Claims.Version
	return caller.ID(), caller.Scopes, nil
}

// oauthFailure is an error answer of RFC 6749 §5.2. The challenge names the scheme that the client tried.
func (c *call) oauthFailure(header http.Header, e *Error) answer {
	scheme, _, _ := strings.Cut(c.Header.Get("Authorization"), " ")
	if e.Status == http.StatusUnauthorized {
		switch {
		case strings.EqualFold(scheme, "Basic"):
			header.Set("WWW-Authenticate", `Basic realm="keyturn", error="invalid_client", error_description="`+quotable(e.Message)+`"`)
		case strings.EqualFold(scheme, "Bearer"):
			header.Set("WWW-Authenticate", `Bearer realm="keyturn", error="invalid_token"`)
		}
	}
	body := errorBody{Error: e.OAuth, Description: quotable(e.Message), Code: e.Code}
	if e.Status >= 500 {
		body.RequestID = c.seen.RequestID
	}
	return answer{status: e.Status, body: body}
}

// quotable keeps the characters that RFC 6749 §5.2 allows in a description.
func quotable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '\''
		}
		return r
	}, s)
}
