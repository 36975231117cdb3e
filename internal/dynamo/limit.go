package dynamo

import (
	"fmt"
	"math"

	"github.com/keyturn/keyturn/internal/authority"
)

// limits moves each counter once, whatever number of limits name it.
func (p *plan) limits(limits []authority.Limit) error {
	var names []string
	byName := map[string][]authority.Limit{}
	for _, l := range limits {
		if !validName(l.Name) {
			return fmt.Errorf("append: a counter has a name, of at most %d bytes", maxName)
		}
		if byName[l.Name] == nil {
			names = append(names, l.Name)
		}
		byName[l.Name] = append(byName[l.Name], l)
	}
	for _, name := range names {
		c := counter{p: p, name: name, moves: byName[name]}
		p.add(c.action(c.guess()))
	}
	return nil
}

// counter is what a batch does to one counter. DynamoDB cannot stop at zero, so the first attempt holds for the numbers from
// which nothing stops the way, and where it fails, the next one is for the very number that is there.
type counter struct {
	p     *plan
	name  string
	moves []authority.Limit
}

// guess adds the sum of all moves, on condition that none would end below zero or above its limit.
func (c counter) guess() (update, condition string, values item) {
	sum, floor, room := 0, 0, math.MaxInt
	for _, m := range c.moves {
		sum += m.Delta
		floor = max(floor, -sum)
		if m.Delta > 0 {
			room = min(room, m.Max-sum)
		}
	}
	condition = "n >= :floor AND n <= :room"
	if floor == 0 && room >= 0 {
		condition = "attribute_not_exists(n) OR " + condition
	}
	return "ADD n :sum", condition, item{":sum": number(sum), ":floor": number(floor), ":room": number(room)}
}

// exactly is for the number n.
func (c counter) exactly(n int) (update, condition string, values item, err error) {
	condition = "n = :n"
	if n == 0 {
		condition = "attribute_not_exists(n) OR n = :n"
	}
	values = item{":n": number(n)}
	for _, m := range c.moves {
		if m.Delta > 0 && (m.Delta > m.Max || n > m.Max-m.Delta) {
			return "", "", nil, fmt.Errorf("%w: %s is %d and its limit %d", authority.ErrConflict, c.name, n, m.Max)
		}
		n = max(n+m.Delta, 0)
	}
	values[":to"] = number(n)
	return "SET n = :to", condition, values, nil
}

func (c counter) action(update, condition string, values item) action {
	pk := counterPK(c.p.s.region)
	return action{
		write: c.p.s.update(key(pk, c.name), update, condition, values), pk: pk, sk: c.name,
		failed: func(there item) (*action, error) {
			n, ok := getNumber(there, attrNumber)
			if there != nil && !ok {
				return nil, c.p.s.broken(there)
			}
			update, condition, values, err := c.exactly(int(n))
			if err != nil {
				return nil, err
			}
			a := c.action(update, condition, values)
			return &a, nil
		},
	}
}
