package listen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// place is where a server listens.
type place struct {
	network string // tcp or unix
	address string
	private bool // only this host can call
}

// parsePlace reads HOST:PORT or unix:PATH. A name stands for its first address, so that what was judged is what is bound.
func parsePlace(ctx context.Context, listen string) (place, error) {
	if path, ok := strings.CutPrefix(listen, "unix:"); ok {
		if path == "" {
			return place{}, errors.New("listen on unix:PATH: the path is missing")
		}
		return place{"unix", path, true}, nil
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return place{}, fmt.Errorf("listen address %.128q: want HOST:PORT, such as 127.0.0.1:8080, or unix:PATH", listen)
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return place{}, fmt.Errorf("listen address %.128q: the port has to be 0 to 65535", listen)
	}
	if host == "" {
		return place{"tcp", fmt.Sprintf(":%d", number), false}, nil
	}
	ip, err := lookup(ctx, host)
	if err != nil {
		return place{}, fmt.Errorf("listen address %.128q: %w", listen, err)
	}
	return place{"tcp", netip.AddrPortFrom(ip, uint16(number)).String(), ip.IsLoopback()}, nil
}

// lookup returns an address of a host, IPv4 before IPv6: what people write after localhost is mostly that.
func lookup(ctx context.Context, host string) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap(), nil
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, ip := range found {
		if ip.Unmap().Is4() {
			return ip.Unmap(), nil
		}
	}
	return found[0], nil
}

// bind binds the place. A socket file that nobody listens on any more gives way.
func (s *Server) bind(ctx context.Context) (net.Listener, error) {
	p := s.place
	if p.network == "unix" {
		if err := p.removeStale(ctx); err != nil {
			return nil, err
		}
	}
	l, err := p.listen(ctx)
	if err != nil || p.network != "unix" {
		return l, err
	}
	if err := s.open(p.address); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// listen binds the address. A unix socket is its owner's alone from its first instant, where the system can do that.
func (p place) listen(ctx context.Context) (net.Listener, error) {
	var c net.ListenConfig
	if p.network == "unix" {
		c.Control = ownersAlone
	}
	return c.Listen(ctx, p.network, p.address)
}

// open gives a socket to those who may use it: the group first, so that the mode never speaks of another one.
func (s *Server) open(path string) error {
	if s.c.SocketGroup != "" {
		gid, err := groupID(s.c.SocketGroup)
		if err != nil {
			return err
		}
		if err := os.Chown(path, -1, gid); err != nil {
			return err
		}
	}
	return os.Chmod(path, cmp.Or(s.c.SocketMode, 0o600))
}

// groupID is the number of a group that is given by name or number.
func groupID(group string) (int, error) {
	if n, err := strconv.Atoi(group); err == nil {
		return n, nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("group of the socket: %w", err)
	}
	return strconv.Atoi(g.Gid)
}

func (p place) removeStale(ctx context.Context) error {
	info, err := os.Lstat(p.address)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there and is no socket: name another path, or move it away", p.address)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", p.address)
	switch {
	case err == nil:
		_ = c.Close()
		return fmt.Errorf("somebody listens on %s already: stop that one first", p.address)
	case !errors.Is(err, syscall.ECONNREFUSED): // it may be somebody's who is busy, or whom we may not call
		return fmt.Errorf("%s is there, and whether somebody listens on it cannot be told: %w", p.address, err)
	}
	return os.Remove(p.address)
}

// urlOf is the address at which this host reaches a listener.
func urlOf(l net.Listener, scheme string) string {
	tcp, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return "unix:" + l.Addr().String()
	}
	ap := tcp.AddrPort()
	if ap.Addr().IsUnspecified() { // all addresses of the host
		return fmt.Sprintf("%s://127.0.0.1:%d", scheme, ap.Port())
	}
	return scheme + "://" + netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()).String()
}
