// Command credentials is the Lambda function that lists, makes and revokes credentials, and has the audit trail, the export and the license.
package main

import "github.com/keyturn/keyturn/functions/internal/boot"

var version = "unknown" // the build sets it

func main() {
	boot.Function{
		Name: "credentials",
		Routes: []string{
			"/v1/credentials", "/v1/credentials/{client_id}", "/v1/cluster/credentials", "/v1/audit", "/v1/export", "/v1/license",
		},
	}.Main(version)
}
