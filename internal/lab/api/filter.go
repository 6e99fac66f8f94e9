package api

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"drover/internal/lab/estate"
)

// The $filter grammar of Graph alerts (reference graph-security §2): the
// properties of the list page with eq, ne, gt, ge, lt, le, in, joined by and,
// or, not and parentheses. Anything else is refused.

type test func(r *estate.Row) bool

// filterProps are the properties that may be filtered by.
var filterProps = []string{"assignedTo", "classification", "createdDateTime", "determination", "lastUpdateDateTime", "serviceSource", "severity", "status"}

type filterParser struct {
	words []string
	i     int
	from  time.Time // the greatest lower bound on lastUpdateDateTime, for a quick start
}

// parseFilter returns the test and a lower bound on the change time, if the
// whole filter has one.
func parseFilter(s string) (test, time.Time, error) {
	if strings.TrimSpace(s) == "" {
		return func(*estate.Row) bool { return true }, time.Time{}, nil
	}
	words, err := lex(s)
	if err != nil {
		return nil, time.Time{}, err
	}
	p := &filterParser{words: words}
	t, err := p.or(true)
	if err == nil && p.i != len(p.words) {
		err = fmt.Errorf("unexpected %q", p.words[p.i])
	}
	return t, p.from, err
}

func lex(s string) (words []string, err error) {
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ' ' || c == '\t':
			i++
		case c == '(' || c == ')' || c == ',':
			words = append(words, string(c))
			i++
		case c == '\'':
			j := i + 1
			for ; j < len(s); j++ {
				if s[j] == '\'' {
					if j+1 < len(s) && s[j+1] == '\'' {
						j++
						continue
					}
					break
				}
			}
			if j >= len(s) {
				return nil, fmt.Errorf("a quote is not closed")
			}
			words = append(words, s[i:j+1])
			i = j + 1
		default:
			j := i
			for j < len(s) && !strings.ContainsRune(" \t(),'", rune(s[j])) {
				j++
			}
			words = append(words, s[i:j])
			i = j
		}
	}
	return words, nil
}

func (p *filterParser) peek() string {
	if p.i < len(p.words) {
		return p.words[p.i]
	}
	return ""
}

func (p *filterParser) next() string {
	w := p.peek()
	p.i++
	return w
}

func (p *filterParser) or(top bool) (test, error) {
	a, err := p.and(top)
	for err == nil && p.peek() == "or" {
		p.i++
		p.from = time.Time{}
		var b test
		l := a
		b, err = p.and(false)
		a = func(r *estate.Row) bool { return l(r) || b(r) }
	}
	return a, err
}

func (p *filterParser) and(top bool) (test, error) {
	a, err := p.not(top)
	for err == nil && p.peek() == "and" {
		p.i++
		var b test
		l := a
		b, err = p.not(top)
		a = func(r *estate.Row) bool { return l(r) && b(r) }
	}
	return a, err
}

func (p *filterParser) not(top bool) (test, error) {
	switch p.peek() {
	case "not":
		p.i++
		t, err := p.not(false)
		return func(r *estate.Row) bool { return !t(r) }, err
	case "(":
		p.i++
		t, err := p.or(top)
		if err == nil && p.next() != ")" {
			err = fmt.Errorf("a parenthesis is not closed")
		}
		return t, err
	}
	return p.compare(top)
}

func (p *filterParser) compare(top bool) (test, error) {
	prop, op := p.next(), p.next()
	if !slices.Contains(filterProps, prop) {
		return nil, fmt.Errorf("the property %q cannot be filtered by", prop)
	}
	if op == "in" {
		var list []string
		if p.next() != "(" {
			return nil, fmt.Errorf("in wants a list")
		}
		for {
			v := p.next()
			if !strings.HasPrefix(v, "'") {
				return nil, fmt.Errorf("in wants quoted values")
			}
			list = append(list, strings.Trim(v, "'"))
			if c := p.next(); c == ")" {
				return func(r *estate.Row) bool { return slices.Contains(list, word(r, prop)) }, nil
			} else if c != "," {
				return nil, fmt.Errorf("in wants a list")
			}
		}
	}
	v := p.next()
	if strings.HasSuffix(prop, "DateTime") {
		at, err := time.Parse("2006-01-02T15:04:05Z07:00", v)
		if err != nil {
			return nil, fmt.Errorf("%q is no time", v)
		}
		if top && prop == "lastUpdateDateTime" && (op == "ge" || op == "gt" || op == "eq") && at.After(p.from) {
			p.from = at
		}
		return ordered(op, func(r *estate.Row) int { return instant(r, prop).Compare(at) })
	}
	if v == "null" {
		v = "''"
	}
	if !strings.HasPrefix(v, "'") {
		return nil, fmt.Errorf("%q must be quoted", v)
	}
	v = strings.Trim(v, "'")
	if op != "eq" && op != "ne" {
		return nil, fmt.Errorf("%q does not go with %s", op, prop)
	}
	return ordered(op, func(r *estate.Row) int { return strings.Compare(word(r, prop), v) })
}

func instant(r *estate.Row, prop string) time.Time {
	if prop == "createdDateTime" {
		return r.Created
	}
	return r.Changed
}

func word(r *estate.Row, prop string) string {
	switch prop {
	case "severity":
		return r.Severity()
	case "status":
		return r.Status()
	case "serviceSource":
		return r.Service()
	}
	return ""
}

func ordered(op string, cmp func(*estate.Row) int) (test, error) {
	switch op {
	case "eq":
		return func(r *estate.Row) bool { return cmp(r) == 0 }, nil
	case "ne":
		return func(r *estate.Row) bool { return cmp(r) != 0 }, nil
	case "gt":
		return func(r *estate.Row) bool { return cmp(r) > 0 }, nil
	case "ge":
		return func(r *estate.Row) bool { return cmp(r) >= 0 }, nil
	case "lt":
		return func(r *estate.Row) bool { return cmp(r) < 0 }, nil
	case "le":
		return func(r *estate.Row) bool { return cmp(r) <= 0 }, nil
	}
	return nil, fmt.Errorf("the operator %q is not known", op)
}
