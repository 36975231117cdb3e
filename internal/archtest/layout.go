package archtest

import "slices"

// Rules returns the import rules of the whole module, each with its reason. Folders that do not exist break nothing.
func Rules() []Rule {
	return slices.Concat(pureRules(), onlyRules(), linkRules())
}

// pureRules keep the domain free of everything that has to be faked in a test.
func pureRules() []Rule {
	return []Rule{{
		Name: "pure",
		From: []string{
			"./internal/id/...", "./internal/credential/...", "./internal/duration/...", "./internal/jwk/...",
			"./internal/license/...", "./internal/peer/...", "./internal/usage/...", "./internal/ledger/...", "./internal/token/...",
			"./internal/access/...",
		},
		Not: []string{
			"github.com/aws/...", "net/http/...", "os/...",
			"log/...", "github.com/rs/zerolog/...",
			"go.etcd.io/bbolt/...", "./internal/bolt/...", "./internal/dynamo/...",
		},
		Reach: Own,
		Why: "the domain does no I/O and does not log: the same code decides on the authority, on every sidecar and " +
			"in property tests; take bytes, state and time as parameters, return errors",
	}, {
		Name:  "dynamo-bolt",
		From:  []string{"./internal/dynamo/..."},
		Not:   []string{"./internal/bolt/..."},
		Reach: Own,
		Why:   "adapters share a contract (storetest), not code: the functions would link bbolt",
	}, {
		Name:  "bolt-dynamo",
		From:  []string{"./internal/bolt/..."},
		Not:   []string{"./internal/dynamo/..."},
		Reach: Own,
		Why:   "adapters share a contract (storetest), not code: every sidecar would link the AWS SDK",
	}, {
		Name:  "waiting",
		From:  []string{"./internal/backoff/...", "./internal/rounds/..."},
		Not:   []string{"./internal/...", "net/...", "os/...", "github.com/..."},
		Reach: Direct,
		Why: "how long to wait and for whom is decided without knowing for what, so that all who wait can share it, and other " +
			"people's services that link sidecar/verify get nothing more with it",
	}, {
		Name:  "shortcut",
		From:  []string{"./internal/shortcut/..."},
		Not:   []string{"./internal/...", "github.com/...", "unsafe/..."},
		Reach: Direct,
		Why: "what reads requests beside net/http knows nothing of what is asked, so that it can be held against net/http alone; " +
			"its strings are kept by caches, and must not be pieces of a buffer",
	}}
}

// onlyRules name the one package that wraps a dependency.
func onlyRules() []Rule {
	return []Rule{
		only("jwt", "github.com/golang-jwt/...",
			"tokens are parsed and signed in one place, where the algorithm comes from the key and never from the "+
				"token (internal/bench alone measures against the bare library, and ships in nothing)",
			"./internal/token/...", "./internal/bench/..."),
		only("bbolt", "go.etcd.io/bbolt/...",
			"what is in the file, and what is fsynced before an answer, is decided in one place",
			"./internal/bolt/..."),
		only("jcs", "github.com/gowebpki/jcs/...",
			"the only thing that is signed in RFC 8785 form is a license; records are signed as the bytes they are",
			"./internal/license/..."),
		only("lambda", "github.com/aws/aws-lambda-go/...",
			"everything else speaks http.Handler, so that serve, tests and functions run the same code",
			"./internal/lambdahttp/..."),
		only("ristretto", "github.com/dgraph-io/ristretto/...",
			"a cache entry must compare the whole key and die with its generation; that is written down once",
			"./internal/verdict/..."),
		only("kong", "github.com/alecthomas/kong/...",
			"flags are the business of commands; a library takes parameters and options",
			"./cli/...", "./sidecar"),
		only("metrics", "github.com/VictoriaMetrics/metrics/...",
			"names and labels of metrics are a contract with dashboards and live in one place",
			"./internal/metrics/..."),
	}
}

func only(name, dependency, why string, wrappers ...string) Rule {
	return Rule{Name: name, From: []string{"./..."}, Except: wrappers, Not: []string{dependency}, Reach: Direct, Why: why}
}

// linkRules keep binaries small and their attack surface known.
func linkRules() []Rule {
	return []Rule{{
		Name: "commands",
		From: []string{"./cli/...", "./sidecar/..."},
		Not: []string{
			"github.com/aws/...", "./internal/lambdahttp/...", "./internal/dynamo/...", "./functions/...",
		},
		Reach: Link,
		Why: "the sidecar and the CLI run on hosts that have nothing to do with AWS; the KMS sealer is handed to " +
			"internal/keys by functions/internal/boot",
	}, {
		Name: "functions",
		From: []string{"./functions/..."},
		Not: []string{
			"github.com/alecthomas/kong/...", "go.etcd.io/bbolt/...", "./internal/bolt/...",
			"github.com/dgraph-io/ristretto/...", "./internal/verdict/...",
		},
		Reach: Link,
		Why:   "a function's start-up time and zip size are budgeted; it has no flags, no file and no use for a cache",
	}, {
		Name: "verify",
		From: []string{"./sidecar/verify/..."},
		Not: []string{
			"github.com/alecthomas/kong/...", "go.etcd.io/bbolt/...", "./internal/bolt/...", "./internal/agent/...",
			"./internal/replica/...", "github.com/rs/zerolog/...", "github.com/VictoriaMetrics/metrics/...",
		},
		Reach: Link,
		Why: "other people's services link this package: what only keyturn's own programs need is no business of theirs, " +
			"and what they link they have to update",
	}}
}
