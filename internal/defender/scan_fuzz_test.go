package defender

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"drover"
)

// FuzzScan holds the scan against encoding/json: which answers are whole, where
// each row begins and ends, and what it is known by. Next to the answer as it
// came, one is made of it in which a stretch is doubled, left out or put
// elsewhere.
func FuzzScan(f *testing.F) {
	row := alertJSON("da1", "2026-03-02T08:03:41.5033333Z", []byte(`[{"a":"\u0041\\\"","b":[1,-2.5e+3,true,false,null,{}]},[]]`))
	for i, page := range []string{
		`{"@odata.context":"x","value":[` + row + `,` + row + `],"@odata.nextLink":"y"}`,
		`[` + row + `,null,{"id":1},{"a":NaN}]`,
		`{"error":{},"value":[{"\u0069d":"\ud83d\ude00","lastUpdateDateTime":null}]} `,
		`{"@odata.count":12,"value":[{"id":"a","tenantId":"A","aadTenantId":"a"},{"id":"b","tenantId":"x","aadTenantId":"y","severity":"High","status":"a b"}],"error":null}`,
		`{"@odata.nextLink":"\ud800","\u0076alue":[]}`, `{"value":{}}`, `{"value":[],"value":[]}`, `{}`, `[]`, ` null`, `"a"`, `[1,"]",[],{"a":]}]`,
		"\xef\xbb\xbf[[[[{}]]],\"\xff\",1e999,{\"id\":\"a\",\"id\":\"b\"}]",
		"[{\"id\":\"\x01\",\"createdDateTime\":\"2026-03-02T08:03:41Z\"},{\"id\":\"\t\\ud800\"}]",
		`[{"id":"a","x":"\q"},{"id":"b","x":01},{"id":"c"} , {"id":"d",}]`,
		strings.Repeat("[", 70) + strings.Repeat("]", 70),
		strings.Repeat(`[{"a":`, 70) + "1" + strings.Repeat("}]", 70),
		`[` + strings.Repeat("[", 450) + strings.Repeat("]", 450) + `]`,
	} {
		f.Add([]byte(page), uint64(i))
	}
	f.Fuzz(func(t *testing.T, page []byte, seed uint64) {
		scansRight(t, page)
		scansRight(t, moved(page, rand.New(rand.NewPCG(seed, 1))))
	})
}

// moved returns a page in which a stretch stands elsewhere as well, or not at
// all. A stretch begins and ends where something means something, as a rule.
func moved(page []byte, rng *rand.Rand) []byte {
	place := func() int {
		i := rng.IntN(len(page) + 1)
		if n := bytes.IndexAny(page[i:], `{}[],:"`); n >= 0 && rng.IntN(4) > 0 {
			i += n + rng.IntN(2)
		}
		return i
	}
	i, j, to := place(), place(), place()
	i, j = min(i, j), max(i, j)
	if rng.IntN(3) == 0 {
		return slices.Concat(page[:i], page[j:])
	}
	return slices.Concat(page[:to], page[i:j], page[to:])
}

// scansRight checks what is made of one answer.
func scansRight(t *testing.T, page []byte) {
	t.Helper()
	before := bytes.Clone(page)
	got, err := scan(page, graphFields)
	if !bytes.Equal(page, before) {
		t.Fatal("the answer was changed")
	}
	if bytes.Count(page, []byte("["))+bytes.Count(page, []byte("{")) >= 10_000 {
		return // encoding/json goes no deeper
	}
	page = bytes.TrimPrefix(page, []byte("\xef\xbb\xbf"))
	whole := json.Valid(plain(page, false))
	if err != nil {
		if got.rows != nil {
			t.Fatalf("%q: rows of an answer that is refused", page)
		}
		if blank := len(bytes.Trim(page, " \t\r\n")) == 0; !whole && blank != errors.Is(err, errEmpty) {
			t.Fatalf("%q: refused with %v", page, err)
		}
		if whole {
			if want := expect(t, page).err; !errors.Is(err, want) {
				t.Fatalf("%q: refused with %v, want %v", page, err, want)
			}
		}
		return
	}
	// Where a row is no JSON, the rest of the answer must be: null stands in
	// for such a row.
	mended, end, odd := []byte{}, 0, 0
	for i, r := range got.rows {
		begin := offset(page, r.Raw, end)
		if begin < 0 || cap(r.Raw) != len(r.Raw) || r.Sum != sha256.Sum256(r.Raw) {
			t.Fatalf("%q: row %d is %q", page, i, r.Raw)
		}
		mended = append(mended, page[end:begin]...)
		if end = begin + len(r.Raw); r.Bad != noJSON {
			mended = append(mended, r.Raw...)
			continue
		}
		odd++
		mended = append(mended, "null"...)
		if json.Valid(plain(r.Raw, false)) || r.ID != "" {
			t.Fatalf("%q: row %d is JSON and was taken for none: %q", page, i, r.Raw)
		}
	}
	mended = append(mended, page[end:]...)
	if whole != (odd == 0) || !json.Valid(plain(mended, false)) {
		t.Fatalf("%q: whole %v, and %d rows are no JSON", page, whole, odd)
	}
	want := expect(t, mended)
	if want.err != nil || len(want.rows) != len(got.rows) {
		t.Fatalf("%q: %d rows, want %d, %v", page, len(got.rows), len(want.rows), want.err)
	}
	if got.count != want.count || want.link && got.next != want.next {
		t.Fatalf("%q: link %q, count %d; want %q, %d", page, got.next, got.count, want.next, want.count)
	}
	for i, r := range got.rows {
		if r.Bad == noJSON {
			continue
		}
		if !bytes.Equal(r.Raw, want.rows[i]) {
			t.Fatalf("%q: row %d is %q, want %q", page, i, r.Raw, want.rows[i])
		}
		knownRight(t, r)
	}
	if len(got.rows) > 0 && len(got.rows) < maxRows {
		standsAlone(t, page, offset(page, got.rows[0].Raw, 0))
	}
}

