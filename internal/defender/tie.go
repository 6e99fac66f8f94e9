package defender

import (
	"context"
	"net/http"

	"drover"
	"drover/internal/httpx"
)

// Bounds of reading a run of equal times.
const (
	tieLinks  = 200 // links followed in one reading of the run
	tiePasses = 6   // readings until one brings nothing new
)

// tie reads all rows of one instant when they do not fit a page: link by link,
// again and again until a reading brings nothing new; if links do not lead
// through, once for each severity, then for each product within it.
type tie struct {
	at      drover.Instant
	link    string // the next page, "" begins a reading
	filters []string
	fi      int
	level   int // 0 unsplit, 1 by severity, 2 by severity and product
	fresh   int // new rows in this reading
	passes  int
	links   int
	loop    map[string]bool
	clamp   int // rows to which the API cuts a page without saying so, 0: it does not
}

func newTie(at drover.Instant, link string, clamp int) *tie {
	return &tie{at: at, link: link, filters: []string{""}, loop: make(map[string]bool), clamp: clamp}
}

// Values by which an instant is split (reference graph-security §6). What has
// none of them is read by the last filter.
var (
	severities = []string{"unknown", "informational", "low", "medium", "high", "unknownFutureValue"}
	products   = []string{"unknown", "microsoftDefenderForEndpoint", "microsoftDefenderForIdentity", "microsoftDefenderForCloudApps", "microsoftDefenderForOffice365",
		"microsoft365Defender", "azureAdIdentityProtection", "microsoftAppGovernance", "dataLossPrevention", "microsoftDefenderForCloud", "microsoftSentinel",
		"microsoftInsiderRiskManagement", "microsoftThreatIntelligence", "microsoftSecurityForAI"}
)

// split divides the filter at hand further; false if it cannot be.
func (t *tie) split() bool {
	old := t.filters[t.fi]
	var parts []string
	switch t.level {
	case 0:
		for _, s := range severities {
			parts = append(parts, "severity eq '"+s+"'")
		}
	case 1:
		for _, s := range products {
			parts = append(parts, old+" and serviceSource eq '"+s+"'")
		}
	default:
		return false
	}
	t.level++
	t.filters, t.fi = append(parts, t.filters[t.fi+1:]...), 0
	t.begin()
	t.passes = 0
	return true
}

// begin starts a reading.
func (t *tie) begin() {
	t.link, t.fresh, t.links = "", 0, 0
	clear(t.loop)
}

// nextTie reads one page of the run.
func (p *graphPass) nextTie(ctx context.Context) (drover.Page, error) {
	t := p.tie
	res, page, err := p.fetchTie(ctx)
	if err != nil {
		return drover.Page{}, err
	}
	if res == nil { // the link was refused, or leads nowhere
		return p.leaveOrSplit(drover.Page{Through: p.through, Server: p.server})
	}
	out := p.page(res)
	beyond := false
	for i := range page.rows {
		row := &page.rows[i]
		switch {
		case row.Changed > t.at:
			beyond = true
		case row.Changed == t.at && !p.seen[idKey(row.ID)]:
			p.seen[idKey(row.ID)] = true
			t.fresh++
			out.Rows = append(out.Rows, *row)
		}
	}
	out.Through = p.through
	t.links++
	switch {
	case !beyond && page.next != "" && t.links < tieLinks && !t.loop[page.next]:
		t.loop[page.next] = true
		t.link = page.next
		return out, nil
	case !beyond && page.next != "":
		return p.leaveOrSplit(out) // endless, or in a circle
	case t.clamp > 0 && !beyond && len(page.rows) >= t.clamp:
		return p.leaveOrSplit(out) // cut again
	}
	if t.fresh > 0 {
		if t.passes++; t.passes >= tiePasses {
			return p.leaveOrSplit(out)
		}
		t.begin()
		return out, nil
	}
	if t.fi++; t.fi < len(t.filters) {
		t.level = min(t.level, 1)
		t.passes = 0
		t.begin()
		return out, nil
	}
	return p.afterTie(out), nil
}

// fetchTie fetches the link, or the first page of a reading. A nil response
// means that the link cannot be followed.
func (p *graphPass) fetchTie(ctx context.Context) (*httpx.Response, scanned, error) {
	t := p.tie
	first := p.query(t.at, p.span.To, t.filters[t.fi])
	if t.link == "" {
		return p.fetch(ctx, first)
	}
	origin, _, err := first(graphPageMax)
	if err != nil {
		return nil, scanned{}, err
	}
	u, err := httpx.CheckLink(origin, t.link)
	if err != nil {
		link := t.link
		t.begin()
		_ = link
		return nil, scanned{}, &drover.Error{Op: p.op, Tenant: p.tenant.ID, Kind: drover.Transient, Code: "link outside origin", Err: err,
			Hint: "the API gave a link that leads elsewhere; no token was sent there"}
	}
	res, err := p.get(ctx, origin, u)
	if err != nil {
		return nil, scanned{}, err
	}
	if res.Status == http.StatusBadRequest || res.Status == http.StatusNotFound || res.Status == http.StatusGone {
		return nil, scanned{}, nil
	}
	page, err := p.parse(res)
	return res, page, err
}

// leaveOrSplit goes on with narrower filters; when there are none, the instant
// is left out and said so.
func (p *graphPass) leaveOrSplit(out drover.Page) (drover.Page, error) {
	t := p.tie
	if t.split() {
		return out, nil
	}
	out.Skipped = append(out.Skipped, drover.Skipped{Span: drover.Span{From: t.at, To: t.at + 1}, Cause: "unsplittable instant: more alerts share one change time than the API shows"})
	return p.afterTie(out), nil
}

// afterTie goes on behind the instant.
func (p *graphPass) afterTie(out drover.Page) drover.Page {
	p.at = p.tie.at + 1
	p.seen = make(map[uint64]bool)
	p.tie = nil
	p.reach(p.at)
	out.Through = p.through
	return out
}
