package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/jwk"
)

// How old the last proof of freshness may be, where a Config says nothing else.
const (
	DefaultOfflineRead  = 24 * time.Hour
	DefaultOfflineWrite = time.Hour
)

// Errors of Open.
var (
	// ErrSettings says that a Config cannot work as it is.
	ErrSettings = errors.New("settings do not go together")
	// ErrJoinKey says that there is no join key, or that what was given is none.
	ErrJoinKey = errors.New("a join key is needed")
	// ErrRefused says that the authority refused the join.
	ErrRefused = errors.New("the authority refused the join")
	// ErrLicense says that this host itself does not accept the cluster's license, having joined.
	ErrLicense = errors.New("this host does not accept the cluster's license")
)

// Config is what a sidecar is told. Authority, DataDir and Listen are required.
type Config struct {
	Authority string // its URL
	DataDir   string // made with mode 0700 where it is missing
	Listen    string // HOST:PORT or unix:PATH

	Name    string // of this peer, for people; "": the host's
	JoinKey string // with which it joins, on the first run only; it goes nowhere else

	OfflineRead  time.Duration // how old the last proof of freshness may be for scopes that only read; 0: 24 h
	OfflineWrite time.Duration // for all else, but not longer than OfflineRead; 0: 1 h

	TLSCert, TLSKey string
	InsecureHTTP    bool
	SocketMode      fs.FileMode // of a unix socket; 0: 0600
	SocketGroup     string
	Hosts           []string // Host headers that are answered beside those of this host; "*": any
	MetricsOpen     bool     // serve /metrics to other hosts too

	VendorKeys []jwk.Key // whose license the cluster has to have; none: any, or the cluster's own
	PeerIssuer bool      // put the peer's id into the tokens' "iss"
	SignAtOnce bool      // sign before verifiers can have seen the key, although the authority answers

	Version   string
	Log       zerolog.Logger    // the zero value writes nothing
	Now       func() time.Time  // nil: time.Now
	Transport http.RoundTripper // to the authority; nil: one of its own

	InsecureAuthority bool // plain HTTP to an authority on another host
}

func (c Config) check() error {
	switch {
	case c.Authority == "":
		return fmt.Errorf("%w: name the authority with --authority URL", ErrSettings)
	case c.DataDir == "":
		return fmt.Errorf("%w: name a data directory with --data-dir", ErrSettings)
	case c.OfflineRead < 0 || c.OfflineWrite < 0:
		return fmt.Errorf("%w: --offline-read and --offline-write cannot be negative", ErrSettings)
	}
	return c.checkAuthority()
}

// checkAuthority makes sure that secrets do not travel to another host in the open by accident.
func (c Config) checkAuthority() error {
	client, err := httpapi.NewClient(c.Authority, httpapi.ClientOptions{Transport: c.Transport})
	if err != nil {
		return fmt.Errorf("%w: --authority: %w", ErrSettings, err)
	}
	if client.Plain() && !c.InsecureAuthority {
		return fmt.Errorf("%w: --authority %s is another host in plain HTTP: secrets would travel unencrypted, and whoever is on the way "+
			"could change what this host hears; write https://, or say --insecure-authority where the way there is protected otherwise",
			ErrSettings, client.Server())
	}
	return nil
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	if c.OfflineRead == 0 {
		c.OfflineRead = DefaultOfflineRead
	}
	if c.OfflineWrite == 0 {
		c.OfflineWrite = DefaultOfflineWrite
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Transport == nil {
		c.Transport = newTransport(http.DefaultTransport.(*http.Transport).Clone())
	}
	return c
}
