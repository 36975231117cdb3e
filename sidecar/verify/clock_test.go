package verify_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/sidecar/verify"
)

// machine has a monotonic clock that stands still while it sleeps, and a wall clock that anybody may set.
type machine struct {
	mono  time.Duration
	wall  time.Time
	bases map[time.Time]time.Duration // by what the wall clock said
	reads int                         // of both clocks
}

func (m *machine) now() time.Time {
	m.reads++
	m.bases[m.wall] = m.mono
	return m.wall
}

func (m *machine) since(base time.Time) time.Duration { return m.mono - m.bases[base] }

func (m *machine) run(d time.Duration) { m.mono, m.wall = m.mono+d, m.wall.Add(d) }

func TestClock_SeesStepsOfTheWallClock(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]time.Duration{"Forward": time.Hour, "Back": -time.Hour, "Slept": 8 * time.Hour, "None": 0} {
		m := &machine{wall: now, bases: map[time.Time]time.Duration{}}
		read := verify.NewClock(m.now, m.since)
		if at := read(); !at.Equal(now) || m.reads != 1 {
			t.Errorf("%s: it begins at %s, with %d readings", name, at, m.reads)
		}
		m.run(verify.WallEvery - time.Nanosecond)
		m.wall = m.wall.Add(step)
		for range 3 {
			if at, want := read(), now.Add(verify.WallEvery-time.Nanosecond); !at.Equal(want) || m.reads != 1 {
				t.Errorf("%s: within 10 ms it is %s, want %s; %d readings", name, at, want, m.reads)
			}
		}
		m.run(time.Nanosecond)
		for range 3 {
			if at := read(); !at.Equal(m.wall) || m.reads != 2 {
				t.Errorf("%s: after 10 ms it is %s, want %s; %d readings", name, at, m.wall, m.reads)
			}
		}
	}
}

// A base from the future is none: the monotonic clock never goes back, but what is impossible should not last.
func TestClock_ReadsAgainWhereTimeWentBack(t *testing.T) {
	t.Parallel()
	m := &machine{wall: now, bases: map[time.Time]time.Duration{}}
	read := verify.NewClock(m.now, m.since)
	read()
	m.mono -= time.Hour
	m.wall = now.Add(time.Minute)
	if at := read(); !at.Equal(m.wall) {
		t.Errorf("%s, want %s", at, m.wall)
	}
}

// The real clock never goes back, whoever reads it, and is the one that time.Now reads.
func TestClock_OfTheMachine(t *testing.T) {
	t.Parallel()
	read := verify.NewClock(nil, nil)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			last := time.Now()
			for end := last.Add(5 * verify.WallEvery); last.Before(end); {
				before, at, after := time.Now(), read(), time.Now()
				if at.Before(last) || at.Before(before) || at.After(after) {
					t.Errorf("%s after %s, between %s and %s", at, last, before, after)
					return
				}
				last = at
			}
		})
	}
	all.Wait()
}

func TestClock_AllocatesOnceInTenMilliseconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := verify.NewClock(nil, nil)
		begin := read()
		if n := testing.AllocsPerRun(1000, func() { read() }); n != 0 {
			t.Errorf("%v allocations", n)
		}
		time.Sleep(time.Minute) // virtual
		if at := read(); at.Sub(begin) != time.Minute {
			t.Errorf("%s passed", at.Sub(begin))
		}
	})
}

// Without Options.Now tokens are judged by the machine's clock, and a check of one that was seen allocates nothing.
func TestVerifier_ByTheClockOfTheMachine(t *testing.T) {
	w := newWorld(t)
	v := w.realTime(t)
	defer v.Close()
	text, want := w.current(1)[0], verify.Want{Scopes: []string{"peers.read"}}
	remember(t, v, text, want)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := v.Check(t.Context(), text, want); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	_, err := v.Check(t.Context(), w.sign(authorityI, nil), verify.Want{}) // good at another time
	is(t, err, verify.ErrInvalid)
}
