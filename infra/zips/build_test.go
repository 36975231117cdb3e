package main

import (
	"archive/zip"
	"bytes"
	"io"
	"path/filepath"
	"slices"
	"testing"
)

func TestPack(t *testing.T) {
	t.Parallel()
	program := bytes.Repeat([]byte("a program "), 1000)
	var first, second bytes.Buffer
	for _, w := range []*bytes.Buffer{&first, &second} {
		if err := pack(w, program); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("packing twice gives different bytes")
	}
	z, err := zip.NewReader(bytes.NewReader(first.Bytes()), int64(first.Len()))
	if err != nil || len(z.File) != 1 || z.File[0].Name != "bootstrap" || z.File[0].Mode() != 0o755 {
		t.Fatalf("%+v, %v", z, err)
	}
	f, err := z.File[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(f); err != nil || !bytes.Equal(text, program) {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

// Every folder of functions/ with a program is packed.
func TestFunctions(t *testing.T) {
	t.Parallel()
	mains, err := filepath.Glob(filepath.Join("..", "..", "functions", "*", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range mains {
		found = append(found, filepath.Base(filepath.Dir(m)))
	}
	want := functions()
	slices.Sort(want)
	if !slices.Equal(found, want) {
		t.Errorf("folders %v, packed are %v", found, want)
	}
}
