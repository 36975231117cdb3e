package authority_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/ledger"
)

// bent is a store that somebody has written to: what it says about a subject goes through a function.
type bent struct {
	authority.Store
	subject func(name string, entries []authority.Entry) []authority.Entry
	ledger  func(entries []authority.Entry) []authority.Entry
}

func (s *bent) Subject(c ctxT, name string) ([]authority.Entry, error) {
	entries, err := s.Store.Subject(c, name)
	if err == nil && s.subject != nil {
		entries = s.subject(name, entries)
	}
	return entries, err
}

func (s *bent) Ledger(c ctxT, region string, after uint64, limit int) ([]authority.Entry, error) {
	entries, err := s.Store.Ledger(c, region, after, limit)
	if err == nil && s.ledger != nil {
		entries = s.ledger(entries)
	}
	return entries, err
}

// scene is a world with a victim in it: version 1 retired, 2 superseded, 3 current; and what the attacker holds.
type scene struct {
	*world
	victim   id.ID
	versions []credential.Secret
	thief    made              // a credential of the attacker's own, reads only
	invented credential.Secret // a secret of the attacker's making
}

func newScene(t testing.TB) scene {
	t.Helper()
	w := found(t)
	m := w.create(w.root, nil)
	s := scene{world: w, victim: m.id, versions: []credential.Secret{m.secret}, invented: credential.NewSecret()}
	for _, window := range []time.Duration{0, day} {
		s.versions = append(s.versions, w.rotate(w.root, m.target(), authority.RotateRequest{Window: window}).Secret)
	}
	s.thief = w.create(w.root, scopes(credential.PeersRead))
	return s
}

// bend puts a changed store under a new authority.
func (s scene) bend(change func(entries []authority.Entry) []authority.Entry) {
	w := *s.world
	*s.world = w
	s.over(&bent{Store: s.file, subject: func(name string, entries []authority.Entry) []authority.Entry {
		if name != s.victim.String() {
			return entries
		}
		return change(entries)
	}})
}

// foreign signs a record as an attacker can: with a key of their own.
func foreign(t testing.TB, r ledger.Record, body any) authority.Entry {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ledger.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	data, err := signer.Sign(r, body)
	if err != nil {
		t.Fatal(err)
	}
	return authority.Entry{Region: r.Region, Seq: r.Seq, Subject: r.Subject.String(), Data: data, Sum: ledger.Sum(data)}
}

func (s scene) versionBody(n int) ledger.VersionBody {
	return ledger.VersionBody{Version: n, Digest: s.invented.Hash().Digest()}
}

// Who writes to the store invents no secret: a record that does not belong there makes the credential unavailable, which is
// neither yes nor no.
func TestTampered_RecordsAreUnavailable(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	thief, err := s.file.Subject(ctx, s.thief.id.String())
	if err != nil {
		t.Fatal(err)
	}
	cluster := s.founded.ClusterID
	for name, change := range map[string]func([]authority.Entry) []authority.Entry{
		"ForgedVersion": func(e []authority.Entry) []authority.Entry {
			f := foreign(t, ledger.Record{Cluster: cluster, Region: "local", Seq: 99, At: start, Kind: ledger.KindVersion, Subject: s.victim}, s.versionBody(4))
			h := s.invented.Hash()
			f.Secret = h[:]
			return append(e, f)
		},
		"ForgedInPlace": func(e []authority.Entry) []authority.Entry {
			last := &e[len(e)-1]
			f := foreign(t, ledger.Record{Cluster: cluster, Region: "local", Seq: last.Seq, At: start, Kind: ledger.KindVersion, Subject: s.victim}, s.versionBody(3))
			last.Data = f.Data
			return e
		},
		"AnothersRecords": func([]authority.Entry) []authority.Entry { return thief },
		"AnothersRecord":  func(e []authority.Entry) []authority.Entry { return append(e, thief[1]) },
		"AnothersRenamed": func(e []authority.Entry) []authority.Entry {
			x := thief[1]
			x.Subject = s.victim.String()
			return append(e, x)
		},
		"AtAnotherNumber":  func(e []authority.Entry) []authority.Entry { x := e[1]; x.Seq = 99; return append(e, x) },
		"OfAnotherRegion":  func(e []authority.Entry) []authority.Entry { x := e[1]; x.Region = "moon"; return append(e, x) },
		"OneBit":           func(e []authority.Entry) []authority.Entry { e[0].Data[len(e[0].Data)-10] ^= 1; return e },
		"OneBitOfTheKeyID": func(e []authority.Entry) []authority.Entry { e[0].Data[5] ^= 1; return e },
		"CutOff":           func(e []authority.Entry) []authority.Entry { e[0].Data = e[0].Data[:40]; return e },
		"Empty":            func(e []authority.Entry) []authority.Entry { e[2].Data = nil; return e },
	} {
		s.bend(change)
		for i, secret := range append(slices.Clone(s.versions), s.invented, s.thief.secret) {
			if _, err := s.authenticate(s.victim.String(), secret); !errors.Is(err, access.ErrUnavailable) {
				t.Errorf("%s: secret %d: %v", name, i, err)
			}
		}
	}
}

