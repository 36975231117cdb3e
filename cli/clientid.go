package main

import (
	"github.com/keyturn/keyturn/internal/id"
)

// versioned is the client id of another version of the same credential. What names no version stays as it is.
func versioned(client string, version int) string {
	c, err := id.ParseClientID(client)
	if err != nil || c.Bare() {
		return client
	}
	c.Version = version
	return c.String()
}

// bare is the credential that a client id belongs to: the same through all its rotations. What is no client id of ours
// stands for itself.
func bare(client string) string {
	c, err := id.ParseClientID(client)
	if err != nil {
		return client
	}
	return c.Credential.String()
}

// checkClientID is a usage error for what is no client id.
func checkClientID(text string) error {
	if _, err := id.ParseClientID(text); err != nil {
		return usage(plain(err.Error()))
	}
	return nil
}
