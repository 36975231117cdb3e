package listen

import "syscall"

// ownersAlone is for net.ListenConfig.Control. The file that bind makes gets the mode of the socket, less the umask: nobody
// else can connect before the mode that is wanted is set.
func ownersAlone(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) { failed = syscall.Fchmod(int(fd), 0o600) })
	if err != nil {
		return err
	}
	return failed
}
