package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"

	"drover"
	"drover/internal/vault"
)

// A block holds consecutive revisions of one feed: their fields one after the
// other, compressed together, then sealed with the tenant's data key. 32 to 64
// rows is where compressing together stops paying (reference dependencies
// §13).
const (
	blockRows = 64
	codecS2   = 1 // S2, then sealed
)

// block is a block ready to be stored.
type block struct {
	first, last uint64
	maxChanged  drover.Instant
	body        []byte
}

// bufs hold the uncompressed block while it is put together.
var bufs = sync.Pool{New: func() any { b := make([]byte, 0, 512<<10); return &b }}

// maxBuf is the largest buffer that is kept for the next block.
const maxBuf = 8 << 20

// seal makes blocks of revs, whose sequence numbers begin with first.
func seal(k *vault.DataKey, f drover.Feed, incarnation string, revs []drover.Revision, first uint64) []block {
	blocks := make([]block, 0, (len(revs)+blockRows-1)/blockRows)
	plain, packed := bufs.Get().(*[]byte), bufs.Get().(*[]byte)
	for len(revs) > 0 {
		n := min(blockRows, len(revs))
		b := block{first: first, last: first + uint64(n) - 1, maxChanged: drover.NoInstant}
		*plain = (*plain)[:0]
		for i := range revs[:n] {
			*plain = appendRevision(*plain, &revs[i])
			b.maxChanged = max(b.maxChanged, revs[i].Changed)
		}
		if need := s2.MaxEncodedLen(len(*plain)); cap(*packed) < need {
			*packed = make([]byte, 0, need)
		}
		*packed = s2.Encode((*packed)[:cap(*packed)], *plain)
		b.body = k.Seal(make([]byte, 0, len(*packed)+vault.Overhead), *packed, blockAAD(f, b.first, b.last, incarnation))
		blocks = append(blocks, b)
		revs, first = revs[n:], b.last+1
	}
	for _, b := range []*[]byte{plain, packed} {
		if cap(*b) <= maxBuf {
			bufs.Put(b)
		}
	}
	return blocks
}

// blockAAD binds a block to its place: it cannot be put elsewhere.
func blockAAD(f drover.Feed, first, last uint64, incarnation string) []byte {
	return fmt.Appendf(nil, "block\x00%s\x00%s\x00%d\x00%d\x00%s", f.Tenant, f.Source, first, last, incarnation)
}

var errBlock = errors.New("a block is damaged")

// unseal opens a block and calls yield with each revision whose sequence
// number is at least from, until it returns false.
func unseal(k *vault.DataKey, f drover.Feed, incarnation string, codec int, first, last uint64, body []byte, from uint64, yield func(drover.Revision) bool) error {
	if codec != codecS2 {
		return fmt.Errorf("%w: codec %d is not known", errBlock, codec)
	}
	packed, err := k.Open(nil, body, blockAAD(f, first, last, incarnation))
	if err != nil {
		return fmt.Errorf("%w: revisions %d to %d of feed %s: %w", errBlock, first, last, f, err)
	}
	plain, err := s2.Decode(nil, packed)
	if err != nil {
		return fmt.Errorf("%w: revisions %d to %d of feed %s: %w", errBlock, first, last, f, err)
	}
	r := reader{b: plain}
	for seq := first; seq <= last; seq++ {
		rev := r.revision()
		if r.bad {
			return fmt.Errorf("%w: revision %d of feed %s cannot be read", errBlock, seq, f)
		}
		rev.Feed, rev.Seq = f, seq
		if seq >= from && !yield(rev) {
			return nil
		}
	}
	return nil
}

// appendRevision writes a revision's fields; Feed and Seq are the block's.
func appendRevision(b []byte, r *drover.Revision) []byte {
	b = appendString(b, r.AlertID)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Changed))
	b = append(b, r.Ordinal)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Created))
	b = appendString(b, r.Severity)
	b = appendString(b, r.Status)
	b = binary.AppendUvarint(b, uint64(r.Flags))
	b = binary.AppendUvarint(b, r.Previous)
	b = binary.AppendUvarint(b, uint64(len(r.Changes)))
	for _, c := range r.Changes {
		b = appendString(b, c)
	}
	b = append(b, r.Sum[:]...)
	b = binary.AppendUvarint(b, uint64(len(r.Raw)))
	return append(b, r.Raw...)
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// reader reads what appendRevision wrote. bad is set once and stays.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) string() string { return string(r.take(r.uvarint())) }

func (r *reader) revision() (v drover.Revision) {
	v.AlertID = r.string()
	v.Changed = drover.Instant(r.uint64())
	v.Ordinal = r.byte()
	v.Created = drover.Instant(r.uint64())
	v.Severity = r.string()
	v.Status = r.string()
	v.Flags = drover.Flags(r.uvarint())
	v.Previous = r.uvarint()
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		v.Changes = append(v.Changes, r.string())
	}
	copy(v.Sum[:], r.take(uint64(len(v.Sum))))
	v.Raw = r.take(r.uvarint())
	return v
}
