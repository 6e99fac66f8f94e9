package collect

import (
	"context"
	"slices"
	"time"

	"drover"
	"drover/internal/ledger"
)

// firstTail is how far back the tail of a feed begins that has never been read.
// What happened in the last hour is read at once and in order; what lies behind
// is history, read beside the tail.
const firstTail = time.Hour

// historyLeft is how much of the past is left behind as a gap when a place in
// it cannot be read.
const historyLeft = 24 * time.Hour

// historyAhead is how long one waits at most for a backfill that reaches beyond
// the server's now.
const historyAhead = 5 * time.Minute

// emptyPages of a backfill in a row are booked together at most: of years in
// which nothing happened not every answer is worth a write. After a stop so many
// are asked for again.
const emptyPages = 32

// backfill is an open backfill, with what the reader remembers of it.
type backfill struct {
	ledger.Backfill
	due    time.Time // when it is read on
	fails  int       // in a row
	failed time.Time // the first of them
}

// firstRead says where the tail of a feed begins that has never been read, and
// which stretch behind it is history: none if the start is not far back.
//
// History is read oldest rows first. It costs the API no question more than one
// long read would, how far it has come is a single instant, its rows reach
// sinks in the order of change, and what the API is about to forget is read
// before it is gone.
func (r *reader) firstRead(start drover.Instant) (from drover.Instant, behind *drover.Span) {
	for i := range r.backfills {
		if b := &r.backfills[i]; b.First {
			return b.Span.To, nil // it was opened, and no row has come since
		}
	}
	now := r.server.now()
	if !now.Known() {
		now = drover.InstantOf(time.Now())
	}
	if from = now.Add(-firstTail); start >= from || r.blind {
		return start, nil
	}
	return from, &drover.Span{From: start, To: from}
}

// misled reports whether a first read began at the wrong place: our clock is
// ahead of the server's, or the server does not tell the time.
func (r *reader) misled(run *run) bool {
	if run.behind == nil {
		return false
	}
	now := r.server.now()
	r.blind = !now.Known()
	return r.blind || run.behind.To > now.Add(-firstTail/2)
}

// forgotten books as a gap what of a span the API does not keep any more. It is
// asked for all the same: it may show more than it says.
func (r *reader) forgotten(span drover.Span, c *ledger.Commit) {
	g := r.beyondRetention(span.From)
	if g == nil {
		return
	}
	g.Span.To = min(g.Span.To, span.To)
	if slices.ContainsFunc(r.gaps, func(o gap) bool { return o.Provider == "" && o.Span.From <= g.Span.From && o.Span.To >= g.Span.To }) {
		return
	}
	update, open := r.skipped(*g)
	c.Update, c.Open = append(c.Update, update...), append(c.Open, open...)
}

// openPast goes on with the first backfill that is due, or with none.
func (r *reader) openPast() *run {
	now := time.Now()
	for i := range r.backfills {
		b := &r.backfills[i]
		if b.due.After(now) {
			continue
		}
		span := b.Left()
		span.To = min(span.To, r.now())
		run := &run{purpose: readHistory, backfill: b.ID, lateBelow: drover.NoInstant}
		if span.From >= span.To && span.To < b.Span.To {
			b.due = now.Add(r.untilReached(b))
			continue
		}
		run.span, run.at = span, span.From
		run.pass = r.source.Read(*r.tenant.Load(), span)
		return run
	}
	return nil
}

// untilReached is how long to wait for a backfill that reaches beyond the
// server's now.
func (r *reader) untilReached(b *backfill) time.Duration {
	return min(max(b.Span.To.Sub(r.now()), time.Second), historyAhead)
}

// historyProgress says how a page that was read for a backfill moves it.
func (r *reader) historyProgress(run *run, page drover.Page, c *ledger.Commit) {
	b := r.backfillOf(run.backfill)
	if b == nil {
		return
	}
	if nothing := len(page.Rows)+len(c.Open) == 0 && !page.Done; nothing && run.pages > 0 && run.empty < emptyPages {
		run.empty++
		return
	}
	pages := int64(1 + run.empty)
	run.empty = 0
	next := ledger.Backfill{ID: b.ID, At: b.At, State: ledger.BackfillOpen, Pages: pages, Rows: int64(len(page.Rows)), Found: int64(len(c.Revisions))}
	switch {
	case page.Done && run.span.To >= b.Span.To:
		next.At, next.State = b.Span.To, ledger.BackfillDone
	case page.Done:
		next.At, b.due = run.span.To, time.Now().Add(r.untilReached(b))
	case page.Through.Known():
		next.At = min(max(next.At, page.Through), run.span.To)
	}
	if b.First && run.pages == 0 {
		r.forgotten(run.span, c)
	}
	c.Backfills = append(c.Backfills, next)
}

