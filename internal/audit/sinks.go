package audit

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"drover"
	"drover/internal/ledger"
)

// compareSinks says for every sink what became of the revisions of the window.
// doubts: something is unexplained that may settle itself.
func (f *feed) compareSinks(ctx context.Context) (doubts bool, err error) {
	f.Sinks = nil
	for _, s := range f.a.opt.Sinks {
		if f.order.Sinks != nil && !slices.Contains(f.order.Sinks, s.ID) {
			continue
		}
		c := &sinkCheck{f: f, Sink: s, ReportSink: &ReportSink{Sink: s.ID}}
		if err := c.run(ctx); err != nil {
			return doubts, fmt.Errorf("sink %s: %w", s.ID, err)
		}
		f.Sinks = append(f.Sinks, c.ReportSink)
		doubts = doubts || c.Lost > 0
	}
	return doubts, nil
}

// sinkCheck is the audit of one feed at one sink.
type sinkCheck struct {
	f *feed
	Sink
	*ReportSink
	place  ledger.Place
	counts map[string]int64
	aside  map[uint64]string
	gaps   []drover.Gap
	shelf  *shelf // nil if nothing was read back
	passed int64  // revisions that were passed over: no route led there, or the sink's choice of revisions left them out
}

func (c *sinkCheck) lost(d Difference) {
	d.Where, d.Sink, d.Why = "sink", c.ID, Unexplained
	c.Lost += max(d.N, 1)
	c.f.add(d)
}

func (c *sinkCheck) run(ctx context.Context) error {
	switch err := c.load(ctx); {
	case errors.Is(err, ledger.ErrNotFound):
		c.Note = "no process has served this sink yet"
		c.Rows, c.NotOwed = len(c.f.window), len(c.f.window)
		return nil
	case err != nil:
		return err
	}
	if err := c.readBack(ctx); err != nil {
		return err
	}
	routed := c.f.a.opt.Routes.Routed(c.f.tenant, c.f.Feed.Source, c.ID)
	for _, k := range c.f.window {
		c.Rows++
		a := c.f.about[k.Seq]
		d := Difference{AlertID: a.id, Changed: k.Changed, Created: k.Created, Severity: a.severity, Seq: k.Seq}
		_, aside := c.aside[k.Seq]
		gap := slices.IndexFunc(c.gaps, func(g drover.Gap) bool { return k.Seq >= g.First && k.Seq <= g.Last })
		done := k.Seq <= c.place.Seq || slices.Contains(c.place.Beyond, k.Seq)
		switch {
		case k.Seq <= c.place.Start:
			c.NotOwed++
		case aside:
			c.SetAside++
		case gap >= 0:
			c.Gap++
		case !done && !routed:
			c.NotRouted++
		case !done:
			c.Pending++
		case c.found(k, &d):
			c.Delivered++
		case !routed:
			c.NotRouted++
		}
	}
	c.rest()
	c.conserve()
	return nil
}

// load reads what the ledger says of the sink. Places come first: what is done
// by then is at the sink by now.
func (c *sinkCheck) load(ctx context.Context) error {
	store, feed := c.f.a.opt.Store, c.f.Feed
	for range polls + 1 {
		before, err := c.placeNow(ctx)
		if err != nil {
			return err
		}
		days, err := store.Counts(ctx, feed.Tenant)
		if err != nil {
			return err
		}
		c.counts = make(map[string]int64)
		for _, d := range days {
			if d.Source == feed.Source && d.Sink == c.ID {
				c.counts[d.What] += d.N
			}
		}
		if c.place, err = c.placeNow(ctx); err != nil {
			return err
		}
		if before.Seq == c.place.Seq && slices.Equal(before.Beyond, c.place.Beyond) {
			break // nothing was settled in between
		}
	}
	c.passed = c.counts["unrouted"] + c.counts["passed_over"]
	asides, err := store.SetAside(ctx, ledger.AsideFilter{Tenant: feed.Tenant, Sink: c.ID})
	if err != nil {
		return err
	}
	c.aside = make(map[uint64]string)
	for _, a := range asides {
		if a.Feed == feed {
			c.aside[a.Seq] = a.Reason
		}
	}
	gaps, err := store.Gaps(ctx, ledger.GapFilter{Tenant: feed.Tenant, Sink: c.ID})
	c.gaps = slices.DeleteFunc(gaps, func(g drover.Gap) bool { return g.Feed != feed })
	return err
}

