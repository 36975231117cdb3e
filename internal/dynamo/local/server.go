// Package local starts DynamoDB Local for tests, and makes tables there as template.yaml does in an account. Nothing but
// tests uses it.
//
// The program comes from Maven Central, once, into the user's cache directory. Where Java or Maven is missing, tests are
// skipped by name; with CI=true they fail.
package local

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/keyturn/keyturn/internal/foreign"
)

// Version is that of DynamoDB Local.
const Version = "3.1.0"

const name = "DynamoDB Local " + Version

// Server is one DynamoDB Local in memory, for all tests of a package. The zero value is ready: it starts when a test first
// needs it. A package's TestMain calls Stop after all tests.
type Server struct {
	program foreign.Server

	mu     sync.Mutex
	tables int
}

// Endpoint starts the server where it does not run yet, and returns its URL. Without Java or Maven it skips the test, and
// fails it with CI=true.
func (s *Server) Endpoint(t testing.TB) string {
	t.Helper()
	jars := foreign.Cached(t, name, []string{"java", "mvn", "sh"}, fetch)
	return s.program.URL(t, name, func(port string) []string {
		return []string{
			"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m", "-cp", filepath.Join(jars, "*"),
			"software.amazon.dynamodb.services.local.main.ServerRunner", "-inMemory", "-disableTelemetry", "-port", port,
		}
	})
}

// Stop ends the server, if it was started, and waits until it is gone.
func (s *Server) Stop() { s.program.Stop() }

// pom names the program to Maven.
const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>keyturn</groupId><artifactId>dynamodb-local</artifactId><version>1</version><packaging>pom</packaging>
<dependencies><dependency><groupId>software.amazon.dynamodb</groupId><artifactId>DynamoDBLocal</artifactId>
<version>` + Version + `</version></dependency></dependencies></project>
`

// fetch puts the program's jars into a folder.
func fetch(ctx context.Context, dir string) error {
	file := filepath.Join(dir, "pom.xml")
	if err := os.WriteFile(file, []byte(pom), 0o600); err != nil {
		return err
	}
	return foreign.Run(ctx, "mvn", "-q", "-B", "-f", file, "dependency:copy-dependencies", "-DoutputDirectory="+dir)
}
