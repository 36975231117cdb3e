package main_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/httpapi"
)

// Who came through a host is told by the host's name, and that the host is removed.
func TestStatus_NamesAHostThatIsRemoved(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	made := u.does("join-keys", "create", "--json")
	key := regexp.MustCompile(`"join_key":"([^"]+)"`).FindStringSubmatch(made.stdout)
	if key == nil {
		t.Fatalf("%+v", made)
	}
	peerID, err := joins(u.cluster.URL(), key[1])
	if err != nil {
		t.Fatal(err)
	}
	id, secret := u.held()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u.cluster.URL()+"/v1/oauth/token", strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(id, secret)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set(httpapi.HeaderSidecar, peerID)
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = a.Body.Close()
	shows := func(line string) {
		t.Helper()
		if got := u.does("credentials", "status"); got.exit != 0 || !regexp.MustCompile(line).MatchString(got.stdout) {
			t.Errorf("exit %d: %s%s", got.exit, got.stdout, got.stderr)
		}
	}
	shows(`authority local \(127\.0\.0\.1 via host-7\) at .*, once\n`)
	if got := u.does("peers", "remove", peerID); got.exit != 0 {
		t.Fatalf("%+v", got)
	}
	shows(`authority local \(127\.0\.0\.1 via host-7 \(removed\)\) at .* \(that host is removed\), once\n`)
}
