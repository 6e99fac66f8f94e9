package defender

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"drover"
	"drover/internal/httpx"
)

// Windows of the SIEM API (reference siem-api §3). Its default of two hours
// and its limit parameter, which keeps the newest rows and drops the others in
// silence, are never used.
const (
	siemWindow    = time.Hour
	siemWindowMax = 24 * time.Hour
	siemWindowMin = 10 * time.Millisecond
	siemFull      = 1000 // rows from which an answer is taken for cut
	siemDoubt     = 50   // rows from which an answer is checked for being cut at an unknown number
	siemPage      = 2000 // rows returned at once
	siemLag       = 2 * time.Second
)

const siemPath = "/api/alerts"

// SIEMDetections reads the SIEM detections API of Defender for Endpoint.
type SIEMDetections struct {
	opt  Options
	vain *vain
}

// NewSIEMDetections returns the source.
func NewSIEMDetections(opt Options) *SIEMDetections {
	if opt.PageSize <= 0 {
		opt.PageSize = siemFull
	}
	return &SIEMDetections{opt.withDefaults(), newVain()}
}

// ID is drover.SIEMDetections.
func (s *SIEMDetections) ID() drover.SourceID { return drover.SIEMDetections }

// Version of the reading rules.
func (s *SIEMDetections) Version() int { return 1 }

// Retention is the tenant's; the API's pages say no more (reference siem-api
// §3), so it is that of Defender for Endpoint.
func (s *SIEMDetections) Retention() time.Duration { return 180 * 24 * time.Hour }

// NamesTenant: rows name no tenant, by nature; the token does.
func (s *SIEMDetections) NamesTenant() bool { return false }

// Read begins a pass.
func (s *SIEMDetections) Read(t drover.Tenant, span drover.Span) drover.Pass {
	return &siemPass{
		client: client{opt: s.opt, source: drover.SIEMDetections, op: "read detections", tenant: t, vain: s.vain, clock: newClock(s.opt.Now),
			gone:   "the SIEM API is not there, as it is retired, or the tenant's region is wrong; its successor is Graph /security/alerts_v2: read the tenant by graph.alerts",
			header: http.Header{"Accept": {"application/json"}}},
		span: span, at: max(span.From, beginOfTime), width: siemWindow, through: span.From, next: span.From, givenTo: drover.NoInstant, full: s.opt.PageSize, believed: drover.NoInstant,
	}
}

// siemPass reads a span window by window, both ends given. The API has no
// order, no paging and no stated cap, so a window whose answer may have been
// cut is halved.
type siemPass struct {
	client
	span     drover.Span
	at       drover.Instant // where the next window begins
	width    time.Duration
	through  drover.Instant
	full     int                      // rows from which an answer is taken for cut
	whole    int                      // the most rows of an answer that was found whole
	given    map[drover.Hash]struct{} // rows of answers that were cut
	givenTo  drover.Instant           // and where the last of these answers ends
	queue    []drover.Row             // rows of a window that were read and not yet returned
	head     drover.Page              // what its first page says beside the rows
	next     drover.Instant
	last     bool // the window is the span's last
	fails    int
	owed     error // of a window that was not read whole; the rows it showed were returned first
	over     bool
	believed drover.Instant // the newest time of a row that can be believed
}

