package bolt_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/testdose"
)

// A model is a store in its simplest form: everything in maps, and Sweep is the only thing that removes.
type model struct {
	heads    map[string]authority.Head
	ledgers  map[string][]authority.Entry
	gone     map[string]bool // entries whose copy was swept, by region:seq
	lists    map[string][]string
	claims   map[string]authority.Claim
	counters map[string]int
}

func (m *model) append(b authority.Batch) bool {
	if h := m.heads[b.Region]; h.Seq != b.After.Seq || !bytes.Equal(h.Sum, b.After.Sum) {
		return false
	}
	for _, c := range b.Claims {
		if held, ok := m.claims[c.Key]; ok && !held.Gives(c.At) {
			return false
		}
	}
	for _, l := range b.Limits {
		if l.Delta > 0 && m.counters[l.Name]+l.Delta > l.Max {
			return false
		}
	}
	for _, c := range b.Claims {
		m.claims[c.Key] = c
	}
	for _, l := range b.Limits {
		m.counters[l.Name] = max(0, m.counters[l.Name]+l.Delta)
	}
	for _, e := range b.Entries {
		for _, l := range e.Lists {
			m.lists[l] = slices.Compact(slices.Sorted(slices.Values(append(m.lists[l], e.Subject))))
		}
		m.heads[b.Region] = authority.Head{Seq: e.Seq, Sum: e.Sum}
		e.Lists, e.Sum = nil, nil
		m.ledgers[b.Region] = append(m.ledgers[b.Region], e)
	}
	for _, x := range b.Expiries {
		m.expire(x)
	}
	return true
}

func (m *model) expire(x authority.Expiry) {
	l := m.ledgers[x.Region]
	if x.Seq == 0 || x.Seq > uint64(len(l)) || l[x.Seq-1].Subject != x.Subject {
		return
	}
	e := &l[x.Seq-1]
	if !x.Secret.IsZero() && (e.SecretExpires.IsZero() || x.Secret.Before(e.SecretExpires)) {
		e.SecretExpires = x.Secret
	}
	if !x.Copy.IsZero() && (e.CopyExpires.IsZero() || x.Copy.Before(e.CopyExpires)) {
		e.CopyExpires = x.Copy
	}
}

func (m *model) sweep(at time.Time) (n int) {
	due := func(t time.Time) bool { return !t.IsZero() && !t.After(at) }
	for _, l := range m.ledgers {
		for i := range l {
			if l[i].Secret != nil && due(l[i].SecretExpires) {
				l[i].Secret = nil
				n++
			}
			if ref := refOf(l[i]); !m.gone[ref] && due(l[i].CopyExpires) {
				m.gone[ref] = true
				n++
			}
		}
	}
	for k, c := range m.claims {
		if due(c.ExpiresAt) {
			delete(m.claims, k)
			n++
		}
	}
	return n
}

func refOf(e authority.Entry) string { return fmt.Sprintf("%s:%d", e.Region, e.Seq) }

func (m *model) subject(name string) (es []authority.Entry) {
	for _, region := range modelRegions {
		for _, e := range m.ledgers[region] {
			if e.Subject == name && !m.gone[refOf(e)] {
				es = append(es, e)
			}
		}
	}
	return es
}

var (
	modelRegions  = []string{"eu", "eu-west-1"} // in order
	modelSubjects = []string{"a", "a-1", "b"}
	modelLists    = []string{"l", "li"}
	modelKeys     = []string{"k1", "k2"}
	modelCounters = []string{"c1", "c2"}
)

// A draw makes what a caller might hand to a store.
type draw struct{ *rapid.T }

func (d draw) date(what string, zero bool) time.Time {
	n := rapid.IntRange(map[bool]int{true: -3, false: 0}[zero], 9).Draw(d.T, what)
	if n < 0 {
		return time.Time{}
	}
	return day.AddDate(0, 0, n).Add(time.Duration(n%2) * time.Nanosecond)
}

func (d draw) claim() authority.Claim {
	return authority.Claim{
		Key: rapid.SampledFrom(modelKeys).Draw(d.T, "key"), Value: []byte(rapid.StringN(0, 4, -1).Draw(d.T, "value")),
		At: d.date("at", false), ExpiresAt: d.date("expires", false), Yields: d.date("yields", true),
	}
}

func (d draw) batch(m *model) authority.Batch {
	region := rapid.SampledFrom(modelRegions).Draw(d.T, "region")
	b := authority.Batch{Region: region, After: m.heads[region]}
	if rapid.IntRange(0, 9).Draw(d.T, "stale") == 0 {
		b.After.Seq++
	}
	for i := range uint64(rapid.IntRange(1, 4).Draw(d.T, "entries")) {
		e := authority.Entry{
			Region: region, Seq: b.After.Seq + i + 1, Subject: rapid.SampledFrom(modelSubjects).Draw(d.T, "subject"),
			Data: fmt.Appendf(nil, "%s %d", region, b.After.Seq+i+1), Sum: fmt.Appendf(nil, "%d", i),
			Lists:       rapid.SliceOfN(rapid.SampledFrom(modelLists), 0, 2).Draw(d.T, "lists"),
			CopyExpires: d.date("copy expires", true), SecretExpires: d.date("secret expires", true),
		}
		if rapid.Bool().Draw(d.T, "secret") {
			e.Secret = []byte(rapid.StringN(0, 3, -1).Draw(d.T, "hash"))
		}
		b.Entries = append(b.Entries, e)
	}
	for range rapid.IntRange(0, 3).Draw(d.T, "expiries") {
		b.Expiries = append(b.Expiries, authority.Expiry{
			Subject: rapid.SampledFrom(modelSubjects).Draw(d.T, "subject"), Region: rapid.SampledFrom(modelRegions).Draw(d.T, "region"),
			Seq: rapid.Uint64Range(0, 12).Draw(d.T, "seq"), Secret: d.date("secret", true), Copy: d.date("copy", true),
		})
	}
	if rapid.IntRange(0, 3).Draw(d.T, "claims") == 0 {
		b.Claims = []authority.Claim{d.claim()}
	}
	if rapid.IntRange(0, 2).Draw(d.T, "limits") == 0 {
		b.Limits = []authority.Limit{{
			Name: rapid.SampledFrom(modelCounters).Draw(d.T, "counter"), Delta: rapid.IntRange(-2, 3).Draw(d.T, "delta"), Max: 4,
		}}
	}
	return b
}

