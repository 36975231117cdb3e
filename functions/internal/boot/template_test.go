package boot_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"
)

// template is template.yaml as CloudFormation sees it with every parameter at its default: its functions are resolved.
type template struct {
	Resources map[string]struct {
		Type       string
		Properties properties
	}
	Globals struct{ Function properties }

	region string
}

// properties are those of a resource that the tests look at.
type properties struct {
	Role                     string
	LoggingConfig            struct{ LogGroup string }
	Environment              struct{ Variables map[string]string }
	Events                   map[string]struct{ Properties struct{ Path string } }
	AssumeRolePolicyDocument document
	ManagedPolicyArns        []string
	Policies                 []struct{ PolicyDocument document }
}

// document is an IAM policy.
type document struct{ Statement []statement }

// statement is one of its statements.
type statement struct {
	Sid, Effect      string
	Principal        map[string]oneOrMore
	Action, Resource oneOrMore
	Condition        map[string]map[string]oneOrMore // by operator and key
	// What has no place here is denied a place in the template, too: its effect would not be tested.
	NotAction, NotResource, NotPrincipal any
}

// oneOrMore is a list that may be written as its only member.
type oneOrMore []string

func (l *oneOrMore) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*l = oneOrMore{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(l))
}

const account12 = "123456789012"

// readTemplate reads template.yaml as it is deployed to a region.
func readTemplate(t testing.TB, region string) *template {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	var head struct {
		Parameters map[string]struct {
			Default string `yaml:"Default"`
		} `yaml:"Parameters"`
		Conditions map[string]yaml.Node `yaml:"Conditions"`
	}
	if err := root.Decode(&head); err != nil {
		t.Fatal(err)
	}
	c := cloud{conditions: head.Conditions, refs: map[string]string{
		"AWS::Region": region, "AWS::Partition": "aws", "AWS::AccountId": account12, "AWS::StackName": "keyturn", "AWS::URLSuffix": "amazonaws.com",
	}}
	for name, p := range head.Parameters {
		c.refs[name] = p.Default
	}
	c.resolve(&root)
	var plain any
	if err := root.Decode(&plain); err != nil {
		t.Fatal(err)
	}
	if text, err = json.Marshal(plain); err != nil {
		t.Fatal(err)
	}
	tmpl := &template{region: region}
	if err := json.Unmarshal(text, tmpl); err != nil {
		t.Fatal(err)
	}
	return tmpl
}

// cloud stands in for CloudFormation's intrinsic functions.
type cloud struct {
	conditions map[string]yaml.Node
	refs       map[string]string
}

// absent marks what AWS::NoValue takes away.
const absent = "AWS::NoValue"

// resolve replaces every intrinsic function under n by its value.
func (c cloud) resolve(n *yaml.Node) {
	if n.Kind == yaml.AliasNode {
		alias := *n.Alias
		*n = alias
	}
	n.Content = slices.Clone(n.Content)
	for i, child := range n.Content {
		own := *child
		n.Content[i] = &own
		c.resolve(&own)
	}
	tag := n.Tag
	n.Content = slices.DeleteFunc(n.Content, func(child *yaml.Node) bool {
		return n.Kind == yaml.SequenceNode && tag != "!If" && child.Value == absent
	})
	if !strings.HasPrefix(tag, "!") || strings.HasPrefix(tag, "!!") {
		return
	}
	n.Tag = ""
	switch tag {
	case "!Ref":
		if value, ok := c.refs[n.Value]; ok {
			n.Value = value
		}
	case "!GetAtt": // "X.Arn"
		name, _, _ := strings.Cut(n.Value, ".")
		n.Value = "arn:" + name
	case "!Sub":
		c.substitute(n)
	case "!If":
		chosen := n.Content[2]
		if condition := c.conditions[n.Content[0].Value]; c.holds(&condition) {
			chosen = n.Content[1]
		}
		*n = *chosen
	case "!Not", "!Equals":
		// only under Conditions, where holds looks at them
		n.Tag = tag
	default:
		panic("the tests do not know " + tag)
	}
}

