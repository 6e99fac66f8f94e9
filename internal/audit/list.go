package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"drover"
	"drover/internal/httpx"
)

// listing reads a window of one feed. What is met is handed to meet, a row
// perhaps more than once.
type listing struct {
	*client
	span   drover.Span
	expect int // rows, about, as far as it is known
	meet   func(*row)
	seen   map[string]bool // rows of this window
	// holes are stretches that could not be read whole, and why.
	holes []hole
	// top is how many rows are asked for at once, and count whether their number
	// is; where that is refused, fewer and none from then on.
	top   int
	count bool
}

// hole is a stretch that could not be read whole.
type hole struct {
	span drover.Span
	why  string
}

const (
	// narrowest is where a stretch that cannot be read is no longer halved.
	narrowest = 2 * time.Second
	// vainPages in a row bring nothing new before links are no longer followed.
	vainPages = 3
)

// Windows are as wide as the rows allow. An answer is to hold about aim of them:
// an audit of many feeds holds some such answers in memory at once.
const (
	aim        = 1000
	firstWidth = 4 * 24 * time.Hour // at most: nobody knows yet what comes
	leastWidth = time.Minute
	growth     = 4 // times as wide as the window before, at most
)

// width is how wide a window is in which about aim rows lie where rows of them
// lie in span.
func width(rows int, span time.Duration) time.Duration {
	return max(time.Duration(float64(span)*aim/float64(max(rows, 1))), leastWidth)
}

// requests is about how many requests a window with so many rows takes.
func (s *source) requests(rows int, span time.Duration) int {
	if s.newest {
		return (rows+s.top-1)/s.top + 1
	}
	n, first := 0, min(width(rows, span), firstWidth)
	for left := span; left > 0; left -= first {
		n += 3
		first = min(first*growth, width(rows, span))
	}
	return n
}

// read reads the whole window.
func (l *listing) read(ctx context.Context) error {
	if l.src.newest {
		return l.linked(ctx, l.span)
	}
	wide := min(width(l.expect, l.span.To.Sub(l.span.From)), firstWidth)
	for to := l.span.To; to > l.span.From; {
		from := max(l.span.From, to.Add(-wide))
		before := len(l.seen)
		if err := l.window(ctx, drover.Span{From: from, To: to}, nil); err != nil {
			return err
		}
		wide = min(width(len(l.seen)-before, to.Sub(from)), wide*growth)
		to = from
	}
	return nil
}

// take hands rows of the window on and returns how many were new and the oldest
// of their times. inside gets those that have a time inside the span that was
// asked for; it may be nil.
func (l *listing) take(rows []*row, span drover.Span, inside map[string]bool) (fresh int, oldest drover.Instant) {
	oldest = drover.NoInstant
	for _, r := range rows {
		at := l.src.when(r.changed, r.created)
		if at.Known() && (!oldest.Known() || at < oldest) {
			oldest = at
		}
		if at.Known() && !l.span.Contains(at) {
			continue
		}
		if inside != nil && (!at.Known() || span.Contains(at)) {
			inside[rowKey(r)] = true
		}
		// A row whose bytes change with each read is still one row.
		if key := rowKey(r); l.seen[key] {
			continue
		} else {
			l.seen[key] = true
		}
		fresh++
		l.meet(r)
	}
	return fresh, oldest
}

// rowKey tells rows apart whatever bytes they have.
func rowKey(r *row) string {
	if r.id == "" {
		return string(r.sum[:])
	}
	return r.id + "\x00" + r.changed.String()
}

// linked reads a span along its links, the newest row first. Where the links
// end, the question is asked again from the oldest row on, until nothing new
// comes: an API may cut an answer and give no link. If it says how many rows
// there are and fewer have come, the span is halved.
func (l *listing) linked(ctx context.Context, span drover.Span) error {
	count, met := -1, make(map[string]bool)
	for to := span.To; ; {
		fresh, said, oldest, err := l.chain(ctx, drover.Span{From: span.From, To: to}, span, met)
		switch {
		case err != nil && ctx.Err() != nil:
			return err
		case err != nil:
			return l.halve(ctx, span, err, l.linked)
		}
		if to == span.To {
			count = said
		}
		l.job.read(l, fresh, oldest)
		if fresh == 0 || !oldest.Known() || oldest >= to {
			break
		}
		to = oldest + 1
	}
	if count > len(met) {
		return l.halve(ctx, span, fmt.Errorf("the API says that there are %d rows and shows %d", count, len(met)), l.linked)
	}
	return nil
}

// chain asks once and follows the links.
func (l *listing) chain(ctx context.Context, ask, span drover.Span, inside map[string]bool) (fresh, count int, oldest drover.Instant, err error) {
	count, oldest = -1, drover.NoInstant
	links := make(map[string]bool)
	link, vain := "", 0
	for n := 0; ; n++ {
		var p page
		if link == "" {
			p, err = l.first(ctx, ask)
		} else {
			p, err = l.get(ctx, "", link)
		}
		switch {
		case err != nil && link != "" && ctx.Err() == nil && (drover.KindOf(err) == drover.Denied || errors.Is(err, httpx.ErrOrigin)):
			return fresh, count, oldest, nil // the link is refused, or is not followed: ask from the oldest row on
		case err != nil:
			return fresh, count, oldest, err
		}
		if n == 0 {
			count = p.count
		}
		f, o := l.take(p.rows, span, inside)
		fresh += f
		if o.Known() && (!oldest.Known() || o < oldest) {
			oldest = o
		}
		if vain++; f > 0 {
			vain = 0
		}
		if p.next == "" || links[p.next] || vain >= vainPages {
			return fresh, count, oldest, nil
		}
		links[p.next] = true
		link = p.next
	}
}