// pastFailed ends a slice of a backfill and says when the feed is due again. A
// place that cannot be read while the tail works is left behind as a gap.
func (r *reader) pastFailed(ctx context.Context, run *run, err error) (time.Time, error) {
	now, kind := time.Now(), drover.KindOf(err)
	b := r.backfillOf(run.backfill)
	if b == nil {
		r.past = nil
		return now, nil
	}
	if b.fails++; b.fails == 1 {
		b.failed = now
	}
	b.due = now.Add(r.c.pause(err, b.fails))
	if kind != drover.Transient && kind != drover.Throttled {
		r.past = nil // the pass is over
	}
	long := now.Sub(b.failed) >= skipTime
	if kind == drover.Denied || kind == drover.Throttled && !long || b.fails < skipAfter && !long {
		return maxTime(r.nextDue(), b.due), nil
	}
	r.past = nil
	to := min(run.at.Add(historyLeft), run.span.To)
	next := ledger.Backfill{ID: b.ID, At: to, State: ledger.BackfillOpen}
	if to >= b.Span.To {
		next.State = ledger.BackfillDone
	}
	c := ledger.Commit{Feed: r.feed, Epoch: r.epoch, Whole: drover.NoInstant, Backfills: []ledger.Backfill{next}}
	c.Update, c.Open = r.skipped(drover.Gap{Feed: r.feed, Span: drover.Span{From: run.at, To: to}, Cause: "could not be read: " + err.Error(), State: drover.GapOpen})
	done, err := r.c.opt.Store.Commit(ctx, c)
	if err != nil {
		return r.failure(ctx, nil, err)
	}
	b.fails = 0
	for _, g := range done.Gaps {
		r.kept(g)
	}
	r.keptBackfills(done.Backfills)
	return maxTime(now, r.nextDue()), nil
}

// backfillDue reports whether the backfill of a run may be read on.
func (r *reader) backfillDue(run *run) bool {
	b := r.backfillOf(run.backfill)
	return b == nil || !b.due.After(time.Now())
}

// keptBackfills replaces what is known of backfills by what the ledger stored.
func (r *reader) keptBackfills(stored []ledger.Backfill) {
	for _, s := range stored {
		b := r.backfillOf(s.ID)
		switch {
		case s.State != ledger.BackfillOpen:
			r.backfills = slices.DeleteFunc(r.backfills, func(b backfill) bool { return b.ID == s.ID })
			r.unlearn()
			if s.State == ledger.BackfillDone {
				r.c.log.Info("history has been read", "feed", r.feed, "span", s.Span, "rows", s.Rows, "new", s.Found)
				r.c.notify(Event{Feed: r.feed, What: "backfilled", N: int(s.Found)})
			}
		case b != nil:
			b.Backfill = s
		default:
			r.backfills = append(r.backfills, backfill{Backfill: s})
			r.c.log.Info("what lies behind the tail is read beside it", "feed", r.feed, "span", s.Span)
		}
	}
}

// reload asks the ledger which backfills are open: an operator may have asked
// for one, or cancelled one.
func (r *reader) reload(ctx context.Context) error {
	list, err := r.c.opt.Store.Backfills(ctx, ledger.BackfillFilter{Feed: r.feed, State: ledger.BackfillOpen})
	if err != nil {
		return err
	}
	old := r.backfills
	r.backfills = nil
	for _, s := range list {
		b := backfill{Backfill: s}
		if i := slices.IndexFunc(old, func(o backfill) bool { return o.ID == s.ID }); i >= 0 {
			b = old[i]
		}
		r.backfills = append(r.backfills, b)
	}
	if r.past != nil && r.backfillOf(r.past.backfill) == nil {
		r.past = nil
	}
	return nil
}

// backfillOf finds an open backfill by ID.
func (r *reader) backfillOf(id int64) *backfill {
	for i := range r.backfills {
		if r.backfills[i].ID == id {
			return &r.backfills[i]
		}
	}
	return nil
}

// unread is what lies behind the tail of a feed that is read for the first
// time and has not been read yet.
func (r *reader) unread() []drover.Span {
	var spans []drover.Span
	for i := range r.backfills {
		if b := &r.backfills[i]; b.First {
			spans = append(spans, b.Left())
		}
	}
	return spans
}
