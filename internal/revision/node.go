package revision

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of what is compared member by member; a body beyond them is compared
// byte by byte.
const (
	maxDepth = 256
	maxNodes = 4 << 20
)

var errBounds = errors.New("nested too deeply, or too large")

// node is a JSON value. Numbers are kept as written but for their spelling: no
// number passes through a float.
type node struct {
	kind    jsontext.Kind // of its first token: n f t " 0 { [
	text    string        // what a string says; a number in its one spelling
	names   []string      // of an object's members, in the order of the alphabet
	members []*node       // of an object, in the order of names; of an array

	summed bool // sum is known
	sum    [sha256.Size]byte
}

// member returns an object's member, nil if there is none.
func (n *node) member(name string) *node {
	if n.kind != '{' {
		return nil
	}
	if i, ok := slices.BinarySearch(n.names, name); ok {
		return n.members[i]
	}
	return nil
}

// parse reads a body. A name that stands twice in one object, text that is not
// UTF-8, half a surrogate pair, anything behind the value, and what is beyond
// the bounds make it unreadable.
func parse(body []byte) (*node, error) {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	p := parser{d: d}
	n, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := d.ReadToken(); err == nil {
		return nil, errors.New("more than one value")
	}
	if len(bytes.TrimRight(body[d.InputOffset():], " \t\r\n")) > 0 {
		return nil, errors.New("something behind the value")
	}
	return n, nil
}

type parser struct {
	d     *jsontext.Decoder
	nodes int
}

func (p *parser) value(depth int) (*node, error) {
	if p.nodes++; depth > maxDepth || p.nodes > maxNodes {
		return nil, errBounds
	}
	t, err := p.d.ReadToken()
	if err != nil {
		return nil, err
	}
	n := &node{kind: t.Kind()}
	switch n.kind {
	case '"':
		n.text = t.String()
	case '0':
		n.text = number(t.String())
	case '[':
		for p.d.PeekKind() != ']' {
			e, err := p.value(depth + 1)
			if err != nil {
				return nil, err
			}
			n.members = append(n.members, e)
		}
		_, err = p.d.ReadToken()
	case '{':
		for p.d.PeekKind() != '}' {
			t, err := p.d.ReadToken()
			if err != nil {
				return nil, err
			}
			name := t.String()
			e, err := p.value(depth + 1)
			if err != nil {
				return nil, err
			}
			n.names, n.members = append(n.names, name), append(n.members, e)
		}
		n.sort()
		_, err = p.d.ReadToken()
	}
	return n, err
}

// sort puts an object's members in order.
func (n *node) sort() {
	if slices.IsSorted(n.names) {
		return
	}
	order := make([]int, len(n.names))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(n.names[a], n.names[b]) })
	names, members := make([]string, len(order)), make([]*node, len(order))
	for i, o := range order {
		names[i], members[i] = n.names[o], n.members[o]
	}
	n.names, n.members = names, members
}

// number spells a number in one way: its digits without zeros at either end,
// and a power of ten. 1, 1.0 and 10e-1 are one number, since a serialiser may
// write any of them; 9007199254740993 and 9007199254740992 are two. A power
// that does not fit 32 bits leaves the number as it was written.
func number(s string) string {
	mantissa, exp, _ := strings.Cut(strings.ToLower(s), "e")
	power := int64(0)
	if exp != "" {
		var err error
		if power, err = strconv.ParseInt(exp, 10, 32); err != nil {
			return s
		}
	}
	mantissa, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	power -= int64(len(fraction))
	digits := strings.TrimLeft(whole+fraction, "0")
	short := strings.TrimRight(digits, "0")
	power += int64(len(digits) - len(short))
	if short == "" {
		return "0"
	}
	if negative {
		short = "-" + short
	}
	return short + "e" + strconv.FormatInt(power, 10)
}
