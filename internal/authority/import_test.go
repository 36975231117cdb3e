package authority_test

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/access"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/authority/storetest"
	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/id"
	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/ledger"
)

// export is the whole ledger as lines, read in small pages.
func (w *world) export() []authority.Line {
	w.t.Helper()
	var lines []authority.Line
	for after, pages := "", 0; pages == 0 || after != ""; pages++ {
		next, err := w.a.Export(ctx, w.root, w.at, after, 5, func(e authority.Exported) bool {
			lines = append(lines, authority.Line{Signed: &ledger.Signed{
				Payload: bytes.Clone(e.Signed.Payload), KeyID: e.Signed.KeyID, Signature: bytes.Clone(e.Signed.Signature),
			}})
			if e.Hash != nil {
				lines = append(lines, authority.Line{Region: e.Region, Seq: e.Seq, Hash: bytes.Clone(e.Hash)})
			}
			return true
		})
		if err != nil {
			w.t.Fatalf("export: %v", err)
		}
		after = next
	}
	return lines
}

func reader(lines []authority.Line) func() (authority.Line, error) {
	return func() (authority.Line, error) {
		if len(lines) == 0 {
			return authority.Line{}, io.EOF
		}
		l := lines[0]
		lines = lines[1:]
		return l, nil
	}
}

