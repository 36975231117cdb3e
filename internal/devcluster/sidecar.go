package devcluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/backoff"
	"github.com/keyturn/keyturn/internal/disk"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// sidecar is a running sidecar.
type sidecar struct {
	agent *agent.Agent
	stop  context.CancelFunc
	ended chan error
}

// startSidecars starts as many sidecars as were asked for. Those that have joined before come up as the same peers.
func (c *Cluster) startSidecars(ctx context.Context) error {
	for n := len(c.sidecars) + 1; n <= c.o.Peers; n++ {
		s, err := c.startSidecar(ctx, n)
		if err != nil {
			return fmt.Errorf("sidecar %d: %w", n, err)
		}
		c.sidecars = append(c.sidecars, s)
	}
	return nil
}

// SidecarDir is the data directory of the sidecar of that number, from 1.
func (c *Cluster) SidecarDir(n int) string { return filepath.Join(c.dir, fmt.Sprintf("sidecar-%d", n)) }

func (c *Cluster) startSidecar(ctx context.Context, n int) (*sidecar, error) {
	dir := c.SidecarDir(n)
	config := agent.Config{
		Authority: c.URL(), DataDir: dir, Listen: c.listenOf(n), Name: filepath.Base(dir), SignAtOnce: true,
		Version: c.o.Version, Log: c.o.Log, Now: c.o.Now,
	}
	if !agent.Joined(dir) {
		key, err := c.joinKey(ctx, config.Name)
		if err != nil {
			return nil, err
		}
		config.JoinKey = key
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	a, err := listening(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := disk.Write(filepath.Join(dir, listenFile), []byte(strings.TrimPrefix(a.URL(), "http://"))); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &sidecar{agent: a, stop: stop, ended: make(chan error, 1)}
	go func() { s.ended <- a.Run(running) }()
	if err := c.awaitReady(ctx, s); err != nil {
		return nil, errors.Join(err, s.end())
	}
	return s, nil
}

// listening opens a sidecar and binds its address: the one of before, or any other where somebody else has that now.
func listening(ctx context.Context, config agent.Config) (*agent.Agent, error) {
	a, err := agent.Open(ctx, config)
	if err != nil {
		return nil, err
	}
	err = a.Listen(ctx)
	if err == nil {
		return a, nil
	}
	err = errors.Join(err, a.Close())
	if config.Listen == anyPort {
		return nil, err
	}
	config.Listen = anyPort
	return listening(ctx, config)
}

// listenFile says where a sidecar listened before.
const (
	listenFile = "listen"
	anyPort    = "127.0.0.1:0"
)

func (c *Cluster) listenOf(n int) string {
	text, err := disk.ReadPrivate(filepath.Join(c.SidecarDir(n), listenFile))
	if err != nil {
		return anyPort
	}
	return string(text)
}

// end stops the sidecar and waits until it has let go of its file. Ending it again does nothing.
func (s *sidecar) end() error {
	s.stop()
	err := <-s.ended
	s.ended <- nil
	return err
}

// awaitReady waits for the sidecar's first copy of the ledgers.
func (c *Cluster) awaitReady(ctx context.Context, s *sidecar) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		failed := s.agent.Ready(ctx, c.o.Now().UTC().Truncate(time.Second))
		if len(failed) == 0 {
			return nil
		}
		select {
		case err := <-s.ended:
			s.ended <- err
			return errors.New("it has ended")
		case <-ctx.Done():
			return fmt.Errorf("it is not ready: %v", failed)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// joinKey asks for a key as an operator would: one that lets a peer issue whatever its clients may have.
func (c *Cluster) joinKey(ctx context.Context, name string) (string, error) {
	if c.secret.IsZero() {
		return "", fmt.Errorf("%s holds no secret to ask for a join key with", c.ConfigFile())
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client, err := httpapi.NewClient(c.URL(), httpapi.ClientOptions{Transport: transport})
	if err != nil {
		return "", err
	}
	t, _, err := client.Token(ctx, httpapi.TokenParams{ClientID: c.ClientID(), ClientSecret: c.secret.Reveal()})
	if err != nil {
		return "", err
	}
	a, err := patiently(ctx, func() (httpapi.Answer, error) {
		return client.Call(ctx, httpapi.Request{
			Method: http.MethodPost, Path: "/v1/join-keys", Bearer: t.AccessToken,
			Body: map[string]any{"name": name, "max_scopes": []string{"admin"}},
		})
	})
	if err != nil {
		return "", err
	}
	var made struct {
		JoinKey string `json:"join_key"`
	}
	return made.JoinKey, a.Decode(&made)
}

// patiently calls again where the authority could not promise anything in time: on a machine that stood still for a moment. A
// join key that nobody uses does no harm.
func patiently(ctx context.Context, call func() (httpapi.Answer, error)) (a httpapi.Answer, err error) {
	for range 3 {
		a, err = call()
		var busy *httpapi.Error
		if !errors.As(err, &busy) || busy.Status != http.StatusServiceUnavailable || !backoff.Wait(ctx, 100*time.Millisecond) {
			break
		}
	}
	return a, err
}

// stopSidecars stops all of them.
func (c *Cluster) stopSidecars() (err error) {
	for _, s := range c.sidecars {
		err = errors.Join(err, s.end())
	}
	c.sidecars = nil
	return err
}

// Sidecars are the addresses of the sidecars, without a trailing slash.
func (c *Cluster) Sidecars() []string {
	list := make([]string, len(c.sidecars))
	for i, s := range c.sidecars {
		list[i] = s.agent.URL()
	}
	return list
}
