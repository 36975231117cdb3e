// Package local starts moto's server for tests: a KMS on loopback. Nothing but tests uses it. It comes from PyPI; without
// Python a test is skipped by name, with CI=true it fails. It checks no policies, but binds the encryption context.
package local

import (
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/keyturn/keyturn/internal/foreign"
	"github.com/keyturn/keyturn/internal/wheel"
)

// Server is one server for all tests of a package. The zero value is ready: it starts when a test first needs it. A
// package's TestMain calls Stop after all tests.
type Server struct {
	program foreign.Server
}

// Endpoint starts the server where it does not run yet, and returns its URL.
func (s *Server) Endpoint(t testing.TB) string {
	t.Helper()
	bin := wheel.Venv(t, "moto==5.2.5", "flask", "flask-cors")
	return s.program.URL(t, "moto", func(port string) []string {
		return []string{filepath.Join(bin, "moto_server"), "-H", "127.0.0.1", "-p", port}
	})
}

// Stop ends the server, if it was started, and waits until it is gone.
func (s *Server) Stop() { s.program.Stop() }

// Key makes a KMS key in a region and returns a client there and the key's ARN.
func (s *Server) Key(t testing.TB, region string) (*kms.Client, string) {
	t.Helper()
	endpoint := s.Endpoint(t)
	client := kms.New(kms.Options{
		Region: region, BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	})
	made, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatalf("make a key: %v", err)
	}
	return client, *made.KeyMetadata.Arn
}
