// Package fleet runs a cluster as real processes: `keyturn serve` and keyturn-sidecars, each of which reaches the authority
// over a link of its own that can be cut. It is for tests of what only processes show: kill -9, partitions, and minutes of
// load.
//
// It judges nothing. The cluster is its own vendor; its files are in one directory, and what the programs log goes to files
// there. Errors name the program and the end of its log.
package fleet

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/program"
	"github.com/keyturn/keyturn/internal/testport"
)

// Options of a Fleet. Dir and Peers are required.
type Options struct {
	Dir     string        // for programs, data and logs; there already
	Peers   int           // how many sidecars
	Offline time.Duration // bound of age for all scopes; 0: the defaults
}

// Fleet is an authority and its sidecars. Its methods are called by one goroutine at a time.
type Fleet struct {
	o         Options
	Authority *Process
	Sidecars  []*Process
	Links     []*Link // of each sidecar to the authority

	ClientID, Secret string // of the shared credential
}

// Start builds the programs, starts an authority, founds the cluster, and lets the sidecars join.
func Start(ctx context.Context, o Options) (_ *Fleet, err error) {
	f := &Fleet{o: o}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := program.Build(ctx, o.Dir, "-ldflags=-s -w", "github.com/keyturn/keyturn/cli", "github.com/keyturn/keyturn/sidecar"); err != nil {
		return f, err
	}
	serve, sidecar := filepath.Join(o.Dir, "cli"), filepath.Join(o.Dir, "sidecar")
	port, err := testport.Take()
	if err != nil {
		return f, err
	}
	f.Authority = &Process{
		Name: "authority", port: port, Dir: filepath.Join(o.Dir, "authority"), log: filepath.Join(o.Dir, "authority.log"),
		command: func(listen string) *exec.Cmd {
			return exec.Command(serve, "serve", "--data-dir", filepath.Join(o.Dir, "authority"), "--listen", listen)
		},
	}
	if err := f.Authority.Start(ctx); err != nil {
		return f, err
	}
	if err := f.bootstrap(ctx); err != nil {
		return f, err
	}
	for i := range o.Peers {
		if err := f.add(ctx, sidecar, fmt.Sprintf("sidecar-%d", i+1)); err != nil {
			return f, err
		}
	}
	return f, nil
}

// Client returns a client of one of the processes, without retries.
func Client(p *Process, t http.RoundTripper) (*httpapi.Client, error) {
	return httpapi.NewClient(p.URL(), httpapi.ClientOptions{Transport: t, Timeout: 30 * time.Second})
}

func (f *Fleet) bootstrap(ctx context.Context) error {
	c, err := Client(f.Authority, nil)
	if err != nil {
		return err
	}
	a, err := c.Call(ctx, httpapi.Request{Method: http.MethodPost, Path: "/v1/bootstrap", Body: struct{}{}})
	if err != nil {
		return err
	}
	var b httpapi.Bootstrapped
	if err := a.Decode(&b); err != nil {
		return err
	}
	f.ClientID, f.Secret = b.ClientID, b.ClientSecret
	return nil
}

// Admin returns a token of the shared credential.
func (f *Fleet) Admin(ctx context.Context) (string, error) {
	c, err := Client(f.Authority, nil)
	if err != nil {
		return "", err
	}
	t, _, err := c.Token(ctx, httpapi.TokenParams{ClientID: f.ClientID, ClientSecret: f.Secret})
	return t.AccessToken, err
}

// add lets one more sidecar join.
func (f *Fleet) add(ctx context.Context, sidecar, name string) error {
	link, err := NewLink(f.Authority.port.Address())
	if err != nil {
		return err
	}
	key, err := f.joinKey(ctx, name)
	if err != nil {
		link.Close()
		return err
	}
	port, err := testport.Take()
	if err != nil {
		link.Close()
		return err
	}
	dir := filepath.Join(f.o.Dir, name)
	p := &Process{
		Name: name, port: port, Dir: dir, log: filepath.Join(f.o.Dir, name+".log"),
		command: func(listen string) *exec.Cmd {
			args := []string{"run", "--authority", "http://" + link.Address(), "--data-dir", dir, "--listen", listen, "--name", name}
			if f.o.Offline > 0 {
				args = append(args, "--offline-read", f.o.Offline.String(), "--offline-write", f.o.Offline.String())
			}
			cmd := exec.Command(sidecar, args...)
			cmd.Env = append(os.Environ(), "KEYTURN_JOIN_KEY="+key)
			return cmd
		},
	}
	f.Links, f.Sidecars = append(f.Links, link), append(f.Sidecars, p)
	if err := p.Start(ctx); err != nil {
		return err
	}
	return p.Ready(ctx)
}

func (f *Fleet) joinKey(ctx context.Context, name string) (string, error) {
	bearer, err := f.Admin(ctx)
	if err != nil {
		return "", err
	}
	c, err := Client(f.Authority, nil)
	if err != nil {
		return "", err
	}
	a, err := c.Call(ctx, httpapi.Request{
		Method: http.MethodPost, Path: "/v1/join-keys", Bearer: bearer,
		Body: httpapi.JoinKeyRequest{Name: name, MaxScopes: []string{"admin"}},
	})
	if err != nil {
		return "", err
	}
	var made httpapi.CreatedJoinKey
	if err := a.Decode(&made); err != nil {
		return "", err
	}
	return made.JoinKey, nil
}

// Close kills every process and closes every link.
func (f *Fleet) Close() {
	for _, p := range f.Sidecars {
		p.Kill()
		p.port.Release()
	}
	for _, l := range f.Links {
		l.Close()
	}
	if f.Authority != nil {
		f.Authority.Kill()
		f.Authority.port.Release()
	}
}
