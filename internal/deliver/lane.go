package deliver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"drover"
	"drover/internal/ledger"
)

// lane is one destination of a sink: its records go in order, one batch at a
// time. At most one goroutine has it.
type lane struct {
	s    *dest
	name string

	// Guarded by the sink's lock.
	running bool
	queue   []*feed   // feeds with something behind their place
	waiting int       // revisions hinted at since the last batch
	since   time.Time // the first of those hints
	owing   []*feed   // feeds of which there may be something to tell

	// Of the goroutine that has the lane.
	current   *batch
	ahead     *batch // claimed in the step that settled the one before it; it is sent next
	held      *held  // the batch under way, between two tries
	told      bool   // the batch before was one of manifests: alerts have their turn
	mark      []byte
	marked    bool // mark has been read from the ledger
	fails     int
	parked    bool
	notBefore time.Time
}

// Pauses after errors (design §6): passing ones double from one second to one
// minute, a refused lane is probed from ten seconds to ten minutes apart.
const (
	firstPause = time.Second
	longPause  = time.Minute
	firstProbe = 10 * time.Second
	lastProbe  = 10 * time.Minute
)

// run sends batches until nothing is left or the lane must wait. The error is
// fatal.
func (l *lane) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if l.current == nil {
			b, err := l.next(ctx)
			if err != nil {
				return l.failed(err)
			}
			if b == nil {
				return nil
			}
			l.current, l.held = b, nil
		}
		if err := l.send(ctx, l.current); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			l.hold()
			return l.failed(err)
		}
		l.current.free()
		l.current, l.ahead = l.ahead, nil
		if l.fails > 0 || l.parked {
			l.fails = 0
			if l.parked {
				l.parked = false
				l.s.d.log.Info("the sink takes records again", "sink", l.s.ID, "lane", l.name)
				l.s.d.notify(Event{Sink: l.s.ID, Lane: l.name, What: "freed"})
			}
		}
		if l.s.crowded() {
			if l.current != nil {
				l.hold()
				l.notBefore = time.Now() // behind those that wait already
			}
			return nil // others wait; this lane's turn comes again
		}
	}
	return nil
}

// next returns the batch to send: the one under way, else a new one, nil if
// there is nothing.
func (l *lane) next(ctx context.Context) (*batch, error) {
	if l.held == nil {
		return l.fresh(ctx)
	}
	b, err := l.rebuild(ctx, l.held)
	if err != nil {
		return nil, fmt.Errorf("read the batch that was under way: %w", err)
	}
	return b, nil
}

// fresh puts a new batch together: of manifests, if there are any and it is
// their turn, or of alerts.
func (l *lane) fresh(ctx context.Context) (b *batch, err error) {
	if !l.told && l.owes() {
		if b, err = l.tell(ctx); b != nil || err != nil {
			l.told = true
			return b, err
		}
	}
	if b, err = l.compose(ctx, false); b != nil || err != nil {
		l.told = false
		return b, err
	}
	l.told = false
	if l.owes() {
		b, err = l.tell(ctx)
	}
	return b, err
}

// busy reports whether a batch is under way.
func (l *lane) busy() bool { return l.current != nil || l.held != nil }

// hold keeps of a batch that failed what names it, and lets its bodies go: many
// lanes may wait for a sink that is down. An outcome that the ledger has not
// stored needs the batch as it is.
func (l *lane) hold() {
	b := l.current
	if b.unsettled != nil {
		return
	}
	l.held = &held{ranges: b.sent(), manifests: b.told(), generation: b.generation, claimed: b.claimed, unclear: b.unclear}
	b.free()
	l.current = nil
}

// failed decides how long the lane waits. Only a broken promise of our own is
// returned.
func (l *lane) failed(err error) error {
	kind := drover.KindOf(err)
	if kind == drover.Broken {
		return err
	}
	l.fails++
	var wait time.Duration
	switch d := l.s.d; kind {
	case drover.Denied:
		wait = double(firstProbe, lastProbe, l.fails-1)
		if !l.parked {
			l.parked = true
			d.log.Error("the sink refuses records; it is parked and probed", "sink", l.s.ID, "lane", l.name, "hint", drover.HintOf(err), "err", err)
			d.notify(Event{Sink: l.s.ID, Lane: l.name, What: "parked", Err: err})
		}
	case drover.Throttled:
		wait = max(drover.WaitOf(err), double(firstPause, longPause, l.fails-1))
		wait += d.random(wait / 10)
	default:
		wait = double(firstPause, longPause, l.fails-1)
		wait = wait/2 + d.random(wait/2)
	}
	if n := l.fails; n&(n-1) == 0 && kind != drover.Denied {
		l.s.d.log.Warn("a delivery failed", "sink", l.s.ID, "lane", l.name, "times", n, "kind", kind, "again_in", wait.Round(time.Millisecond), "err", err)
	}
	l.s.d.notify(Event{Sink: l.s.ID, Lane: l.name, What: "failed", Err: err})
	l.notBefore = time.Now().Add(wait)
	return nil
}

