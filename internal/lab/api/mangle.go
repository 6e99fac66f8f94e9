package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
)

// member is where a member of a row stands in its bytes.
type member struct {
	name            string
	key, value, end int
}

// members finds the top-level members of a row.
func members(row []byte) (list []member) {
	dec := json.NewDecoder(bytes.NewReader(row))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	for dec.More() {
		from := int(dec.InputOffset())
		t, err := dec.Token()
		if err != nil {
			return list
		}
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return list
		}
		name, _ := t.(string)
		end := int(dec.InputOffset())
		list = append(list, member{name, from + bytes.IndexByte(row[from:], '"'), end - len(value), end})
	}
	return list
}

// foreigner is the tenant that a row is made to name.
const foreigner = "0f0f0f0f-0000-4000-8000-00000000f0f0"

// mangled deals the fault bad_row to the row from start on, which is the i-th
// of the answer, and corrects what is remembered of it.
func (q *request) mangled(dst []byte, start, i int, r *estate.Row) []byte {
	f, ok := q.has(fault.BadRow)
	if !ok || f.Param >= 0 && f.Param != i || r.Kind == "bad" {
		return dst // a row that is bad by itself might be mended
	}
	idName, timeName, tenantName := q.feed.id, q.feed.changed, q.feed.tenant
	row := bytes.Clone(dst[start:])
	kind, claims, text := r.Kind, r.Claims, r.Text
	at := r.Changed
	spell := func(s string) {
		text = s
		row = setMember(row, timeName, strconv.Quote(s))
	}
	value, size, _ := strings.Cut(f.Value, " ")
	switch value {
	case "no_id":
		row, kind = renameMember(row, idName, "no"+idName), "bad"
	case "null_id":
		row, kind = setMember(row, idName, "null"), "bad"
	case "number_id":
		row, kind = setMember(row, idName, "7"), "bad"
	case "dup_id":
		row, kind = addMember(row, idName, `"twice"`), "bad"
	case "foreign":
		row, kind, claims = setMember(row, tenantName, strconv.Quote(foreigner)), "foreign", foreigner
	case "no_tenant":
		row = renameMember(row, tenantName, "no"+strings.ToUpper(tenantName[:1])+tenantName[1:])
	case "null_tenant":
		row = setMember(row, tenantName, "null")
	case "text_tenant":
		row = setMember(row, tenantName, `"contoso"`)
	case "no_time":
		row, text = renameMember(row, timeName, "no"+timeName), ""
	case "null_time":
		row, text = setMember(row, timeName, "null"), ""
	case "junk_time":
		spell("yesterday")
	case "second_60":
		spell(at.Format("2006-01-02T15:04:") + "60Z")
	case "year_1":
		spell("0001-01-01T00:00:00Z")
	case "year_9999":
		spell("9999-12-31T23:59:59.9999999Z")
	case "offset_time":
		spell(at.In(time.FixedZone("", 7200)).Format("2006-01-02T15:04:05.9999999-07:00"))
	case "no_zone":
		spell(at.Format("2006-01-02T15:04:05.9999999"))
	case "nine_digits":
		spell(at.Format("2006-01-02T15:04:05.000000000Z"))
	case "bad_utf8":
		row = addMember(row, "note", "\"a\xff\xfeb\"")
	case "raw_nul":
		row = addMember(row, "note", "\"a\x00b\"")
	case "escaped_nul":
		row = addMember(row, "note", `"a\u0000b"`)
	case "surrogate":
		row = addMember(row, "note", `"a\ud800b"`)
	case "deep":
		row = addMember(row, "deep", strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000))
	case "huge_number":
		row = addMember(row, "huge", "1e999")
	case "big_integer":
		row = addMember(row, "big", "[9007199254740993,18446744073709551617]")
	case "large":
		n, err := strconv.Atoi(size)
		if err != nil {
			n = 30_000_000
		}
		row = addMember(row, "large", `"`+strings.Repeat("x", n)+`"`)
	}
	if n := len(q.rows); n > 0 {
		q.rows[n-1].Kind, q.rows[n-1].Claims, q.rows[n-1].Changed, q.rows[n-1].Sum = kind, claims, text, sha256.Sum256(row)
	}
	return append(dst[:start], row...)
}

// setMember gives a member another value; one that is not there is added.
func setMember(row []byte, name, value string) []byte {
	for _, m := range members(row) {
		if m.name == name {
			return slices.Replace(row, m.value, m.end, []byte(value)...)
		}
	}
	return addMember(row, name, value)
}

// renameMember takes a member away by another name.
func renameMember(row []byte, name, other string) []byte {
	for _, m := range members(row) {
		if m.name == name {
			return slices.Replace(row, m.key, m.key+len(name)+2, []byte(strconv.Quote(other))...)
		}
	}
	return row
}

// addMember adds a member before all others.
func addMember(row []byte, name, value string) []byte {
	open := bytes.IndexByte(row, '{') + 1
	return slices.Insert(row, open, fmt.Appendf(nil, `%q:%s,`, name, value)...)
}
