package authority_test

import (
	"testing"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
)

// BenchmarkCreate has 16 writers at once, each answer on durable media.
func BenchmarkCreate(b *testing.B) {
	w := found(b, remembering)
	b.SetParallelism(8) // times GOMAXPROCS
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			r := authority.CreateRequest{Scopes: scopes(credential.PeersRead)}
			if _, err := w.a.Create(ctx, w.root, w.origin(w.root), r, authority.Once{}); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creates/s")
}

// BenchmarkRotate is one writer, each rotation on durable media. It goes round many credentials, so that none gets a history
// that no real one has.
func BenchmarkRotate(b *testing.B) {
	w := found(b, remembering)
	var all [100]made
	for i := range all {
		all[i] = w.create(w.root, nil)
	}
	n := 0
	for b.Loop() {
		w.rotate(w.root, all[n%len(all)].target(), authority.RotateRequest{Window: second})
		n++
	}
}

// BenchmarkCredential is the read behind each check of a token.
func BenchmarkCredential(b *testing.B) {
	for name, option := range map[string]func(*authority.Options){"Remembered": remembering, "Read": private} {
		b.Run(name, func(b *testing.B) {
			w := found(b, option)
			for b.Loop() {
				w.credential(w.founded.Credential.ID)
			}
		})
	}
}
