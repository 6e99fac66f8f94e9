package defender

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"drover"
	"drover/internal/httpx"
)

// Page sizes of Graph alerts. Above 1,000 the sources disagree whether $top is
// clamped or refused (reference graph-security §2). 500 rows are about 3 MB;
// beyond that a page costs memory and a lost one more time, and a request less
// gains nothing.
const (
	graphPage    = 500
	graphPageMax = 1000
)

const graphPath = "/v1.0/security/alerts_v2"

// collection is one of Graph's lists of what changes: all that one list has
// different from another.
type collection struct {
	source     drover.SourceID
	op, path   string
	fields     *fields
	page, most int         // rows that are asked for at once, and at most
	divide     []condition // by which an instant is divided, in this order
	permission string
	gone       string // the hint when the API is not there
}

var graphAlerts = &collection{
	source: drover.GraphAlerts, op: "read alerts", path: graphPath, fields: graphFields, page: graphPage, most: graphPageMax,
	divide:     []condition{{"severity", severities}, {"serviceSource", products}},
	permission: "SecurityAlert.Read.All",
	gone:       "this cloud has no Graph alerts_v2, or the host is wrong: check the tenant's cloud; where Graph has none, read the tenant by mde.alerts or siem.detections",
}

// Graph reads one of Graph's collections.
type Graph struct {
	opt  Options
	of   *collection
	vain *vain
	tops *tops

	mu      sync.Mutex
	ordered map[drover.TenantID]time.Time // until when its API is known to keep the order
}

// NewGraphAlerts returns the source that reads /v1.0/security/alerts_v2.
func NewGraphAlerts(opt Options) *Graph { return newGraph(opt, graphAlerts) }

func newGraph(opt Options, of *collection) *Graph {
	if opt.PageSize <= 0 {
		opt.PageSize = of.page
	}
	opt.PageSize = min(opt.PageSize, of.most)
	return &Graph{opt: opt.withDefaults(), of: of, vain: newVain(), tops: newTops(), ordered: make(map[drover.TenantID]time.Time)}
}

// ID is drover.GraphAlerts or drover.GraphIncidents.
func (s *Graph) ID() drover.SourceID { return s.of.source }

// Version of the reading rules.
func (s *Graph) Version() int { return 1 }

// Retention is that of Defender for Endpoint (reference graph-security §1); of
// incidents no page says another.
func (s *Graph) Retention() time.Duration { return 180 * 24 * time.Hour }

// NamesTenant: every row carries tenantId; one that does not is counted.
func (s *Graph) NamesTenant() bool { return true }

// Read begins a pass.
func (s *Graph) Read(t drover.Tenant, span drover.Span) drover.Pass {
	return &graphPass{
		client: client{opt: s.opt, source: s.of.source, op: s.of.op, tenant: t, vain: s.vain, clock: newClock(s.opt.Now), permission: s.of.permission, gone: s.of.gone,
			header: http.Header{"Accept": {"application/json"}, "Prefer": {"include-unknown-enum-members"}}},
		s: s, span: span, at: span.From, through: span.From, frozen: drover.NoInstant, seen: newSeen(),
	}
}

// graphPass reads a span by keyset: one page in the order of change times,
// then again from the last time seen, until that brings nothing new. A short
// page says nothing, as the API may clamp. No link is followed, because a link
// may be an offset into a list that moves (reference graph-security §2), save
// through a run of equal times that is longer than a page.
type graphPass struct {
	client
	s         *Graph
	span      drover.Span
	at        drover.Instant // where the next page begins
	exact     bool           // at is not the span's begin any more
	through   drover.Instant
	frozen    drover.Instant // what the server's clock said when at ran ahead of it
	seen      *seen
	pages     int         // pages that were not all
	widest    int         // the most rows of a page that led on
	asked     int         // how often it was unclear whether an instant is whole
	stuck     int         // instants left in a row without a page that led on
	run       *run        // a run of equal times that is read by links
	windows   *windows    // a stretch that is read in windows
	held      drover.Page // what a step that failed had to say, beside rows
	owed      debt        // of a step that had read rows before it failed
	unchecked *unchecked
	fails     int // failures of the step at hand
	shrink    int // how often $top is halved for failures
	calm      int // steps since the last failure
	done      bool
}

// regrow is after how many steps without a failure twice as many rows are asked
// for again.
const regrow = 8

// maxAsked bounds how often a pass asks again because rows left an instant
// while it was found out whether it is whole.
const maxAsked = 20

// errOver: a pass that has ended was asked for more.
var errOver = errors.New("the pass is over")

