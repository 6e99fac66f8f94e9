package sqlite

import (
	"encoding/binary"
	"slices"
)

// run is a stretch of sequence numbers, both ends included.
type run struct{ first, last uint64 }

// runs are stretches in ascending order that neither touch nor overlap.
type runs []run

// add puts r in and returns how many numbers of it are new.
func (s runs) add(r run) (runs, uint64) {
	// i is the first run that r touches or comes before, j the first behind.
	i, _ := slices.BinarySearchFunc(s, r.first, func(x run, first uint64) int {
		if x.last+1 < first {
			return -1
		}
		return 1
	})
	n, j := r.last-r.first+1, i
	for ; j < len(s) && s[j].first <= r.last+1; j++ {
		if lo, hi := max(s[j].first, r.first), min(s[j].last, r.last); lo <= hi {
			n -= hi - lo + 1
		}
		r = run{min(r.first, s[j].first), max(r.last, s[j].last)}
	}
	return slices.Replace(s, i, j, r), n
}

// without returns what of s is not in o.
func (s runs) without(o runs) (rest runs) {
	for _, r := range s {
		for _, x := range o {
			if x.last < r.first || x.first > r.last {
				continue
			}
			if x.first > r.first {
				rest = append(rest, run{r.first, x.first - 1})
			}
			r.first = x.last + 1
		}
		if r.first <= r.last {
			rest = append(rest, r)
		}
	}
	return rest
}

// has reports whether n is in s.
func (s runs) has(n uint64) bool {
	return slices.ContainsFunc(s, func(r run) bool { return r.first <= n && n <= r.last })
}

// len is how many numbers s holds.
func (s runs) len() (n uint64) {
	for _, r := range s {
		n += r.last - r.first + 1
	}
	return n
}

// list writes every number out.
func (s runs) list() (list []uint64) {
	for _, r := range s {
		for n := r.first; n <= r.last; n++ {
			list = append(list, n)
		}
	}
	return list
}

// pack writes runs as differences.
func (s runs) pack() []byte {
	var b []byte
	last := uint64(0)
	for _, r := range s {
		b = binary.AppendUvarint(b, r.first-last)
		b = binary.AppendUvarint(b, r.last-r.first)
		last = r.last
	}
	return b
}

func unpack(b []byte) (s runs) {
	last := uint64(0)
	for len(b) > 0 {
		first, n := binary.Uvarint(b)
		length, m := binary.Uvarint(b[max(n, 0):])
		if n <= 0 || m <= 0 {
			return s
		}
		r := run{last + first, last + first + length}
		s, last, b = append(s, r), r.last, b[n+m:]
	}
	return s
}