// Where so many rows at once, or their number, are refused, it is tried with
// ever fewer, and without.
const (
	fewer  = 8
	fewest = 10
)

// first asks the question of a span.
func (l *listing) first(ctx context.Context, span drover.Span) (page, error) {
	asked := l.src.ask(span, l.top, l.count)
	p, err := l.get(ctx, asked, "")
	for top := l.top; l.src.ask(span, fewest, false) != asked && (drover.KindOf(err) == drover.Denied || errors.Is(err, httpx.ErrTooLarge)) && top > fewest && ctx.Err() == nil; {
		top = max(top/fewer, fewest)
		if small, again := l.get(ctx, l.src.ask(span, top, false), ""); again == nil {
			l.top, l.count = top, false
			return small, nil
		}
	}
	return p, err
}

// window reads a window that states no order and no cap, and checks it by its
// parts: they must show nothing that the whole did not. known are the rows of
// the window if it has been asked for already.
func (l *listing) window(ctx context.Context, w drover.Span, known []*row) error {
	rows, before := known, len(l.seen)
	again := func(ctx context.Context, part drover.Span) error { return l.window(ctx, part, nil) }
	if rows == nil {
		p, err := l.first(ctx, w)
		if err == nil && p.next != "" {
			_, _, _, err = l.chain(ctx, w, w, nil)
		}
		if err != nil {
			return l.halve(ctx, w, err, again)
		}
		rows = p.rows
		l.take(rows, w, nil)
	}
	l.job.read(l, len(l.seen)-before, w.From)
	parts := l.parts(w, rows)
	if len(parts) == 0 {
		return nil
	}
	shown, fresh := make([][]*row, len(parts)), 0
	for i, part := range parts {
		p, err := l.get(ctx, l.src.ask(part, l.top, false), "")
		if err != nil {
			return l.halve(ctx, w, err, again)
		}
		f, _ := l.take(p.rows, part, nil)
		fresh += f
		if shown[i] = p.rows; shown[i] == nil {
			shown[i] = []*row{}
		}
	}
	l.job.read(l, fresh, drover.NoInstant)
	if fresh == 0 {
		return nil
	}
	if w.To.Sub(w.From) < 2*grain {
		l.holes = append(l.holes, hole{w, "each time it is asked for, other rows are shown"})
		return nil
	}
	for i, part := range parts {
		if err := l.window(ctx, part, shown[i]); err != nil {
			return err
		}
	}
	return nil
}

// parts are what a window is checked by, the newest first: two with about as
// many of its rows each. An answer that was cut at some number of rows, whichever
// these are, holds fewer than that number in either part, and more lie in one:
// asked for by itself, that part shows some of them. In a window whose rows all
// have one time it is what lies before and behind that; in an empty one it is
// its halves.
func (l *listing) parts(w drover.Span, rows []*row) (out []drover.Span) {
	var times []drover.Instant
	for _, r := range rows {
		if at := l.src.when(r.changed, r.created); at.Known() && w.Contains(at) {
			times = append(times, at)
		}
	}
	slices.Sort(times)
	add := func(from, to drover.Instant) {
		if from < to && (from > w.From || to < w.To) {
			out = append(out, drover.Span{From: from, To: to})
		}
	}
	switch n := len(times); {
	case n == 0:
		middle := w.From.Add(w.To.Sub(w.From) / 2)
		add(middle, w.To)
		add(w.From, middle)
	case times[0] == times[n-1]:
		add(times[0]+1, w.To)
		add(w.From, times[0])
	default:
		middle := times[n/2]
		if middle == times[0] {
			i, _ := slices.BinarySearch(times, middle+1)
			middle = times[i]
		}
		add(middle, w.To)
		add(w.From, middle)
	}
	return out
}

// halve reads a span that could not be read whole in two parts, or takes note
// of it.
func (l *listing) halve(ctx context.Context, span drover.Span, cause error, read func(context.Context, drover.Span) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	kind, width := drover.KindOf(cause), span.To.Sub(span.From)
	if kind != drover.Transient && !errors.Is(cause, httpx.ErrTooLarge) || width < narrowest || len(l.holes) >= maxHoles {
		l.holes = append(l.holes, hole{span, cause.Error()})
		return nil
	}
	middle := span.From.Add(width / 2)
	for _, half := range [2]drover.Span{{From: middle, To: span.To}, {From: span.From, To: middle}} {
		if err := read(ctx, half); err != nil {
			return err
		}
	}
	return nil
}

// maxHoles bounds how many stretches are narrowed down: an API that is not
// there is not asked for each second of a month.
const maxHoles = 3
