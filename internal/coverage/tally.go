package coverage

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"
	"time"

	"drover"
)

// slot is how finely the times of new alerts are told apart. A burst within one
// counts as one arrival; nothing that is judged is shorter than a day.
const slot = 15 * time.Minute

// maxStrangers bounds how many products outside of the table are counted by
// name.
const maxStrangers = 32

// Tally counts the new alerts of one source by product. It holds a bit for each
// slot of the span and product: 360 bytes a month and product.
type Tally struct {
	source    drover.SourceID
	from      drover.Instant
	slots     int
	by        map[string]*arrivals
	strangers int
}

// arrivals is when new alerts of a product came.
type arrivals struct {
	n      int
	newest drover.Instant
	slots  []uint64
}

// NewTally counts from an instant on, to about another one: what is later
// counts for the last slot.
func NewTally(s drover.SourceID, from, to drover.Instant) *Tally {
	return &Tally{source: s, from: from, slots: max(1, int(to.Sub(from)/slot)+1), by: make(map[string]*arrivals)}
}

// Add counts a revision if it is the first of an alert that was created in the
// span. It keeps nothing of it.
func (t *Tally) Add(r *drover.Revision) {
	at := r.Created
	if !at.Known() || t.source == drover.SIEMDetections {
		at = r.Changed // the SIEM API's created time is that of the event
	}
	if r.Previous != 0 || !at.Known() || at < t.from {
		return
	}
	id := productOf(t.source, r.AlertID, r.Raw)
	a := t.by[id]
	if a == nil && strings.HasPrefix(id, "other:") {
		if t.strangers++; t.strangers > maxStrangers {
			id = "other:others"
			a = t.by[id]
		}
	}
	if a == nil {
		a = &arrivals{newest: drover.NoInstant, slots: make([]uint64, (t.slots+63)/64)}
		t.by[id] = a
	}
	a.n++
	a.newest = max(a.newest, at)
	i := min(int(at.Sub(t.from)/slot), t.slots-1)
	a.slots[i/64] |= 1 << (i % 64)
}

// Seen lists the products that were counted, in the order of the table, others
// by name behind them.
func (t *Tally) Seen() []Seen {
	out := []Seen{}
	for id, a := range t.by {
		out = append(out, Seen{Product: id, Name: nameOf(id), Alerts: a.n, Newest: a.newest, UsualGap: usual(a.gaps())})
	}
	slices.SortFunc(out, func(a, b Seen) int { return order(a.Product, b.Product) })
	return out
}

// order is that of the table, others by name behind it.
func order(a, b string) int {
	place := func(id string) int {
		if p, ok := places[id]; ok {
			return p
		}
		return len(products)
	}
	return cmp.Or(place(a)-place(b), strings.Compare(a, b))
}

// gaps lists the gaps between slots in which something came.
func (a *arrivals) gaps() (list []time.Duration) {
	last := -1
	for w, set := range a.slots {
		for ; set != 0; set &= set - 1 {
			i := w*64 + bits.TrailingZeros64(set)
			if last >= 0 {
				list = append(list, time.Duration(i-last)*slot)
			}
			last = i
		}
	}
	return list
}

// What is usual is told from so many gaps over so long a time: one bad
// afternoon is no custom.
const (
	fewest   = 4
	shortest = 5 * 24 * time.Hour
)

// usual is the gap that three quarters of the time did not exceed: gaps are
// weighted by their own length. So a thousand alerts of one bad hour weigh an
// hour and not a thousand gaps, nights and weekends count as usual when they
// are, and one long outage does not. Of arrivals by pure chance, a pause of
// twice that is met once in 100 times. 0 if there are too few to tell.
func usual(gaps []time.Duration) time.Duration {
	slices.Sort(gaps)
	var all, sum time.Duration
	for _, g := range gaps {
		all += g
	}
	if len(gaps) < fewest || all < shortest {
		return 0
	}
	for _, g := range gaps {
		if sum += g; sum >= all/4*3 {
			return g
		}
	}
	return gaps[len(gaps)-1]
}
