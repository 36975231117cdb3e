package serve_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/bolt"
	"github.com/keyturn/keyturn/internal/disk"
	"github.com/keyturn/keyturn/internal/keys"
	"github.com/keyturn/keyturn/internal/serve"
)

func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// refuse opens a server that must not open.
func refuse(t *testing.T, c serve.Config) error {
	t.Helper()
	s, err := serve.Open(t.Context(), c)
	if err == nil {
		t.Error(s.Close())
		t.Fatal("it opened")
	}
	return err
}

func TestOpen_RefusesSettings(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		set  func(*serve.Config)
		want string
	}{
		"AllAddresses":     {func(c *serve.Config) { c.Listen = ":0" }, "--insecure-http"},
		"IPv4Any":          {func(c *serve.Config) { c.Listen = "0.0.0.0:0" }, "secrets would travel unencrypted"},
		"IPv6Any":          {func(c *serve.Config) { c.Listen = "[::]:0" }, "--tls-cert"},
		"OtherAddress":     {func(c *serve.Config) { c.Listen = "192.0.2.1:80" }, "192.0.2.1:80 can be reached by other hosts"},
		"CertificateAlone": {func(c *serve.Config) { c.TLSCert = "cert.pem" }, "both --tls-cert and --tls-key"},
		"KeyAlone":         {func(c *serve.Config) { c.TLSKey = "key.pem" }, "both --tls-cert and --tls-key"},
		"TLSAndPlain":      {func(c *serve.Config) { c.TLSCert, c.TLSKey, c.InsecureHTTP = "c", "k", true }, "contradicts"},
		"NoCertificate":    {func(c *serve.Config) { c.TLSCert, c.TLSKey = "/nowhere/c.pem", "/nowhere/k.pem" }, "/nowhere/c.pem"},
		"NoPort":           {func(c *serve.Config) { c.Listen = "127.0.0.1" }, "want HOST:PORT"},
		"WrongPort":        {func(c *serve.Config) { c.Listen = "127.0.0.1:70000" }, "0 to 65535"},
		"NoSocket":         {func(c *serve.Config) { c.Listen = "unix:" }, "the path is missing"},
		"NoDirectory":      {func(c *serve.Config) { c.DataDir = "" }, "--data-dir"},
		"Issuer":           {func(c *serve.Config) { c.Issuer = "https://example.com/?a" }, "issuer"},
		"Algorithm":        {func(c *serve.Config) { c.TokenAlg = "HS256" }, "want ES256, EdDSA or RS256"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config(t)
			row.set(&c)
			err := refuse(t, c)
			if !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v\ndoes not say %q", err, row.want)
			}
			if settings := name != "NoCertificate"; errors.Is(err, serve.ErrSettings) != settings {
				t.Errorf("%v: is ErrSettings: %v", err, !settings)
			}
			if c.DataDir != "" {
				if left, err := os.ReadDir(c.DataDir); err == nil {
					t.Errorf("it left %v behind", left)
				}
			}
		})
	}
}

