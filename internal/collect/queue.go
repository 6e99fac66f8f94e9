package collect

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// grid is the raster on which due feeds are released: waking a sleeping
// process costs more than a poll, so feeds that are due together wake it once
// (reference dependencies §13).
const grid = 100 * time.Millisecond

// queue hands out readers in the order in which they are due, each to one
// worker at a time.
type queue struct {
	mu     sync.Mutex
	cond   *sync.Cond
	heap   readers
	ready  []*reader // due, waiting for a worker
	wake   chan struct{}
	closed bool
}

func newQueue() *queue {
	q := &queue{wake: make(chan struct{}, 1)}
	q.cond = sync.NewCond(&q.mu)
	return q
}

// put makes r due at a time. A reader that was removed is forgotten.
func (q *queue) put(r *reader, due time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || r.removed {
		return
	}
	r.due = due
	heap.Push(&q.heap, r)
	if q.heap[0] == r {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// hasten makes a waiting reader due now.
func (q *queue) hasten(r *reader, due time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if r.at < 0 || !due.Before(r.due) {
		return
	}
	r.due = due
	heap.Fix(&q.heap, r.at)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// remove takes r out for good.
func (q *queue) remove(r *reader) {
	q.mu.Lock()
	defer q.mu.Unlock()
	r.removed = true
	if r.at >= 0 {
		heap.Remove(&q.heap, r.at)
	}
}

// next waits for a due reader; nil when the queue is closed.
func (q *queue) next(context.Context) *reader {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.closed {
			return nil
		}
		for len(q.ready) > 0 {
			r := q.ready[0]
			q.ready = q.ready[1:]
			if !r.removed {
				return r
			}
		}
		q.cond.Wait()
	}
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.cond.Broadcast()
}

// tick releases due readers until ctx ends.
func (q *queue) tick(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		case <-timer.C:
		}
		if wait, any := q.release(time.Now()); any {
			timer.Reset(wait)
		}
	}
}

// release moves what is due to the workers, and says how long to wait for the
// next, up to the grid.
func (q *queue) release(now time.Time) (time.Duration, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	released := 0
	for len(q.heap) > 0 && !q.heap[0].due.After(now) {
		q.ready = append(q.ready, heap.Pop(&q.heap).(*reader))
		released++
	}
	switch {
	case released == 1:
		q.cond.Signal()
	case released > 1:
		q.cond.Broadcast()
	}
	if len(q.heap) == 0 {
		return 0, false
	}
	due := q.heap[0].due.Truncate(grid)
	if due.Before(q.heap[0].due) {
		due = due.Add(grid)
	}
	return due.Sub(now), true
}

// readers is a heap by due time.
type readers []*reader

func (h readers) Len() int           { return len(h) }
func (h readers) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h readers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}
func (h *readers) Push(x any) {
	r := x.(*reader)
	r.at = len(*h)
	*h = append(*h, r)
}
func (h *readers) Pop() any {
	old := *h
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	r.at = -1
	return r
}
