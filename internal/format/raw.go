package format

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"drover"
)

// Raw is the bare row, without an event ID. A row that cannot stand on one
// line as it is is compacted: blanks between its members go, nothing else
// changes. What is no JSON or no UTF-8 at all becomes an object with
// "raw_base64".
type Raw struct{}

// Encode implements Encoder.
func (Raw) Encode(dst []byte, r *drover.Revision, _ Context) ([]byte, error) {
	if r.Flags.Has(drover.Checked) || Verbatim(r.Raw) {
		return append(dst, r.Raw...), nil
	}
	if utf8.Valid(r.Raw) {
		buf := bytes.NewBuffer(dst)
		if json.Compact(buf, r.Raw) == nil {
			return buf.Bytes(), nil
		}
	}
	dst = append(dst, '{')
	dst = appendPacked(dst, r.Raw)
	return append(dst, '}'), nil
}
