package main

import (
	"encoding/json"

	"github.com/keyturn/keyturn/internal/httpapi"
	"github.com/keyturn/keyturn/internal/serve"
)

// RecoverCmd mints a secret from a data directory, for when every admin secret is lost.
type RecoverCmd struct {
	DataDir string `required:"" help:"The data directory of an authority that is stopped." placeholder:"D"`
	Reason  string `help:"Why, for the audit trail." placeholder:"TEXT"`
}

// Run mints the next version of the shared credential and prints it.
func (c *RecoverCmd) Run(a *App) error {
	done, err := serve.Recover(a.Context, c.DataDir, c.Reason, a.Now())
	if err != nil {
		return &failure{what: "recover", why: err, next: whileServing(err)}
	}
	r := httpapi.RotationOf(done)
	if a.flags.JSON {
		out, err := json.Marshal(r)
		return orWire(a, out, err)
	}
	return a.data(table(rotationRows(r, a.Now(), true)))
}
