package verify_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/keyturn/keyturn/sidecar/verify"
)

// Whatever a feed says, it is refused or taken, and nobody gets in by it who is not in it.
func FuzzFeed(f *testing.F) {
	w := newWorld(f)
	w.revoke(readerI)
	w.revoke(sharedI, 1)
	w.deny("cli", sharedI.String()+"-1")
	good, err := json.Marshal(w.feed(0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	for _, text := range []string{
		``, `{}`, `null`, `[]`, `{"keys":null}`, `{"cluster_id":"` + clusterID.String() + `","issuer":"i","cursor":"1","keys":{"keys":[]}}`,
		`{"cluster_id":"` + clusterID.String() + `","issuer":"i","cursor":"1","age_seconds":99999999999999,"keys":{"keys":[]},"dead":[{"id":""}]}`,
		`{"cluster_id":"` + clusterID.String() + `","issuer":"i","cursor":"1","age_seconds":-1,"keys":{"keys":[]}}`,
		`{"cluster_id":"` + clusterID.String() + `","issuer":"i","cursor":"1","keys":{"keys":[]},"peers":[{"peer_id":"","max_scopes":null}]}`,
	} {
		f.Add([]byte(text))
	}
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
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("wait_seconds") != "0" {
				<-r.Context().Done()
			}
			_, _ = w.Write(body)
		})
		v, err := verify.New(t.Context(), "http://127.0.0.1:8081", verify.Options{
			Transport: direct{handler}, Now: func() time.Time { return now },
		})
		if err != nil {
			return
		}
		defer v.Close()
		if _, err := v.Check(t.Context(), unknown, verify.Want{}); err == nil {
			t.Fatal("an unknown key let somebody in")
		}
	})
}
