package verdict_test

import (
	"flag"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/testdose"
	"github.com/keyturn/keyturn/internal/testleak"
	"github.com/keyturn/keyturn/internal/verdict"
)

const (
	subject = id.ID("cli_01jd6y0e00f2bvwrw0xk3y4t5z")
	owner   = id.ID("peer_01jd6y0e00f2bvwrw0xk3y4t5z")
)

func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", "20") // of 100: how many there are is said by doses
	testleak.Main(m)
}

func newTokens(t testing.TB, l verdict.Limits) (*verdict.Tokens[int], *verdict.Generations) {
	t.Helper()
	g := verdict.NewGenerations()
	tokens, err := verdict.NewTokens[int](g, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tokens.Close)
	return tokens, g
}

func entry(v int) verdict.Entry[int] {
	return verdict.Entry[int]{Value: v, Subject: subject, Owner: owner}
}

// other returns a subject that shares no counter with those of the test.
func other(g *verdict.Generations) id.ID {
	for {
		name, before, peerBefore := id.New(id.Client, now), g.Of(subject), g.Of(owner)
		g.Move(name)
		if g.Of(subject) == before && g.Of(owner) == peerBefore {
			return name
		}
	}
}

func TestTokens_WhatMovesMakesItDead(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		move func(g *verdict.Generations)
		dead bool
	}{
		"Nothing": {func(*verdict.Generations) {}, false},
		"Subject": {func(g *verdict.Generations) { g.Move(subject) }, true},
		"Owner":   {func(g *verdict.Generations) { g.Move(owner) }, true},
		"All":     {func(g *verdict.Generations) { g.MoveAll() }, true},
		"Another": {func(g *verdict.Generations) { g.Move(other(g)) }, false},
	} {
		tokens, g := newTokens(t, verdict.Limits{})
		tokens.Set(g.Mark(), now, "text", entry(1))
		tokens.Wait()
		row.move(g)
		if _, ok := tokens.Get(now, "text"); ok == row.dead {
			t.Errorf("%s: found %t", name, ok)
		}
		if row.dead { // and it can come back
			tokens.Set(g.Mark(), now, "text", entry(2))
			tokens.Wait()
			if v, ok := tokens.Get(now, "text"); !ok || v != 2 {
				t.Errorf("%s: then %d, %t", name, v, ok)
			}
		}
	}
}

func TestTokens_WhatMovesBeforeTheSet(t *testing.T) {
	t.Parallel()
	for name, move := range map[string]func(g *verdict.Generations){
		"Subject": func(g *verdict.Generations) { g.Move(subject) },
		"Owner":   func(g *verdict.Generations) { g.Move(owner) },
		"All":     func(g *verdict.Generations) { g.MoveAll() },
	} {
		tokens, g := newTokens(t, verdict.Limits{})
		m := g.Mark()
		move(g)
		tokens.Set(m, now, "text", entry(1))
		tokens.Wait()
		if _, ok := tokens.Get(now, "text"); ok {
			t.Errorf("%s: an answer that began before the move is kept", name)
		}
	}
	tokens, _ := newTokens(t, verdict.Limits{})
	tokens.Set(0, now, "text", entry(1))
	tokens.Wait()
	if _, ok := tokens.Get(now, "text"); ok {
		t.Error("the zero Mark is current")
	}
}

func TestGenerations_OfGrows(t *testing.T) {
	t.Parallel()
	g := verdict.NewGenerations()
	last := g.Of(subject)
	for name, move := range map[string]func(){"Move": func() { g.Move(subject) }, "MoveAll": g.MoveAll} {
		m := g.Mark()
		move()
		if of := g.Of(subject); of <= last || g.Mark() == m {
			t.Errorf("%s: %d after %d", name, of, last)
		}
		last = g.Of(subject)
	}
	if g.Move(other(g)); g.Of(subject) != last {
		t.Error("the move of another moves it")
	}
}

