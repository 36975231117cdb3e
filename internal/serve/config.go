// Package serve runs an authority as one process over one data directory: it opens the keys and the store, listens, keeps
// house every minute, and stops without cutting a request off. Import and Recover work on the directory while nobody
// serves it.
//
// It decides nothing that a client asks for: that is authority and access, and httpapi speaks HTTP. It writes log lines,
// one for each request, and never a secret, a token, a query string or a body into them. Its errors are for people: they
// name the file or setting, and what to do.
package serve

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/listen"
)

// ErrSettings says that a Config cannot work as it is: what was asked for has to change, not the machine.
var ErrSettings = errors.New("settings do not go together")

// unsettled is an error about the settings. Its text is all that a person needs.
type unsettled struct{ error }

// Is makes it match ErrSettings.
func (unsettled) Is(target error) bool { return target == ErrSettings }

// Unwrap gives the cause.
func (u unsettled) Unwrap() error { return u.error }

// Config is what a Server is told. DataDir and Listen are required; the zero value of all else works on loopback.
type Config struct {
	DataDir string // made with mode 0700 where it is missing
	Listen  string // HOST:PORT (port 0: any free one) or unix:PATH

	Issuer         string    // the issuer URL that bootstrap fixes; "": the URL at which it was called
	VendorKeys     []jwk.Key // whose licenses are accepted; none: the authority is its own vendor
	LicenseID      id.ID     // the one license that is accepted; "": any
	BootstrapToken string    // what bootstrap has to show; "": nothing
	TokenAlg       string    // ES256, EdDSA or RS256; "": ES256
	PeerIssuer     bool      // put the peer's id into the tokens' "iss"
	AcceptClock    bool      // go on although the clock is behind the newest record
	SignAtOnce     bool      // sign with a new token key before verifiers can have seen it

	TLSCert, TLSKey string         // PEM files, read again when they change
	InsecureHTTP    bool           // plain HTTP off loopback: a proxy in front speaks TLS
	TrustedProxies  []netip.Prefix // whose X-Forwarded-For, -Proto and -Host count
	MetricsOpen     bool           // serve /metrics to other hosts too, not to this one only

	Version string           // of the build
	Log     zerolog.Logger   // the zero value writes nothing
	Now     func() time.Time // nil: time.Now
}

// check refuses settings that contradict each other, and says where to listen.
func (c Config) check(ctx context.Context, log zerolog.Logger) (*listen.Server, error) {
	if c.DataDir == "" {
		return nil, errors.New("a data directory is needed: name one with --data-dir")
	}
	if c.Issuer != "" {
		if err := authority.CheckIssuer(c.Issuer); err != nil {
			return nil, err
		}
	}
	switch c.TokenAlg {
	case "", "ES256", "EdDSA", "RS256":
	default:
		return nil, fmt.Errorf("token algorithm %.16q: want ES256, EdDSA or RS256", c.TokenAlg)
	}
	return listen.New(ctx, listen.Config{
		At: c.Listen, TLSCert: c.TLSCert, TLSKey: c.TLSKey, InsecureHTTP: c.InsecureHTTP, Log: log,
	})
}

// options are the settings that the authority takes. Where other hosts' calls look like this host's, because a proxy makes
// them, nothing is private.
func (c Config) options(p *listen.Server) authority.Options {
	return authority.Options{
		Issuer: c.Issuer, VendorKeys: c.VendorKeys, LicenseID: c.LicenseID, BootstrapToken: c.BootstrapToken,
		Private: p.Private() && len(c.TrustedProxies) == 0, TokenAlg: c.TokenAlg, PeerIssuer: c.PeerIssuer,
		SignAtOnce: c.SignAtOnce, AcceptClock: c.AcceptClock, SoleWriter: true,
	}
}
