package defender

import (
	"crypto/sha256"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"drover"
)

// Why an answer is no page. Nothing of such an answer is used (reference
// faults-and-invariants P19, P20).
var (
	errEmpty   = errors.New("the answer is empty")
	errCut     = errors.New("the answer is cut, or is not JSON")
	errJunk    = errors.New("something stands behind the end of the answer")
	errNoRows  = errors.New("the answer has no array of rows")
	errInPlace = errors.New("the answer is an error in place of rows")
	errTooMany = errors.New("the answer has more rows than are taken at once")
)

// maxRows bounds the rows of one answer: "[0,0,0,…" would need a hundred times
// its size otherwise.
const maxRows = 200_000

// maxID bounds the length of a row's identity; real ones stay below 100.
const maxID = 1024

// fields names the top-level members that a source's rows are known by.
// Nothing else of a row is looked at.
type fields struct {
	id, changed, created, tenant, severity, status string

	lengths uint64 // bit n: one of the names has n letters
}

// named fills in what is derived.
func (f fields) named() *fields {
	for _, n := range []string{f.id, f.changed, f.created, f.tenant, otherTenant, f.severity, f.status} {
		if n != "" {
			f.lengths |= 1 << len(n)
		}
	}
	return &f
}

// otherTenant is the name that older APIs give a row's tenant. A row of any
// source that names another tenant is foreign, by whichever name.
const otherTenant = "aadTenantId"

var (
	graphFields = fields{id: "id", changed: "lastUpdateDateTime", created: "createdDateTime", tenant: "tenantId", severity: "severity", status: "status"}.named()
	siemFields  = fields{id: "FullId", changed: "LastProcessedTimeUtc", created: "AlertTime", tenant: "tenantId", severity: "Severity"}.named()
	mdeFields   = fields{id: "id", changed: "lastUpdateTime", created: "alertCreationTime", tenant: "tenantId", severity: "severity", status: "status"}.named()
)

// scanned is what an answer holds.
type scanned struct {
	rows  []drover.Row
	next  string // @odata.nextLink
	count int64  // @odata.count, -1 if it is not there
}

// scan finds the rows of an answer: a bare array, or an object whose member
// "value" is one. The grammar of the whole text is checked, so that an answer
// that was cut, or has something behind its end, is refused whole; nothing is
// decoded but the identity members. A row's bytes are a slice of body.
//
// A row that is no JSON although its brackets and quotes match, has no
// identity, or has one of its members twice, is returned with Bad set, and the
// others go on (reference faults-and-invariants P21). What stands in the text
// of a row, be it no UTF-8, half a surrogate pair or a number of any size, is
// none of our business.
func scan(body []byte, f *fields) (scanned, error) {
	s := scanner{lexer: lexer{b: body}, f: f, sum: true}
	return s.page()
}

// scanner walks through one answer.
type scanner struct {
	lexer
	f      *fields
	tenant string // of the row before: it hardly ever changes
	sum    bool   // hash the rows; off in a benchmark only
}

func (s *scanner) page() (scanned, error) {
	if len(s.b) >= 3 && string(s.b[:3]) == "\xef\xbb\xbf" {
		s.b = s.b[3:] // a byte order mark, once
	}
	out := scanned{count: -1}
	i := s.space(0)
	if i == len(s.b) {
		return out, errEmpty
	}
	var err error
	switch s.b[i] {
	case '[':
		out.rows, i, err = s.rows(i)
	case '{':
		i, err = s.envelope(i, &out)
	default:
		if j := s.value(i); j >= 0 && s.space(j) == len(s.b) {
			return scanned{}, errNoRows // null, a number, a text
		}
		return scanned{}, errCut
	}
	if err != nil {
		return scanned{}, err
	}
	if s.space(i) != len(s.b) {
		return scanned{}, errJunk
	}
	return out, nil
}

// envelope reads the members around the rows, which stand in any order. It
// starts at the brace and returns where it ends.
func (s *scanner) envelope(i int, out *scanned) (int, error) {
	found, failed := false, false
	i = s.space(i + 1)
	if s.at(i) == '}' {
		return i, errNoRows
	}
	for {
		name, j := s.member(i)
		if j < 0 {
			return i, errCut
		}
		var end int
		switch string(name) {
		case "value":
			if found || s.at(j) != '[' {
				if k := s.value(j); k < 0 {
					return i, errCut
				}
				return i, errNoRows
			}
			var err error
			found = true
			if out.rows, end, err = s.rows(j); err != nil {
				return i, err
			}
		default:
			if end = s.value(j); end < 0 {
				return i, errCut
			}
			switch v := s.b[j:end]; string(name) {
			case "@odata.nextLink":
				if v[0] == '"' {
					link, _ := text(v)
					out.next = string(link)
				}
			case "@odata.count":
				if n, err := strconv.ParseInt(string(v), 10, 64); err == nil && n >= 0 {
					out.count = n
				}
			case "error":
				failed = failed || string(v) != "null"
			}
		}
		i = s.space(end)
		switch s.at(i) {
		case ',':
			i = s.space(i + 1)
		case '}':
			switch {
			case failed:
				return i, errInPlace // whatever the status said
			case !found:
				return i, errNoRows
			}
			return i + 1, nil
		default:
			return i, errCut
		}
	}
}

