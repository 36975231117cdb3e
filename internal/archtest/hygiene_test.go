package archtest_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/archtest"
)

// The texts are put together here, so that this file has no trace itself.
func TestTraces(t *testing.T) {
	t.Parallel()
	const machine, registry, key = "a path of somebody's machine", "a host of a package registry", "a private key"
	local := []string{"/srv/checkouts/main", "mods.example.net"}
	for _, c := range []struct {
		name string
		text string
		want string
	}{
		{"Home", "see /" + "home/ann/keyturn", machine},
		{"HomeAtTheStart", "/" + "Users/ann", machine},
		{"Root", `"/` + `root/go"`, machine},
		{"Work", "cd=/" + "work/main", machine},
		{"Windows", `C:` + `\Users\ann`, machine},
		{"Artifactory", "https://artifactory" + ".corp.example/go", registry},
		{"JFrog", "corp.jfrog" + ".io", registry},
		{"Key", "-----BEGIN EC PRIVATE" + " KEY-----", key},
		{"PKCS8", "-----BEGIN PRIVATE" + " KEY-----", key},
		{"TwoOnALine", "/" + "home/ann and /" + "root/go", machine},
		{"Checkout", "in /srv/checkouts/main/cli", "a path or host of this machine"},
		{"Proxy", "GOPROXY=https://mods.example.net", "a path or host of this machine"},
		{"HomeOfAVariable", "$HOME/" + "work/x and ~/" + "root/x", ""},
		{"RelativePath", "internal/" + "work/x.go and ../" + "home/x", ""},
		{"RouteOfAnAPI", "GET https://example.com/" + "home/index", ""},
		{"PublicKey", "-----BEGIN PUBLIC KEY-----", ""},
		{"Prose", "the root, the home region and the work of it", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			found := archtest.Traces("f.txt", []byte("first line\n"+c.text+"\n"), local)
			var want []archtest.Finding
			if c.want != "" {
				want = []archtest.Finding{{Where: "f.txt:2", What: c.want + " has no place in a commit"}}
			}
			if diff := cmp.Diff(want, found); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProxyHosts(t *testing.T) {
	t.Parallel()
	got := archtest.ProxyHosts("https://user:word@mods.example.net:8443/go|https://other.example.net,http://localhost:3000,direct,off,")
	if diff := cmp.Diff([]string{"mods.example.net", "other.example.net"}, got); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
}

func TestUnnamed(t *testing.T) {
	t.Parallel()
	text := "| `github.com/a/b/v2` | reason |\n" + "[c](https://example.com) golang.org/x/sys. github.com/aws/sdk/config,"
	modules := []string{"github.com/a/b", "github.com/a/b/v2", "golang.org/x/sys", "github.com/aws/sdk", "github.com/aws/sdk/config"}
	want := []string{"github.com/a/b", "github.com/aws/sdk"}
	if diff := cmp.Diff(want, archtest.Unnamed(modules, text)); diff != "" {
		t.Errorf("unnamed (-want +got):\n%s", diff)
	}
	if got := archtest.Unnamed(modules, ""); strings.Join(got, " ") != strings.Join(modules, " ") {
		t.Errorf("an empty text names nothing, got %v", got)
	}
}
