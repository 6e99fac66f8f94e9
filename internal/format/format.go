// Package format turns a stored revision into the bytes of a record. A record
// is a pure function of the stored row and the sink's config, so that a retry,
// a take-over and a restart send the same bytes.
package format

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"unicode/utf8"

	"drover"
)

// Context is what a record says beside the row.
type Context struct {
	Tenant      drover.Tenant
	Incarnation string
	Part        int
}

// Encoder appends one record to dst: one line, without its end. Safe for
// concurrent use.
type Encoder interface {
	Encode(dst []byte, r *drover.Revision, c Context) ([]byte, error)
}

// Names lists the formats.
var Names = []string{"json", "raw"}

// New returns a format by name.
func New(name string) (Encoder, error) {
	switch name {
	case "", "json":
		return JSON{}, nil
	case "raw":
		return Raw{}, nil
	}
	return nil, fmt.Errorf("there is no format %q; known are: json, raw", name)
}

// JSON is the default format: one object with what drover knows ("drover") and
// the row exactly as received ("alert"). A row that cannot stand on one line of
// valid JSON as it is (it holds a line end or another control character, or is
// not UTF-8) is carried as "raw_base64" instead. So a reader gets the exact
// bytes: raw_base64 decoded if it is there, else the value of alert from its
// first byte to its last.
type JSON struct{}

// Encode implements Encoder.
func (JSON) Encode(dst []byte, r *drover.Revision, c Context) ([]byte, error) {
	dst = append(dst, `{"drover":{"event_id":"`...)
	dst = append(dst, r.EventID(c.Part)...)
	dst = append(dst, `","tenant":"`...)
	dst = append(dst, r.Feed.Tenant...)
	dst = append(dst, `","customer":"`...)
	dst = append(dst, c.Tenant.Customer...)
	dst = append(dst, `","source":"`...)
	dst = append(dst, r.Feed.Source...)
	dst = append(dst, `","alert_id":`...)
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
	dst = append(dst, `,"incarnation":"`...)
	dst = append(dst, c.Incarnation...)
	dst = append(dst, `","sha256":"`...)
	dst = hex.AppendEncode(dst, r.Sum[:])
	dst = append(dst, '"')
	for _, name := range r.Flags.Names() {
		dst = append(dst, `,"`...)
		dst = append(dst, name...)
		dst = append(dst, `":true`...)
	}
	if len(r.Changes) > 0 {
		dst = append(dst, `,"changes":[`...)
		for i, p := range r.Changes {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(dst, p)
		}
		dst = append(dst, ']')
	}
	if OneLine(r.Raw) {
		dst = append(dst, `},"alert":`...)
		dst = append(dst, r.Raw...)
	} else {
		dst = append(dst, `},"raw_base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, r.Raw)
		dst = append(dst, '"')
	}
	return append(dst, '}'), nil
}

// Raw is the bare row. It carries no event ID; a row that cannot stand on one
// line as it is becomes an object with raw_base64.
type Raw struct{}

// Encode implements Encoder.
func (Raw) Encode(dst []byte, r *drover.Revision, _ Context) ([]byte, error) {
	if OneLine(r.Raw) {
		return append(dst, r.Raw...), nil
	}
	dst = append(dst, `{"raw_base64":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, r.Raw)
	return append(dst, `"}`...), nil
}

// OneLine reports whether a row can stand on a line as it is: no control
// character, and UTF-8. That it is JSON was checked when it was received.
func OneLine(b []byte) bool { return !hasControl(b) && utf8.Valid(b) }

// hasControl reports whether a byte below 0x20 is in b, eight at a time.
func hasControl(b []byte) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for len(b) >= 8 {
		v := binary.LittleEndian.Uint64(b)
		if (v-ones*0x20)&^v&highs != 0 {
			return true
		}
		b = b[8:]
	}
	return bytes.ContainsFunc(b, func(r rune) bool { return r < 0x20 })
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. What is not UTF-8 becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
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
