package boot_test

import (
	"os"
	"testing"

	"github.com/keyturn/keyturn/internal/dynamo"
	"github.com/keyturn/keyturn/internal/dynamo/local"
	"github.com/keyturn/keyturn/internal/e2e"
	"github.com/keyturn/keyturn/internal/keys/kms"
	kmslocal "github.com/keyturn/keyturn/internal/keys/kms/local"
)

// servers are those of AWS, on loopback; each starts when a test needs it.
type servers struct {
	dynamo local.Server
	kms    kmslocal.Server
}

var aws = new(servers)

func TestMain(m *testing.M) {
	code := m.Run()
	aws.dynamo.Stop()
	aws.kms.Stop()
	built.remove()
	os.Exit(code)
}

// The functions do what a server does: the very same suite, here over a file.
func TestFunctions_EndToEnd(t *testing.T) {
	t.Parallel()
	s := newStack(t, openBolt(t))
	e2e.Run(t, e2e.Target{URL: s.gateway().URL + "/prod", BootstrapToken: bootstrapToken, Advance: s.clock.advance})
}

// And over a table and a KMS key.
func TestFunctions_EndToEndOnDynamoDBAndKMS(t *testing.T) {
	t.Parallel()
	client := aws.dynamo.Client(t, region, nil)
	store, err := dynamo.Open(t.Context(), client, aws.dynamo.Table(t, client), region, dynamo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := &stack{t: t, env: newEnvironment(), store: store, vault: kms.New(aws.kms.Key(t, region)), clock: &clock{}, logs: &logs{}}
	s.restart()
	e2e.Run(t, e2e.Target{URL: s.gateway().URL + "/prod", BootstrapToken: bootstrapToken, Advance: s.clock.advance})
}
