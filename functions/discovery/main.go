// Command discovery is the Lambda function that serves the well-known documents and the health, and says which paths do not exist.
package main

import "github.com/keyturn/keyturn/functions/internal/boot"

var version = "unknown" // the build sets it

func main() { boot.Discovery().Main(version) }
