package collect

import (
	"slices"
	"time"

	"drover"
)

// gap is an open gap in reading, with what the reader remembers of it.
type gap struct {
	drover.Gap
	due  time.Time // when it is tried again
	lost bool      // the API does not go back so far any more; nothing to try
}

// Pauses between tries of a gap double from one to six hours at most. A gap
// that was just split is tried at once: halving is how a bad instant is found.
const (
	gapPause     = time.Minute
	gapLastPause = 6 * time.Hour
	gapNarrowest = time.Second // narrower ones are not split
	gapTries     = 2           // before one is split
	gapsSplit    = 64          // open at a feed: beyond, none is split
)

// leaveMargin is how close to now a tail that leaves a place behind begins.
const leaveMargin = time.Minute

// retentionCause marks gaps that cannot be closed by reading.
const retentionCause = "older than the API keeps its rows"

// leaveBehind makes the tail begin behind the place that cannot be read, if
// there is room behind it. The gap is opened together with the first page that
// is read there; if none is, nothing changes.
func (r *reader) leaveBehind(cause error) bool {
	now := r.server.now()
	if !now.Known() {
		return false
	}
	from, to := r.tail.at, now.Add(-leaveMargin)
	if from >= to {
		return false // it fails at the newest rows: nothing to go on with
	}
	why := "could not be read: " + cause.Error()
	r.tail = r.openTail(&drover.Gap{Feed: r.feed, Span: drover.Span{From: from, To: to}, Cause: why, State: drover.GapOpen})
	return true
}

// skipped opens the gap that a tail leaves behind, or makes the one that it left
// behind before longer.
func (r *reader) skipped(g drover.Gap) (update, open []drover.Gap) {
	for i := range r.gaps {
		if old := r.gaps[i].Gap; old.Provider == "" && !old.Span.Open() && old.Span.From <= g.Span.From && old.Span.To >= g.Span.From && old.Span.To <= g.Span.To {
			old.Span.To = g.Span.To
			return []drover.Gap{old}, nil
		}
	}
	return nil, []drover.Gap{g}
}

// beyondRetention returns the gap that a read beginning at from leaves because
// the API has forgotten those rows.
func (r *reader) beyondRetention(from drover.Instant) *drover.Gap {
	now := r.server.now()
	if !now.Known() || !from.Known() {
		return nil
	}
	if kept := now.Add(-r.source.Retention()); from < kept {
		return &drover.Gap{Feed: r.feed, Span: drover.Span{From: from, To: kept}, Cause: retentionCause, State: drover.GapOpen}
	}
	return nil
}

// dueGap returns the gap to try next.
func (r *reader) dueGap() *gap {
	var best *gap
	now, server := time.Now(), r.now()
	for i := range r.gaps {
		g := &r.gaps[i]
		g.lost = g.Cause == retentionCause || !g.Span.Open() && g.Span.To <= server.Add(-r.source.Retention())
		if g.lost || g.due.After(now) {
			continue
		}
		if best == nil || g.due.Before(best.due) {
			best = g
		}
	}
	return best
}

// gapOf finds a gap by ID.
func (r *reader) gapOf(id int64) *gap {
	for i := range r.gaps {
		if r.gaps[i].ID == id {
			return &r.gaps[i]
		}
	}
	return nil
}

// kept replaces what is known of a gap by what the ledger stored.
func (r *reader) kept(stored drover.Gap) {
	g := r.gapOf(stored.ID)
	switch {
	case stored.State != drover.GapOpen:
		if g != nil {
			*g = r.gaps[len(r.gaps)-1]
			r.gaps = r.gaps[:len(r.gaps)-1]
		}
		r.c.log.Info("a gap is closed", "feed", r.feed, "span", stored.Span, "provider", stored.Provider)
		r.c.notify(Event{Feed: r.feed, What: "gap_closed"})
	case g != nil:
		g.Gap = stored
	default:
		r.gaps = append(r.gaps, gap{Gap: stored, due: time.Now()})
		r.c.log.Warn("a gap is open", "feed", r.feed, "span", stored.Span, "provider", stored.Provider, "cause", stored.Cause)
		r.c.notify(Event{Feed: r.feed, What: "gap_opened"})
	}
}

