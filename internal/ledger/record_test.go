package ledger_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/ledger"
)

func TestSigner_RecordReadsBack(t *testing.T) {
	t.Parallel()
	b := newBook(t, "local", "a")
	data := b.write(t, second(1), ledger.KindRevoked, client, ledger.RevokedBody{Version: 3})
	r, err := ledger.NewVerifier(public(t, "a")).Open(data)
	if err != nil {
		t.Fatal(err)
	}
	if r.Format != 1 || r.Cluster != cluster || r.Region != "local" || r.Seq != 1 || r.Prev != "" || !r.At.Equal(second(1)) ||
		r.Kind != ledger.KindRevoked || r.Subject != client || r.Actor != client.String() || r.ActorVersion != 1 ||
		r.RequestID != "r" || r.Reason != "because" || r.Source != "192.0.2.1" || string(r.Body) != `{"version":3}` {
		t.Errorf("= %+v", r)
	}
	if b.signer.KeyID() != public(t, "a").ID() || !b.signer.Key().Equal(public(t, "a")) {
		t.Errorf("the signer's key is %s", b.signer.Key())
	}
}

// The form is fixed: other programs and later versions read it.
func TestSigned_IsVersionKeySignaturePayload(t *testing.T) {
	t.Parallel()
	b := newBook(t, "local", "a")
	data := b.write(t, second(1), ledger.KindRevoked, client, ledger.RevokedBody{})
	keyID, err := base64.RawURLEncoding.DecodeString(public(t, "a").ID())
	if err != nil {
		t.Fatal(err)
	}
	payload := data[97:]
	if data[0] != 1 || !bytes.Equal(data[1:33], keyID) || !json.Valid(payload) {
		t.Fatalf("%x", data[:97])
	}
	key := private("a").Public().(ed25519.PublicKey)
	if !ed25519.Verify(key, append([]byte("keyturn-record-v1\n"), payload...), data[33:97]) {
		t.Error("the signature is not over the domain and the payload")
	}
	sum := sha256.Sum256(append([]byte("keyturn-record-sum-v1\n"), data...))
	if !bytes.Equal(ledger.Sum(data), sum[:]) || ledger.PrevOf(sum[:]) != base64.RawURLEncoding.EncodeToString(sum[:]) || ledger.PrevOf(nil) != "" {
		t.Error("the sum is another")
	}
	s, err := ledger.Decode(data)
	if err != nil || s.KeyID != public(t, "a").ID() || !bytes.Equal(s.Payload, payload) || !bytes.Equal(s.Signature, data[33:97]) {
		t.Fatalf("= %v, %v", s, err)
	}
	if again, err := s.Encode(); err != nil || !bytes.Equal(again, data) {
		t.Errorf("encodes as %x, %v", again, err)
	}
}

func TestOpen_RefusesEveryChangeOfAByte(t *testing.T) {
	t.Parallel()
	data := newBook(t, "local", "a").write(t, second(1), ledger.KindRevoked, client, ledger.RevokedBody{Version: 3})
	v := ledger.NewVerifier(public(t, "a"))
	if _, err := v.Open(data); err != nil {
		t.Fatal(err)
	}
	for i := range data {
		for _, bit := range []int{i % 8, (i + 3) % 8} {
			changed := slices.Clone(data)
			changed[i] ^= 1 << bit
			if r, err := v.Open(changed); r != nil || !errors.Is(err, ledger.ErrSignature) && !errors.Is(err, ledger.ErrRecord) {
				t.Fatalf("byte %d, bit %d: %v, %v", i, bit, r, err)
			}
		}
	}
	for n := range data {
		if _, err := v.Open(data[:n]); err == nil {
			t.Fatalf("the first %d bytes are accepted", n)
		}
	}
	if _, err := v.Open(append(slices.Clone(data), ' ')); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("with a space behind: %v", err)
	}
}

