// Command recover is the Lambda function that founds a cluster or mints a secret for who may invoke it.
package main

import "github.com/keyturn/keyturn/functions/internal/boot"

var version = "unknown" // the build sets it

func main() { boot.Recovery().Main(version) }
