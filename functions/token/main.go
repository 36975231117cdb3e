// Command token is the Lambda function that gives tokens and introspects them.
package main

import "github.com/keyturn/keyturn/functions/internal/boot"

var version = "unknown" // the build sets it

func main() { boot.Token().Main(version) }