// sign signs any payload under any domain.
func sign(t testing.TB, seed, domain string, payload []byte) []byte {
	t.Helper()
	data, err := ledger.Signed{
		Payload: payload, KeyID: public(t, seed).ID(), Signature: ed25519.Sign(private(seed), append([]byte(domain), payload...)),
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestOpen_KeepsDomainsApart(t *testing.T) {
	t.Parallel()
	s, err := ledger.Decode(newBook(t, "local", "a").write(t, second(1), ledger.KindRevoked, client, ledger.RevokedBody{}))
	if err != nil {
		t.Fatal(err)
	}
	v := ledger.NewVerifier(public(t, "a"))
	for _, domain := range []string{"", "keyturn-record-v2\n", "keyturn-record-v1", "keyturn-freshness-v1\n", "keyturn-join-v1\n", "keyturn-record-sum-v1\n"} {
		if _, err := v.Open(sign(t, "a", domain, s.Payload)); !errors.Is(err, ledger.ErrSignature) {
			t.Errorf("a signature under %q: %v", domain, err)
		}
	}
	if _, err := v.Open(sign(t, "a", "keyturn-record-v1\n", s.Payload)); err != nil {
		t.Error(err)
	}
}

func TestOpen_RefusesWellSignedNonsense(t *testing.T) {
	t.Parallel()
	const good = `{"format":1,"cluster":"c","region":"local","seq":1,"prev":"","at":"2026-03-01T12:00:00Z","kind":"revoked","subject":"s","body":{}}`
	v := ledger.NewVerifier(public(t, "a"))
	for name, payload := range map[string]string{
		"NotJSON": "x", "Array": "[]", "String": `""`, "Null": "null", "Empty": "{}", "Trailing": good + "{}", "TrailingBrace": good + "}", "TrailingBracket": good + "]",
		"Format0": strings.Replace(good, `"format":1`, `"format":0`, 1), "Format2": strings.Replace(good, `"format":1`, `"format":2`, 1),
		"NoRegion": strings.Replace(good, `"local"`, `""`, 1), "NoSubject": strings.Replace(good, `"s"`, `""`, 1), "NegativeSeq": strings.Replace(good, `"seq":1`, `"seq":-1`, 1),
		"Seq0": strings.Replace(good, `"seq":1`, `"seq":0`, 1), "BadTime": strings.Replace(good, "2026-03-01T12:00:00Z", "yesterday", 1), "NoBody": strings.Replace(good, `,"body":{}`, "", 1),
		"BodyArray": strings.Replace(good, `"body":{}`, `"body":[]`, 1), "BodyType": strings.Replace(good, `"body":{}`, `"body":{"version":"a"}`, 1),
		"BadKey": strings.Replace(good, `"revoked","subject":"s","body":{}`, `"key.published","subject":"s","body":{"use":"ledger","key":{"kty":"oct"}}`, 1),
	} {
		if r, err := v.Open(sign(t, "a", "keyturn-record-v1\n", []byte(payload))); !errors.Is(err, ledger.ErrRecord) || r != nil {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	later := strings.Replace(good, `"kind":"revoked"`, `"kind":"of.tomorrow","new":1`, 1)
	if r, err := v.Open(sign(t, "a", "keyturn-record-v1\n", []byte(later))); err != nil || r.Kind != "of.tomorrow" {
		t.Errorf("a kind of a later version: %v", err)
	}
}

func TestNewSigner_TakesEd25519Only(t *testing.T) {
	t.Parallel()
	d := sha256.Sum256([]byte("a"))
	ec, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d[:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.NewSigner(ec); err == nil {
		t.Error("an EC key signs records")
	}
	b := newBook(t, "local", "a")
	if _, err := b.signer.Sign(ledger.Record{Kind: "x"}, func() {}); err == nil {
		t.Error("a function is a body")
	}
	if _, err := b.signer.Sign(ledger.Record{Kind: "x", Reason: strings.Repeat("r", ledger.MaxRecord)}, nil); !errors.Is(err, ledger.ErrRecord) {
		t.Errorf("a record over the limit: %v", err)
	}
}

func TestEncode_RefusesWrongSizes(t *testing.T) {
	t.Parallel()
	good := ledger.Signed{Payload: []byte("{}"), KeyID: public(t, "a").ID(), Signature: make([]byte, 64)}
	for name, change := range map[string]func(s *ledger.Signed){
		"ShortKey": func(s *ledger.Signed) { s.KeyID = s.KeyID[:40] }, "NoKey": func(s *ledger.Signed) { s.KeyID = "" },
		"KeyNotBase64": func(s *ledger.Signed) { s.KeyID = strings.Repeat("!", 43) }, "ShortSignature": func(s *ledger.Signed) { s.Signature = s.Signature[:63] },
		"LongSignature": func(s *ledger.Signed) { s.Signature = make([]byte, 65) }, "LongPayload": func(s *ledger.Signed) { s.Payload = make([]byte, ledger.MaxRecord-96) },
	} {
		s := good
		change(&s)
		if _, err := s.Encode(); !errors.Is(err, ledger.ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good.Payload = make([]byte, ledger.MaxRecord-97)
	data, err := good.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.Decode(data); err != nil {
		t.Errorf("the largest record: %v", err)
	}
	for _, bad := range [][]byte{nil, data[:97], append(data, 0), append([]byte{2}, data[1:]...)} {
		if _, err := ledger.Decode(bad); !errors.Is(err, ledger.ErrRecord) {
			t.Errorf("%d bytes: %v", len(bad), err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(newBook(f, "local", "a").founding(f))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ledger.Decode(data)
		if err != nil {
			return
		}
		if again, err := s.Encode(); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%x reads back as %x, %v", data, again, err)
		}
	})
}

// Whatever a trusted key has signed, opening and joining it does not crash, and joins to the same again.
func FuzzOpen(f *testing.F) {
	b := newBook(f, "local", "a")
	for _, data := range [][]byte{
		b.founding(f), b.vouch(f, "b"), b.write(f, start, ledger.KindRevoked, client, ledger.RevokedBody{Version: 1}),
		b.write(f, start, ledger.KindCredential, client, ledger.CredentialBody{Kind: "shared"}),
		b.write(f, start, ledger.KindVersion, client, ledger.VersionBody{Version: 1, Digest: "d", Emergency: true, Retires: []ledger.Retirement{{Version: 1, Digest: "c"}}}),
		b.write(f, start, ledger.KindPeer, peerA, ledger.PeerBody{Name: "a"}),
	} {
		f.Add(data[97:])
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) == 0 || len(payload) > 1<<16 {
			return
		}
		v := ledger.NewVerifier(public(t, "a"))
		data := sign(t, "a", "keyturn-record-v1\n", payload)
		r, err := v.Open(data)
		if err != nil {
			if !errors.Is(err, ledger.ErrRecord) {
				t.Fatal(err)
			}
			return
		}
		once, twice := ledger.Join([]*ledger.Record{r}), ledger.Join([]*ledger.Record{r, r})
		if diff := cmp.Diff(once, twice); diff != "" {
			t.Fatal(diff)
		}
		v.Trust([][]byte{data})
		if c := once.Credentials[client]; c != nil {
			c.TokenDead(1)
			c.Status(start)
		}
	})
}
