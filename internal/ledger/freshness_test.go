package ledger_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/ledger"
)

// A proof comes back as it was signed, also one that names no record, as those did that were signed before there were sums.
func TestFreshness_NamesTheRecordsAtItsHeads(t *testing.T) {
	t.Parallel()
	for name, sums := range map[string]map[string]string{"Some": {"a": ledger.PrevOf([]byte("a sum"))}, "None": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := ledger.Freshness{Cluster: cluster, Heads: map[string]uint64{"a": 1, "b": 7}, Sums: sums, At: second(1)}
			signed, err := newBook(t, "a", "a").signer.SignFreshness(want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ledger.NewVerifier(public(t, "a")).Freshness(signed)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("read: %v\n%s", err, diff)
			}
		})
	}
}
