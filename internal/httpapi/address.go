package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// source is the address of the caller: of the connection, or what the trusted proxies in between say of it.
func (s *server) source(r *http.Request) string {
	peer := remote(r)
	if !s.trusted(peer) {
		return peer
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- { // the nearest hop stands last; the first one that is not a proxy of ours called
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		peer = hop.WithZone("").Unmap().String()
		if !s.trusted(peer) {
			break
		}
	}
	return peer
}

func remote(r *http.Request) string {
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return ap.Addr().Unmap().String()
	}
	return "local" // a unix socket has no address
}

func (s *server) trusted(address string) bool {
	a, err := netip.ParseAddr(address)
	for _, p := range s.o.TrustedProxies {
		if err == nil && p.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}

// base is the URL at which the caller asked, without a trailing slash. It has the prefix that was stripped from the path on
// the way here: RequestURI still holds it (see http.StripPrefix).
func (s *server) base(r *http.Request) string {
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if s.trusted(remote(r)) {
		if proto := r.Header.Get("X-Forwarded-Proto"); proto == "http" || proto == "https" {
			scheme = proto
		}
		if forwarded := r.Header.Get("X-Forwarded-Host"); isHost(forwarded) {
			host = forwarded
		}
	}
	return scheme + "://" + host + stripped(r)
}

// stripped is what the path began with before somebody took it off; "" for an absolute form (RFC 9112 §3.2.2), which nobody
// strips.
func stripped(r *http.Request) string {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	prefix, ok := strings.CutSuffix(path, r.URL.EscapedPath())
	if !ok || !strings.HasPrefix(prefix, "/") || strings.HasPrefix(prefix, "//") {
		return ""
	}
	return strings.TrimSuffix(prefix, "/")
}

// isHost reports whether a forwarded value is one host, with or without a port: nothing that would change the URL around it.
func isHost(s string) bool {
	u, err := url.Parse("http://" + s)
	return err == nil && s != "" && u.Host == s && u.Hostname() != "" && !strings.Contains(s, ",")
}

// namesThisHost reports whether a Host header is one that a caller on this host would use. A web page whose name was pointed
// to this host (DNS rebinding) brings its own.
func namesThisHost(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	address, err := netip.ParseAddr(name)
	return strings.EqualFold(name, "localhost") || err == nil && address.IsLoopback()
}
