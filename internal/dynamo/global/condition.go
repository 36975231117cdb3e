package global

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// holds evaluates a condition on an item; nil is none. Of DynamoDB's language it knows attribute_exists,
// attribute_not_exists, comparisons with a value, AND, OR and brackets.
func holds(condition string, values, it Item) (bool, error) {
	if condition == "" {
		return true, nil
	}
	p := parser{words: regexp.MustCompile(`[()]|[<>=]+|[:\w]+`).FindAllString(condition, -1), values: values, item: it}
	ok := p.or()
	if p.wrong || len(p.words) > 0 {
		return false, fmt.Errorf("global: condition %q", condition)
	}
	return ok, nil
}

type parser struct {
	words        []string
	values, item Item
	wrong        bool
}

func (p *parser) next() string {
	if len(p.words) == 0 {
		p.wrong = true
		return ""
	}
	w := p.words[0]
	p.words = p.words[1:]
	return w
}

func (p *parser) takes(word string) bool {
	if len(p.words) > 0 && p.words[0] == word {
		p.words = p.words[1:]
		return true
	}
	return false
}

func (p *parser) or() bool {
	ok := p.and()
	for p.takes("OR") {
		ok = p.and() || ok
	}
	return ok
}

func (p *parser) and() bool {
	ok := p.term()
	for p.takes("AND") {
		ok = p.term() && ok
	}
	return ok
}

func (p *parser) term() bool {
	word := p.next()
	switch word {
	case "(":
		ok := p.or()
		p.wrong = p.wrong || !p.takes(")")
		return ok
	case "attribute_exists", "attribute_not_exists":
		p.wrong = p.wrong || !p.takes("(")
		_, there := p.item[p.next()]
		p.wrong = p.wrong || !p.takes(")")
		return there == (word == "attribute_exists")
	}
	operator, name := p.next(), p.next()
	value, known := p.values[name]
	p.wrong = p.wrong || !known
	is, there := p.item[word]
	return there && p.compare(is, operator, value)
}

// compare: values of different types are never equal, and neither is above the other.
func (p *parser) compare(a types.AttributeValue, operator string, b types.AttributeValue) bool {
	order := 0
	switch a := a.(type) {
	case *types.AttributeValueMemberN:
		if _, same := b.(*types.AttributeValueMemberN); !same {
			return false
		}
		x, y := number(a), number(b)
		order = int(min(max(x-y, -1), 1))
	case *types.AttributeValueMemberS:
		b, same := b.(*types.AttributeValueMemberS)
		if !same {
			return false
		}
		order = strings.Compare(a.Value, b.Value)
	case *types.AttributeValueMemberB:
		b, same := b.(*types.AttributeValueMemberB)
		if !same {
			return false
		}
		order = bytes.Compare(a.Value, b.Value)
	default:
		p.wrong = true
	}
	switch operator {
	case "=":
		return order == 0
	case ">=":
		return order >= 0
	case "<=":
		return order <= 0
	}
	p.wrong = true
	return false
}