// Next returns the next part of a window.
func (p *siemPass) Next(ctx context.Context) (drover.Page, error) {
	if err := checkSpan(p.op, p.tenant, p.span); err != nil {
		return drover.Page{}, err
	}
	if p.over {
		return drover.Page{}, &drover.Error{Op: p.op, Tenant: p.tenant.ID, Kind: drover.Broken, Err: errOver}
	}
	if len(p.queue) == 0 {
		err := p.owed
		if p.owed = nil; err == nil {
			p.release()
			err = p.window(ctx)
		}
		if err != nil {
			if p.fails++; shrinks(err, p.fails) {
				p.width = max(p.width/2, siemWindowMin)
			}
			return drover.Page{}, err
		}
		if p.owed == nil {
			p.fails = 0
		}
	}
	out := p.head
	p.head = drover.Page{}
	n := min(len(p.queue), siemPage)
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
func (p *siemPass) reach(i drover.Instant) {
	if p.clock.asOf.Known() {
		i = min(i, p.clock.asOf)
	} else {
		i = min(i, p.believed)
	}
	p.through = max(p.through, i)
}

// end is where the span ends for now: nothing is asked for beyond the server's
// now, by its own word or, before the first answer, by the local clock.
func (p *siemPass) end() drover.Instant {
	now := p.clock.date
	if !now.Known() {
		now = drover.InstantOf(p.clock.now())
	}
	if p.span.Open() {
		return now
	}
	return min(p.span.To, now)
}

// window reads the next window. One whose answer may have been cut is halved,
// and the pass stays where it is.
func (p *siemPass) window(ctx context.Context) error {
	told, end := p.clock.date.Known(), p.end()
	until := min(p.at.Add(p.width), end)
	if until <= p.at {
		until = p.at.Add(time.Second) // at the end already, or clocks differ: a moment beyond loses nothing
		if !p.span.Open() {
			until = min(until, p.span.To)
		}
	}
	p.width = max(min(p.width, until.Sub(p.at)), siemWindowMin)
	res, page, err := p.fetch(ctx, p.at, until)
	if err != nil {
		return err
	}
	cut := len(page.rows) >= p.full || slices.Contains(p.opt.Caps, len(page.rows))
	if !cut && len(page.rows) >= siemDoubt && len(page.rows) > p.whole {
		if cut, err = p.isCut(ctx, page.rows); err != nil {
			if p.part(page.rows, until); len(p.queue) == 0 {
				return err
			}
			p.owed = err // what was shown may not be shown again: the error waits
			return nil
		}
		if cut {
			p.full = min(p.full, len(page.rows))
		} else {
			p.whole = len(page.rows)
		}
	}
	wide := until.Sub(p.at)
	if cut && wide > siemWindowMin {
		// What it shows is returned all the same; the halves follow.
		p.width = max(wide/2, siemWindowMin)
		p.part(page.rows, until)
		return nil
	}
	p.head = drover.Page{}
	if cut && slices.Contains(append([]int{p.full}, p.opt.Caps...), len(page.rows)) {
		p.head.Skipped = append(p.head.Skipped, drover.Skipped{Span: drover.Span{From: p.at, To: until}, Cause: causeUnsplittable})
	}
	partly(&p.head, res, drover.Span{From: p.at, To: until})
	p.accept(page.rows, until)
	switch {
	case until < end:
		p.last = false
	case !p.span.Open() && until >= p.span.To:
		p.last = true
	default:
		// The end as it was known when this was asked. If only the local
		// clock had said so, the server's may be ahead of it.
		p.last = told || !p.clock.asOf.Known() || p.clock.asOf.Sub(until) <= siemLag
	}
	if len(page.rows) < p.full/4 {
		p.width = min(p.width*2, siemWindowMax)
	}
	return nil
}

// part takes the rows of a window that was not read whole, and stays at its
// begin.
func (p *siemPass) part(rows []drover.Row, until drover.Instant) {
	p.queue, p.head, p.next, p.last = p.fresh(rows), drover.Page{}, p.at, false
	if p.given == nil {
		p.given = make(map[drover.Hash]struct{})
	}
	for i := range p.queue {
		p.given[p.queue[i].Sum] = struct{}{}
	}
	p.givenTo = max(p.givenTo, until)
}

// fresh sorts rows and leaves out those that an answer that was cut has brought
// before.
func (p *siemPass) fresh(rows []drover.Row) []drover.Row {
	slices.SortFunc(rows, func(a, b drover.Row) int {
		return cmp.Or(cmp.Compare(a.Changed, b.Changed), strings.Compare(a.ID, b.ID))
	})
	if len(p.given) > 0 {
		rows = slices.DeleteFunc(rows, func(r drover.Row) bool { _, ok := p.given[r.Sum]; return ok })
	}
	return rows
}

// accept takes the rows of a window that was read whole.
func (p *siemPass) accept(rows []drover.Row, until drover.Instant) {
	for i := range rows {
		if c := rows[i].Changed; c.Known() && p.clock.believes(c) {
			p.believed = max(p.believed, c)
		}
	}
	p.queue, p.next = p.fresh(rows), until
	if p.clock.asOf.Known() {
		p.next = min(until, max(p.clock.asOf, p.at)) // what the server's clock had not reached was not there
	}
	if p.next >= p.givenTo {
		p.given, p.givenTo = nil, drover.NoInstant
	}
}

// isCut looks for older rows of the window at hand than those of an answer: an
// API that cuts keeps the newest (reference siem-api §3).
func (p *siemPass) isCut(ctx context.Context, rows []drover.Row) (bool, error) {
	met := make(map[alert]struct{}, len(rows))
	oldest := drover.NoInstant
	for i := range rows {
		c := rows[i].Changed
		met[alert{rows[i].ID, c}] = struct{}{}
		if c >= p.at && (!oldest.Known() || c < oldest) {
			oldest = c
		}
	}
	if !oldest.Known() || oldest <= p.at {
		return false, nil
	}
	heard := p.clock
	_, page, err := p.fetch(ctx, p.at, oldest)
	p.clock = heard // the answer that counts is the one that is checked
	if err != nil {
		return false, err
	}
	for i := range page.rows {
		if r := &page.rows[i]; r.Changed.Known() {
			if _, ok := met[alert{r.ID, r.Changed}]; !ok {
				return true, nil
			}
		}
	}
	return false, nil
}

// fetch asks for one window. Whether its bounds are included is not
// documented, nor how finely they are compared: the lower one reaches back a
// little, and so does the upper one of the span forward.
func (p *siemPass) fetch(ctx context.Context, since, until drover.Instant) (*httpx.Response, scanned, error) {
	origin, err := p.host(siemPath)
	if err != nil {
		return nil, scanned{}, err
	}
	if until == p.span.To {
		until = until.Add(grain)
	}
	res, err := p.get(ctx, origin, origin+"?sinceTimeUtc="+siemTime(since.Add(-grain))+"&untilTimeUtc="+siemTime(until))
	if err != nil {
		return nil, scanned{}, err
	}
	page, err := p.rows(res, siemFields)
	if err != nil && res.Status == http.StatusRequestEntityTooLarge {
		err = p.notWhole(httpx.ErrTooLarge)
	}
	return res, page, err
}

// siemTime renders a bound as the API's page does, without a zone, which means
// UTC; with all seven digits.
func siemTime(i drover.Instant) string {
	return min(max(i, beginOfTime), endOfTime).Time().Format("2006-01-02T15:04:05.0000000")
}
