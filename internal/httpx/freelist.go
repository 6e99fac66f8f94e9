package httpx

import (
	"slices"
	"sync"
)

// freelist keeps some memory for bodies. A sync.Pool would be emptied by the
// collector, which runs most often just when many bodies come.
type freelist struct {
	mu   sync.Mutex
	bufs []*[]byte // by size, smallest first
}

// Bounds of what is kept: 12 MiB at the very most.
const (
	maxFree   = 3
	maxPooled = 4 << 20
)

// get returns the smallest kept buffer that holds n bytes and is not far too
// large, or an empty one. For n of 0, not known, it is the smallest of all.
func (f *freelist) get(n int64) *[]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.bufs) == 0 {
		return new([]byte)
	}
	i := slices.IndexFunc(f.bufs, func(b *[]byte) bool { return int64(cap(*b)) >= n })
	if i < 0 || n > 0 && int64(cap(*f.bufs[i])) > max(8*n, 4*firstBuffer) {
		return new([]byte)
	}
	b := f.bufs[i]
	f.bufs = slices.Delete(f.bufs, i, i+1)
	return b
}

// put keeps a buffer, if it is not too large and there are not enough larger
// ones.
func (f *freelist) put(b *[]byte) {
	if cap(*b) == 0 || cap(*b) > maxPooled {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	i, _ := slices.BinarySearchFunc(f.bufs, cap(*b), func(x *[]byte, size int) int { return cap(*x) - size })
	f.bufs = slices.Insert(f.bufs, i, b)
	if len(f.bufs) > maxFree {
		f.bufs = slices.Delete(f.bufs, 0, 1)
	}
}
