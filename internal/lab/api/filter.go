package api

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"drover/internal/lab/estate"
)

// The $filter grammar of the lists (reference graph-security §2, mde-api §4):
// the properties of the list page with eq, ne, gt, ge, lt, le, in, joined by
// and, or, not and parentheses. Anything else is refused.

type test func(r *estate.Row) bool

type filterParser struct {
	feed  *feed
	words []string
	i     int
	depth int       // of parentheses
	from  time.Time // the greatest lower bound on the change time, for a quick start
}

// parseFilter returns the test and a lower bound on the change time, if the
// whole filter has one.
func parseFilter(s string, f *feed) (test, time.Time, error) {
	if strings.TrimSpace(s) == "" {
		return func(*estate.Row) bool { return true }, time.Time{}, nil
	}
	words, err := lex(s)
	if err != nil {
		return nil, time.Time{}, err
	}
	p := &filterParser{feed: f, words: words}
	t, err := p.or(true)
	if err == nil && p.i < len(p.words) {
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
		// not binds tighter than a comparison, so it wants parentheses.
		if p.peek() != "(" {
			return nil, fmt.Errorf("not wants parentheses")
		}
		t, err := p.not(false)
		return func(r *estate.Row) bool { return !t(r) }, err
	case "(":
		p.i++
		if p.depth++; p.depth > 100 {
			return nil, fmt.Errorf("too many parentheses")
		}
		t, err := p.or(top)
		p.depth--
		if err == nil && p.next() != ")" {
			err = fmt.Errorf("a parenthesis is not closed")
		}
		return t, err
	}
	return p.compare(top)
}

func (p *filterParser) compare(top bool) (test, error) {
	name, op := p.next(), p.next()
	prop, ok := p.feed.property(name)
	if !ok {
		return nil, fmt.Errorf("the property %q cannot be filtered by", name)
	}
	if op == "in" {
		return p.in(prop)
	}
	if timely(prop) {
		at, err := literalTime(p.next())
		if err != nil {
			return nil, err
		}
		if top && prop == p.feed.changed && (op == "ge" || op == "gt" || op == "eq") && at.After(p.from) {
			p.from = at
		}
		return ordered(op, func(r *estate.Row) int { return instant(r, prop).Compare(at) })
	}
	v, err := p.literal(prop, p.next())
	if err != nil {
		return nil, err
	}
	if op != "eq" && op != "ne" {
		return p.numeric(prop, op, v)
	}
	return ordered(op, func(r *estate.Row) int { return strings.Compare(r.Word(prop), v) })
}

// numeric orders numbers; null is neither above nor below any.
func (p *filterParser) numeric(prop, op, v string) (test, error) {
	if !slices.Contains(p.feed.numbers, prop) || v == "" {
		return nil, fmt.Errorf("the operator %q does not go with %s", op, prop)
	}
	n, _ := strconv.ParseInt(v, 10, 64)
	cmp, err := ordered(op, func(r *estate.Row) int {
		have, _ := strconv.ParseInt(r.Word(prop), 10, 64)
		return int(max(-1, min(1, have-n)))
	})
	return func(r *estate.Row) bool { return r.Word(prop) != "" && cmp(r) }, err
}

// literal reads a value of a property that is no time: as Word has it.
func (p *filterParser) literal(prop, v string) (string, error) {
	if !slices.Contains(p.feed.numbers, prop) {
		return literalWord(p.feed.enums[prop], prop, v)
	}
	if v == "null" {
		return "", nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return "", fmt.Errorf("%q is no number", v)
	}
	return strconv.FormatInt(n, 10), nil
}

// in reads a list of literals.
func (p *filterParser) in(prop string) (test, error) {
	if p.next() != "(" {
		return nil, fmt.Errorf("in wants a list")
	}
	var words []string
	var times []time.Time
	for {
		if timely(prop) {
			at, err := literalTime(p.next())
			if err != nil {
				return nil, err
			}
			times = append(times, at)
		} else {
			v, err := p.literal(prop, p.next())
			if err != nil {
				return nil, err
			}
			words = append(words, v)
		}
		switch p.next() {
		case ",":
		case ")":
			if times != nil {
				return func(r *estate.Row) bool { return slices.ContainsFunc(times, instant(r, prop).Equal) }, nil
			}
			return func(r *estate.Row) bool { return slices.Contains(words, r.Word(prop)) }, nil
		default:
			return nil, fmt.Errorf("in wants a list")
		}
	}
}

// literalTime reads an unquoted time with a zone.
func literalTime(v string) (time.Time, error) {
	at, err := time.Parse("2006-01-02T15:04:05Z07:00", v)
	if err != nil {
		return at, fmt.Errorf("%q is no time", v)
	}
	return at, nil
}

// literalWord reads a quoted text, or null, which is "" here. An empty text is
// not null, and nothing has it.
func literalWord(members []string, prop, v string) (string, error) {
	if v == "null" {
		return "", nil
	}
	if len(v) < 2 || v[0] != '\'' {
		return "", fmt.Errorf("%q must be quoted", v)
	}
	v = strings.ReplaceAll(v[1:len(v)-1], "''", "'")
	if members != nil && !slices.Contains(members, v) {
		return "", fmt.Errorf("%q is no member of %s", v, prop)
	}
	if v == "" {
		v = "\x00"
	}
	return v, nil
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
