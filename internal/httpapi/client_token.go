package httpapi

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
)

// TokenParams is who asks for a token, and for which. The secret goes into the request and nowhere else.
type TokenParams struct {
	ClientID     string
	ClientSecret string
	Assertion    string // instead of the secret (RFC 7523 §2.2); used once, so the request is not sent again
	Scope        string // space separated; "": all that the credential has
	Audience     string // "": the issuer
}

// Token gets an access token (RFC 6749 §4.4). The client authenticates with HTTP Basic (§2.3.1). It returns the answer
// and its bytes, with the errors of Call; a refused client is an *Error whose OAuth is invalid_client. It is sent again
// like a GET.
func (c *Client) Token(ctx context.Context, p TokenParams) (Token, []byte, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if p.Scope != "" {
		form.Set("scope", p.Scope)
	}
	if p.Audience != "" {
		form.Set("audience", p.Audience)
	}
	u := *c.base
	u.Path += "/v1/oauth/token"
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	if p.Assertion != "" {
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", p.Assertion)
	} else {
		pair := url.QueryEscape(p.ClientID) + ":" + url.QueryEscape(p.ClientSecret)
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	}
	a, err := c.send(ctx, sending{
		method: http.MethodPost, url: u.String(), body: []byte(form.Encode()), header: header, again: p.Assertion == "",
	})
	if err != nil {
		return Token{}, nil, err
	}
	var t Token
	if err := a.Decode(&t); err != nil {
		return Token{}, nil, err
	}
	return t, a.Body, nil
}
