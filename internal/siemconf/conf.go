package siemconf

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// conf writes the form of Splunk's .conf files. It knows no escapes: a value
// with a line break, a backslash at its end (which joins lines) or blanks
// around it (which are lost) cannot be written and is refused by its key.
type conf struct {
	b   strings.Builder
	err error
	// plain refuses what java.util.Properties would read as something else, so
	// that a file can be read by the rules of both, and by a person who copies
	// values out of it.
	plain bool
}

func (c *conf) note(lines ...string) { c.b.WriteString(comment(lines...)) }

func (c *conf) gap() { c.b.WriteByte('\n') }

// stanza opens a section.
func (c *conf) stanza(name string) {
	if c.err == nil && (name == "" || !clean(name) || strings.ContainsAny(name, `[]\`)) {
		c.err = fmt.Errorf("%q cannot name a stanza", name)
	}
	c.b.WriteString("[" + name + "]\n")
}

// set writes one setting.
func (c *conf) set(key, value string) {
	switch {
	case c.err != nil:
	case !clean(value):
		c.err = fmt.Errorf("the value of %s holds a line break, a control character or bytes that are not UTF-8: it cannot be written into this file", key)
	case strings.TrimSpace(value) != value:
		c.err = fmt.Errorf("the value of %s begins or ends with a blank, which would be lost", key)
	case strings.HasSuffix(value, `\`):
		c.err = fmt.Errorf("the value of %s ends with a backslash, which would join it with the next line", key)
	case c.plain && strings.ContainsFunc(value, func(r rune) bool { return r == '\\' || r > '~' }):
		c.err = fmt.Errorf("the value of %s holds a backslash or a character outside of ASCII, which this file cannot carry", key)
	}
	c.b.WriteString(strings.TrimRight(key+" = "+value, " ") + "\n")
}

func (c *conf) bytes() ([]byte, error) { return []byte(c.b.String()), c.err }

// clean reports whether s is one line of text, by any reader's idea of a line.
func clean(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' })
}
