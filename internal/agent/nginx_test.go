package agent_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// findNginx returns the nginx to test with. Without one the test is skipped, and fails where CI is "true"; KEYTURN_NGINX=none
// says that there can be none on this machine.
func findNginx(t *testing.T) string {
	t.Helper()
	name := os.Getenv("KEYTURN_NGINX")
	if name == "none" {
		t.Skip("left out: KEYTURN_NGINX=none says that this machine has no nginx")
	}
	for _, candidate := range []string{name, "nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(candidate); candidate != "" && err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("there is no nginx: install it (apt-get install nginx-light), or name it in KEYTURN_NGINX")
	}
	t.Skip("there is no nginx on this machine")
	return ""
}

var nginxBlock = regexp.MustCompile("(?s)```nginx\n(.*?)```")

// documented is the configuration that docs/forward-auth.md shows, with the addresses of the test in place of its own.
func documented(t *testing.T, front, sidecar, service string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/forward-auth.md")
	if err != nil {
		t.Fatal(err)
	}
	found := nginxBlock.FindSubmatch(page)
	if found == nil {
		t.Fatal("docs/forward-auth.md shows no configuration for nginx")
	}
	config := string(found[1])
	for printed, real := range map[string]string{
		"listen 127.0.0.1:8000;":                         "listen " + front + ";",
		"server unix:/run/keyturn-sidecar/sidecar.sock;": "server " + sidecar + ";",
		"server 127.0.0.1:9000;":                         "server " + service + ";",
	} {
		if strings.Count(config, printed) != 1 {
			t.Fatalf("docs/forward-auth.md says %q %d times", printed, strings.Count(config, printed))
		}
		config = strings.Replace(config, printed, real, 1)
	}
	return config
}

