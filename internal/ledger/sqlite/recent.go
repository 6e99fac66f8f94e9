package sqlite

import (
	"cmp"
	"container/list"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"drover"
	"drover/internal/freelist"
)

// recent keeps blocks that were just committed or read, so that a sink that
// keeps up does not read, open and decompress them, and several sinks do it
// once. What was not asked for the longest goes first: an open block is closed,
// but stays as it was sealed, at a fourth of its size or less, so that a sink
// that falls behind for a moment does not fall back on the file at once.
type recent struct {
	mu           sync.Mutex
	open, sealed shelf
	feeds        map[drover.Feed][]*held // in the order of sequence numbers
}

// shelf is what is kept in one form, the last used in front.
type shelf struct {
	limit, size int64
	used        list.List // of *held
}

// held is a block that is kept: sealed, and open if it was in use just now.
type held struct {
	*stored
	feed           drover.Feed
	opened         *opened
	used           time.Time // last, while it is open
	inOpen, inSeal *list.Element
}

// openFor is how long a block stays open that nobody asks for.
const openFor = 5 * time.Second

// opened is an open block. Nothing in it changes any more. The bodies lie in one
// piece of memory that is used again for another block once nobody holds this
// one, so size is all it takes. It is held by who makes it.
type opened struct {
	feed    drover.Feed
	revs    []drover.Revision
	size    int64
	plain   *[]byte
	holders atomic.Int32
}

// perRevision is about what a revision takes in memory beside its body.
const perRevision = 512

// plains is memory for open blocks.
var plains = freelist.List{Most: 8, Largest: 2 * blockBytes}

func newOpened(f drover.Feed, revs []drover.Revision, plain *[]byte) *opened {
	b := &opened{feed: f, revs: revs, size: int64(cap(*plain)) + perRevision*int64(len(revs)), plain: plain}
	b.holders.Store(1)
	return b
}

// release ends one hold. The last one gives the memory back.
func (b *opened) release() {
	if b.holders.Add(-1) == 0 {
		plains.Put(b.plain)
	}
}

func (b *opened) first() uint64 { return b.revs[0].Seq }
func (b *opened) last() uint64  { return b.revs[len(b.revs)-1].Seq }

func byFirst(h *held, seq uint64) int { return cmp.Compare(h.first, seq) }

// add keeps a block, and holds it while it is open.
func (r *recent) add(o *opened, sealed *stored) {
	if int64(len(sealed.body)) > r.sealed.limit {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.feeds == nil {
		r.feeds = make(map[drover.Feed][]*held)
	}
	i, there := slices.BinarySearchFunc(r.feeds[o.feed], sealed.first, byFirst)
	if !there {
		h := &held{stored: sealed, feed: o.feed}
		r.feeds[o.feed] = slices.Insert(r.feeds[o.feed], i, h)
		h.inSeal = r.sealed.used.PushFront(h)
		r.sealed.size += int64(len(sealed.body))
	}
	if h := r.feeds[o.feed][i]; h.opened == nil && o.size <= r.open.limit {
		h.opened, h.used = o, time.Now()
		o.holders.Add(1)
		h.inOpen = r.open.used.PushFront(h)
		r.open.size += o.size
	}
	for back := r.open.used.Back(); back != nil && (r.open.size > r.open.limit || time.Since(back.Value.(*held).used) > openFor); back = r.open.used.Back() {
		r.shut(back.Value.(*held))
	}
	for r.sealed.size > r.sealed.limit {
		r.drop(r.sealed.used.Back().Value.(*held))
	}
}

// shut keeps a block only as it was sealed.
func (r *recent) shut(h *held) {
	if h.opened == nil {
		return
	}
	r.open.used.Remove(h.inOpen)
	r.open.size -= h.opened.size
	h.opened.release()
	h.opened, h.inOpen = nil, nil
}

func (r *recent) drop(h *held) {
	r.shut(h)
	list := r.feeds[h.feed]
	if i, there := slices.BinarySearchFunc(list, h.first, byFirst); there {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) == 0 {
		delete(r.feeds, h.feed)
	} else {
		r.feeds[h.feed] = list
	}
	r.sealed.used.Remove(h.inSeal)
	r.sealed.size -= int64(len(h.body))
}

// find returns the kept block that holds seq, or nothing: as it was sealed, and
// open if it still is. The caller releases it.
func (r *recent) find(f drover.Feed, seq uint64) (*opened, *stored) {
	r.mu.Lock()
	defer r.mu.Unlock()
	blocks := r.feeds[f]
	i, there := slices.BinarySearchFunc(blocks, seq, byFirst)
	if !there {
		i--
	}
	if i < 0 || blocks[i].last < seq {
		return nil, nil
	}
	h := blocks[i]
	r.sealed.used.MoveToFront(h.inSeal)
	if h.opened != nil {
		r.open.used.MoveToFront(h.inOpen)
		h.used = time.Now()
		h.opened.holders.Add(1)
	}
	return h.opened, h.stored
}

// trim drops the blocks of a feed up to a sequence number.
func (r *recent) trim(f drover.Feed, floor uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for blocks := r.feeds[f]; len(blocks) > 0 && blocks[0].last <= floor; blocks = r.feeds[f] {
		r.drop(blocks[0])
	}
}

// forget drops everything of a tenant.
func (r *recent) forget(id drover.TenantID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for f, blocks := range r.feeds {
		if f.Tenant == id {
			for _, h := range slices.Clone(blocks) {
				r.drop(h)
			}
		}
	}
}
