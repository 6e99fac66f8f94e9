// Package revision tells states of one alert apart: whether two bodies mean
// the same although their bytes differ, and what changed from one to the next.
//
// Bytes vary without meaning: members and evidence come in any order, and some
// members of a device are looked up when the alert is read (reference
// faults-and-invariants P11). What is compared decides sameness only, never an
// identity: a longer list of volatile members re-keys nothing.
//
// Any bytes may be given. What cannot be read as one JSON value within bounds
// is the same only byte by byte.
package revision

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"drover"
)

// Same reports whether a and b mean the same for the source: members in any
// order, the elements of arrays that are no lists in any order, numbers by
// value, volatile members left out.
func Same(src drover.SourceID, a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, err := parse(a)
	if err != nil {
		return false
	}
	y, err := parse(b)
	if err != nil {
		return false
	}
	r := rulesOf(src)
	return r.sum(x, nil) == r.sum(y, nil)
}

// Comparer is the package as a value, for those who take an interface.
type Comparer struct{}

// Same is the package's Same.
func (Comparer) Same(src drover.SourceID, a, b []byte) bool { return Same(src, a, b) }

// Diff is the package's Diff.
func (Comparer) Diff(src drover.SourceID, before, after []byte) (paths []string, touchOnly bool) {
	return Diff(src, before, after)
}

// Unstable is the package's Unstable.
func (Comparer) Unstable(src drover.SourceID, bodies ...[]byte) []string {
	return Unstable(src, bodies...)
}

// sum returns a hash that two values share if they mean the same. path is
// where the value stands.
func (r *rules) sum(n *node, path []string) [sha256.Size]byte {
	if n.summed {
		return n.sum
	}
	h := sha256.New()
	put := func(s string) {
		var size [8]byte
		binary.LittleEndian.PutUint64(size[:], uint64(len(s)))
		h.Write(size[:])
		h.Write([]byte(s))
	}
	h.Write([]byte{byte(n.kind)})
	switch n.kind {
	case '"', '0':
		put(n.text)
	case '[':
		at := append(path[:len(path):len(path)], "[]")
		sums := make([][sha256.Size]byte, len(n.members))
		for i, e := range n.members {
			sums[i] = r.sum(e, at)
		}
		if !r.isOrdered(path) {
			slices.SortFunc(sums, func(a, b [sha256.Size]byte) int { return bytes.Compare(a[:], b[:]) })
		}
		for _, s := range sums {
			h.Write(s[:])
		}
	case '{':
		for i, e := range n.members {
			at := append(path[:len(path):len(path)], n.names[i])
			if r.leavesOut(n, n.names[i], at) {
				continue
			}
			put(n.names[i])
			s := r.sum(e, at)
			h.Write(s[:])
		}
	}
	h.Sum(n.sum[:0])
	n.summed = true
	return n.sum
}
