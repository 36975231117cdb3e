package serve_test

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/serve"
	"github.com/keyturn/keyturn/internal/testkey"
)

// withTLS is a config with a certificate.
func withTLS(t *testing.T, name string) serve.Config {
	t.Helper()
	c := config(t)
	c.TLSCert, c.TLSKey, _ = testkey.Certificate(t, t.TempDir(), name)
	return c
}

// shake makes a TLS connection and returns what was agreed on.
func shake(t *testing.T, h *host, version uint16) (tls.ConnectionState, error) {
	t.Helper()
	c, err := tls.Dial("tcp", address(t, h), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: version, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close() //nolint:errcheck // nothing is sent
	return c.ConnectionState(), nil
}

func TestTLS_SpeaksHTTP2AndNothingOld(t *testing.T) {
	t.Parallel()
	h := run(t, withTLS(t, "one"))
	if !strings.HasPrefix(h.URL(), "https://127.0.0.1:") {
		t.Errorf("URL is %s", h.URL())
	}
	h.transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // made for this test
	h.transport.ForceAttemptHTTP2 = true
	a, err := h.transport.RoundTrip(newRequest(t, h.URL()+"/readyz"))
	if err != nil {
		t.Fatal(err)
	}
	_ = a.Body.Close()
	if a.StatusCode != http.StatusOK || a.ProtoMajor != 2 {
		t.Errorf("%s by %s", a.Status, a.Proto)
	}
	if _, err := shake(t, h, tls.VersionTLS11); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	if _, err := shake(t, h, tls.VersionTLS12); err != nil {
		t.Errorf("TLS 1.2: %v", err)
	}
}

func TestTLS_ReadsTheCertificateWhenItChanges(t *testing.T) {
	t.Parallel()
	h := run(t, withTLS(t, "one"))
	name := func() string {
		t.Helper()
		return must(shake(t, h, 0))(t).PeerCertificates[0].Subject.CommonName
	}
	if got := name(); got != "one" {
		t.Errorf("it shows %s", got)
	}
	if err := os.WriteFile(h.config.TLSCert, []byte("half a certif"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := name(); got != "one" {
		t.Errorf("with a broken file it shows %s", got)
	}
	if err := h.Reload(); err == nil || !strings.Contains(err.Error(), h.config.TLSCert) {
		t.Errorf("a reload of it: %v", err)
	}
	if n := len(h.log.lines(t, "going on with the certificate of before")); n != 1 {
		t.Errorf("said %d times", n)
	}
	testkey.Certificate(t, filepath.Dir(h.config.TLSCert), "two")
	if got := name(); got != "two" {
		t.Errorf("after the renewal it shows %s", got)
	}
	if err := h.Reload(); err != nil {
		t.Error(err)
	}
}
