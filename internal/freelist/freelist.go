// Package freelist keeps some memory for what comes next.
package freelist

import (
	"slices"
	"sync"
)

// List keeps buffers that are done with. A sync.Pool would be emptied by the
// collector, which runs most often just when many bodies come. It is safe for
// concurrent use; the zero value keeps nothing.
type List struct {
	Most    int // buffers that are kept
	Largest int // bytes of one; larger ones are left to the collector

	mu   sync.Mutex
	bufs []*[]byte // by size, smallest first
}

// small: below it nobody cares how much larger a buffer is than asked for.
const small = 64 << 10

// Get returns the smallest kept buffer that holds n bytes and is not far too
// large, or an empty one. For n of 0, not known, it is the smallest of all.
func (l *List) Get(n int64) *[]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.bufs) == 0 {
		return new([]byte)
	}
	i := slices.IndexFunc(l.bufs, func(b *[]byte) bool { return int64(cap(*b)) >= n })
	if i < 0 || n > 0 && int64(cap(*l.bufs[i])) > max(8*n, small) {
		return new([]byte)
	}
	b := l.bufs[i]
	l.bufs = slices.Delete(l.bufs, i, i+1)
	return b
}

// Put keeps a buffer, if it is not too large and there are not enough larger
// ones. What lies in it, up to its length, may not be used afterwards.
func (l *List) Put(b *[]byte) {
	if scribble {
		for i := range *b {
			(*b)[i] = '!'
		}
	}
	if cap(*b) == 0 || cap(*b) > l.Largest {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i, _ := slices.BinarySearchFunc(l.bufs, cap(*b), func(x *[]byte, size int) int { return cap(*x) - size })
	l.bufs = slices.Insert(l.bufs, i, b)
	if len(l.bufs) > l.Most {
		l.bufs = slices.Delete(l.bufs, 0, 1)
	}
}
