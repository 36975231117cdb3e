//go:build !race

package verdict_test

// raced says that the race detector is on.
const raced = false
