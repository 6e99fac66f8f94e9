package file

import (
	"crypto/sha256"
	"encoding/hex"

	"drover"
	"drover/internal/format"
)

// key tells a record again: its event ID.
type key [16]byte

// known is a set of records.
type known map[key]struct{}

func (k known) has(x key) bool { _, ok := k[x]; return ok }

// maxKnown bounds the records of an older life that are looked for, 24 bytes
// each and the map around them.
const maxKnown = 4_000_000

// keyOf is the key of a record. What is no event ID is hashed.
func keyOf(r *drover.Record) key { return keyOfID(r.EventID) }

func keyOfID(id string) (k key) {
	if len(id) == 2*len(k) {
		if _, err := hex.Decode(k[:], []byte(id)); err == nil {
			return k
		}
	}
	sum := sha256.Sum256([]byte(id))
	copy(k[:], sum[:])
	return k
}

// keyOfLine is the key of a line that drover wrote in format json.
func keyOfLine(line []byte) (k key, ok bool) {
	id, ok := format.EventID(line)
	if !ok {
		return k, false
	}
	return keyOfID(id), true
}
