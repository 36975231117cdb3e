package replica_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/peer"
	"github.com/keyturn/keyturn/internal/replica"
	"github.com/keyturn/keyturn/internal/testleak"
)

func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", "5") // of 100: how many there are is said by a dose
	testleak.Main(m)
}

var (
	start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ctx   = context.Background()
)

const (
	clusterID = id.ID("clu_01jd6y0e00f2bvwrw0xk3y4t5z")
	foreignID = id.ID("clu_01jd6y0e00f2bvwrw0xk3y4t60")
	issuer    = "https://auth.example"
)

// tb is what a test and a property have in common.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

func private(seed string) ed25519.PrivateKey {
	d := sha256.Sum256([]byte(seed))
	return ed25519.NewKeyFromSeed(d[:])
}

func public(seed string) jwk.Key {
	k, err := jwk.New(private(seed).Public())
	if err != nil {
		panic(err)
	}
	return k
}

func signer(seed string) ledger.Signer {
	s, err := ledger.NewSigner(private(seed))
	if err != nil {
		panic(err)
	}
	return s
}

// line is one record of a ledger, as an authority keeps it.
type line struct {
	data   []byte
	record *ledger.Record
	hash   []byte // of the version that it states
}

// scribe writes the ledgers of a cluster's regions, and plays the authorities that hand them out.
type scribe struct {
	t       tb
	mu      sync.Mutex
	at      time.Time
	seed    string // of the key that founds the cluster and signs, unless signers says otherwise
	cluster id.ID
	signers map[string]ledger.Signer // by region
	lines   map[string][]line
	serial  int

	withheld bool // pages come without a proof of freshness
	unsummed bool // proofs do not name the records at the heads, as those of old did not
}

func newScribe(t tb, home string) *scribe {
	s := &scribe{
		t: t, at: start, seed: "anchor", cluster: clusterID, signers: map[string]ledger.Signer{}, lines: map[string][]line{},
	}
	s.write(home, ledger.KindCluster, s.cluster, ledger.ClusterBody{Issuer: issuer, Home: home, LedgerKey: public(s.seed)}, nil)
	return s
}

func (s *scribe) signer(region string) ledger.Signer {
	if by, ok := s.signers[region]; ok {
		return by
	}
	return signer(s.seed)
}

// write signs the next record of a region, and returns where it stands.
func (s *scribe) write(region string, kind ledger.Kind, subject id.ID, body any, hash []byte) line {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.sign(region, kind, subject, body, hash)
	s.lines[region] = append(s.lines[region], l)
	return l
}

func (s *scribe) sign(region string, kind ledger.Kind, subject id.ID, body any, hash []byte) line {
	s.t.Helper()
	var prev []byte
	if n := len(s.lines[region]); n > 0 {
		prev = ledger.Sum(s.lines[region][n-1].data)
	}
	data, err := s.signer(region).Sign(ledger.Record{
		Cluster: s.cluster, Region: region, Seq: uint64(len(s.lines[region])) + 1, Prev: ledger.PrevOf(prev), At: s.at,
		Kind: kind, Subject: subject, Actor: "cli_01jd6y0e00f2bvwrw0xk3y4t5z-1", ActorVersion: 1, RequestID: "req-0123456789abcdef",
		Reason: "", Source: "192.0.2.1",
	}, body)
	if err != nil {
		s.t.Fatalf("sign: %v", err)
	}
	r, err := ledger.Read(data)
	if err != nil {
		s.t.Fatalf("read: %v", err)
	}
	return line{data, r, hash}
}

func (s *scribe) newID(k id.Kind) id.ID {
	s.serial++
	return id.First(k, start.Add(time.Duration(s.serial)*time.Millisecond))
}

// hashOf makes up the hash of a secret.
func hashOf(subject id.ID, number int, branch string) credential.Hash {
	return credential.Hash(sha256.Sum256(fmt.Appendf(nil, "%s %d %s", subject, number, branch)))
}

// create writes a credential with its first version.
func (s *scribe) create(region string) id.ID {
	subject := s.newID(id.Client)
	s.write(region, ledger.KindCredential, subject, ledger.CredentialBody{
		Name: "service", Kind: credential.Standard, Scopes: credential.NewScopes("billing.read"),
	}, nil)
	h := hashOf(subject, 1, "")
	s.write(region, ledger.KindVersion, subject, ledger.VersionBody{Version: 1, Digest: h.Digest()}, h[:])
	return subject
}

// rotate writes version number, which gives the one before until the deadline; zero: it is an emergency.
func (s *scribe) rotate(region string, subject id.ID, number int, until time.Time) {
	h, before := hashOf(subject, number, region), hashOf(subject, number-1, region)
	if number == 2 {
		before = hashOf(subject, 1, "")
	}
	b := ledger.VersionBody{Version: number, Digest: h.Digest(), Parent: before.Digest()}
	if until.IsZero() {
		b.Emergency, b.Trunk = true, []credential.Digest{h.Digest()}
		until = s.at
	}
	b.Retires = []ledger.Retirement{{Version: number - 1, Digest: before.Digest(), NotAfter: until}}
	s.write(region, ledger.KindVersion, subject, b, h[:])
}

func (s *scribe) revoke(region string, subject id.ID, version int) {
	s.write(region, ledger.KindRevoked, subject, ledger.RevokedBody{Version: version}, nil)
}

func (s *scribe) join(region, name string) id.ID {
	subject := s.newID(id.Peer)
	s.write(region, ledger.KindPeer, subject, ledger.PeerBody{
		Name: name, Role: peer.Sidecar, PublicKey: public(name), TokenKey: public(name + " token"),
	}, nil)
	return subject
}