// Hashes lie beside the records, unsigned. Whatever is written there, a secret that is not of its version gets nobody in.
func TestTampered_HashesAreRefused(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	put := func(at int, secret credential.Secret) func([]authority.Entry) []authority.Entry {
		return func(e []authority.Entry) []authority.Entry {
			h := secret.Hash()
			e[at].Secret, e[at].SecretExpires, e[at].CopyExpires = h[:], time.Time{}, time.Time{}
			return e
		}
	}
	for name, c := range map[string]struct {
		change   func([]authority.Entry) []authority.Entry
		accepted []bool // versions 1 to 3, the invented one
	}{
		"Untouched":            {func(e []authority.Entry) []authority.Entry { return e }, []bool{false, true, true, false}},
		"InventedAtCurrent":    {put(3, s.invented), []bool{false, true, false, false}},
		"InventedAtTheCreator": {put(0, s.invented), []bool{false, true, true, false}},
		"RetiredAtCurrent":     {put(3, s.versions[0]), []bool{false, true, false, false}},
		"RetiredPutBack":       {put(1, s.versions[0]), []bool{false, true, true, false}}, // its deadline stands in a record
		"SupersededAtCurrent":  {put(3, s.versions[1]), []bool{false, true, false, false}},
		"DatesTakenAway": {func(e []authority.Entry) []authority.Entry {
			for i := range e {
				e[i].SecretExpires, e[i].CopyExpires = time.Time{}, time.Time{}
			}
			return e
		}, []bool{false, true, true, false}},
		"TooShort": {func(e []authority.Entry) []authority.Entry { e[3].Secret = e[3].Secret[:31]; return e }, []bool{false, true, false, false}},
		"Gone":     {func(e []authority.Entry) []authority.Entry { e[3].Secret = nil; return e }, []bool{false, true, false, false}},
		"Twice":    {func(e []authority.Entry) []authority.Entry { return append(e, e...) }, []bool{false, true, true, false}},
		"Backwards": {func(e []authority.Entry) []authority.Entry {
			slices.Reverse(e)
			return e
		}, []bool{false, true, true, false}},
	} {
		s.bend(c.change)
		for i, secret := range append(slices.Clone(s.versions), s.invented) {
			if _, err := s.authenticate(s.victim.String(), secret); (err == nil) != c.accepted[i] || err != nil && !errors.Is(err, access.ErrRefused) {
				t.Errorf("%s: secret %d: %v", name, i+1, err)
			}
		}
	}
}

// Who writes to the store can delete. This is what they gain, and what holds all the same: SECURITY.md says so.
func TestTampered_OnlyDeletionCounts(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	drop := func(at ...int) func([]authority.Entry) []authority.Entry {
		return func(e []authority.Entry) []authority.Entry {
			var kept []authority.Entry
			for i := range e {
				if !slices.Contains(at, i) {
					kept = append(kept, e[i])
				}
			}
			return kept
		}
	}
	accepts := func(name string, want ...bool) {
		t.Helper()
		for i, secret := range append(slices.Clone(s.versions), s.invented) {
			if _, err := s.authenticate(s.victim.String(), secret); (err == nil) != want[i] {
				t.Errorf("%s: secret %d: %v", name, i+1, err)
			}
		}
	}
	s.bend(drop(0))
	accepts("without the creation nobody is in", false, false, false, false)
	s.bend(drop(3))
	accepts("a rotation undone: the current secret is out, the one before has its place again", false, true, false, false)
	s.bend(drop(2, 3))
	accepts("the retired one's hash went with its date, so undoing does not bring it back", false, false, false, false)

	s.over(s.file)
	s.mustRevoke(s.root, id.ClientID{Credential: s.victim})
	s.bend(drop(4))
	accepts("a tombstone dropped: the hashes went with it", false, false, false, false)
	if c := s.credential(s.victim); c.Status(s.at) != credential.Active {
		t.Fatal("the deletion is not what this test thinks")
	}
	text := s.entries()
	if last := text[len(text)-1]; last.Subject != s.victim.String() {
		t.Error("the ledger, which replicas live on, keeps the tombstone")
	}
	// In the ledger itself a deletion shows.
	s.over(&bent{Store: s.file, ledger: func(e []authority.Entry) []authority.Entry {
		return slices.DeleteFunc(e, func(e authority.Entry) bool { return e.Seq == 3 })
	}})
	if err := s.a.CheckLedger(ctx); !errors.Is(err, ledger.ErrFork) {
		t.Errorf("a hole: %v", err)
	}
	if s.a.Ready(ctx, s.at)["ledger"] == "" {
		t.Error("nobody is told")
	}
}

