package defender

import (
	"bytes"
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"drover"
)

// listing is an API that states no order: it is read window by window, both
// ends given. All that one has different from another.
type listing struct {
	source     drover.SourceID
	op, path   string
	fields     *fields
	page, most int           // rows that are asked for at once, or from which an answer is taken for cut; and at most
	widest     time.Duration // of a window
	doubt      int           // rows from which an answer is checked for being cut at an unknown number
	divide     []condition   // by which a moment is divided that no answer shows whole
	exact      bool          // it says of its bounds whether they are included
	offsets    bool          // it takes $top and $skip, and may give links
	nameless   bool          // its rows name no tenant
	permission string
	forbidden  string // the hint to a 403 that says nothing, if it is not the usual one
	gone       string // the hint when the API is not there
	// url renders a question.
	url func(collection string, q stretch) string
}

// Listing reads one of the APIs of Defender for Endpoint.
type Listing struct {
	opt  Options
	of   *listing
	vain *vain
	tops *tops
}

func newListing(opt Options, of *listing) *Listing {
	if opt.PageSize <= 0 {
		opt.PageSize = of.page
	}
	opt.PageSize = min(opt.PageSize, of.most)
	return &Listing{opt: opt.withDefaults(), of: of, vain: newVain(), tops: newTops()}
}

// ID is drover.MDEAlerts or drover.SIEMDetections.
func (s *Listing) ID() drover.SourceID { return s.of.source }

// Version of the reading rules.
func (s *Listing) Version() int { return 1 }

// Retention is the tenant's, 180 days (reference mde-api §4); the pages of the
// SIEM API say no more (reference siem-api §3).
func (s *Listing) Retention() time.Duration { return 180 * 24 * time.Hour }

// NamesTenant: every alert of Defender for Endpoint carries aadTenantId, and
// one that does not is counted; a detection names no tenant, the token does.
func (s *Listing) NamesTenant() bool { return !s.of.nameless }

// Read begins a pass.
func (s *Listing) Read(t drover.Tenant, span drover.Span) drover.Pass {
	return &listingPass{
		client: client{opt: s.opt, source: s.of.source, op: s.of.op, tenant: t, vain: s.vain, clock: newClock(s.opt.Now), permission: s.of.permission, forbidden: s.of.forbidden, gone: s.of.gone, retiring: true,
			header: http.Header{"Accept": {"application/json"}}},
		of: s.of, tops: s.tops, span: span, at: max(span.From, beginOfTime), width: windowFirst, through: span.From, next: span.From, givenTo: drover.NoInstant, full: s.opt.PageSize, believed: drover.NoInstant,
	}
}

// stretch is one question to a listing.
type stretch struct {
	since, until drover.Instant
	filter       string // one more condition, "" for none
	top, skip    int    // where the listing takes them
}

// Bounds of the windows in which a listing is read.
const (
	windowFirst = time.Hour
	windowMin   = 10 * time.Millisecond
	windowRows  = 2000 // returned at once
	windowLag   = 2 * time.Second
	windowLinks = 10 // followed in one reading of a window
)

// listingPass reads a span window by window. A window whose answer may have
// been cut is halved; a moment that cannot be halved is divided by conditions,
// or left out.
type listingPass struct {
	client
	of       *listing
	tops     *tops
	span     drover.Span
	at       drover.Instant // where the next window begins
	width    time.Duration
	through  drover.Instant
	full     int                      // rows from which an answer is taken for cut
	longest  int                      // the most rows of an answer: one that has fewer was not cut at a number
	given    map[drover.Hash]struct{} // rows of answers that were cut
	givenTo  drover.Instant           // and where the last of these answers ends
	queue    []drover.Row             // rows of a window that were read and not yet returned
	head     drover.Page              // what its first page says beside the rows
	next     drover.Instant
	last     bool    // the window is the span's last
	parts    []piece // of a moment that is divided by conditions, still to be read
	heard    clock   // of the answer to that moment as a whole
	ends     bool    // with it ends the span
	fails    int
	owed     debt // of a window that was not read whole
	over     bool
	believed drover.Instant // the newest time of a row that can be believed
}

