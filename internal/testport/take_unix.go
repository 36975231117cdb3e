//go:build unix

package testport

import (
	"fmt"
	"os"
	"syscall"
)

// take binds a socket that never listens, and lets others bind the same port who say, as every server does, that they may use
// an address again.
func take() (*Port, error) {
	syscall.ForkLock.RLock() // no child may inherit it
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	address, err := bind(fd)
	if err != nil {
		_ = syscall.Close(fd)
		return nil, err
	}
	return &Port{address: address, release: func() { _ = syscall.Close(fd) }}, nil
}

func bind(fd int) (address string, err error) {
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return "", os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return "", os.NewSyscallError("bind", err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		return "", os.NewSyscallError("getsockname", err)
	}
	at, ok := bound.(*syscall.SockaddrInet4)
	if !ok {
		return "", fmt.Errorf("bound to %T", bound)
	}
	return fmt.Sprintf("127.0.0.1:%d", at.Port), nil
}
