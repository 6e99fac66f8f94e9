package collect

import (
	"slices"
	"time"

	"drover"
)

// sweep is one of a feed's sweeps.
type sweep struct {
	due   time.Time
	fails int // in a row
}

// mayReadBeside reports whether anything is read beside the tail: not while it
// has never been read whole, or is failing.
func (r *reader) mayReadBeside() bool { return r.whole.Known() && r.now().Known() && r.fails == 0 }

// openSide begins the most urgent read beside the tail, or nothing.
func (r *reader) openSide() *run {
	if !r.mayReadBeside() {
		return nil
	}
	now, t := r.now(), *r.tenant.Load()
	begin := func(p purpose, span drover.Span) *run {
		return &run{purpose: p, span: span, at: span.From, pass: r.source.Read(t, span), lateBelow: r.through}
	}
	if n := len(r.confirm); n > 0 {
		span := r.confirm[n-1]
		r.confirm = r.confirm[:n-1]
		return begin(readAgain, span)
	}
	if g := r.dueGap(); g != nil {
		span := g.Span
		if span.Open() || span.To > now {
			span.To = now
		}
		if span.From >= span.To {
			g.due = time.Now().Add(r.gapWait(1)) // it has not come to be yet
			return nil
		}
		run := begin(readGap, span)
		run.gap = g.ID
		return run
	}
	for i, s := range r.c.opt.Sweeps {
		if time.Now().Before(r.sweeps[i].due) {
			continue
		}
		r.sweeps[i].due = time.Now().Add(s.Every)
		span := drover.Span{From: max(t.Start, now.Add(-min(s.Depth, r.source.Retention()))), To: min(now, r.through.Add(-r.c.opt.Overlap))}
		if parts := r.besideGaps(span); len(parts) > 0 {
			run := begin(readSweep, parts[0])
			run.sweep, run.rest = i, parts[1:]
			return run
		}
	}
	return nil
}

// besideGaps is what of a span lies in no open gap, nor in the past that is yet
// to be read: a sweep does not stop where that is done anyway.
func (r *reader) besideGaps(span drover.Span) []drover.Span {
	parts := []drover.Span{span}
	out := r.unread()
	for _, g := range r.gaps {
		if g.Provider == "" {
			out = append(out, g.Span)
		}
	}
	for _, g := range out {
		var beside []drover.Span
		for _, p := range parts {
			if g.From >= p.To || !g.Open() && g.To <= p.From {
				beside = append(beside, p)
				continue
			}
			beside = append(beside, drover.Span{From: p.From, To: g.From})
			if !g.Open() {
				beside = append(beside, drover.Span{From: g.To, To: p.To})
			}
		}
		parts = beside
	}
	return slices.DeleteFunc(parts, func(p drover.Span) bool { return p.From >= p.To })
}

// goOnSweeping begins the next part of a sweep.
func (r *reader) goOnSweeping(done *run) {
	if len(done.rest) == 0 {
		r.sweeps[done.sweep].fails = 0
		return
	}
	next := *done
	next.span, next.rest, next.at = done.rest[0], done.rest[1:], done.rest[0].From
	next.pass = r.source.Read(*r.tenant.Load(), next.span)
	next.pages, next.rows, next.skipped = 0, 0, false
	r.side = &next
}
