package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"math/big"
	"time"

	"github.com/keyturn/keyturn/internal/listen"
)

// newPrivate makes the certificate that the commands of this host know a sidecar by that speaks TLS. The one that others are
// shown is for other names than the loopback address, and is renewed while the sidecar runs; this one lives and dies with the
// process, and so does its key, which is nowhere else. Its dates mean nothing: it is known by its sum.
func newPrivate() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	always := x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{listen.PrivateName},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, &always, &always, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// sumOfCertificate is SHA-256 over the certificate, in hex; "" for none.
func sumOfCertificate(c *tls.Certificate) string {
	if c == nil {
		return ""
	}
	sum := sha256.Sum256(c.Certificate[0])
	return hex.EncodeToString(sum[:])
}

// errAnother says that whoever listens at the address of a sidecar is somebody else: it was killed, for one, and its port is
// another's by now.
var errAnother = errors.New("it does not show that sidecar's certificate")

// pinned takes exactly the server whose certificate has that sum: nothing is sent to another one, and who signed it, its names
// and its dates do not matter.
func pinned(sum string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: listen.PrivateName,
		InsecureSkipVerify: true, // VerifyConnection knows better
		VerifyConnection: func(s tls.ConnectionState) error {
			if got := (&tls.Certificate{Certificate: [][]byte{s.PeerCertificates[0].Raw}}); sum == "" || sumOfCertificate(got) != sum {
				return errAnother
			}
			return nil
		},
	}
}
