// Package listen serves an http.Handler at one place of this host, HOST:PORT or unix:PATH, over TLS or in plain, with the
// limits that every server of keyturn has, and stops without cutting a request off.
//
// It knows nothing of what is answered. It logs what net/http complains of, and that a certificate was read again. Its errors
// are for people: they name the setting as the command line has it, and what to do.
package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	stdlog "log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/keyturn/keyturn/internal/shortcut"
)

// Limits of every server. An answer may have to wait for the ledger to grow, which takes most of the time to write.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 120 * time.Second
	maxHeaderBytes    = 16 << 10
	drainTimeout      = 10 * time.Second // how long requests that are under way may take when the server stops
)

// Config says where and how to serve. At is required.
type Config struct {
	At              string // HOST:PORT (port 0: any free one) or unix:PATH
	TLSCert, TLSKey string // PEM files, read again when they change
	InsecureHTTP    bool   // plain HTTP off loopback: a proxy in front speaks TLS

	SocketMode  fs.FileMode // of a unix socket; 0: 0600
	SocketGroup string      // of a unix socket, by name or number; "": that of the process

	// Private is shown, over TLS, to whoever asks for PrivateName; nil: nobody is. The certificate of TLSCert is for the names by
	// which others call, and is renewed whenever somebody likes.
	Private *tls.Certificate

	Shortcut *shortcut.Route // answered beside the handler of Serve, in plain HTTP; nil: nothing is

	Log zerolog.Logger
}

// Server serves at one place.
type Server struct {
	c        Config
	place    place
	cert     *certificate // nil: plain HTTP
	listener net.Listener
	short    atomic.Pointer[shortcut.Listener] // over listener; nil: there is none
	stopping chan struct{}
}

// New checks the settings. A place off loopback wants TLS, or InsecureHTTP.
func New(ctx context.Context, c Config) (*Server, error) {
	p, err := parsePlace(ctx, c.At)
	if err != nil {
		return nil, err
	}
	s := &Server{c: c, place: p, stopping: make(chan struct{})}
	if err := s.checkTransport(); err != nil {
		return nil, err
	}
	if p.network != "unix" && (c.SocketMode != 0 || c.SocketGroup != "") {
		return nil, errors.New("a mode and a group belong to a unix socket: listen on unix:PATH")
	}
	return s, nil
}

// checkTransport makes sure that secrets do not cross a network in the open by accident.
func (s *Server) checkTransport() error {
	secure := s.c.TLSCert != ""
	switch {
	case secure != (s.c.TLSKey != ""):
		return errors.New("TLS takes a certificate and its key: give both --tls-cert and --tls-key")
	case secure && s.c.InsecureHTTP:
		return errors.New("--insecure-http contradicts --tls-cert: give one of them")
	case !secure && !s.c.InsecureHTTP && !s.place.private:
		return fmt.Errorf("%s can be reached by other hosts, and secrets would travel unencrypted: give --tls-cert and --tls-key, "+
			"or listen on loopback, or say --insecure-http where a proxy in front speaks TLS", s.c.At)
	}
	return nil
}

// Private reports whether only this host can call.
func (s *Server) Private() bool { return s.place.private }

// Unix reports whether the place is a unix socket.
func (s *Server) Unix() bool { return s.place.network == "unix" }

// Prepare reads the certificate. Listen does so too, where it has not been done.
func (s *Server) Prepare() (err error) {
	if s.c.TLSCert != "" && s.cert == nil {
		s.cert, err = loadCertificate(s.c.TLSCert, s.c.TLSKey, s.c.Log)
	}
	return err
}

// Listen binds the address. From then on URL says where, and callers wait for Serve.
func (s *Server) Listen(ctx context.Context) error {
	if err := s.Prepare(); err != nil {
		return err
	}
	l, err := s.bind(ctx)
	s.listener = l
	return err
}

// URL is the address at which this host reaches the server, without a trailing slash; "" before Listen.
func (s *Server) URL() string {
	if s.listener == nil {
		return ""
	}
	if s.cert != nil {
		return urlOf(s.listener, "https")
	}
	return urlOf(s.listener, "http")
}

// Stopping is closed when the server stops, before it waits for what is under way: what waits for news ends then.
func (s *Server) Stopping() <-chan struct{} { return s.stopping }

// Serve answers until ctx ends; then it stops accepting, and gives what is under way 10 seconds to finish. It binds the
// address unless Listen did. It is called once.
func (s *Server) Serve(ctx context.Context, h http.Handler) error {
	if s.listener == nil {
		if err := s.Listen(ctx); err != nil {
			return err
		}
	}
	server := s.newHTTP(h)
	failed := make(chan error, 1)
	accepting := s.accepting(server)
	go func() {
		if s.cert != nil {
			failed <- server.ServeTLS(accepting, "", "")
			return
		}
		failed <- server.Serve(accepting)
	}()
	select {
	case err := <-failed:
		close(s.stopping)
		return errors.Join(err, server.Close(), s.cutShort())
	case <-ctx.Done():
	}
	s.c.Log.Info().Msg("stopping: finishing what is under way")
	close(s.stopping)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	err := errors.Join(server.Shutdown(drain), s.drainShort(drain)) // Shutdown has closed both listeners first
	if errors.Is(err, context.DeadlineExceeded) {
		s.c.Log.Warn().Msg("some requests took too long and were cut off")
		return server.Close()
	}
	return err
}

func (s *Server) newHTTP(h http.Handler) *http.Server {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:       stdlog.New(complaints{s.c.Log}, "", 0),
	}
	if s.cert != nil {
		server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.certificateFor}
	}
	return server
}

// PrivateName is the server name (RFC 6066 §3) by which a process of this host asks for Config.Private. No host is called so
// (RFC 6761 §6.4).
const PrivateName = "this-host.keyturn.invalid"

// certificateFor implements tls.Config.GetCertificate.
func (s *Server) certificateFor(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s.c.Private != nil && hello.ServerName == PrivateName {
		return s.c.Private, nil
	}
	return s.cert.get(hello)
}

// Reload reads the TLS certificate again. Without TLS there is nothing to reload.
func (s *Server) Reload() error {
	if s.cert == nil {
		return nil
	}
	return s.cert.reload()
}

// Close lets go of the address. Closing again does nothing.
func (s *Server) Close() {
	if s.listener != nil {
		_ = s.listener.Close() // closed already when it was served
	}
}

// complaints are what net/http has to say: failed handshakes, broken connections, panics.
type complaints struct{ log zerolog.Logger }

// Write implements io.Writer.
func (c complaints) Write(b []byte) (int, error) {
	c.log.Warn().Msg(strings.TrimSpace(string(b)))
	return len(b), nil
}
