// Command discovery is the Lambda function that serves the well-known documents and the health, and answers for every path that does not exist.
package main

import "github.com/keyturn/keyturn/functions/internal/boot"

var version = "unknown" // the build sets it

func main() {
	boot.Function{
		Name: "discovery",
		Routes: []string{
			"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/.well-known/jwks.json",
			"/livez", "/readyz",
		},
	}.Main(version)
}