// Next reads the next page.
func (p *graphPass) Next(ctx context.Context) (drover.Page, error) {
	if err := checkSpan(p.op, p.tenant, p.span); err != nil {
		return drover.Page{}, err
	}
	if p.done {
		return drover.Page{}, &drover.Error{Op: p.op, Tenant: p.tenant.ID, Kind: drover.Broken, Err: errOver}
	}
	if err := p.owed.take(); err != nil {
		return drover.Page{}, err
	}
	if p.unchecked == nil {
		p.release()
	}
	step := p.nextPage
	switch {
	case p.run != nil:
		step = p.nextOfRun
	case p.windows != nil:
		step = p.nextWindow
	}
	out, err := step(ctx)
	out.Again = max(out.Again+p.held.Again, 0)
	out.Skipped = slices.Concat(p.held.Skipped, out.Skipped)
	out.Absent = slices.Concat(p.held.Absent, out.Absent)
	p.held = drover.Page{}
	if err != nil {
		p.calm = 0
		if p.fails++; shrinks(err, p.fails) {
			p.shrink++
		}
		if err = p.owed.behind(len(out.Rows), err); err == nil {
			out.Server, out.Through = p.clock.date, p.through
			return out, nil
		}
		p.held = out
		return drover.Page{}, err
	}
	p.fails = 0
	if p.calm++; p.shrink > 0 && p.calm%regrow == 0 {
		p.shrink--
	}
	out.Server, out.Through, out.Asked = p.clock.date, p.through, p.told()
	return out, nil
}

// nextPage reads a page from at on.
func (p *graphPass) nextPage(ctx context.Context) (out drover.Page, err error) {
	from := p.at
	if !p.exact && from.Known() {
		from = from.Add(-grain)
	}
	res, page, top, err := p.takeUp(ctx, query{from: from, to: p.upper(), top: p.s.opt.PageSize})
	if err != nil {
		return out, err
	}
	if !ascending(page.rows) {
		p.startWindows(&out, page.rows)
		return out, nil
	}
	if ok, err := p.inOrder(ctx, &out, page, top); err != nil {
		p.keep(&out, page.rows, p.at)
		if drover.KindOf(err) == drover.Throttled {
			p.unchecked = &unchecked{res, page, top}
		}
		return out, err
	} else if !ok {
		p.startWindows(&out, page.rows)
		return out, nil
	}
	last, near, here, astray := p.at, 0, 0, 0
	for i := range page.rows {
		switch c := page.rows[i].Changed; {
		case c > last:
			last = c
		case c < 0: // none, or before 2000: it says nothing of bounds
		case c < p.at.Add(-seenFor):
			astray++
		default:
			near++
			if c == p.at {
				here++
			}
		}
	}
	fresh := p.keep(&out, page.rows, p.at)
	if last > p.at {
		partly(&out, res, drover.Span{From: p.at, To: last})
		p.widest, p.stuck = max(p.widest, len(page.rows)), 0
		p.advance(last, page.rows)
		return out, nil
	}
	partly(&out, res, p.known())
	switch {
	case !p.exact && near+astray > here:
		// Nothing behind this instant, and something before the span, where the
		// question reaches back by a grain: it may hide what follows.
		p.exact = true
	case p.stuck > maxStuck:
		return out, p.notWhole(errBounds)
	case page.next != "":
		// Nothing behind this instant, and more to come: a page full of one
		// instant, or an empty one with a link. Only links lead on.
		p.run = newRun(p.at)
	case fresh > 0:
		// Ask again: what was clamped away may come now.
	case astray > 0 && astray == len(page.rows):
		return out, p.notWhole(errBounds)
	case near == len(page.rows) && near >= 2 && (near >= p.widest || near >= top):
		// Nothing but this instant, no link, and no page of this pass was
		// longer: is it all, or was it clamped?
		return p.doubt(ctx, query{from: from, to: p.upper()}, out, page.rows, here)
	default:
		p.finish(&out)
	}
	return out, nil
}

// unchecked is a page whose order could not be checked because the API asked
// for patience. It still stands for the time when it was read.
type unchecked struct {
	res  *httpx.Response
	page scanned
	top  int
}

// takeUp returns the page that is still to be checked, or fetches one.
func (p *graphPass) takeUp(ctx context.Context, q query) (*httpx.Response, scanned, int, error) {
	if u := p.unchecked; u != nil {
		p.unchecked = nil
		return u.res, u.page, u.top, nil
	}
	return p.fetch(ctx, q)
}

// doubt decides about a page that shows nothing behind the instant at hand,
// and may have been clamped. here counts the rows of that very instant.
func (p *graphPass) doubt(ctx context.Context, q query, out drover.Page, rows []drover.Row, here int) (drover.Page, error) {
	told := notTold // an API that compares times coarsely shows the instants before as well
	if here == len(rows) {
		var err error
		if told, err = p.more(ctx, &out, q, rows); err != nil {
			return out, err
		}
		if p.asked++; told == askAgain && p.asked >= maxAsked {
			told = notTold
		}
	}
	switch told {
	case askAgain:
	case thatIsAll:
		p.finish(&out)
	case allOfInstant:
		p.stepOver(&out, p.at+1)
	default:
		p.windows = newWindows(split(piece{span: drover.Span{From: p.at, To: p.at + 1}}, p.s.of.divide)...)
		p.windows.clamp, p.windows.back = len(rows), true
	}
	return out, nil
}