func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", "5") // of 100: how many there are is said by a dose
	m.Run()
}

// Whatever is asked of a store, in whatever order, it answers like the model.
func TestStore_IsLikeTheModel(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	history := func(t *rapid.T) {
		path := filepath.Join(root, fmt.Sprintf("%d.db", rand.Uint64()))
		defer func() { _ = os.Remove(path) }()
		s, err := bolt.Open(path, unhurried)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		m := &model{
			heads: map[string]authority.Head{}, ledgers: map[string][]authority.Entry{}, gone: map[string]bool{},
			lists: map[string][]string{}, claims: map[string]authority.Claim{}, counters: map[string]int{},
		}
		d, ctx := draw{t}, t.Context()
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				b := d.batch(m)
				if err := s.Append(ctx, b); (err == nil) != m.append(b) || err != nil && !errors.Is(err, authority.ErrConflict) {
					t.Fatalf("append %+v: %v", b, err)
				}
			},
			"claim": func(t *rapid.T) {
				c := d.claim()
				held, ok := m.claims[c.Key]
				free := !ok || held.Gives(c.At)
				if err := s.Claim(ctx, c); (err == nil) != free || err != nil && !errors.Is(err, authority.ErrConflict) {
					t.Fatalf("claim %+v: %v", c, err)
				}
				if free {
					m.claims[c.Key] = c
				}
			},
			"sweep": func(t *rapid.T) {
				at := d.date("sweep", false)
				if n, err := s.Sweep(ctx, at); err != nil || n != m.sweep(at) {
					t.Fatalf("sweep at %v: %d, %v", at, n, err)
				}
			},
			"reopen": func(t *rapid.T) {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if s, err = bolt.Open(path, unhurried); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) { compare(t, s, m) },
		})
	}
	for range (testdose.Dose{Least: 3, Most: 20, Within: 2 * time.Second}).Rounds(t) { // of five histories each
		rapid.Check(t, history)
	}
}

func compare(t *rapid.T, s *bolt.Store, m *model) {
	ctx := t.Context()
	if h, err := s.Heads(ctx); err != nil || !reflect.DeepEqual(h, m.heads) {
		t.Fatalf("heads: %v, %v, want %v", h, err, m.heads)
	}
	for _, region := range modelRegions {
		es, err := s.Ledger(ctx, region, 0, 1000)
		if err != nil || !reflect.DeepEqual(es, m.ledgers[region]) {
			t.Fatalf("ledger of %s: %v, %s", region, err, cmp.Diff(m.ledgers[region], es))
		}
	}
	for _, name := range modelSubjects {
		es, err := s.Subject(ctx, name)
		if want := m.subject(name); !reflect.DeepEqual(es, want) || errors.Is(err, authority.ErrNotFound) != (want == nil) {
			t.Fatalf("subject %s: %v, %s", name, err, cmp.Diff(want, es))
		}
	}
	for _, list := range modelLists {
		names, err := s.Page(ctx, list, "", 1000)
		if err != nil || !slices.Equal(names, m.lists[list]) {
			t.Fatalf("list %s: %v, %v, want %v", list, names, err, m.lists[list])
		}
	}
	for _, key := range modelKeys {
		c, err := s.Claimed(ctx, key)
		if want, ok := m.claims[key]; !reflect.DeepEqual(c, want) || errors.Is(err, authority.ErrNotFound) == ok {
			t.Fatalf("claim %s: %+v, %v, want %+v", key, c, err, want)
		}
	}
}

// Trees that have grown and shrunk for long are still what inspect expects of a healthy file.
func TestOpen_AfterMuchRemoval(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	r := rand.New(rand.NewPCG(7, 8))
	var head authority.Head
	for round := range (testdose.Dose{Least: 4, Most: 12, Within: 2 * time.Second}).Rounds(t) {
		s := open(t, path)
		b := fleet(head, 300)
		for i := range b.Entries {
			b.Entries[i].CopyExpires = day.Add(time.Duration(r.IntN(1000)) * time.Hour)
			b.Entries[i].SecretExpires = day.Add(time.Duration(r.IntN(1000)) * time.Hour)
		}
		for range 1500 {
			expires := day.Add(time.Duration(r.IntN(1000)) * time.Hour)
			b.Claims = append(b.Claims, authority.Claim{Key: fmt.Sprintf("claim %x", r.Uint64()), At: day.AddDate(-1, 0, 0), ExpiresAt: expires})
		}
		if err := s.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		head = authority.Head{Seq: b.Entries[299].Seq, Sum: b.Entries[299].Sum}
		if n, err := s.Sweep(t.Context(), day.Add(time.Duration(r.IntN(1000))*time.Hour)); err != nil {
			t.Fatalf("round %d: %d, %v", round, n, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, path)
	if _, err := s.Sweep(t.Context(), day.AddDate(10, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}
