package defender

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"drover"
	"drover/internal/httpx"
)

// shown is what a listing shows of a window.
type shown struct {
	res    *httpx.Response // the first answer
	rows   []drover.Row    // of all answers
	n      int             // how many of them one reading brought
	top    int             // how many were asked for
	cut    bool            // there may be more
	linked bool            // links led through it
}

// ask asks for a window, and finds out whether what is shown is all. Beside an
// error stands what was shown before it. divisible: the window can be halved,
// which costs less than to find out for certain.
func (p *listingPass) ask(ctx context.Context, q stretch, divisible bool) (shown, error) {
	got, err := p.reading(ctx, q, divisible)
	if err != nil {
		return got, err
	}
	heard := p.clock
	defer func() {
		p.clock = heard // the answer that counts is the first one
		p.longest = max(p.longest, got.n)
	}()
	switch {
	case got.cut:
	case p.of.offsets:
		if got.linked {
			err = p.settle(ctx, q, &got, divisible)
		}
		if err == nil && !got.cut {
			err = p.count(ctx, q, &got, divisible)
		}
	default:
		err = p.older(ctx, q, &got, divisible)
	}
	return got, err
}

// reading asks once, and follows the links of the answer: through empty pages,
// and where an answer holds less than was asked for. A link is an offset into a
// list that moves, so a window that can be halved is not read by links if it
// fills the answer.
func (p *listingPass) reading(ctx context.Context, q stretch, divisible bool) (got shown, err error) {
	origin, err := p.host(p.of.path)
	if err != nil {
		return got, err
	}
	res, page, top, err := p.question(ctx, origin, q)
	got = shown{res: res, rows: page.rows, n: len(page.rows), top: top}
	if err != nil {
		return got, err
	}
	heard := p.clock
	defer func() { p.clock = heard }()
	met, loop := make(map[drover.Hash]struct{}), make(map[string]struct{})
	for links, vain := 0, 0; page.next != ""; links++ {
		fresh := false
		for i := range page.rows {
			if _, again := met[page.rows[i].Sum]; !again {
				fresh, met[page.rows[i].Sum] = true, struct{}{}
			}
		}
		if vain++; fresh {
			vain = 0
		}
		_, again := loop[page.next]
		switch {
		case again, vain >= windowEmpty:
			return got, p.notWhole(errEndless)
		case divisible && len(met) >= top, links >= windowLinks:
			got.cut = true
			return got, nil
		}
		loop[page.next] = struct{}{}
		u, err := checkLink(origin, page.next)
		if err != nil {
			return got, p.outside(err)
		}
		if res, err = p.get(ctx, origin, u); err != nil {
			return got, err
		}
		if declines(res) {
			got.cut = true // what lies behind is not known
			return got, nil
		}
		if page, err = p.rows(res, p.of.fields); err != nil {
			return got, err
		}
		got.rows = append(got.rows, page.rows...)
		got.n, got.linked = len(got.rows), true
	}
	return got, nil
}

// question makes one request for a window. Where it is not documented whether
// bounds are included the lower one reaches back a little; and how finely times
// are compared is documented nowhere, so the outer bounds of the span are
// widened.
func (p *listingPass) question(ctx context.Context, origin string, q stretch) (*httpx.Response, scanned, int, error) {
	if !p.of.exact || q.since == p.span.From {
		q.since = q.since.Add(-grain)
	}
	if q.until == p.span.To {
		q.until = q.until.Add(grain)
	}
	top := q.top
	switch {
	case !p.of.offsets:
		top = 1 // nothing to lower when it is refused
	case top == 0:
		top = p.opt.PageSize
	}
	res, page, top, err := p.page(ctx, p.of.fields, p.tops, origin, top, 0, func(top int) string {
		q.top = top
		return p.of.url(origin, q)
	})
	if err != nil && res != nil && res.Status == http.StatusRequestEntityTooLarge {
		err = p.notWhole(httpx.ErrTooLarge)
	}
	return res, page, top, err
}

// settle reads a window again that links led through, until two readings meet
// the same alerts: then none was missed because another had left.
func (p *listingPass) settle(ctx context.Context, q stretch, got *shown, divisible bool) error {
	before := make(map[alert]struct{})
	note(before, got.rows)
	for range windowReadings - 1 {
		again, err := p.reading(ctx, q, divisible)
		got.rows = append(got.rows, again.rows...)
		if err != nil {
			return err
		}
		met := make(map[alert]struct{})
		note(met, again.rows)
		switch {
		case again.cut:
			got.cut = true
			return nil
		case maps.Equal(before, met):
			got.n = again.n
			return nil
		}
		before = met
	}
	got.cut = true
	return nil
}

