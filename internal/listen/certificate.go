package listen

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/rs/zerolog"
)

// certificate is a TLS certificate in two files that somebody else renews. A handshake looks whether they have changed, and
// goes on with the old pair while the new one cannot be read: the two files do not change at one instant.
type certificate struct {
	files [2]string // certificate chain, key
	log   zerolog.Logger

	mu      sync.Mutex
	pair    *tls.Certificate
	seen    [2]fs.FileInfo
	refused string // why the last new pair could not be read; logged once
}

func loadCertificate(certFile, keyFile string, log zerolog.Logger) (*certificate, error) {
	c := &certificate{files: [2]string{certFile, keyFile}, log: log}
	if err := c.reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// get implements tls.Config.GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now, err := c.look(); err == nil && !c.same(now) {
		c.replace(now)
	}
	return c.pair, nil
}

// reload reads the files even if they look the same.
func (c *certificate) reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, err := c.look()
	if err != nil {
		return fmt.Errorf("TLS certificate: %w", err)
	}
	return c.replace(now)
}

func (c *certificate) look() (now [2]fs.FileInfo, err error) {
	for i, name := range c.files {
		if now[i], err = os.Stat(name); err != nil {
			return now, err
		}
	}
	return now, nil
}

func (c *certificate) same(now [2]fs.FileInfo) bool {
	for i, info := range now {
		before := c.seen[i]
		if !os.SameFile(before, info) || !before.ModTime().Equal(info.ModTime()) || before.Size() != info.Size() {
			return false
		}
	}
	return true
}

func (c *certificate) replace(now [2]fs.FileInfo) error {
	pair, err := tls.LoadX509KeyPair(c.files[0], c.files[1])
	if err != nil {
		err = fmt.Errorf("TLS certificate %s with key %s: %w", c.files[0], c.files[1], err)
		if c.pair != nil && err.Error() != c.refused {
			c.log.Warn().Err(err).Msg("going on with the certificate of before")
		}
		c.refused = err.Error()
		return err
	}
	if c.pair != nil {
		c.log.Info().Str("file", c.files[0]).Msg("TLS certificate read again")
	}
	c.pair, c.seen, c.refused = &pair, now, ""
	return nil
}
