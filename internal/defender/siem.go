package defender

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"drover"
	"drover/internal/httpx"
)

// Windows of the SIEM API. It has no stated order, no paging and no stated
// cap; a window that may have been cut is halved (reference siem-api §3).
const (
	siemWindow      = time.Hour
	siemWindowMax   = 24 * time.Hour
	siemWindowMin   = time.Second
	siemFull        = 1000  // rows from which an answer is taken for full
	siemPage        = 1000  // rows returned at once
	siemManyEqual   = 10000 // rows of a window that cannot be halved any more
	siemMaxInWindow = 8     // failures of a window after which it is halved
)

// SIEMDetections reads the SIEM detections API of Defender for Endpoint.
type SIEMDetections struct{ opt Options }

// NewSIEMDetections returns the source. Options.PageSize is how many rows make
// an answer full.
func NewSIEMDetections(opt Options) *SIEMDetections {
	if opt.PageSize <= 0 {
		opt.PageSize = siemFull
	}
	return &SIEMDetections{opt}
}

// ID is drover.SIEMDetections.
func (s *SIEMDetections) ID() drover.SourceID { return drover.SIEMDetections }

// Version of the reading rules.
func (s *SIEMDetections) Version() int { return 1 }

// Retention is the tenant's; the API's pages do not say more.
func (s *SIEMDetections) Retention() time.Duration { return 180 * 24 * time.Hour }

// NamesTenant: rows name no tenant, by nature.
func (s *SIEMDetections) NamesTenant() bool { return false }

// Read begins a pass.
func (s *SIEMDetections) Read(t drover.Tenant, span drover.Span) drover.Pass {
	return &siemPass{s: s, span: span, at: span.From, width: siemWindow, through: span.From, server: drover.NoInstant,
		client: client{opt: s.opt, source: drover.SIEMDetections, op: "read detections", tenant: t, header: http.Header{"Accept": {"application/json"}}}}
}

// siemPass reads a span window by window.
type siemPass struct {
	client
	s       *SIEMDetections
	span    drover.Span
	at      drover.Instant // where the next window begins
	width   time.Duration
	through drover.Instant
	server  drover.Instant
	queue   []drover.Row // rows of a window that were read and not yet returned
	until   drover.Instant
	fails   int
}

// Next returns the next part of a window.
func (p *siemPass) Next(ctx context.Context) (drover.Page, error) {
	if !p.span.Open() && p.span.From >= p.span.To {
		return drover.Page{}, &drover.Error{Op: p.op, Tenant: p.tenant.ID, Kind: drover.Broken, Err: errPage}
	}
	if len(p.queue) == 0 {
		if err := p.window(ctx); err != nil {
			p.fails++
			if drover.KindOf(err) == drover.Transient && p.fails%siemMaxInWindow == 0 {
				p.width = max(p.width/2, siemWindowMin)
			}
			return drover.Page{}, err
		}
		p.fails = 0
	}
	n := min(len(p.queue), siemPage)
	out := drover.Page{Rows: p.queue[:n:n], Server: p.server, Through: p.through}
	p.queue = p.queue[n:]
	if len(p.queue) > 0 {
		return out, nil
	}
	p.queue = nil
	p.at, p.through = p.until, max(p.through, p.until)
	out.Through = p.through
	end := p.server
	if !p.span.Open() {
		end = p.span.To
	}
	out.Done = p.at >= end
	return out, nil
}

// window reads the next window whole, halving it while it may have been cut.
func (p *siemPass) window(ctx context.Context) error {
	for {
		end := p.server
		if !end.Known() {
			// Not yet told the server's time: ours, and a margin behind it, so
			// that a clock that is ahead does not skip anything.
			end = drover.InstantOf(time.Now())
		}
		if !p.span.Open() {
			end = p.span.To
		}
		until := min(p.at.Add(p.width), end)
		if until <= p.at {
			until = p.at.Add(siemWindowMin) // at the server's now: a moment beyond it loses nothing
		}
		res, page, err := p.fetch(ctx, p.at, until)
		if err != nil {
			return err
		}
		if res.Server.Known() {
			p.server = res.Server
		}
		if p.full(len(page.rows)) && until.Sub(p.at) > siemWindowMin {
			p.width = max(until.Sub(p.at)/2, siemWindowMin)
			continue
		}
		if len(page.rows) < p.s.opt.PageSize/4 {
			p.width = min(p.width*2, siemWindowMax)
		}
		slices.SortFunc(page.rows, func(a, b drover.Row) int { return cmp.Or(cmp.Compare(a.Changed, b.Changed), cmp.Compare(a.ID, b.ID)) })
		p.queue = page.rows
		p.until = until
		if p.server.Known() && p.span.Open() {
			p.until = min(until, max(p.server, p.at)) // never beyond what the server's clock had reached
		}
		return nil
	}
}

// full reports whether an answer may have been cut: many rows, or a number
// that looks like a cap.
func (p *siemPass) full(n int) bool {
	return n >= p.s.opt.PageSize || n == 100 || n == 200 || n == 250 || n == 500
}

func (p *siemPass) fetch(ctx context.Context, since, until drover.Instant) (*httpx.Response, scanned, error) {
	host, err := p.opt.Host(p.tenant)
	if err != nil {
		return nil, scanned{}, &drover.Error{Op: p.op, Tenant: p.tenant.ID, Kind: drover.Denied, Err: err}
	}
	origin := host + "/api/alerts"
	res, err := p.get(ctx, origin, origin+"?sinceTimeUtc="+siemTime(since)+"&untilTimeUtc="+siemTime(until))
	if err != nil {
		return nil, scanned{}, err
	}
	if res.Status != http.StatusOK || httpx.IsHTML(res) {
		if res.Status == http.StatusRequestEntityTooLarge {
			p.width = max(p.width/2, siemWindowMin)
			return nil, scanned{}, p.notWhole(errPage)
		}
		return nil, scanned{}, p.refused(res)
	}
	page, err := scan(res.Body, &siemFields)
	if err != nil {
		return nil, scanned{}, p.notWhole(err)
	}
	return res, page, nil
}

// siemTime renders a bound as the API's page does, without a zone, which means
// UTC; with all seven digits.
func siemTime(i drover.Instant) string { return i.Time().Format("2006-01-02T15:04:05.0000000") }
