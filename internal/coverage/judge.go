package coverage

import (
	"fmt"
	"slices"
	"time"

	"drover"
)

// leastSilence: a shorter pause is never called silence.
const leastSilence = 24 * time.Hour

// silent reports whether a pause is longer than the usual ones.
func silent(pause, usual time.Duration) bool {
	return usual > 0 && pause >= leastSilence && pause > 2*usual
}

// better orders verdicts: of several sources the best counts.
var better = []Verdict{Covered, Silent, Ungranted, Refused, Unlicensed, Unread, Undetermined}

// Judge fills in Products from Sources: a line for each product that a source
// of the tenant can bring, and for what else has been seen.
func (t *Tenant) Judge() {
	t.Products = []Line{}
	add := func(id string) {
		var best *Line
		for i := range t.Sources {
			s := &t.Sources[i]
			if !carries(s.ID, id) && s.seen(id) == nil {
				continue
			}
			l := s.judge(id, t.span())
			if best == nil || slices.Index(better, l.Verdict) < slices.Index(better, best.Verdict) {
				best = &l
			}
		}
		if best != nil {
			t.Products = append(t.Products, *best)
		}
	}
	for _, p := range products {
		add(p.id)
	}
	var rest []string
	for _, s := range t.Sources {
		for _, n := range s.Seen {
			if _, ok := places[n.Product]; !ok && n.Product != Incidents && !slices.Contains(rest, n.Product) {
				rest = append(rest, n.Product)
			}
		}
	}
	slices.Sort(rest)
	for _, id := range append(rest, Incidents) {
		add(id)
	}
}

// span is how long is counted, in words.
func (t *Tenant) span() string {
	to := drover.NoInstant
	for _, s := range t.Sources {
		to = max(to, s.ReadUpTo)
	}
	if !to.Known() || to < t.From {
		return "the time that is counted"
	}
	return Words(to.Sub(t.From))
}

// seen is what the source brought of a product, nil if nothing.
func (s *Source) seen(id string) *Seen {
	for i := range s.Seen {
		if s.Seen[i].Product == id {
			return &s.Seen[i]
		}
	}
	return nil
}

// judge is one source's word on a product.
func (s *Source) judge(id, span string) Line {
	l := Line{Seen: Seen{Product: id, Name: nameOf(id), Newest: drover.NoInstant}, By: s.ID, ReadUpTo: s.ReadUpTo}
	if n := s.seen(id); n != nil {
		l.Seen = *n
	}
	if s.ReadUpTo.Known() && l.Newest.Known() {
		l.SilentFor = max(0, s.ReadUpTo.Sub(l.Newest)).Round(time.Minute)
	}
	is := func(list []string) bool {
		return slices.ContainsFunc(list, func(n string) bool { return named(n) == id })
	}
	switch {
	case s.Answer != Open:
		l.Verdict, l.Says, l.Hint = refusals[s.Answer], s.Says, s.Hint
	case is(s.Absent):
		l.Verdict = Unlicensed
		l.Says = "the API leaves it out: it is not licensed or not onboarded there, or not granted; it does not say which"
		l.Hint = "if the customer has bought it, its admin opens it once in the Defender portal; else there is nothing to do"
	case is(s.Failed):
		l.Verdict, l.Says = Undetermined, "it did not answer the API just now; what it misses is an open gap and is read later"
	case l.Alerts == 0 && !s.ReadUpTo.Known():
		l.Verdict, l.Says = Undetermined, "the source has never been read whole, so nothing can be said of what it brings"
	case l.Alerts == 0:
		l.Verdict, l.Says = Undetermined, "no alert in "+span+": it is not licensed, not onboarded, or quiet; the API does not say which"
	case silent(l.SilentFor, l.UsualGap):
		l.Verdict = Silent
		l.Says = fmt.Sprintf("no new alert for %s, up to where drover has read; usually one comes within %s", Words(l.SilentFor), Words(l.UsualGap))
		l.Hint = "the API still answers, so ask the customer: has a licence lapsed, has something been offboarded, or was it a quiet time? If it is silent in all tenants (drover tenant coverage --all), it is Microsoft's matter"
	default:
		l.Verdict = Covered
	}
	return l
}

var refusals = map[Answer]Verdict{NotGranted: Ungranted, NotOnboarded: Unlicensed, Ambiguous: Refused, Denied: Unread, Unasked: Undetermined}

// Wrong reports whether something is to be done about the tenant.
func (t *Tenant) Wrong() bool {
	for _, s := range t.Sources {
		if s.Answer != Open && s.Answer != Unasked {
			return true
		}
	}
	return slices.ContainsFunc(t.Products, func(l Line) bool {
		// What a customer never had it need not have.
		return l.Verdict == Silent || l.Verdict == Unlicensed && l.Alerts > 0
	})
}

// Unsure reports whether something could not be asked or has never been read, or is
// read in a way that proves nothing, so that nothing wrong may mean nothing.
func (t *Tenant) Unsure() bool {
	return t.Unproven != "" || len(t.Sources) == 0 || slices.ContainsFunc(t.Sources, func(s Source) bool {
		return s.Answer == Unasked || len(s.Failed) > 0 || s.Answer == Open && !s.ReadUpTo.Known()
	})
}

// Words says a duration in the one or two largest units.
func Words(d time.Duration) string {
	day := 24 * time.Hour
	two := func(big int64, b string, small int64, s string) string {
		if small == 0 {
			return fmt.Sprintf("%d%s", big, b)
		}
		return fmt.Sprintf("%d%s %d%s", big, b, small, s)
	}
	switch d = d.Round(time.Minute); {
	case d >= 10*day:
		return fmt.Sprintf("%dd", d.Round(day)/day)
	case d >= day:
		d = d.Round(time.Hour)
		return two(int64(d/day), "d", int64(d%day/time.Hour), "h")
	case d >= time.Hour:
		return two(int64(d/time.Hour), "h", int64(d%time.Hour/time.Minute), "m")
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}
