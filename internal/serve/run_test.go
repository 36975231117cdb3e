package serve_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/license"
	"github.com/keyturn/keyturn/internal/serve"
)

func bootstrapRequest() httpapi.Request {
	return httpapi.Request{Method: "POST", Path: "/v1/bootstrap", Body: struct{}{}}
}

func address(t *testing.T, h *host) string {
	t.Helper()
	u, err := url.Parse(h.URL())
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

func TestRun_FinishesWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	h := run(t, config(t))
	b := bootstrap(t, h)
	conn, err := net.Dial("tcp", address(t, h))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // nothing is lost
	basic := base64.StdEncoding.EncodeToString([]byte(b.ClientID + ":" + b.ClientSecret))
	const body = "grant_type=client_credentials"
	fmt.Fprintf(conn, "POST /v1/oauth/token HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic %s\r\nExpect: 100-continue\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n", basic, len(body))
	answers := bufio.NewReader(conn)
	if line, err := answers.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Fatalf("%q, %v", line, err)
	}
	_, _ = answers.ReadString('\n') // the handler waits for the body now
	h.cancel()
	eventually(t, "new connections are refused", func() bool {
		c, err := net.Dial("tcp", address(t, h))
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	fmt.Fprint(conn, body)
	answer, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatalf("the request was cut off: %v", err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != 200 {
		t.Errorf("status %d", answer.StatusCode)
	}
	if err := h.stop(); err != nil {
		t.Error(err)
	}
	if len(h.log.lines(t, "stopped")) != 1 {
		t.Errorf("the log does not say that it stopped:\n%s", h.log)
	}
	again, err := serve.Open(t.Context(), h.config) // the store is free
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestRun_ARestartKeepsEverything(t *testing.T) {
	t.Parallel()
	c := config(t)
	h := run(t, c)
	b := bootstrap(t, h)
	bearer := token(t, h, b.ClientID, b.ClientSecret).AccessToken
	created := do[httpapi.Created](t, h, httpapi.Request{
		Method: "POST", Path: "/v1/credentials", Bearer: bearer, Body: httpapi.CreateRequest{Name: "billing", Scopes: []string{"services.read"}},
	})
	dead := do[httpapi.Created](t, h, httpapi.Request{Method: "POST", Path: "/v1/credentials", Bearer: bearer, Body: httpapi.CreateRequest{Name: "dead"}})
	do[struct{}](t, h, httpapi.Request{Method: "DELETE", Path: "/v1/credentials/" + dead.ClientID, Bearer: bearer})
	rotated := rotate(t, h, bearer, 3600)
	issuer := do[httpapi.Discovery](t, h, httpapi.Request{Path: "/.well-known/openid-configuration"}).Issuer
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}

	h = run(t, c)
	token(t, h, created.ClientID, created.ClientSecret)
	token(t, h, rotated.ClientID, rotated.ClientSecret)
	if old := token(t, h, b.ClientID, b.ClientSecret); old.SecretVersionCurrent != 2 {
		t.Errorf("the superseded secret is not called that: %+v", old.SecretVersionCurrent)
	}
	if e := refused(t, h, dead.ClientID, dead.ClientSecret); e.OAuth != "invalid_client" {
		t.Errorf("the revoked credential got %v", e)
	}
	do[httpapi.CredentialPage](t, h, httpapi.Request{Path: "/v1/credentials", Bearer: bearer}) // a token of the first run
	if got := do[httpapi.Discovery](t, h, httpapi.Request{Path: "/.well-known/openid-configuration"}).Issuer; got != issuer {
		t.Errorf("the issuer was %s and is %s", issuer, got)
	}
}

func TestRun_WritesTheLicenseDown(t *testing.T) {
	t.Parallel()
	h := run(t, config(t))
	b := bootstrap(t, h)
	path := filepath.Join(h.config.DataDir, "license.json")
	eventually(t, "license.json is there", func() bool {
		text, err := os.ReadFile(path)
		if err != nil {
			return false
		}
		l, err := license.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return l.LicenseID.String() == b.LicenseID
	})
}

func TestRun_SaysWhereItListensAndWhatToDoNext(t *testing.T) {
	t.Parallel()
	c := config(t)
	h := run(t, c)
	eventually(t, "the log names the command", func() bool {
		return strings.Contains(h.log.String(), "run keyturn bootstrap --server "+h.URL()+`"`)
	})
	start := h.log.lines(t, "listening")
	if len(start) != 1 || start[0]["url"] != h.URL() || start[0]["data_dir"] != c.DataDir || start[0]["version"] != "v0" {
		t.Errorf("%v", start)
	}
	b := bootstrap(t, h)
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	h = run(t, c)
	eventually(t, "the log names the cluster", func() bool { return strings.Contains(h.log.String(), b.ClusterID) })
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(h.log.String(), "keyturn bootstrap") {
		t.Errorf("a cluster that is there is told to bootstrap:\n%s", h.log)
	}
}

func TestRun_SaysThatNobodyCouldBootstrap(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.Listen, c.InsecureHTTP = "0.0.0.0:0", true
	h := run(t, c)
	eventually(t, "the log says so", func() bool {
		return strings.Contains(h.log.String(), "--bootstrap-token-file") && strings.Contains(h.log.String(), "plain HTTP off loopback")
	})
}

func TestListen_SaysWhatIsInUse(t *testing.T) {
	t.Parallel()
	h := run(t, config(t))
	c := config(t)
	c.Listen = address(t, h)
	s, err := serve.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
