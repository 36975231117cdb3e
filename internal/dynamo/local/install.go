package local

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// pom names the program to Maven.
const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>keyturn</groupId><artifactId>dynamodb-local</artifactId><version>1</version><packaging>pom</packaging>
<dependencies><dependency><groupId>software.amazon.dynamodb</groupId><artifactId>DynamoDBLocal</artifactId>
<version>` + Version + `</version></dependency></dependencies></project>
`

// install returns the folder with the program's jars. The first test process fetches them, others wait for it; a folder
// that is there is complete.
func install(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "keyturn")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return "", err
	}
	jars := filepath.Join(cache, "dynamodb-local-"+Version)
	unlock, err := lock(jars + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(jars); err == nil {
		return jars, nil
	}
	draft, err := os.MkdirTemp(cache, "dynamodb-local-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(draft)
	if err := fetch(ctx, draft); err != nil {
		return "", err
	}
	return jars, os.Rename(filepath.Join(draft, "jars"), jars)
}

func fetch(ctx context.Context, dir string) error {
	file := filepath.Join(dir, "pom.xml")
	if err := os.WriteFile(file, []byte(pom), 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "mvn", "-q", "-B", "-f", file, "dependency:copy-dependencies",
		"-DoutputDirectory="+filepath.Join(dir, "jars"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("fetch it with Maven: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
