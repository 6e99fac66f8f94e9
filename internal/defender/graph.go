package defender

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"drover"
	"drover/internal/httpx"
)

// Page sizes of Graph alerts (reference graph-security §2): above 1,000 the
// sources disagree whether $top is clamped or refused.
const (
	graphPage    = 500
	graphPageMax = 1000
)

// GraphAlerts reads /v1.0/security/alerts_v2.
type GraphAlerts struct {
	opt Options

	mu  sync.Mutex
	top map[drover.TenantID]int // what a tenant's API accepts, if it refused more
}

// NewGraphAlerts returns the source.
func NewGraphAlerts(opt Options) *GraphAlerts {
	if opt.PageSize <= 0 || opt.PageSize > graphPageMax {
		opt.PageSize = graphPage
	}
	return &GraphAlerts{opt: opt, top: make(map[drover.TenantID]int)}
}

// ID is drover.GraphAlerts.
func (s *GraphAlerts) ID() drover.SourceID { return drover.GraphAlerts }

// Version of the reading rules.
func (s *GraphAlerts) Version() int { return 1 }

// Retention is that of Defender for Endpoint (reference graph-security §1).
func (s *GraphAlerts) Retention() time.Duration { return 180 * 24 * time.Hour }

// NamesTenant: every row carries tenantId.
func (s *GraphAlerts) NamesTenant() bool { return true }

// Read begins a pass.
func (s *GraphAlerts) Read(t drover.Tenant, span drover.Span) drover.Pass {
	p := &graphPass{s: s, span: span, at: span.From, through: span.From, server: drover.NoInstant,
		client: client{opt: s.opt, source: drover.GraphAlerts, op: "read alerts", tenant: t,
			header: http.Header{"Accept": {"application/json"}, "Prefer": {"include-unknown-enum-members"}}}}
	return p
}

func (s *GraphAlerts) pageSize(id drover.TenantID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.top[id]; n > 0 {
		return n
	}
	return s.opt.PageSize
}

func (s *GraphAlerts) refusedTop(id drover.TenantID, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.top[id] = n
}

// graphPass reads a span by keyset: one page in the order of change times,
// then again from the last time seen. No link is followed, because a link may
// be an offset into a list that moves (reference graph-security §2), save
// through a run of equal times that is longer than a page.
type graphPass struct {
	client
	s       *GraphAlerts
	span    drover.Span
	at      drover.Instant // where the next page begins
	through drover.Instant
	seen    map[uint64]bool      // rows at the instant `at` that were returned
	odd     map[drover.Hash]bool // rows without a usable time that were returned
	server  drover.Instant
	tie     *tie
	windows *windows
	refused int // how often $top was refused in this pass
}

// Next reads the next page.
func (p *graphPass) Next(ctx context.Context) (drover.Page, error) {
	if !p.span.Open() && p.span.From >= p.span.To {
		return drover.Page{}, &drover.Error{Op: p.op, Tenant: p.tenant.ID, Kind: drover.Broken, Err: fmt.Errorf("an empty span was asked for: %s", p.span)}
	}
	switch {
	case p.tie != nil:
		return p.nextTie(ctx)
	case p.windows != nil:
		return p.nextWindow(ctx)
	}
	res, page, err := p.fetch(ctx, p.query(p.at, p.span.To, ""))
	if err != nil {
		return drover.Page{}, err
	}
	if !ascending(page.rows) {
		p.windows = newWindows(p.at, p.end())
		return p.nextWindow(ctx)
	}
	out := p.page(res)
	last, ties := p.at, 0
	for i := range page.rows {
		row := &page.rows[i]
		if row.Changed.Known() && row.Changed > last {
			last = row.Changed
		}
		if p.again(row) {
			continue
		}
		out.Rows = append(out.Rows, *row)
	}
	for i := range page.rows {
		if page.rows[i].Changed == last {
			ties++
		}
	}
	moved := last > p.at
	if moved || p.seen == nil {
		p.seen = make(map[uint64]bool)
	}
	fresh := 0
	for i := range out.Rows {
		row := &out.Rows[i]
		if row.Changed == last {
			p.seen[idKey(row.ID)] = true
		}
		fresh++
	}
	p.at = last
	switch {
	case moved:
		p.reach(last)
	case ties == len(page.rows) && ties > 0 && page.next != "":
		// A page full of one instant: only its link leads through.
		p.tie = newTie(last, page.next, 0)
	case fresh == 0 && page.next != "":
		// Nothing new here, but more behind it: an empty page with a link, or
		// a page that was clamped in the middle of an instant.
		p.tie = newTie(last, page.next, 0)
	case fresh == 0 && ties >= suspicious && ties == len(page.rows) && p.through < last+1:
		// A page of one instant without a link, and nothing new: is it all,
		// or was it clamped? What lies behind the instant tells.
		return p.behind(ctx, out, last, ties)
	case fresh == 0:
		p.finish(&out)
	}
	out.Through = p.through
	return out, nil
}

// again reports whether this pass has returned the row before. Rows of the
// instant at which the page began are expected twice; rows that have no time,
// or lie before it, should not be there at all, and would otherwise come back
// with every page.
func (p *graphPass) again(row *drover.Row) bool {
	switch {
	case row.Changed.Known() && row.Changed > p.at:
		return false
	case row.Changed == p.at:
		return p.seen[idKey(row.ID)]
	}
	if p.odd == nil {
		p.odd = make(map[drover.Hash]bool)
	}
	if p.odd[row.Sum] || len(p.odd) >= maxOdd {
		return true
	}
	p.odd[row.Sum] = true
	return false
}