func (c *sinkCheck) placeNow(ctx context.Context) (ledger.Place, error) {
	places, err := c.f.a.opt.Store.Places(ctx, c.ID)
	if err != nil {
		return ledger.Place{}, err
	}
	for _, p := range places {
		if p.Feed == c.f.Feed {
			return p, nil
		}
	}
	return ledger.Place{}, fmt.Errorf("no place in feed %s: %w", c.f.Feed, ledger.ErrNotFound)
}

// conserve compares how far the place has come with what is counted: each number
// from the sink's start on is taken, set aside, unrouted or discarded.
func (c *sinkCheck) conserve() {
	done := int64(c.place.Seq-c.place.Start) + int64(len(c.place.Beyond))
	counted := c.counts["taken"] + c.counts["set_aside"] + c.counts["unrouted"] + c.counts["passed_over"] + c.counts["discarded"]
	if done != counted {
		c.lost(Difference{What: Place, Changed: drover.NoInstant, Created: drover.NoInstant, Seq: c.place.Seq, N: int(max(done-counted, counted-done)),
			Detail: fmt.Sprintf("the sink's place says that %d revisions are done, and %d are accounted for", done, counted)})
	}
}

// shelf is what was read back.
type shelf struct {
	all     bool
	records map[string][]record // of the feed's window, by event ID
}

// record is one at a sink.
type record struct {
	sum    drover.Hash
	id     string
	at     drover.Instant
	life   string // the incarnation in which it was written
	extra  bool   // the ledger has no such key
	replay bool
}

// line is a record of format json, as far as it is compared.
type line struct {
	Drover struct {
		EventID     string          `json:"event_id"`
		Tenant      drover.TenantID `json:"tenant"`
		Source      drover.SourceID `json:"source"`
		AlertID     string          `json:"alert_id"`
		Changed     drover.Instant  `json:"changed"`
		Ordinal     uint8           `json:"ordinal"`
		Incarnation string          `json:"incarnation"`
		Replay      bool            `json:"replay"`
	} `json:"drover"`
	Alert json.RawMessage `json:"alert"`
	Raw   []byte          `json:"raw_base64"`
}

// readBack reads the records of the feed's place.
func (c *sinkCheck) readBack(ctx context.Context) error {
	if c.Shelf == nil {
		c.Note = "nothing can be read back from this kind of sink: the ledger's word counts"
		return nil
	}
	lane := c.Lane(c.f.tenant)
	mark, err := c.f.a.opt.Store.Mark(ctx, c.ID, lane)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return err
	}
	s := &shelf{records: make(map[string][]record)}
	lines, odd := 0, 0
	foreign := make(map[drover.TenantID]int)
	s.all, err = c.Shelf.ReadBack(ctx, c.f.tenant, c.f.Feed.Source, mark, func(text []byte) error {
		lines++
		l := line{}
		l.Drover.Changed = drover.NoInstant
		switch err := json.Unmarshal(text, &l); {
		case err != nil || l.Drover.EventID == "":
			odd++
		case l.Drover.Tenant != c.f.tenant.ID:
			if !slices.ContainsFunc(c.f.all, func(t drover.Tenant) bool { return t.ID == l.Drover.Tenant && c.Lane(t) == lane }) {
				foreign[l.Drover.Tenant]++
			}
		case l.Drover.Source == c.f.Feed.Source:
			return c.shelve(ctx, s, &l)
		}
		return nil
	})
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.Note = plain("it could not be read back: " + err.Error())
		c.f.cannot(fmt.Sprintf("sink %s could not be read back: %v", c.ID, err))
		return nil
	}
	if lines > 0 && odd == lines {
		c.Note = "its records carry no event IDs (format raw), so they cannot be told apart: the ledger's word counts"
		return nil
	}
	c.ReadBack, c.shelf = true, s
	if odd > 0 {
		c.lost(Difference{What: Extra, N: odd, Changed: drover.NoInstant, Created: drover.NoInstant, Detail: "lines that are no records of drover's"})
	}
	for t, n := range foreign {
		c.lost(Difference{What: Foreign, N: n, Changed: drover.NoInstant, Created: drover.NoInstant, Detail: "records of tenant " + string(t) + " stand where only this tenant's belong"})
	}
	return nil
}