// gapProgress says how a page read for a gap changes it, and which part of it
// stays open when it is split.
func (r *reader) gapProgress(run *run, page drover.Page) (update, open []drover.Gap) {
	g := r.gapOf(run.gap)
	if g == nil {
		return nil, nil
	}
	next := g.Gap
	for _, s := range page.Skipped {
		run.skipped = run.skipped || s.Provider == g.Provider || g.Provider == ""
	}
	switch {
	case page.Done && !run.skipped && !next.Span.Open() && run.span.To < next.Span.To:
		// It is longer than what was read: it has grown since, or reaches
		// beyond the server's now.
		next.Span.From = run.span.To
		g.due = time.Now().Add(r.gapWait(1))
	case page.Done && !run.skipped:
		next.State = drover.GapClosed
	case page.Done:
		next.Tries++
		g.due = time.Now().Add(r.gapWait(next.Tries))
	case !run.skipped && page.Through.Known() && page.Through > next.Span.From && (next.Span.Open() || page.Through < next.Span.To):
		next.Span.From = page.Through
	default:
		return nil, nil
	}
	return []drover.Gap{next}, nil
}

func (r *reader) gapWait(tries int) time.Duration {
	p := double(gapPause, gapLastPause, tries-1)
	return p/2 + r.c.random(p/2)
}

// sideFailed ends a read beside the tail and says when the feed is due again.
// A gap that fails while the tail works is halved until what is bad is narrow.
func (r *reader) sideFailed(run *run, err error) time.Time {
	r.side = nil
	r.known.endSide()
	now := time.Now()
	wait := r.c.pause(err, 1)
	switch run.purpose {
	case readGap:
		g := r.gapOf(run.gap)
		if g == nil {
			break
		}
		g.Tries++
		g.due = now.Add(max(wait, r.gapWait(g.Tries)))
		if w := g.Span.To.Sub(g.Span.From); drover.KindOf(err) == drover.Transient && g.Tries >= gapTries && !g.Span.Open() && w > gapNarrowest && len(r.gaps) < gapsSplit && !slices.Contains(r.known.split, g.ID) {
			r.known.split = append(r.known.split, g.ID)
			g.due = now.Add(wait)
		}
	case readSweep:
		s := &r.sweeps[run.sweep]
		s.due = now.Add(max(wait, min(r.c.opt.Sweeps[run.sweep].Every/10, skipTime/skipAfter)))
		if drover.KindOf(err) != drover.Transient {
			break
		}
		if s.fails++; s.fails >= skipAfter {
			s.fails = 0
			r.leaveUnswept(drover.Span{From: run.at, To: run.span.To}, err)
		}
	}
	return maxTime(now.Add(wait), r.nextDue())
}

// leaveUnswept makes a gap of what a sweep could not read. It is halved until
// what is bad is narrow, and the next sweep goes round it. If a gap lies there
// already, the next sweep goes round that one.
func (r *reader) leaveUnswept(span drover.Span, cause error) {
	if len(r.leave) > 0 || !slices.Equal(r.besideGaps(span), []drover.Span{span}) {
		return
	}
	r.leave = append(r.leave, drover.Gap{Feed: r.feed, Span: span, Cause: "could not be read again: " + cause.Error(), State: drover.GapOpen})
}

// splits returns what must be written to halve the gaps that were found to be
// unreadable as a whole; not those that are changed by the same commit.
func (r *reader) splits(changed []drover.Gap) (update, open []drover.Gap) {
	for _, id := range r.known.split {
		g := r.gapOf(id)
		if g == nil || g.Span.Open() || slices.ContainsFunc(changed, func(c drover.Gap) bool { return c.ID == id }) {
			continue
		}
		middle := g.Span.From.Add(g.Span.To.Sub(g.Span.From) / 2)
		if middle <= g.Span.From {
			continue
		}
		left, right := g.Gap, g.Gap
		left.Span.To, left.Tries = middle, 0
		right.ID, right.Span.From, right.Tries = 0, middle, 0
		update, open = append(update, left), append(open, right)
	}
	r.known.split = r.known.split[:0]
	return update, open
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
