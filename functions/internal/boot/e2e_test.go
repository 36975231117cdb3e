package boot_test

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/keyturn/keyturn/functions/internal/boot"
	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/dynamo"
	"github.com/keyturn/keyturn/internal/dynamo/local"
	"github.com/keyturn/keyturn/internal/e2e"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/keys/kms"
	kmslocal "github.com/keyturn/keyturn/internal/keys/kms/local"
)

// servers are those of AWS, on loopback; each starts when a test needs it.
type servers struct {
	dynamo local.Server
	kms    kmslocal.Server
}

var aws = new(servers)

// patient is for machines that stand still for seconds.
var patient = dynamo.Options{Patience: 2 * time.Minute, Attempt: time.Minute}

func TestMain(m *testing.M) {
	code := m.Run()
	aws.dynamo.Stop()
	aws.kms.Stop()
	built.Remove()
	os.Exit(code)
}

// The functions do what a server does: the very same suite, here over a file.
func TestFunctions_EndToEnd(t *testing.T) {
	t.Parallel()
	s := newStack(t, openBolt(t))
	e2e.Run(t, e2e.Target{URL: s.gateway().URL + "/prod", BootstrapToken: bootstrapToken, Advance: s.clock.advance})
}

// And over a table and a KMS key, with what its role lets each function do there. Each role has nothing that is not needed.
func TestFunctions_EndToEndOnDynamoDBAndKMS(t *testing.T) {
	t.Parallel()
	client := aws.dynamo.Client(t, region, nil)
	name, sealer, used := aws.dynamo.Table(t, client), kms.New(aws.kms.Key(t, region)), new(grants)
	deploy := func(region, name string, c *clock) *stack {
		s := &stack{t: t, env: newEnvironment(), vault: sealer, clock: c, logs: &logs{}, used: used, remote: true}
		s.env["AWS_REGION"] = region
		s.storeOf = func(r role) authority.Store {
			store, err := dynamo.Open(t.Context(), table{client, r}, name, region, patient)
			if err != nil {
				t.Fatal(err)
			}
			return store
		}
		s.restart()
		return s
	}
	home := deploy(region, name, &clock{})
	key := []string{"Idempotency-Key", "one-key-of-the-tests-0123456789abcdef"}
	if status, _, body := home.call("POST", "/v1/bootstrap", "application/json", "{}", append(key, "Keyturn-Bootstrap-Token", bootstrapToken)...); status != 201 {
		t.Fatalf("bootstrap: %d %s", status, body)
	}
	shared := recovered(home)
	admin := home.admin(shared)
	home.wants(201, "POST", "/v1/keys/rotate", admin, "")
	for range 2 { // the key before is retired when its last token is dead
		home.clock.advance(2 * time.Hour)
		home.tick()
	}
	home.restart()
	admin = home.admin(shared)
	made := home.create(admin, key...)
	if again := home.create(admin, key...); again.ClientID != made.ClientID {
		t.Errorf("the same request again made %s, the first %s", again.ClientID, made.ClientID)
	}
	home.wants(200, "POST", "/v1/credentials/"+made.ClientID+"/rotate", admin, "")

	// Another region of the same table writes into its own ledger, and dates what home has written. Then it is home.
	second := deploy("eu-west-1", name, home.clock)
	second.wants(204, "DELETE", "/v1/credentials/"+made.ClientID, admin, "")
	second.wants(200, "POST", "/v1/cluster/home", admin, `{"region":"eu-west-1"}`)
	second.clock.advance(2 * time.Minute) // all functions have heard of it
	second.tick()
	shared = recovered(second)
	second.create(second.admin(shared), key...)
	second.restart()
	e2e.Run(t, e2e.Target{
		URL: second.gateway().URL + "/prod", BootstrapToken: bootstrapToken, ClientID: shared.ClientID, ClientSecret: shared.ClientSecret, Advance: second.clock.advance,
	})

	third := deploy(region, aws.dynamo.Table(t, client), home.clock)
	if out, err := third.invoke("recover", []byte(`{"action":"bootstrap","issuer":"https://auth.example.com"}`)); err != nil {
		t.Errorf("bootstrap by the recover function: %s, %v", out, err)
	}
	recovered(third)
	tmpl := readTemplate(t, region)
	for _, f := range boot.Functions() {
		for _, grant := range tmpl.role(f.Name, nil).given() {
			if !used.had[grant] {
				t.Errorf("nothing needs what template.yaml grants: %s", grant)
			}
		}
	}
}

// recovered mints the next version of the shared credential by the recover function.
func recovered(s *stack) (next httpapi.Rotation) {
	s.t.Helper()
	out, err := s.invoke("recover", []byte(`{"action":"recover","reason":"a test"}`))
	if err == nil {
		err = json.Unmarshal(out, &next)
	}
	if err != nil {
		s.t.Fatalf("recover: %s, %v", out, err)
	}
	return next
}

// admin gets a token of the shared credential.
func (s *stack) admin(shared httpapi.Rotation) string {
	s.t.Helper()
	status, token := s.token(shared.ClientID, shared.ClientSecret)
	if status != 200 {
		s.t.Fatalf("token: %d", status)
	}
	return token
}

// wants sends a request with a token, and returns the answer's body.
func (s *stack) wants(status int, method, path, token, body string, header ...string) string {
	s.t.Helper()
	media := ""
	if body != "" {
		media = "application/json"
	}
	got, _, text := s.call(method, path, media, body, append(header, "Authorization", "Bearer "+token)...)
	if got != status {
		s.t.Fatalf("%s %s: %d %s, want %d", method, path, got, text, status)
	}
	return text
}

func (s *stack) create(token string, header ...string) (made httpapi.Created) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.wants(201, "POST", "/v1/credentials", token, `{"name":"c"}`, header...)), &made); err != nil {
		s.t.Fatal(err)
	}
	return made
}

// tick is a minute of the schedule.
func (s *stack) tick() {
	s.t.Helper()
	if out, err := s.invoke("cluster", []byte(`{"source":"aws.events"}`)); err != nil {
		s.t.Fatalf("the schedule: %s, %v", out, err)
	}
}
