package defender

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strconv"
	"unicode/utf8"

	"drover"
)

// errPage: the answer is not a whole page; nothing of it is used.
var errPage = errors.New("the answer is not a whole page of rows")

// fields names the top-level members that make a row's identity, for one
// source. Nothing else of a row is looked at.
type fields struct {
	id, changed, created, tenant, severity, status string
}

var (
	graphFields = fields{"id", "lastUpdateDateTime", "createdDateTime", "tenantId", "severity", "status"}
	siemFields  = fields{id: "FullId", changed: "LastProcessedTimeUtc", created: "AlertTime", severity: "Severity"}
)

// scanned is what a page holds.
type scanned struct {
	rows []drover.Row
	next string // @odata.nextLink
}

// scan finds the rows of a page: a bare array, or an object whose member
// "value" is one. It checks the grammar of the whole text, so that a page that
// was cut, or has something behind it, is refused; it decodes nothing but the
// identity members. Rows are slices of page.
func scan(page []byte, f *fields) (out scanned, err error) {
	s := scanner{b: bytes.TrimPrefix(page, []byte("\xef\xbb\xbf")), f: f}
	s.space()
	switch {
	case s.i >= len(s.b):
		return out, errPage
	case s.b[s.i] == '[':
		out.rows = s.rows()
	case s.b[s.i] == '{':
		out = s.envelope()
	default:
		return out, errPage
	}
	s.space()
	if s.bad || s.i != len(s.b) {
		return scanned{}, errPage
	}
	return out, nil
}

type scanner struct {
	b     []byte
	i     int
	bad   bool
	f     *fields
	stack []byte
}

func (s *scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\r' || s.b[s.i] == '\t') {
		s.i++
	}
}

// take consumes c.
func (s *scanner) take(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// envelope reads the members around the rows.
func (s *scanner) envelope() (out scanned) {
	found := false
	s.i++
	for first := true; !s.bad; first = false {
		if s.take('}') {
			s.bad = s.bad || !found
			return out
		}
		if !first && !s.take(',') {
			break
		}
		key := s.member()
		if s.bad {
			break
		}
		switch string(key) {
		case "value":
			if found || s.i >= len(s.b) || s.b[s.i] != '[' {
				s.bad = true
				return out
			}
			found = true
			out.rows = s.rows()
		case "@odata.nextLink":
			v := s.value()
			if !s.bad && len(v) > 0 && v[0] == '"' {
				out.next = string(text(v))
			}
		case "error":
			if v := s.value(); string(v) != "null" {
				s.bad = true // an error object, whatever the status said
			}
		default:
			s.value()
		}
	}
	s.bad = true
	return out
}

// member reads a name and its colon, and stands at the value.
func (s *scanner) member() []byte {
	s.space()
	key := s.str()
	if s.bad || !s.take(':') {
		s.bad = true
		return nil
	}
	s.space()
	return text(key)
}

// rows reads the array of rows.
func (s *scanner) rows() (rows []drover.Row) {
	s.i++
	for first := true; !s.bad; first = false {
		if s.take(']') {
			return rows
		}
		if !first && !s.take(',') {
			break
		}
		s.space()
		if s.i >= len(s.b) {
			break
		}
		if rows == nil {
			rows = make([]drover.Row, 0, 64)
		}
		start := s.i
		row := s.row()
		if s.bad {
			return nil
		}
		row.Raw = s.b[start:s.i:s.i]
		row.Sum = sha256.Sum256(row.Raw)
		rows = append(rows, row)
	}
	s.bad = true
	return nil
}

// row reads one row and its identity.
func (s *scanner) row() (row drover.Row) {
	row.Changed, row.Created = drover.NoInstant, drover.NoInstant
	if s.b[s.i] != '{' {
		s.value()
		row.Bad = "the row is not an object"
		return row
	}
	s.i++
	ids, times := 0, 0
	for first := true; !s.bad; first = false {
		if s.take('}') {
			switch {
			case ids > 1 || times > 1:
				row.Bad = "an identity member stands twice"
			case row.ID == "":
				row.Bad = "the row has no " + s.f.id
			}
			return row
		}
		if !first && !s.take(',') {
			break
		}
		key := s.member()
		v := s.value()
		if s.bad {
			return row
		}
		isText := v[0] == '"'
		switch string(key) {
		case s.f.id:
			ids++
			if isText {
				row.ID = string(text(v))
			}
		case s.f.changed:
			times++
			if isText {
				row.Changed = instant(text(v))
			}
		case s.f.created:
			if isText {
				row.Created = instant(text(v))
			}
		case "":
		case s.f.tenant:
			if isText {
				row.TenantID = string(text(v))
			}
		case s.f.severity:
			if isText {
				row.Severity = intern(text(v))
			}
		case s.f.status:
			if isText {
				row.Status = intern(text(v))
			}
		}
	}
	s.bad = true
	return row
}

func instant(b []byte) drover.Instant {
	i, err := drover.ParseInstant(b)
	if err != nil {
		return drover.NoInstant
	}
	return i
}

// words that are met again and again; others cost an allocation each.
var words = func() map[string]string {
	m := make(map[string]string)
	for _, w := range []string{"unknown", "informational", "low", "medium", "high", "new", "inProgress", "resolved", "unknownFutureValue",
		"Informational", "Low", "Medium", "High"} {
		m[w] = w
	}
	return m
}()

// intern bounds a word that becomes a label.
func intern(b []byte) string {
	if w, ok := words[string(b)]; ok {
		return w
	}
	if len(b) > 40 || !utf8.Valid(b) {
		return "other"
	}
	return string(b)
}

// str reads a string and returns it with its quotes.
func (s *scanner) str() []byte {
	start := s.i
	if s.i >= len(s.b) || s.b[s.i] != '"' {
		s.bad = true
		return nil
	}
	for s.i++; ; {
		n := bytes.IndexByte(s.b[s.i:], '"')
		if n < 0 {
			s.bad = true
			return nil
		}
		s.i += n + 1
		if s.b[s.i-2] != '\\' || s.i-2 <= start {
			return s.b[start:s.i]
		}
		// Escaped if the backslashes before it are odd in number.
		back := s.i - 2
		for back > start && s.b[back] == '\\' {
			back--
		}
		if (s.i-2-back)%2 == 0 {
			return s.b[start:s.i]
		}
	}
}

// value reads any value and returns its text.
func (s *scanner) value() []byte {
	s.space()
	start := s.i
	if s.i >= len(s.b) {
		s.bad = true
		return nil
	}
	switch s.b[s.i] {
	case '"':
		return s.str()
	case '{', '[':
		s.skip()
	default:
		s.scalar()
	}
	if s.bad {
		return nil
	}
	return s.b[start:s.i]
}

// skip reads an object or array of any depth, checking its grammar.
func (s *scanner) skip() {
	stack := s.stack[:0]
	defer func() { s.stack = stack[:0] }()
	open := func() { stack = append(stack, s.b[s.i]); s.i++ }
	open()
	fresh := true // just opened: may end, needs no comma
	for !s.bad {
		s.space()
		if s.i >= len(s.b) {
			break
		}
		top, c := stack[len(stack)-1], s.b[s.i]
		if c == '}' && top == '{' || c == ']' && top == '[' {
			s.i++
			stack = stack[:len(stack)-1]
			if len(stack) == 0 {
				return
			}
			fresh = false
			continue
		}
		if !fresh {
			if c != ',' {
				break
			}
			s.i++
			s.space()
		}
		if top == '{' {
			s.str()
			if s.bad || !s.take(':') {
				break
			}
			s.space()
		}
		if s.i >= len(s.b) {
			break
		}
		fresh = false
		switch s.b[s.i] {
		case '"':
			s.str()
		case '{', '[':
			open()
			fresh = true
		default:
			s.scalar()
		}
	}
	s.bad = true
}

// scalar reads a number or a literal.
func (s *scanner) scalar() {
	start := s.i
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ',', ']', '}', ' ', '\n', '\r', '\t':
			s.bad = s.bad || !isScalar(s.b[start:s.i])
			return
		}
		s.i++
	}
	s.bad = true // at the top level there are none
}