// stepOver goes on behind an instant that is read. An API that compares times
// coarsely shows it again even so; then larger and larger steps lead away from
// it, and what is stepped over is left out.
func (p *graphPass) stepOver(out *drover.Page, next drover.Instant) {
	p.windows, p.at, p.exact = nil, next, true
	if step := stride(p.stuck); step > 0 {
		p.at = next.Add(step)
		out.Skipped = append(out.Skipped, drover.Skipped{Span: drover.Span{From: next, To: p.at}, Cause: causeUnsplittable})
	}
	p.stuck++
	p.reach(p.at)
}

// maxStuck bounds how often a pass steps over in a row: the steps have come to
// an hour by then.
const maxStuck = 12

// stride is how far to step beyond an instant after n instants in a row that
// did not lead on.
func stride(n int) time.Duration {
	if n == 0 {
		return 0
	}
	return min(time.Millisecond<<min(2*(n-1), 40), time.Hour)
}

// startWindows goes on in windows, as the API does not keep the order. What
// it has shown is returned all the same.
func (p *graphPass) startWindows(out *drover.Page, rows []drover.Row) {
	p.s.keepsOrder(p.tenant.ID, time.Time{})
	p.run, p.windows = nil, newWindows(piece{span: p.rest()})
	p.windows.give(out, rows, p.seen)
}

// errBounds: what was asked for and what came have nothing in common.
var errBounds = errors.New("the API does not keep to the bounds that it is asked for")

// keep adds to a page what of rows this pass has not returned yet, and counts
// the alerts up to limit among it that are new to it.
func (p *graphPass) keep(out *drover.Page, rows []drover.Row, limit drover.Instant) (fresh int) {
	if out.Rows == nil {
		out.Rows = make([]drover.Row, 0, len(rows))
	}
	for i := range rows {
		row := &rows[i]
		known, returned := p.seen.add(row, p.at)
		if returned {
			out.Again++
		} else {
			out.Rows = append(out.Rows, *row)
		}
		if !known && row.Bad == "" && row.Changed.Known() && row.Changed <= limit && row.Changed >= p.at.Add(-seenFor) {
			fresh++
		}
	}
	return fresh
}

// advance goes on at last, the time of the newest of rows, which are in order.
func (p *graphPass) advance(last drover.Instant, rows []drover.Row) {
	p.at, p.exact = last, true
	p.seen.forget(last)
	believed := drover.NoInstant
	for i := len(rows) - 1; i >= 0; i-- {
		if c := rows[i].Changed; c.Known() && p.clock.believes(c) {
			believed = c
			break
		}
	}
	if !p.clock.believes(last) && !p.frozen.Known() {
		// What changes from now on sorts before last and will not be met:
		// the pass says nothing about it.
		p.frozen = p.clock.asOf
		if !p.frozen.Known() {
			p.frozen = max(believed, p.through)
		}
	}
	p.reach(max(believed, p.frozen))
}

// reach notes that every row below i has been returned.
func (p *graphPass) reach(i drover.Instant) {
	if p.frozen.Known() {
		i = min(i, p.frozen)
	}
	if !p.clock.believes(i) {
		i = p.clock.asOf
	}
	if !p.span.Open() {
		i = min(i, p.span.To)
	}
	p.through = max(p.through, i)
}

// finish marks the span as read whole: up to its end, or to what the server's
// clock showed when it was asked last.
func (p *graphPass) finish(out *drover.Page) {
	limit := p.clock.asOf
	if p.frozen.Known() {
		limit = p.frozen
	}
	if limit.Known() {
		p.reach(limit)
	}
	p.run, p.windows = nil, nil
	out.Done, p.done = true, true
}

// upper is the upper bound of a question, NoInstant for none.
func (p *graphPass) upper() drover.Instant { return p.span.To.Add(grain) }

// rest is what of the span lies from at on.
func (p *graphPass) rest() drover.Span { return drover.Span{From: p.at, To: p.span.To} }

// known is what of the span lies from at on up to the server's now.
func (p *graphPass) known() drover.Span {
	s := p.rest()
	if now := p.clock.asOf; now.Known() && (s.Open() || now < s.To) {
		s.To = now
	}
	if s.Open() {
		s.To = s.From + 1
	}
	return s
}

// ascending reports whether the known times of rows never fall.
func ascending(rows []drover.Row) bool {
	last := drover.NoInstant
	for i := range rows {
		if c := rows[i].Changed; c.Known() {
			if c < last {
				return false
			}
			last = c
		}
	}
	return true
}

// fetch asks for a page, and for fewer rows if so many are refused. It returns
// how many it asked for in the end.
func (p *graphPass) fetch(ctx context.Context, q query) (res *httpx.Response, page scanned, top int, err error) {
	origin, err := p.host(p.s.of.path)
	if err != nil {
		return nil, page, 0, err
	}
	return p.page(ctx, p.s.of.fields, p.s.tops, origin, q.top, min(p.shrink, 16), func(top int) string { return q.url(origin, top) })
}
