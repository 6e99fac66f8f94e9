package oracle

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
)

// reading is what the truth log tells of a state beside what is owed: it says
// which states of an alert a sink that filters is to be given. Times are by the
// run's clock.
type reading struct {
	content [8]byte // what it says beside its change time; zero: the log does not tell
	created tick
	first   tick // answer that showed it
	safe    tick // first one that no kill can have swallowed, or noTick
	last    tick
}

func (m *model) reading(i uint32) *reading {
	for len(m.readings) <= int(i) {
		m.readings = append(m.readings, reading{created: noTick, first: noTick, safe: noTick, last: noTick})
	}
	return &m.readings[i]
}

// read books an answer.
func (r *reading) read(at tick, killed bool) {
	if r.first == noTick || at < r.first {
		r.first = at
	}
	if !killed && (r.safe == noTick || at < r.safe) {
		r.safe = at
	}
	r.last = max(r.last, at)
}

// issued books what a state is.
func (j *judge) issued(x *truthLine) {
	if !j.sifts {
		return
	}
	m := j.m
	r := m.reading(m.rev(m.feed(m.tenant(x.tenant, true), x.source), x.id, int32(x.rev)))
	r.created = parseTick(x.created)
	if b, err := hex.DecodeString(x.content); err == nil && len(b) >= len(r.content) {
		r.content = [8]byte(b)
	}
}

// clock takes note that from here on the clock of the truth log is ahead of the
// run's by something else.
func (j *judge) clock(x *truthLine) error {
	d, err := time.ParseDuration(x.ahead)
	if err != nil {
		return fmt.Errorf("a mark of the clock says no time in ahead")
	}
	j.m.ahead = ticks(d)
	return nil
}

// state is one that the run may have stored, and when: in [lo, hi].
type state struct {
	i       uint32
	lo, hi  tick
	changed tick
	content [8]byte
	stored  bool // for sure
}

// before reports whether s was stored before u for sure.
func (s *state) before(u *state) bool { return s.hi < u.lo }

// sift decides of each revision which of the sinks that filter are to be given
// it.
func (j *judge) sift() {
	if !j.sifts {
		return
	}
	m := j.m
	if len(m.revs) > 0 {
		m.reading(uint32(len(m.revs) - 1)) //nolint:gosec // an index
	}
	for _, p := range j.places {
		if p.Kind != KindLedger && (p.Revisions != "" || len(p.Sources) > 0) {
			p.sifted = make([]call, len(m.revs))
		}
	}
	for a := range m.alerts {
		for _, states := range j.states(uint32(a)) { //nolint:gosec // an index
			for k := range states {
				s := &states[k]
				touch := j.touch(states, s)
				j.checkTouch(s.i, touch)
				for _, p := range j.places {
					if p.sifted != nil {
						p.sifted[s.i] = p.asks(states, s, touch)
					}
				}
			}
		}
	}
	j.siftVoices()
}

// asks decides by Place.Revisions.
func (p *place) asks(states []state, s *state, touch call) call {
	switch p.Revisions {
	case "no_touches":
		return touch
	case "created":
		return p.j.first(states, s)
	case "settled":
		return p.j.settled(states, s, p.revs[s.i]&taken != 0)
	}
	return due
}

// states returns the states of an alert that were, or may have been, stored,
// and those that are owed though no answer showed them. An alert whose created
// time changes counts as a new one.
func (j *judge) states(a uint32) [][]state {
	m := j.m
	var all []state
	t := m.feeds[m.alerts[a].feed].tenant
	for i := m.alerts[a].last; i != none; i = m.revs[i].next {
		rv, r := &m.revs[i], m.reading(i)
		if !m.owed(i) {
			continue
		}
		s := state{i: i, lo: r.first, changed: rv.changed, content: r.content}
		silent := j.silent(i)
		switch {
		case rv.flags&served == 0: // it should have been read when it became visible
			s.lo = rv.visible - m.ahead
			s.hi = s.lo
			all = append(all, s)
			continue
		case silent || r.safe == noTick: // taken when two reads agree, or when one was not swallowed
			s.hi = r.last + ticks(j.in.Grace)
		default: // from an answer that showed it
			s.hi = min(r.safe+ticks(j.in.Reading), r.last+ticks(j.in.Grace))
		}
		there, listed := j.there(i, t)
		s.stored = there || !listed && r.safe != noTick && !silent
		all = append(all, s)
	}
	slices.SortFunc(all, func(x, y state) int {
		return cmp.Or(cmp.Compare(x.lo, y.lo), cmp.Compare(m.revs[x.i].n, m.revs[y.i].n))
	})
	return j.apart(all)
}

// apart takes states of one alert apart by the time at which it was created.
func (j *judge) apart(all []state) (groups [][]state) {
	if len(all) == 0 {
		return nil
	}
	created := func(s *state) tick { return j.m.readings[s.i].created }
	for len(all) > 0 {
		at := created(&all[0])
		var with, rest []state
		for k := range all {
			if c := created(&all[k]); c == at || c == noTick || at == noTick {
				with = append(with, all[k])
			} else {
				rest = append(rest, all[k])
			}
		}
		groups, all = append(groups, with), rest
	}
	return groups
}

