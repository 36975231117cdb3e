package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/cli/internal/config"
	"github.com/keyturn/keyturn/internal/backoff"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/id"
)

// errKept says that a context holds something that a fresh secret must not replace.
var errKept = errors.New("the context holds another secret")

// fresh is a secret that was just handed out.
type fresh struct {
	clientID, secret string
	version          int
}

// checkWritable proves that the config can be replaced, by replacing it with itself: nothing less tells, for a file can be
// mounted by itself, and a folder can be full.
func (s *session) checkWritable() error {
	err := config.Change(s.Context, s.path, func(*config.File) error { return nil })
	if err != nil {
		return &failure{what: "--update-config", why: fmt.Errorf("the config cannot be written: %w", err), next: "nothing was changed"}
	}
	return nil
}

// save puts a fresh secret into a context and proves that it works. It returns errKept, and has changed nothing, where the
// context belongs to another credential by now, or holds a newer version.
func (s *session) save(name string, f fresh) error {
	client := f.clientID
	err := config.Change(s.Context, s.path, func(file *config.File) error {
		c, _ := file.Context(name)
		if c.ClientID != "" && (bare(c.ClientID) != bare(f.clientID) || versionOf(c.ClientID) > f.version) || c.ClientSecretCommand != "" {
			return errKept
		}
		if c.ClientID == bare(f.clientID) {
			client = c.ClientID // who names no version goes on doing so
		}
		if c.Server == "" {
			c.Server = s.server
		}
		c.ClientID, c.ClientSecret = client, f.secret
		file.Set(name, c)
		return nil
	})
	if err != nil {
		return err
	}
	s.step("saved")
	if err := s.prove(httpapi.TokenParams{ClientID: client, ClientSecret: f.secret}); err != nil {
		return fmt.Errorf("the new secret is saved in %s, but no token could be had with it: %w", s.path, err)
	}
	s.step("proven")
	return nil
}

// prove gets a token. A refusal is asked about again for a moment: a peer or a cache may not have heard of the secret yet,
// and to call it bad would send a person looking for a fault that is none.
func (s *session) prove(p httpapi.TokenParams) error {
	for wait := 50 * time.Millisecond; ; wait *= 2 {
		_, _, err := s.tokenFor(p)
		if !unauthorized(err) || wait > time.Second {
			return err
		}
		if !backoff.Wait(s.Context, wait) {
			return errInterrupted
		}
	}
}

// versionOf is the version that a client id names; 0 where it names none.
func versionOf(client string) int {
	c, err := id.ParseClientID(client)
	if err != nil {
		return 0
	}
	return c.Version
}
