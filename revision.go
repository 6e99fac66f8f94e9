package drover

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// Hash is a SHA-256.
type Hash [sha256.Size]byte

// String is lower-case hex.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Row is one alert or detection as a source found it in an answer. Raw is the
// row's bytes exactly as received; nothing else in Row is ever sent on in
// their place.
type Row struct {
	Raw      []byte
	Sum      Hash    // of Raw
	ID       string  // the source's own identity; empty if Bad
	Changed  Instant // NoInstant if missing or unreadable
	Created  Instant
	TenantID string // what the row itself says, as it says it; may be empty
	Severity string
	Status   string
	Bad      string // why the row has no usable identity; empty if it has one
	Checked  bool   // Raw can stand in a record as it is; see the mark of that name
}

// Flags mark what is special about a revision.
type Flags uint16

// The marks of a revision; their names at sinks are those of Flags.Names.
const (
	Late    Flags = 1 << iota // an earlier whole read covered its change time and did not hold it
	Touch                     // its change time moved and nothing else did
	Unnamed                   // the row named no tenant; taken on the token's word
	History                   // read by a backfill, outside the order of the live tail
	NoTime                    // its change time could not be read

	// Checked has no name at sinks. Who read Raw found it to be one line of
	// valid JSON in UTF-8, nested no deeper than MaxDepth, with nothing around
	// it. Not set, it says nothing.
	Checked Flags = 1 << 15
)

// MaxDepth bounds the nesting of a row that stands in a record as it is.
// Readers give up somewhere between some hundred and ten thousand levels;
// alerts have less than twenty.
const MaxDepth = 500

var flagNames = [...]string{"late", "touch", "unnamed", "history", "no_time"}

// Names lists the marks that are set.
func (f Flags) Names() []string {
	var names []string
	for i, n := range flagNames {
		if f&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return names
}

// Has reports whether all marks of g are set in f.
func (f Flags) Has(g Flags) bool { return f&g == g }

// Revision is one state of one alert, incident or detection in the ledger.
type Revision struct {
	Feed     Feed
	Seq      uint64 // gapless per feed, in the order of commits, from 1
	AlertID  string
	Changed  Instant
	Ordinal  uint8 // counts states that carry one and the same change time
	Created  Instant
	Severity string
	Status   string
	Flags    Flags
	Previous uint64   // sequence of the revision before it, 0 for the first
	Changes  []string // paths of members that differ from Previous, if known
	Sum      Hash
	Raw      []byte
	Stored   Instant // when the ledger took it, by the local clock; 0 before it has
}

// MaxOrdinal is the highest ordinal: at most three states are taken for one
// change time, beyond that the feed shows "unstable rows" (design §4).
const MaxOrdinal = 2

// EventID is the identity of one part of a revision at every sink: a fixed
// function of tenant, source, alert, change time, ordinal and part, so that a
// repeat can be told as one. 32 characters of lower-case hex. The bytes of the
// row are not in it: a row that is read again with other, meaningless bytes
// keeps its event ID.
//
// It is the first half of the SHA-256 of: "drover.event.1", tenant, source and
// alert ID, each with a NUL behind it; the change time in steps of 100 ns since
// 2000 (8 bytes), the ordinal (1 byte) and the part (4 bytes), big-endian. Not
// one bit of this may ever change: sinks hold what was sent years ago.
func (r *Revision) EventID(part int) string {
	var buf [256]byte
	b := append(buf[:0], "drover.event.1\x00"...)
	b = append(b, r.Feed.Tenant...)
	b = append(b, 0)
	b = append(b, r.Feed.Source...)
	b = append(b, 0)
	b = append(b, r.AlertID...)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Changed))
	b = append(b, r.Ordinal)
	b = binary.BigEndian.AppendUint32(b, uint32(part))
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// Version orders the revisions of one alert for sinks that keep only the
// newest: change time × 256 + ordinal (design §6). Times before 1886 and after
// 2114 do not fit; they are one with those years.
func (r *Revision) Version() int64 {
	if r.Changed == NoInstant {
		return int64(r.Ordinal)
	}
	const limit = 1 << 55
	return int64(min(max(r.Changed, -limit), limit-1))<<8 | int64(r.Ordinal)
}
