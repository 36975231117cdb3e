package jwk_test

import (
	"crypto"
	"encoding/json"
	"testing"

	"github.com/keyturn/keyturn/internal/jwk"
	"github.com/keyturn/keyturn/internal/testkey"
)

// Public keys from the standards, with their thumbprints.
const (
	rfc7638 = `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`
	rfc8037 = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	rfc7517 = `{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}`

	rfc7638ID = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" // RFC 7638 §3.1
	rfc8037ID = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" // RFC 8037 appendix A.3
	rfc7517ID = "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"
)

func signers(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	return map[string]crypto.Signer{"ES256": testkey.P256("a"), "EdDSA": testkey.Ed25519("a"), "RS256": testkey.RSA()}
}

func mustKey(t testing.TB, s crypto.Signer) jwk.Key {
	t.Helper()
	k, err := jwk.New(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mustPrivate(t testing.TB, s crypto.Signer) []byte {
	t.Helper()
	b, err := jwk.MarshalPrivate(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// with returns the object doc with some members replaced. A nil value takes a member out.
func with(t testing.TB, doc string, changes map[string]any) []byte {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(doc), &m); err != nil {
		t.Fatal(err)
	}
	for name, value := range changes {
		if value == nil {
			delete(m, name)
			continue
		}
		m[name] = value
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
