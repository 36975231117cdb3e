package httpapi_test

import (
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
