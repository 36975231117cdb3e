package main_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyturn/keyturn/internal/httpapi"
)

// rotations are the ways to rotate that leave nothing to go back to, and the usual one.
func rotations() map[string][]string {
	return map[string][]string{
		"Window0":   {"credentials", "rotate", "--update-config", "--window", "0"},
		"Emergency": {"credentials", "rotate", "--update-config", "--emergency", "--yes"},
		"Usual":     {"credentials", "rotate", "--update-config"},
	}
}

// stopped is what a test's step stops a command with.
type stopped struct{ step string }

// stopAt runs a command and stops it at its n-th step, from 0. It returns the step's name, or "" where the command was over
// before.
func (u *user) stopAt(n int, args ...string) (step string) {
	defer func() {
		u.step = nil
		if s, ok := recover().(stopped); ok {
			step = s.step
		}
	}()
	i := 0
	u.step = func(name string) {
		if i == n {
			panic(stopped{name})
		}
		i++
	}
	if r := u.does(args...); r.exit != 0 {
		u.t.Fatalf("exit %d: %s", r.exit, r.stderr)
	}
	return ""
}

// version is the current version of the shared credential, asked with what the config holds: so the config works.
func (u *user) version() int {
	u.t.Helper()
	r := u.must("credentials", "list", "--json")
	var page httpapi.CredentialPage
	if err := json.Unmarshal([]byte(r.stdout), &page); err != nil {
		u.t.Fatal(err)
	}
	for _, c := range page.Credentials {
		if c.Kind == "shared" {
			if strings.Contains(r.stderr, "superseded") {
				u.t.Errorf("the config holds an old secret: %s", r.stderr)
			}
			return c.Version
		}
	}
	u.t.Fatal("there is no shared credential")
	return 0
}

// healed requires that one rotation happened since before, that the config works, and that nothing is left over. It returns the
// version now.
func (u *user) healed(before int, when string) (now int) {
	u.t.Helper()
	if now = u.version(); now != before+1 {
		u.t.Errorf("%s: version %d became %d", when, before, now)
	}
	if left := append(u.pending(), u.litter()...); len(left) > 0 {
		u.t.Errorf("%s: left over: %v", when, left)
	}
	return now
}

func TestRotate_SurvivesAStopAtEveryStep(t *testing.T) {
	t.Parallel()
	for name, args := range rotations() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUser(t)
			var steps []string
			before := u.version()
			for n := 0; ; n++ {
				step := u.stopAt(n, args...)
				if step == "" {
					break
				}
				steps = append(steps, step)
				if step != "forgotten" { // then it is done
					u.must(args...)
				}
				before = u.healed(before, "stopped at "+step)
			}
			want := []string{"prepared", "authenticated", "written", "answered", "saved", "proven", "delivered", "forgotten"}
			if d := cmp.Diff(want, steps); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRotate_SurvivesAStopWhileItHeals(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	args := rotations()["Window0"]
	before := u.version()
	for first := range 7 {
		for second := range 8 {
			when := fmt.Sprint("stopped at ", u.stopAt(first, args...))
			step := u.stopAt(second, args...)
			if step != "" && step != "forgotten" {
				u.must(args...)
			}
			before = u.healed(before, when+" and "+step)
		}
	}
}

func TestRotate_HealsLongAfterTheTokenExpired(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	args := rotations()["Emergency"]
	for n := range 7 {
		before := u.version()
		step := u.stopAt(n, args...)
		u.clock.turn(20 * time.Hour)
		u.must(args...)
		u.healed(before, "20 hours after "+step)
	}
}

func TestRotate_TooLateToHealSaysSo(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	args := rotations()["Window0"]
	u.stopAt(3, args...) // answered, and saved nowhere
	u.clock.turn(25 * time.Hour)
	r := u.does(args...)
	if r.exit != 3 || !strings.Contains(r.stderr, "retired") {
		t.Errorf("exit %d: %s", r.exit, r.stderr)
	}
}

func TestRotate_OtherCommandsPointToWhatIsOwed(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	u.stopAt(3, rotations()["Window0"]...)
	r := u.does("credentials", "list")
	if r.exit != 3 || !strings.Contains(r.stderr, "run it again: keyturn credentials rotate --update-config --window 0") {
		t.Errorf("exit %d: %s", r.exit, r.stderr)
	}
}

func TestRotate_FinishesWhatWasOwedBeforeSomethingElse(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	before := u.version()
	u.stopAt(3, rotations()["Window0"]...)
	r := u.does("credentials", "rotate", "--window", "1h")
	if r.exit != 1 || !strings.Contains(r.stderr, "was not sent") || !strings.Contains(r.stderr, "run it again") {
		t.Errorf("exit %d: %s", r.exit, r.stderr)
	}
	if strings.Contains(r.stdout, "sec_") {
		t.Error("a secret that was saved is shown")
	}
	u.healed(before, "finished by another rotation")
}

func TestRotate_DropsWhatNeverArrivedForSomethingElse(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	before := u.version()
	if step := u.stopAt(2, rotations()["Window0"]...); step != "written" {
		t.Fatal(step)
	}
	u.clock.turn(2 * time.Hour) // the token has expired: only an answer that is kept would come
	r := u.must("credentials", "rotate", "--update-config", "--window", "1h")
	if !strings.Contains(r.stderr, "never arrived") {
		t.Error(r.stderr)
	}
	u.healed(before, "dropped")
}

func TestRotate_LeavesANewerSecretAlone(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	args := rotations()["Usual"]
	if step := u.stopAt(6, args...); step != "delivered" {
		t.Fatal(step)
	}
	// Another machine has rotated since, and its operator put the new secret into this config.
	other := *u
	other.env = map[string]string{"KEYTURN_CONFIG": t.TempDir() + "/config.json", "KEYTURN_SERVER": u.cluster.URL()}
	id, secret := u.held()
	other.env["KEYTURN_CLIENT_ID"], other.env["KEYTURN_CLIENT_SECRET"] = id, secret
	var newer httpapi.Rotation
	if err := json.Unmarshal([]byte(other.must("credentials", "rotate", "--json").stdout), &newer); err != nil {
		t.Fatal(err)
	}
	if r := u.types(newer.ClientSecret+"\n", "config", "set", u.contextName(), "--client-id", newer.ClientID, "--secret-stdin"); r.exit != 0 {
		t.Fatal(r.stderr)
	}
	r := u.must(args...)
	if now, _ := u.held(); now != newer.ClientID || !strings.Contains(r.stderr, "left as it is") {
		t.Errorf("the config holds %s after %s\n%s", now, newer.ClientID, r.stderr)
	}
	if len(u.pending()) > 0 {
		t.Error(u.pending())
	}
}
