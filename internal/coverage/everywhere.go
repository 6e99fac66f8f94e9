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
	Longest time.Duration  `json:"longest_usual_gap_ns"`
	Says    string         `json:"says"`
}

// Everywhere finds outages, and marks their lines. A tenant has had a product if
// enough of it came to tell a usual gap; at least two must have had it. One that
// is a day behind the others in being read says nothing of the time since.
func Everywhere(tenants []Tenant) []Outage {
	lines, read := make(map[string][]*Line), drover.NoInstant
	for _, t := range tenants {
		for _, l := range t.Products {
			read = max(read, l.ReadUpTo)
		}
	}
	for i := range tenants {
		for j := range tenants[i].Products {
			l := &tenants[i].Products[j]
			if l.UsualGap > 0 && (l.Verdict == Covered || l.Verdict == Silent) && read.Sub(l.ReadUpTo) < leastSilence {
				lines[l.Product] = append(lines[l.Product], l)
			}
		}
	}
	out := []Outage{}
	for id, had := range lines {
		if len(had) < 2 || slices.ContainsFunc(had, func(l *Line) bool { return l.Verdict != Silent }) {
			continue
		}
		o := Outage{Product: id, Name: nameOf(id), Tenants: len(had), Since: drover.NoInstant}
		for _, l := range had {
			l.Everywhere = true
			l.Hint = "it is silent in all tenants that had it, which is Microsoft's matter"
			o.Since, o.Longest = max(o.Since, l.Newest), max(o.Longest, l.UsualGap)
		}
		o.Says = fmt.Sprintf("no new alert in any of the %d tenants that had it since %s; the longest usual gap is %s", o.Tenants, o.Since.Time().Format("2006-01-02 15:04Z"), Words(o.Longest))
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b Outage) int { return order(a.Product, b.Product) })
	return out
}
