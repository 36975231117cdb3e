package main

import (
	"time"

	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/httpapi"
)

type signingKeys struct {
	Rotate KeysRotateCmd `cmd:"" help:"Publish a new key to sign tokens with; the old one goes when its last token is dead."`
}

// KeysRotateCmd brings a new token key. A call whose answer was lost can be repeated: there is one more key then, and nothing
// else.
type KeysRotateCmd struct {
	Reason string `help:"Why, for the audit trail." placeholder:"TEXT"`
}

// Run asks for the key and prints its name.
func (c *KeysRotateCmd) Run(a *App) error {
	if err := credential.CheckReason(c.Reason); err != nil {
		return usage("--reason: " + err.Error())
	}
	r := httpapi.Request{Method: "POST", Path: "/v1/keys/rotate", Body: httpapi.TokenKeyRequest{Reason: c.Reason}}
	return show(a, "rotate the token key", r, func(made httpapi.TokenKey) string {
		a.screen.note("the key is published now, and tokens are signed with it from %s", made.SignsAt.UTC().Format(time.RFC3339))
		return made.Key.ID() + "\n"
	})
}