// send brings a batch to its end: what is left of it after an error is the
// lane's next try. It returns nil when every record is done and settled.
func (l *lane) send(ctx context.Context, b *batch) error {
	asker, keyed := l.s.Sink.(drover.Asker)
	if b.unsettled != nil {
		if err := l.settle(ctx, b, *b.unsettled, false); err != nil {
			return err
		}
	}
	if (keyed || b.manifests) && !b.claimed && len(b.items) > 0 {
		if err := l.claim(ctx, b); err != nil {
			return err
		}
	}
	if keyed && b.unclear && len(b.items) > 0 {
		taken, err := asker.Taken(ctx, b.drover(l))
		if err != nil {
			return fmt.Errorf("ask what was taken: %w", err)
		}
		b.unclear = false
		if err := l.settle(ctx, b, taken, false); err != nil {
			return err
		}
	}
	if len(b.items) == 0 {
		if len(b.passed) == 0 && !b.claimed {
			return nil
		}
		return l.settle(ctx, b, drover.Taken{}, false)
	}
	taken, sendErr := l.s.Sink.Deliver(ctx, b.drover(l))
	if sendErr != nil {
		b.unclear = true
	}
	if err := taken.Validate(len(b.items)); err != nil {
		return &drover.Error{Op: "deliver to sink " + string(l.s.ID), Kind: drover.Broken, Err: err}
	}
	if sendErr == nil && taken.N != len(b.items) {
		return &drover.Error{Op: "deliver to sink " + string(l.s.ID), Kind: drover.Broken, Err: fmt.Errorf("no error, but %d of %d records done", taken.N, len(b.items))}
	}
	// What the sink has said is settled even when we are asked to stop.
	if taken.N > 0 || len(taken.Also) > 0 || len(b.passed) > 0 {
		if err := l.settle(context.WithoutCancel(ctx), b, taken, sendErr == nil && ctx.Err() == nil); err != nil {
			return err
		}
	}
	return sendErr
}

// claim stores the batch before it is sent.
func (l *lane) claim(ctx context.Context, b *batch) error {
	err := l.s.d.opt.Store.Claim(ctx, *b.attempt(l))
	if errors.Is(err, ledger.ErrConflict) {
		return &drover.Error{Op: "claim a batch for sink " + string(l.s.ID), Kind: drover.Broken, Err: err}
	}
	if err == nil {
		b.claimed = true
	}
	return err
}

// settle stores what became of the batch and takes what is done out of it. If
// the ledger cannot store it now, the outcome is kept and stored before
// anything else is sent. With goOn the next batch may be claimed in the same
// step.
func (l *lane) settle(ctx context.Context, b *batch, taken drover.Taken, goOn bool) error {
	rest, order := b.split(l, taken)
	order.Close = len(rest) == 0
	// Whatever becomes of the settle, nothing that is done is read again.
	l.s.mu.Lock()
	for _, r := range order.Done {
		if x := l.s.feeds[r.Feed]; x != nil {
			x.place = advance(x.place, r)
		}
	}
	l.s.mu.Unlock()
	var ahead *batch
	if goOn && order.Close && b.claimed && !b.manifests && !l.s.crowded() && !l.owes() {
		ahead = l.lookAhead(ctx, &order)
	}
	if err := l.s.d.opt.Store.Settle(ctx, order); err != nil {
		l.drop(ahead)
		b.unsettled = &taken
		return fmt.Errorf("settle: %w", err)
	}
	b.unsettled, l.ahead = nil, ahead
	if taken.Mark != nil {
		l.mark, l.marked = taken.Mark, true
	}
	b.items, b.passed = rest, nil
	if order.Close {
		b.claimed = false
	}
	say := func(what string, n int) {
		if n > 0 {
			l.s.d.notify(Event{Sink: l.s.ID, Lane: l.name, What: what, N: n})
		}
	}
	say("taken", order.Taken)
	say("refused", len(order.Aside))
	say("unrouted", order.Unrouted)
	say("passed_over", count(order.Over))
	say("told", len(order.Manifests))
	return nil
}

// lookAhead composes the next batch of a sink that can be asked, so that it is
// claimed with the commit that settles the one before it. Where that fails, it
// is composed in its own time.
func (l *lane) lookAhead(ctx context.Context, order *ledger.Settle) *batch {
	ahead, err := l.compose(ctx, true)
	switch {
	case err != nil || ahead == nil:
		return nil
	case len(ahead.items) == 0:
		l.drop(ahead)
		return nil
	}
	ahead.claimed = true
	order.Next = ahead.attempt(l)
	return ahead
}

// drop gives up a batch that was not claimed: its feeds are read again.
func (l *lane) drop(b *batch) {
	if b == nil {
		return
	}
	var feeds []*feed
	l.s.mu.Lock()
	for _, r := range b.ranges() {
		if x := l.s.feeds[r.Feed]; x != nil {
			feeds = append(feeds, x)
		}
	}
	l.s.mu.Unlock()
	l.again(feeds)
	b.free()
}

// advance moves a place over r, as the ledger does.
func advance(p ledger.Place, r drover.Range) ledger.Place {
	beyond := append([]uint64(nil), p.Beyond...)
	for seq := max(r.First, p.Seq+1); seq <= r.Last; seq++ {
		beyond = append(beyond, seq)
	}
	p.Beyond = normal(beyond)
	for len(p.Beyond) > 0 && p.Beyond[0] == p.Seq+1 {
		p.Seq++
		p.Beyond = p.Beyond[1:]
	}
	if len(p.Beyond) == 0 {
		p.Beyond = nil // and not the memory of what it was
	}
	p.Head = max(p.Head, p.Seq)
	return p
}

// double returns first·2ⁿ, at most limit.
func double(first, limit time.Duration, n int) time.Duration {
	for ; n > 0 && first < limit; n-- {
		first *= 2
	}
	return min(first, limit)
}
