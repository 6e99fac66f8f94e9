package defender

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"drover"
	"drover/internal/httpx"
)

// Bounds of reading a run of equal times by links.
const (
	runLinks    = 200 // links followed in one reading: 200,000 alerts
	runEmpty    = 20  // pages in a row that are empty or, in the first reading, bring nothing new
	runReadings = 6   // until two agree
	runRestarts = 1   // after a link was refused
)

// errEndless: there is always one more link, and nothing behind it.
var errEndless = errors.New("the API gives links without end")

// run is a run of alerts with one change time that does not fit a page: only
// links lead through. Since a link may be an offset, a row that is updated
// while the run is read lifts a later one onto a page already read, where it
// is missed. So the run is read again until two readings in a row met the same
// alerts: a row that was read and then left is missing in the second. If they
// agree, nothing left while the first was read, so nothing was missed there.
type run struct {
	at       drover.Instant
	link     string // of the next page; empty begins a reading
	links    int
	empty    int
	loop     map[string]struct{} // links of this reading
	met      map[alert]struct{}  // alerts of this reading, up to at
	before   map[alert]struct{}  // of the one before, nil if there is none
	behind   []drover.Row        // rows behind at that ended the reading before
	clock    clock               // of the answer with these
	readings int
	restarts int
}

func newRun(at drover.Instant) *run {
	r := &run{at: at}
	r.begin()
	return r
}

// begin starts a reading.
func (r *run) begin() {
	r.link, r.links, r.empty = "", 0, 0
	r.loop, r.met = make(map[string]struct{}), make(map[alert]struct{})
}

// nextOfRun reads one page of the run.
func (p *graphPass) nextOfRun(ctx context.Context) (out drover.Page, err error) {
	r := p.run
	res, page, err := p.fetchOfRun(ctx)
	switch {
	case err != nil:
		return out, err
	case res == nil: // the link was refused
		if r.restarts++; r.restarts > runRestarts {
			p.splitRun()
		} else {
			r.begin()
		}
		return out, nil
	case !ascending(page.rows):
		p.startWindows(&out, page.rows)
		return out, nil
	}
	partly(&out, res, p.known())
	upTo := len(page.rows)
	for i := range page.rows {
		if row := &page.rows[i]; row.Changed > r.at {
			upTo = i
			break
		} else if row.Bad == "" && row.Changed.Known() {
			r.met[alert{row.ID, row.Changed}] = struct{}{}
		}
	}
	fresh := p.keep(&out, page.rows, r.at)
	switch {
	case len(page.rows) == 0, r.before == nil && fresh == 0:
		r.empty++
	default:
		r.empty = 0
	}
	if upTo == len(page.rows) && page.next != "" {
		_, again := r.loop[page.next]
		switch {
		case !again && r.links < runLinks && r.empty < runEmpty:
			r.loop[page.next] = struct{}{}
			r.link = page.next
			r.links++
		case len(r.met) == 0:
			// No alerts, and no end: nothing to divide either.
			p.run = nil
			return out, p.notWhole(errEndless)
		default:
			p.splitRun()
		}
		return out, nil
	}
	// A reading has come to its end.
	if r.before != nil && maps.Equal(r.before, r.met) {
		p.leaveRun(&out)
		return out, nil
	}
	if r.readings++; r.readings >= runReadings {
		p.splitRun()
		return out, nil
	}
	r.before, r.behind, r.clock = r.met, page.rows[upTo:], p.clock
	r.begin()
	return out, nil
}

// leaveRun goes on behind a run of which two readings agree: with what the
// first of them met behind it.
func (p *graphPass) leaveRun(out *drover.Page) {
	r := p.run
	p.run, p.clock, p.stuck = nil, r.clock, 0
	if len(r.behind) == 0 {
		p.finish(out) // it is the end of the list
		return
	}
	last := r.behind[len(r.behind)-1].Changed
	for i := len(r.behind) - 1; !last.Known(); i-- {
		last = r.behind[i].Changed // the first of them has a time, behind the run's
	}
	p.advance(last, r.behind)
}

// splitRun reads the instant by narrower questions: links do not lead through.
func (p *graphPass) splitRun() {
	p.windows = newWindows(split(piece{span: drover.Span{From: p.run.at, To: p.run.at + 1}}, p.s.of.divide)...)
	p.windows.back = true
	p.run = nil
}

// fetchOfRun fetches the link, or the first page of a reading. A nil response
// means that the link was refused.
func (p *graphPass) fetchOfRun(ctx context.Context) (*httpx.Response, scanned, error) {
	r := p.run
	if r.link == "" {
		res, page, _, err := p.fetch(ctx, query{from: r.at, to: p.upper(), top: p.s.of.most})
		return res, page, err
	}
	return p.follow(ctx, r.link)
}

// follow fetches a link that an answer brought along, if it leads to the very
// collection. A nil response means that the API refused it, as it does when a
// link is too old or too deep (reference graph-security §2).
func (p *graphPass) follow(ctx context.Context, link string) (*httpx.Response, scanned, error) {
	origin, err := p.host(p.s.of.path)
	if err != nil {
		return nil, scanned{}, err
	}
	u, err := checkLink(origin, link)
	if err != nil {
		p.run, p.windows = nil, nil // from the last time on, when it is tried again
		return nil, scanned{}, p.outside(err)
	}
	res, err := p.get(ctx, origin, u)
	if err != nil {
		return nil, scanned{}, err
	}
	if declines(res) {
		return nil, scanned{}, nil
	}
	page, err := p.rows(res, p.s.of.fields)
	return res, page, err
}

// declines reports whether the API does not take an offset, be it a link's or
// our own.
func declines(res *httpx.Response) bool {
	switch res.Status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusGone:
		return !httpx.IsHTML(res)
	}
	return false
}

// checkLink is httpx.CheckLink, and the path must be the collection's own, not
// one below it.
func checkLink(collection, link string) (string, error) {
	u, err := httpx.CheckLink(collection, link)
	if err != nil {
		return "", err
	}
	to, err := url.Parse(u)
	if err != nil {
		return "", httpx.ErrOrigin
	}
	of, err := url.Parse(collection)
	if err != nil || !strings.EqualFold(strings.TrimSuffix(to.Path, "/"), strings.TrimSuffix(of.Path, "/")) {
		return "", httpx.ErrOrigin
	}
	return u, nil
}