// Next returns the next part of a window.
func (p *listingPass) Next(ctx context.Context) (drover.Page, error) {
	if err := checkSpan(p.op, p.tenant, p.span); err != nil {
		return drover.Page{}, err
	}
	if p.over {
		return drover.Page{}, &drover.Error{Op: p.op, Tenant: p.tenant.ID, Kind: drover.Broken, Err: errOver}
	}
	if len(p.queue) == 0 {
		err := p.owed.take()
		if err == nil {
			p.release()
			p.head = drover.Page{}
			if len(p.parts) > 0 {
				err = p.nextPart(ctx)
			} else {
				err = p.nextWindow(ctx)
			}
			err = p.owed.behind(len(p.queue), err)
		}
		if err != nil {
			if p.fails++; shrinks(err, p.fails) {
				p.width = max(p.width/2, windowMin)
			}
			return drover.Page{}, err
		}
		if p.owed.err == nil {
			p.fails = 0
		}
	}
	out := p.head
	p.head = drover.Page{}
	n := min(len(p.queue), windowRows)
	out.Rows, p.queue = p.queue[:n:n], p.queue[n:]
	if len(p.queue) == 0 {
		p.queue = nil
		p.at = p.next
		p.reach(p.next)
		out.Done, p.over = p.last, p.last
	}
	out.Server, out.Through, out.Asked = p.clock.date, p.through, p.told()
	return out, nil
}

// reach notes that every row below i has been returned: as far as the server's
// clock had come, or without one the newest row.
func (p *listingPass) reach(i drover.Instant) {
	if p.clock.asOf.Known() {
		i = min(i, p.clock.asOf)
	} else {
		i = min(i, p.believed)
	}
	p.through = max(p.through, i)
}

// end is where the span ends for now: nothing is asked for beyond the server's
// now, by its own word or, before the first answer, by the local clock.
func (p *listingPass) end() drover.Instant {
	now := p.clock.date
	if !now.Known() {
		now = drover.InstantOf(p.clock.now())
	}
	if p.span.Open() {
		return now
	}
	return min(p.span.To, now)
}

// nextWindow reads the next window. One whose answer may have been cut is
// halved, and the pass stays where it is.
func (p *listingPass) nextWindow(ctx context.Context) error {
	told, end := p.clock.date.Known(), p.end()
	until := min(p.at.Add(p.width), end)
	if until <= p.at {
		until = p.at.Add(min(p.width, time.Second)) // at the end already, or clocks differ: a moment beyond loses nothing
		if !p.span.Open() {
			until = min(until, p.span.To)
		}
	}
	p.width = max(min(p.width, until.Sub(p.at)), windowMin)
	span := drover.Span{From: p.at, To: until}
	got, err := p.ask(ctx, stretch{since: p.at, until: until}, until.Sub(p.at) > windowMin)
	switch {
	case err != nil:
		p.keep(got.rows, until)
		return err
	case got.cut && !touches(span, got.rows):
		p.keep(got.rows, until)
		return p.notWhole(errBounds)
	case got.cut && until.Sub(p.at) > windowMin:
		// What it shows is returned all the same; the halves follow.
		p.width = max(until.Sub(p.at)/2, windowMin)
		p.keep(got.rows, until)
		return nil
	}
	last := false
	switch {
	case until < end:
	case !p.span.Open() && until >= p.span.To:
		last = true
	default:
		// The end as it was known when this was asked. If only the local
		// clock had said so, the server's may be ahead of it.
		last = told || !p.clock.asOf.Known() || p.clock.asOf.Sub(until) <= windowLag
	}
	if got.cut {
		if p.parts = split(piece{span: span}, p.of.divide); p.parts != nil {
			p.heard, p.ends = p.clock, last
			p.keep(got.rows, until)
			return nil
		}
		p.leave(span)
	}
	partly(&p.head, got.res, span)
	p.last = last
	p.accept(got.rows, until)
	if len(got.rows) <= p.full/4 {
		p.width = min(p.width*2, p.of.widest)
	}
	return nil
}

