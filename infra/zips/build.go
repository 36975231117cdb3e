package main

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// maxZip is the budget of one zip, in bytes.
const maxZip = 6 * 1000 * 1000

func functions() []string {
	return []string{"token", "credentials", "rotate", "cluster", "discovery", "recover"}
}

// build says how the functions are built.
type build struct {
	arch, out, version string
}

// function builds one and packs it; it returns the size of the zip in bytes. The same source gives the same bytes, wherever
// it lies and whoever builds it: no path, no date and no state of the checkout gets into them.
func (b build) function(ctx context.Context, name string) (int64, error) {
	program := filepath.Join(b.out, name, "bootstrap")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", "lambda.norpc",
		"-ldflags", "-s -w -buildid= -X main.version="+b.version, "-o", program, "./functions/"+name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+b.arch, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%w\n%s", err, out)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return 0, err
	}
	var packed bytes.Buffer
	if err := pack(&packed, text); err != nil {
		return 0, err
	}
	return int64(packed.Len()), os.WriteFile(filepath.Join(b.out, name+".zip"), packed.Bytes(), 0o644)
}

// pack writes the zip of a program: one executable file with the name that the runtime looks for.
func pack(w io.Writer, program []byte) error {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestCompression) })
	header := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
	header.SetMode(fs.FileMode(0o755))
	f, err := z.CreateHeader(header)
	if err != nil {
		return err
	}
	if _, err := f.Write(program); err != nil {
		return err
	}
	return z.Close()
}
