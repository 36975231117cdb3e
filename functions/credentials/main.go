// Command credentials is the Lambda function that lists, makes and revokes credentials, and has the audit trail, the export and the license.
package main

import "github.com/keyturn/keyturn/functions/internal/boot"

var version = "unknown" // the build sets it

func main() { boot.Credentials().Main(version) }