func (c cloud) substitute(n *yaml.Node) {
	text, local := n.Value, map[string]string{}
	if n.Kind == yaml.SequenceNode {
		text = n.Content[0].Value
		for pair := range slices.Chunk(n.Content[1].Content, 2) {
			local[pair[0].Value] = pair[1].Value
		}
	}
	*n = yaml.Node{Kind: yaml.ScalarNode, Value: os.Expand(text, func(name string) string {
		if value, ok := local[name]; ok {
			return value
		}
		value, ok := c.refs[name]
		if !ok {
			return name
		}
		return value
	})}
}

func (c cloud) holds(n *yaml.Node) bool {
	switch n.Tag {
	case "!Not":
		return !c.holds(n.Content[0])
	case "!Equals":
		var sides [2]yaml.Node
		for i := range sides {
			sides[i] = *n.Content[i]
			c.resolve(&sides[i])
		}
		return sides[0].Value == sides[1].Value
	}
	panic("the tests do not know the condition " + n.Tag)
}

// role is what template.yaml lets one function do.
type role struct {
	function, region string
	statements       []statement
	used             *grants // notes which of them were needed; may be nil
}

// role reads the role of a function.
func (t *template) role(function string, used *grants) role {
	r := role{function: function, region: t.region, used: used}
	for _, p := range t.Resources[strings.TrimPrefix(t.function(function).Role, "arn:")].Properties.Policies {
		r.statements = append(r.statements, p.PolicyDocument.Statement...)
	}
	return r
}

func (t *template) function(name string) properties {
	return t.Resources[strings.ToUpper(name[:1])+name[1:]+"Function"].Properties
}

// allows judges one request as IAM does: what no statement allows is denied. about holds the request's condition keys.
func (r role) allows(action, resource string, about map[string][]string) bool {
	allowed := false
	for _, s := range r.statements {
		if !slices.ContainsFunc(s.Action, like(action)) || !slices.ContainsFunc(s.Resource, like(resource)) {
			continue
		}
		met, by := s.met(about)
		if !met {
			continue
		}
		if s.Effect != "Allow" {
			return false
		}
		allowed = true
		r.used.note(r, action, by)
	}
	return allowed
}

// met reports whether every condition holds, and which of the values that they name made it so.
func (s statement) met(about map[string][]string) (met bool, by []string) {
	for operator, keys := range s.Condition {
		for key, values := range keys {
			given := about[key]
			for _, g := range given {
				i := slices.IndexFunc(values, func(v string) bool { return v == g || operator != "StringEquals" && like(g)(v) })
				if i < 0 {
					return false, nil
				}
				by = append(by, values[i])
			}
			switch {
			case operator == "ForAllValues:StringLike": // also where there is none
			case operator == "StringEquals" && len(given) == 1:
			case operator == "StringEquals":
				return false, nil
			default:
				panic("the tests do not know " + operator)
			}
		}
	}
	return true, by
}

// like matches text with a pattern of IAM's.
func like(text string) func(pattern string) bool {
	return func(pattern string) bool {
		p := regexp.QuoteMeta(pattern)
		p = strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(p)
		return regexp.MustCompile(`^(?s:` + p + `)$`).MatchString(text)
	}
}

// grants are what roles were asked for and gave.
type grants struct {
	mu  sync.Mutex
	had map[string]bool
}

func (g *grants) note(r role, action string, values []string) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.had == nil {
		g.had = map[string]bool{}
	}
	for _, v := range values {
		g.had[r.grant(action, v)] = true
	}
}

// grant names one action on one part of a resource; the role's own region is called HERE.
func (r role) grant(action, value string) string {
	return fmt.Sprint(r.function, " ", action, " ", strings.ReplaceAll(value, r.region, "HERE"))
}

// given lists all that a role grants on a part of a resource.
func (r role) given() (list []string) {
	for _, s := range r.statements {
		for _, keys := range s.Condition {
			for _, values := range keys {
				for _, v := range values {
					for _, action := range s.Action {
						list = append(list, r.grant(action, v))
					}
				}
			}
		}
	}
	return list
}
