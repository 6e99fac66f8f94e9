package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"drover"
	"drover/internal/httpx"
)

// listing reads a window of one feed. What is met is handed to meet, a row
// perhaps more than once.
type listing struct {
	*client
	span drover.Span
	meet func(*row)
	seen map[string]bool // rows of this window
	// holes are stretches that could not be read whole, and why.
	holes []hole
	// modest asks for few rows and for no count, because more was refused.
	modest bool
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

// read reads the whole window.
func (l *listing) read(ctx context.Context) error {
	if l.src.newest {
		return l.linked(ctx, l.span)
	}
	to := l.span.To
	for to > l.span.From {
		from := max(l.span.From, to.Add(-l.src.width))
		if err := l.window(ctx, drover.Span{From: from, To: to}, nil); err != nil {
			return err
		}
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
		l.a.opt.Progress(fmt.Sprintf("%s %s: %d rows read, back to %s", l.tenant.Name, l.src.id, len(l.seen), oldest))
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

// modestTop is how many rows are asked for at once when more is refused.
const modestTop = 10

// first asks the question of a span. Where it is refused, it is asked once more
// for less.
func (l *listing) first(ctx context.Context, span drover.Span) (page, error) {
	if l.modest {
		return l.get(ctx, l.src.ask(span, min(l.src.top, modestTop), false), "")
	}
	p, err := l.get(ctx, l.src.ask(span, l.src.top, true), "")
	if err == nil || ctx.Err() != nil || drover.KindOf(err) != drover.Denied && !errors.Is(err, httpx.ErrTooLarge) {
		return p, err
	}
	small, again := l.get(ctx, l.src.ask(span, min(l.src.top, modestTop), false), "")
	if again != nil {
		return p, err
	}
	l.modest = true
	return small, nil
}

// window reads a window that states no order and no cap, and checks it by its
// halves: they must show nothing that the whole did not. known are the rows of
// the window if it has been asked for already.
func (l *listing) window(ctx context.Context, w drover.Span, known []*row) error {
	rows := known
	if rows == nil {
		p, err := l.get(ctx, l.src.ask(w, l.src.top, false), "")
		if err == nil && p.next != "" {
			_, _, _, err = l.chain(ctx, w, w, nil)
		}
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			return l.halve(ctx, w, err, func(ctx context.Context, half drover.Span) error { return l.window(ctx, half, nil) })
		}
		rows = p.rows
		l.take(rows, w, nil)
	}
	l.a.opt.Progress(fmt.Sprintf("%s %s: %d rows read, back to %s", l.tenant.Name, l.src.id, len(l.seen), w.From))
	middle := w.From.Add(w.To.Sub(w.From) / 2)
	if len(rows) == 0 || middle <= w.From || middle >= w.To {
		return nil
	}
	var halves [2][]*row
	fresh := 0
	for i, half := range [2]drover.Span{{From: middle, To: w.To}, {From: w.From, To: middle}} {
		p, err := l.get(ctx, l.src.ask(half, l.src.top, false), "")
		if err != nil {
			return l.halve(ctx, w, err, func(ctx context.Context, half drover.Span) error { return l.window(ctx, half, nil) })
		}
		f, _ := l.take(p.rows, half, nil)
		fresh += f
		if halves[i] = p.rows; halves[i] == nil {
			halves[i] = []*row{}
		}
	}
	if fresh == 0 {
		return nil
	}
	if w.To.Sub(w.From) < 2*grain {
		l.holes = append(l.holes, hole{w, "each time it is asked for, other rows are shown"})
		return nil
	}
	for i, half := range [2]drover.Span{{From: middle, To: w.To}, {From: w.From, To: middle}} {
		if err := l.window(ctx, half, halves[i]); err != nil {
			return err
		}
	}
	return nil
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
