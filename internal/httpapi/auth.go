package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
)

// bearer lets in whoever holds a token with the scope (RFC 6750 §2.1).
func (s *server) bearer(scope credential.Scope, h handler) handler {
	return func(c *call) (answer, error) {
		if err := c.authenticate(scope); err != nil {
			return answer{}, err
		}
		return h(c)
	}
}

func (c *call) authenticate(scope credential.Scope) error {
	text, ok := bearerToken(c.Request)
	if !ok {
		if _, err := c.server.node.Cluster(c.Context()); err != nil {
			return err
		}
		return access.ErrToken
	}
	caller, err := c.server.node.Check(c.Context(), c.at, text, "")
	if err != nil {
		return err
	}
	c.caller = caller
	c.seen.ClientID, c.seen.Version = caller.Claims.ClientID, caller.Claims.Version
	return caller.Require(scope)
}

// bearerToken returns the token of the one Authorization header, if it is one of that scheme.
func bearerToken(r *http.Request) (string, bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	return bearerIn(values[0])
}

func bearerIn(header string) (string, bool) {
	scheme, text, _ := strings.Cut(header, " ")
	text = strings.TrimSpace(text)
	return text, strings.EqualFold(scheme, "Bearer") && text != ""
}

// once is bearer for a write that takes an Idempotency-Key. An earlier answer is given again to a well-signed token of the
// credential that asked then, even to one that has expired or that the write itself killed.
func (s *server) once(scope credential.Scope, h handler) handler {
	return func(c *call) (answer, error) {
		c.Request = c.WithContext(s.authority.Snapshot(c.Context()))
		denied := c.authenticate(scope)
		if denied == nil {
			return c.withOnce(h, idempotent{c.caller.ID().String(), c.caller.Scopes})
		}
		text, _ := bearerToken(c.Request)
		if !c.hasKey() || !errors.Is(denied, access.ErrToken) {
			return answer{}, denied
		}
		former, err := s.authority.Former(c.Context(), c.at, text)
		if err != nil {
			return answer{}, denied
		}
		return c.withOnce(func(*call) (answer, error) { return answer{}, denied }, idempotent{former.String(), scopesIn(text)})
	}
}

// idempotent is who asks for an idempotent write, and what their token allows: an answer is not given again to less.
type idempotent struct {
	caller string
	scopes credential.Scopes
}

// scopesIn reads the scopes of a token whose signature has been checked.
func scopesIn(text string) credential.Scopes {
	var claims struct{ Scope string }
	if parts := strings.Split(text, "."); len(parts) == 3 {
		payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(payload, &claims)
	}
	scopes, err := credential.SplitScopes(claims.Scope)
	if err != nil {
		return nil
	}
	return scopes
}

func (c *call) hasKey() bool { return len(c.Header.Values(HeaderIdempotencyKey)) > 0 }

func (c *call) withBody(h handler) (answer, error) {
	body, err := c.bodyOf("application/json")
	if err != nil {
		return answer{}, err
	}
	c.body = body
	return h(c)
}

// withOnce gives the earlier answer of the same request, or runs h with c.once set. Without a key it just runs h.
func (c *call) withOnce(h handler, by idempotent) (answer, error) {
	if !c.hasKey() {
		return c.withBody(h)
	}
	keys := c.Header.Values(HeaderIdempotencyKey)
	key := keys[0]
	if len(keys) > 1 || len(key) < 32 || len(key) > 128 || strings.ContainsFunc(key, func(r rune) bool { return notRequestID(r) || r == '.' }) {
		return answer{}, refuse(http.StatusBadRequest, InvalidRequest, "Idempotency-Key has to be 32 to 128 of A-Z a-z 0-9 _ -")
	}
	return c.withBody(func(c *call) (answer, error) {
		c.once = authority.Once{Key: key, Caller: by.caller, Request: c.fingerprint(), Render: by.render}
		a, err := answer{}, c.server.authority.Replay(c.Context(), c.at, c.once)
		if err == nil {
			a, err = h(c)
		}
		var replayed *authority.Replayed
		if errors.As(err, &replayed) {
			return by.unseal(replayed.Answer)
		}
		return a, err
	})
}

// fingerprint is what makes two requests the same: method, path and the body, however it is spaced.
func (c *call) fingerprint() []byte {
	body := c.body
	var value any
	if json.Unmarshal(body, &value) == nil {
		if canonical, err := json.Marshal(value); err == nil {
			body = canonical
		}
	}
	if string(body) == "{}" {
		body = nil
	}
	sum := sha256.Sum256(body)
	return append([]byte(c.Method+" "+c.URL.Path+"\n"), sum[:]...)
}

// sealedAnswer is an answer as it is kept for a replay.
type sealedAnswer struct {
	Status   int               `json:"status"`
	Location string            `json:"location,omitempty"`
	Scopes   credential.Scopes `json:"scopes,omitempty"` // of the token that it was given to
	Body     json.RawMessage   `json:"body"`
}

// render makes the kept answer of a result: exactly what the first caller got.
func (by idempotent) render(result any) ([]byte, error) {
	a := resultAnswer(result)
	body, err := json.Marshal(a.body)
	if err != nil {
		return nil, err
	}
	return json.Marshal(sealedAnswer{a.status, a.header["Location"], by.scopes, body})
}

// unseal returns the kept answer. It can hold a secret, so it takes every scope that the first caller's token had.
func (by idempotent) unseal(kept []byte) (answer, error) {
	var s sealedAnswer
	if err := json.Unmarshal(kept, &s); err != nil {
		return answer{}, err
	}
	if !by.scopes.Cover(s.Scopes) {
		return answer{}, access.ErrForbidden
	}
	a := answer{status: s.Status, body: s.Body, header: map[string]string{HeaderReplayed: "true"}}
	if s.Location != "" {
		a.header["Location"] = s.Location
	}
	return a, nil
}

// resultOf is the answer to a write, if it came to one: a failed write has no credential to tell of.
func resultOf(result any, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	return resultAnswer(result), nil
}

// resultAnswer is the answer to what an idempotent write has done.
func resultAnswer(result any) answer {
	switch r := result.(type) {
	case authority.Bootstrapped:
		return answer{status: http.StatusCreated, body: bootstrappedWire(r)}
	case authority.Created:
		return answer{
			status: http.StatusCreated, body: createdWire(r),
			header: map[string]string{"Location": "/v1/credentials/" + r.Credential.ID.String()},
		}
	case authority.Rotation:
		return answer{status: http.StatusOK, body: rotationWire(r)}
	}
	return answer{}
}
