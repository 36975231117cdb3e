package verify_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/sidecar/verify"
)

// Whatever a feed says, it is refused or taken, and nobody gets in by it who is not in it.
func FuzzFeed(f *testing.F) {
	w := newWorld(f)
	w.revoke(readerI)
	w.revoke(sharedI, 1)
	w.deny("cli", sharedI.String()+"-1")
	seed, err := json.Marshal(w.feed(0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	for _, text := range []string{
		``, `{}`, `null`, `[]`, `{"keys":null}`, `{"cluster_id":"` + clusterID.String() + `","issuer":"i","cursor":"1","keys":{"keys":[]}}`,
		`{"cluster_id":"` + clusterID.String() + `","issuer":"i","cursor":"1","age_seconds":99999999999999,"keys":{"keys":[]},"dead":[{"id":""}]}`,
		`{"cluster_id":"` + clusterID.String() + `","issuer":"i","cursor":"1","age_seconds":-1,"keys":{"keys":[]}}`,
		`{"cluster_id":"` + clusterID.String() + `","issuer":"i","cursor":"1","keys":{"keys":[]},"peers":[{"peer_id":"","max_scopes":null}]}`,
	} {
		f.Add([]byte(text))
	}
	good, keyID := w.sign(authorityI, nil), w.signers[authorityI].Key().ID()
	unknown := sign(f, newSigner(f, edKey("unknown")), claims())
	f.Fuzz(func(t *testing.T, body []byte) {
		feed, err := verify.Decode(body)
		if err != nil {
			return
		}
		again, err := json.Marshal(feed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := verify.Decode(again); err != nil {
			t.Fatalf("%v, after it was read: %s", err, again)
		}
		if err := verify.Judge(feed, now, unknown); err == nil {
			t.Fatal("an unknown key let somebody in")
		}
		if owner := ownerOf(feed, keyID); verify.Judge(feed, now, good) == nil && owner != authorityI.String() {
			t.Fatalf("the key of %q let the authority's token in", owner)
		}
	})
}

func ownerOf(f httpapi.Feed, keyID string) string {
	if i := slices.IndexFunc(f.Peers, func(g httpapi.Grant) bool { return g.KeyID == keyID }); i >= 0 {
		return f.Peers[i].PeerID
	}
	return ""
}
