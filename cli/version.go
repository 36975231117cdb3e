package main

import (
	"encoding/json"
	"runtime"
)

// VersionCmd prints the version.
type VersionCmd struct{}

// Run prints it, and what it was built with.
func (c *VersionCmd) Run(a *App) error {
	if a.flags.JSON {
		out, err := json.Marshal(map[string]string{"version": a.Version, "go": runtime.Version()})
		return orWire(a, out, err)
	}
	return a.data("keyturn " + a.Version + " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + "\n")
}
