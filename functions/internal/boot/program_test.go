package boot_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/functions/internal/boot"
	"github.com/keyturn/keyturn/internal/dynamo"
	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/keys/kms"
	"github.com/keyturn/keyturn/internal/program"
	"github.com/keyturn/keyturn/internal/testport"
	"github.com/keyturn/keyturn/internal/wheel"
)

// built are the functions, for this machine.
var built = program.Set{Args: []string{"-tags", "lambda.norpc", "-ldflags", "-s -w", "github.com/keyturn/keyturn/functions/..."}}

// account is a table and a KMS key on loopback, and what a function there finds in its environment.
type account struct {
	stack *stack // the same functions, in this process
	env   []string
}

func newAccount(t testing.TB) *account {
	t.Helper()
	client := aws.dynamo.Client(t, region, nil)
	table := aws.dynamo.Table(t, client)
	store, err := dynamo.Open(t.Context(), client, table, region, patient)
	if err != nil {
		t.Fatal(err)
	}
	sealer, key := aws.kms.Key(t, region)
	a := &account{stack: &stack{t: t, env: newEnvironment(), store: store, vault: kms.New(sealer, key), clock: &clock{}, logs: &logs{}, used: &grants{}, remote: true}}
	env := newEnvironment()
	env["KEYTURN_TABLE"], env["KEYTURN_KEY"] = table, key
	env["AWS_ENDPOINT_URL_DYNAMODB"], env["AWS_ENDPOINT_URL_KMS"] = aws.dynamo.Endpoint(t), aws.kms.Endpoint(t)
	env["AWS_LAMBDA_FUNCTION_TIMEOUT"] = "15"
	for name, value := range env {
		a.env = append(a.env, name+"="+value)
	}
	a.stack.clock.advance(time.Since(start)) // the programs go by the real time
	a.stack.restart()
	return a
}

// emulate starts a function under the runtime interface emulator, and returns how to invoke it.
func (a *account) emulate(t testing.TB, function string) func(event []byte) []byte {
	t.Helper()
	machine := map[string]string{"amd64": "x86_64", "arm64": "arm64"}[runtime.GOARCH]
	emulator := wheel.File(t, "aws-sam-cli==1.170.0", "samcli/local/rapid/aws-lambda-rie-"+machine)
	address := testport.Hold(t)
	var said bytes.Buffer
	cmd := exec.Command(emulator, "--runtime-interface-emulator-address", address, "--runtime-api-address", testport.Hold(t), built.Path(t, function))
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), a.env...), &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // it ends the function, then itself
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", function, said.String())
		}
	})
	return func(event []byte) []byte {
		t.Helper()
		deadline := time.Now().Add(2 * time.Minute)
		for {
			text, err := post("http://"+address+"/2015-03-31/functions/function/invocations", event)
			if err == nil && !unavailable(text, nil) {
				return text
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s does not listen: %s, %v", function, text, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func post(url string, body []byte) ([]byte, error) {
	out, err := http.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	return io.ReadAll(out.Body)
}

// changing are the parts of an answer that are new each time.
var changing = regexp.MustCompile(`eyJ[\w.-]+|sec_[0-9A-Za-z]{49}|(cli|clu|lic|peer)_[0-9a-z]{26}|"(iat|exp)":\d+|\d{4}-\d\d-\d\dT[\d:]+Z`)

// Each function starts under the runtime interface emulator, and answers its golden events as it does here.
func TestPrograms_UnderTheEmulator(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	bootstrap := a.emulate(t, "recover")([]byte(`{"action":"bootstrap","issuer":"https://auth.example.com"}`))
	var done httpapi.Bootstrapped
	if err := json.Unmarshal(bootstrap, &done); err != nil || done.ClientSecret == "" {
		t.Fatalf("bootstrap: %s, %v", bootstrap, err)
	}
	_, token := a.stack.token(done.ClientID, done.ClientSecret)
	words := strings.NewReplacer(
		"{{client_id}}", done.ClientID, "{{client_secret}}", done.ClientSecret, "{{token}}", token,
		"{{basic}}", base64.StdEncoding.EncodeToString([]byte(done.ClientID+":"+done.ClientSecret)),
	)
	encoded := regexp.MustCompile(`\{\{base64 (.*?)\}\}`)
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "internal", "lambdahttp", "testdata", "*.json"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d golden events, %v", len(files), err)
	}
	running, seen := map[string]func([]byte) []byte{}, map[string]bool{"recover": true}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		event := encoded.ReplaceAllStringFunc(words.Replace(string(text)), func(s string) string {
			return base64.StdEncoding.EncodeToString([]byte(encoded.FindStringSubmatch(s)[1]))
		})
		var path struct{ Path, RawPath string }
		if err := json.Unmarshal([]byte(event), &path); err != nil {
			t.Fatal(err)
		}
		function := functionOf(path.Path + path.RawPath)
		if running[function] == nil {
			running[function] = a.emulate(t, function)
		}
		seen[function] = true
		want, err := a.stack.invoke(function, []byte(event))
		if err != nil {
			t.Fatal(err)
		}
		got := running[function]([]byte(event))
		settle := func(b []byte) string {
			return regexp.MustCompile(`"Content-Length":(\["\d+"\]|"\d+")`).ReplaceAllString(changing.ReplaceAllString(strings.ReplaceAll(string(b), `"version":"unknown"`, `"version":"test"`), "NEW"), "N")
		}
		if settle(got) != settle(want) {
			t.Errorf("%s of %s under the emulator:\n%s\nhere:\n%s", filepath.Base(file), function, got, want)
		}
	}
	rotate := a.emulate(t, "rotate")([]byte(words.Replace(`{"httpMethod":"POST","path":"/v1/cluster/credentials/rotate","headers":{"Authorization":"Bearer {{token}}"}}`)))
	if !strings.Contains(string(rotate), `"statusCode":200`) {
		t.Errorf("rotate: %s", rotate)
	}
	seen["rotate"] = true
	for _, f := range boot.Functions() {
		if !seen[f.Name] {
			t.Errorf("no golden event is for %s", f.Name)
		}
	}
}

