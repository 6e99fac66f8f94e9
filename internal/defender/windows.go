package defender

import (
	"context"
	"errors"
	"slices"

	"drover"
)

// windows reads a span in pieces bounded on both sides, for an API that does
// not keep the order it was asked for. A piece is halved until it fits a page,
// and read until two readings agree.
type windows struct {
	todo  []drover.Span // next first
	keys  map[uint64]drover.Instant
	rows  []drover.Row
	reads int
	calls int
}

// Bounds of a piece.
const (
	windowReads = 5
	windowSmall = 2    // steps of 100 ns that are not halved any more
	windowCalls = 5000 // for one pass; an API that ignores its filter would be asked for ever
)

func newWindows(from, to drover.Instant) *windows {
	return &windows{todo: []drover.Span{{From: from, To: to}}}
}

// nextWindow reads one piece once.
func (p *graphPass) nextWindow(ctx context.Context) (drover.Page, error) {
	w := p.windows
	span := w.todo[0]
	if w.calls++; w.calls > windowCalls {
		return drover.Page{}, p.notWhole(errors.New("the API keeps neither the order nor the bounds that it is asked for"))
	}
	res, page, err := p.fetch(ctx, p.query(span.From, span.To, ""))
	if err != nil {
		return drover.Page{}, err
	}
	out := p.page(res)
	if page.next != "" || len(page.rows) >= p.s.pageSize(p.tenant.ID) {
		w.reset()
		if span.To-span.From <= windowSmall {
			out.Skipped = append(out.Skipped, drover.Skipped{Span: span, Cause: "unsplittable instant: more alerts share one change time than the API shows"})
			p.endWindow(&out, span)
			return out, nil
		}
		middle := span.From + (span.To-span.From)/2
		w.todo = append([]drover.Span{{From: span.From, To: middle}, {From: middle, To: span.To}}, w.todo[1:]...)
		out.Through = p.through
		return out, nil
	}
	if !w.agree(page.rows) && w.reads < windowReads {
		out.Through = p.through
		return out, nil
	}
	slices.SortStableFunc(w.rows, func(a, b drover.Row) int { return int(min(max(a.Changed-b.Changed, -1), 1)) })
	out.Rows = w.rows
	p.endWindow(&out, span)
	return out, nil
}

// agree adds a reading, and reports whether it brought nothing that an earlier
// one had not.
func (w *windows) agree(rows []drover.Row) bool {
	if w.keys == nil {
		w.keys = make(map[uint64]drover.Instant)
	}
	same := w.reads > 0
	for i := range rows {
		k := idKey(rows[i].ID)
		if at, ok := w.keys[k]; ok && at == rows[i].Changed {
			continue
		}
		w.keys[k] = rows[i].Changed
		w.rows = append(w.rows, rows[i])
		same = false
	}
	w.reads++
	return same
}

func (w *windows) reset() { w.keys, w.rows, w.reads = nil, nil, 0 }

// endWindow goes on with the next piece.
func (p *graphPass) endWindow(out *drover.Page, span drover.Span) {
	p.windows.reset()
	p.windows.todo = p.windows.todo[1:]
	if len(p.windows.todo) == 0 {
		p.finish(out)
		return
	}
	p.reach(span.To)
	out.Through = p.through
}