// broken are rows that are no JSON, though their quotes and brackets match.
var broken = []string{`{"id":"a","x":nul}`, `{"id":"a" "x":1}`, `{"id":"a",}`, `[1 2]`, `{"x\\":"]\"}" "\\\""}`, `{"x":"\q"}`, `{{}}`, `[[[01]],{"]":1}]`, `{"\\"}`, "{\"\\\\\" \x00}"}

// standsAlone puts a broken row before the one that begins at a place: it is
// set aside, and the others are what they were.
func standsAlone(t *testing.T, page []byte, begin int) {
	t.Helper()
	row := broken[len(page)%len(broken)]
	before, _ := scan(page, graphFields)
	with := slices.Concat(page[:begin], []byte(row), []byte(","), page[begin:])
	got, err := scan(with, graphFields)
	if err != nil || len(got.rows) != len(before.rows)+1 || got.rows[0].Bad != noJSON || string(got.rows[0].Raw) != row {
		t.Fatalf("%q: a row that is no JSON costs the others: %d, %v", with, len(got.rows), err)
	}
	for i, r := range before.rows {
		if other := got.rows[i+1]; other.Sum != r.Sum || other.ID != r.ID || other.Bad != r.Bad {
			t.Fatalf("%q: row %d is another one behind %s", with, i, row)
		}
	}
}

// noJSON is what is told of a row whose brackets match and nothing else.
const noJSON = "the row is not valid JSON"

// offset is where part, a slice of whole, begins in it, from a place on; -1 if
// it does not.
func offset(whole, part []byte, from int) int {
	for i := from; i < len(whole); i++ {
		if &whole[i] == &part[0] {
			return i
		}
	}
	return -1
}

// plain returns a text that encoding/json reads as the scan reads this one. It
// refuses control characters inside of strings, which are kept: here they are
// tildes, or their escapes if escaped is set.
func plain(text []byte, escaped bool) []byte {
	out := make([]byte, 0, len(text))
	inside := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			inside = !inside
			out = append(out, c)
		case inside && c == '\\' && i+1 < len(text):
			i++
			out = append(out, c, text[i])
		case inside && c < ' ' && escaped:
			out = append(out, `\u00`...)
			out = append(out, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		case inside && c < ' ':
			out = append(out, '~')
		default:
			out = append(out, c)
		}
	}
	return out
}

// expected is what an answer of valid JSON holds.
type expected struct {
	rows  [][]byte
	next  string
	link  bool // next is text that encoding/json does not mend
	count int64
	err   error
}