// rows reads the array of rows that begins at i, and returns where it ends.
func (s *scanner) rows(i int) (rows []drover.Row, end int, err error) {
	first := i
	i = s.space(i + 1)
	if s.at(i) == ']' {
		return nil, i + 1, nil
	}
	for {
		var row drover.Row
		s.deep, s.odd, s.high = false, false, 0
		j := s.row(i, &row)
		row.Checked = j >= 0 && !s.deep && !s.odd && (s.high&highBits == 0 || utf8.Valid(s.b[i:j]))
		if j < 0 {
			if j = s.balanced(i); j < 0 {
				return nil, i, errCut
			}
			row = drover.Row{Changed: drover.NoInstant, Created: drover.NoInstant, Bad: "the row is not valid JSON"}
		}
		row.Raw = s.b[i:j:j]
		if s.sum {
			row.Sum = sha256.Sum256(row.Raw)
		}
		if rows == nil {
			// The others are about as long as the first.
			rows = make([]drover.Row, 0, min((len(s.b)-first)/max(j-i, 512)+4, maxRows))
		}
		if len(rows) == maxRows {
			return nil, i, errTooMany
		}
		rows = append(rows, row)
		i = s.space(j)
		switch s.at(i) {
		case ',':
			i = s.space(i + 1)
		case ']':
			return rows, i + 1, nil
		default:
			return nil, i, errCut
		}
	}
}

// row reads the row at i into row and returns where it ends, or -1 if it is
// not valid JSON.
func (s *scanner) row(i int, row *drover.Row) int {
	row.Changed, row.Created = drover.NoInstant, drover.NoInstant
	if s.at(i) != '{' {
		row.Bad = "the row is not an object"
		return s.value(i)
	}
	i = s.space(i + 1)
	if s.at(i) == '}' {
		row.Bad = "the row has no " + s.f.id
		return i + 1
	}
	var seen identity
	for {
		name, j := s.member(i)
		if j < 0 {
			return -1
		}
		end := s.value(j)
		if end < 0 {
			return -1
		}
		if n := len(name); n < 64 && s.f.lengths&(1<<n) != 0 {
			s.take(row, &seen, name, s.b[j:end])
		}
		i = s.space(end)
		switch s.at(i) {
		case ',':
			i = s.space(i + 1)
		case '}':
			switch {
			case seen.id > 1 || seen.changed > 1 || seen.tenant > 1 || seen.other > 1:
				row.Bad = "an identity member stands twice"
			case seen.bad != "":
				row.Bad = seen.bad
			case row.ID == "":
				row.Bad = "the row has no " + s.f.id
			}
			if row.Bad != "" {
				row.ID = ""
			}
			return i + 1
		default:
			return -1
		}
	}
}

// identity is what was met of a row's identity members.
type identity struct {
	id, changed, tenant, other int
	bad                        string
}

// take notes the value v of a member, if it is one of those that a row is
// known by.
func (s *scanner) take(row *drover.Row, seen *identity, name, v []byte) {
	quoted := v[0] == '"'
	switch string(name) {
	case s.f.id:
		seen.id++
		switch id, ok := text(v); {
		case !quoted:
			seen.bad = "the row's " + s.f.id + " is no text"
		case !ok || !utf8.Valid(id):
			// Two of them could look alike, were they mended.
			seen.bad = "the row's " + s.f.id + " is not valid text"
		case len(id) > maxID:
			seen.bad = "the row's " + s.f.id + " is too long"
		default:
			row.ID = string(id)
		}
	case s.f.changed:
		seen.changed++
		row.Changed = instant(v)
	case s.f.created:
		if !row.Created.Known() {
			row.Created = instant(v)
		}
	case s.f.tenant, otherTenant:
		if string(name) == otherTenant {
			seen.other++
		} else {
			seen.tenant++
		}
		if first := row.TenantID; quoted {
			if s.takeTenant(row, v); first != "" && !strings.EqualFold(first, row.TenantID) {
				seen.bad = "the row names two tenants"
			}
		}
	case s.f.severity:
		if quoted && row.Severity == "" {
			row.Severity = label(v)
		}
	case s.f.status:
		if quoted && row.Status == "" {
			row.Status = label(v)
		}
	}
}

// takeTenant keeps what the row says of its tenant, up to more than a GUID is
// long: what is longer is none.
func (s *scanner) takeTenant(row *drover.Row, v []byte) {
	id, _ := text(v)
	id = id[:min(len(id), 64)]
	if string(id) != s.tenant {
		s.tenant = string(id)
	}
	row.TenantID = s.tenant
}

// instant reads a time; what is none is NoInstant.
func instant(v []byte) drover.Instant {
	if v[0] != '"' {
		return drover.NoInstant
	}
	t, _ := text(v)
	i, err := drover.ParseInstant(t)
	if err != nil {
		return drover.NoInstant
	}
	return i
}
