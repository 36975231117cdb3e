package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// App is one keyturn-sidecar: everything that it reads from and writes to.
type App struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Env            func(name string) string // "" where a variable is not set
	Now            func() time.Time
	Context        context.Context // ends when the person or the system wants the program to stop
	Version        string          // of the build
}

// tree is the whole command line.
type tree struct {
	RunIt   RunCmd     `cmd:"" name:"run" help:"Join the cluster if this host has not, and answer until told to stop."`
	Status  StatusCmd  `cmd:"" help:"Print how the running sidecar stands, as JSON."`
	Deny    DenyCmd    `cmd:"" help:"Refuse a credential, a version of one, or a peer on this host at once, whatever the authority says."`
	Allow   AllowCmd   `cmd:"" help:"Take a deny back."`
	Resync  ResyncCmd  `cmd:"" help:"Drop the copy of the ledgers and accept the authority's: after it was restored from a backup."`
	Export  ExportCmd  `cmd:"" help:"Print the copy of the ledgers, running or not: keyturn import makes an authority of it that was lost."`
	Version VersionCmd `cmd:"" help:"Print the version of this program."`
}

// The exit statuses; those of keyturn.
const (
	exitDone = iota
	exitFailed
	exitUsage
	exitRefused
	exitNotFound
	exitUnreachable
)

// usage is an error in what was typed.
type usage struct{ text string }

// Error is the text.
func (u usage) Error() string { return u.text }

// Run does what args say and returns the exit status: 0 done, 1 failed, 2 usage, 3 refused by the authority, 5 authority
// unreachable, or no sidecar running.
func (a App) Run(args []string) int {
	err := a.run(args)
	if err == nil {
		return exitDone
	}
	_, _ = fmt.Fprintln(a.Stderr, "keyturn-sidecar:", err)
	return exitStatus(err)
}

func exitStatus(err error) int {
	var wrong usage
	var answer *httpapi.Error
	var waits *agent.NotReadyError
	switch {
	case errors.As(err, &wrong), errors.Is(err, agent.ErrSettings), errors.Is(err, agent.ErrJoinKey):
		return exitUsage
	case errors.Is(err, agent.ErrRefused), errors.Is(err, agent.ErrLicense):
		return exitRefused
	case errors.Is(err, agent.ErrNotRunning), errors.Is(err, agent.ErrNoAnswer), errors.Is(err, httpapi.ErrUnreachable), errors.As(err, &waits):
		return exitUnreachable
	case errors.As(err, &answer) && answer.Status >= 500:
		return exitUnreachable
	case errors.As(err, &answer):
		return exitRefused
	}
	return exitFailed
}

// keyForm finds what looks like a join key or a token, and a secret.
var keyForm = regexp.MustCompile(`eyJ[0-9A-Za-z_-]{8,}\.|sec_[0-9A-Za-z]{49}`)

func (a *App) run(args []string) error {
	for _, arg := range args {
		if keyForm.MatchString(arg) {
			return usage{"an argument holds a key or a secret, which everybody on this host can read in the list of processes: revoke it, " +
				"and give the next one with --join-key-file or KEYTURN_JOIN_KEY"}
		}
	}
	var t tree
	helped := false
	k, err := kong.New(&t,
		kong.Name("keyturn-sidecar"),
		kong.Description("Check and issue tokens on every host, also when the authority is gone."),
		kong.Writers(a.Stdout, a.Stderr),
		kong.Exit(func(int) { helped = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
	)
	if err != nil {
		return err
	}
	ctx, err := k.Parse(args)
	if helped {
		return nil
	}
	if err != nil {
		return usage{strings.TrimSuffix(err.Error(), "\n") + "; see: keyturn-sidecar --help"}
	}
	return ctx.Run(a)
}

// VersionCmd prints the version.
type VersionCmd struct{}

// Run prints it.
func (VersionCmd) Run(a *App) error {
	_, err := fmt.Fprintln(a.Stdout, a.Version)
	return err
}
