package listen

import (
	"context"
	"net"
	"net/http"

	"github.com/keyturn/keyturn/internal/shortcut"
)

// accepting is the listener that net/http accepts from. Under TLS it is that of the place: which protocol is spoken there is
// for net/http to find out.
func (s *Server) accepting(server *http.Server) net.Listener {
	if s.c.Shortcut == nil || s.cert != nil {
		return s.listener
	}
	l := shortcut.Listen(s.listener, *s.c.Shortcut, shortcut.Options{
		HeadTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, WriteTimeout: writeTimeout, MaxHead: maxHeaderBytes,
		Log: server.ErrorLog,
	})
	s.short.Store(l)
	return l
}

// HandedOver is how many connections the shortcut has left to net/http, for good.
func (s *Server) HandedOver() int64 {
	if l := s.short.Load(); l != nil {
		return l.HandedOver()
	}
	return 0
}

// drainShort waits until what takes the shortcut is answered, and cuts it off when ctx ends. The listener is closed.
func (s *Server) drainShort(ctx context.Context) error {
	if l := s.short.Load(); l != nil {
		return l.Drain(ctx)
	}
	return nil
}

// cutShort ends what takes the shortcut.
func (s *Server) cutShort() error {
	l := s.short.Load()
	if l == nil {
		return nil
	}
	err := l.Close()
	l.Cut()
	return err
}
