package verdict_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/token"
	"github.com/keyturn/keyturn/internal/verdict"
)

// counter is a Decider whose state is a number. The answers carry the number that they were made of, so that an answer of
// an older state can be told.
type counter struct {
	state      atomic.Int64
	credential *credential.Credential
	read       chan struct{} // if not nil: told when the state has been read,
	proceed    chan struct{} // and asked before the answer is given
}

func newCounter() *counter { return &counter{credential: &credential.Credential{ID: subject}} }

func (c *counter) look() int64 {
	n := c.state.Load()
	if c.read != nil {
		c.read <- struct{}{}
		<-c.proceed
	}
	return n
}

// Check implements verdict.Decider.
func (c *counter) Check(context.Context, time.Time, string, string) (access.Caller, error) {
	n := c.look()
	return access.Caller{Credential: c.credential, Claims: token.Claims{
		Subject: subject.String(), PeerID: owner.String(), IssuedAt: n, ExpiresAt: now.Unix() + 60, Audience: token.Audience{issuer},
	}}, nil
}

// Authenticate implements verdict.Decider.
func (c *counter) Authenticate(context.Context, time.Time, access.Proof) (access.Client, error) {
	return access.Client{Credential: c.credential, Version: &credential.Version{Number: int(c.look())}}, nil
}

// asks returns the number that an answer was made of, for a token and for a pair.
func asks(g *verdict.Gate, secret string) map[string]func() int64 {
	return map[string]func() int64{
		"Check": func() int64 {
			c, _ := g.Check(context.Background(), now, "text", "")
			return c.Claims.IssuedAt
		},
		"Authenticate": func() int64 {
			c, _ := g.Authenticate(context.Background(), now, access.Proof{ClientID: subject.String(), Secret: secret})
			return int64(c.Version.Number)
		},
	}
}

func moves(g *verdict.Generations) map[string]func() {
	return map[string]func(){"Move": func() { g.Move(subject) }, "MoveAll": g.MoveAll}
}

// A tombstone arrives while an answer is being computed from the state before it.
func TestGate_AnswerThatIsOvertakenIsNotKept(t *testing.T) {
	t.Parallel()
	secret := credential.NewSecret().Reveal()
	for _, ask := range []string{"Check", "Authenticate"} {
		for _, move := range []string{"Move", "MoveAll"} {
			g, c := verdict.NewGenerations(), newCounter()
			c.read, c.proceed = make(chan struct{}), make(chan struct{})
			gate, err := verdict.NewGate(c, g, verdict.Options{})
			if err != nil {
				t.Fatal(err)
			}
			old := make(chan int64)
			go func() { old <- asks(gate, secret)[ask]() }()
			<-c.read
			c.state.Add(1)
			moves(g)[move]()
			close(c.proceed)
			if n := <-old; n != 0 {
				t.Errorf("%s: the reader did not see what was before", ask)
			}
			gate.Wait()
			c.read = nil
			if n := asks(gate, secret)[ask](); n != 1 {
				t.Errorf("%s after %s answers from before it", ask, move)
			}
			gate.Close()
		}
	}
}

// Whoever asks after a Move has returned gets an answer of that state or a later one, whatever others do meanwhile.
func TestGate_NoOldAnswerAfterAMove(t *testing.T) {
	t.Parallel()
	secret := credential.NewSecret().Reveal()
	for _, ask := range []string{"Check", "Authenticate"} {
		g, c := verdict.NewGenerations(), newCounter()
		gate, err := verdict.NewGate(c, g, verdict.Options{Tokens: verdict.Limits{Entries: 100}, Pairs: verdict.Limits{Entries: 100}})
		if err != nil {
			t.Fatal(err)
		}
		var moved atomic.Int64 // the newest state whose Move has returned
		var readers sync.WaitGroup
		stop := make(chan struct{})
		for range 4 {
			readers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					least := moved.Load()
					if n := asks(gate, secret)[ask](); n < least {
						t.Errorf("%s answers %d after %d", ask, n, least)
						return
					}
				}
			})
		}
		for i := range 3000 {
			n := c.state.Add(1)
			if i%2 == 0 {
				g.Move(subject)
			} else {
				g.MoveAll()
			}
			moved.Store(n)
			gate.Wait() // lets the readers in, and their entries
		}
		close(stop)
		readers.Wait()
		gate.Wait()
		for range 2 {
			if n := asks(gate, secret)[ask](); n != c.state.Load() {
				t.Errorf("%s: in the end %d, want %d", ask, n, c.state.Load())
			}
			gate.Wait()
		}
		tokens, pairs := gate.Stats()
		if tokens.Hits+pairs.Hits == 0 {
			t.Errorf("%s: nothing was answered from memory", ask)
		}
		gate.Close()
	}
}

// Many subjects move at once, each beside its readers.
func TestTokens_ManySubjects(t *testing.T) {
	t.Parallel()
	tokens, g := newTokens(t, verdict.Limits{Entries: 1000})
	var all sync.WaitGroup
	for i := range 8 {
		name, text := id.New(id.Client, now), fmt.Sprint("text", i)
		all.Go(func() {
			for n := range 500 {
				g.Move(name)
				if v, ok := tokens.Get(now, text); ok {
					t.Errorf("%d is good after the move", v)
				}
				tokens.Set(g.Mark(), now, text, verdict.Entry[int]{Value: n, Subject: name})
				tokens.Wait()
				if v, ok := tokens.Get(now, text); ok && v != n {
					t.Errorf("%d, want %d", v, n)
				}
			}
		})
	}
	all.Wait()
}

// A move is more than one step, and so is a stamp. However they meet, no stamp of the state before outlives the move.
func TestGenerations_NoStampOutlivesItsMove(t *testing.T) {
	t.Parallel()
	g := verdict.NewGenerations()
	before := g.Mark()
	var stands func() bool
	var ok bool
	g.MoveAround(subject, func() { stands, ok = g.Rests(before, subject, owner, func() {}) })
	if ok && stands() {
		t.Error("a stamp in the middle of a move stands after it")
	}
	for name, move := range moves(g) {
		m := g.Mark()
		stands, ok := g.Rests(m, subject, owner, move)
		if ok && stands() {
			t.Errorf("%s in the middle of a stamp does not end it", name)
		}
	}
}
