package ledger_test

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/ledger"
)

// link decodes data, as long as that can be done.
func link(data []byte) (ledger.Link, bool) {
	l, err := ledger.NewLink(data)
	return l, err == nil
}

func links(t testing.TB, data ...[]byte) []ledger.Link {
	t.Helper()
	var list []ledger.Link
	for _, d := range data {
		l, ok := link(d)
		if !ok {
			t.Fatal("not a record")
		}
		list = append(list, l)
	}
	return list
}

// unsigned is the next record of the book with a signature that is no good, and the book goes on from there: what only who
// has the key of a later record can bring about.
func (b *book) unsigned(t testing.TB, seed string) []byte {
	t.Helper()
	before := *b
	data := b.vouch(t, seed)
	data[40] ^= 1
	*b = before
	b.seq, b.sum = b.seq+1, ledger.Sum(data)
	return data
}

// verdicts are the kinds of errors, for a comparison.
func verdicts(errs []error) []string {
	list := make([]string, len(errs))
	for i, err := range errs {
		switch {
		case errors.Is(err, ledger.ErrSignature):
			list[i] = "signature"
		case errors.Is(err, ledger.ErrRecord):
			list[i] = "record"
		case err != nil:
			list[i] = err.Error()
		}
	}
	return list
}

// Whatever is done to a ledger by somebody without its keys, a chain is judged as its records are one by one.
func TestCheckChain_IsCheckOfEach(t *testing.T) {
	t.Parallel()
	laws(t, func(rt *rapid.T) {
		v, data := damagedLedger(t, rt)
		var list []ledger.Link
		for _, d := range data {
			if l, ok := link(d); ok {
				list = append(list, l)
			}
		}
		want := make([]error, len(list))
		for i, l := range list {
			want[i] = v.Check(l.Signed, l.Record)
		}
		if got := v.CheckChain(list); !slices.Equal(verdicts(got), verdicts(want)) {
			rt.Fatalf("of the chain %q, one by one %q", verdicts(got), verdicts(want))
		}
	})
}

