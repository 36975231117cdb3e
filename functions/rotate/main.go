// Command rotate is the Lambda function that rotates secrets and token keys.
package main

import "github.com/keyturn/keyturn/functions/internal/boot"

var version = "unknown" // the build sets it

func main() { boot.Rotate().Main(version) }
