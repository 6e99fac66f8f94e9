package collect

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"drover"
	"drover/internal/ledger"
)

// reader reads one feed: its tail, and beside it one sweep or gap at a time, and
// where there is none, its past.
// Only one worker at a time holds it.
type reader struct {
	c      *Collector
	feed   drover.Feed
	source drover.Source
	tenant atomic.Pointer[drover.Tenant]
	// unstored is when the feed was last read whole, if the ledger does not
	// know yet: an empty read writes nothing.
	unstored atomic.Int64
	// freed: the app's incident is over; the tail is due.
	freed atomic.Bool
	// asked: backfills were added or cancelled.
	asked atomic.Bool
	skew  atomic.Int64 // by how much the server's clock is ahead of ours; noSkew before it has been told
	watch watch

	// Of the queue, guarded by its lock.
	due     time.Time
	at      int
	removed bool

	// Of the worker that holds the reader.
	taken   bool
	epoch   drover.Epoch
	through drover.Instant // everything below is in the ledger or in an open gap
	whole   drover.Instant // the last whole read, by the server's clock
	parked  string
	allowance
	pace
	own       bool // rows of the tenant itself have been read
	gaps      []gap
	blind     bool // the server does not tell the time
	backfills []backfill
	known     knowledge
	server    clock
	tail      *run
	side      *run
	past      *run         // of a backfill
	nextAt    time.Time    // when the tail is due
	sweeps    []sweep      // one for each of the options
	leave     []drover.Gap // what sweeps could not read, to be opened with the next commit
	fails     int          // failures of the tail in a row
	failed    time.Time    // the first of them
	confirm   []drover.Span
}

// purpose says why a span is read.
type purpose string

const (
	readTail    purpose = "tail"
	readSweep   purpose = "sweep"
	readGap     purpose = "gap"
	readAgain   purpose = "confirm"
	readHistory purpose = "history"
)

// run is one pass under way.
type run struct {
	purpose purpose
	span    drover.Span
	pass    drover.Pass
	// lateBelow: a new row that changed before it is late; an earlier whole
	// read covered it.
	lateBelow drover.Instant
	sweep     int
	rest      []drover.Span  // of a sweep, behind this span
	gap       int64          // ID of the gap that is read
	at        drover.Instant // how far it has come
	skip      *drover.Gap    // opened with the first page: what the tail leaves behind
	skipped   bool           // the pass left something out
	backfill  int64          // ID of the one that is read
	empty     int            // pages of it in a row that are not booked yet
	behind    *drover.Span   // opened with the first page: the past of a new feed
	pages     int
	rows      int
	fresh     int          // of the rows, those that were new
	held      *drover.Page // was read, and the ledger has not taken it yet
	shown     []recent     // of the page at hand: what the ledger will have as it is when it is booked
}

// next returns the next page: first of all the one that the ledger has not
// taken yet, as the API may not show those rows again.
func (u *run) next(ctx context.Context) (drover.Page, error) {
	if u.held != nil {
		return *u.held, nil
	}
	return u.pass.Next(ctx)
}

// close gives back what the pass holds.
func (u *run) close() {
	if p, ok := u.pass.(interface{ Close() }); ok {
		p.Close()
	}
}

// Pages read in one turn: enough that a backlog flows, few enough that other
// feeds wait no longer than a moment.
const (
	tailPages = 16
	sidePages = 4
)

func newReader(c *Collector, f drover.Feed, t *drover.Tenant) *reader {
	r := &reader{c: c, feed: f, source: c.sources[f.Source], at: -1}
	r.server.said = drover.NoInstant
	r.watch.whole = drover.NoInstant
	r.unstored.Store(int64(drover.NoInstant))
	r.skew.Store(noSkew)
	r.tenant.Store(t)
	return r
}

func (r *reader) gone() bool {
	r.c.queue.mu.Lock()
	defer r.c.queue.mu.Unlock()
	return r.removed
}

// turn reads a slice of what is due and says when the feed is due again. An
// error is fatal.
func (r *reader) turn(ctx context.Context) (time.Time, error) {
	if !r.taken {
		if err := r.take(ctx); err != nil {
			return r.failure(ctx, nil, err)
		}
	}
	if r.asked.Swap(false) {
		if err := r.reload(ctx); err != nil {
			r.asked.Store(true)
			return r.failure(ctx, nil, err)
		}
	}
	if r.freed.Swap(false) {
		r.nextAt = time.Now()
	}
	app := r.tenant.Load().App
	if r.c.board.hold(r, app) {
		return time.Now().Add(firstProbe), nil
	}
	if r.tail == nil && !time.Now().Before(r.nextAt) {
		r.tail = r.openTail(nil)
	}
	if r.tail != nil {
		if err := r.slice(ctx, r.tail, tailPages); err != nil {
			return r.failure(ctx, r.tail, err)
		}
		if r.tail != nil {
			return time.Now().Add(r.short()), nil // more to read; others first
		}
	}
	r.observe(ctx)
	if r.side == nil {
		r.side = r.openSide()
	}
	if r.side != nil {
		if err := r.slice(ctx, r.side, sidePages); err != nil {
			return r.failure(ctx, r.side, err)
		}
	} else if r.mayReadBeside() {
		if r.past == nil {
			r.past = r.openPast()
		}
		if r.past != nil && !r.backfillDue(r.past) {
			return maxTime(r.nextDue(), time.Now().Add(r.short())), nil
		}
		if r.past != nil {
			if err := r.slice(ctx, r.past, sidePages); err != nil {
				return r.failure(ctx, r.past, err)
			}
		}
	}
	return maxTime(r.nextDue(), time.Now().Add(r.short())), nil
}