func TestOpen_TakesLoopbackPlain(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0", "localhost:0", "127.8.9.10:0", "[::ffff:127.0.0.1]:0"} {
		c := config(t)
		c.Listen = listen
		s, err := serve.Open(t.Context(), c)
		if err != nil {
			t.Errorf("%s: %v", listen, err)
			continue
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpen_MakesAPrivateDirectory(t *testing.T) {
	t.Parallel()
	c := config(t)
	h := run(t, c)
	bootstrap(t, h)
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"keyturn.db", "ledger.key", "license.json", "token.key"}, names(t, c.DataDir)); diff != "" {
		t.Error(diff)
	}
	for _, name := range append(names(t, c.DataDir), ".") {
		info, err := os.Stat(filepath.Join(c.DataDir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

func TestOpen_RefusesAWideDirectory(t *testing.T) {
	t.Parallel()
	c := config(t)
	if err := os.Mkdir(c.DataDir, 0o755); err != nil {
		t.Fatal(err)
	}
	err := refuse(t, c)
	if !errors.Is(err, disk.ErrOpen) || !strings.Contains(err.Error(), "chmod 700 "+c.DataDir) {
		t.Error(err)
	}
	if left := names(t, c.DataDir); len(left) > 0 {
		t.Errorf("it left %v behind", left)
	}
}

func TestOpen_RefusesAFileForADirectory(t *testing.T) {
	t.Parallel()
	c := config(t)
	if err := os.WriteFile(c.DataDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := refuse(t, c); !strings.Contains(err.Error(), "is not a directory") {
		t.Error(err)
	}
}

func TestOpen_RefusesWideFiles(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"keyturn.db", "ledger.key", "token.key"} {
		c := config(t)
		h := run(t, c)
		bootstrap(t, h)
		if err := h.stop(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(c.DataDir, name)
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
		if err := refuse(t, c); !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// founded is a stopped server's directory with a cluster, without one of its files.
func founded(t *testing.T, without string) serve.Config {
	t.Helper()
	c := config(t)
	h := run(t, c)
	bootstrap(t, h)
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(c.DataDir, without)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOpen_NeverMakesASecondLedgerKey(t *testing.T) {
	t.Parallel()
	c := founded(t, keys.LedgerFile)
	if err := refuse(t, c); !strings.Contains(err.Error(), "restore ledger.key from a backup") {
		t.Error(err)
	}
	if slices.Contains(names(t, c.DataDir), keys.LedgerFile) {
		t.Error("there is a new ledger key")
	}
}

func TestOpen_NeverMakesASecondStore(t *testing.T) {
	t.Parallel()
	c := founded(t, "keyturn.db")
	if err := refuse(t, c); !strings.Contains(err.Error(), "keyturn import --data-dir "+c.DataDir) {
		t.Error(err)
	}
	if slices.Contains(names(t, c.DataDir), "keyturn.db") {
		t.Error("there is a new store")
	}
}

func TestOpen_RefusesAnotherClustersLedgerKey(t *testing.T) {
	t.Parallel()
	c := founded(t, keys.LedgerFile)
	if _, err := keys.Create(c.DataDir); err != nil {
		t.Fatal(err)
	}
	if err := refuse(t, c); !strings.Contains(err.Error(), "restore the ledger.key that belongs to it") {
		t.Error(err)
	}
}

func TestOpen_TwoServersNeverShareADirectory(t *testing.T) {
	t.Parallel()
	h := run(t, config(t))
	err := refuse(t, h.config)
	if !errors.Is(err, bolt.ErrLocked) || !strings.Contains(err.Error(), "stop that one first") {
		t.Error(err)
	}
}

func TestOpen_GoesOnAfterACrashBetweenKeyAndStore(t *testing.T) {
	t.Parallel()
	c := config(t)
	if err := os.Mkdir(c.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Create(c.DataDir); err != nil {
		t.Fatal(err)
	}
	bootstrap(t, run(t, c))
}

func TestOpen_OnlyThisHostBootstrapsWithoutATokenOrVendor(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		set  func(*serve.Config)
		want string // the code of the refusal
	}{
		"Loopback":    {func(*serve.Config) {}, ""},
		"AnyAddress":  {func(c *serve.Config) { c.Listen, c.InsecureHTTP = "0.0.0.0:0", true }, "UNAUTHORIZED"},
		"BehindProxy": {func(c *serve.Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} }, "UNAUTHORIZED"},
		"TokenIsSet":  {func(c *serve.Config) { c.BootstrapToken = "correct horse battery" }, "UNAUTHORIZED"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config(t)
			row.set(&c)
			h := run(t, c)
			_, err := h.Call(t.Context(), bootstrapRequest())
			if row.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if code := apiError(t, err).Code; string(code) != row.want {
				t.Errorf("got %s, want %s", code, row.want)
			}
		})
	}
}
