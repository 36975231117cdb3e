package verdict_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/testdose"
	"github.com/keyturn/keyturn/internal/verdict"
)

// fronted sets a token and finds it once: it is in the table in front of ristretto from then on.
func fronted(t testing.TB, tokens *verdict.Tokens[int], g *verdict.Generations, text string, e verdict.Entry[int]) {
	t.Helper()
	tokens.Set(g.Mark(), now, text, e)
	tokens.Wait()
	if v, ok := tokens.Get(now, text); !ok || v != e.Value || !tokens.InFront(text) {
		t.Fatalf("%.20q: found %t, in front %t", text, ok, tokens.InFront(text))
	}
}

func TestFront_WhatMovesMakesItDead(t *testing.T) {
	t.Parallel()
	for name, move := range map[string]func(g *verdict.Generations){
		"Subject": func(g *verdict.Generations) { g.Move(subject) },
		"Owner":   func(g *verdict.Generations) { g.Move(owner) },
		"All":     func(g *verdict.Generations) { g.MoveAll() },
	} {
		tokens, g := newTokens(t, verdict.Limits{})
		fronted(t, tokens, g, "text", entry(1))
		move(g)
		if _, ok := tokens.Get(now, "text"); ok {
			t.Errorf("%s: found after the move", name)
		}
		fronted(t, tokens, g, "text", entry(2))
	}
	tokens, g := newTokens(t, verdict.Limits{})
	tokens.Set(g.Mark(), now, "text", entry(1))
	tokens.Wait()
	g.MoveAll()
	if tokens.Get(now, "text"); tokens.Front() > 0 {
		t.Error("what is dead is put in front")
	}
}

func TestFront_HoldsBetweenTwoInstants(t *testing.T) {
	t.Parallel()
	tokens, g := newTokens(t, verdict.Limits{})
	e := entry(1)
	e.NotBefore, e.Deadline = now.Add(-time.Minute), now.Add(time.Minute)
	fronted(t, tokens, g, "text", e)
	for at, want := range map[time.Duration]bool{-61: false, -60: true, 0: true, 59: true, 60: false} {
		if _, ok := tokens.Get(now.Add(at*time.Second), "text"); ok != want {
			t.Errorf("found %t at %d s", ok, at)
		}
	}
}

// Where all hashes are equal there is one place for all tokens: what counts is the comparison of the text.
func TestFront_EqualHashesAuthenticateNobody(t *testing.T) {
	t.Parallel()
	tokens, g := newTokens(t, verdict.Limits{})
	tokens.Collide()
	fronted(t, tokens, g, "header.claims.signature", entry(1))
	for _, text := range []string{"", "header.claimt.signature", "xeader.claims.signature", "signature", "header.claims.signature."} {
		if _, ok := tokens.Get(now, text); ok || tokens.InFront(text) {
			t.Errorf("%q is found", text)
		}
	}
	if _, ok := tokens.Get(now, "header.claims.signature"); !ok {
		t.Error("it is gone")
	}
}

// What comes in the place of an entry is what is found at once.
func TestFront_ReplacedWithRistretto(t *testing.T) {
	t.Parallel()
	tokens, g := newTokens(t, verdict.Limits{})
	for i := range 100 {
		fronted(t, tokens, g, "text", entry(i))
	}
}

// The table has no entries of its own: what ristretto lets go of leaves it too.
func TestFront_KeepsNothingAlive(t *testing.T) {
	t.Parallel()
	tokens, g := newTokens(t, verdict.Limits{Entries: 100})
	for i := range 2000 {
		text := fmt.Sprint("text", i)
		tokens.Set(g.Mark(), now, text, entry(i))
		tokens.Wait()
		tokens.Get(now, text)
		tokens.Get(now, text)
	}
	if n := tokens.Front(); n < 60 || n > 100 {
		t.Errorf("%d are in front", n)
	}
	for i := range 2000 {
		if text := fmt.Sprint("text", i); tokens.InFront(text) && !tokens.Kept(text) {
			t.Errorf("%s is in front alone", text)
		}
	}
}

