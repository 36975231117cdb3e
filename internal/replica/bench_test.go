package replica_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/replica"
)

// fleet is a cluster with n credentials, each with one secret.
func fleet(b *testing.B, n int) *scribe {
	s := newScribe(b, "local")
	for i := range n {
		s.at = start.Add(time.Duration(i) * time.Second)
		subject := id.New(id.Client, s.at)
		s.write("local", ledger.KindCredential, subject, ledger.CredentialBody{
			Name: fmt.Sprintf("service %d", i), Kind: credential.Standard, Scopes: credential.NewScopes("billing.read", "billing.write"),
			LicenseID: "lic_01jd6y0e00f2bvwrw0xk3y4t5z",
		}, nil)
		h := hashOf(subject, 1, "")
		s.write("local", ledger.KindVersion, subject, ledger.VersionBody{Version: 1, Digest: h.Digest()}, h[:])
	}
	return s
}

// BenchmarkFirstPull applies the ledger of 20,000 credentials to an empty replica, pages made beforehand, and reports how large
// the file is for each, and how long it takes to open it again.
func BenchmarkFirstPull(b *testing.B) {
	const n = 20_000
	s := fleet(b, n)
	var pages []authority.LedgerPage
	for after := (authority.Cursor{}); after["local"] < s.heads()["local"]; {
		p := s.page(after, 3000)
		pages, after["local"] = append(pages, p), after["local"]+uint64(len(p.Records))
	}
	dir := b.TempDir()
	round := 0
	for b.Loop() {
		round++
		path := filepath.Join(dir, strconv.Itoa(round)+".db")
		r := openAt(b, path)
		for _, p := range pages {
			if _, err := r.Apply(ctx, s.at, p); err != nil {
				b.Fatal(err)
			}
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
	path := filepath.Join(dir, strconv.Itoa(round)+".db")
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/n, "bytes/credential")
	before := time.Now()
	r := openAt(b, path)
	b.ReportMetric(float64(time.Since(before).Milliseconds()), "ms/open")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/n, "us/credential")
	if err := r.Close(); err != nil {
		b.Fatal(err)
	}
	b.Log(rss())
}

func openAt(b *testing.B, path string) *replica.Replica {
	b.Helper()
	store, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		b.Fatal(err)
	}
	r, err := replica.Open(ctx, store, public("anchor"), replica.Options{Now: func() time.Time { return start }})
	if err != nil {
		b.Fatal(err)
	}
	return r
}

func rss() string {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "RssAnon") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
