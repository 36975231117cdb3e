package listen_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/keyturn/keyturn/internal/listen"
)

// The umask would give the socket to everybody. The tests here are not parallel: it is the process's.
func openMask(t *testing.T) string {
	t.Helper()
	before := syscall.Umask(0)
	t.Cleanup(func() { syscall.Umask(before) })
	dir, err := os.MkdirTemp("", "kt") // its path has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func modeOf(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestListen_ASocketIsItsOwnersFromTheFirstInstant(t *testing.T) {
	path := openMask(t)
	l, err := listen.Bind(t.Context(), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if mode := modeOf(t, path); mode != 0o600 {
		t.Errorf("mode %o before it is set", mode)
	}
}

func TestListen_ASocketHasTheModeThatIsWanted(t *testing.T) {
	for wanted, want := range map[fs.FileMode]fs.FileMode{0: 0o600, 0o660: 0o660, 0o666: 0o666} {
		path := openMask(t)
		s, err := listen.New(t.Context(), listen.Config{At: "unix:" + path, SocketMode: wanted})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Listen(t.Context()); err != nil {
			t.Fatal(err)
		}
		if mode := modeOf(t, path); mode != want {
			t.Errorf("%o: mode %o, want %o", wanted, mode, want)
		}
		s.Close()
	}
}
