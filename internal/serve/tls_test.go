package serve_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/serve"
)

// writeCertificate makes a self-signed certificate with that name and puts it into the two files.
func writeCertificate(t *testing.T, name, certFile, keyFile string) {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))(t)
	private := must(x509.MarshalPKCS8PrivateKey(key))(t)
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// withTLS is a config with a certificate.
func withTLS(t *testing.T, name string) serve.Config {
	t.Helper()
	c := config(t)
	dir := t.TempDir()
	c.TLSCert, c.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, name, c.TLSCert, c.TLSKey)
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
	writeCertificate(t, "two", h.config.TLSCert, h.config.TLSKey)
	if got := name(); got != "two" {
		t.Errorf("after the renewal it shows %s", got)
	}
	if err := h.Reload(); err != nil {
		t.Error(err)
	}
}
