package sim

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"sync/atomic"

	"drover"
	"drover/internal/ledger"
)

// errDead is what a killed process gets from its ledger: nothing of what it
// still does counts.
var errDead = errors.New("the process is dead")

// watched is the ledger as one process has it. It notes cursors and lets the
// process be killed: from then on nothing reaches the ledger.
type watched struct {
	ledger.Store
	book *cursorBook
	dead atomic.Bool
	// generation of the tenants. Nobody changes them while a process runs, and
	// it is asked for every two seconds by everybody.
	generation uint64
	// hiccup may fail a commit or a look-up before it reaches the ledger.
	hiccup func(what string) error
}

// cursorBook remembers where each cursor stood, over all processes of a run.
type cursorBook struct {
	mu      sync.Mutex
	at      map[drover.Feed]drover.Instant
	back    []string // cursors that went back
	commits int
	noted   int
}

func newCursorBook() *cursorBook { return &cursorBook{at: make(map[drover.Feed]drover.Instant)} }

func (b *cursorBook) note(f drover.Feed, at drover.Instant, where string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, ok := b.at[f]; ok && at < old {
		b.back = append(b.back, fmt.Sprintf("%s: %s from %s to %s", where, f, old, at))
	}
	b.at[f] = at
	b.noted++
}

func (w *watched) may(what string) error {
	if w.dead.Load() {
		return errDead
	}
	if w.hiccup != nil {
		return w.hiccup(what)
	}
	return nil
}

func (w *watched) Generation(context.Context) (uint64, error) { return w.generation, nil }

func (w *watched) Take(ctx context.Context, f drover.Feed) (ledger.FeedState, error) {
	if err := w.may("take"); err != nil {
		return ledger.FeedState{}, err
	}
	state, err := w.Store.Take(ctx, f)
	if err == nil && state.Cursor.Source != "" {
		w.book.note(f, state.Cursor.Through, "take")
	}
	return state, err
}

func (w *watched) Keys(ctx context.Context, f drover.Feed, span drover.Span, unknown bool) ([]ledger.Key, error) {
	if err := w.may("keys"); err != nil {
		return nil, err
	}
	return w.Store.Keys(ctx, f, span, unknown)
}

func (w *watched) Commit(ctx context.Context, c ledger.Commit) (ledger.Committed, error) {
	if err := w.may("commit"); err != nil {
		return ledger.Committed{}, err
	}
	done, err := w.Store.Commit(ctx, c)
	if err == nil {
		w.book.mu.Lock()
		w.book.commits++
		w.book.mu.Unlock()
		if c.Cursor != nil {
			w.book.note(c.Feed, c.Cursor.Through, "commit")
		}
	}
	return done, err
}

func (w *watched) Flush(ctx context.Context, whole map[drover.Feed]drover.Instant) error {
	if err := w.may("flush"); err != nil {
		return err
	}
	return w.Store.Flush(ctx, whole)
}

func (w *watched) Walk(ctx context.Context, f drover.Feed, seq uint64, rows, size int, visit func(*drover.Revision)) error {
	if err := w.may("walk"); err != nil {
		return err
	}
	return w.Store.Walk(ctx, f, seq, rows, size, visit)
}

func (w *watched) Claim(ctx context.Context, a ledger.Attempt) error {
	if err := w.may("claim"); err != nil {
		return err
	}
	return w.Store.Claim(ctx, a)
}

func (w *watched) Settle(ctx context.Context, s ledger.Settle) error {
	if err := w.may("settle"); err != nil {
		return err
	}
	return w.Store.Settle(ctx, s)
}

// mortal is a sink as one process has it: dead, it sends nothing more.
type mortal struct {
	drover.Sink
	dead *atomic.Bool
}

func (m mortal) Deliver(ctx context.Context, b drover.Batch) (drover.Taken, error) {
	if m.dead.Load() {
		return drover.Taken{}, errDead
	}
	return m.Sink.Deliver(ctx, b)
}

// mortalAsker is one that can be asked.
type mortalAsker struct {
	mortal
	drover.Asker
}

// picky is a sink that refuses one in so many records for good, always the
// same ones, and brings the others to the real one.
type picky struct {
	drover.Sink
	one int
}

func (p picky) refuses(r *drover.Record) bool {
	h := fnv.New32a()
	_, _ = h.Write([]byte(r.EventID))
	return h.Sum32()%uint32(p.one) == 0
}

func (p picky) Deliver(ctx context.Context, b drover.Batch) (drover.Taken, error) {
	var at []int // where in b the records of the real batch stand
	done := make([]bool, len(b.Records))
	out := drover.Taken{}
	inner := b
	inner.Records = nil
	for i := range b.Records {
		if p.refuses(&b.Records[i]) {
			done[i] = true
			out.Refused = append(out.Refused, drover.Refusal{Index: i, Reason: "not to its taste"})
			continue
		}
		at, inner.Records = append(at, i), append(inner.Records, b.Records[i])
	}
	taken, err := drover.Taken{}, error(nil)
	if len(at) > 0 {
		taken, err = p.Sink.Deliver(ctx, inner)
	}
	for i := range taken.N {
		done[at[i]] = true
	}
	for _, i := range taken.Also {
		done[at[i]] = true
	}
	for _, r := range taken.Refused {
		out.Refused = append(out.Refused, drover.Refusal{Index: at[r.Index], Reason: r.Reason})
	}
	slices.SortFunc(out.Refused, func(a, b drover.Refusal) int { return a.Index - b.Index })
	out.Mark = taken.Mark
	for i, is := range done {
		switch {
		case is && out.N == i:
			out.N++
		case is:
			out.Also = append(out.Also, i)
		}
	}
	return out, err
}