func TestTampered_LedgerIsNotRetold(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for name, change := range map[string]func([]authority.Entry) []authority.Entry{
		"OneTwice": func(e []authority.Entry) []authority.Entry { e[4].Data = bytes.Clone(e[3].Data); return e },
		"Swapped":  func(e []authority.Entry) []authority.Entry { e[4].Data, e[5].Data = e[5].Data, e[4].Data; return e },
		"OneBit":   func(e []authority.Entry) []authority.Entry { e[4].Data[200] ^= 1; return e },
		"Forged": func(e []authority.Entry) []authority.Entry {
			e[4].Data = foreign(t, ledger.Record{Cluster: s.founded.ClusterID, Region: "local", Seq: 5, At: start, Kind: ledger.KindRevoked, Subject: s.victim}, ledger.RevokedBody{}).Data
			return e
		},
	} {
		s.over(&bent{Store: s.file, ledger: func(e []authority.Entry) []authority.Entry {
			if len(e) < 8 {
				return e // not the page in question
			}
			return change(e)
		}})
		if _, _, err := s.a.Audit(ctx, s.root, "", 100, authority.AuditFilter{}); !errors.Is(err, access.ErrUnavailable) {
			t.Errorf("%s: audit: %v", name, err)
		}
		if _, err := s.a.Export(ctx, s.root, s.at, "", 100, func(authority.Exported) bool { return true }); !errors.Is(err, access.ErrUnavailable) {
			t.Errorf("%s: export: %v", name, err)
		}
		if err := s.a.CheckLedger(ctx); err == nil || s.a.Ready(ctx, s.at)["ledger"] == "" {
			t.Errorf("%s: check: %v", name, err)
		}
	}
	s.over(s.file)
	if err := s.a.CheckLedger(ctx); err != nil || len(s.a.Ready(ctx, s.at)) != 0 {
		t.Errorf("untouched: %v", err)
	}
}

// The same in the file itself, by somebody who can write to it as the authority does.
func TestTampered_AppendedToTheFile(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	heads, err := s.file.Heads(ctx)
	if err != nil {
		t.Fatal(err)
	}
	head := heads["local"]
	prev := ledger.PrevOf(head.Sum)
	h := s.invented.Hash()
	forged := foreign(t, ledger.Record{
		Cluster: s.founded.ClusterID, Region: "local", Seq: head.Seq + 1, Prev: prev, At: start, Kind: ledger.KindVersion, Subject: s.victim,
	}, s.versionBody(4))
	forged.Secret = h[:]
	admin := foreign(t, ledger.Record{
		Cluster: s.founded.ClusterID, Region: "local", Seq: head.Seq + 2, At: start, Kind: ledger.KindCredential, Subject: "cli_00000000000000000000000000",
	}, ledger.CredentialBody{Kind: credential.Standard, Scopes: scopes(credential.Admin)})
	admin.Lists = []string{"credentials", "writers", "shared"}
	if err := s.file.Append(ctx, authority.Batch{Region: "local", After: head, Entries: []authority.Entry{forged, admin}}); err != nil {
		t.Fatal(err)
	}
	for _, client := range []string{s.victim.String(), admin.Subject} {
		if _, err := s.authenticate(client, s.invented); !errors.Is(err, access.ErrUnavailable) {
			t.Errorf("%s: %v", client, err)
		}
	}
	if _, err := s.a.List(ctx, s.root, s.at, "", 10, true); !errors.Is(err, access.ErrUnavailable) {
		t.Errorf("list: %v", err)
	}
	s.accepts(true, s.thief.secret, s.thief.client) // others are not hurt
	if _, err := authority.Open(ctx, s.file, s.custody, s.o); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("open: %v", err)
	}
}

// A ledger key that nobody vouched for founds nothing here, and vouches for nothing.
func TestTampered_ClusterRecords(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	cluster := s.founded.ClusterID
	mine := newClient(t, "EdDSA")
	record := ledger.Record{Cluster: cluster, Region: "local", Seq: 99, At: start, Subject: cluster}
	for name, c := range map[string]struct {
		kind ledger.Kind
		body any
	}{
		"LedgerKey": {ledger.KindKey, ledger.KeyBody{Use: ledger.UseLedger, Key: *mine.public()}},
		"TokenKey":  {ledger.KindKey, ledger.KeyBody{Use: ledger.UseToken, Key: *mine.public(), PeerID: s.founded.PeerID}},
		"Cluster":   {ledger.KindCluster, ledger.ClusterBody{Issuer: "https://evil.example", Home: "local", LedgerKey: *mine.public()}},
	} {
		record.Kind = c.kind
		s.over(&bent{Store: s.file, subject: func(subject string, e []authority.Entry) []authority.Entry {
			if subject == cluster.String() {
				e = append(e, foreign(t, record, c.body))
			}
			return e
		}})
		got, err := s.a.Cluster(ctx)
		if err != nil || len(got.LedgerKeys) != 1 || len(got.JWKS().Keys) != 1 || got.Issuer != issuer {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	// Without what it is made of there is no cluster, and no new one.
	s.over(&swap{s.file})
	if _, err := authority.Open(ctx, &bent{Store: s.file, subject: func(string, []authority.Entry) []authority.Entry { return nil }}, s.custody, s.o); err == nil ||
		!strings.Contains(err.Error(), "not founded") {
		t.Errorf("= %v", err)
	}
}
