//go:build race

package verify_test

// raced says that the race detector is on: signatures take ten times as long.
const raced = true
