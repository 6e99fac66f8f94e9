package defender

import (
	"context"
	"time"

	"drover"
)

// orderHolds is how long it counts that a tenant's API was found to keep the
// order.
const orderHolds = time.Hour

// inOrder reports whether rows, which never fall, are the oldest from at on.
// Order is checked, not trusted: a page of one instant looks in order whatever
// the order is, and so does one out of several sorted lists that are put one
// behind the other. So the API is asked how much there is before the last row,
// and if that is not what the page has, for all of it. A page that is not all is
// checked when it is the pass's first, second, fourth and so on; one that seems
// to be all, once an hour. What the check shows beside it is returned as well.
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
	ok, err := p.asMany(ctx, out, page.rows, last)
	if err == nil && !ok {
		ok, err = p.allBefore(ctx, out, page.rows, last)
	}
	p.clock = heard // the answer that counts is the one that is checked
	if err != nil {
		p.pages = pages // it is asked again
		return false, err
	}
	if ok {
		p.s.keepsOrder(p.tenant.ID, now.Add(orderHolds))
	}
	return ok, nil
}

// skipMost is the largest offset that every source allows (reference
// graph-security §2).
const skipMost = 500

// asMany reports whether the API has as many rows from at up to last as are
// among rows: then, whatever the order, they are all. It asks for what follows
// the last but one of them: one row, and one of them. (With one row less in the
// question, a row that leaves meanwhile cannot hide one that was not shown.)
// False means that it could not be told this way, which costs two rows.
func (p *graphPass) asMany(ctx context.Context, out *drover.Page, rows []drover.Row, last drover.Instant) (bool, error) {
	met := make(map[alert]struct{}, len(rows))
	for i := range rows {
		switch r := &rows[i]; {
		case r.Bad != "" || !r.Changed.Known():
			return false, nil
		case r.Changed < last:
			met[alert{r.ID, r.Changed}] = struct{}{}
		}
	}
	if len(met) == 0 || len(met)-1 > skipMost {
		return false, nil
	}
	rest, top, declined, err := p.follows(ctx, p.bounded(drover.Span{From: p.at, To: last}, ""), len(met)-1)
	if err != nil || declined {
		return false, err
	}
	p.beside(out, rest.rows, last)
	if top < 2 || rest.next != "" || len(rest.rows) != 1 {
		return false, nil
	}
	_, on := met[alert{rest.rows[0].ID, rest.rows[0].Changed}]
	return on, nil
}

// follows asks for the two rows that follow the first n; declined if the API
// takes no such question.
func (p *graphPass) follows(ctx context.Context, q query, n int) (page scanned, top int, declined bool, err error) {
	q.top, q.skip = 2, n
	shrink := p.shrink
	p.shrink = 0
	res, page, top, err := p.fetch(ctx, q)
	p.shrink = shrink
	if err != nil && res != nil && declines(res) {
		return page, top, true, nil
	}
	return page, top, false, err
}

// allBefore reports whether everything that the API shows from at up to last is
// among rows.
func (p *graphPass) allBefore(ctx context.Context, out *drover.Page, rows []drover.Row, last drover.Instant) (bool, error) {
	q := p.bounded(drover.Span{From: p.at, To: last}, "")
	q.top = len(rows)
	_, before, _, err := p.fetch(ctx, q)
	if err != nil {
		return false, err
	}
	met := make(map[alert]struct{}, len(rows))
	note(met, rows)
	ok := true
	for i := range before.rows {
		r := &before.rows[i]
		if _, on := met[alert{r.ID, r.Changed}]; !on && r.Bad == "" && r.Changed >= p.at && r.Changed < last {
			ok = false
		}
	}
	p.beside(out, before.rows, last)
	return ok, nil
}

// beside adds to a page what an answer shows that is not the page's own; which
// of its rows come again says nothing of that.
func (p *graphPass) beside(out *drover.Page, rows []drover.Row, limit drover.Instant) {
	n, again := len(out.Rows), out.Again
	if p.windows != nil {
		p.windows.give(out, rows, p.seen)
	} else {
		p.keep(out, rows, limit)
	}
	out.Again = again - (len(out.Rows) - n)
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
	heard := p.clock
	page, _, declined, err := p.follows(ctx, q, len(rows)-1)
	p.clock = heard // the answer that counts is the one that is doubted
	switch {
	case declined:
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
	p.beside(out, page.rows, p.at)
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

func (s *Graph) isOrdered(id drover.TenantID, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Before(s.ordered[id])
}

// keepsOrder notes until when a tenant's API is taken to keep the order.
func (s *Graph) keepsOrder(id drover.TenantID, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ordered[id] = until
}
