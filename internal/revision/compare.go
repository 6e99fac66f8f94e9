package revision

import (
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"drover"
)

// Bounds of what Compare returns.
const (
	maxChanges = 200
	maxValue   = 2000 // bytes of one value
)

// Change is one difference between two states. Before or After is empty where
// the member, or the element of a set, is not there; else it is JSON, cut to
// some length. The text is the alert's own: it belongs on no log.
type Change struct {
	Path   string `json:"path"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Compare returns what Diff finds, with the values: by path, in the order of
// names. An element of a set that is gone or new is a change of its own. more is
// true when there are changes beyond the bound. Bodies that cannot be compared
// differ as a whole, in "*".
func Compare(src drover.SourceID, before, after []byte) (changes []Change, more bool) {
	x, errX := parse(before)
	y, errY := parse(after)
	if errX != nil || errY != nil {
		if string(before) == string(after) {
			return nil, false
		}
		return []Change{{Path: "*", Before: cut(string(before)), After: cut(string(after))}}, false
	}
	d := differ{rules: rulesOf(src)}
	d.note = func(path string, x, y *node) {
		if len(changes) == maxChanges {
			d.more = true
			return
		}
		changes = append(changes, Change{path, value(x), value(y)})
	}
	d.values(x, y, nil)
	return changes, d.more
}

// value renders a node as JSON, empty for none.
func value(n *node) string {
	if n == nil {
		return ""
	}
	var b strings.Builder
	n.render(&b)
	return cut(b.String())
}

// cut bounds a value. It cuts at a whole character.
func cut(s string) string {
	if len(s) <= maxValue {
		return s
	}
	return strings.ToValidUTF8(s[:maxValue], "") + "…"
}

// render writes JSON for people, and stops soon behind what cut leaves.
func (n *node) render(b *strings.Builder) {
	if b.Len() > maxValue {
		return
	}
	switch n.kind {
	case '"':
		b.WriteString(quoted(n.text))
	case '0':
		b.WriteString(plainNumber(n.text))
	case 't':
		b.WriteString("true")
	case 'f':
		b.WriteString("false")
	case 'n':
		b.WriteString("null")
	case '[', '{':
		b.WriteByte(byte(n.kind))
		for i, m := range n.members {
			if i > 0 {
				b.WriteByte(',')
			}
			if n.kind == '{' {
				b.WriteString(quoted(n.names[i]))
				b.WriteByte(':')
			}
			m.render(b)
		}
		b.WriteByte(byte(n.kind) + 2) // ']' and '}' lie two behind
	}
}

// quoted is a string as JSON, cut before it is quoted: it may be long.
func quoted(s string) string {
	b, err := jsontext.AppendQuote(nil, cut(s))
	if err != nil {
		return `"…"` // not UTF-8, which parse does not let in
	}
	return string(b)
}

// plainNumber writes what number spelt without its power of ten, where that is
// short.
func plainNumber(s string) string {
	digits, exp, ok := strings.Cut(s, "e")
	power, err := strconv.Atoi(exp)
	if !ok || err != nil || power > 20 || power < -20 {
		return s
	}
	if power >= 0 {
		return digits + strings.Repeat("0", power)
	}
	digits, negative := strings.CutPrefix(digits, "-")
	if short := 1 - power - len(digits); short > 0 {
		digits = strings.Repeat("0", short) + digits
	}
	at := len(digits) + power
	digits = digits[:at] + "." + digits[at:]
	if negative {
		return "-" + digits
	}
	return digits
}
