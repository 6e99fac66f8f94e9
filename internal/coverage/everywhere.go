package coverage

import (
	"fmt"
	"slices"
	"time"

	"drover"
)

// Outage is a product that is silent in every tenant that had it: one customer
// goes silent by itself, all at once do not.
type Outage struct {
	Product string         `json:"product"`
	Name    string         `json:"name"`
	Tenants int            `json:"tenants"`
	Since   drover.Instant `json:"since"` // the newest alert of any of them
	// Longest is the longest usual gap of any of them, where each is silent by
	// what is usual there; else Together is the usual gap of all together.
	Longest  time.Duration `json:"longest_usual_gap_ns,omitempty"`
	Together time.Duration `json:"usual_gap_together_ns,omitempty"`
	Says     string        `json:"says"`
}

// Everywhere finds outages, and marks their lines, which are silent then. A
// product is silent everywhere if each of two tenants or more that had it, by its
// usual gap there, is silent; or if all are by what is usual of them together. A
// tenant that is a day behind the others in being read says nothing of the time
// since.
func Everywhere(tenants []Tenant, together []Seen) []Outage {
	had, read := make(map[string][]*Line), drover.NoInstant
	for _, t := range tenants {
		for _, l := range t.Products {
			read = max(read, l.ReadUpTo)
		}
	}
	for i := range tenants {
		for j := range tenants[i].Products {
			l := &tenants[i].Products[j]
			if l.Alerts > 0 && (l.Verdict == Covered || l.Verdict == Silent) && read.Sub(l.ReadUpTo) < leastSilence {
				had[l.Product] = append(had[l.Product], l)
			}
		}
	}
	out := []Outage{}
	for id, lines := range had {
		o, of := each(id, lines)
		if i := slices.IndexFunc(together, func(s Seen) bool { return s.Product == id }); o == nil && i >= 0 {
			o, of = together[i].together(lines), lines
		}
		if o == nil {
			continue
		}
		for _, l := range of {
			l.Verdict, l.Everywhere = Silent, true
			l.Hint = "it is silent in all tenants that had it, which is Microsoft's matter"
		}
		out = append(out, *o)
	}
	slices.SortFunc(out, func(a, b Outage) int { return order(a.Product, b.Product) })
	return out
}

// each judges a product tenant by tenant, by those of which a usual gap is known.
func each(id string, lines []*Line) (o *Outage, of []*Line) {
	of = slices.DeleteFunc(slices.Clone(lines), func(l *Line) bool { return l.UsualGap == 0 })
	if len(of) < 2 || slices.ContainsFunc(of, func(l *Line) bool { return l.Verdict != Silent }) {
		return nil, nil
	}
	o = &Outage{Product: id, Name: nameOf(id), Tenants: len(of), Since: drover.NoInstant}
	for _, l := range of {
		o.Since, o.Longest = max(o.Since, l.Newest), max(o.Longest, l.UsualGap)
	}
	o.Says = fmt.Sprintf("no new alert in any of the %d tenants that had it since %s; the longest usual gap is %s", o.Tenants, o.Since.Time().Format("2006-01-02 15:04Z"), Words(o.Longest))
	return o, of
}
