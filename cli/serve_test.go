package main_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// serving is a keyturn serve in the background, and the address that it says it listens on.
func serving(t *testing.T, args ...string) (r *running, url string) {
	t.Helper()
	r = start(t, nil, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	var line struct{ URL string }
	if err := json.Unmarshal([]byte(r.line(r.stderr, `"listening"`)), &line); err != nil {
		t.Fatal(err)
	}
	r.drain()
	return r, line.URL
}

// guest is somebody without a config.
func guest(t *testing.T) *user {
	t.Helper()
	return &user{t: t, clock: &clock{}, env: map[string]string{"KEYTURN_CONFIG": filepath.Join(t.TempDir(), "config.json")}}
}

func TestServe_DoesWhatItsFlagsSay(t *testing.T) {
	t.Parallel()
	u, dir := guest(t), t.TempDir()
	vendor, other := filepath.Join(dir, "vendor"), filepath.Join(dir, "other")
	good, second := filepath.Join(dir, "good.json"), filepath.Join(dir, "second.json")
	u.must("license", "keygen", "--out", vendor)
	u.must("license", "keygen", "--out", other)
	issue := []string{"--max-nodes", "3", "--max-services", "3", "--expires-in", "1d", "--json", "--out"}
	var l map[string]any
	text := u.must(append([]string{"license", "issue", "--key", vendor}, append(issue, good)...)...).stdout
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		t.Fatal(err)
	}
	u.must(append([]string{"license", "issue", "--key", other}, append(issue, second)...)...)
	shown := writeFile(t, filepath.Join(dir, "token"), "a bootstrap token\n")

	r, url := serving(
		t, "--data-dir", filepath.Join(dir, "data"), "--issuer", "https://issuer.example.com", "--vendor-key", other+".pub",
		"--vendor-key", vendor+".pub", "--license-id", l["license_id"].(string), "--bootstrap-token-file", shown,
		"--token-alg", "EdDSA", "--token-iss", "peer_id", "--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "192.0.2.1",
	)
	u.env["KEYTURN_SERVER"] = url
	if got := u.does("bootstrap", "--license", good); got.exit != 3 {
		t.Errorf("without the token: exit %d, %s", got.exit, got.stderr)
	}
	if got := u.does("bootstrap", "--license", second, "--bootstrap-token-file", shown); got.exit != 3 || !strings.Contains(got.stderr, "takes only") {
		t.Errorf("another license: exit %d, %s", got.exit, got.stderr)
	}
	var boot map[string]any
	text = u.must("bootstrap", "--license", good, "--bootstrap-token-file", shown, "--update-config", "--json").stdout
	if err := json.Unmarshal([]byte(text), &boot); err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(u.must("token").stdout)
	if header, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0]); !strings.Contains(string(header), `"alg":"EdDSA"`) {
		t.Errorf("the token's header is %s", header)
	}
	claims := u.must("verify", token).stdout
	for _, want := range []string{boot["peer_id"].(string), "https://issuer.example.com"} {
		if !strings.Contains(claims, want) {
			t.Errorf("%s is not in\n%s", want, claims)
		}
	}
	if exit := r.stop(); exit != 0 {
		t.Errorf("exit %d", exit)
	}
}

func TestServe_Refuses(t *testing.T) {
	t.Parallel()
	u, dir := guest(t), t.TempDir()
	vendor := filepath.Join(dir, "vendor")
	u.must("license", "keygen", "--out", vendor)
	ec := writeFile(t, filepath.Join(dir, "ec.pub"), `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	serving(t, "--data-dir", filepath.Join(dir, "locked"))
	for name, row := range map[string]struct {
		args string
		exit int
		says string
	}{
		"NoDirectory":      {"--listen 127.0.0.1:0", 2, "--data-dir"},
		"OffLoopback":      {"--data-dir D --listen 0.0.0.0:0", 2, "--insecure-http"},
		"Algorithm":        {"--data-dir D --token-alg HS256", 2, "token-alg"},
		"Issuer":           {"--data-dir D --token-iss name", 2, "token-iss"},
		"LicenseID":        {"--data-dir D --license-id cli_x", 2, "--license-id"},
		"Proxy":            {"--data-dir D --trusted-proxy 10.0.0.0/33", 2, "trusted-proxy"},
		"HalfOfTLS":        {"--data-dir D --tls-cert c.pem", 2, "--tls-key"},
		"PrivateVendorKey": {"--data-dir D --vendor-key " + vendor, 1, "--vendor-key"},
		"OtherVendorKey":   {"--data-dir D --vendor-key " + ec, 1, "Ed25519"},
		"NoVendorKey":      {"--data-dir D --vendor-key " + dir + "/none", 1, "no such file"},
		"EmptyToken":       {"--data-dir D --bootstrap-token-file " + writeFile(t, dir+"/empty", " \n"), 1, "one line"},
		"TwoTokens":        {"--data-dir D --bootstrap-token-file " + writeFile(t, dir+"/two", "a\nb\n"), 1, "one line"},
		"Locked":           {"--data-dir " + dir + "/locked --listen 127.0.0.1:0", 1, "another keyturn is using it"},
		"PortInUse":        {"--data-dir D --listen " + taken.Addr().String(), 1, "address already in use"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := strings.Fields("serve " + strings.ReplaceAll(row.args, "--data-dir D", "--data-dir "+filepath.Join(t.TempDir(), "d")))
			var stdout, stderr bytes.Buffer
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // should it start after all
			defer cancel()
			exit := stage(ctx, nil, &stdout, &stderr).Run(args)
			if exit != row.exit || !strings.Contains(stderr.String(), row.says) || stdout.Len() > 0 {
				t.Errorf("exit %d, want %d and %q:\n%s%s", exit, row.exit, row.says, &stdout, &stderr)
			}
		})
	}
}
