package deliver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"drover"
	"drover/internal/format"
	"drover/internal/ledger"
)

// Manifests tell a sink what it was given (docs/manifests.md). They are batches
// of their own, behind the alerts that they are about, and are always claimed:
// a repeat is the same to the last byte.

// Bounds of manifests.
const (
	// hourGrace is how long an hour is waited for behind its end, for a commit
	// that was stamped just before it.
	hourGrace = time.Minute
	// maxGiven rows make one manifest at most, so that every search language can
	// hold what its hash is made of in one value; an hour may have several.
	maxGiven = 2_000
	// maxWide numbers lie between First and Last at most, given or not.
	maxWide = 50_000
	// maxManifests go in one batch: alerts have their turn behind it.
	maxManifests = 16
	// lookAgain is when a feed is looked at again in which nothing can be closed
	// though its hour is over.
	lookAgain = 30 * time.Second
)

// vouching is how a feed stands, of what its sink is to be told.
type vouching struct {
	checked uint64    // everything up to it is vouched for, or nothing to vouch for
	look    time.Time // not before
	owing   bool      // it is in its lane's list
}

// markOwing lists the feeds that may have an hour to tell of.
func (s *dest) markOwing(now time.Time) {
	if !s.Manifests {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.feeds {
		if v := &x.vouching; !v.owing && x.place.Seq > v.checked && !now.Before(v.look) {
			v.owing = true
			x.lane.owing = append(x.lane.owing, x)
			s.hot[x.lane] = struct{}{}
		}
	}
}

// owes reports whether a lane has manifests to look for.
func (l *lane) owes() bool {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	return len(l.owing) > 0
}

// tell puts the lane's next manifests together, nil if none is ready. An error
// of reading delays them and nothing else, unless a promise is broken.
func (l *lane) tell(ctx context.Context) (*batch, error) {
	if err := l.loadMark(ctx); err != nil {
		return nil, err
	}
	b := &batch{generation: l.s.d.opt.Routes.Generation(), manifests: true}
	for len(b.items) < maxManifests {
		l.s.mu.Lock()
		if len(l.owing) == 0 {
			l.s.mu.Unlock()
			break
		}
		x := l.owing[0]
		l.owing = l.owing[1:]
		x.vouching.owing = false
		here := x.lane == l && x.want == l.name && !x.removed
		tenant := *x.tenant
		l.s.mu.Unlock()
		if !here {
			continue // the next look finds it where it belongs
		}
		list, next, err := l.s.closed(ctx, x.Feed, tenant, maxManifests-len(b.items))
		if err != nil {
			if passing(err) != nil {
				return nil, fmt.Errorf("make a manifest of feed %s: %w", x.Feed, err)
			}
			l.s.d.log.Warn("a manifest cannot be made now", "sink", l.s.ID, "feed", x.Feed, "err", err)
			next.look = time.Now().Add(lookAgain)
		}
		l.s.mu.Lock()
		x.vouching.checked, x.vouching.look = max(x.vouching.checked, next.checked), next.look
		l.s.mu.Unlock()
		for i := range list {
			b.items = append(b.items, manifestItem(tenant, &list[i]))
		}
	}
	if len(b.items) == 0 {
		return nil, nil
	}
	return b, nil
}

func manifestItem(t drover.Tenant, m *ledger.Manifest) item {
	return item{feed: m.Feed, seq: m.Last, size: len(m.Record), manifest: m,
		rec: drover.Record{EventID: m.EventID, Tenant: t.ID, Customer: t.Customer, Source: m.Feed.Source, Seq: m.Last, Time: m.At, Body: m.Record}}
}

// retell takes a batch of manifests up again as it was, but for those that are
// settled and those of tenants that are gone.
func (l *lane) retell(ctx context.Context, h *held) (*batch, error) {
	b := &batch{generation: h.generation, claimed: h.claimed, unclear: h.unclear, manifests: true}
	for i := range h.manifests {
		m := &h.manifests[i]
		l.s.mu.Lock()
		x := l.s.feeds[m.Feed]
		l.s.mu.Unlock()
		if x == nil {
			continue
		}
		v, err := l.s.d.opt.Store.Vouched(ctx, l.s.ID, m.Feed)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
		case err != nil:
			return nil, err
		case m.Last > v.Seq:
			l.s.mu.Lock()
			tenant := *x.tenant
			l.s.mu.Unlock()
			b.items = append(b.items, manifestItem(tenant, m))
		}
	}
	return b, nil
}

// hourOf is the beginning of the hour in which a revision was stored.
func hourOf(at drover.Instant) drover.Instant {
	return drover.InstantOf(at.Time().Truncate(time.Hour))
}

