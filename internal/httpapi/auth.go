package httpapi

import (
	"crypto/sha256"
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
		if _, err := c.server.authority.Cluster(c.Context()); err != nil {
			return err
		}
		return access.ErrToken
	}
	caller, err := c.server.authority.Check(c.Context(), c.at, text, "")
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
	scheme, text, _ := strings.Cut(values[0], " ")
	text = strings.TrimSpace(text)
	return text, strings.EqualFold(scheme, "Bearer") && text != ""
}

// once is bearer for a write that takes an Idempotency-Key. An earlier answer is given again to a well-signed token of the
// credential that asked then, even to one that has expired or that the write itself killed.
func (s *server) once(scope credential.Scope, h handler) handler {
	return func(c *call) (answer, error) {
		denied := c.authenticate(scope)
		key := c.Header.Get(HeaderIdempotencyKey)
		if key == "" || denied != nil && !errors.Is(denied, access.ErrToken) {
			if denied != nil {
				return answer{}, denied
			}
			return c.withBody(h)
		}
		caller := c.caller.Credential
		if denied == nil {
			return c.withOnce(h, key, caller.ID.String())
		}
		text, _ := bearerToken(c.Request)
		former, err := s.authority.Former(c.Context(), text)
		if err != nil {
			return answer{}, denied
		}
		return c.withOnce(func(*call) (answer, error) { return answer{}, denied }, key, former.String())
	}
}

func (c *call) withBody(h handler) (answer, error) {
	body, err := c.readBody("application/json")
	if err != nil {
		return answer{}, err
	}
	c.body = body
	return h(c)
}

// withOnce gives the earlier answer of the same request, or runs h with c.once set.
func (c *call) withOnce(h handler, key, caller string) (answer, error) {
	if len(key) < 32 || len(key) > 128 || strings.ContainsFunc(key, func(r rune) bool { return notRequestID(r) || r == '.' }) {
		return answer{}, refuse(http.StatusBadRequest, InvalidRequest, "Idempotency-Key has to be 32 to 128 of A-Z a-z 0-9 _ -")
	}
	return c.withBody(func(c *call) (answer, error) {
		c.once = authority.Once{Key: key, Caller: caller, Request: c.fingerprint(), Render: c.render}
		a, err := answer{}, c.server.authority.Replay(c.Context(), c.at, c.once)
		if err == nil {
			a, err = h(c)
		}
		var replayed *authority.Replayed
		if errors.As(err, &replayed) {
			return unseal(replayed.Answer)
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
	Status   int             `json:"status"`
	Location string          `json:"location,omitempty"`
	Body     json.RawMessage `json:"body"`
}

// render makes the kept answer of a result: exactly what the first caller got.
func (c *call) render(result any) ([]byte, error) {
	a := resultAnswer(result)
	body, err := json.Marshal(a.body)
	if err != nil {
		return nil, err
	}
	return json.Marshal(sealedAnswer{a.status, a.header["Location"], body})
}

func unseal(kept []byte) (answer, error) {
	var s sealedAnswer
	if err := json.Unmarshal(kept, &s); err != nil {
		return answer{}, err
	}
	a := answer{status: s.Status, body: s.Body, header: map[string]string{HeaderReplayed: "true"}}
	if s.Location != "" {
		a.header["Location"] = s.Location
	}
	return a, nil
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
