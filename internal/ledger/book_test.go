package ledger_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/ledger"
)

const (
	cluster = id.ID("clu_01jd6y0e00f2bvwrw0xk3y4t5z")
	another = id.ID("clu_01jd6y0e00f2bvwrw0xk3y4t60")
	client  = id.ID("cli_01jd6y0e00f2bvwrw0xk3y4t5z")
	peerA   = id.ID("peer_01jd6y0e00f2bvwrw0xk3y4t5z")
	peerB   = id.ID("peer_01jd6y0e00f2bvwrw0xk3y4t60")
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// second is that many seconds after the start.
func second(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }

func private(seed string) ed25519.PrivateKey {
	d := sha256.Sum256([]byte(seed))
	return ed25519.NewKeyFromSeed(d[:])
}

func public(t testing.TB, seed string) jwk.Key {
	t.Helper()
	k, err := jwk.New(private(seed).Public())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// book writes the ledger of one region.
type book struct {
	region  string
	cluster id.ID
	signer  ledger.Signer
	seq     uint64
	sum     []byte
}

func newBook(t testing.TB, region, seed string) *book {
	t.Helper()
	s, err := ledger.NewSigner(private(seed))
	if err != nil {
		t.Fatal(err)
	}
	return &book{region: region, cluster: cluster, signer: s}
}

// write signs the next record of the book.
func (b *book) write(t testing.TB, at time.Time, kind ledger.Kind, subject id.ID, body any) []byte {
	t.Helper()
	data, err := b.signer.Sign(ledger.Record{
		Cluster: b.cluster, Region: b.region, Seq: b.seq + 1, Prev: ledger.PrevOf(b.sum), At: at, Kind: kind, Subject: subject,
		Actor: client.String(), ActorVersion: 1, RequestID: "r", Reason: "because", Source: "192.0.2.1",
	}, body)
	if err != nil {
		t.Fatal(err)
	}
	b.seq, b.sum = b.seq+1, ledger.Sum(data)
	return data
}

// founding is the first record of a cluster.
func (b *book) founding(t testing.TB) []byte {
	return b.write(t, start, ledger.KindCluster, b.cluster, ledger.ClusterBody{Issuer: "https://a.example", Home: b.region, LedgerKey: b.signer.Key()})
}

func (b *book) vouch(t testing.TB, seed string) []byte {
	return b.write(t, start, ledger.KindKey, b.cluster, ledger.KeyBody{Use: ledger.UseLedger, Key: public(t, seed)})
}

// openAll opens records that were signed with any of the keys.
func openAll(t testing.TB, data [][]byte, seeds ...string) []*ledger.Record {
	t.Helper()
	var keys []jwk.Key
	for _, s := range seeds {
		keys = append(keys, public(t, s))
	}
	v := ledger.NewVerifier(keys...)
	var list []*ledger.Record
	for _, d := range data {
		r, err := v.Open(d)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

// secretAt is always the same secret for the same number. It is put together here once more, apart from the code.
func secretAt(t testing.TB, n int) credential.Secret {
	t.Helper()
	body := fmt.Sprintf("sec_%043d", n)
	sum, digits := crc32.ChecksumIEEE([]byte(body)), ""
	for range 6 {
		const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
		digits = base62[sum%62:sum%62+1] + digits
		sum /= 62
	}
	s, err := credential.ParseSecret(body + digits)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func digestAt(t testing.TB, n int) credential.Digest { return secretAt(t, n).Hash().Digest() }
