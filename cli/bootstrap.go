package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/keyturn/keyturn/cli/internal/journal"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// BootstrapCmd founds the cluster.
type BootstrapCmd struct {
	License            string `help:"The license file; none where the authority is its own vendor." placeholder:"F"`
	BootstrapTokenFile string `help:"The file that holds the bootstrap token; - is standard input." placeholder:"F"`
	UpdateConfig       bool   `help:"Save the first secret in the context (default where none is current), and prove that it works."`
}

// Run bootstraps, or finishes a bootstrap that was cut off.
func (c *BootstrapCmd) Run(a *App) error {
	s, err := a.open(true)
	if err != nil {
		return err
	}
	if s.name == "" {
		s.name = "default"
		s.context, s.known = s.file.Context(s.name)
	}
	body, header := []byte("{}"), http.Header{}
	if c.License != "" {
		if body, err = a.input(c.License); err != nil {
			return &failure{what: "--license", why: err}
		}
	}
	if c.BootstrapTokenFile != "" {
		text, err := a.input(c.BootstrapTokenFile)
		if err != nil {
			return &failure{what: "--bootstrap-token-file", why: err}
		}
		header.Set(httpapi.HeaderBootstrapToken, string(bytes.TrimSpace(text)))
	}
	return s.settle(owed{
		what: "bootstrap", command: "bootstrap", header: header, public: true,
		entry:   journal.Entry{Method: "POST", Path: "/v1/bootstrap", Body: body, UpdateConfig: c.UpdateConfig},
		prepare: func() error { return c.prepare(s) },
		deliver: func(e journal.Entry, answer []byte) error { return c.deliver(s, e, answer) },
	})
}

// prepare makes sure that there is a place for the first secret.
func (c *BootstrapCmd) prepare(s *session) error {
	switch {
	case !c.UpdateConfig:
		return nil
	case s.context.ClientID != "" || s.context.ClientSecret != "" || s.context.ClientSecretCommand != "":
		return usage(fmt.Sprintf("--update-config: context %q holds a credential already, which would be lost; name another one with --context", s.name))
	case s.context.Server != "" && s.context.Server != s.server:
		return usage(fmt.Sprintf("--update-config: context %q is for another server; name another one with --context", s.name))
	}
	return s.checkWritable()
}

func (c *BootstrapCmd) deliver(s *session, e journal.Entry, answer []byte) error {
	var b httpapi.Bootstrapped
	if err := json.Unmarshal(answer, &b); err != nil {
		return err
	}
	saved := false
	if e.UpdateConfig || c.UpdateConfig {
		err := s.save(e.Context, fresh{b.ClientID, b.ClientSecret, b.Version})
		if err != nil && !errors.Is(err, errKept) {
			return err
		}
		if saved = err == nil; saved {
			s.screen.note("the secret is saved in context %q of %s, and works", e.Context, s.path)
		}
	}
	if s.flags.JSON {
		return s.wire(answer)
	}
	rows := [][]string{{"cluster_id", b.ClusterID}, {"peer_id", b.PeerID}, {"license_id", b.LicenseID}, {"client_id", b.ClientID}}
	if !saved {
		rows = append(rows, []string{"client_secret", b.ClientSecret})
	}
	return s.data(table(append(rows, []string{"version", strconv.Itoa(b.Version)}, []string{"scopes", strings.Join(b.Scopes, " ")})))
}
