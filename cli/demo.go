package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/devcluster"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// DemoCmd shows a whole cluster at work, and checks each thing that it says.
type DemoCmd struct{}

// The demo's window is short enough to be watched, and the whole of it never takes longer than demoTime.
const (
	demoWindow = 5 * time.Second
	demoTime   = time.Minute
	demoPeers  = 3
)

// Run plays all scenes on a cluster of its own, which is gone afterwards. It fails at the first thing that does not hold.
func (c *DemoCmd) Run(a *App) (err error) {
	ctx, cancel := context.WithTimeout(a.Context, demoTime)
	defer cancel()
	cluster, err := devcluster.Start(ctx, devcluster.Options{Peers: demoPeers, Version: a.Version, Log: a.logger(zerolog.ErrorLevel), Now: a.Now})
	if err != nil {
		return &failure{what: "demo", why: err}
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client, err := httpapi.NewClient(cluster.URL(), httpapi.ClientOptions{Transport: transport, UserAgent: "keyturn-demo/" + a.Version})
	if err != nil {
		return err
	}
	d := &demo{App: a, Context: ctx, cluster: cluster, client: client, transport: transport}
	for _, url := range cluster.Sidecars() {
		sidecar, err := httpapi.NewClient(url, httpapi.ClientOptions{Transport: transport, UserAgent: "keyturn-demo/" + a.Version})
		if err != nil {
			return err
		}
		d.sidecars = append(d.sidecars, sidecar)
	}
	d.first = pair{cluster.ClientID(), cluster.Secret().Reveal()}
	if err := d.play(); err != nil {
		if a.Context.Err() != nil {
			err = errors.New("stopped before its end")
		}
		return &failure{what: fmt.Sprintf("demo, step %d", d.scene), why: err, exit: exitFailed}
	}
	return a.data(fmt.Sprintf("\nAll of it held: %d things checked over HTTP, in %s.\n", d.checked, a.Now().Sub(d.began).Round(time.Second)))
}

// pair is what a client authenticates with.
type pair struct{ id, secret string }

// demo is one performance.
type demo struct {
	*App
	context.Context
	cluster   *devcluster.Cluster
	client    *httpapi.Client   // of the authority
	sidecars  []*httpapi.Client // one for each
	transport *http.Transport
	began     time.Time
	scene     int
	checked   int

	first, second, third pair      // the shared credential's versions
	admin                string    // an access token of the newest version
	killed               string    // an access token of the second version
	scoped               pair      // a credential that may only read services
	scopedToken          string    // its token
	deadline             time.Time // of the first version
}

// play runs the scenes in their order.
func (d *demo) play() error {
	d.began = d.Now()
	for _, scene := range []struct {
		title string
		play  func() error
	}{
		{"A vendor issues a license", d.showLicense},
		{"The authority is bootstrapped with it", d.showBootstrap},
		{fmt.Sprintf("%d hosts join, each with a key that works once", demoPeers), d.showPeers},
		{"The first secret gets a token", d.showToken},
		{"A client gets a credential of its own", d.showCreate},
		{"Tokens are checked", d.showIntrospection},
		{"A token can be narrower than its credential", d.showNarrow},
		{fmt.Sprintf("The shared credential is rotated, with a window of %s", demoWindow), d.showRotation},
		{"Old and new are accepted side by side", d.showWindow},
		{"The window closes, and nobody who changed in time notices", d.showEnd},
		{"A secret has leaked: emergency rotation", d.showEmergency},
		{"The client's credential is revoked", d.showRevocation},
		{"The authority is gone, and the sidecars go on", d.showOutage},
		{"The authority is back on its file", d.showRestart},
		{"The audit trail tells who did what", d.showAudit},
	} {
		d.scene++
		if err := d.data(fmt.Sprintf("\n%2d. %s\n", d.scene, scene.title)); err != nil {
			return err
		}
		if err := scene.play(); err != nil {
			_ = d.data(fmt.Sprintf("    %s %s\n", d.mark("FAILED", "✗", "31"), plain(err.Error())))
			return err
		}
	}
	return nil
}

// mark is a word, or a coloured sign on a terminal.
func (d *demo) mark(word, sign, colour string) string {
	switch {
	case !d.isTerminal(d.Stdout) || d.Env("TERM") == "dumb":
		return word
	case d.Env("NO_COLOR") != "":
		return sign
	}
	return "\x1b[" + colour + "m" + sign + "\x1b[0m"
}

// holds prints what has just been checked.
func (d *demo) holds(format string, args ...any) error {
	d.checked++
	return d.data("    " + d.mark("ok", "✓", "32") + " " + fmt.Sprintf(format, args...) + "\n")
}

// check prints what was checked where it holds, and fails where it does not.
func (d *demo) check(ok bool, format string, args ...any) error {
	if !ok {
		return fmt.Errorf("this does not hold: "+format, args...)
	}
	return d.holds(format, args...)
}

// token gets a token as a client does.
func (d *demo) token(p pair, scope string) (httpapi.Token, error) {
	return d.tokenAt(d.client, p, scope)
}

func (d *demo) tokenAt(c *httpapi.Client, p pair, scope string) (httpapi.Token, error) {
	t, _, err := c.Token(d, httpapi.TokenParams{ClientID: p.id, ClientSecret: p.secret, Scope: scope})
	return t, err
}

// onSidecars checks something on every sidecar, and prints it once.
func (d *demo) onSidecars(what string, holds func(c *httpapi.Client) error) error {
	for _, c := range d.sidecars {
		if err := holds(c); err != nil {
			return fmt.Errorf("%s, at the sidecar %s: %w", what, c.Server(), err)
		}
	}
	return d.holds("%s", what)
}

// worksOnSidecars checks that a secret gets a token on every sidecar.
func (d *demo) worksOnSidecars(p pair, what string) error {
	return d.onSidecars(what, func(c *httpapi.Client) error {
		_, err := d.tokenAt(c, p, "")
		return err
	})
}

// A sidecar hears of a revocation at once. How soon is said, and the demo gives up after heard: a busy machine takes its time.
const (
	heard  = 15 * time.Second
	atOnce = "within a second"
)

// diesOnSidecars checks that a secret and a token are refused on every sidecar, and says how soon in the place of atOnce.
func (d *demo) diesOnSidecars(p pair, token, what string) error {
	began := d.Now()
	for _, c := range d.sidecars {
		if err := d.dies(c, p, token, began.Add(heard)); err != nil {
			return fmt.Errorf("%s, at the sidecar %s: %w", what, c.Server(), err)
		}
	}
	if took := d.Now().Sub(began); took > time.Second {
		what = strings.Replace(what, atOnce, "within "+(took.Truncate(time.Second)+time.Second).String(), 1)
	}
	return d.holds("%s", what)
}

// dies waits until a sidecar refuses a secret and a token.
func (d *demo) dies(c *httpapi.Client, p pair, token string, deadline time.Time) error {
	for {
		_, err := d.tokenAt(c, p, "")
		let := d.authz(c, token)
		if isRefusal(err) && isRefusal(let) {
			return nil
		}
		if err != nil && !isRefusal(err) || d.Now().After(deadline) {
			return fmt.Errorf("it is not refused: the secret %w, the token %w", cmpErr(err), cmpErr(let))
		}
		if err := d.pause(10 * time.Millisecond); err != nil {
			return err
		}
	}
}

// authz asks a sidecar as a proxy does. "" is a token that is not asked about.
func (d *demo) authz(c *httpapi.Client, token string) error {
	if token == "" {
		return &httpapi.Error{Code: httpapi.Unauthorized}
	}
	_, err := c.Call(d, httpapi.Request{Path: "/authz", Bearer: token})
	return err
}

func isRefusal(err error) bool {
	var e *httpapi.Error
	return errors.As(err, &e) && e.Code == httpapi.Unauthorized
}

// call asks the API and decodes the answer.
func (d *demo) call(into any, r httpapi.Request) error {
	a, err := d.client.Call(d, r)
	if err != nil || into == nil {
		return err
	}
	return a.Decode(into)
}

// refusal checks that something was refused, with that code, and prints the words of the refusal.
func (d *demo) refusal(err error, code httpapi.Code, what string) error {
	var e *httpapi.Error
	if !errors.As(err, &e) || e.Code != code {
		return fmt.Errorf("%s: want %s, got %w", what, code, cmpErr(err))
	}
	return d.holds("%s: %d %s, %q", what, e.Status, e.Code, e.Message)
}

// cmpErr is an error also where there was none.
func cmpErr(err error) error {
	if err == nil {
		return errors.New("no refusal")
	}
	return err
}

// several runs checks until one fails.
func several(checks ...func() error) error {
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// words joins a list for a person.
func words(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}
