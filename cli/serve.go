package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/command"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/serve"
)

// vendorKeys is a JWK set of vendor keys that a build trusts by itself: -ldflags "-X main.vendorKeys=…".
var vendorKeys string

// ServeCmd runs the authority over one file.
type ServeCmd struct {
	DataDir            string   `required:"" help:"The data directory; made where it is missing." placeholder:"D"`
	Listen             string   `default:"127.0.0.1:8080" help:"HOST:PORT or unix:PATH." placeholder:"A"`
	Issuer             string   `help:"The issuer URL that bootstrap fixes; the URL at which it is called where nothing is said." placeholder:"URL"`
	VendorKey          []string `help:"A vendor's public key, whose licenses are accepted; may be given again. None: the authority is its own vendor." placeholder:"F"`
	LicenseID          string   `help:"The only license that is accepted." placeholder:"ID"`
	BootstrapTokenFile string   `help:"The file with the token that bootstrap has to show; - is standard input." placeholder:"F"`
	TokenAlg           string   `default:"ES256" enum:"ES256,EdDSA,RS256" help:"How tokens are signed: ES256, EdDSA or RS256."`
	TokenIss           string   `default:"url" enum:"url,peer_id" help:"What the tokens' iss is: url (the issuer) or peer_id."`
	TLSCert            string   `name:"tls-cert" help:"The TLS certificate chain, PEM; read again when it changes." placeholder:"F"`
	TLSKey             string   `name:"tls-key" help:"The key of the certificate, PEM." placeholder:"F"`
	InsecureHTTP       bool     `name:"insecure-http" help:"Plain HTTP off loopback, behind a proxy that speaks TLS."`
	TrustedProxy       []prefix `help:"A network whose X-Forwarded-For, -Proto and -Host count; may be given again." placeholder:"CIDR"`
	AcceptClock        bool     `help:"Go on although the clock is behind the newest record."`
}

// prefix is a network, or one address.
type prefix struct{ netip.Prefix }

// UnmarshalText reads 10.0.0.0/8 or 10.0.0.1.
func (p *prefix) UnmarshalText(b []byte) error {
	if ip, err := netip.ParseAddr(string(b)); err == nil {
		p.Prefix = netip.PrefixFrom(ip, ip.BitLen())
		return nil
	}
	return p.Prefix.UnmarshalText(b)
}

// Run serves until the program is told to stop. A second signal does not wait.
func (c *ServeCmd) Run(a *App) error {
	config, err := c.config(a)
	if err != nil {
		return err
	}
	defer command.Hasten(a.Context)()
	s, err := serve.Open(a.Context, config)
	if errors.Is(err, serve.ErrSettings) {
		return usage(err.Error())
	}
	if err != nil {
		return &failure{what: "serve", why: err}
	}
	defer command.OnHangup(s.Reload)()
	if err := s.Run(a.Context); err != nil {
		return &failure{what: "serve", why: err}
	}
	return nil
}

func (c *ServeCmd) config(a *App) (serve.Config, error) {
	vendors, err := c.vendors(a)
	if err != nil {
		return serve.Config{}, err
	}
	var only id.ID
	if c.LicenseID != "" {
		if only, err = id.Parse(id.License, c.LicenseID); err != nil {
			return serve.Config{}, usage("--license-id: " + plain(err.Error()))
		}
	}
	token, err := c.bootstrapToken(a)
	if err != nil {
		return serve.Config{}, &failure{what: "--bootstrap-token-file", why: err}
	}
	proxies := make([]netip.Prefix, len(c.TrustedProxy))
	for i, p := range c.TrustedProxy {
		proxies[i] = p.Prefix
	}
	return serve.Config{
		DataDir: c.DataDir, Listen: c.Listen, Issuer: c.Issuer, VendorKeys: vendors, LicenseID: only, BootstrapToken: token,
		TokenAlg: c.TokenAlg, PeerIssuer: c.TokenIss == "peer_id", TLSCert: c.TLSCert, TLSKey: c.TLSKey, InsecureHTTP: c.InsecureHTTP,
		TrustedProxies: proxies, AcceptClock: c.AcceptClock, Version: a.Version, Log: a.logger(zerolog.InfoLevel), Now: a.Now,
	}, nil
}

// vendors are the keys that the build trusts, and those of the files.
func (c *ServeCmd) vendors(a *App) ([]jwk.Key, error) {
	var vendors []jwk.Key
	if vendorKeys != "" {
		built, err := jwk.ParseSet([]byte(vendorKeys))
		if err != nil {
			return nil, &failure{what: "the vendor keys of this build", why: err}
		}
		vendors = built.Keys
	}
	for _, name := range c.VendorKey {
		text, err := a.input(name)
		var key jwk.Key
		if err == nil {
			key, err = jwk.Parse(text)
		}
		if err == nil && key.Alg() != "EdDSA" {
			err = fmt.Errorf("licenses are signed with Ed25519, and this is a key for %s", key.Alg())
		}
		if err != nil {
			return nil, &failure{what: "--vendor-key " + name, why: err, next: "give the public key, the F.pub of: keyturn license keygen --out F"}
		}
		vendors = append(vendors, key)
	}
	return vendors, nil
}

func (c *ServeCmd) bootstrapToken(a *App) (string, error) {
	if c.BootstrapTokenFile == "" {
		return "", nil
	}
	text, err := a.input(c.BootstrapTokenFile)
	if err != nil {
		return "", err
	}
	token := bytes.TrimSpace(text)
	if len(token) == 0 || bytes.ContainsAny(token, "\r\n") {
		return "", fmt.Errorf("%s has to hold one line: the token", c.BootstrapTokenFile)
	}
	return string(token), nil
}

// logger writes JSON lines to standard error, and lines for people where that is a terminal.
func (a *App) logger(level zerolog.Level) zerolog.Logger {
	w := a.Stderr
	if a.isTerminal(a.Stderr) {
		w = zerolog.ConsoleWriter{Out: a.Stderr, NoColor: !a.screen.lively()}
	}
	return zerolog.New(zerolog.SyncWriter(w)).Level(level)
}
