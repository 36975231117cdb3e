package main_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/testdose"
)

// kills is how often a process is killed for each way to rotate.
var kills = testdose.Dose{Least: 4, Most: 40, Within: 5 * time.Second}

// TestRotate_SurvivesKill kills a process with SIGKILL at a random instant, again and again, and then lets the same command
// finish. Whatever the instant: one rotation, a config that works, and nothing left over.
func TestRotate_SurvivesKill(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "keyturn") // TestMain is keyturn under that name
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Window0", "Emergency"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUser(t)
			args := rotations()[name]
			whole := u.timed(program, args)
			killed, owing := 0, 0
			for round := range kills.Rounds(t) {
				before, tries := u.version(), 1
				// A little more than the whole run, so that late instants are met as often as early ones.
				for ; !u.killedAfter(rand.N(whole+whole/10), program, args); tries++ {
					if tries == 200 {
						t.Fatalf("it has ended before it was killed %d times", tries)
					}
					whole = (whole*3 + u.timed(program, args)) / 4 // it was too long, as after a standstill
					before = u.version()
				}
				killed++
				if u.owes() {
					owing++
				}
				if u.owes() && round%2 == 0 { // and once more while it heals
					u.killedAfter(rand.N(whole), program, args)
				}
				u.settleAfter(before, program, args)
			}
			t.Logf("killed %d times, %d of them between the request and the end", killed, owing)
		})
	}
}

// killedAfter starts the program and kills it after d, unless it has ended by then.
func (u *user) killedAfter(d time.Duration, program string, args []string) bool {
	u.t.Helper()
	cmd := u.program(program, args)
	if err := cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	timer := time.AfterFunc(d, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || !exit.Sys().(syscall.WaitStatus).Signaled()) {
		u.t.Fatalf("%v\n%s", err, cmd.Stderr)
	}
	return err != nil
}

// settleAfter lets the command end and looks at what is left. Where it was killed after it had forgotten the request, the
// rotation is done, and the same command would be another one.
func (u *user) settleAfter(before int, program string, args []string) {
	u.t.Helper()
	if !u.owes() && u.versionIfAny() == before+1 {
		for _, name := range append(u.pending(), u.litter()...) {
			if !strings.HasSuffix(name, ".lock") { // the next run takes it away
				u.t.Errorf("killed when it was done: left over: %s", name)
			}
		}
		return
	}
	cmd := u.program(program, args)
	if err := cmd.Run(); err != nil {
		u.t.Fatalf("%v\n%s", err, cmd.Stderr)
	}
	u.healed(before, "killed")
}

// owes reports whether a request is written down.
func (u *user) owes() bool {
	return slices.ContainsFunc(u.pending(), func(name string) bool {
		return strings.HasSuffix(name, ".json") && !strings.HasPrefix(name, ".")
	})
}

// versionIfAny is the current version, or 0 where the config does not work.
func (u *user) versionIfAny() int {
	if u.does("credentials", "list").exit != 0 {
		u.t.Error("the config does not work, and no request is owed that would mend it")
		return 0
	}
	return u.version()
}

func (u *user) program(program string, args []string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "KEYTURN_CONFIG="+u.env["KEYTURN_CONFIG"])
	cmd.Stdout, cmd.Stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return cmd
}

// timed is how long the program takes when nobody kills it.
func (u *user) timed(program string, args []string) time.Duration {
	u.t.Helper()
	cmd := u.program(program, args)
	start := time.Now()
	if err := cmd.Run(); err != nil {
		u.t.Fatalf("%v\n%s", err, cmd.Stderr)
	}
	return time.Since(start)
}
