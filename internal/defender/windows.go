package defender

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"drover"
)

// Bounds of reading in windows.
const (
	windowReadings = 5     // of one piece, until two agree
	windowCalls    = 5_000 // of one stretch; an API that ignores its bounds would be asked for ever
	windowEmpty    = 8     // empty pages with a link, followed in one question
	windowGiven    = 1 << 18
)

// Causes of a stretch that is left out.
const (
	causeUnsplittable = "unsplittable instant: more alerts share one change time than the API shows"
	causeRestless     = "the alerts of this stretch changed each time it was read"
)

var errWindows = errors.New("the API keeps neither the order nor the bounds that it is asked for")

// piece is a stretch of change time, and one more condition on the alerts in
// it, that is read by questions bounded on both sides.
type piece struct {
	span   drover.Span
	filter string
	level  int // how often it was divided by a condition
}

// condition is a member by whose values a stretch is divided that cannot be
// divided by time.
type condition struct {
	member string
	values []string
}

// Values by which an instant is divided (reference graph-security §6). What
// has none of them is met by the piece that excludes them all.
var (
	severities = []string{"unknown", "informational", "low", "medium", "high"}
	products   = []string{"unknown", "microsoftDefenderForEndpoint", "microsoftDefenderForIdentity", "microsoftDefenderForCloudApps",
		"microsoftDefenderForOffice365", "microsoft365Defender", "azureAdIdentityProtection", "microsoftAppGovernance", "dataLossPrevention",
		"microsoftDefenderForCloud", "microsoftSentinel"}
)

// split divides a piece by the next condition, nil if there is none left.
func split(p piece, by []condition) (parts []piece) {
	if p.level >= len(by) {
		return nil
	}
	member, values := by[p.level].member, by[p.level].values
	with := func(terms ...string) {
		if p.filter != "" {
			terms = append([]string{p.filter}, terms...)
		}
		parts = append(parts, piece{p.span, strings.Join(terms, " and "), p.level + 1})
	}
	var others []string
	for _, v := range values {
		with(member + " eq '" + v + "'")
		others = append(others, member+" ne '"+v+"'")
	}
	with(others...)
	return parts
}

// windows reads a stretch piece by piece: one that the API did not keep in
// order, or an instant that it does not show whole. A piece that does not fit
// an answer is divided, by time and then by condition. One that does is read
// twice, the second time in two halves with about as many alerts in each: if
// the first answer was cut, the halves show more.
type windows struct {
	todo   []piece
	back   bool                     // keyset goes on behind the stretch; else the pass ends with it
	clamp  int                      // rows at which an answer is taken for cut, 0: no suspicion
	given  map[drover.Hash]struct{} // rows returned
	asked  int
	first  map[alert]struct{} // the piece at hand, as read first; nil: not yet
	second map[alert]struct{}
	parts  []drover.Span // of the second reading, still to be read
	reads  int

	longest int // the most rows of an answer, of those that a doubt was cleared of
}

func newWindows(todo ...piece) *windows {
	return &windows{todo: todo, given: make(map[drover.Hash]struct{})}
}

