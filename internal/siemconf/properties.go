package siemconf

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// properties writes the form of java.util.Properties: what its load reads back
// is what was put in (the class's documentation; ArcSight's published parser
// files escape the same way). The first error stays.
type properties struct {
	b   strings.Builder
	err error
}

// note writes comment lines.
func (p *properties) note(lines ...string) { p.b.WriteString(comment(lines...)) }

// gap writes an empty line.
func (p *properties) gap() { p.b.WriteByte('\n') }

// set writes one property. A value that is not UTF-8 is refused by its key.
func (p *properties) set(key, value string) {
	if p.err == nil && (!utf8.ValidString(key) || !utf8.ValidString(value)) {
		p.err = fmt.Errorf("the value of %q is not UTF-8", key)
	}
	p.b.WriteString(escape(key, true) + "=" + escape(value, false) + "\n")
}

func (p *properties) bytes() ([]byte, error) { return []byte(p.b.String()), p.err }

// escape writes a key or a value as ASCII. In a key every blank would end it, in
// a value only those at its beginning are lost.
func escape(s string, key bool) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == ' ' && (key || i == 0):
			b.WriteString(`\ `)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\f':
			b.WriteString(`\f`)
		case strings.ContainsRune(`\:=#!`, r):
			b.WriteString(`\` + string(r))
		case r < ' ' || r > '~':
			for _, u := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, `\u%04X`, u)
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
