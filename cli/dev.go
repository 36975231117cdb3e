package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/command"
	"github.com/keyturn/keyturn/internal/devcluster"
	"github.com/keyturn/keyturn/internal/serve"
)

// DevCmd keeps a cluster for trying things out running.
type DevCmd struct {
	Dir      string `help:"Where the cluster is kept, instead of $XDG_DATA_HOME/keyturn/dev." placeholder:"D"`
	Listen   string `help:"HOST:PORT on loopback; where it listened before, or any free port, where nothing is said." placeholder:"A"`
	Peers    int    `default:"1" help:"How many sidecars run beside the authority." placeholder:"N"`
	TokenAlg string `default:"ES256" enum:"ES256,EdDSA,RS256" help:"How tokens are signed: ES256, EdDSA or RS256."`
}

// maxDevPeers is how many sidecars the license of a cluster for trying things out allows.
const maxDevPeers = 100

// devReady is what --json prints once the cluster answers.
type devReady struct {
	Server       string   `json:"server"`
	Sidecars     []string `json:"sidecars"`
	ClientID     string   `json:"client_id"`
	ClientSecret string   `json:"client_secret"`
	Config       string   `json:"config"`
	DataDir      string   `json:"data_dir"`
}

// Run keeps the cluster up until the program is told to stop.
func (c *DevCmd) Run(a *App) (err error) {
	if c.Peers < 0 || c.Peers > maxDevPeers {
		return usage(fmt.Sprintf("--peers has to be 0 to %d", maxDevPeers))
	}
	dir, err := c.dir(a)
	if err != nil {
		return err
	}
	level := zerolog.WarnLevel
	if a.flags.Verbose {
		level = zerolog.InfoLevel
	}
	cluster, err := devcluster.Start(a.Context, devcluster.Options{
		Dir: dir, Listen: c.Listen, Peers: c.Peers, TokenAlg: c.TokenAlg, Version: a.Version, Log: a.logger(level), Now: a.Now,
	})
	if errors.Is(err, serve.ErrSettings) {
		return usage(err.Error())
	}
	if err != nil {
		return &failure{what: "dev", why: err}
	}
	defer command.Hasten(a.Context)()
	defer func() { err = errors.Join(err, cluster.Close()) }()
	if err := c.tell(a, cluster); err != nil {
		return err
	}
	select {
	case <-a.Context.Done():
		a.screen.note("stopping; the cluster is kept in %s", dir)
		return nil
	case <-cluster.Ended():
		return &failure{what: "dev", why: cmp.Or(cluster.Err(), errors.New("the authority has ended"))}
	}
}

// dir is where the cluster is kept.
func (c *DevCmd) dir(a *App) (string, error) {
	if c.Dir != "" {
		return filepath.Abs(c.Dir)
	}
	base := a.Env("XDG_DATA_HOME")
	if !filepath.IsAbs(base) { // the specification wants others ignored
		home := a.Env("HOME")
		if home == "" {
			return "", usage("there is no home directory to keep the cluster in; name a place with --dir D")
		}
		base = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(base, "keyturn", "dev"), nil
}

// tell says where the cluster is and how to use it: one line with --json.
func (c *DevCmd) tell(a *App, cluster *devcluster.Cluster) error {
	if a.flags.JSON {
		line, err := json.Marshal(devReady{
			Server: cluster.URL(), Sidecars: cluster.Sidecars(), ClientID: cluster.ClientID(), ClientSecret: cluster.Secret().Reveal(),
			Config: cluster.ConfigFile(), DataDir: cluster.DataDir(),
		})
		return orWire(a, line, err)
	}
	keyturn := "keyturn --config " + shellWord(cluster.ConfigFile())
	rows := [][]string{{"server", cluster.URL()}}
	for _, url := range cluster.Sidecars() {
		rows = append(rows, []string{"sidecar", url})
	}
	if err := a.data(table(append(rows, [][]string{
		{"client_id", cluster.ClientID()},
		{"config", cluster.ConfigFile() + " (with the secret)"},
		{"data_dir", cluster.DataDir()},
	}...))); err != nil {
		return err
	}
	a.screen.note("\nIt runs until you stop it, and the same command brings the same cluster up again. Try, in another terminal:\n\n"+
		"  %s token\n  %s credentials create --name app --scopes services.read\n  %s credentials rotate --update-config\n  %s audit\n",
		keyturn, keyturn, keyturn, keyturn)
	return nil
}