// startNginx runs nginx until the test ends, on the socket dir/front, and points w.http to it.
func (w *world) startNginx(dir, sidecar, service string) {
	t := w.t
	t.Helper()
	program := findNginx(t)
	front := filepath.Join(dir, "front")
	user := ""
	if os.Geteuid() == 0 {
		user = "user root root;" // what it reads and writes lies in the test's directory
	}
	config := fmt.Sprintf(`%s
worker_processes 1;
daemon off;
pid %[2]s/pid;
error_log stderr info;
events {}
http {
    access_log off;
    client_body_temp_path %[2]s/body;
    proxy_temp_path %[2]s/proxy;
    fastcgi_temp_path %[2]s/fastcgi;
    uwsgi_temp_path %[2]s/uwsgi;
    scgi_temp_path %[2]s/scgi;
%s
}
`, user, dir, documented(t, "unix:"+front, sidecar, service))
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(program, "-p", dir, "-c", file)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		<-ended
		if t.Failed() {
			t.Logf("nginx:\n%s", log.String())
		}
	})
	w.over(front)
	w.eventually("nginx listens", func() bool {
		select {
		case <-ended:
			t.Fatalf("nginx has ended:\n%s", log.String())
		default:
		}
		c, err := (&net.Dialer{}).DialContext(t.Context(), "unix", front)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// service is what stands behind the proxy: it says what it was told.
func service(t *testing.T) (address string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fails" {
			http.Error(w, "the service's own words", http.StatusInternalServerError)
			return
		}
		_, _ = fmt.Fprintf(w, "%s %s\n", r.Method, r.URL.RequestURI())
		for _, name := range []string{"Keyturn-Client-Id", "Keyturn-Credential", "Keyturn-Scope", "Keyturn-Version", "Keyturn-Age"} {
			_, _ = fmt.Fprintf(w, "%s: %s\n", name, strings.Join(r.Header.Values(name), ","))
		}
		_, _ = fmt.Fprintf(w, "body %d\n", r.ContentLength)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// TestNginx_AsksTheSidecar runs the documented configuration, over the sidecar's unix socket and over TCP.
func TestNginx_AsksTheSidecar(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	reader, payer := w.create("billing.read"), w.create("billing.read", "billing.write")
	read := w.token(w.URL(), reader.ClientID, reader.ClientSecret, "").AccessToken
	pay := w.token(w.URL(), payer.ClientID, payer.ClientSecret, "").AccessToken
	dir := shortDir(t)
	c := w.another("unix:" + filepath.Join(dir, "sidecar"))
	c.SocketMode = 0o666
	w.runs(c)
	forged := http.Header{
		"Authorization": {"Bearer " + read}, "Keyturn-Client-Id": {"cli_somebody"}, "Keyturn-Scope": {"admin"},
		"Keyturn-Credential": {"cli_somebody"}, "Keyturn-Version": {"99"}, "Keyturn-Age": {"-1"},
	}
	for where, sidecar := range map[string]string{"unix": c.Listen, "tcp": strings.TrimPrefix(w.Sidecars()[0], "http://")} {
		v := &world{Cluster: w.Cluster, t: t}
		own := filepath.Join(dir, where)
		if err := os.Mkdir(own, 0o755); err != nil {
			t.Fatal(err)
		}
		v.startNginx(own, sidecar, service(t))
		for name, row := range map[string]struct {
			method, path string
			header       http.Header
			status       int
			challenge    string
			body         []string // what is in it
		}{
			"Nobody":          {"GET", "/bills/1", nil, 401, `Bearer realm="keyturn"`, nil},
			"BadToken":        {"GET", "/bills/1", bearer("x.y.z"), 401, `Bearer realm="keyturn", error="invalid_token"`, nil},
			"BadSecret":       {"GET", "/bills/1", basic(reader.ClientID, reader.ClientSecret[:52]), 401, `Basic realm="keyturn"`, nil},
			"Token":           {"GET", "/bills/1?x=1", bearer(read), 200, "", []string{"GET /bills/1?x=1\n", "Keyturn-Client-Id: " + reader.ClientID + "\n", "Keyturn-Credential: " + reader.ID + "\n", "Keyturn-Scope: billing.read\n", "Keyturn-Version: 1\n"}},
			"Secret":          {"GET", "/bills/1", basic(reader.ClientID, reader.ClientSecret), 200, "", []string{"Keyturn-Scope: billing.read\n"}},
			"Body":            {"POST", "/bills/1", bearer(read), 200, "", []string{"POST /bills/1\n", "body 9\n"}},
			"ScopeMissing":    {"POST", "/bills/pay", bearer(read), 403, "", nil},
			"ScopeThere":      {"POST", "/bills/pay", bearer(pay), 200, "", []string{"Keyturn-Scope: billing.read billing.write\n"}},
			"AnybodyKnown":    {"GET", "/else", bearer(read), 200, "", []string{"GET /else\n"}},
			"NobodyElsewhere": {"GET", "/else", nil, 401, `Bearer realm="keyturn"`, nil},
			"AsksForItself":   {"POST", "/bills/pay?scope=billing.read", bearer(read), 403, "", nil},
			"Forged":          {"GET", "/bills/1", forged, 200, "", []string{"Keyturn-Client-Id: " + reader.ClientID + "\n", "Keyturn-Credential: " + reader.ID + "\n", "Keyturn-Scope: billing.read\n", "Keyturn-Version: 1\n"}},
			"TheQuestion":     {"GET", "/keyturn-authz", bearer(read), 404, "", nil},
			"OwnFailure":      {"GET", "/fails", bearer(read), 500, "", []string{"the service's own words"}},
		} {
			a := v.sent(row.method, "http://bills.example"+row.path, row.header, map[bool]string{true: "some body"}[row.method == "POST"])
			if a.status != row.status || a.header.Get("WWW-Authenticate") != row.challenge {
				t.Errorf("%s, %s: %d, %q: %s", where, name, a.status, a.header.Get("WWW-Authenticate"), a.body)
			}
			if row.status == 200 && !regexp.MustCompile(`(?m)^Keyturn-Age: \d+$`).Match(a.body) {
				t.Errorf("%s, %s: no age in %s", where, name, a.body)
			}
			for _, part := range row.body {
				if !strings.Contains(string(a.body), part) {
					t.Errorf("%s, %s: no %q in %s", where, name, part, a.body)
				}
			}
		}
	}
}

// TestNginx_SaysThatItCannotKnow: past the bound, and without a sidecar, the client gets 503 and not 401.
func TestNginx_SaysThatItCannotKnow(t *testing.T) {
	t.Parallel()
	w := start(t, 0)
	made := w.create("billing.read")
	dir := shortDir(t)
	c := w.another("unix:" + filepath.Join(dir, "sidecar"))
	c.SocketMode = 0o666
	_, stop := w.runs(c)
	v := &world{Cluster: w.Cluster, t: t}
	v.startNginx(dir, c.Listen, service(t))
	ask := func() answer {
		return v.send(http.MethodGet, "http://bills.example/bills/1", basic(made.ClientID, made.ClientSecret), "")
	}
	v.eventually("it is let in", func() bool { return ask().status == 200 })
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	w.ahead.Store(int64(25 * time.Hour))
	if a := ask(); a.status != 503 || a.code() != "STALE" || a.header.Get("Retry-After") == "" {
		t.Errorf("past the bound: %d %v %s", a.status, a.header, a.body)
	}
	stop()
	if a := ask(); a.status != 503 || a.code() != "STALE" {
		t.Errorf("without a sidecar: %d %v %s", a.status, a.header, a.body)
	}
	if err := w.Up(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
}
