package sqlite

import (
	"cmp"
	"container/list"
	"slices"
	"sync"

	"drover"
)

// recent keeps blocks that were just committed or read, open, so that a sink
// that keeps up does not read, open and decompress them, and several sinks do
// it once. The block that was not asked for the longest goes first.
type recent struct {
	limit int64 // bytes; 0 keeps nothing

	mu    sync.Mutex
	size  int64
	feeds map[drover.Feed][]*opened // in the order of sequence numbers
	used  list.List                 // of *opened, the last used in front
}

// opened is an open block. Nothing in it changes any more. The bodies lie in one
// piece of memory that belongs to the block alone, so size is all it takes.
type opened struct {
	feed drover.Feed
	revs []drover.Revision
	size int64
	at   *list.Element
}

// perRevision is about what a revision takes in memory beside its body.
const perRevision = 512

func newOpened(f drover.Feed, revs []drover.Revision, plain int) *opened {
	return &opened{feed: f, revs: revs, size: int64(plain) + perRevision*int64(len(revs))}
}

func (b *opened) first() uint64 { return b.revs[0].Seq }
func (b *opened) last() uint64  { return b.revs[len(b.revs)-1].Seq }

func byFirst(b *opened, seq uint64) int { return cmp.Compare(b.first(), seq) }

// add keeps a block.
func (r *recent) add(b *opened) {
	if b.size > r.limit {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.feeds == nil {
		r.feeds = make(map[drover.Feed][]*opened)
	}
	i, there := slices.BinarySearchFunc(r.feeds[b.feed], b.first(), byFirst)
	if there {
		return
	}
	r.feeds[b.feed] = slices.Insert(r.feeds[b.feed], i, b)
	b.at = r.used.PushFront(b)
	for r.size += b.size; r.size > r.limit; {
		r.drop(r.used.Back().Value.(*opened))
	}
}

func (r *recent) drop(b *opened) {
	list := r.feeds[b.feed]
	if i, there := slices.BinarySearchFunc(list, b.first(), byFirst); there {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) == 0 {
		delete(r.feeds, b.feed)
	} else {
		r.feeds[b.feed] = list
	}
	r.used.Remove(b.at)
	r.size -= b.size
}

// find returns the kept block that holds seq, or nil.
func (r *recent) find(f drover.Feed, seq uint64) *opened {
	r.mu.Lock()
	defer r.mu.Unlock()
	blocks := r.feeds[f]
	i, there := slices.BinarySearchFunc(blocks, seq, byFirst)
	if !there {
		i--
	}
	if i < 0 || blocks[i].last() < seq {
		return nil
	}
	r.used.MoveToFront(blocks[i].at)
	return blocks[i]
}

// trim drops the blocks of a feed up to a sequence number.
func (r *recent) trim(f drover.Feed, floor uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for blocks := r.feeds[f]; len(blocks) > 0 && blocks[0].last() <= floor; blocks = r.feeds[f] {
		r.drop(blocks[0])
	}
}

// forget drops everything of a tenant.
func (r *recent) forget(id drover.TenantID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for f, blocks := range r.feeds {
		if f.Tenant == id {
			for _, b := range slices.Clone(blocks) {
				r.drop(b)
			}
		}
	}
}