// count finds out whether an answer is all there is. What follows the last but
// one of its rows must be one row, and one of them: that costs two rows, and
// holds whatever the order is. An API that cuts what it found before it skips
// passes that, so one that is as long as the longest, or longer, is read once more,
// in two halves with about as many alerts in each: if it was cut, they show more.
func (p *listingPass) count(ctx context.Context, q stretch, got *shown, divisible bool) error {
	n := got.n
	switch {
	case n < p.of.doubt:
		return nil
	case divisible && n >= p.full && n <= got.top:
		got.cut = true
		return nil
	}
	told, err := p.rest(ctx, q, got)
	if err == nil && (told == thatIsAll || told == notTold) && n >= p.longest {
		var again int
		switch again, err = p.inHalves(ctx, q, got); {
		case again != notTold:
			told = again
		case n == p.full && n < got.top:
			told = notTold // of one instant, and as many as were shown of others that were cut
		}
	}
	if err != nil {
		return err
	}
	switch told {
	case thatIsAll:
	case notTold:
		got.cut = n >= p.longest && (n == p.full || slices.Contains(p.opt.Caps, n))
	case askAgain:
		got.cut = true // rows left meanwhile
	default:
		got.cut = true
		p.full = min(p.full, n)
	}
	return nil
}

// rest asks what follows all but the last row of an answer.
func (p *listingPass) rest(ctx context.Context, q stretch, got *shown) (int, error) {
	origin, err := p.host(p.of.path)
	if err != nil {
		return 0, err
	}
	q.top, q.skip = 2, got.n-1
	res, page, _, err := p.question(ctx, origin, q)
	switch {
	case err != nil && res != nil && declines(res):
		return notTold, nil
	case err != nil:
		return 0, err
	}
	fresh := unmet(got.rows, page.rows)
	got.rows = append(got.rows, page.rows...)
	switch {
	case fresh > 0:
		return thereIsMore, nil
	case len(page.rows) == 1:
		return thatIsAll, nil
	case len(page.rows) == 0 && page.next == "":
		return askAgain, nil
	}
	return notTold, nil // it does not heed the offset
}

// inHalves reads a window in two halves, or before, at and behind an instant if
// there is only one in it: then it cannot be told of that one, unless there is
// more beside it.
func (p *listingPass) inHalves(ctx context.Context, q stretch, got *shown) (int, error) {
	span := drover.Span{From: q.since, To: q.until}
	shown := times(span, got.rows)
	if len(shown) == 0 {
		return notTold, nil
	}
	parts := halves(span, shown)
	told, met := thatIsAll, got.rows
	if slices.Min(shown) == slices.Max(shown) {
		told = notTold
	}
	for _, part := range parts {
		half, err := p.reading(ctx, stretch{since: part.From, until: part.To, filter: q.filter}, true)
		got.rows = append(got.rows, half.rows...)
		if err != nil {
			return 0, err
		}
		if unmet(met, half.rows) > 0 {
			told = thereIsMore
		}
	}
	return told, nil
}

// unmet counts rows that are not among those that were met.
func unmet(met, rows []drover.Row) (n int) {
	keys, sums := make(map[alert]struct{}, len(met)), make(map[drover.Hash]struct{}, len(met))
	note(keys, met)
	for i := range met {
		sums[met[i].Sum] = struct{}{}
	}
	for i := range rows {
		r := &rows[i]
		_, known := keys[alert{r.ID, r.Changed}]
		if _, same := sums[r.Sum]; !same && (!known || r.Bad != "") {
			n++
		}
	}
	return n
}

// older takes an answer for cut by the number of its rows, and looks for rows of
// the window that are older than those shown: an API without offsets that cuts
// keeps the newest (reference siem-api §3).
func (p *listingPass) older(ctx context.Context, q stretch, got *shown, divisible bool) error {
	n := got.n
	if n == p.full || divisible && n > p.full || slices.Contains(p.opt.Caps, n) {
		got.cut = true
		return nil
	}
	if n < p.of.doubt || n < p.longest {
		return nil // a longer one was shown
	}
	oldest := drover.NoInstant
	for i := range got.rows {
		if c := got.rows[i].Changed; c >= q.since && (!oldest.Known() || c < oldest) {
			oldest = c
		}
	}
	if !oldest.Known() || oldest <= q.since {
		return nil
	}
	before, err := p.reading(ctx, stretch{since: q.since, until: oldest}, divisible)
	if err != nil {
		return err
	}
	before.rows = slices.DeleteFunc(before.rows, func(r drover.Row) bool { return !r.Changed.Known() })
	if got.cut = unmet(got.rows, before.rows) > 0; got.cut {
		p.full = min(p.full, n)
	}
	got.rows = append(got.rows, before.rows...)
	return nil
}