// take makes this process the feed's reader and restores what it knew.
func (r *reader) take(ctx context.Context) error {
	state, err := r.c.opt.Store.Take(ctx, r.feed)
	if err != nil {
		return fmt.Errorf("take the feed: %w", err)
	}
	r.taken, r.epoch, r.parked = true, state.Epoch, state.Parked
	// What was read whole without finding anything moved no cursor.
	r.through, r.whole = state.Whole, state.Whole
	r.tail, r.side, r.past, r.confirm = nil, nil, nil, nil
	if c := state.Cursor; c.Source != "" {
		r.through = max(c.Through, r.through)
		if c.Version != r.source.Version() {
			// The reading rules changed: trust the cursor only as far as
			// the deepest sweep would have corrected it.
			r.through, r.whole = r.through.Add(-r.deepest()), drover.NoInstant
		}
	}
	r.known, r.own = newKnowledge(state.Head == 0), state.Head > 0
	r.gaps = r.gaps[:0]
	for _, g := range state.Gaps {
		r.gaps = append(r.gaps, gap{Gap: g})
	}
	r.backfills = r.backfills[:0]
	for _, b := range state.Backfills {
		r.backfills = append(r.backfills, backfill{Backfill: b})
	}
	now := time.Now()
	r.nextAt = now
	r.sweeps, r.leave = make([]sweep, len(r.c.opt.Sweeps)), nil
	for i, s := range r.c.opt.Sweeps {
		r.sweeps[i].due = now.Add(r.c.random(s.Every))
	}
	return nil
}

func (r *reader) deepest() time.Duration {
	d := r.c.opt.Overlap
	for _, s := range r.c.opt.Sweeps {
		d = max(d, s.Depth)
	}
	return d
}

// openTail begins a read of everything from the cursor, less the overlap, on.
// It never reaches back behind the tenant's start or into a gap that is still
// open. With skip, it begins behind that gap instead. A feed that has never been
// read begins near now.
func (r *reader) openTail(skip *drover.Gap) *run {
	t := r.tenant.Load()
	from := t.Start
	var behind *drover.Span
	if r.through.Known() {
		from = max(from, r.through.Add(-r.c.opt.Overlap))
	} else {
		from, behind = r.firstRead(from)
	}
	for i := range r.backfills {
		if b := &r.backfills[i]; b.First && b.Span.To <= r.through {
			from = max(from, b.Span.To)
		}
	}
	for _, g := range r.gaps {
		if g.Provider == "" && g.Span.To <= r.through {
			from = max(from, g.Span.To)
		}
	}
	if skip != nil {
		from = max(from, skip.Span.To)
	}
	span := drover.Span{From: from, To: drover.NoInstant}
	return &run{purpose: readTail, span: span, at: from, pass: r.source.Read(*t, span), lateBelow: r.through, skip: skip, behind: behind}
}

// now is the server's time, or without it as much of it as has been read.
func (r *reader) now() drover.Instant {
	if now := r.server.now(); now.Known() {
		return now
	}
	return r.through
}

// nextDue is when the feed next has something to do.
func (r *reader) nextDue() time.Time {
	if r.side != nil {
		return time.Now()
	}
	if !r.mayReadBeside() {
		return r.nextAt
	}
	if len(r.confirm) > 0 {
		return time.Now()
	}
	due := r.nextAt
	earlier := func(t time.Time) {
		if t.Before(due) {
			due = t
		}
	}
	for i := range r.sweeps {
		earlier(r.sweeps[i].due)
	}
	for i := range r.gaps {
		if g := &r.gaps[i]; !g.lost {
			earlier(g.due)
		}
	}
	for i := range r.backfills {
		earlier(r.backfills[i].due)
	}
	return due
}

// slice reads up to pages pages of a run and commits each one. The run is put
// away when it is done.
func (r *reader) slice(ctx context.Context, run *run, pages int) error {
	for range pages {
		fetched := run.held == nil
		if fetched && r.short() > 0 {
			return nil
		}
		page, err := run.next(ctx)
		if fetched {
			r.allowance.spend(max(page.Asked, 1))
		}
		if err != nil {
			return err
		}
		if fetched {
			r.hear(page.Server)
			r.c.board.succeeded(r, r.tenant.Load().App)
		}
		if fetched && r.misled(run) {
			run.close()
			r.tail = r.openTail(nil)
			run = r.tail
			continue
		}
		run.held = &page
		fresh, err := r.book(ctx, run, page)
		if err != nil {
			return err
		}
		run.held = nil
		if run.purpose == readTail && (page.Done || page.Through > run.at || fresh > 0) {
			r.fails = 0 // an answer that does not lead on is no success
		}
		run.pages++
		run.at = max(run.at, page.Through)
		run.rows += len(page.Rows)
		run.fresh += fresh
		if page.Done {
			r.finish(run, page)
			return nil
		}
	}
	return nil
}

