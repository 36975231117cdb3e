package main_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v3"
)

// unit is a systemd unit: "Section.Key" -> values in their order.
func unit(t *testing.T, path string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	u, section := map[string][]string{}, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '[' {
			section = strings.Trim(line, "[]")
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			t.Fatalf("%s: %q", path, line)
		}
		u[section+"."+key] = append(u[section+"."+key], value)
	}
	return u
}

var units = []string{"../infra/systemd/keyturn-sidecar.service", "../infra/systemd/keyturn.service"}

func TestUnits_AreHardened(t *testing.T) {
	t.Parallel()
	for _, path := range units {
		u := unit(t, path)
		for key, want := range map[string]string{
			"NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes", "PrivateDevices": "yes",
			"CapabilityBoundingSet": "", "AmbientCapabilities": "", "MemoryDenyWriteExecute": "yes", "LockPersonality": "yes",
			"RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6", "RestrictNamespaces": "yes", "RestrictSUIDSGID": "yes",
			"ProtectKernelTunables": "yes", "ProtectKernelModules": "yes", "ProtectControlGroups": "yes", "SystemCallArchitectures": "native",
			"StateDirectoryMode": "0700", "UMask": "0077", "Restart": "on-failure", "RestartPreventExitStatus": "2 3",
		} {
			if got, ok := u["Service."+key]; !ok || !slices.Equal(got, []string{want}) {
				t.Errorf("%s: %s is %q, want %q", path, key, got, want)
			}
		}
		if user := u["Service.User"]; len(user) != 1 || user[0] == "root" {
			t.Errorf("%s: it runs as %q", path, user)
		}
		filter := u["Service.SystemCallFilter"]
		if len(filter) < 2 || filter[0] != "@system-service" || !strings.HasPrefix(filter[1], "~@privileged") {
			t.Errorf("%s: system calls: %q", path, filter)
		}
	}
	if got := unit(t, units[0])["Service.LoadCredential"]; !slices.Equal(got, []string{"join-key:keyturn-join-key"}) {
		t.Errorf("the join key: %q; an absolute path would keep the unit from starting once the key is gone", got)
	}
}

// TestUnits_SystemdReadsThem is as far as one can go without a systemd that runs.
func TestUnits_SystemdReadsThem(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze on this machine")
	}
	dir := t.TempDir()
	for _, path := range units {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"/usr/local/bin/keyturn-sidecar", "/usr/local/bin/keyturn"} { // what is there to run is for another test
			text = bytes.ReplaceAll(text, []byte("ExecStart="+name+" "), []byte("ExecStart=/bin/true "))
		}
		file := write(t, filepath.Join(dir, filepath.Base(path)), string(text), 0o600)
		if out, err := exec.CommandContext(t.Context(), program, "verify", file).CombinedOutput(); err != nil || bytes.Contains(out, []byte(filepath.Base(path))) {
			t.Errorf("%s: %v\n%s", path, err, out)
		}
		if out, err := exec.CommandContext(t.Context(), program, "security", "--offline=true", "--threshold=20", file).CombinedOutput(); err != nil {
			t.Errorf("%s is exposed: %v\n%s", path, err, out)
		}
	}
}

// TestUnits_StartTheSidecar runs the unit's own command, with systemd's places put in.
func TestUnits_StartTheSidecar(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := unit(t, units[0])
	dir, err := os.MkdirTemp("", "kt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, sub := range []string{"state/keyturn-sidecar", "run/keyturn-sidecar", "credentials"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	key := write(t, filepath.Join(dir, "credentials", "join-key"), w.joinKey(), 0o400)
	_, options, _ := strings.Cut(strings.Trim(u["Service.Environment"][0], `"`), "=")
	line := strings.NewReplacer(
		"%S", filepath.Join(dir, "state"), "%t", filepath.Join(dir, "run"), "%d", filepath.Join(dir, "credentials"),
		"${KEYTURN_AUTHORITY}", w.URL(), "$KEYTURN_OPTIONS", options, "keyturn-clients", strconv.Itoa(os.Getegid()),
	).Replace(u["Service.ExecStart"][0])
	args, found := strings.CutPrefix(line, "/usr/local/bin/keyturn-sidecar run ")
	if !found || strings.ContainsAny(args, "$%") {
		t.Fatal(line)
	}
	data := filepath.Join(dir, "state", "keyturn-sidecar")
	p := w.run(data, "", nil, strings.Fields(args)...)
	if p.URL != "unix:"+filepath.Join(dir, "run/keyturn-sidecar/sidecar.sock") {
		t.Errorf("it listens at %s", p.URL)
	}
	w.eventually("it is ready", func() bool { return w.does("status", "--ready", "--data-dir", data).exit == 0 })
	if err := p.End(syscall.SIGTERM); err != nil {
		t.Fatalf("%v\n%s", err, p.Log())
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	p = w.run(data, "", nil, strings.Fields(args)...) // without the key
	if err := p.End(syscall.SIGTERM); err != nil {
		t.Errorf("%v\n%s", err, p.Log())
	}
}

// manifest is what the tests look at of a StatefulSet.
type manifest struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Spec       struct {
		Template struct {
			Spec struct {
				SecurityContext map[string]any `yaml:"securityContext"`
				InitContainers  []container    `yaml:"initContainers"`
				Containers      []container
				Volumes         []map[string]any
			}
		}
		VolumeClaimTemplates []map[string]any `yaml:"volumeClaimTemplates"`
	}
}

type container struct {
	Name            string
	Args            []string
	RestartPolicy   string                  `yaml:"restartPolicy"`
	Env             []map[string]any        `yaml:"env"`
	VolumeMounts    []map[string]any        `yaml:"volumeMounts"`
	SecurityContext map[string]any          `yaml:"securityContext"`
	Resources       map[string]any          `yaml:"resources"`
	StartupProbe    *struct{ Exec command } `yaml:"startupProbe"`
	ReadinessProbe  *struct{ Exec command } `yaml:"readinessProbe"`
	LivenessProbe   *struct{ Exec command } `yaml:"livenessProbe"`
}

type command struct{ Command []string }

func statefulSet(t *testing.T) manifest {
	t.Helper()
	text, err := os.ReadFile("../infra/kubernetes/sidecar.yaml")
	if err != nil {
		t.Fatal(err)
	}
	documents := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var m manifest
		err := documents.Decode(&m)
		if errors.Is(err, io.EOF) {
			t.Fatal("there is no StatefulSet")
		}
		if err != nil || m.APIVersion == "" || m.Kind == "" {
			t.Fatalf("%v: %+v", err, m)
		}
		if m.Kind == "StatefulSet" {
			return m
		}
	}
}

