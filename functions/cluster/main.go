// Command cluster is the Lambda function that founds the cluster, says what it is, and looks after its token keys.
package main

import "github.com/keyturn/keyturn/functions/internal/boot"

var version = "unknown" // the build sets it

func main() { boot.Cluster().Main(version) }
