package defender

import (
	"bytes"
	"unicode/utf8"
)

// text returns what a quoted string says. Without an escape it is a slice of
// the string. ok is false if half a surrogate pair stands in it, which is
// returned as U+FFFD.
func text(quoted []byte) (out []byte, ok bool) {
	in := quoted[min(1, len(quoted)):max(len(quoted)-1, min(1, len(quoted)))]
	if bytes.IndexByte(in, '\\') < 0 {
		return in, true
	}
	out, ok = make([]byte, 0, len(in)), true
	for i := 0; i < len(in); i++ {
		c := in[i]
		if c != '\\' || i+1 == len(in) {
			out = append(out, c)
			continue
		}
		i++
		switch c = in[i]; c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r, used := unescape(in[i+1:])
			if r == noRune {
				r, ok = utf8.RuneError, false
			}
			out = utf8.AppendRune(out, r)
			i += used
			continue
		}
		out = append(out, c)
	}
	return out, ok
}

// noRune stands for half a surrogate pair, and for what is no escape.
const noRune = -1

// unescape reads what follows \u: four hex digits, and the other half of a
// pair.
func unescape(in []byte) (r rune, used int) {
	hi, ok := hex4(in)
	switch {
	case !ok:
		return noRune, 0
	case hi < 0xd800 || hi > 0xdfff:
		return hi, 4
	case hi < 0xdc00 && len(in) >= 10 && in[4] == '\\' && in[5] == 'u':
		if lo, ok := hex4(in[6:]); ok && lo >= 0xdc00 && lo <= 0xdfff {
			return (hi-0xd800)<<10 | (lo - 0xdc00) + 0x10000, 10
		}
	}
	return noRune, 4
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// labels are words that rows carry again and again.
var labels = func() map[string]string {
	m := make(map[string]string)
	for _, w := range []string{"unknown", "informational", "low", "medium", "high", "new", "inProgress", "resolved", "unknownFutureValue",
		"Informational", "Low", "Medium", "High", "UnSpecified"} {
		m[w] = w
	}
	return m
}()

// maxLabel bounds a severity or status; the longest known one has 18 letters.
const maxLabel = 40

// label returns a severity or status as a word that may become an index entry
// or a metric's label: letters and digits, not too many. Anything else is
// "other"; the row itself keeps what it said.
func label(quoted []byte) string {
	v, _ := text(quoted)
	if w, ok := labels[string(v)]; ok {
		return w
	}
	if len(v) > maxLabel {
		return "other"
	}
	for _, c := range v {
		if c-'0' >= 10 && (c|0x20)-'a' >= 26 {
			return "other"
		}
	}
	return string(v)
}