// silent reports whether an earlier state of the alert has the same change
// time.
func (j *judge) silent(i uint32) bool {
	m := j.m
	for k := m.alerts[m.revs[i].alert].last; k != none; k = m.revs[k].next {
		if m.revs[k].n < m.revs[i].n && m.revs[k].changed == m.revs[i].changed {
			return true
		}
	}
	return false
}

// there reports whether a state is at any place, and whether a ledger that
// would hold it was exported.
func (j *judge) there(i, t uint32) (there, listed bool) {
	for _, p := range j.places {
		there = there || p.revs[i]&(taken|aside) != 0
		listed = listed || p.Kind == KindLedger && p.owes(t)
	}
	return there, listed
}

// counts reports whether a state may have been stored at all.
func (j *judge) counts(s *state) bool {
	if s.stored || j.m.revs[s.i].flags&served == 0 {
		return s.stored
	}
	_, listed := j.there(s.i, j.m.tenantOfRev(s.i))
	return !listed
}

// first decides whether a state is the first that is stored of its alert.
func (j *judge) first(states []state, s *state) call {
	c := due
	for k := range states {
		switch x := &states[k]; {
		case x.i == s.i || s.before(x) || !j.counts(x):
		case !x.before(s):
			c = unordered
		case x.stored:
			return notFirst
		default:
			c = cmp.Or(c, unsure)
		}
	}
	return c
}

// touch decides whether a state differs in nothing but its change time from the
// newest one that was stored before it.
func (j *judge) touch(states []state, s *state) call {
	same, other, said, sure, stored := false, false, true, false, false
	for k := range states {
		x := &states[k]
		if x.i == s.i || s.before(x) || !j.counts(x) || !j.leads(states, x, s) {
			continue
		}
		sure, stored = sure || x.stored && x.before(s), stored || x.stored
		switch {
		case x.content == [8]byte{} || s.content == [8]byte{}:
			said = false
		case x.content == s.content && x.changed != s.changed:
			same = true
		default:
			other = true
		}
	}
	switch {
	case !same && said: // the first of an alert is none either
		return due
	case !said:
		return unsaid
	case other || !sure && stored:
		return unordered
	case !sure:
		return unsure
	}
	return isTouch
}

// leads reports whether x may have been the newest when s was stored: no other
// one, newer than x by any measure, was stored between them for sure.
func (j *judge) leads(states []state, x, s *state) bool {
	for k := range states {
		if y := &states[k]; y.i != x.i && y.i != s.i && y.stored && x.before(y) && y.before(s) && y.changed >= x.changed {
			return false
		}
	}
	return true
}

// settled decides whether the alert rested behind a state, or it is the last of
// an hour. A state that is older than one that was stored before it is given.
func (j *judge) settled(states []state, s *state, taken bool) call {
	rest, may := ticks(rests), due
	for k := range states {
		x := &states[k]
		if x.i == s.i || !j.counts(x) {
			continue
		}
		switch {
		case x.before(s):
			switch {
			case x.changed <= s.changed:
			case x.stored:
				return j.ripe(s, rest, due, taken)
			default:
				may = unsure
			}
		case x.changed < s.changed: // late: in nobody's way
		case s.before(x):
			within := x.hi-s.lo < rest && hour(s.lo) == hour(x.hi)
			perhaps := x.lo-s.hi < rest && hour(x.lo) <= hour(s.hi)
			switch {
			case within && x.stored:
				return outrun
			case within:
				may = cmp.Or(may, unsure)
			case perhaps:
				may = cmp.Or(may, atBorder)
			}
		default:
			may = unordered
		}
	}
	return j.ripe(s, rest, may, taken)
}

// ripe decides whether what has to wait is decided before the run ends.
func (j *judge) ripe(s *state, wait tick, c call, taken bool) call {
	switch end := j.m.ends; {
	case taken && s.lo+wait > end:
		return tooEarly
	case s.hi+wait+ticks(j.in.Behind) > end:
		return cmp.Or(c, waits)
	}
	return c
}

func hour(t tick) int64 { return int64(t) / (3600 * ticksPerSecond) }

// checkTouch holds the mark of a state's records against what it is.
func (j *judge) checkTouch(i uint32, touch call) {
	if touch.open() {
		return
	}
	m := j.m
	for _, p := range j.places {
		if p.revs[i]&taken == 0 || (p.revs[i]&touched != 0) == (touch == isTouch) {
			continue
		}
		detail := "marked as a touch, and is none"
		if touch == isTouch {
			detail = "a touch, and not marked as one"
		}
		rv := &m.revs[i]
		j.find(Unmarked, m.tenants[m.tenantOfRev(i)].id, p.Name, Example{Source: m.sourceOfRev(i), AlertID: m.alerts[rv.alert].id, Rev: int(rv.n), Detail: detail})
	}
}