func TestTokens_HoldBetweenTheirInstants(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		notBefore, deadline time.Time
		from, until         time.Duration // from now: found in [from, until)
	}{
		"Unbounded":     {time.Time{}, time.Time{}, -1e6 * time.Hour, 1e6 * time.Hour},
		"Deadline":      {time.Time{}, now.Add(time.Minute), -1e6 * time.Hour, time.Minute},
		"NotBefore":     {now.Add(-time.Minute), time.Time{}, -time.Minute, 1e6 * time.Hour},
		"Both":          {now.Add(-time.Second), now.Add(time.Second), -time.Second, time.Second},
		"PartsOfSecond": {now.Add(-1500 * time.Millisecond), now.Add(1500 * time.Millisecond), -time.Second, time.Second},
		"FarAway":       {time.Time{}, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), -1e6 * time.Hour, 2e6 * time.Hour},
	} {
		tokens, g := newTokens(t, verdict.Limits{})
		e := entry(1)
		e.NotBefore, e.Deadline = row.notBefore, row.deadline
		tokens.Set(g.Mark(), now, "text", e)
		tokens.Wait()
		for _, at := range []time.Duration{row.from - 1, row.from, 0, row.until - 1, row.until} {
			want := row.from <= at && at < row.until
			if name == "Unbounded" || name == "NotBefore" && at > 0 || at < -1e6*time.Hour || at >= 1e6*time.Hour {
				want = true
			}
			if _, ok := tokens.Get(now.Add(at), "text"); ok != want {
				t.Errorf("%s at %s: found %t", name, at, ok)
			}
		}
	}
}

func TestTokens_KeepNothingThatDoesNotHold(t *testing.T) {
	t.Parallel()
	tokens, g := newTokens(t, verdict.Limits{})
	early, late := entry(1), entry(2)
	early.NotBefore, late.Deadline = now.Add(time.Second), now
	tokens.Set(g.Mark(), now, "early", early)
	tokens.Set(g.Mark(), now, "late", late)
	tokens.Wait()
	if s := tokens.Stats(); s.Bytes != 0 {
		t.Errorf("%+v", s)
	}
}

// Where all hashes are equal, an entry is found for every token: what counts is the comparison of the text.
func TestTokens_EqualHashesAuthenticateNobody(t *testing.T) {
	t.Parallel()
	tokens, g := newTokens(t, verdict.Limits{})
	tokens.Collide()
	signature := strings.Repeat("s", 86)
	texts := []string{"", "a", "b", "header.claims." + signature, "header.claimt." + signature, "xeader.claims." + signature, signature}
	for i, mine := range texts {
		tokens.Set(g.Mark(), now, mine, entry(i))
		tokens.Wait()
		for _, text := range texts {
			if v, ok := tokens.Get(now, text); ok != (text == mine) || ok && v != i {
				t.Errorf("%q is found for %q", mine, text)
			}
		}
	}
}

func TestTokens_SameSignatureAnotherText(t *testing.T) {
	t.Parallel()
	tokens, g := newTokens(t, verdict.Limits{})
	signature := strings.Repeat("s", 86)
	tokens.Set(g.Mark(), now, "e30.e30."+signature, entry(1))
	tokens.Wait()
	for text, want := range map[string]bool{"e30.e30." + signature: true, "e30.e31." + signature: false, "e31.e30." + signature: false, signature: false} {
		if _, ok := tokens.Get(now, text); ok != want {
			t.Errorf("%q: %t", text, ok)
		}
	}
}

