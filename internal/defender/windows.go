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

// Values by which an instant is divided (reference graph-security §6). What
// has none of them is met by the piece that excludes them all.
var (
	severities = []string{"unknown", "informational", "low", "medium", "high"}
	products   = []string{"unknown", "microsoftDefenderForEndpoint", "microsoftDefenderForIdentity", "microsoftDefenderForCloudApps",
		"microsoftDefenderForOffice365", "microsoft365Defender", "azureAdIdentityProtection", "microsoftAppGovernance", "dataLossPrevention",
		"microsoftDefenderForCloud", "microsoftSentinel"}
)

// split divides a piece by a condition, nil if there is none left.
func split(p piece) (parts []piece) {
	var member string
	var values []string
	switch p.level {
	case 0:
		member, values = "severity", severities
	case 1:
		member, values = "serviceSource", products
	default:
		return nil
	}
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
		switch {
		case err != nil:
			return drover.Page{}, err
		case told == thereIsMore:
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
		w.parts = halves(pc.span, page.rows)
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
		// Once more, and what this reading met is the first one of two.
		p.again(pc)
	}
	return out, nil
}

// again reads a piece of which two readings differ: in halves of its own, if
// it can be halved.
func (p *graphPass) again(pc piece) {
	w := p.windows
	w.first, w.second, w.parts = w.second, make(map[alert]struct{}), []drover.Span{pc.span}
	if mid := median(pc.span, slices.Collect(maps.Keys(w.first))); mid > pc.span.From {
		w.todo = slices.Concat([]piece{{drover.Span{From: pc.span.From, To: mid}, pc.filter, pc.level}, {drover.Span{From: mid, To: pc.span.To}, pc.filter, pc.level}}, w.todo[1:])
		w.first, w.second, w.parts, w.reads = nil, nil, nil, 0
	}
}

// give adds rows to a page that this pass has not returned.
func (w *windows) give(out *drover.Page, rows []drover.Row, s *seen) {
	for i := range rows {
		row := &rows[i]
		_, returned := s.has(row)
		if _, ok := w.given[row.Sum]; ok || returned {
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
	w := p.windows
	var parts []piece
	for _, s := range divided(pc.span, rows, p.middle()) {
		parts = append(parts, piece{s, pc.filter, pc.level})
	}
	if parts == nil {
		parts = split(pc)
	}
	if parts == nil {
		out.Skipped = append(out.Skipped, drover.Skipped{Span: pc.span, Cause: causeUnsplittable})
		p.endPiece(out)
		return
	}
	w.todo = slices.Concat(parts, w.todo[1:])
	w.first, w.second, w.parts, w.reads = nil, nil, nil, 0
}

// endPiece goes on with the next piece, or behind the last one.
func (p *graphPass) endPiece(out *drover.Page) {
	w := p.windows
	end := w.todo[0].span.To
	w.todo = w.todo[1:]
	w.first, w.second, w.parts, w.reads = nil, nil, nil, 0
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
	q := query{from: span.From, to: span.To, filter: filter, top: graphPageMax}
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

// median returns an instant that has about half of the alerts before it, or
// the span's begin if there is none.
func median(span drover.Span, met []alert) drover.Instant {
	times := make([]drover.Instant, 0, len(met))
	for _, a := range met {
		if span.Contains(a.changed) && a.changed.Known() {
			times = append(times, a.changed)
		}
	}
	if len(times) < 2 {
		return span.From
	}
	slices.Sort(times)
	mid := times[len(times)/2]
	if mid == times[0] {
		mid = times[len(times)-1] // most of them share the first instant
	}
	if mid == times[0] {
		return span.From
	}
	return mid
}

func medianOf(span drover.Span, rows []drover.Row) drover.Instant {
	met := make([]alert, len(rows))
	for i := range rows {
		met[i].changed = rows[i].Changed
	}
	return median(span, met)
}

// halves returns the questions of the second reading.
func halves(span drover.Span, rows []drover.Row) []drover.Span {
	if mid := medianOf(span, rows); mid > span.From {
		return []drover.Span{{From: span.From, To: mid}, {From: mid, To: span.To}}
	}
	for i := range rows {
		if at := rows[i].Changed; at.Known() && span.Contains(at) && len(rows) > 1 {
			return around(span, at)
		}
	}
	return []drover.Span{span}
}

// divided narrows a span that holds more than an answer shows: where the rows
// that were shown have their median, or around the one instant that they
// share; else in the middle. Nil for a single instant.
func divided(span drover.Span, rows []drover.Row, middle drover.Instant) []drover.Span {
	if narrow(span) {
		return nil
	}
	from, to := max(span.From, beginOfTime), endOfTime
	if !span.Open() {
		to = span.To
	}
	mid := medianOf(span, rows)
	switch {
	case mid > span.From:
	case middle > from && middle < to && span.Open():
		mid = middle
	default:
		for i := range rows {
			if at := rows[i].Changed; at.Known() && span.Contains(at) {
				return around(span, at)
			}
		}
		mid = from + (to-from)/2
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