// closed makes the manifests of a feed's hours that are over, the oldest first
// and at most so many. A stretch of one hour is over when the sink has behind it
// a row of another hour, or everything there is and the hour is past.
func (s *dest) closed(ctx context.Context, f drover.Feed, t drover.Tenant, most int) (out []ledger.Manifest, next vouching, err error) {
	v, err := s.d.opt.Store.Vouched(ctx, s.ID, f)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, next, nil // it begins with the next look at the tenants
	}
	if err != nil {
		return nil, next, err
	}
	p, err := s.d.opt.Store.Place(ctx, s.ID, f)
	if err != nil {
		return nil, next, err
	}
	w := &stretch{most: most, missed: v.Missed, after: v.Seq, next: v.Seq + 1}
	w.skip()
	for from := uint64(0); from != w.next && w.next <= p.Head && !w.whole; {
		from = w.next
		rows := 1 // behind the place, to see its hour
		if w.next <= p.Seq {
			rows += int(min(p.Seq-w.next+1, maxGiven))
		}
		err := s.d.opt.Store.Walk(ctx, f, w.next-1, rows, s.MaxBytes, func(r *drover.Revision) { w.see(r, p.Seq) })
		if errors.Is(err, ledger.ErrNotFound) {
			return nil, next, nil // the tenant was removed meanwhile
		}
		if err != nil {
			return nil, next, err
		}
	}
	now := time.Now()
	switch over := w.hour.Add(time.Hour + hourGrace).Time(); {
	case len(w.done) >= most: // there may be more, at once
	case len(w.items) == 0:
		next.checked = p.Seq
	case w.ended || p.Seq == p.Head && !now.Before(over):
		w.close()
		next.checked = p.Seq
	case now.Before(over):
		next.look = over
	default:
		next.look = now.Add(lookAgain)
	}
	for i := range w.done {
		m := &w.done[i]
		m.Tenant, m.Source, m.Sink, m.Incarnation = t, f.Source, s.ID, s.d.opt.Store.Identity().Incarnation
		if err := s.troubles(ctx, f, m); err != nil {
			return nil, vouching{}, err
		}
		out = append(out, ledger.Manifest{Feed: f, First: m.First, Last: m.Last, EventID: m.EventID(), At: m.Hour, Record: m.Append(nil)})
	}
	return out, next, nil
}

// troubles counts what a manifest says beside the rows.
func (s *dest) troubles(ctx context.Context, f drover.Feed, m *format.Manifest) error {
	aside, err := s.d.opt.Store.SetAside(ctx, ledger.AsideFilter{Tenant: f.Tenant, Source: f.Source, Sink: s.ID, Unresolved: true, First: m.After + 1, Last: m.Last})
	if err != nil {
		return err
	}
	m.SetAside = len(aside)
	gaps, err := s.d.opt.Store.Gaps(ctx, ledger.GapFilter{Tenant: f.Tenant, State: drover.GapOpen})
	if err != nil {
		return err
	}
	for i := range gaps {
		switch {
		case gaps[i].Feed != f:
		case gaps[i].Sink == "":
			m.Gaps++
		case gaps[i].Sink == s.ID:
			m.SinkGaps++
		}
	}
	return nil
}

// stretch gathers rows of one hour, one after the other.
type stretch struct {
	most   int            // manifests at most
	missed []drover.Range // not given, from next on
	after  uint64         // where the manifest before this one ended
	next   uint64         // number of the row to see
	whole  bool           // the first row behind the place has been seen
	ended  bool           // and is of another hour

	hour        drover.Instant
	first, last uint64
	items       format.Items
	gone        uint64 // between after and first

	done []format.Manifest
}

// skip passes over what was not given.
func (w *stretch) skip() {
	for len(w.missed) > 0 && w.missed[0].First <= w.next {
		w.next = max(w.next, w.missed[0].Last+1)
		w.missed = w.missed[1:]
	}
}

// see takes a row. Up to place the sink has it; one behind it only shows that
// another hour has begun.
func (w *stretch) see(r *drover.Revision, place uint64) {
	if w.whole || len(w.done) >= w.most {
		return
	}
	w.lose(min(r.Seq-1, place))
	hour := hourOf(r.Stored)
	switch {
	case r.Seq > place:
		w.whole, w.ended = true, hour != w.hour
		return
	case r.Seq < w.next:
		return // it was not given
	case len(w.items) > 0 && (hour != w.hour || len(w.items) == maxGiven || r.Seq-w.first >= maxWide):
		if w.close(); len(w.done) == w.most {
			return
		}
	}
	if len(w.items) == 0 {
		w.hour, w.first = hour, r.Seq
	}
	w.items.Add(r)
	w.last, w.next = r.Seq, r.Seq+1
	w.skip()
}

// lose passes over what was given and thrown away since, up to last: it goes
// from the oldest on, so it lies before all that is there.
func (w *stretch) lose(last uint64) {
	for w.next <= last {
		w.gone++
		w.next++
		w.skip()
	}
}

// close ends the stretch as a manifest.
func (w *stretch) close() {
	n := len(w.items)
	w.done = append(w.done, format.Manifest{Hour: w.hour, After: w.after, First: w.first, Last: w.last, Count: n, Hash: w.items.Hash(), Gone: w.gone, NotGiven: w.last - w.first + 1 - uint64(n)})
	w.after, w.items, w.gone = w.last, w.items[:0], 0
}