func isScalar(b []byte) bool {
	switch string(b) {
	case "null", "true", "false":
		return true
	}
	i, n := 0, len(b)
	digits := func() bool {
		from := i
		for i < n && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i > from
	}
	if i < n && b[i] == '-' {
		i++
	}
	if i < n && b[i] == '0' {
		i++
	} else if !digits() {
		return false
	}
	if i < n && b[i] == '.' {
		if i++; !digits() {
			return false
		}
	}
	if i < n && (b[i] == 'e' || b[i] == 'E') {
		if i++; i < n && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return false
		}
	}
	return i == n && n > 0
}

// text returns what a quoted string says. What is wrong in it is kept as
// U+FFFD: it is only compared, never sent on.
func text(quoted []byte) []byte {
	in := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(in, '\\') < 0 {
		return in
	}
	out := make([]byte, 0, len(in))
	for i := 0; i < len(in); i++ {
		if in[i] != '\\' || i+1 == len(in) {
			out = append(out, in[i])
			continue
		}
		i++
		switch in[i] {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, used := escape(in[i+1:])
			out = utf8.AppendRune(out, r)
			i += used
		default:
			out = append(out, in[i])
		}
	}
	return out
}

// escape reads the hex digits of \u, and of the second half of a pair.
func escape(in []byte) (r rune, used int) {
	hex := func(b []byte) (rune, bool) {
		if len(b) < 4 {
			return utf8.RuneError, false
		}
		v, err := strconv.ParseUint(string(b[:4]), 16, 16)
		return rune(v), err == nil
	}
	hi, ok := hex(in)
	if !ok {
		return utf8.RuneError, 0
	}
	if hi < 0xd800 || hi > 0xdfff {
		return hi, 4
	}
	if hi < 0xdc00 && len(in) >= 10 && in[4] == '\\' && in[5] == 'u' {
		if lo, ok := hex(in[6:]); ok && lo >= 0xdc00 && lo <= 0xdfff {
			return (hi-0xd800)<<10 | (lo - 0xdc00) + 0x10000, 10
		}
	}
	return utf8.RuneError, 4
}

// idKey is a short stand-in for a row's ID within one pass.
func idKey(id string) uint64 {
	sum := sha256.Sum256([]byte(id))
	return binary.LittleEndian.Uint64(sum[:])
}