// shelve keeps a record if it belongs to the window.
func (c *sinkCheck) shelve(ctx context.Context, s *shelf, l *line) error {
	raw := []byte(l.Alert)
	if l.Raw != nil {
		raw = l.Raw
	}
	r := record{sum: sha256.Sum256(raw), id: l.Drover.AlertID, at: l.Drover.Changed, life: l.Drover.Incarnation, replay: l.Drover.Replay, extra: true}
	is := func(k ledger.Key) bool { return k.Changed == r.at && k.Ordinal == l.Drover.Ordinal }
	alert := ledger.AlertHash(r.id)
	switch {
	case slices.ContainsFunc(c.f.keys[alert], is):
		r.extra = false
	case r.at.Known() && (r.at < c.f.order.From || r.at >= c.f.order.To):
		return nil
	default: // older than the keys that were read, or nowhere
		keys, err := c.f.a.opt.Store.Keys(ctx, c.f.Feed, drover.Span{From: r.at, To: r.at + 1}, !r.at.Known())
		if err != nil {
			return err
		}
		if slices.ContainsFunc(keys, func(k ledger.Key) bool { return k.Alert == alert && is(k) }) {
			return nil
		}
	}
	s.records[l.Drover.EventID] = append(s.records[l.Drover.EventID], r)
	return nil
}

// found reports whether a revision that is done is at the sink, as far as that
// can be looked up, and books what is wrong with it. What was found is taken off
// the shelf.
func (c *sinkCheck) found(k ledger.Key, d *Difference) bool {
	a := c.f.about[k.Seq]
	if c.shelf == nil || a.gone {
		return c.f.a.opt.Routes.Routed(c.f.tenant, c.f.Feed.Source, c.ID)
	}
	rev := drover.Revision{Feed: c.f.Feed, AlertID: a.id, Changed: k.Changed, Ordinal: k.Ordinal}
	d.EventID = rev.EventID(0)
	records := c.shelf.records[d.EventID]
	delete(c.shelf.records, d.EventID)
	hits, others := 0, 0
	for _, r := range records {
		switch {
		case r.sum == k.Sum && !r.replay:
			hits++
		case r.sum != k.Sum && r.life == c.f.a.opt.Store.Identity().Incarnation:
			others++
		}
	}
	switch {
	case len(records) > 0 && others > 0:
		d.What, d.Detail = Altered, "the record does not hold the row that the ledger has"
		c.lost(*d)
	case hits > 1:
		d.What, d.N, d.Detail = Twice, hits-1, "the record is there more than once"
		c.lost(*d)
		c.Found++
		return true
	case len(records) > 0:
		c.Found++
		return true
	case c.passed > 0:
		c.passed--
		c.NotRouted++
	case !c.shelf.all:
		d.What, d.Where, d.Sink, d.Why, d.Detail = Missing, "sink", c.ID, WhyMoved, "files were taken away since; it may lie there"
		c.f.add(*d)
		return true
	default:
		d.What, d.Detail = Missing, "the sink's place is past it, and it is not there"
		c.lost(*d)
	}
	return false
}

// rest books records that the ledger has no key of.
func (c *sinkCheck) rest() {
	if c.shelf == nil {
		return
	}
	now := drover.InstantOf(c.f.a.opt.Now())
	for id, list := range c.shelf.records {
		for _, r := range list {
			if !r.extra {
				continue
			}
			d := Difference{What: Extra, Where: "sink", Sink: c.ID, AlertID: r.id, Changed: r.at, Created: drover.NoInstant, EventID: id}
			switch {
			case now.Sub(r.at) > retention:
				d.Why, d.Detail = WhyRetention, "its key is older than what is kept"
				c.f.add(d)
			case r.life != c.f.a.opt.Store.Identity().Incarnation:
				d.Why, d.Detail = WhySuperseded, "it was written in an earlier life of the ledger, incarnation "+r.life
				c.f.add(d)
			default:
				d.Detail = "the ledger has no such revision"
				c.lost(d)
			}
		}
	}
}
