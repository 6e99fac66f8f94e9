package oracle

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
)

// record is what a place holds: an envelope and a row (format json).
type record struct {
	tenant, source, alertID, changed, incarnation string
	seq                                           uint64
	event                                         eventID
	hasEvent                                      bool
	late, unnamed, aside                          bool // aside: replay or history, outside the order
	touch, onlyHere                               bool
	also                                          []string // the sources of also_told_by
	claimed                                       sum      // what the envelope says
	sum                                           sum      // of the exact bytes
	full                                          [32]byte
	names                                         string // the tenant that the row itself names, if it is a GUID
	kind                                          string // of a record that is none of an alert
}

// errManifest: the record says what a place was given, and is none of an alert.
var errManifest = errors.New("a manifest")

// parseRecord reads one record. Exact bytes are those of raw_base64 if it is
// there, else those of the value of alert, from the first to the last.
func parseRecord(b []byte, r *record) error {
	*r = record{}
	var envelope, row, packed []byte
	err := members(b, func(name, v []byte) error {
		switch string(name) {
		case "drover":
			envelope = v
		case "alert":
			row = v
		case "raw_base64":
			packed = v
		}
		return nil
	})
	if err != nil {
		return err
	}
	if envelope != nil && row == nil && packed == nil {
		if err := r.parseEnvelope(envelope); err == nil && r.kind == "manifest" {
			return errManifest
		}
	}
	if envelope == nil || (row == nil && packed == nil) {
		return errJSON
	}
	if packed != nil {
		if row, err = base64.StdEncoding.DecodeString(text(packed)); err != nil {
			return errJSON
		}
	}
	if err := r.parseEnvelope(envelope); err != nil {
		return err
	}
	r.full = sha256.Sum256(row)
	r.sum = sum(r.full[:16])
	// A row that is not an object names nobody.
	_ = members(row, func(name, v []byte) error {
		if s := string(name); s == "tenantId" || s == "aadTenantId" {
			if id := text(v); isGUID(id) {
				r.names = lower(id)
			}
		}
		return nil
	})
	return nil
}

func (r *record) parseEnvelope(b []byte) error {
	return members(b, func(name, v []byte) error {
		switch string(name) {
		case "kind":
			r.kind = text(v)
		case "event_id":
			r.event, r.hasEvent = parseEventID(v)
		case "tenant":
			r.tenant = lower(text(v))
		case "source":
			r.source = text(v)
		case "alert_id":
			r.alertID = text(v)
		case "changed":
			r.changed = text(v)
		case "seq":
			r.seq = uint64(number(v))
		case "incarnation":
			r.incarnation = text(v)
		case "sha256":
			r.claimed, _ = parseSum(v)
		case "late":
			r.late = isTrue(v)
		case "unnamed":
			r.unnamed = isTrue(v)
		case "touch":
			r.touch = isTrue(v)
		case "only_here":
			r.onlyHere = isTrue(v)
		case "also_told_by":
			return elements(v, func(v []byte) error { r.also = append(r.also, text(v)); return nil })
		case "history", "replay":
			r.aside = r.aside || isTrue(v)
		}
		return nil
	})
}

// hash is what an example shows of the bytes.
func (r *record) hash() string { return hex.EncodeToString(r.full[:]) }

// isGUID reports whether s has the form 8-4-4-4-12 of hex digits.
func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') {
			return false
		}
		if !dash && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return false
		}
	}
	return true
}

// lower lower-cases ASCII; it allocates only if there is something to change.
func lower(s string) string {
	for _, c := range []byte(s) {
		if c >= 'A' && c <= 'Z' {
			b := []byte(s)
			for i, c := range b {
				if c >= 'A' && c <= 'Z' {
					b[i] = c | 0x20
				}
			}
			return string(b)
		}
	}
	return s
}
