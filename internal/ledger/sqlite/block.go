package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/s2"

	"drover"
	"drover/internal/freelist"
	"drover/internal/vault"
)

// A block holds consecutive revisions of one feed: their fields one after the
// other, compressed together, then sealed with the tenant's data key. 32 to 64
// rows is where compressing together stops paying (reference dependencies
// §13); a block of large rows ends earlier, so that reading one stays cheap.
const (
	blockRows  = 64
	blockBytes = 1 << 20
	codecS2    = 1 // S2, then sealed
)

// block is a block ready to be stored.
type block struct {
	first, last            uint64
	minChanged, maxChanged drover.Instant
	body                   []byte
	opened                 *opened
	at                     drover.Instant // when it is committed
}

// stamp says when a block is committed, before anybody else sees it.
func (b *block) stamp(at drover.Instant) {
	b.at = at
	for i := range b.opened.revs {
		b.opened.revs[i].Stored = at
	}
}

// packs hold a compressed block while it is sealed or opened.
var packs = freelist.List{Most: 3, Largest: 2 * blockBytes}

// seal makes blocks of revs, which have their sequence numbers. The bodies are
// copied; the caller's bytes are not kept.
func seal(k *vault.DataKey, f drover.Feed, incarnation string, revs []drover.Revision) []block {
	blocks := make([]block, 0, (len(revs)+blockRows-1)/blockRows)
	pack := packs.Get(0)
	for len(revs) > 0 {
		n, size := 0, 0
		for n < len(revs) && n < blockRows && (n == 0 || size+sizeOf(&revs[n]) <= blockBytes) {
			size += sizeOf(&revs[n])
			n++
		}
		b := block{first: revs[0].Seq, last: revs[n-1].Seq, minChanged: revs[0].Changed, maxChanged: revs[0].Changed}
		mem := plains.Get(int64(size))
		if cap(*mem) < size {
			*mem = make([]byte, 0, size)
		}
		plain := (*mem)[:0]
		kept := append([]drover.Revision(nil), revs[:n]...)
		for i := range kept {
			r := &kept[i]
			plain = appendRevision(plain, r)
			r.Raw = plain[len(plain)-len(r.Raw) : len(plain) : len(plain)]
			b.minChanged, b.maxChanged = min(b.minChanged, r.Changed), max(b.maxChanged, r.Changed)
		}
		*mem = plain
		if need := s2.MaxEncodedLen(len(plain)); cap(*pack) < need {
			*pack = make([]byte, 0, need)
		}
		*pack = s2.Encode((*pack)[:cap(*pack)], plain)
		b.body = k.Seal(make([]byte, 0, len(*pack)+vault.Overhead), *pack, blockAAD(f, b.first, b.last, incarnation))
		b.opened = newOpened(f, kept, mem)
		blocks = append(blocks, b)
		revs = revs[n:]
	}
	packs.Put(pack)
	return blocks
}

// sizeOf is at least what appendRevision writes.
func sizeOf(r *drover.Revision) int {
	n := 128 + len(r.AlertID) + len(r.Severity) + len(r.Status) + len(r.Raw)
	for _, c := range r.Changes {
		n += len(c) + binary.MaxVarintLen32
	}
	return n
}

// blockAAD binds a block to its place: it cannot be put elsewhere.
func blockAAD(f drover.Feed, first, last uint64, incarnation string) []byte {
	return fmt.Appendf(nil, "block\x00%s\x00%s\x00%d\x00%d\x00%s", f.Tenant, f.Source, first, last, incarnation)
}

var errBlock = errors.New("a block is damaged")

// unseal opens a stored block. The caller releases it.
func unseal(k *vault.DataKey, f drover.Feed, incarnation string, b *stored) (*opened, error) {
	wrong := func(why error) error {
		return broken("read a block", fmt.Errorf("%w: revisions %d to %d of feed %s: %w", errBlock, b.first, b.last, f, why))
	}
	if b.codec != codecS2 {
		return nil, wrong(fmt.Errorf("codec %d is not known", b.codec))
	}
	if b.last < b.first || b.last-b.first >= blockRows {
		return nil, wrong(errors.New("its numbers make no sense"))
	}
	pack := packs.Get(int64(len(b.body)))
	defer packs.Put(pack)
	var err error
	if *pack, err = k.Open((*pack)[:0], b.body, blockAAD(f, b.first, b.last, incarnation)); err != nil {
		return nil, wrong(err)
	}
	size, err := s2.DecodedLen(*pack)
	if err != nil {
		return nil, wrong(err)
	}
	plain := plains.Get(int64(size))
	decoded, err := s2.Decode((*plain)[:cap(*plain)], *pack)
	if err != nil {
		return nil, wrong(err)
	}
	*plain = decoded
	r := reader{b: decoded}
	revs := make([]drover.Revision, b.last-b.first+1)
	for i := range revs {
		revs[i] = r.revision()
		revs[i].Feed, revs[i].Seq, revs[i].Stored = f, b.first+uint64(i), b.at
	}
	if r.bad || len(r.b) > 0 {
		return nil, wrong(errors.New("its rows cannot be told apart"))
	}
	return newOpened(f, revs, plain), nil
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