func newStore(t testing.TB) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(filepath.Join(t.TempDir(), "keyturn.db"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// rich is a ledger with something of everything in it, and all the secrets that were ever handed out.
type rich struct {
	*world
	names   []string
	secrets []credential.Secret
	tokens  []string
}

func newRich(t testing.TB) rich {
	t.Helper()
	w := found(t)
	r := rich{world: w}
	bare := w.founded.Credential.ID.String()
	note := func(name string, s credential.Secret) {
		r.names, r.secrets = append(r.names, name), append(r.secrets, s)
		if c, err := w.authenticate(name, s); err == nil {
			if issued, err := w.a.Issue(ctx, w.at, c, access.TokenRequest{}); err == nil {
				r.tokens = append(r.tokens, issued.AccessToken)
			}
		}
	}
	note(bare, w.founded.Secret)
	rotate := func(target id.ClientID, req authority.RotateRequest) {
		w.later(time.Minute)
		done := w.rotate(w.root, target, req)
		note(done.ClientID, done.Secret)
	}
	create := func(change ...func(*authority.CreateRequest)) made {
		m := w.create(w.root, nil, change...)
		note(m.client, m.secret)
		return m
	}
	plain, rotated, killed, revoked, partly := create(), create(), create(), create(), create()
	create(func(r *authority.CreateRequest) { r.ExpiresIn = time.Hour })
	create(func(r *authority.CreateRequest) { r.Key = newClient(t, "ES256").public() })
	rotate(w.shared(), authority.RotateRequest{Window: day})
	rotate(w.shared(), authority.RotateRequest{Window: 168 * time.Hour})
	rotate(rotated.target(), authority.RotateRequest{})
	rotate(rotated.target(), authority.RotateRequest{Window: time.Hour})
	rotate(killed.target(), authority.RotateRequest{Window: day})
	rotate(killed.target(), authority.RotateRequest{Emergency: true})
	rotate(partly.target(), authority.RotateRequest{Window: day})
	w.mustRevoke(w.root, clientID(t, partly.client+"-1"))
	w.mustRevoke(w.root, revoked.target())
	_ = plain
	return r
}

// answers is what an authority says about everything in r, at several instants.
func (r rich) answers(a *authority.Authority) []string {
	var out []string
	for _, after := range []time.Duration{0, time.Hour, day, 8 * day, 40 * day} {
		at := r.at.Add(after)
		for i, name := range r.names {
			c, err := a.Authenticate(ctx, at, access.Proof{ClientID: name, Secret: r.secrets[i].Reveal()})
			text := errText(err)
			if err == nil {
				text = c.ClientID() + " " + c.Credential.Scopes.String() + " " + c.Version.NotAfter.String()
			}
			out = append(out, text)
		}
		for _, token := range r.tokens {
			_, err := a.Check(ctx, at, token, "")
			out = append(out, errText(err))
		}
	}
	return out
}

func TestImport_SameKeySameAnswers(t *testing.T) {
	t.Parallel()
	r := newRich(t)
	store := newStore(t)
	done, err := authority.Import(ctx, store, r.custody.LedgerKey(), reader(r.export()))
	if err != nil {
		t.Fatal(err)
	}
	if done.Cluster != r.founded.ClusterID || done.Records != int(r.head()) || done.Hashes == 0 || !done.Anchor.Equal(r.custody.LedgerKey()) {
		t.Errorf("= %+v", done)
	}
	copied, err := authority.Open(ctx, store, r.custody, r.o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.answers(r.a), r.answers(copied)); diff != "" {
		t.Errorf("old(-) and new(+): %s", diff)
	}
	a, b := r.entries(), []authority.Entry(nil)
	if b, err = store.Ledger(ctx, "local", 0, 1000); err != nil || len(a) != len(b) {
		t.Fatalf("%d entries, %v", len(b), err)
	}
	for i := range a {
		if !bytes.Equal(a[i].Data, b[i].Data) || a[i].Subject != b[i].Subject {
			t.Errorf("entry %d", i+1)
		}
	}
	for _, list := range []string{"clusters", "credentials", "shared", "writers", "peers"} {
		x, _ := r.file.Page(ctx, list, "", 1000)
		y, _ := store.Page(ctx, list, "", 1000)
		if !cmp.Equal(x, y) || len(x) == 0 {
			t.Errorf("list %s: %v, %v", list, x, y)
		}
	}
	// It goes on from there.
	by, err := copied.Check(ctx, r.at, r.tokens[0], "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := copied.RotateShared(ctx, by, r.origin(by), authority.RotateRequest{}, authority.Once{}); err != nil {
		t.Error(err)
	}
	if err := copied.CheckLedger(ctx); err != nil {
		t.Errorf("the chain: %v", err)
	}
}

func TestImport_ANewKeyHasToBeVouchedFor(t *testing.T) {
	t.Parallel()
	r := newRich(t)
	dir := t.TempDir()
	custody, err := keys.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	key := custody.LedgerKey()
	store := newStore(t)
	if _, err := authority.Import(ctx, store, key, reader(r.export())); !errors.Is(err, authority.ErrNotVouched) {
		t.Fatalf("before: %v", err)
	}
	if heads, err := store.Heads(ctx); err != nil || len(heads) != 0 {
		t.Errorf("it wrote: %v", heads)
	}
	if err := r.a.Vouch(ctx, r.root, r.origin(r.root), key); err != nil {
		t.Fatal(err)
	}
	done, err := authority.Import(ctx, store, key, reader(r.export()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := authority.Open(ctx, store, custody, r.o); err == nil {
		t.Error("it opens without knowing who founded the cluster")
	}
	if err := custody.SetAnchor(done.Anchor); err != nil {
		t.Fatal(err)
	}
	if custody, err = keys.Open(dir); err != nil { // it is kept
		t.Fatal(err)
	}
	moved, err := authority.Open(ctx, store, custody, r.o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.answers(r.a), r.answers(moved)); diff != "" {
		t.Errorf("old(-) and new(+): %s", diff)
	}
	// It has no token key yet: it makes one, and signs at once.
	if err := moved.CanIssue(ctx, r.at); !errors.Is(err, access.ErrUnavailable) {
		t.Errorf("it can issue: %v", err)
	}
	if failed := moved.Ready(ctx, r.at); failed["keys"] == "" {
		t.Errorf("ready: %v", failed)
	}
	if err := moved.EnsureKeys(ctx, r.at); err != nil {
		t.Fatal(err)
	}
	w := *r.world
	w.a, w.custody = moved, custody
	caller := w.caller(r.names[0], r.secrets[0])
	if caller.Claims.PeerID != r.founded.PeerID.String() {
		t.Errorf("issued by %s", caller.Claims.PeerID)
	}
	w.rotate(caller, w.shared(), authority.RotateRequest{Window: day})
	if err := moved.CheckLedger(ctx); err != nil {
		t.Errorf("the chain: %v", err)
	}
	if _, err := moved.Check(ctx, r.at, r.tokens[0], ""); err != nil {
		t.Errorf("a token of before: %v", err)
	}
}

func TestImport_Refuses(t *testing.T) {
	t.Parallel()
	r := newRich(t)
	good := r.export()
	hashAt := slices.IndexFunc(good, func(l authority.Line) bool { return l.Hash != nil })
	recordAt := slices.IndexFunc(good[hashAt+1:], func(l authority.Line) bool { return l.Signed != nil }) + hashAt + 1
	other := newRich(t).export()
	otherHash := other[slices.IndexFunc(other, func(l authority.Line) bool { return l.Hash != nil })]
	change := func(i int, f func(l *authority.Line)) []authority.Line {
		lines := slices.Clone(good)
		if s := lines[i].Signed; s != nil {
			lines[i].Signed = &ledger.Signed{Payload: bytes.Clone(s.Payload), KeyID: s.KeyID, Signature: bytes.Clone(s.Signature)}
		}
		lines[i].Hash = bytes.Clone(lines[i].Hash)
		f(&lines[i])
		return lines
	}
	for name, c := range map[string]struct {
		lines []authority.Line
		want  error
	}{
		"Nothing":         {nil, ledger.ErrRecord},
		"NoFounder":       {good[1:], ledger.ErrRecord},
		"MissingRecord":   {slices.Delete(slices.Clone(good), recordAt, recordAt+1), ledger.ErrFork},
		"BentRecord":      {change(recordAt, func(l *authority.Line) { l.Signed.Payload[20] ^= 1 }), ledger.ErrSignature},
		"BentSignature":   {change(recordAt, func(l *authority.Line) { l.Signed.Signature[3] ^= 1 }), ledger.ErrSignature},
		"BentFounder":     {change(0, func(l *authority.Line) { l.Signed.Signature[3] ^= 1 }), ledger.ErrRecord},
		"AnotherKeyID":    {change(recordAt, func(l *authority.Line) { l.Signed.KeyID = other[0].Signed.KeyID }), ledger.ErrSignature},
		"NoKeyID":         {change(recordAt, func(l *authority.Line) { l.Signed.KeyID = "" }), ledger.ErrRecord},
		"BentHash":        {change(hashAt, func(l *authority.Line) { l.Hash[3] ^= 1 }), ledger.ErrRecord},
		"ShortHash":       {change(hashAt, func(l *authority.Line) { l.Hash = l.Hash[:31] }), ledger.ErrRecord},
		"ForeignHash":     {change(hashAt, func(l *authority.Line) { l.Hash = otherHash.Hash }), ledger.ErrRecord},
		"HashOfNoVersion": {change(hashAt, func(l *authority.Line) { l.Seq = 1 }), ledger.ErrRecord},
		"HashOfNoRecord":  {change(hashAt, func(l *authority.Line) { l.Seq = 9999 }), ledger.ErrRecord},
		"HashOfNoRegion":  {change(hashAt, func(l *authority.Line) { l.Region = "moon" }), ledger.ErrRecord},
		"RecordTwice":     {append(slices.Clone(good), good[recordAt]), ledger.ErrFork},
		"AnothersRecord":  {append(slices.Clone(good), other[1]), ledger.ErrSignature},
		"TwoClusters":     {append(slices.Clone(good), other...), ledger.ErrSignature},
	} {
		store := newStore(t)
		done, err := authority.Import(ctx, store, r.custody.LedgerKey(), reader(c.lines))
		if !errors.Is(err, c.want) || done.Records != 0 {
			t.Errorf("%s: %+v, %v, want %v", name, done, err, c.want)
		}
		if heads, err := store.Heads(ctx); err != nil || len(heads) != 0 {
			t.Errorf("%s: it wrote %v, %v", name, heads, err)
		}
	}
	broken := errors.New("the disk is gone")
	store := newStore(t)
	if _, err := authority.Import(ctx, store, r.custody.LedgerKey(), func() (authority.Line, error) { return authority.Line{}, broken }); !errors.Is(err, broken) {
		t.Errorf("= %v", err)
	}
	if _, err := authority.Import(ctx, r.file, r.custody.LedgerKey(), reader(good)); !errors.Is(err, authority.ErrNotEmpty) {
		t.Errorf("into a store that is not empty: %v", err)
	}
	failing := storetest.Faulty(store, storetest.Fault{Call: 1})
	if _, err := authority.Import(ctx, failing, r.custody.LedgerKey(), reader(good)); !errors.Is(err, storetest.ErrInjected) || errors.Is(err, authority.ErrNotEmpty) {
		t.Errorf("a store that fails is not one that is not empty: %v", err)
	}
	// The order of lines does not matter, only what they say.
	shuffled := slices.Clone(good)
	slices.Reverse(shuffled)
	if _, err := authority.Import(ctx, store, r.custody.LedgerKey(), reader(shuffled)); err != nil {
		t.Errorf("in another order: %v", err)
	}
}

// An export holds nothing but live hashes: no retired one, no dead one.
func TestExport_OnlyLiveHashes(t *testing.T) {
	t.Parallel()
	r := newRich(t)
	for _, after := range []time.Duration{0, 2 * time.Hour, 9 * day} {
		r.at = r.at.Add(after)
		live := map[string]bool{}
		for i, name := range r.names {
			if _, err := r.authenticate(name, r.secrets[i]); err == nil {
				h := r.secrets[i].Hash()
				live[string(h[:])] = true
			}
		}
		for _, l := range r.export() {
			if l.Hash != nil && !live[string(l.Hash)] {
				t.Errorf("after %s: the hash at %d is not live", after, l.Seq)
			}
			delete(live, string(l.Hash))
		}
		if len(live) != 0 {
			t.Errorf("after %s: %d live hashes are missing", after, len(live))
		}
	}
}

// twoRegions is a store with a second region, whose ledger key the first has vouched for, and a way to write there.
func twoRegions(t *testing.T, w *world) func(kind ledger.Kind, subject id.ID, body any, secret *credential.Secret) {
	t.Helper()
	far := newCustody(t)
	if err := w.a.Vouch(ctx, w.root, w.origin(w.root), far.LedgerKey()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.a.Cluster(ctx); err != nil {
		t.Fatal(err)
	}
	head := authority.Head{}
	return func(kind ledger.Kind, subject id.ID, body any, secret *credential.Secret) {
		t.Helper()
		signer, err := far.Ledger(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		data, err := signer.Sign(ledger.Record{
			Cluster: w.founded.ClusterID, Region: "far", Seq: head.Seq + 1, Prev: ledger.PrevOf(head.Sum), At: w.at, Kind: kind, Subject: subject,
		}, body)
		if err != nil {
			t.Fatal(err)
		}
		e := authority.Entry{Region: "far", Seq: head.Seq + 1, Subject: subject.String(), Data: data, Sum: ledger.Sum(data)}
		if secret != nil {
			h := secret.Hash()
			e.Secret = h[:]
		}
		if err := w.file.Append(ctx, authority.Batch{Region: "far", After: head, Entries: []authority.Entry{e}}); err != nil {
			t.Fatal(err)
		}
		head = authority.Head{Seq: e.Seq, Sum: e.Sum}
	}
}

// Two regions rotated unheard of each other, and an emergency killed one of the two: revoking that number kills the other.
func TestRevoke_ANumberThatTwoRegionsUsed(t *testing.T) {
	t.Parallel()
	w := found(t)
	m := w.create(w.root, nil)
	write := twoRegions(t, w)
	first := w.credential(m.id).Versions[0]
	theirs := credential.NewSecret()
	write(ledger.KindVersion, m.id, ledger.VersionBody{Version: 2, Digest: theirs.Hash().Digest(), Parent: first.Digest}, &theirs)
	// Home has not heard of it: its own version 2 is an emergency, and so is its 3 that descends from it.
	own := credential.NewSecret()
	d := own.Hash().Digest()
	write(ledger.KindVersion, m.id, ledger.VersionBody{
		Version: 2, Digest: d, Parent: first.Digest, Emergency: true, Trunk: []credential.Digest{d},
		Retires: []ledger.Retirement{{Version: 1, Digest: first.Digest, NotAfter: w.at}},
	}, &own)
	w.accepts(false, theirs, m.client)
	w.accepts(true, own, m.client)
	w.mustRevoke(w.root, clientID(t, m.client+"-2"))
	w.accepts(false, own, m.client)
	w.accepts(false, m.secret, m.client)
	before := w.head()
	w.mustRevoke(w.root, clientID(t, m.client+"-2"))
	if w.head() != before {
		t.Error("a second tombstone")
	}
	// An export of both regions is loaded as it is.
	store := newStore(t)
	if done, err := authority.Import(ctx, store, w.custody.LedgerKey(), reader(w.export())); err != nil || done.Records != int(w.head())+2 {
		t.Errorf("= %+v, %v", done, err)
	}
}
