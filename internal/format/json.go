package format

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"unicode/utf8"

	"drover"
)

// JSON is the default format: one object with what drover knows ("drover") and
// the row exactly as received ("alert"). A row that cannot stand on one line of
// valid JSON as it is (Verbatim) is carried as "raw_base64" instead. So a
// reader gets the exact bytes: raw_base64 decoded if it is there, else the
// value of alert from its first byte to its last.
//
// U+2028 and U+2029 inside of strings are left as they are: valid JSON, and no
// line end to a reader of NDJSON.
type JSON struct{}

// opening is how every record of JSON begins; 32 digits of event ID follow.
const opening = `{"drover":{"event_id":"`

// Encode implements Encoder.
func (JSON) Encode(dst []byte, r *drover.Revision, c Context) ([]byte, error) {
	dst = append(dst, opening...)
	dst = append(dst, r.EventID(c.Part)...)
	dst = append(dst, `","tenant":`...)
	dst = appendString(dst, string(r.Feed.Tenant))
	dst = append(dst, `,"customer":`...)
	dst = appendString(dst, string(c.Tenant.Customer))
	dst = append(dst, `,"source":`...)
	dst = appendString(dst, string(r.Feed.Source))
	dst = append(dst, `,"alert_id":`...)
	dst = appendString(dst, r.AlertID)
	if r.Changed.Known() {
		dst = append(dst, `,"changed":"`...)
		dst = r.Changed.Append(dst)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"ordinal":`...)
	dst = strconv.AppendUint(dst, uint64(r.Ordinal), 10)
	dst = append(dst, `,"seq":`...)
	dst = strconv.AppendUint(dst, r.Seq, 10)
	dst = append(dst, `,"incarnation":`...)
	dst = appendString(dst, c.Incarnation)
	dst = append(dst, `,"sha256":"`...)
	dst = hex.AppendEncode(dst, r.Sum[:])
	dst = append(dst, '"')
	for _, name := range r.Flags.Names() {
		dst = append(dst, `,"`...)
		dst = append(dst, name...)
		dst = append(dst, `":true`...)
	}
	if c.Replay {
		dst = append(dst, `,"replay":true`...)
	}
	if c.OnlyHere {
		dst = append(dst, `,"only_here":true`...)
	}
	for i, s := range c.AlsoToldBy {
		if i == 0 {
			dst = append(dst, `,"also_told_by":[`...)
		} else {
			dst = append(dst, ',')
		}
		if dst = appendString(dst, string(s)); i == len(c.AlsoToldBy)-1 {
			dst = append(dst, ']')
		}
	}
	if r.Flags.Has(drover.Checked) || Verbatim(r.Raw) {
		dst = append(dst, `},"alert":`...)
		dst = append(dst, r.Raw...)
	} else {
		dst = append(dst, `},`...)
		dst = appendPacked(dst, r.Raw)
	}
	return append(dst, '}'), nil
}

// appendPacked appends the member that carries bytes which cannot stand as
// they are.
func appendPacked(dst, raw []byte) []byte {
	dst = append(dst, `"raw_base64":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, raw)
	return append(dst, '"')
}

// EventID returns the event ID of a line that JSON wrote, ok false if the line
// does not begin as one. It looks at the beginning only.
func EventID(line []byte) (id string, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte(opening))
	if !ok || len(rest) < 33 || rest[32] != '"' {
		return "", false
	}
	for _, c := range rest[:32] {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", false
		}
	}
	return string(rest[:32]), true
}

// Row returns the row in a line that JSON wrote, exactly as it was received; ok
// is false if the line is none. No name in it can be mistaken for the envelope's
// end: a quotation mark inside of a string is escaped.
func Row(line []byte) (row []byte, ok bool) {
	if _, ok := EventID(line); !ok {
		return nil, false
	}
	if i := bytes.Index(line, []byte(`},"alert":`)); i >= 0 {
		return bytes.CutSuffix(line[i+len(`},"alert":`):], []byte(`}`))
	}
	i := bytes.Index(line, []byte(`},"raw_base64":"`))
	if i < 0 {
		return nil, false
	}
	packed, ok := bytes.CutSuffix(line[i+len(`},"raw_base64":"`):], []byte(`"}`))
	if !ok {
		return nil, false
	}
	row, err := base64.StdEncoding.AppendDecode(nil, packed)
	return row, err == nil
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. What is not UTF-8 becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	plain := true
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			plain = false
			break
		}
	}
	if plain {
		dst = append(dst, s...)
		return append(dst, '"')
	}
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < 0x20 || r == 0x7f:
			dst = append(dst, `\u00`...)
			dst = append(dst, hexDigits[r>>4], hexDigits[r&15])
		case r == 0x2028 || r == 0x2029:
			dst = append(dst, `\u202`...)
			dst = append(dst, hexDigits[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
