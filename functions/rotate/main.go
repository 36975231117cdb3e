// Command rotate is the Lambda function that rotates secrets and token keys.
package main

import "github.com/keyturn/keyturn/functions/internal/boot"

var version = "unknown" // the build sets it

func main() {
	boot.Function{
		Name:   "rotate",
		Routes: []string{"/v1/credentials/{client_id}/rotate", "/v1/cluster/credentials/rotate", "/v1/keys/rotate"},
	}.Main(version)
}