// nextWindow asks one question.
func (p *graphPass) nextWindow(ctx context.Context) (out drover.Page, err error) {
	w := p.windows
	pc := w.todo[0]
	span := pc.span
	if w.first != nil {
		span = w.parts[0]
	}
	if w.asked++; w.asked > windowCalls {
		p.windows = nil
		return out, p.notWhole(errWindows)
	}
	res, page, top, err := p.fetch(ctx, p.bounded(span, pc.filter))
	if err != nil {
		if res == nil || res.Status != http.StatusBadRequest || pc.filter == "" {
			return out, err
		}
		// The API does not take the condition: what it would have shown is
		// not known.
		out.Skipped = append(out.Skipped, drover.Skipped{Span: pc.span, Cause: causeUnsplittable})
		p.endPiece(&out)
		return out, nil
	}
	for n := 0; len(page.rows) == 0 && page.next != "" && n < windowEmpty; n++ {
		if res, page, err = p.follow(ctx, page.next); err != nil {
			return out, err
		}
		if res == nil {
			break
		}
	}
	if res == nil || len(page.rows) == 0 && page.next != "" {
		p.windows = nil
		return out, p.notWhole(errEndless)
	}
	partly(&out, res, p.seconds(span))
	w.give(&out, page.rows, p.seen)
	full := page.next != "" || len(page.rows) >= top || w.clamp > 0 && len(page.rows) >= max(w.clamp, 2)
	if !full && narrow(span) && len(page.rows) >= max(w.longest, 2) {
		// No answer was longer: is it all, or was it cut?
		told, err := p.more(ctx, &out, p.bounded(span, pc.filter), page.rows)
		if p.asked++; told == askAgain && p.asked >= maxAsked {
			told = notTold
		}
		switch {
		case err != nil:
			return out, err
		case told == thereIsMore, told == allOfInstant: // what follows lies in the window as well
			full, w.clamp = true, len(page.rows)
		case told == askAgain:
			return out, nil
		case told == notTold:
			full = slices.Contains(p.opt.Caps, len(page.rows))
		}
	}
	w.longest = max(w.longest, len(page.rows))
	switch {
	case full:
		p.divide(&out, pc, page.rows)
	case w.first == nil:
		w.first, w.second = make(map[alert]struct{}), make(map[alert]struct{})
		note(w.first, page.rows)
		w.parts = halves(pc.span, times(pc.span, page.rows))
	default:
		note(w.second, page.rows)
		if w.parts = w.parts[1:]; len(w.parts) > 0 {
			break
		}
		if maps.Equal(w.first, w.second) {
			p.endPiece(&out)
			break
		}
		if w.reads++; w.reads >= windowReadings {
			out.Skipped = append(out.Skipped, drover.Skipped{Span: p.seconds(pc.span), Cause: causeRestless})
			p.endPiece(&out)
			break
		}
		p.again(pc)
	}
	return out, nil
}

// again reads a piece of which two readings differ once more: in parts that
// are each read twice, or if it has none, as it is.
func (p *graphPass) again(pc piece) {
	w := p.windows
	var times []drover.Instant
	for a := range w.second {
		times = append(times, a.changed)
	}
	parts := halves(pc.span, times)
	if len(parts) > 1 {
		p.replace(pc, parts)
		return
	}
	w.first, w.second, w.parts = w.second, make(map[alert]struct{}), parts
}

// replace puts parts in the place of the piece at hand.
func (p *graphPass) replace(pc piece, parts []drover.Span) {
	w := p.windows
	todo := make([]piece, 0, len(parts)+len(w.todo))
	for _, s := range parts {
		todo = append(todo, piece{s, pc.filter, pc.level})
	}
	w.todo = append(todo, w.todo[1:]...)
	w.fresh()
}

// fresh begins a piece.
func (w *windows) fresh() { w.first, w.second, w.parts, w.reads = nil, nil, nil, 0 }

// give adds rows to a page that this pass has not returned.
func (w *windows) give(out *drover.Page, rows []drover.Row, s *seen) {
	for i := range rows {
		row := &rows[i]
		_, returned := s.has(row)
		if _, ok := w.given[row.Sum]; ok || returned {
			out.Again++
			continue
		}
		if len(w.given) >= windowGiven {
			clear(w.given)
		}
		w.given[row.Sum] = struct{}{}
		out.Rows = append(out.Rows, *row)
	}
	slices.SortStableFunc(out.Rows, func(a, b drover.Row) int { return cmp.Compare(a.Changed, b.Changed) })
}

func note(met map[alert]struct{}, rows []drover.Row) {
	for i := range rows {
		if r := &rows[i]; r.Bad == "" {
			met[alert{r.ID, r.Changed}] = struct{}{}
		}
	}
}

