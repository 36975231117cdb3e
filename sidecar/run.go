package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/command"
	"github.com/keyturn/keyturn/internal/duration"
	"github.com/keyturn/keyturn/internal/jwk"
)

// RunCmd runs the sidecar.
type RunCmd struct {
	Authority    string   `required:"" help:"The address of the authority." placeholder:"URL"`
	DataDir      string   `required:"" help:"The data directory; made where it is missing." placeholder:"D"`
	Listen       string   `default:"127.0.0.1:8081" help:"HOST:PORT or unix:PATH." placeholder:"A"`
	Name         string   `help:"The name of this peer, for people; that of the host where nothing is said." placeholder:"N"`
	JoinKeyFile  string   `help:"The file with the join key, on the first run; - is standard input. KEYTURN_JOIN_KEY holds the key itself." placeholder:"F"`
	TLSCert      string   `name:"tls-cert" help:"The TLS certificate chain, PEM; read again when it changes." placeholder:"F"`
	TLSKey       string   `name:"tls-key" help:"The key of the certificate, PEM." placeholder:"F"`
	InsecureHTTP bool     `name:"insecure-http" help:"Plain HTTP off loopback, behind a proxy that speaks TLS."`
	SocketMode   string   `help:"The mode of the unix socket, such as 0660; 0600 where nothing is said." placeholder:"M"`
	SocketGroup  string   `help:"The group of the unix socket." placeholder:"G"`
	Host         []string `help:"A Host header to answer beside those of loopback; * is any; may be given again." placeholder:"H"`
	VendorKey    []string `help:"A vendor's public key that has to have signed the cluster's license; may be given again." placeholder:"F"`
	TokenIss     string   `default:"url" enum:"url,peer_id" help:"What the tokens' iss is: url (the issuer) or peer_id."`
	MetricsOpen  bool     `help:"Answer /metrics to other hosts too."`
	LogLevel     string   `default:"info" enum:"debug,info,warn,error" help:"debug writes a line for each request: debug, info, warn or error."`

	OfflineRead  *duration.Value `help:"How old the last proof of freshness may be for scopes that only read; 24h where nothing is said." placeholder:"T"`
	OfflineWrite *duration.Value `help:"How old it may be for all other scopes, never older than for those; 1h where nothing is said." placeholder:"T"`

	InsecureAuthority bool `help:"Plain HTTP to an authority on another host, where the way there is protected otherwise."`
}

// Run answers until the program is told to stop. SIGHUP reads the certificate and the denied ones again; a second signal to
// stop does not wait.
func (c *RunCmd) Run(a *App) error {
	config, err := c.config(a)
	if err != nil {
		return err
	}
	defer command.Hasten(a.Context)()
	s, err := agent.Open(a.Context, config)
	if err != nil {
		return err
	}
	defer command.OnHangup(s.Reload)()
	return s.Run(a.Context)
}

func (c *RunCmd) config(a *App) (agent.Config, error) {
	key, err := c.joinKey(a)
	if err != nil {
		return agent.Config{}, err
	}
	mode, err := socketMode(c.SocketMode)
	if err != nil {
		return agent.Config{}, err
	}
	vendors, err := c.vendors()
	if err != nil {
		return agent.Config{}, err
	}
	read, write, err := c.bounds()
	if err != nil {
		return agent.Config{}, err
	}
	level, err := zerolog.ParseLevel(c.LogLevel)
	if err != nil {
		return agent.Config{}, usage{"--log-level: " + err.Error()}
	}
	return agent.Config{
		Authority: c.Authority, InsecureAuthority: c.InsecureAuthority, DataDir: c.DataDir, Listen: c.Listen, Name: c.Name, JoinKey: key,
		OfflineRead: read, OfflineWrite: write,
		TLSCert: c.TLSCert, TLSKey: c.TLSKey, InsecureHTTP: c.InsecureHTTP, SocketMode: mode, SocketGroup: c.SocketGroup,
		Hosts: c.Host, MetricsOpen: c.MetricsOpen, VendorKeys: vendors, PeerIssuer: c.TokenIss == "peer_id",
		Version: a.Version, Log: zerolog.New(zerolog.SyncWriter(a.Stderr)).Level(level), Now: a.Now,
	}, nil
}

// bounds are --offline-read and --offline-write; 0 is one of which nothing was said.
func (c *RunCmd) bounds() (read, write time.Duration, err error) {
	for at, said := range map[*time.Duration]*duration.Value{&read: c.OfflineRead, &write: c.OfflineWrite} {
		if said == nil {
			continue
		}
		if *at = time.Duration(*said); *at == 0 {
			return 0, 0, usage{"--offline-read and --offline-write have to be more than nothing: a second is as good as never offline"}
		}
	}
	if c.OfflineRead != nil && write > read {
		return 0, 0, usage{fmt.Sprintf("--offline-write %s is longer than --offline-read %s: who may not read after that time may not write either; "+
			"give the one for reading the longer time, or leave one out", c.OfflineWrite, c.OfflineRead)}
	}
	return read, write, nil
}

// joinKey reads the key from the file, or from the environment. Neither is needed on a host that has joined: then a file that
// is gone is fine.
func (c *RunCmd) joinKey(a *App) (string, error) {
	if c.JoinKeyFile == "" {
		return a.Env("KEYTURN_JOIN_KEY"), nil
	}
	var text []byte
	var err error
	if c.JoinKeyFile == "-" {
		text, err = io.ReadAll(io.LimitReader(a.Stdin, 64<<10))
	} else {
		text, err = os.ReadFile(c.JoinKeyFile)
	}
	if os.IsNotExist(err) && agent.Joined(c.DataDir) {
		return "", nil
	}
	if err != nil {
		return "", usage{"--join-key-file: " + err.Error()}
	}
	return string(bytes.TrimSpace(text)), nil
}

func socketMode(text string) (fs.FileMode, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n == 0 || n > 0o777 {
		return 0, usage{fmt.Sprintf("--socket-mode %.16q: want three or four octal digits, such as 0660", text)}
	}
	return fs.FileMode(n), nil
}

func (c *RunCmd) vendors() ([]jwk.Key, error) {
	var keys []jwk.Key
	for _, name := range c.VendorKey {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, usage{"--vendor-key: " + err.Error()}
		}
		key, err := jwk.Parse(text)
		if err != nil {
			return nil, usage{"--vendor-key " + name + ": " + err.Error()}
		}
		keys = append(keys, key)
	}
	return keys, nil
}
