package global_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/dynamo"
	"github.com/keyturn/keyturn/internal/dynamo/global"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/testkey"
	"github.com/keyturn/keyturn/internal/token"
)

const day = 24 * time.Hour

// patient waits as long as it takes: a history has no faults of DynamoDB, and a slow machine is none.
var patient = dynamo.Options{Patience: 5 * time.Minute, Attempt: 2 * time.Minute}

var (
	ctx     = context.Background()
	names   = [2]string{"eu-central-1", "us-east-1"}
	errOver = errors.New("the history has failed")
)

func stack() string { return string(debug.Stack()) }

// custody is the one of all regions: a ledger key and token keys made from names, so that a history is its seed's.
type custody struct {
	signer ledger.Signer
	tokens []*token.Signer
}

func newCustody(t testing.TB) *custody {
	s, err := ledger.NewSigner(testkey.Ed25519("ledger"))
	if err != nil {
		t.Fatal(err)
	}
	c := &custody{signer: s}
	for i := range 8 {
		key, err := token.NewSigner(testkey.Ed25519(fmt.Sprint("token", i)))
		if err != nil {
			t.Fatal(err)
		}
		c.tokens = append(c.tokens, key)
	}
	return c
}

func (c *custody) Anchor(context.Context, []jwk.Key, [][]byte) (jwk.Key, error) {
	return c.signer.Key(), nil
}
func (c *custody) LedgerKey() jwk.Key { return c.signer.Key() }
func (c *custody) Ledger(context.Context, *ledger.Cluster) (ledger.Signer, error) {
	return c.signer, nil
}

func (c *custody) Found(context.Context) (authority.Founding, error) {
	return authority.Founding{Signer: c.signer}, nil
}

func (c *custody) Token(_ context.Context, _ *ledger.Cluster, keyID string) (*token.Signer, error) {
	for _, s := range c.tokens {
		if s.Key().ID() == keyID {
			return s, nil
		}
	}
	return nil, authority.ErrNoKey
}

func (c *custody) NewToken(_ context.Context, _ string, published func(string) bool) (authority.NewKey, error) {
	for _, s := range c.tokens {
		if !published(s.Key().ID()) {
			return authority.NewKey{Key: s.Key()}, nil
		}
	}
	return authority.NewKey{}, errors.New("all keys are used up")
}

// region is one region: its table, and its authority.
type region struct {
	name  string
	table global.Table
	api   dynamo.API
	a     *authority.Authority
	skew  time.Duration // of its clock

	records map[string]*ledger.Record // whatever a copy of has ever been in its table, by its bytes
	later   []*ledger.Record          // the same
}

// handed is a secret that somebody was given.
type handed struct {
	credential id.ID
	client     string
	number     int
	secret     credential.Secret
	digest     credential.Digest
	admin      bool
	in         int // where it was given
}

// history is one random life of two regions.
type history struct {
	t           testing.TB
	seed        uint64
	rng         *rand.Rand
	now         time.Time
	regions     [2]region
	custody     *custody
	replication *global.Replication
	verifier    *ledger.Verifier
	partitioned bool
	late        time.Duration // how much time went by since everything had arrived
	secrets     []*handed
	known       []id.ID // credentials, in the order in which they were made
	wrong       string
	stalled     bool // there is nothing wrong but the machine
	log         []string
	count       map[string]int
}

func newHistory(t testing.TB, seed uint64, sides [2]region) *history {
	h := &history{t: t, seed: seed, rng: newRand(seed), now: start, regions: sides, custody: newCustody(t), count: map[string]int{}}
	h.verifier = ledger.NewVerifier(h.custody.signer.Key())
	h.replication = global.Replicate(sides[0].table, sides[1].table, h.rng)
	h.replication.Arrived = h.arrived
	for r := range h.regions {
		h.regions[r].records = map[string]*ledger.Record{}
		h.regions[r].skew = time.Duration(h.rng.IntN(12)) * time.Second
	}
	return h
}

// at is the instant by a region's clock.
func (h *history) at(r int) time.Time { return h.now.Add(h.regions[r].skew) }

