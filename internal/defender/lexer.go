package defender

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// lexer finds the bounds of JSON values. Its methods take a place in the text
// and return the place behind what they read, or -1 if it is not there. They
// allocate nothing and go no deeper on the stack than one call, however deep a
// value is nested.
type lexer struct {
	b     []byte
	stack []uint64 // brackets that are open beyond the first 64, as bits

	// What was met on the way; the caller clears it. Each may be true for no
	// reason.
	deep bool   // a value that is nested deeper than 448 levels
	odd  bool   // a control character in a string, or white space that is no blank
	high uint64 // bytes from 0x80 on, in the highest bits
}

const highBits = 0x8080808080808080

// at returns the byte at i, 0 behind the end.
func (l *lexer) at(i int) byte {
	if uint(i) < uint(len(l.b)) {
		return l.b[i]
	}
	return 0
}

// space returns the place of the next byte that is no white space.
func (l *lexer) space(i int) int {
	for i < len(l.b) && l.b[i] <= ' ' {
		if c := l.b[i]; c != ' ' {
			if c != '\n' && c != '\r' && c != '\t' {
				break
			}
			l.odd = true
		}
		i++
	}
	return i
}

// str reads the string whose quote is at i, eight bytes at a time up to what
// ends it, escapes something or is a control character.
func (l *lexer) str(i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	b := l.b
	if l.at(i) != '"' {
		return -1
	}
	i++
	for {
		for ; len(b)-i >= 8; i += 8 {
			v := binary.LittleEndian.Uint64(b[i:])
			l.high |= v
			quote, slash := v^(ones*'"'), v^(ones*'\\')
			if hit := ((v-ones*0x20)&^v | (quote-ones)&^quote | (slash-ones)&^slash) & highs; hit != 0 {
				i += bits.TrailingZeros64(hit) / 8 // the lowest is exact; a borrow can only mark bytes above it
				break
			}
		}
		switch c := l.at(i); {
		case i >= len(b):
			return -1
		case c == '"':
			return i + 1
		case c == '\\':
			if i = l.escape(i + 1); i < 0 {
				return -1
			}
		default: // not one of these only within eight bytes of the end
			l.high |= uint64(c)
			l.odd = l.odd || c < 0x20
			i++
		}
	}
}

// escape reads what follows a backslash.
func (l *lexer) escape(i int) int {
	switch l.at(i) {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		if i+4 < len(l.b) && isHex(l.b[i+1]) && isHex(l.b[i+2]) && isHex(l.b[i+3]) && isHex(l.b[i+4]) {
			return i + 5
		}
	}
	return -1
}

func isHex(c byte) bool { return c-'0' < 10 || (c|0x20)-'a' < 6 }

// member reads a name and its colon, and returns the name, unescaped, and the
// place of the value.
func (l *lexer) member(i int) (name []byte, value int) {
	end := l.str(i)
	if end < 0 {
		return nil, -1
	}
	value = end
	if l.at(value) != ':' {
		if value = l.space(value); l.at(value) != ':' {
			return nil, -1
		}
	}
	name = l.b[i+1 : end-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		name, _ = text(l.b[i:end])
	}
	return name, l.space(value + 1)
}

// value reads any value.
func (l *lexer) value(i int) int {
	switch c := l.at(i); c {
	case '"':
		return l.str(i)
	case '{', '[':
		return l.container(i)
	default:
		return l.scalar(i)
	}
}

// container reads the object or array that begins at i, whatever its depth.
func (l *lexer) container(i int) int {
	var open uint64 // a bit for each of the innermost 64: 1 for an object
	depth := 0
	l.stack = l.stack[:0]
	for {
		// At i stands a value.
		switch c := l.at(i); c {
		case '"':
			if i = l.str(i); i < 0 {
				return -1
			}
		case '{', '[':
			if depth > 0 && depth&63 == 0 {
				l.stack = append(l.stack, open)
				l.deep = l.deep || len(l.stack) > 6
			}
			depth++
			open <<= 1
			i = l.space(i + 1)
			if c == '{' {
				open |= 1
				if l.at(i) != '}' {
					if i = l.name(i); i < 0 {
						return -1
					}
					continue
				}
			} else if l.at(i) != ']' {
				continue
			}
			// Empty: what follows closes it.
		default:
			if i = l.scalar(i); i < 0 {
				return -1
			}
		}
		// Behind a value, or in an empty container.
		for {
			i = l.space(i)
			c := l.at(i)
			if c == ',' {
				break
			}
			if c != '}' && c != ']' || (c == '}') != (open&1 == 1) {
				return -1
			}
			i++
			if depth--; depth == 0 {
				return i
			}
			if open >>= 1; depth&63 == 0 {
				open = l.stack[len(l.stack)-1]
				l.stack = l.stack[:len(l.stack)-1]
			}
		}
		i = l.space(i + 1)
		if open&1 == 1 {
			if i = l.name(i); i < 0 {
				return -1
			}
		}
	}
}

// name reads a member's name and colon without looking at it.
func (l *lexer) name(i int) int {
	if i = l.str(i); i < 0 {
		return -1
	}
	if l.at(i) != ':' {
		if i = l.space(i); l.at(i) != ':' {
			return -1
		}
	}
	return l.space(i + 1)
}

// scalar reads a number or a literal.
func (l *lexer) scalar(i int) int {
	switch l.at(i) {
	case 'n':
		return l.word(i, "null")
	case 't':
		return l.word(i, "true")
	case 'f':
		return l.word(i, "false")
	case '-':
		i++
	}
	if l.at(i) == '0' {
		i++
	} else if i = l.digits(i); i < 0 {
		return -1
	}
	if l.at(i) == '.' {
		if i = l.digits(i + 1); i < 0 {
			return -1
		}
	}
	if l.at(i)|0x20 == 'e' {
		i++
		if c := l.at(i); c == '+' || c == '-' {
			i++
		}
		i = l.digits(i)
	}
	return i
}

func (l *lexer) word(i int, w string) int {
	if len(l.b)-i >= len(w) && string(l.b[i:i+len(w)]) == w {
		return i + len(w)
	}
	return -1
}

func (l *lexer) digits(i int) int {
	first := i
	for l.at(i)-'0' < 10 {
		i++
	}
	if i == first {
		return -1
	}
	return i
}

// balanced reads the object or array at i by its quotes and brackets alone:
// the way to the end of a row that is not valid JSON.
func (l *lexer) balanced(i int) int {
	if c := l.at(i); c != '{' && c != '[' {
		return -1
	}
	l.stack = l.stack[:0]
	var closers []byte
	for i < len(l.b) {
		switch c := l.b[i]; c {
		case '"':
			end := i + 1
			for ; ; end++ {
				n := bytes.IndexByte(l.b[end:], '"')
				if n < 0 {
					return -1
				}
				end += n
				slashes := 0
				for l.b[end-1-slashes] == '\\' {
					slashes++
				}
				if slashes%2 == 0 {
					break
				}
			}
			i = end
		case '{':
			closers = append(closers, '}')
		case '[':
			closers = append(closers, ']')
		case '}', ']':
			if closers[len(closers)-1] != c {
				return -1
			}
			if closers = closers[:len(closers)-1]; len(closers) == 0 {
				return i + 1
			}
		}
		i++
	}
	return -1
}
