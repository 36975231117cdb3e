package verify_test

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/token"
	"github.com/keyturn/keyturn/sidecar/verify"
)

// benched is a verifier by the real clock, over a cluster that signs with ES256, as authorities do by default.
func benched(b *testing.B) (*world, *verify.Verifier) {
	w := newWorld(b)
	w.publish(ecKey(b, "es256"))
	v := w.realTime(b)
	b.Cleanup(v.Close)
	return w, v
}

// realTime is a verifier as other services have it: it follows w by the machine's clock.
func (w *world) realTime(t tester) *verify.Verifier {
	t.Helper()
	v, err := verify.New(context.Background(), "http://127.0.0.1:8081", verify.Options{Transport: direct{w.handler()}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// current tokens are good for an hour from now on.
func (w *world) current(n int) []string {
	var list []string
	for i := range n {
		list = append(list, w.sign(authorityI, func(c *token.Claims) {
			c.IssuedAt, c.ExpiresAt, c.ID = time.Now().Unix(), time.Now().Add(time.Hour).Unix(), strconv.Itoa(i)
		}))
	}
	return list
}

// BenchmarkSeen checks a token that was seen before: one, one of a hundred, and on all cores.
func BenchmarkSeen(b *testing.B) {
	w, v := benched(b)
	list := w.current(100)
	want := verify.Want{Scopes: []string{"peers.read"}}
	for _, text := range list {
		remember(b, v, text, want)
	}
	ctx := context.Background()
	for name, n := range map[string]int{"one": 1, "hundred": len(list)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := v.Check(ctx, list[i%n], want); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if _, err := v.Check(ctx, list[i%n], want); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkNew compares a token that was not seen before with the bare verification against a key set: the pair takes turns,
// so that a machine that is slow for a while is slow for both, and medians are compared: what else runs here counts for
// neither.
func BenchmarkNew(b *testing.B) {
	w, v := benched(b)
	keys := token.NewKeySet([]jwk.Key{w.signers[authorityI].Key()})
	ctx := context.Background()
	var plain, checked []time.Duration
	list := w.current(min(max(b.N, 1), 20_000))
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		text := list[n%len(list)]
		if n++; n%len(list) == 0 {
			b.StopTimer()
			list = w.current(1000)
			b.StartTimer()
		}
		begin := time.Now()
		if _, _, err := keys.Verify(text); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		if _, err := v.Check(ctx, text, verify.Want{}); err != nil {
			b.Fatal(err)
		}
		plain, checked = append(plain, middle.Sub(begin)), append(checked, time.Since(middle))
	}
	p, c := median(plain), median(checked)
	b.ReportMetric(p, "ns/plain")
	b.ReportMetric(c, "ns/check")
	b.ReportMetric(c/p, "ratio")
}

// median in nanoseconds.
func median(list []time.Duration) float64 {
	slices.Sort(list)
	return float64(list[len(list)/2].Nanoseconds())
}

// BenchmarkClock is the part of BenchmarkSeen that is the machine's: what it takes to know the time, from one clock as a
// Verifier does, and from both.
func BenchmarkClock(b *testing.B) {
	for name, read := range map[string]func() time.Time{"one": verify.NewClock(nil, nil), "both": time.Now} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_ = read()
			}
		})
	}
}