func (h *history) fail(format string, args ...any) {
	for _, a := range args {
		if err, ok := a.(error); ok && errors.Is(err, context.DeadlineExceeded) {
			h.stalled = true // no such history has a deadline: the machine stood still for longer than a commit may take
		}
	}
	h.wrong = fmt.Sprintf("history %d: ", h.seed) + fmt.Sprintf(format, args...)
	panic(errOver)
}

func (h *history) must(err error) {
	if err != nil {
		h.fail("%v\n%s", err, stack())
	}
}

// arrived notes the record of a subject's copy that a table has from now on.
func (h *history) arrived(r int, c global.Change) {
	if c.Item == nil || !strings.HasPrefix(c.Key.PK, "S#cli_") || strings.HasSuffix(c.Key.SK, "#h") {
		return
	}
	data := memberB(c.Item["d"])
	if h.regions[r].records[string(data)] != nil {
		return
	}
	record, err := h.verifier.Open(data)
	h.must(err)
	h.regions[r].records[string(data)] = record
	h.regions[r].later = append(h.regions[r].later, record)
}

// open is a cold start.
func (h *history) open(r int) {
	s, err := dynamo.Open(ctx, h.regions[r].api, tableOf(h.regions[r].table), names[r], patient)
	h.must(err)
	h.regions[r].a, err = authority.Open(ctx, s, h.custody, authority.Options{
		Region: names[r], Private: true, TokenAlg: "EdDSA", SignAtOnce: true, Joins: r > 0,
	})
	h.must(err)
}

func tableOf(t global.Table) string {
	if l, ok := t.(*global.Local); ok {
		return l.Name
	}
	return "memory"
}

func (h *history) restart(r int) {
	h.must(h.regions[r].a.Close())
	h.open(r)
	h.say("%s: a new process", names[r])
}

// wrote is called after each call that may have written.
func (h *history) wrote() { h.must(h.replication.Observe(ctx)) }

func (h *history) bootstrap() {
	h.open(0)
	h.open(1)
	_, err := h.regions[1].a.Bootstrap(ctx, authority.Origin{At: h.at(1)}, authority.BootstrapRequest{URL: "https://auth.example"}, authority.Once{})
	if !errors.Is(err, authority.ErrNotHome) {
		h.fail("bootstrap where another region is to: %v", err)
	}
	done, err := h.regions[0].a.Bootstrap(ctx, authority.Origin{At: h.at(0)}, authority.BootstrapRequest{URL: "https://auth.example"}, authority.Once{})
	h.must(err)
	h.wrote()
	h.given(0, done.Credential, 1, done.Secret)
	if h.rng.IntN(3) > 0 {
		h.deliver(h.replication.Pending() * 3)
	}
}

func (h *history) given(r int, c *credential.Credential, number int, s credential.Secret) *handed {
	g := &handed{credential: c.ID, client: c.ClientID(number), number: number, secret: s, digest: s.Hash().Digest(), in: r}
	g.admin = c.Scopes.Allow(credential.Admin)
	h.secrets = append(h.secrets, g)
	if !slices.Contains(h.known, c.ID) {
		h.known = append(h.known, c.ID)
	}
	return g
}

func (h *history) authenticate(r int, g *handed) (access.Client, error) {
	return h.regions[r].a.Authenticate(ctx, h.at(r), access.Proof{ClientID: g.client, Secret: g.secret.Reveal()})
}

// caller is somebody who may do everything, if a region knows one.
func (h *history) caller(r int) (access.Caller, bool) {
	for _, g := range slices.Backward(h.secrets) {
		if !g.admin || h.rng.IntN(3) == 0 {
			continue
		}
		client, err := h.authenticate(r, g)
		if err != nil {
			continue
		}
		issued, err := h.regions[r].a.Issue(ctx, h.at(r), client, access.TokenRequest{})
		if err != nil {
			continue // no token key has arrived yet
		}
		c, err := h.regions[r].a.Check(ctx, h.at(r), issued.AccessToken, "")
		h.must(err)
		return c, true
	}
	return access.Caller{}, false
}

// home says whether a region takes itself for the home.
func (h *history) home(r int) bool {
	_, here, err := h.regions[r].a.Home(ctx)
	return err == nil && here
}