// divide replaces a piece that does not fit an answer by narrower ones. One
// that cannot be narrowed is left out, and said so.
func (p *graphPass) divide(out *drover.Page, pc piece, rows []drover.Row) {
	if parts := divided(pc.span, times(pc.span, rows), p.middle()); parts != nil {
		p.replace(pc, parts)
		return
	}
	w := p.windows
	if parts := split(pc, p.s.of.divide); parts != nil {
		w.todo = append(parts, w.todo[1:]...)
		w.fresh()
		return
	}
	out.Skipped = append(out.Skipped, drover.Skipped{Span: pc.span, Cause: causeUnsplittable})
	p.endPiece(out)
}

// endPiece goes on with the next piece, or behind the last one.
func (p *graphPass) endPiece(out *drover.Page) {
	w := p.windows
	end := w.todo[0].span.To
	w.todo = w.todo[1:]
	w.fresh()
	if len(w.todo) > 0 {
		if next := w.todo[0].span.From; next == end {
			p.reach(next)
		}
		return
	}
	if !w.back {
		p.finish(out)
		return
	}
	p.stepOver(out, end)
}

// bounded is the question for a part of the span; its outer bounds are
// widened.
func (p *graphPass) bounded(span drover.Span, filter string) query {
	q := query{from: span.From, to: span.To, filter: filter, top: p.s.of.most}
	if q.from == p.span.From && q.from.Known() {
		q.from = q.from.Add(-grain)
	}
	if q.to == p.span.To {
		q.to = q.to.Add(grain)
	}
	return q
}

// seconds is span, with an end.
func (p *graphPass) seconds(span drover.Span) drover.Span {
	if span.Open() {
		span.To = max(span.From, p.middle())
	}
	return span
}

// middle is where an open stretch is divided first: everything usual lies
// before it.
func (p *graphPass) middle() drover.Instant {
	if p.clock.asOf.Known() {
		return p.clock.asOf.Add(time.Second)
	}
	return drover.InstantOf(p.clock.now().Add(plausible))
}

// narrow reports whether a span is a single instant.
func narrow(s drover.Span) bool { return !s.Open() && s.To-s.From <= 1 }

// times returns the change times of rows that lie in a span.
func times(span drover.Span, rows []drover.Row) []drover.Instant {
	out := make([]drover.Instant, 0, len(rows))
	for i := range rows {
		if c := rows[i].Changed; c.Known() && span.Contains(c) {
			out = append(out, c)
		}
	}
	return out
}

// halves cuts a span so that about half of the given times lie on each side,
// and around them if they are all one. A single time, or none, does not cut.
func halves(span drover.Span, times []drover.Instant) []drover.Span {
	times = slices.DeleteFunc(times, func(i drover.Instant) bool { return !i.Known() || !span.Contains(i) })
	if len(times) < 2 || narrow(span) {
		return []drover.Span{span}
	}
	slices.Sort(times)
	mid, first, last := times[len(times)/2], times[0], times[len(times)-1]
	if mid == first {
		mid = last // most of them share the first one
	}
	if mid == first {
		return around(span, mid)
	}
	return []drover.Span{{From: span.From, To: mid}, {From: mid, To: span.To}}
}

// divided narrows a span that holds more than an answer shows: by what was
// shown, else in the middle. Nil for a single instant.
func divided(span drover.Span, shown []drover.Instant, middle drover.Instant) []drover.Span {
	if narrow(span) {
		return nil
	}
	if parts := halves(span, shown); len(parts) > 1 {
		return parts
	}
	from, to := max(span.From, beginOfTime), endOfTime
	if !span.Open() {
		to = span.To
	}
	mid := from + (to-from)/2
	if span.Open() && middle > from && middle < to {
		mid = middle
	}
	if mid <= span.From || mid >= to {
		return nil
	}
	return []drover.Span{{From: span.From, To: mid}, {From: mid, To: span.To}}
}

// around cuts a span before and behind an instant.
func around(span drover.Span, at drover.Instant) (parts []drover.Span) {
	if at > span.From {
		parts = append(parts, drover.Span{From: span.From, To: at})
	}
	parts = append(parts, drover.Span{From: at, To: at + 1})
	if span.Open() || at+1 < span.To {
		parts = append(parts, drover.Span{From: at + 1, To: span.To})
	}
	return parts
}
