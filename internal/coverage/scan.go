package coverage

import (
	"bytes"
	"encoding/json"
)

// members finds the texts of members at the top of a JSON object: out[i] is
// that of names[i], "" if it is not there or no text. It decodes nothing else.
// In a row that is no JSON it finds what stands before the fault.
func members(b []byte, names []string, out []string) {
	i := blank(b, 0)
	if at(b, i) != '{' {
		return
	}
	for left := len(names); left > 0; {
		i = blank(b, i+1)
		end := str(b, i)
		if end < 0 {
			return
		}
		name := text(b[i:end])
		if i = blank(b, end); at(b, i) != ':' {
			return
		}
		i = blank(b, i+1)
		if end = value(b, i); end < 0 {
			return
		}
		for n := range names {
			if string(name) == names[n] && b[i] == '"' {
				out[n] = string(text(b[i:end]))
				left--
			}
		}
		if i = blank(b, end); at(b, i) != ',' {
			return
		}
	}
}

// text is what a JSON string says.
func text(b []byte) []byte {
	if bytes.IndexByte(b, '\\') < 0 {
		return b[1 : len(b)-1]
	}
	var s string
	_ = json.Unmarshal(b, &s)
	return []byte(s)
}

func at(b []byte, i int) byte {
	if i < len(b) {
		return b[i]
	}
	return 0
}

// blank is the place of the next byte that is no white space.
func blank(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// str is the place behind the string at i, -1 if there is none.
func str(b []byte, i int) int {
	if at(b, i) != '"' {
		return -1
	}
	for i++; ; i++ {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return -1
		}
		i += n
		slashes := 0
		for b[i-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return i + 1
		}
	}
}

// value is the place behind the value at i, -1 if it does not end. It looks at
// quotes and brackets only, and does not go deeper on the stack however deep a
// value is nested.
func value(b []byte, i int) int {
	switch at(b, i) {
	case 0:
		return -1
	case '"':
		return str(b, i)
	case '{', '[':
	default:
		if n := bytes.IndexAny(b[i:], ",}"); n >= 0 {
			return i + n
		}
		return -1
	}
	for depth := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			end := str(b, i)
			if end < 0 {
				return -1
			}
			i = end - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}
