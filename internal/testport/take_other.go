//go:build !unix

package testport

import "net"

// take finds a port that is free now.
func take() (*Port, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &Port{address: l.Addr().String(), release: func() {}}, l.Close()
}
