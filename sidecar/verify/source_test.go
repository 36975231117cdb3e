package verify_test

import (
	"testing"

	"github.com/keyturn/keyturn/sidecar/verify"
)

// A connection that died without a word is given up by the time at which a request over it would be.
func TestSource_PingsOverHTTP2(t *testing.T) {
	t.Parallel()
	send, wait := verify.Pings(verify.Options{KeysOnly: true})
	if send <= 0 || wait <= 0 || send+wait > verify.PatienceOfOne {
		t.Errorf("pinged after %s of silence, and given up %s later; a request has %s", send, wait, verify.PatienceOfOne)
	}
}
