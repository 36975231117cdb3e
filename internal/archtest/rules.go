package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// Reach says how far an import rule looks.
type Reach int

const (
	// Direct looks at what the package itself imports.
	Direct Reach = iota
	// Own also looks through packages of this module: a detour over a package of ours does not help.
	Own
	// Link looks at everything that ends up in the binary.
	Link
)

// Rule forbids imports. Patterns are written as for the go tool: "./internal/id" is one package of ours,
// "./internal/id/..." it and all below, "net/http/..." the same for others.
type Rule struct {
	// Name is short and unique; the fixture that proves the rule is named for it.
	Name string
	// From lists the packages that the rule binds, Except those that it does not.
	From, Except []string
	// Not lists what they must not import.
	Not []string
	// Reach is how far the rule looks.
	Reach Reach
	// Why is the reason, in words that help whoever breaks the rule.
	Why string
}

// Check returns one finding for each package and forbidden pattern, with the shortest way that leads there. A package
// that is reached only through another one that breaks the same rule is not blamed for it.
func (g Graph) Check(rules ...Rule) []Finding {
	var found []Finding
	for _, r := range rules {
		for _, node := range g.nodes() {
			if r.binds(node) {
				found = append(found, g.check(r, node)...)
			}
		}
	}
	return found
}

func (g Graph) check(r Rule, from string) []Finding {
	var found []Finding
	blamed := map[string]bool{}
	way := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		for _, imp := range g[queue[0]] {
			if _, seen := way[imp]; seen {
				continue
			}
			way[imp] = queue[0]
			if pattern, forbidden := match(r.Not, imp); forbidden {
				if !blamed[pattern] {
					found = append(found, r.finding(from, trace(way, imp)))
				}
				blamed[pattern] = true
			} else if r.follows(imp) {
				queue = append(queue, imp)
			}
		}
	}
	return found
}

func (r Rule) binds(node string) bool {
	_, bound := match(r.From, node)
	_, free := match(r.Except, node)
	return bound && !free
}

// follows says whether the search goes on through a package. One that the rule binds is checked on its own.
func (r Rule) follows(node string) bool {
	return !r.binds(node) && (r.Reach == Link || r.Reach == Own && ours(node))
}

func (r Rule) finding(from string, steps []string) Finding {
	verb := "imports"
	if r.Reach == Link {
		verb = "links"
	}
	via := ""
	if len(steps) > 2 {
		via = " (" + strings.Join(steps, " > ") + ")"
	}
	return Finding{from, fmt.Sprintf("%s %s%s: %s", verb, steps[len(steps)-1], via, r.Why)}
}

func trace(way map[string]string, to string) []string {
	var steps []string
	for node := to; node != ""; node = way[node] {
		steps = append(steps, node)
	}
	slices.Reverse(steps)
	return steps
}

// match returns the first pattern that fits.
func match(patterns []string, node string) (pattern string, ok bool) {
	for _, p := range patterns {
		base, tree := strings.CutSuffix(p, "/...")
		if node == base || tree && strings.HasPrefix(node, base+"/") {
			return p, true
		}
	}
	return "", false
}
