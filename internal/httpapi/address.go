package httpapi

import (
	"net/http"
	"net/netip"
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
		hop := strings.TrimSpace(hops[i])
		if _, err := netip.ParseAddr(hop); err != nil {
			break
		}
		peer = hop
		if !s.trusted(hop) {
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

// base is the URL at which the caller asked, without a trailing slash.
func (s *server) base(r *http.Request) string {
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if s.trusted(remote(r)) {
		if proto := r.Header.Get("X-Forwarded-Proto"); proto == "http" || proto == "https" {
			scheme = proto
		}
		if forwarded := r.Header.Get("X-Forwarded-Host"); forwarded != "" {
			host = forwarded
		}
	}
	return scheme + "://" + host
}