// nextPart reads one part of a moment that no answer shows whole.
func (p *listingPass) nextPart(ctx context.Context) error {
	pc := p.parts[0]
	got, err := p.ask(ctx, stretch{since: pc.span.From, until: pc.span.To, filter: pc.filter}, false)
	switch {
	case err != nil && got.res != nil && got.res.Status == http.StatusBadRequest:
		p.leave(pc.span) // the API does not take the condition: what it would have shown is not known
	case err != nil:
		p.keep(got.rows, pc.span.To)
		return err
	case got.cut:
		if narrower := split(pc, p.of.divide); narrower != nil {
			p.parts = append(narrower, p.parts[1:]...)
			p.keep(got.rows, pc.span.To)
			return nil
		}
		p.leave(pc.span)
	}
	if got.res.Status != http.StatusBadRequest {
		partly(&p.head, got.res, pc.span)
	}
	if p.parts = p.parts[1:]; len(p.parts) > 0 {
		p.keep(got.rows, pc.span.To)
		return nil
	}
	p.clock, p.last = p.heard, p.ends // what the first answer could hold
	p.accept(got.rows, pc.span.To)
	return nil
}

// leave notes that a stretch is left out.
func (p *listingPass) leave(span drover.Span) {
	p.head.Skipped = append(p.head.Skipped, drover.Skipped{Span: span, Cause: causeUnsplittable})
}

// touches reports whether one of rows lies in a span, or just beside it.
func touches(span drover.Span, rows []drover.Row) bool {
	return slices.ContainsFunc(rows, func(r drover.Row) bool {
		return r.Changed >= span.From.Add(-grain) && r.Changed < span.To.Add(grain)
	})
}

// keep takes the rows of a window that was not read whole, and stays at its
// begin.
func (p *listingPass) keep(rows []drover.Row, until drover.Instant) {
	p.queue, p.next, p.last = p.fresh(rows), p.at, false
	if p.given == nil {
		p.given = make(map[drover.Hash]struct{})
	}
	for i := range p.queue {
		p.given[p.queue[i].Sum] = struct{}{}
	}
	p.givenTo = max(p.givenTo, until)
}

// accept takes the rows of a window that was read whole.
func (p *listingPass) accept(rows []drover.Row, until drover.Instant) {
	p.queue, p.next = p.fresh(rows), until
	if p.clock.asOf.Known() {
		p.next = min(until, max(p.clock.asOf, p.at)) // what the server's clock had not reached was not there
	}
	if p.next >= p.givenTo {
		p.given, p.givenTo = nil, drover.NoInstant
	}
}

// fresh sorts rows and leaves out those that came before: in an answer that was
// cut, or another time in this one.
func (p *listingPass) fresh(rows []drover.Row) []drover.Row {
	slices.SortFunc(rows, func(a, b drover.Row) int {
		return cmp.Or(cmp.Compare(a.Changed, b.Changed), strings.Compare(a.ID, b.ID), bytes.Compare(a.Sum[:], b.Sum[:]))
	})
	rows = slices.CompactFunc(rows, func(a, b drover.Row) bool { return a.Sum == b.Sum })
	if len(p.given) > 0 {
		rows = slices.DeleteFunc(rows, func(r drover.Row) bool { _, ok := p.given[r.Sum]; return ok })
	}
	for i := range rows {
		if c := rows[i].Changed; c.Known() && p.clock.believes(c) {
			p.believed = max(p.believed, c)
		}
	}
	return rows
}
