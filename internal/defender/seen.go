package defender

import (
	"time"

	"drover"
)

// seenFor is how far behind the place where a page began rows are told apart
// from those that the pass has returned already. An API that compares times
// more coarsely than it shows them gives some of these again.
const seenFor = 2 * time.Second

// maxOdd bounds how many rows without a usable time, or far from where they
// were asked for, are told apart; more are returned again with every page.
const maxOdd = 100_000

// alert is one state of one alert, as far as its key goes.
type alert struct {
	id      string
	changed drover.Instant
}

// seen remembers which rows around the place at hand a pass has returned. It
// forgets what lies further back, so that it does not grow with the pass.
type seen struct {
	rows, oldRows map[drover.Hash]struct{}
	ids, oldIDs   map[alert]struct{}
	since         drover.Instant // the newer half began here
	odd           map[drover.Hash]struct{}
}

func newSeen() *seen {
	return &seen{rows: make(map[drover.Hash]struct{}), ids: make(map[alert]struct{}), odd: make(map[drover.Hash]struct{}), since: drover.NoInstant}
}

// add notes a row of a page that begins at an instant. known: its alert was
// met with that change time before; returned: its very bytes were.
func (s *seen) add(row *drover.Row, at drover.Instant) (known, returned bool) {
	if !row.Changed.Known() || row.Changed < at.Add(-seenFor) {
		_, returned = s.odd[row.Sum]
		if !returned && len(s.odd) < maxOdd {
			s.odd[row.Sum] = struct{}{}
		}
		return returned, returned
	}
	known, returned = s.has(row)
	s.rows[row.Sum] = struct{}{}
	if row.Bad == "" {
		s.ids[alert{row.ID, row.Changed}] = struct{}{}
	}
	return known, returned
}

// has is add without noting anything.
func (s *seen) has(row *drover.Row) (known, returned bool) {
	key := alert{row.ID, row.Changed}
	if _, known = s.ids[key]; !known {
		_, known = s.oldIDs[key]
	}
	if _, returned = s.rows[row.Sum]; !returned {
		_, returned = s.oldRows[row.Sum]
	}
	return known, returned
}

// forget drops what lies more than seenFor behind at, sooner or later.
func (s *seen) forget(at drover.Instant) {
	if s.since.Known() && at.Sub(s.since) <= seenFor {
		return
	}
	s.since = at
	s.oldRows, s.oldIDs = s.rows, s.ids
	s.rows, s.ids = make(map[drover.Hash]struct{}), make(map[alert]struct{})
}
