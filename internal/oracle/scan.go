package oracle

import (
	"encoding/json"
	"errors"
	"strconv"
)

// errJSON says that a line or value is not JSON as it should be; no part of the
// text is in it.
var errJSON = errors.New("not one whole JSON object")

// maxDepth bounds nesting; the deepest row that the lab deals has 100,000.
const maxDepth = 250_000

// members calls fn for each member of the one object that b holds, with the
// bytes between the quotes of its name and the exact bytes of its value. b must
// hold nothing else but white space. It accepts JSON as RFC 8259 has it, except
// that bytes that are not UTF-8 pass.
func members(b []byte, fn func(name, value []byte) error) error {
	i := space(b, 0)
	if i >= len(b) || b[i] != '{' {
		return errJSON
	}
	if i = space(b, i+1); i < len(b) && b[i] == '}' {
		if space(b, i+1) != len(b) {
			return errJSON
		}
		return nil
	}
	for {
		start := i
		end := stringEnd(b, start)
		if end < 0 {
			return errJSON
		}
		if i = space(b, end); i >= len(b) || b[i] != ':' {
			return errJSON
		}
		from := space(b, i+1)
		to := valueEnd(b, from, 0)
		if to < 0 {
			return errJSON
		}
		if err := fn(b[start+1:end-1], b[from:to]); err != nil {
			return err
		}
		if i = space(b, to); i >= len(b) {
			return errJSON
		}
		switch b[i] {
		case ',':
			i = space(b, i+1)
		case '}':
			if space(b, i+1) != len(b) {
				return errJSON
			}
			return nil
		default:
			return errJSON
		}
	}
}

// elements calls fn for each element of the array b.
func elements(b []byte, fn func(value []byte) error) error {
	if len(b) == 0 || b[0] != '[' {
		return errJSON
	}
	i := space(b, 1)
	if i < len(b) && b[i] == ']' {
		return nil
	}
	for {
		to := valueEnd(b, i, 0)
		if to < 0 {
			return errJSON
		}
		if err := fn(b[i:to]); err != nil {
			return err
		}
		if i = space(b, to); i >= len(b) || (b[i] != ',' && b[i] != ']') {
			return errJSON
		}
		if b[i] == ']' {
			return nil
		}
		i = space(b, i+1)
	}
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// stringEnd returns the index behind the closing quote of the string that
// begins at i, or -1.
func stringEnd(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	for i++; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c < 0x20:
			return -1
		case c == '\\':
			if i++; i >= len(b) {
				return -1
			}
			switch b[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if i+4 >= len(b) {
					return -1
				}
				for _, h := range b[i+1 : i+5] {
					if (h < '0' || h > '9') && (h|0x20 < 'a' || h|0x20 > 'f') {
						return -1
					}
				}
				i += 4
			default:
				return -1
			}
		}
	}
	return -1
}

// valueEnd returns the index behind the value that begins at i, or -1.
func valueEnd(b []byte, i, depth int) int {
	if i >= len(b) || depth > maxDepth {
		return -1
	}
	switch c := b[i]; c {
	case '"':
		return stringEnd(b, i)
	case '{', '[':
		closing := c + 2 // } is { + 2, ] is [ + 2
		if i = space(b, i+1); i < len(b) && b[i] == closing {
			return i + 1
		}
		for {
			if c == '{' {
				end := stringEnd(b, i)
				if end < 0 {
					return -1
				}
				if i = space(b, end); i >= len(b) || b[i] != ':' {
					return -1
				}
				i = space(b, i+1)
			}
			if i = valueEnd(b, i, depth+1); i < 0 {
				return -1
			}
			if i = space(b, i); i >= len(b) {
				return -1
			}
			if b[i] == closing {
				return i + 1
			}
			if b[i] != ',' {
				return -1
			}
			i = space(b, i+1)
		}
	case 't':
		return literal(b, i, "true")
	case 'f':
		return literal(b, i, "false")
	case 'n':
		return literal(b, i, "null")
	default:
		return numberEnd(b, i)
	}
}

func literal(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

func numberEnd(b []byte, i int) int {
	digits := func() bool {
		start := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i > start
	}
	if i < len(b) && b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if !digits() {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		if i++; !digits() {
			return -1
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return -1
		}
	}
	return i
}

// text decodes a JSON string; anything else is "".
func text(v []byte) string {
	if len(v) < 2 || v[0] != '"' {
		return ""
	}
	for _, c := range v[1 : len(v)-1] {
		if c == '\\' {
			var s string
			if json.Unmarshal(v, &s) != nil {
				return ""
			}
			return s
		}
	}
	return string(v[1 : len(v)-1])
}

// number decodes a whole number; anything else is 0.
func number(v []byte) int64 {
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func isTrue(v []byte) bool { return string(v) == "true" }
