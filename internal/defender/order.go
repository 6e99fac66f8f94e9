package defender

import (
	"context"
	"net/http"
	"time"

	"drover"
)

// orderHolds is how long it counts that a tenant's API was found to keep the
// order.
const orderHolds = time.Hour

// inOrder reports whether rows, which never fall, are the oldest from at on.
// Order is checked, not trusted: a page of one instant looks in order whatever
// the order is, and so does one out of several sorted lists that are put one
// behind the other. So the API is asked what there is before the last row;
// that must be on the page. A page that is not all is checked when it is the
// pass's first, second, fourth and so on; one that seems to be all, once an
// hour. What the check shows beside it is returned as well.
func (p *graphPass) inOrder(ctx context.Context, out *drover.Page, page scanned, top int) (bool, error) {
	last := p.at
	for i := range page.rows {
		last = max(last, page.rows[i].Changed)
	}
	if len(page.rows) < 2 || last == p.at {
		return true, nil
	}
	now, pages := p.opt.Now(), p.pages
	if page.next != "" || len(page.rows) >= top {
		p.pages++
		if p.pages&(p.pages-1) != 0 {
			return true, nil
		}
	} else if p.s.isOrdered(p.tenant.ID, now) {
		return true, nil
	}
	heard := p.clock
	q := p.bounded(drover.Span{From: p.at, To: last}, "")
	q.top = len(page.rows)
	_, before, _, err := p.fetch(ctx, q)
	p.clock = heard // the answer that counts is the one that is checked
	if err != nil {
		p.pages = pages // it is asked again
		return false, err
	}
	met := make(map[alert]struct{}, len(page.rows))
	note(met, page.rows)
	ok := true
	for i := range before.rows {
		r := &before.rows[i]
		if _, on := met[alert{r.ID, r.Changed}]; !on && r.Bad == "" && r.Changed >= p.at && r.Changed < last {
			ok = false
		}
	}
	p.keep(out, before.rows, last)
	if ok {
		p.s.keepsOrder(p.tenant.ID, now.Add(orderHolds))
	}
	return ok, nil
}

// Answers to whether there is more than an answer has shown.
const (
	thatIsAll    = iota
	allOfInstant // and others follow it
	thereIsMore
	askAgain // rows left meanwhile
	notTold  // the API does not answer that
)

// more finds out whether an answer of rows, in order and without a link, was
// cut: it asks for what follows the last but one of them. That must be one row,
// and one that was shown. (With a row less in the question, a row that leaves
// between the two answers cannot hide one that was cut off.)
func (p *graphPass) more(ctx context.Context, out *drover.Page, q query, rows []drover.Row) (int, error) {
	q.top, q.skip = 2, len(rows)-1
	heard, shrink := p.clock, p.shrink
	p.shrink = 0
	res, page, _, err := p.fetch(ctx, q)
	p.clock, p.shrink = heard, shrink // the answer that counts is the one that is doubted
	switch {
	case err != nil && res != nil && res.Status == http.StatusBadRequest:
		return notTold, nil
	case err != nil:
		return 0, err
	}
	met := make(map[alert]struct{}, len(rows))
	note(met, rows)
	last := rows[len(rows)-1].Changed
	fresh := 0
	for i := range page.rows {
		r := &page.rows[i]
		if _, ok := met[alert{r.ID, r.Changed}]; !ok && r.Bad == "" && r.Changed == last {
			fresh++
		}
	}
	if p.windows != nil {
		p.windows.give(out, page.rows, p.seen)
	} else {
		p.keep(out, page.rows, p.at)
	}
	switch {
	case fresh > 0:
		return thereIsMore, nil
	case len(page.rows) == 0 || page.rows[0].Changed != last:
		return askAgain, nil
	case len(page.rows) == 1:
		return thatIsAll, nil
	case page.rows[1].Changed > last:
		return allOfInstant, nil
	}
	return askAgain, nil
}

func (s *GraphAlerts) isOrdered(id drover.TenantID, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Before(s.ordered[id])
}

// keepsOrder notes until when a tenant's API is taken to keep the order.
func (s *GraphAlerts) keepsOrder(id drover.TenantID, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ordered[id] = until
}