// maxOdd bounds how many rows outside of the asked span a pass returns.
const maxOdd = 100_000

// suspicious is how many rows of one instant a page without a link must hold
// before it is doubted to be whole.
const suspicious = 5

// behind asks for what follows an instant that may have been clamped.
func (p *graphPass) behind(ctx context.Context, out drover.Page, at drover.Instant, clamp int) (drover.Page, error) {
	res, page, err := p.fetch(ctx, p.query(at+1, p.span.To, ""))
	if err != nil {
		return drover.Page{}, err
	}
	for i := range page.rows {
		if page.rows[i].Changed > at {
			p.tie = newTie(at, "", clamp)
			p.tie.split()
			out.Through = p.through
			return out, nil
		}
	}
	done := p.page(res)
	done.Rows = out.Rows
	p.finish(&done)
	return done, nil
}

// page begins a Page with what the answer's header says.
func (p *graphPass) page(res *httpx.Response) drover.Page {
	if res.Server.Known() {
		p.server = res.Server
	}
	out := drover.Page{Server: res.Server, Through: p.through}
	absent, failed := warnings(res.Header)
	out.Absent = absent
	if len(failed) == 0 && res.Status == http.StatusPartialContent && len(absent) == 0 {
		failed = []string{"unnamed provider"}
	}
	for _, name := range failed {
		to := p.span.To
		if p.span.Open() {
			to = p.server
		}
		if to.Known() && to > p.span.From {
			out.Skipped = append(out.Skipped, drover.Skipped{Span: drover.Span{From: p.span.From, To: to}, Provider: name, Cause: "the provider " + name + " did not answer"})
		}
	}
	return out
}

// reach notes that every row below i has been returned. A time that lies
// ahead of the server's clock is not believed.
func (p *graphPass) reach(i drover.Instant) {
	if !p.server.Known() && i > p.through {
		if i.Time().Year() < 2100 {
			p.through = i
		}
		return
	}
	p.through = max(p.through, below(i, p.server))
}

// finish marks the span as read whole.
func (p *graphPass) finish(out *drover.Page) {
	if !p.span.Open() {
		p.through = p.span.To
	} else {
		p.through = max(p.through, p.server)
	}
	out.Done, out.Through = true, p.through
}

// end is where an open span ends for now.
func (p *graphPass) end() drover.Instant {
	if !p.span.Open() {
		return p.span.To
	}
	if p.server.Known() {
		return p.server.Add(plausible)
	}
	return drover.InstantOf(time.Now()).Add(plausible)
}

// query builds the URL of a read from an instant on.
func (p *graphPass) query(from, to drover.Instant, extra string) func(top int) (string, string, error) {
	return func(top int) (origin, full string, err error) {
		host, err := p.opt.Host(p.tenant)
		if err != nil {
			return "", "", &drover.Error{Op: p.op, Tenant: p.tenant.ID, Kind: drover.Denied, Err: err}
		}
		filter := "lastUpdateDateTime ge " + literal(from)
		if to.Known() {
			filter += " and lastUpdateDateTime lt " + literal(to)
		}
		if extra != "" {
			filter += " and " + extra
		}
		origin = host + "/v1.0/security/alerts_v2"
		q := "$filter=" + strings.ReplaceAll(url.QueryEscape(filter), "+", "%20") + "&$orderby=lastUpdateDateTime%20asc&$top=" + strconv.Itoa(top)
		return origin, origin + "?" + q, nil
	}
}

// literal renders a time for a filter. Before year 1 there is nothing.
func literal(i drover.Instant) string {
	if !i.Known() {
		return "0001-01-01T00:00:00Z"
	}
	return i.String()
}

// fetch reads one page, asking for fewer rows if so many are refused.
func (p *graphPass) fetch(ctx context.Context, query func(top int) (string, string, error)) (*httpx.Response, scanned, error) {
	for {
		top := p.s.pageSize(p.tenant.ID)
		origin, u, err := query(top)
		if err != nil {
			return nil, scanned{}, err
		}
		res, err := p.get(ctx, origin, u)
		if err != nil {
			return nil, scanned{}, err
		}
		if res.Status == http.StatusBadRequest && p.refused < 8 {
			if n := smallerTop(res, top); n > 0 {
				p.refused++
				p.s.refusedTop(p.tenant.ID, n)
				continue
			}
		}
		page, err := p.parse(res)
		return res, page, err
	}
}

// parse checks the status and finds the rows.
func (p *graphPass) parse(res *httpx.Response) (scanned, error) {
	if res.Status != http.StatusOK && res.Status != http.StatusPartialContent || httpx.IsHTML(res) {
		return scanned{}, p.client.refused(res)
	}
	page, err := scan(res.Body, &graphFields)
	if err != nil {
		return scanned{}, p.notWhole(err)
	}
	return page, nil
}

// smallerTop returns the page size to try after a 400: the number that the
// message quotes as the limit, else half; 0 if it is not about $top.
func smallerTop(res *httpx.Response, top int) int {
	_, message := httpx.Explain("", res)
	if !strings.Contains(message, "Top") && !strings.Contains(message, "top") && message != "" {
		return 0
	}
	for _, part := range strings.Split(message, "'") {
		if n, err := strconv.Atoi(part); err == nil && n > 0 && n < top {
			return n
		}
	}
	if top >= 20 {
		return top / 2
	}
	return 0
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
