package coverage

import (
	"fmt"
	"slices"
	"time"

	"drover"
)

// Together counts the new alerts of many tenants by product, as if they were one
// tenant's: what is rare in each is usual in all, so a product that stops
// everywhere is missed sooner. It holds as much as one tally.
type Together struct{ by map[string]*arrivals }

// Add adds what was counted of one tenant's source. All that are added count from
// the same instant on, to the same.
func (g *Together) Add(t *Tally) {
	if g.by == nil {
		g.by = make(map[string]*arrivals)
	}
	for id, a := range t.by {
		all := g.by[id]
		if all == nil {
			all = &arrivals{newest: drover.NoInstant, slots: make([]uint64, len(a.slots))}
			g.by[id] = all
		}
		all.n += a.n
		all.newest = max(all.newest, a.newest)
		for i, set := range a.slots {
			all.slots[i] |= set
		}
	}
}

// Seen lists the products that were counted.
func (g *Together) Seen() []Seen { return (&Tally{by: g.by}).Seen() }

const (
	// manyTenants are the least by whose alerts together a product is judged.
	manyTenants = 3
	// leastTogether: a shorter pause of all together is never called silence. An
	// alert may take hours to show.
	leastTogether = 4 * time.Hour
	// silences is how many times the usual gap all together must pause: of
	// arrivals by pure chance that is met once in 3,000 times.
	silences = 3
)

// together judges a product by the alerts of all tenants, and returns nil if they
// are not silent. lines are those of the tenants that had it.
func (s *Seen) together(lines []*Line) *Outage {
	if s.UsualGap <= 0 || len(lines) < manyTenants {
		return nil
	}
	read := make([]drover.Instant, len(lines))
	for i, l := range lines {
		read[i] = l.ReadUpTo
	}
	slices.Sort(read)
	most := read[len(read)/10] // nine tenths have been read up to there
	if !most.Known() || most < s.Newest {
		return nil
	}
	pause := most.Sub(s.Newest)
	if pause < leastTogether || pause <= silences*s.UsualGap {
		return nil
	}
	return &Outage{Product: s.Product, Name: nameOf(s.Product), Tenants: len(lines), Since: s.Newest, Together: s.UsualGap,
		Says: fmt.Sprintf("no new alert in any of the %d tenants that had it since %s; of all together one usually comes within %s", len(lines), s.Newest.Time().Format("2006-01-02 15:04Z"), Words(s.UsualGap))}
}
