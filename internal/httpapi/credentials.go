package httpapi

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
)

// list is GET /v1/credentials.
func (s *server) list(c *call) (answer, error) {
	query, err := c.query()
	if err != nil {
		return answer{}, err
	}
	limit, err := limited(query, 50, 500)
	if err != nil {
		return answer{}, err
	}
	include, after := query.Get("include"), query.Get("cursor")
	if include != "" && include != "revoked" {
		return answer{}, refuse(http.StatusBadRequest, InvalidRequest, "include can only be revoked")
	}
	if after != "" {
		if _, err := id.Parse(id.Client, after); err != nil {
			return answer{}, refuse(http.StatusBadRequest, InvalidRequest, "cursor has to be a next_cursor of an earlier answer")
		}
	}
	page, err := s.authority.List(c.Context(), c.caller, c.at, after, limit, include != "")
	if err != nil {
		return answer{}, err
	}
	w := CredentialPage{Credentials: make([]Credential, 0, len(page.Credentials)), NextCursor: optional(page.Next)}
	for _, one := range page.Credentials {
		w.Credentials = append(w.Credentials, credentialWire(one, c.at))
	}
	return answer{body: w}, nil
}

// query reads the parameters behind the path. A malformed one, or one that is there twice, would else be left out in
// silence.
func (c *call) query() (url.Values, error) {
	values, err := url.ParseQuery(c.URL.RawQuery)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, InvalidRequest, "the query is malformed")
	}
	return values, unrepeated(values)
}

// limited reads how many things a page may have.
func limited(query url.Values, usual, most int) (int, error) {
	text := query.Get("limit")
	if text == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, refuse(http.StatusBadRequest, InvalidRequest, fmt.Sprintf("limit has to be 1 to %d", most))
	}
	return n, nil
}

// create is POST /v1/credentials.
func (s *server) create(c *call) (answer, error) {
	var w CreateRequest
	if err := decodeBody(c.body, &w); err != nil {
		return answer{}, err
	}
	scopes, err := credential.ParseScopes(w.Scopes)
	if err != nil {
		return answer{}, err
	}
	r := authority.CreateRequest{Name: w.Name, Scopes: scopes, Labels: w.Labels}
	if w.ExpiresInSeconds != nil {
		if *w.ExpiresInSeconds < 1 || *w.ExpiresInSeconds > math.MaxInt32 {
			return answer{}, refuse(http.StatusBadRequest, InvalidRequest, fmt.Sprintf("expires_in_seconds has to be 1 to %d", math.MaxInt32))
		}
		r.ExpiresIn = time.Duration(*w.ExpiresInSeconds) * time.Second
	}
	if r.Key, err = publicKey(w.PublicKey); err != nil {
		return answer{}, err
	}
	if err := credential.CheckReason(w.Reason); err != nil {
		return answer{}, err
	}
	done, err := s.authority.Create(c.Context(), c.caller, c.origin(w.Reason), r, c.once)
	return resultOf(done, err)
}

func publicKey(text []byte) (*jwk.Key, error) {
	if len(text) == 0 || string(text) == "null" {
		return nil, nil
	}
	key, err := jwk.Parse(text)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, InvalidRequest, "public_key: "+err.Error())
	}
	return &key, nil
}

// target is the client id in the path. What is not one cannot exist.
func (c *call) target() (id.ClientID, error) {
	target, err := id.ParseClientID(c.PathValue("client_id"))
	if err != nil {
		return target, refuse(http.StatusNotFound, NotFound, "there is no such credential: a client id is cli_ and 26 letters or digits, or that with -7 (a version) behind it")
	}
	return target, nil
}

// get is GET /v1/credentials/{client_id}.
func (s *server) get(c *call) (answer, error) {
	target, err := c.target()
	if err != nil {
		return answer{}, err
	}
	query, err := c.query()
	if err != nil {
		return answer{}, err
	}
	include := query.Get("include")
	if include != "" && include != "versions" {
		return answer{}, refuse(http.StatusBadRequest, InvalidRequest, "include can only be versions")
	}
	found, err := s.authority.Find(c.Context(), c.caller, c.at, target)
	if err != nil {
		return answer{}, err
	}
	if include == "" {
		return answer{body: credentialWire(found, c.at)}, nil
	}
	return c.detail(found)
}

// revoke is DELETE /v1/credentials/{client_id}.
func (s *server) revoke(c *call) (answer, error) {
	target, err := c.target()
	if err != nil {
		return answer{}, err
	}
	query, err := c.query()
	if err != nil {
		return answer{}, err
	}
	reason := query.Get("reason")
	if err := credential.CheckReason(reason); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, s.authority.Revoke(c.Context(), c.caller, c.origin(reason), target)
}

// rotate is POST /v1/credentials/{client_id}/rotate.
func (s *server) rotate(c *call) (answer, error) {
	target, err := c.target()
	if err != nil {
		return answer{}, err
	}
	r, reason, err := c.rotation()
	if err != nil {
		return answer{}, err
	}
	done, err := s.authority.Rotate(c.Context(), c.caller, c.origin(reason), target, r, c.once)
	return resultOf(done, err)
}

// rotateShared is POST /v1/cluster/credentials/rotate.
func (s *server) rotateShared(c *call) (answer, error) {
	r, reason, err := c.rotation()
	if err != nil {
		return answer{}, err
	}
	done, err := s.authority.RotateShared(c.Context(), c.caller, c.origin(reason), r, c.once)
	return resultOf(done, err)
}

func (c *call) rotation() (authority.RotateRequest, string, error) {
	var w RotateRequest
	if err := decodeBody(c.body, &w); err != nil {
		return authority.RotateRequest{}, "", err
	}
	r := authority.RotateRequest{Window: credential.DefaultWindow, Emergency: w.Emergency}
	if w.Emergency {
		r.Window = 0
	}
	if w.WindowSeconds != nil {
		r.Window = time.Duration(max(-1, min(*w.WindowSeconds, math.MaxInt32))) * time.Second
	}
	var err error
	if r.Key, err = publicKey(w.PublicKey); err != nil {
		return r, "", err
	}
	return r, w.Reason, credential.CheckReason(w.Reason)
}

// shared is GET /v1/cluster/credentials.
func (s *server) shared(c *call) (answer, error) {
	found, err := s.authority.Shared(c.Context(), c.at)
	if err != nil {
		return answer{}, err
	}
	return c.detail(found)
}
