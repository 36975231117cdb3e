package devcluster_test

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/devcluster"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/testport"
)

// start starts a cluster on a port that nobody else gets meanwhile, should it start again there.
func start(t *testing.T, o devcluster.Options) *devcluster.Cluster {
	t.Helper()
	if _, err := os.Stat(filepath.Join(o.Dir, "config.json")); o.Listen == "" && (o.Dir == "" || err != nil) {
		o.Listen = testport.Hold(t)
	}
	c, err := devcluster.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func client(t *testing.T, c *devcluster.Cluster) *httpapi.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := httpapi.NewClient(c.URL(), httpapi.ClientOptions{Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func token(t *testing.T, c *devcluster.Cluster) string {
	t.Helper()
	got, _, err := client(t, c).Token(t.Context(), httpapi.TokenParams{ClientID: c.ClientID(), ClientSecret: c.Secret().Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	return got.AccessToken
}

func identity(t *testing.T, c *devcluster.Cluster) (who httpapi.Identity) {
	t.Helper()
	a, err := client(t, c).Call(t.Context(), httpapi.Request{Path: "/v1/cluster/identity"})
	if err == nil {
		err = a.Decode(&who)
	}
	if err != nil {
		t.Fatal(err)
	}
	return who
}

func TestStart_BootstrapsFromASignedLicense(t *testing.T) {
	t.Parallel()
	c := start(t, devcluster.Options{})
	l, err := c.License()
	if err == nil {
		err = l.Verify([]jwk.Key{c.Vendor()})
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := identity(t, c).LicenseID; got != l.LicenseID.String() {
		t.Errorf("the cluster runs under license %s, want %s", got, l.LicenseID)
	}
	token(t, c)
}

func TestClose_RemovesATemporaryDirectory(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	c, err := devcluster.Start(t.Context(), devcluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(os.TempDir()); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := c.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

func TestStart_ASecondStartIsTheSameCluster(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "dev")
	first := start(t, devcluster.Options{Dir: dir})
	before := identity(t, first)
	old := token(t, first)
	config, err := os.ReadFile(first.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := start(t, devcluster.Options{Dir: dir})
	if after := identity(t, second); after.ClusterID != before.ClusterID || after.Issuer != second.URL() {
		t.Errorf("first %s at %s, then %s at %s", before.ClusterID, first.URL(), after.ClusterID, second.URL())
	}
	if _, err := client(t, second).Call(t.Context(), httpapi.Request{Path: "/v1/credentials", Bearer: old}); err != nil {
		t.Errorf("a token of the first run: %v", err)
	}
	token(t, second)
	if again, err := os.ReadFile(second.ConfigFile()); err != nil || string(again) != string(config) {
		t.Errorf("the config changed from %s to %s, %v", config, again, err)
	}
}

func TestRestart_KeepsAddressAndTokens(t *testing.T) {
	t.Parallel()
	c := start(t, devcluster.Options{})
	url, old := c.URL(), token(t, c)
	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.URL() != url {
		t.Errorf("before %s, after %s", url, c.URL())
	}
	if _, err := client(t, c).Call(t.Context(), httpapi.Request{Path: "/v1/credentials", Bearer: old}); err != nil {
		t.Errorf("a token from before the restart: %v", err)
	}
}

// What a program inherits that is started just then is let go when it is executed.
func TestUp_WaitsForItsAddress(t *testing.T) {
	t.Parallel()
	c := start(t, devcluster.Options{})
	address := strings.TrimPrefix(c.URL(), "http://")
	if err := c.Down(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(200*time.Millisecond, func() { _ = l.Close() })
	if err := c.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	token(t, c)
}

func TestStart_HealsACrashBeforeTheSecretWasWrittenDown(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "dev")
	first := start(t, devcluster.Options{Dir: dir})
	id, secret := first.ClientID(), first.Secret().Reveal()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(first.ConfigFile()); err != nil {
		t.Fatal(err)
	}
	second := start(t, devcluster.Options{Dir: dir})
	if second.ClientID() != id || second.Secret().Reveal() != secret {
		t.Errorf("first %s, then %s", id, second.ClientID())
	}
}

func TestStart_SaysHowToGetASecretThatIsLost(t *testing.T) {
	t.Parallel()
	dir, day := filepath.Join(t.TempDir(), "dev"), 25*time.Hour
	first := start(t, devcluster.Options{Dir: dir, Now: func() time.Time { return time.Now().Add(-day) }})
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(first.ConfigFile()); err != nil {
		t.Fatal(err)
	}
	c, err := devcluster.Start(t.Context(), devcluster.Options{Dir: dir})
	if err == nil {
		t.Error(c.Close())
		t.Fatal("it started")
	}
	if !strings.Contains(err.Error(), "keyturn recover --data-dir "+first.DataDir()) {
		t.Error(err)
	}
}

func TestStart_KeepsWhatElseIsInTheConfig(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "dev")
	first := start(t, devcluster.Options{Dir: dir})
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	text, err := os.ReadFile(first.ConfigFile())
	if err == nil {
		err = json.Unmarshal(text, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	contexts := file["contexts"].(map[string]any)
	contexts["other"] = map[string]any{"server": "https://example.com"}
	contexts["dev"].(map[string]any)["note"] = "mine"
	file["current_context"] = "other"
	if text, err = json.Marshal(file); err == nil {
		err = os.WriteFile(first.ConfigFile(), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	second := start(t, devcluster.Options{Dir: dir, Listen: "127.0.0.2:0"})
	text, err = os.ReadFile(second.ConfigFile())
	var after map[string]any
	if err == nil {
		err = json.Unmarshal(text, &after)
	}
	if err != nil {
		t.Fatal(err)
	}
	contexts["dev"].(map[string]any)["server"] = second.URL()
	if diff := cmp.Diff(file, after); diff != "" {
		t.Error(diff)
	}
	token(t, second)
}
