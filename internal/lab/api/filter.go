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
	depth int       // of parentheses
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

// enums are the members of the properties that are enumerations (reference
// graph-security §6); others are refused.
var enums = map[string][]string{
	"severity":       {"unknown", "informational", "low", "medium", "high", "unknownFutureValue"},
	"status":         {"unknown", "new", "inProgress", "resolved", "unknownFutureValue"},
	"classification": {"unknown", "falsePositive", "truePositive", "informationalExpectedActivity", "unknownFutureValue"},
	"determination": {"unknown", "apt", "malware", "securityPersonnel", "securityTesting", "unwantedSoftware", "other", "multiStagedAttack", "compromisedAccount", "phishing",
		"maliciousUserActivity", "notMalicious", "notEnoughDataToValidate", "confirmedActivity", "lineOfBusinessApplication", "unknownFutureValue"},
	"serviceSource": {"unknown", "microsoftDefenderForEndpoint", "microsoftDefenderForIdentity", "microsoftDefenderForCloudApps", "microsoftDefenderForOffice365",
		"microsoft365Defender", "azureAdIdentityProtection", "microsoftAppGovernance", "dataLossPrevention", "unknownFutureValue", "microsoftDefenderForCloud", "microsoftSentinel",
		"microsoftInsiderRiskManagement", "microsoftThreatIntelligence", "microsoftSecurityForAI"},
}

func (p *filterParser) compare(top bool) (test, error) {
	prop, op := p.next(), p.next()
	if !slices.Contains(filterProps, prop) {
		return nil, fmt.Errorf("the property %q cannot be filtered by", prop)
	}
	if op == "in" {
		return p.in(prop)
	}
	if strings.HasSuffix(prop, "DateTime") {
		at, err := literalTime(p.next())
		if err != nil {
			return nil, err
		}
		if top && prop == "lastUpdateDateTime" && (op == "ge" || op == "gt" || op == "eq") && at.After(p.from) {
			p.from = at
		}
		return ordered(op, func(r *estate.Row) int { return instant(r, prop).Compare(at) })
	}
	v, err := literalWord(prop, p.next())
	if err != nil {
		return nil, err
	}
	if op != "eq" && op != "ne" {
		return nil, fmt.Errorf("the operator %q does not go with %s", op, prop)
	}
	return ordered(op, func(r *estate.Row) int { return strings.Compare(r.Word(prop), v) })
}

// in reads a list of literals.
func (p *filterParser) in(prop string) (test, error) {
	if p.next() != "(" {
		return nil, fmt.Errorf("in wants a list")
	}
	var words []string
	var times []time.Time
	for {
		if strings.HasSuffix(prop, "DateTime") {
			at, err := literalTime(p.next())
			if err != nil {
				return nil, err
			}
			times = append(times, at)
		} else {
			v, err := literalWord(prop, p.next())
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
func literalWord(prop, v string) (string, error) {
	if v == "null" {
		return "", nil
	}
	if len(v) < 2 || v[0] != '\'' {
		return "", fmt.Errorf("%q must be quoted", v)
	}
	v = strings.ReplaceAll(v[1:len(v)-1], "''", "'")
	if members := enums[prop]; members != nil && !slices.Contains(members, v) {
		return "", fmt.Errorf("%q is no member of %s", v, prop)
	}
	if v == "" {
		v = "\x00"
	}
	return v, nil
}

func instant(r *estate.Row, prop string) time.Time {
	if prop == "createdDateTime" {
		return r.Created
	}
	return r.Changed
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