// damagedLedger is a ledger of several keys, trusted or not, and clusters, whose records were changed, moved and left out.
func damagedLedger(t *testing.T, rt *rapid.T) (*ledger.Verifier, [][]byte) {
	b := newBook(t, "a", "a")
	data := [][]byte{b.founding(t)}
	for _, seed := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "a", "a", "b", "x"}), 0, 12).Draw(rt, "signers") {
		b.signer = newBook(t, "a", seed).signer
		if rapid.IntRange(0, 9).Draw(rt, "foreign") == 0 {
			b.cluster = another
		}
		data = append(data, b.vouch(t, "c"))
		b.cluster = cluster
	}
	for range rapid.IntRange(0, 3).Draw(rt, "changes") {
		i := rapid.IntRange(0, len(data)-1).Draw(rt, "record")
		switch rapid.IntRange(0, 3).Draw(rt, "change") {
		case 0:
			data[i] = slices.Clone(data[i])
			data[i][rapid.IntRange(0, len(data[i])-1).Draw(rt, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		case 1:
			data = slices.Insert(data, i, data[rapid.IntRange(0, len(data)-1).Draw(rt, "other")])
		case 2:
			j := rapid.IntRange(0, len(data)-1).Draw(rt, "other")
			data[i], data[j] = data[j], data[i]
		case 3:
			if len(data) > 1 {
				data = slices.Delete(data, i, i+1)
			}
		}
	}
	v := ledger.NewVerifier(public(t, "a"), public(t, "b"))
	founding, err := v.Open(newBook(t, "a", "a").founding(t))
	if err != nil {
		t.Fatal(err)
	}
	v.Learn(founding)
	return v, data
}

// One good signature speaks for the records before it that the same key has signed, and for no others.
func TestCheckChain_WhomASignatureSpeaksFor(t *testing.T) {
	t.Parallel()
	begin := func(seed string) (*book, [][]byte) {
		b := newBook(t, "a", "a")
		data := [][]byte{b.founding(t)}
		b.signer = newBook(t, "a", seed).signer
		return b, data
	}
	cases := map[string]struct {
		data func() [][]byte
		want []string
	}{
		"TheChainBefore": {func() [][]byte {
			b, data := begin("a")
			return append(data, b.unsigned(t, "c"), b.vouch(t, "d"))
		}, []string{"", "", ""}},
		"NotWhatComesLater": {func() [][]byte {
			b, data := begin("a")
			return append(data, b.vouch(t, "d"), b.unsigned(t, "c"))
		}, []string{"", "", "signature"}},
		"NotAnotherKey": {func() [][]byte {
			b, data := begin("a")
			data = append(data, b.unsigned(t, "c"))
			b.signer = newBook(t, "a", "b").signer
			return append(data, b.vouch(t, "d"))
		}, []string{"", "signature", ""}},
		"NotAKeyThatOnlyTheStretchVouchesFor": {func() [][]byte {
			b, data := begin("a")
			data = append(data, b.unsigned(t, "x")) // would be the word that x is trusted
			b.signer = newBook(t, "a", "x").signer
			return append(data, b.vouch(t, "d"), b.vouch(t, "e"))
		}, []string{"", "signature", "signature", "signature"}},
		"NotOverAHole": {func() [][]byte {
			b, data := begin("a")
			data = append(data, b.unsigned(t, "c"))
			b.vouch(t, "hole")
			return append(data, b.vouch(t, "d"))
		}, []string{"", "signature", ""}},
		"NotOverANumber": {func() [][]byte {
			b, data := begin("a")
			data = append(data, b.unsigned(t, "c"))
			b.seq++
			return append(data, b.vouch(t, "d"))
		}, []string{"", "signature", ""}},
		"NotAnotherPast": {func() [][]byte {
			b, data := begin("a")
			data = append(data, b.unsigned(t, "c"))
			b.sum = ledger.Sum([]byte("another past"))
			return append(data, b.vouch(t, "d"))
		}, []string{"", "signature", ""}},
		"NotAnotherRegion": {func() [][]byte {
			b, data := begin("a")
			data = append(data, b.unsigned(t, "c"))
			b.region = "b"
			return append(data, b.vouch(t, "d"))
		}, []string{"", "signature", ""}},
		"NotAnotherCluster": {func() [][]byte {
			b, data := begin("a")
			b.cluster = another
			data = append(data, b.vouch(t, "c"))
			b.cluster = cluster
			return append(data, b.vouch(t, "d"))
		}, []string{"", "record", ""}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := ledger.NewVerifier(public(t, "a"), public(t, "b"))
			data := c.data()
			if _, refused := v.Trust(data[:1]); refused != 0 {
				t.Fatal("the cluster is not founded")
			}
			if got := verdicts(v.CheckChain(links(t, data...))); !slices.Equal(got, c.want) {
				t.Errorf("= %q, want %q", got, c.want)
			}
		})
	}
}

func TestExamineChain_RemembersWhatIsGood(t *testing.T) {
	t.Parallel()
	b := newBook(t, "a", "a")
	data := [][]byte{b.founding(t), b.unsigned(t, "c"), b.vouch(t, "d"), b.unsigned(t, "e")}
	v := ledger.NewVerifier(public(t, "a"))
	if _, err := v.Open(data[1]); !errors.Is(err, ledger.ErrSignature) {
		t.Fatalf("before: %v", err)
	}
	v.Trust(data[:1])
	if err := v.ExamineChain(links(t, data[:3]...)); err != nil {
		t.Fatal(err)
	}
	if err := v.ExamineChain(links(t, data[3])); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("nobody speaks for the last one: %v", err)
	}
	for i, d := range data[:3] {
		if _, err := v.Open(d); err != nil {
			t.Errorf("record %d: %v", i+1, err)
		}
	}
	if _, err := v.Open(data[3]); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("the last record: %v", err)
	}
}