func TestTokens_AreBounded(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		limits verdict.Limits
		most   int
	}{
		"Entries": {verdict.Limits{Entries: 100}, 100},
		"Bytes":   {verdict.Limits{Bytes: 100_000}, 100_000 / 1000},
		"Tiny":    {verdict.Limits{Entries: 10, Bytes: 10}, 0},
	} {
		tokens, g := newTokens(t, row.limits)
		text := func(i int) string { return fmt.Sprintf("%01000d", i) }
		for i := range 1000 {
			tokens.Set(g.Mark(), now, text(i), entry(i))
			tokens.Wait()
		}
		found := 0
		for i := range 1000 {
			if _, ok := tokens.Get(now, text(i)); ok {
				found++
			}
		}
		if found > row.most || found < row.most*2/3 {
			t.Errorf("%s: %d are kept", name, found)
		}
	}
	for _, l := range []verdict.Limits{{Entries: -1}, {Bytes: -1}} {
		if _, err := verdict.NewTokens[int](verdict.NewGenerations(), l); err == nil {
			t.Errorf("%+v is fine", l)
		}
	}
}

// What is over frees its memory, by the clock of the caller, without being asked for again.
func TestTokens_SweepWhatIsOver(t *testing.T) {
	t.Parallel()
	tokens, g := newTokens(t, verdict.Limits{})
	for i := range 100 {
		e := entry(i)
		e.Deadline = now.Add(time.Minute)
		tokens.Set(g.Mark(), now, fmt.Sprintf("over %d", i), e)
		e.Deadline, e.Subject = now.Add(time.Hour), other(g)
		tokens.Set(g.Mark(), now, fmt.Sprintf("dead %d", i), e)
		tokens.Wait()
		g.Move(e.Subject)
	}
	full := tokens.Stats().Bytes
	e := entry(-1)
	e.Deadline = now.Add(time.Hour)
	tokens.Set(g.Mark(), now, "good", e)
	tokens.Wait()
	tokens.Set(g.Mark(), now.Add(10*time.Minute), "new", e)
	deadline := time.Now().Add(30 * time.Second)
	for tokens.Stats().Bytes > full/50 {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes of %d are left", tokens.Stats().Bytes, full)
		}
		tokens.Wait()
	}
	if _, ok := tokens.Get(now.Add(10*time.Minute), "good"); !ok {
		t.Error("what is good is gone too")
	}
}

func TestTokens_AllocateNothingOnAHit(t *testing.T) {
	tokens, g := newTokens(t, verdict.Limits{})
	text := strings.Repeat("t", 700)
	tokens.Set(g.Mark(), now, text, entry(1))
	tokens.Wait()
	if n := testing.AllocsPerRun(1000, func() {
		if _, ok := tokens.Get(now, text); !ok {
			t.Fatal("a miss")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTokens_CountHitsAndMisses(t *testing.T) {
	t.Parallel()
	tokens, g := newTokens(t, verdict.Limits{})
	tokens.Set(g.Mark(), now, "text", entry(1))
	tokens.Wait()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				tokens.Get(now, "text")
				tokens.Get(now, "other")
				tokens.Get(now, "third")
			}
		})
	}
	all.Wait()
	if s := tokens.Stats(); s.Hits != 8000 || s.Misses != 16000 || s.Bytes <= int64(len("text")) {
		t.Errorf("%+v", s)
	}
}

// Ristretto does not bear a Close beside other calls; Tokens do. goleak sees whether the goroutines end.
func TestTokens_CloseWhileInUse(t *testing.T) {
	t.Parallel()
	for range (testdose.Dose{Least: 1, Most: 3, Within: time.Second}).Rounds(t) {
		tokens, g := newTokens(t, verdict.Limits{Entries: 100})
		var all sync.WaitGroup
		begun := make(chan struct{}, 4)
		stop := make(chan struct{})
		for range 4 {
			all.Go(func() {
				for i := 0; ; i++ {
					tokens.Set(g.Mark(), now.Add(time.Duration(i)*time.Second), fmt.Sprint(i%50), entry(i))
					tokens.Get(now, fmt.Sprint(i%50))
					if i == 100 {
						begun <- struct{}{}
					}
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
		for range 4 {
			<-begun
		}
		tokens.Close()
		tokens.Close()
		tokens.Set(g.Mark(), now, "after", entry(1))
		if _, ok := tokens.Get(now, "after"); ok {
			t.Error("found after Close")
		}
		_ = tokens.Stats()
		close(stop)
		all.Wait()
	}
}
