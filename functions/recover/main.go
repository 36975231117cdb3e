// Command recover is the Lambda function that founds a cluster, or mints a secret where all are lost, for who may invoke it: it has no route.
package main

import "github.com/keyturn/keyturn/functions/internal/boot"

var version = "unknown" // the build sets it

func main() {
	boot.Function{
		Name: "recover", Boots: true, Event: boot.Recover,
	}.Main(version)
}
