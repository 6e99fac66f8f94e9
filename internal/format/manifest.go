package format

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"drover"
)

// Manifest says what a sink was given of a feed within an hour. It is a record
// like those of alerts, of kind "manifest" and without an alert.
type Manifest struct {
	Tenant      drover.Tenant
	Source      drover.SourceID
	Sink        drover.SinkID
	Incarnation string
	Hour        drover.Instant // the hour (UTC) in which the rows were stored: its beginning
	// After is where the manifest before this one ended. First and Last are the
	// first and the last number that the sink was given.
	After, First, Last uint64
	Count              int    // what it was given of First to Last
	Hash               string // of Items
	NotGiven           uint64 // numbers from First to Last that it was not given
	Gone               uint64 // given, and thrown away by the retention before the hash was made
	SetAside           int    // of what was not given: refused by the sink, and not resolved
	Gaps               int    // open in reading the feed, when this was made
	SinkGaps           int    // open at this sink
}

// EventID is a fixed function of tenant, source, sink, incarnation and Last: the
// first half of the SHA-256 of "drover.manifest.1", tenant, source, sink and
// incarnation, each with a NUL behind it, and Last (8 bytes, big-endian).
func (m *Manifest) EventID() string {
	b := []byte("drover.manifest.1\x00")
	for _, s := range []string{string(m.Tenant.ID), string(m.Source), string(m.Sink), m.Incarnation} {
		b = append(append(b, s...), 0)
	}
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(b, m.Last))
	return hex.EncodeToString(sum[:16])
}

// Append appends the record: one line, without its end.
func (m *Manifest) Append(dst []byte) []byte {
	dst = append(dst, opening...)
	dst = append(dst, m.EventID()...)
	dst = append(dst, `","kind":"manifest","tenant":`...)
	dst = appendString(dst, string(m.Tenant.ID))
	for _, t := range [][2]string{{"customer", string(m.Tenant.Customer)}, {"source", string(m.Source)}, {"sink", string(m.Sink)}, {"incarnation", m.Incarnation},
		{"hour", m.Hour.Time().Format(time.RFC3339)}, {"hash", m.Hash}} {
		dst = append(append(append(dst, `,"`...), t[0]...), `":`...)
		dst = appendString(dst, t[1])
	}
	for _, n := range []struct {
		name string
		n    uint64
	}{{"after", m.After}, {"first", m.First}, {"last", m.Last}, {"count", uint64(m.Count)}, {"not_given", m.NotGiven}, {"gone", m.Gone}, {"set_aside", uint64(m.SetAside)},
		{"gaps", uint64(m.Gaps)}, {"sink_gaps", uint64(m.SinkGaps)}} {
		dst = append(append(append(dst, `,"`...), n.name...), `":`...)
		dst = strconv.AppendUint(dst, n.n, 10)
	}
	return append(dst, "}}"...)
}

// Items gathers what a manifest's hash is made of.
type Items []string

// Add adds a revision: its event ID, a colon, the SHA-256 of its row.
func (i *Items) Add(r *drover.Revision) { *i = append(*i, r.EventID(0)+":"+r.Sum.String()) }

// Hash is the SHA-256, in hex, of the items in the order of their bytes, each
// once, with commas between. Search languages have functions for just that.
func (i Items) Hash() string {
	slices.Sort(i)
	sum := sha256.Sum256([]byte(strings.Join(slices.Compact(i), ",")))
	return hex.EncodeToString(sum[:])
}
