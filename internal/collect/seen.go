package collect

import (
	"encoding/binary"

	"drover"
)

// seen answers "has this alert certainly not been stored yet" while a feed is
// read for the first time, when every row would otherwise cost a look-up for a
// predecessor that is not there. It is a Bloom filter: it never forgets an
// alert, and a wrong "maybe" costs one look-up.
type seen struct {
	bits []uint64
	n    int
}

// seenBits is 4 Mi bits, 512 KiB: at a million alerts about one in four
// look-ups is made for nothing, which is still three saved.
const seenBits = 1 << 22

func newSeen() *seen { return &seen{bits: make([]uint64, seenBits/64)} }

// add stores alert and reports whether it may have been there.
func (s *seen) add(alert drover.Hash) bool {
	there := true
	for i := range 4 {
		bit := binary.LittleEndian.Uint32(alert[i*4:]) % seenBits
		if s.bits[bit/64]&(1<<(bit%64)) == 0 {
			there = false
			s.bits[bit/64] |= 1 << (bit % 64)
		}
	}
	if !there {
		s.n++
	}
	return there
}