// expect reads an answer through encoding/json.
func expect(t *testing.T, page []byte) expected {
	t.Helper()
	want := expected{count: -1, link: true}
	smooth := plain(page, false)
	var list []json.RawMessage
	cut := func(list []json.RawMessage, from int) { // the same stretches of the page itself
		for _, r := range list {
			n := bytes.Index(smooth[from:], r)
			from += n
			want.rows = append(want.rows, page[from:from+len(r)])
			from += len(r)
		}
	}
	begin := bytes.TrimLeft(smooth, " \t\r\n")
	switch {
	case len(begin) == 0:
		want.err = errEmpty
	case begin[0] == '[':
		if err := json.Unmarshal(smooth, &list); err != nil {
			t.Fatal(err)
		}
		cut(list, bytes.IndexByte(smooth, '[')+1)
	case begin[0] != '{':
		want.err = errNoRows
	default:
		d := json.NewDecoder(bytes.NewReader(smooth))
		_, _ = d.Token()
		found, failed := false, false
		for d.More() {
			name, err := d.Token()
			if err != nil {
				t.Fatal(err)
			}
			var v json.RawMessage
			if err := d.Decode(&v); err != nil {
				t.Fatal(err)
			}
			at := int(d.InputOffset()) - len(v)
			switch name {
			case "value":
				if found || v[0] != '[' {
					want.err = errNoRows
					return want
				}
				found = true
				if err := json.Unmarshal(v, &list); err != nil {
					t.Fatal(err)
				}
				cut(list, at+1)
			case "error":
				failed = failed || string(v) != "null"
			case "@odata.nextLink":
				if raw := page[at : at+len(v)]; v[0] == '"' {
					want.next, want.link = said(raw)
				}
			case "@odata.count":
				if n, err := strconv.ParseInt(string(v), 10, 64); err == nil && n >= 0 {
					want.count = n
				}
			}
		}
		switch {
		case failed:
			want.err = errInPlace
		case !found:
			want.err = errNoRows
		}
	}
	return want
}

var surrogates = regexp.MustCompile(`(?s)\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F]|\\.`)

// said returns what a quoted string says; ok is false if encoding/json mends
// it: bytes that are no UTF-8, and half a surrogate pair.
func said(quoted []byte) (s string, ok bool) {
	ok = utf8.Valid(quoted)
	for _, e := range surrogates.FindAll(quoted, -1) {
		ok = ok && (e[1] != 'u' || len(e) != len(`\ud8`))
	}
	return s, json.Unmarshal(plain(quoted, true), &s) == nil && ok
}

// knownRight checks what a row is known by, for a row that is JSON.
func knownRight(t *testing.T, r drover.Row) {
	t.Helper()
	if r.Checked && (!json.Valid(r.Raw) || !utf8.Valid(r.Raw) || bytes.ContainsAny(r.Raw, "\r\n\t")) {
		t.Fatalf("%q was found to be one line of valid JSON", r.Raw)
	}
	if (r.Bad == "") != (r.ID != "") || r.Raw[0] != '{' && r.Bad != "the row is not an object" {
		t.Fatalf("%q: id %q, bad %q", r.Raw, r.ID, r.Bad)
	}
	if r.Raw[0] != '{' {
		return
	}
	want := drover.Row{Changed: drover.NoInstant, Created: drover.NoInstant}
	bad := false
	met := make(map[string]int)
	d := json.NewDecoder(bytes.NewReader(plain(r.Raw, true)))
	_, _ = d.Token()
	for d.More() {
		name, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		s, ok, text := "", false, v[0] == '"'
		if text {
			s, ok = said(v)
		}
		met[name.(string)]++
		switch name {
		case "id":
			want.ID = s
			bad = bad || !text || !ok || len(s) > maxID
		case "lastUpdateDateTime":
			want.Changed = spoken(s)
		case "createdDateTime":
			if !want.Created.Known() {
				want.Created = spoken(s)
			}
		case "tenantId", "aadTenantId":
			if s = s[:min(len(s), 64)]; text && ok {
				bad = bad || want.TenantID != "" && !strings.EqualFold(want.TenantID, s)
				want.TenantID = s
			} else if text {
				return // encoding/json mends it
			}
		case "severity":
			if want.Severity == "" {
				want.Severity = word(s)
			}
		case "status":
			if want.Status == "" {
				want.Status = word(s)
			}
		}
	}
	for _, name := range []string{"id", "lastUpdateDateTime", "tenantId", "aadTenantId"} {
		bad = bad || met[name] > 1
	}
	if bad = bad || want.ID == ""; bad {
		want.ID = ""
	}
	if bad != (r.Bad != "") || r.ID != want.ID || r.Changed != want.Changed || r.Created != want.Created || r.TenantID != want.TenantID || r.Severity != want.Severity || r.Status != want.Status {
		t.Fatalf("%q is known by %+v, want %+v", r.Raw, r, want)
	}
}

// spoken is a time as ParseInstant reads it, which has a fuzz target of its
// own.
func spoken(s string) drover.Instant {
	at, err := drover.ParseInstant(s)
	if err != nil {
		return drover.NoInstant
	}
	return at
}

var words = regexp.MustCompile(`^[A-Za-z0-9]{0,40}$`)

// word is a label as rows carry it.
func word(s string) string {
	if !words.MatchString(s) {
		return "other"
	}
	return s
}