// finish puts away a run that has read its span whole.
func (r *reader) finish(run *run, page drover.Page) {
	run.close()
	defer r.knowsAll()
	if run.purpose == readHistory {
		r.past = nil
		r.known.endSide()
		return
	}
	if run.purpose != readTail {
		r.side = nil
		r.known.endSide()
		if run.purpose == readSweep {
			r.goOnSweeping(run)
		}
		return
	}
	r.tail = nil
	every := r.c.opt.Interval
	if !r.c.opt.Steady {
		every = r.pace.next(every, run.fresh, r.ample())
	}
	r.nextAt = time.Now().Add(every - r.c.random(every/20))
	r.known.caughtUp()
	r.known.outgrow(r.through.Add(-r.c.opt.Overlap - time.Second))
	r.c.notify(Event{Feed: r.feed, What: "read", N: run.rows})
}

// knowsAll ends the first read of a feed, when its past has been read as well.
func (r *reader) knowsAll() {
	if r.whole.Known() && len(r.unread()) == 0 {
		r.known.fresh = nil
	}
}

// failure decides what follows an error: how long the feed waits, and whether
// a place that cannot be read is left behind. Only a broken promise of our own
// is returned.
func (r *reader) failure(ctx context.Context, run *run, err error) (time.Time, error) {
	now := time.Now()
	switch {
	case ctx.Err() != nil:
		return now, err
	case errors.Is(err, ledger.ErrMoved), errors.Is(err, ledger.ErrNotFound):
		r.forget()
		return now.Add(firstPause), nil
	case errors.Is(err, ledger.ErrFull):
		r.forget()
		r.c.log.Error("the ledger is full; reading waits, delivering goes on", "feed", r.feed, "err", err)
		r.c.notify(Event{Feed: r.feed, What: "failed", Err: err})
		return now.Add(fullPause), nil
	case drover.KindOf(err) == drover.Broken:
		return now, fmt.Errorf("feed %s: %w", r.feed, err)
	}
	r.c.notify(Event{Feed: r.feed, What: "failed", Err: err})
	unbooked := run != nil && run.held != nil && drover.KindOf(err) == drover.Transient // it is the ledger, not the API
	if !unbooked {
		r.c.board.failed(r, r.tenant.Load().App, err)
	}
	if run != nil && run.purpose != readTail {
		if unbooked {
			return now.Add(r.c.pause(err, 1)), nil
		}
		if run.purpose == readHistory {
			return r.pastFailed(ctx, run, err)
		}
		return r.sideFailed(run, err), nil
	}
	if r.fails == 0 {
		r.failed = now
	}
	r.fails++
	kind, wait := drover.KindOf(err), r.c.pause(err, r.fails)
	r.log(err, wait)
	if run != nil {
		long := now.Sub(r.failed) >= skipTime
		switch {
		case run.skip != nil, unbooked:
		case kind == drover.Transient && (r.fails >= skipAfter || long) && r.leaveBehind(err):
			return now, nil // if reading behind this place works at once, it is the place that is bad
		case kind == drover.Throttled && long && r.leaveBehind(err):
			r.nextAt = now.Add(wait) // told to wait for ever, it may be the place as well
			return r.nextAt, nil
		}
		// A pass survives passing errors, and what the ledger did not take; after
		// others, and when it was to leave a place behind, the next turn begins a
		// new one at the cursor.
		if kind == drover.Denied || kind == drover.Refused || run.skip != nil && !unbooked {
			r.tail = nil
		}
	}
	if kind == drover.Denied {
		r.park(ctx, err)
	}
	r.nextAt = now.Add(wait)
	return r.nextAt, nil
}

// log writes a failing feed once at once and then ever more rarely.
func (r *reader) log(err error, wait time.Duration) {
	if n := r.fails; n&(n-1) != 0 {
		return
	}
	r.c.log.Warn("a read failed", "feed", r.feed, "times", r.fails, "kind", drover.KindOf(err), "again_in", wait.Round(time.Millisecond), "hint", drover.HintOf(err), "err", err)
}

// forget drops what is in memory; the next turn takes the feed anew.
func (r *reader) forget() { r.taken, r.tail, r.side, r.past = false, nil, nil, nil }

// park writes down why the feed is not read, once.
func (r *reader) park(ctx context.Context, err error) {
	why := drover.HintOf(err)
	if why == "" {
		why = err.Error()
	}
	if r.parked == why {
		return
	}
	if _, err := r.c.opt.Store.Commit(ctx, ledger.Commit{Feed: r.feed, Epoch: r.epoch, Whole: drover.NoInstant, Parked: &why}); err != nil {
		r.c.log.Warn("note why a feed is parked", "feed", r.feed, "err", err)
		return
	}
	r.parked = why
	r.c.notify(Event{Feed: r.feed, What: "parked", Err: err})
}