func (s *scribe) heads() map[string]uint64 {
	heads := map[string]uint64{}
	for region, lines := range s.lines {
		heads[region] = uint64(len(lines))
	}
	return heads
}

// prove signs a proof of freshness.
func (s *scribe) prove(heads map[string]uint64, at time.Time) *ledger.Signed {
	s.t.Helper()
	f := ledger.Freshness{Cluster: s.cluster, Heads: heads, Sums: map[string]string{}, At: at}
	for region, head := range heads {
		if lines := s.lines[region]; !s.unsummed && 0 < head && head <= uint64(len(lines)) {
			f.Sums[region] = ledger.PrevOf(ledger.Sum(lines[head-1].data))
		}
	}
	p, err := signer(s.seed).SignFreshness(f)
	if err != nil {
		s.t.Fatalf("sign a proof: %v", err)
	}
	return &p
}

// page is what the authorities answer to a cursor. A hash is left out where the join of all records says that it is over.
func (s *scribe) page(after authority.Cursor, limit int) authority.LedgerPage {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	p := authority.LedgerPage{Heads: s.heads()}
	if !s.withheld {
		p.Freshness = s.prove(p.Heads, s.at)
	}
	for region, lines := range s.lines {
		for i := after[region]; i < uint64(len(lines)) && len(p.Records) < limit; i++ {
			s.put(&p, region, lines[i])
		}
	}
	return p
}

func (s *scribe) put(p *authority.LedgerPage, region string, l line) {
	signed, err := ledger.Decode(l.data)
	if err != nil {
		s.t.Fatalf("decode: %v", err)
	}
	p.Records = append(p.Records, signed)
	if l.record.Kind == ledger.KindVersion {
		p.Hashes = append(p.Hashes, authority.RecordHash{Region: region, Seq: l.record.Seq, Hash: l.hash})
	}
}

// Ledger implements replica.Source without waiting.
func (s *scribe) Ledger(_ context.Context, after authority.Cursor, limit int, _ time.Duration) (authority.LedgerPage, error) {
	return s.page(after, limit), nil
}

// records are all that were written.
func (s *scribe) records() []*ledger.Record {
	var list []*ledger.Record
	for _, lines := range s.lines {
		for _, l := range lines {
			list = append(list, l.record)
		}
	}
	return list
}

// host is a peer with a replica on disk.
type host struct {
	t       testing.TB
	path    string
	o       replica.Options
	at      time.Time
	r       *replica.Replica
	store   authority.Store
	mu      sync.Mutex
	events  []replica.Event
	changed [][]id.ID
	cluster []bool
}

// newHost opens an empty replica that trusts the key of that seed.
func newHost(t testing.TB, seed string) *host {
	t.Helper()
	h := &host{t: t, path: filepath.Join(t.TempDir(), "replica.db"), at: start}
	h.o = replica.Options{
		Now: func() time.Time { return h.at },
		Changed: func(subjects []id.ID, cluster bool) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.changed, h.cluster = append(h.changed, subjects), append(h.cluster, cluster)
		},
		Report: func(e replica.Event) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.events = append(h.events, e)
		},
		Spare: h.spare,
	}
	h.open(seed)
	t.Cleanup(h.close)
	return h
}

func (h *host) open(seed string) {
	h.t.Helper()
	store, err := bolt.Open(h.path, bolt.Options{})
	if err != nil {
		h.t.Fatalf("open the store: %v", err)
	}
	h.over(store, seed)
}

func (h *host) over(store authority.Store, seed string) {
	h.t.Helper()
	r, err := replica.Open(ctx, store, public(seed), h.o)
	if err != nil {
		_ = store.Close()
		h.t.Fatalf("open the replica: %v", err)
	}
	h.r, h.store = r, store
}

func (h *host) close() {
	if err := h.r.Close(); err != nil {
		h.t.Errorf("close: %v", err)
	}
}

// reopen is a restart.
func (h *host) reopen() {
	h.t.Helper()
	h.close()
	h.open("anchor")
}

// apply applies a page that has to fit.
func (h *host) apply(p authority.LedgerPage) int {
	h.t.Helper()
	n, err := h.r.Apply(ctx, h.at, p)
	if err != nil {
		h.t.Fatalf("apply: %v", err)
	}
	return n
}

// pull applies all that the scribe has.
func (h *host) pull(s *scribe) {
	h.t.Helper()
	for {
		p := s.page(h.r.Cursors(), 1000)
		if len(p.Records) == 0 {
			h.apply(p)
			return
		}
		if h.apply(p) == 0 {
			h.t.Fatalf("a page changes nothing")
		}
	}
}

func (h *host) credential(subject id.ID) *credential.Credential {
	h.t.Helper()
	c, err := h.r.Credential(ctx, h.at, subject)
	if err != nil {
		h.t.Fatalf("credential: %v", err)
	}
	return c
}

func (h *host) told(w replica.What) (list []replica.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e.What == w {
			list = append(list, e)
		}
	}
	return list
}

// spare is a second file that takes the place of the first.
func (h *host) spare(context.Context) (replica.Spare, error) {
	store, err := bolt.Open(h.path+".new", bolt.Options{})
	return &spareFile{h, store}, err
}

type spareFile struct {
	h     *host
	store *bolt.Store
}

func (s *spareFile) Store() authority.Store { return s.store }

func (s *spareFile) Discard() error { return errors.Join(s.store.Close(), remove(s.h.path+".new")) }
