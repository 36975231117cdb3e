package id

import (
	"fmt"
	"strconv"
	"strings"
)

// maxVersionDigits bounds a version to 1..999999999, which fits every int.
const maxVersionDigits = 9

// ClientID is what a client sends as its client_id: a credential, and mostly a version of it. The zero ClientID means
// none; as text, and in JSON, it is "".
type ClientID struct {
	Credential ID  // of kind Client
	Version    int // from 1; 0 is the bare form, which names the whole credential
}

// ParseClientID reads cli_<26>, or cli_<26>-<version> with a version of 1 to 999999999 in its only spelling: no leading
// zero, no sign. The error wraps ErrMalformed.
func ParseClientID(s string) (ClientID, error) {
	credential, version, versioned := strings.Cut(s, "-")
	if kind, _, ok := split(credential); !ok || kind != Client {
		return ClientID{}, fmt.Errorf("%w: want a client id, %s_ and %d characters of %s, got %s",
			ErrMalformed, Client, textSize, alphabet, quote(s))
	}
	if !versioned {
		return ClientID{Credential: ID(credential)}, nil
	}
	n, ok := parseVersion(version)
	if !ok {
		return ClientID{}, fmt.Errorf("%w: want a client id with a version such as -7, got %s", ErrMalformed, quote(s))
	}
	return ClientID{Credential: ID(credential), Version: n}, nil
}

// String returns the text of c, such as cli_01jd6y0e00f2bvwrw0xk3y4t5z-7, or without -7 where c is bare.
func (c ClientID) String() string {
	if c.Bare() {
		return string(c.Credential)
	}
	return string(c.Credential) + "-" + strconv.Itoa(c.Version)
}

// Bare says that c names no version.
func (c ClientID) Bare() bool { return c.Version == 0 }

// MarshalText returns the text of c; JSON gets a string from it. It never fails.
func (c ClientID) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what ParseClientID reads, and "" as the zero ClientID. The error wraps ErrMalformed.
func (c *ClientID) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*c = ClientID{}
		return nil
	}
	*c, err = ParseClientID(string(b))
	return err
}

func parseVersion(s string) (n int, ok bool) {
	if s == "" || len(s) > maxVersionDigits || s[0] == '0' {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}