// What ristretto has let go of just when it was put in front leaves when ristretto is asked, or is swept.
func TestFront_WhatIsStranded(t *testing.T) {
	t.Parallel()
	tokens, g := newTokens(t, verdict.Limits{})
	fronted(t, tokens, g, "hot", entry(1))
	tokens.Strand("hot")
	for n := 0; tokens.InFront("hot"); n++ {
		if _, ok := tokens.Get(now, "hot"); !ok || n > 100*verdict.Learning {
			t.Fatalf("after %d: found %t", n, ok)
		}
	}
	e := entry(2)
	e.Deadline = now.Add(time.Hour)
	fronted(t, tokens, g, "good", e)
	tokens.Strand("good")
	e.Deadline = now.Add(time.Minute)
	fronted(t, tokens, g, "over", e)
	tokens.Strand("over")
	e = entry(3)
	e.Subject = other(g)
	fronted(t, tokens, g, "dead", e)
	tokens.Strand("dead")
	g.Move(e.Subject)
	tokens.Set(g.Mark(), now.Add(10*time.Minute), "new", entry(4)) // it is time for a sweep
	for deadline := time.Now().Add(30 * time.Second); tokens.InFront("over") || tokens.InFront("dead"); tokens.Wait() {
		if time.Now().After(deadline) {
			t.Fatal("what is over or dead is not swept")
		}
	}
	if !tokens.InFront("good") {
		t.Error("what is good is swept too")
	}
}

// Ristretto learns what is hot though the table answers: the hot stays while much comes that is asked for a few times.
func TestFront_HotStays(t *testing.T) {
	if raced {
		t.Skip("under the race detector ristretto forgets at random what it was told")
	}
	tokens, g := newTokens(t, verdict.Limits{Entries: 100})
	missed := 0
	for i := range 300 {
		for n := range 50 {
			text := fmt.Sprint("hot", n)
			for range 2 * verdict.Learning {
				if _, ok := tokens.Get(now, text); !ok {
					missed++
					tokens.Set(g.Mark(), now, text, entry(n))
					tokens.Wait()
				}
			}
		}
		text := fmt.Sprint("text", i)
		tokens.Set(g.Mark(), now, text, entry(i))
		tokens.Wait()
		for range 4 {
			tokens.Get(now, text)
		}
	}
	if missed > 150 { // 50 when they are new; five times as many where nobody tells ristretto
		t.Errorf("what is hot was missed %d times", missed)
	}
}

// After Close nothing is found, and no reader that was on its way puts anything in again.
func TestFront_Close(t *testing.T) {
	t.Parallel()
	for range (testdose.Dose{Least: 1, Most: 3, Within: time.Second}).Rounds(t) {
		tokens, g := newTokens(t, verdict.Limits{Entries: 1000})
		for i := range 50 {
			fronted(t, tokens, g, fmt.Sprint(i), entry(i))
		}
		fronted(t, tokens, g, "stranded", entry(1))
		tokens.Strand("stranded")
		var all sync.WaitGroup
		stop, begun := make(chan struct{}), make(chan struct{}, 3)
		for range 3 {
			all.Go(func() {
				for i := 0; ; i++ {
					tokens.Set(g.Mark(), now, fmt.Sprint(i%200), entry(i))
					tokens.Get(now, fmt.Sprint(i%200))
					if i == 200 {
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
		for range 3 {
			<-begun
		}
		tokens.Close()
		for i := range 200 {
			if _, ok := tokens.Get(now, fmt.Sprint(i)); ok {
				t.Errorf("%d is found after Close", i)
			}
		}
		close(stop)
		all.Wait()
		if n := tokens.Front(); n > 0 {
			t.Errorf("%d are in front after Close", n)
		}
	}
}

// A reader that has found something when Close begins puts it in front before Close empties that.
func TestFront_CloseWaitsForReaders(t *testing.T) {
	t.Parallel()
	tokens, g := newTokens(t, verdict.Limits{Entries: 1000})
	comparing, proceed := make(chan struct{}), make(chan struct{})
	tokens.OnCompare(func() {
		comparing <- struct{}{}
		<-proceed
	})
	tokens.Set(g.Mark(), now, "text", entry(1))
	tokens.Wait()
	var reader sync.WaitGroup
	reader.Go(func() { tokens.Get(now, "text") })
	<-comparing
	closed := make(chan struct{})
	go func() {
		tokens.Close()
		close(closed)
	}()
	for waits := false; !waits; waits = waits || tokens.Closing() {
		select {
		case <-closed:
			waits = true
		default:
			runtime.Gosched()
		}
	}
	close(proceed)
	reader.Wait()
	<-closed
	if n := tokens.Front(); n > 0 {
		t.Errorf("%d are in front after Close", n)
	}
}
