package serve_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/devcluster"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/serve"
)

// liar answers as a sidecar does, but for pages of the ledgers, which it changes.
func liar(t *testing.T, where string, lie func(*httpapi.LedgerPage)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to, err := http.NewRequestWithContext(r.Context(), r.Method, where+r.URL.RequestURI(), nil)
		if err != nil {
			t.Error(err)
			return
		}
		to.Header = r.Header.Clone()
		a, err := http.DefaultTransport.RoundTrip(to)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = a.Body.Close() }()
		body, err := io.ReadAll(a.Body)
		if r.URL.Path == "/v1/ledger" && a.StatusCode == 200 && err == nil {
			var p httpapi.LedgerPage
			if err = json.Unmarshal(body, &p); err == nil {
				lie(&p)
				body, err = json.Marshal(p)
			}
		}
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(a.StatusCode)
		_, _ = w.Write(body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// otherwise is the same record with another reason: signed with the cluster's ledger key, as by an authority that was rolled
// back, or with a key of one's own.
func otherwise(t *testing.T, dataDir string, w httpapi.SignedRecord) httpapi.SignedRecord {
	t.Helper()
	custody, err := keys.Open(dataDir)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := custody.Ledger(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(w.Payload)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ledger.Signed{Payload: payload, KeyID: w.KeyID, Signature: make([]byte, 64)}.Record()
	if err != nil {
		t.Fatal(err)
	}
	changed := *r
	changed.Reason = "another story"
	data, err := signer.Sign(changed, r.Decoded())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ledger.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	return httpapi.SignedRecord{
		Payload: base64.RawURLEncoding.EncodeToString(s.Payload), KeyID: s.KeyID,
		Signature: base64.RawURLEncoding.EncodeToString(s.Signature),
	}
}

func TestImportFleet_RefusesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	w := newFleet(t)
	w.lived()
	w.lose("keyturn.db")
	honest := w.Sidecars()[0]
	otherDir := filepath.Join(t.TempDir(), "other")
	other, err := devcluster.Start(t.Context(), devcluster.Options{Dir: otherDir, Peers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	})
	last := func(p *httpapi.LedgerPage) *httpapi.SignedRecord { return &p.Records[len(p.Records)-1] }
	forked := liar(t, honest, func(p *httpapi.LedgerPage) {
		p.Freshness = nil // a proof may name the record that is another one here
		if len(p.Records) > 0 {
			*last(p) = otherwise(t, w.DataDir(), *last(p))
		}
	})
	forged := liar(t, honest, func(p *httpapi.LedgerPage) {
		if len(p.Records) > 0 {
			*last(p) = otherwise(t, other.DataDir(), *last(p))
		}
	})
	torn := liar(t, honest, func(p *httpapi.LedgerPage) {
		if len(p.Records) > 8 {
			p.Records[7] = otherwise(t, w.DataDir(), p.Records[7])
		}
	})
	holed := liar(t, honest, func(p *httpapi.LedgerPage) {
		if len(p.Records) > 8 {
			p.Records = append(p.Records[:7], p.Records[8:]...)
		}
	})
	short := liar(t, honest, func(p *httpapi.LedgerPage) { p.Records = nil })
	again := liar(t, honest, func(p *httpapi.LedgerPage) { p.Records = append(p.Records, p.Records...) })
	for name, c := range map[string]struct {
		from []string
		want error
		says string
	}{
		"two that contradict each other":  {[]string{honest, forked}, serve.ErrContradiction, forked + ": the copies contradict each other: it and " + honest},
		"the other way round":             {[]string{forked, honest}, serve.ErrContradiction, honest + ": the copies contradict each other: it and " + forked},
		"signed with another key":         {[]string{forged}, ledger.ErrRecord, forged + ": "},
		"signed with another key, second": {[]string{honest, forged}, ledger.ErrSignature, forged + ": "},
		"a chain that is broken":          {[]string{torn}, ledger.ErrFork, torn + ": "},
		"a hole":                          {[]string{holed}, httpapi.ErrPage, holed + ": "},
		"less than it says":               {[]string{honest, short}, httpapi.ErrPage, short + ": "},
		"everything twice":                {[]string{again}, httpapi.ErrPage, again + ": "},
		"another cluster":                 {[]string{other.Sidecars()[0]}, serve.ErrForeign, other.Sidecars()[0] + ": "},
	} {
		_, err := serve.ImportFleet(t.Context(), w.DataDir(), w.copies(c.from...), time.Now)
		if !errors.Is(err, c.want) || !strings.HasPrefix(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v that begins with %s", name, err, c.want, c.says)
		}
		if left, _ := filepath.Glob(filepath.Join(w.DataDir(), "keyturn.db.*")); len(left) > 0 {
			t.Errorf("%s: left over: %v", name, left)
		}
	}
	w.rebuild(honest, w.second.URL()) // and nothing of all that is in the way
	if err := w.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.token(w.ClientID(), w.Secret().Reveal())
}

// A secret's hash that one copy has lost comes from another one. One that does not fit is nobody's.
func TestImportFleet_MergesHashes(t *testing.T) {
	t.Parallel()
	w := newFleet(t)
	holds := w.lived()
	w.lose("keyturn.db")
	honest, wrong := w.Sidecars()[0], base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	none := liar(t, honest, func(p *httpapi.LedgerPage) {
		for i := range p.Hashes {
			p.Hashes[i].Hash = nil
		}
	})
	wrongOnes := liar(t, honest, func(p *httpapi.LedgerPage) {
		for i := range p.Hashes {
			p.Hashes[i].Hash = &wrong
		}
	})
	done := w.rebuild(w.second.URL(), none, wrongOnes, honest) // the first has one of a credential that was revoked since
	if err := w.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.cut.Store(false)
	holds()
	w.lose("keyturn.db")
	if alone := w.rebuild(honest); alone.Hashes != done.Hashes || alone.Records != done.Records {
		t.Errorf("with others %+v, alone %+v", done, alone)
	}
	w.lose("keyturn.db")
	if without := w.rebuild(none, wrongOnes); without.Hashes != 0 {
		t.Errorf("hashes from nowhere: %+v", without)
	}
}
