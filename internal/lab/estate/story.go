package estate

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// writer writes a tenant's story.
type writer struct {
	e    *Estate
	opt  Options
	m    maker
	n    int
	tied time.Time
	ties int
}

// alert writes one alert and what becomes of it. A backlog alert is visible by
// `by`.
func (w *writer) alert(l *list, at, by time.Time) {
	tpl := w.e.tpls[w.m.r.IntN(len(w.e.tpls))]
	w.n++
	// Fractions of a second differ in length, up to seven digits.
	created := at.Truncate([]time.Duration{100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}[w.n%8]).UTC()
	delay, _ := w.pace(by)
	r := &Row{ID: tpl.prefix + w.m.guid() + "_1", Created: created, Changed: grid(at.Add(w.within(delay))), tenant: w.opt.ID,
		severity: w.m.pick("informational", "low", "medium", "high"), status: "new", tpl: tpl, pieces: max(1, len(tpl.evidence)-w.m.r.IntN(3))}
	if w.opt.Ties > 0 && w.ties < w.opt.Ties {
		if w.tied.IsZero() {
			w.tied = r.Changed
		}
		r.Changed = w.tied
		w.ties++
	}
	if w.n <= w.opt.Twins {
		r.ID = fmt.Sprintf("da00000000-0000-4000-a000-%012d_1", w.n)
	}
	w.life(l, r, by, func(next *Row) {
		switch w.m.r.IntN(5) {
		case 0:
			next.status, next.assigned = w.m.pick("inProgress", "resolved"), "analyst@mssp.example"
		case 1:
			next.classification, next.determination = w.m.pick("truePositive", "falsePositive"), "other"
		case 2:
			next.pieces = min(next.pieces+1, len(tpl.evidence))
			next.comments++
		case 3:
			next.comments++
			next.merges += next.Rev % 2
		case 4: // a touch: nothing but the time
		}
	})
}

// pace is how long after its cause something first happens, and how long until
// the next thing does, at most. What happens while somebody looks on, with no
// time by which it is visible, happens within the story's horizon.
func (w *writer) pace(by time.Time) (first, next time.Duration) {
	if by.IsZero() {
		return time.Second, max(w.opt.Horizon/4, 2*time.Second)
	}
	return 90 * time.Second, 240 * time.Second
}

// life writes the first state of an alert or an incident and those that follow,
// each as change makes it of the one before, and returns them all.
func (w *writer) life(l *list, r *Row, by time.Time, change func(next *Row)) []*Row {
	_, pace := w.pace(by)
	states := []*Row{r}
	w.push(l, r, by)
	for w.m.r.Float64() < w.opt.Updates/(1+w.opt.Updates) {
		next := *r
		next.Rev++
		next.Changed = grid(r.Changed.Add(time.Second + w.within(pace)))
		if by.IsZero() && next.Changed.After(w.e.start.Add(w.opt.Horizon)) {
			break
		}
		change(&next)
		r = &next
		states = append(states, r)
		w.push(l, r, by)
	}
	// Silently changed are young rows: an old one would be out of anybody's sight.
	if w.m.r.Float64() < w.opt.Silent && w.e.start.Sub(r.Changed) < time.Minute {
		next := *r
		next.Rev++
		next.comments++
		next.silent, next.before = true, r
		states = append(states, &next)
		w.pushAt(l, &next, maxTime(r.Visible, w.e.start).Add(time.Second+w.within(min(10*time.Second, w.opt.Horizon/4))))
	}
	return states
}

// within draws a duration below d.
func (w *writer) within(d time.Duration) time.Duration {
	return time.Duration(w.m.r.Float64() * float64(d))
}

func (w *writer) push(l *list, r *Row, by time.Time) {
	visible := r.Changed.Add(time.Duration(w.m.r.IntN(900)) * time.Millisecond)
	// Late rows are young: how late a row may show is bounded by LateMax, so an
	// old one has shown long ago.
	if w.m.r.Float64() < w.opt.LateShare && w.opt.LateMax > 0 {
		visible = r.Changed.Add(w.within(w.opt.LateMax))
	}
	if !by.IsZero() && visible.After(by) && w.e.start.Sub(r.Changed) > w.opt.LateMax {
		visible = by
	}
	w.pushAt(l, r, visible)
}

func (w *writer) pushAt(l *list, r *Row, visible time.Time) {
	r.Text, r.Visible = Text(r.Changed), visible
	l.later = append(l.later, r)
}

// special writes rows that should not be there. plain makes one without
// identity and times.
func (w *writer) special(l *list, plain func() *Row) {
	put := func(n int, kind string, make func(i int, r *Row)) {
		for i := range n {
			r := plain()
			at := w.e.start.Add(-time.Duration(1+w.m.r.IntN(600)) * time.Second)
			if w.opt.Horizon > 0 && i%2 == 1 {
				at = w.e.start.Add(time.Duration(w.m.r.Float64() * float64(w.opt.Horizon/2)))
			}
			r.ID, r.Created, r.Changed, r.tenant, r.Kind = w.specialID(l.source, r), at, grid(at), w.opt.ID, kind
			make(i, r)
			w.pushAt(l, r, at)
		}
	}
	put(w.opt.Foreign, "foreign", func(_ int, r *Row) { r.Claims = w.m.guid() })
	// Unnamed rows are the tenant's own, and owed: they are no special rows to
	// the judge.
	put(w.opt.Unnamed, "", func(i int, r *Row) { r.Claims = []string{"null", `"contoso"`, `""`}[i%3] })
	put(w.opt.Bad, "bad", func(i int, r *Row) {
		body := string(w.e.render(l.source, r))
		switch i % 4 {
		case 0:
			body = strings.Replace(body, `"id":`, `"noid":`, 1)
		case 1:
			body = strings.Replace(body, `"id":`, `"id":"twice","id":`, 1)
		case 2:
			body = strings.Replace(body, `"id":"`+r.ID+`"`, `"id":null`, 1)
		case 3:
			body = strings.Replace(body, `"id":"`+r.ID+`"`, `"id":7`, 1)
		}
		r.Raw = []byte(body)
	})
}

// specialID is the identity of a special row of a source.
func (w *writer) specialID(source string, r *Row) string {
	switch source {
	case Incidents:
		return strconv.Itoa(900_000_000 + w.m.r.IntN(100_000_000))
	case MDE:
		return w.m.guid() + "_1"
	}
	return r.tpl.prefix + w.m.guid() + "_1"
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
