package sqlite

import (
	"sync"

	"drover"
)

// recent keeps rows that were just committed, so that a sink that keeps up
// does not read, open and decompress them again. The oldest go first.
type recent struct {
	limit int64

	mu     sync.Mutex
	size   int64
	chunks map[drover.Feed][]*chunk
	order  []*chunk
}

// chunk is one commit's rows of a feed.
type chunk struct {
	feed drover.Feed
	revs []drover.Revision
	size int64
}

func (c *chunk) last() uint64 { return c.revs[len(c.revs)-1].Seq }

// add keeps revs, which must not change any more.
func (r *recent) add(f drover.Feed, revs []drover.Revision) {
	c := &chunk{feed: f, revs: revs}
	for i := range revs {
		c.size += int64(len(revs[i].Raw)) + 256
	}
	if c.size > r.limit/2 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.chunks == nil {
		r.chunks = make(map[drover.Feed][]*chunk)
	}
	r.chunks[f] = append(r.chunks[f], c)
	r.order = append(r.order, c)
	r.size += c.size
	for r.size > r.limit {
		old := r.order[0]
		r.order[0] = nil
		r.order = r.order[1:]
		r.size -= old.size
		if list := r.chunks[old.feed][1:]; len(list) > 0 {
			r.chunks[old.feed] = list
		} else {
			delete(r.chunks, old.feed)
		}
	}
}

// after returns rows of a feed above seq if the very next one is kept.
func (r *recent) after(f drover.Feed, seq uint64, maxRows, maxBytes int) (out []drover.Revision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.chunks[f] {
		if c.last() <= seq {
			continue
		}
		if first := c.revs[0].Seq; first > seq+1 {
			break
		}
		for i := int(seq + 1 - c.revs[0].Seq); i < len(c.revs); i++ {
			if len(out) >= maxRows || maxBytes <= 0 && len(out) > 0 {
				return out
			}
			out = append(out, c.revs[i])
			maxBytes -= len(c.revs[i].Raw)
			seq = c.revs[i].Seq
		}
	}
	return out
}

// forget drops everything of a tenant.
func (r *recent) forget(id drover.TenantID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := r.order[:0]
	for _, c := range r.order {
		if c.feed.Tenant == id {
			r.size -= c.size
			delete(r.chunks, c.feed)
			continue
		}
		kept = append(kept, c)
	}
	clear(r.order[len(kept):])
	r.order = kept
}
