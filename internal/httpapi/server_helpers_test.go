package httpapi_test

import (
	"context"
	"slices"

	"github.com/keyturn/keyturn/internal/authority"
	"github.com/keyturn/keyturn/internal/credential"
	"github.com/keyturn/keyturn/internal/httpapi"
)

// goodSecret has the right form and belongs to nobody.
var goodSecret = credential.NewSecret().Reveal()

// sortedRoutes are the paths of the server with their methods, HEAD among them, in the order of Allow.
func sortedRoutes() map[string][]string {
	routes := httpapi.Routes()
	for path, methods := range routes {
		if slices.Contains(methods, "GET") {
			methods = append(methods, "HEAD")
		}
		slices.Sort(methods)
		routes[path] = methods
	}
	return routes
}

func authorityOptions(bootstrapToken string) authority.Options {
	return authority.Options{BootstrapToken: bootstrapToken}
}

// patient is a store that knows no hurry: what an authority gives a commit is less than what some machines stand still for, and
// the answer would be 503 by chance.
type patient struct{ authority.Store }

func (p patient) Append(ctx context.Context, b authority.Batch) error {
	return p.Store.Append(context.WithoutCancel(ctx), b)
}

func (p patient) Subject(ctx context.Context, subject string) ([]authority.Entry, error) {
	return p.Store.Subject(context.WithoutCancel(ctx), subject)
}

func (p patient) Heads(ctx context.Context) (map[string]authority.Head, error) {
	return p.Store.Heads(context.WithoutCancel(ctx))
}

func (p patient) Claimed(ctx context.Context, key string) (authority.Claim, error) {
	return p.Store.Claimed(context.WithoutCancel(ctx), key)
}
