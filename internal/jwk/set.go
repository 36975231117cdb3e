package jwk

import (
	"encoding/json"
	"errors"
	"fmt"
)

const maxSet = 4 << 20 // bytes of a set: a key for each of some 15,000 peers

// Set is a JWK set (RFC 7517 §5).
type Set struct {
	Keys []Key `json:"keys"`
}

// ParseSet reads a JWK set of at most 4 MiB, by the rules of Parse for each key. It skips keys that the package has no
// use for: other kinds, curves, sizes, algorithms and uses (RFC 7517 §5). A private or a malformed key refuses the set.
func ParseSet(b []byte) (Set, error) {
	m, err := readMembers(b, maxSet)
	if err != nil {
		return Set{}, err
	}
	var values []json.RawMessage
	if json.Unmarshal(m["keys"], &values) != nil || values == nil {
		return Set{}, errors.New("jwk: member keys is missing, or not an array")
	}
	s := Set{Keys: []Key{}}
	for i, value := range values {
		k, err := Parse(value)
		switch {
		case errors.Is(err, errUnsupported):
			continue
		case err != nil:
			return Set{}, fmt.Errorf("jwk: key %d of the set: %w", i, err)
		}
		s.Keys = append(s.Keys, k)
	}
	return s, nil
}

// MarshalJSON returns an object with keys, which is [] where s has none.
func (s Set) MarshalJSON() ([]byte, error) {
	type set Set // without this method
	if s.Keys == nil {
		s.Keys = []Key{}
	}
	return json.Marshal(set(s))
}

// UnmarshalJSON reads what ParseSet reads, with its errors.
func (s *Set) UnmarshalJSON(b []byte) (err error) {
	*s, err = ParseSet(b)
	return err
}
