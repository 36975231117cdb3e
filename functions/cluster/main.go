// Command cluster is the Lambda function that founds the cluster, says what it is, and looks after its token keys by a schedule.
package main

import "github.com/keyturn/keyturn/functions/internal/boot"

var version = "unknown" // the build sets it

func main() {
	boot.Function{
		Name: "cluster", Boots: true, Event: boot.Tick,
		Routes: []string{"/v1/bootstrap", "/v1/cluster/identity", "/v1/ledger-keys"},
	}.Main(version)
}
