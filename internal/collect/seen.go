package collect

import (
	"encoding/binary"

	"drover"
)

// seen answers "has this alert certainly not been stored yet" while a feed is
// read for the first time, when every row would otherwise cost a look-up for a
// predecessor that is not there. It never forgets an alert, and a wrong
// "maybe" costs one look-up. The first alerts are remembered as they are, a
// larger backlog in a Bloom filter.
type seen struct {
	few  map[uint64]struct{}
	bits []uint64
}

const (
	seenFew = 2000
	// seenBits is 4 Mi bits, 512 KiB: at a million alerts about one in four
	// look-ups is made for nothing, which is still three saved.
	seenBits = 1 << 22
)

// add stores alert and reports whether it may have been there.
func (s *seen) add(alert drover.Hash) bool {
	k := binary.LittleEndian.Uint64(alert[:])
	if s.bits != nil {
		return s.set(k)
	}
	if _, there := s.few[k]; there {
		return true
	}
	if put(&s.few, k, struct{}{}); len(s.few) > seenFew {
		s.bits = make([]uint64, seenBits/64)
		for k := range s.few {
			s.set(k)
		}
		s.few = nil
	}
	return false
}

// set sets four bits and reports whether all of them were set.
func (s *seen) set(k uint64) bool {
	there := true
	at, step := uint32(k), uint32(k>>32)|1
	for range 4 {
		if bit := at % seenBits; s.bits[bit/64]&(1<<(bit%64)) == 0 {
			there = false
			s.bits[bit/64] |= 1 << (bit % 64)
		}
		at += step
	}
	return there
}