func TestKubernetes_TheManifestKeepsItsPromises(t *testing.T) {
	t.Parallel()
	pod := statefulSet(t).Spec.Template.Spec
	if len(pod.InitContainers) != 1 || len(pod.Containers) != 1 {
		t.Fatalf("%+v", pod)
	}
	side, app := pod.InitContainers[0], pod.Containers[0]
	if side.RestartPolicy != "Always" {
		t.Error("the sidecar would have to end before the service starts")
	}
	for _, c := range []container{side, app} {
		if c.SecurityContext["allowPrivilegeEscalation"] != false || c.SecurityContext["readOnlyRootFilesystem"] != true {
			t.Errorf("%s: %v", c.Name, c.SecurityContext)
		}
	}
	if pod.SecurityContext["runAsNonRoot"] != true || pod.SecurityContext["fsGroupChangePolicy"] != "OnRootMismatch" {
		t.Errorf("the pod: %v", pod.SecurityContext)
	}
	if side.Resources["requests"] == nil || side.Resources["limits"] == nil || side.StartupProbe == nil || side.ReadinessProbe == nil || side.LivenessProbe == nil {
		t.Errorf("%+v", side)
	}
	asks := false
	for _, e := range app.Env {
		value, _ := e["value"].(string)
		asks = asks || strings.HasPrefix(value, "http://127.0.0.1:8081/authz")
	}
	if !asks {
		t.Errorf("the service does not know whom to ask: %v", app.Env)
	}
}

// TestKubernetes_TheSidecarRunsAsWritten runs the manifest's arguments and probes with its places put in.
func TestKubernetes_TheSidecarRunsAsWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	side := statefulSet(t).Spec.Template.Spec.InitContainers[0]
	dir := t.TempDir()
	write(t, filepath.Join(dir, "bills-0"), w.joinKey(), 0o440)
	put := func(args []string) []string {
		var put []string
		for _, a := range args {
			put = append(put, strings.NewReplacer("https://auth.example.com", w.URL(), "/var/lib/keyturn", dir, "$(POD_NAME)", "bills-0",
				"/etc/keyturn/join-keys", dir, "127.0.0.1:8081", "127.0.0.1:0").Replace(a))
		}
		return put
	}
	data := filepath.Join(dir, "data")
	args := put(side.Args)
	if args[0] != "run" {
		t.Fatal(args)
	}
	p := w.run(data, "", nil, append(args[1:], "--offline-read=2s", "--offline-write=2s")...)
	probes := map[string][]string{
		"startup": side.StartupProbe.Exec.Command, "readiness": side.ReadinessProbe.Exec.Command, "liveness": side.LivenessProbe.Exec.Command,
	}
	all := func(want map[string]int) bool {
		for name, c := range probes {
			c = put(c)
			if c[0] != "/keyturn-sidecar" {
				t.Fatalf("%s: %q", name, c)
			}
			if r := w.does(c[1:]...); r.exit != want[name] {
				return false
			}
		}
		return true
	}
	w.eventually("all probes are content", func() bool { return all(map[string]int{}) })
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	w.eventually("it lives and is not ready", func() bool { return all(map[string]int{"startup": 5, "readiness": 5}) })
	if err := w.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.eventually("all probes are content again", func() bool { return all(map[string]int{}) })
	p.Kill()
	if !all(map[string]int{"startup": 5, "readiness": 5, "liveness": 5}) {
		t.Error("a probe is content without a sidecar")
	}
}