// functionOf finds the function behind a path that may have a stage or a base path in front.
func functionOf(path string) string {
	for rest := path; rest != ""; {
		if function, resource := route(rest); resource != "/{proxy+}" {
			return function
		}
		next := strings.IndexByte(rest[1:], '/')
		if next < 0 {
			break
		}
		rest = rest[1+next:]
	}
	return "discovery"
}

// coldStart starts a function with a runtime API that only says when it was first asked for work, and measures how long that
// took. The emulator's own figure includes its own start.
func (a *account) coldStart(t testing.TB, program string) time.Duration {
	t.Helper()
	ready := make(chan time.Time, 1)
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/runtime/invocation/next") {
			select {
			case ready <- time.Now():
			default:
			}
		} else {
			t.Errorf("the function reported %s", r.URL.Path)
		}
		<-r.Context().Done()
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	var said bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = append(slices.Clone(a.env), "AWS_LAMBDA_RUNTIME_API="+l.Addr().String()), &said, &said
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	select {
	case at := <-ready:
		if said.Len() > 0 {
			t.Errorf("it said %s", said.String())
		}
		return at.Sub(begin)
	case <-ctx.Done():
		t.Fatalf("it did not get ready: %s", said.String())
		return 0
	}
}

func TestPrograms_StartWithKeysOpen(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.stack.bootstrap()
	for _, f := range boot.Functions() {
		t.Logf("%-12s %v", f.Name, a.coldStart(t, built.Path(t, f.Name)))
	}
}

func TestPrograms_RefuseToStartWithoutSettings(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(built.Path(t, "token"))
	cmd.Env = []string{"AWS_REGION=" + region, "KEYTURN_TOKEN_ALG=none"}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "KEYTURN_TABLE") || !strings.Contains(string(out), "KEYTURN_TOKEN_ALG") {
		t.Errorf("%v: %s", err, out)
	}
}

// BenchmarkColdStart is from the start of the process to its first question for work, with table and KMS on loopback. The
// budget is a median of 60 ms.
func BenchmarkColdStart(b *testing.B) {
	a := newAccount(b)
	a.stack.bootstrap()
	program := built.Path(b, "token")
	a.coldStart(b, program) // the file is in memory from here on
	var took []time.Duration
	for b.Loop() {
		took = took[:0]
		for range 30 {
			took = append(took, a.coldStart(b, program))
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/1e6, "ms-median")
	b.ReportMetric(float64(took[len(took)-1])/1e6, "ms-max")
}
