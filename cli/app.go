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

	"github.com/keyturn/keyturn/internal/duration"
)

// App is one keyturn: everything that it reads from and writes to. The zero value of a field is not usable unless its
// comment says so.
type App struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Env            func(name string) string // "" where a variable is not set
	Now            func() time.Time
	Context        context.Context // ends when the person or the system wants the program to stop
	Version        string          // of the build

	// Terminal reports whether a stream is a terminal; nil: the system is asked.
	Terminal func(stream any) bool
	// Step is told the name of each step whose loss a journal has to survive; nil: nobody is told.
	Step func(name string)

	flags  flags    // of the command that runs
	args   []string // as they were typed
	screen *screen
}

// flags are those of every command.
type flags struct {
	Config  string         `help:"The file with contexts, instead of $XDG_CONFIG_HOME/keyturn/config.json." placeholder:"F"`
	Context string         `help:"The context of the config to use, instead of the current one." placeholder:"NAME"`
	Server  string         `help:"The address of the authority or sidecar." placeholder:"URL"`
	JSON    bool           `name:"json" help:"Print the answer of the API unchanged."`
	Timeout duration.Value `help:"How long to try each call, such as 10s or 2 minutes." default:"10s"`
	Verbose bool           `short:"v" help:"Tell on standard error what is asked of whom."`
}

// tree is the whole command line: noun, then verb.
type tree struct {
	Flags flags `embed:""`

	Demo        DemoCmd       `cmd:"" help:"Show a whole cluster at work, in seconds, and check each step."`
	Dev         DevCmd        `cmd:"" help:"Keep a cluster running to try things out."`
	Serve       ServeCmd      `cmd:"" help:"Run the authority over one file."`
	Bootstrap   BootstrapCmd  `cmd:"" help:"Found the cluster and get its first secret."`
	Token       TokenCmd      `cmd:"" help:"Print an access token."`
	Credentials credentials   `cmd:"" help:"List, create, rotate and revoke credentials."`
	Peers       peers         `cmd:"" help:"List, change and remove the hosts that check and issue tokens by themselves."`
	JoinKeys    joinKeys      `cmd:"" help:"Make, list and revoke the keys with which hosts join."`
	Keys        signingKeys   `cmd:"" help:"Rotate the key that tokens are signed with."`
	Cluster     clusters      `cmd:"" help:"Move the home to another region."`
	License     licenses      `cmd:"" help:"Issue, check and apply licenses."`
	Audit       AuditCmd      `cmd:"" help:"Print who did what, when and why."`
	Export      ExportCmd     `cmd:"" help:"Print the signed records and live hashes as JSON lines."`
	Import      ImportCmd     `cmd:"" help:"Load an export, or what sidecars have, into an empty data directory."`
	Recover     RecoverCmd    `cmd:"" help:"Mint a secret from the data directory, when every admin secret is lost."`
	Config      configs       `cmd:"" help:"Look at and change the contexts of the config."`
	Verify      VerifyCmd     `cmd:"" help:"Check a token against the cluster's keys."`
	VersionOf   VersionCmd    `cmd:"" name:"version" help:"Print the version of this program."`
	Completion  CompletionCmd `cmd:"" help:"Print a completion script for a shell."`
}

// Run does what args say and returns the exit status: 0 done, 1 failed, 2 usage, 3 refused by the authority, 4 not found,
// 5 authority unreachable.
func (a App) Run(args []string) (exit int) {
	a.screen, a.args = &screen{app: &a}, args
	err := a.run(args)
	if err == nil {
		return exitDone
	}
	a.screen.problem("keyturn:", err.Error())
	return exitStatus(err)
}

func (a *App) run(args []string) error {
	var t tree
	ctx, err := a.parse(&t, args)
	if err != nil || ctx == nil {
		return err
	}
	a.flags = t.Flags
	if a.flags.Timeout == 0 {
		return usage("--timeout has to be more than nothing")
	}
	return ctx.Run(a)
}

// parse reads the command line. Without an error and without a context there is nothing left to do: help was printed.
func (a *App) parse(t *tree, args []string) (*kong.Context, error) {
	for _, arg := range args {
		if secretForm.MatchString(arg) {
			return nil, usage("an argument holds a secret, which everybody on this host can read in the list of processes; rotate that secret, and give the next one by standard input, file, command or environment")
		}
	}
	helped := false
	k, err := a.parser(t, func(int) { helped = true })
	if err != nil {
		return nil, err
	}
	ctx, err := k.Parse(args)
	if helped {
		return nil, nil
	}
	if err != nil {
		return nil, a.misread(err)
	}
	return ctx, nil
}

// secretForm finds what looks like a secret, whatever its checksum says.
var secretForm = regexp.MustCompile(`sec_[0-9A-Za-z]{49}`)

// parser builds the command line's grammar; exit is called after help was printed.
func (a *App) parser(t *tree, exit func(int)) (*kong.Kong, error) {
	return kong.New(t,
		kong.Name("keyturn"),
		kong.Description("Rotate the one credential that a whole fleet shares, and lock nobody out."),
		kong.Writers(a.Stdout, a.Stderr),
		kong.Exit(exit),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
	)
}

// misread turns a parser's complaint into a usage error that says where to read on.
func (a *App) misread(err error) error {
	command := "keyturn"
	var p *kong.ParseError
	if errors.As(err, &p) && p.Context != nil {
		if node := p.Context.Selected(); node != nil {
			command = node.FullPath()
		} else if path := p.Context.Path; len(path) > 0 && path[len(path)-1].Node() != nil {
			command = path[len(path)-1].Node().FullPath()
		}
	}
	return usage(fmt.Sprintf("%s; see: %s --help", strings.TrimSuffix(err.Error(), "\n"), command))
}

// step tells a test that a step is reached.
func (a *App) step(name string) {
	if a.Step != nil {
		a.Step(name)
	}
}
