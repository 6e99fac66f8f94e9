package oracle

import "strings"

// siftVoices decides by Place.Sources, on top of what was decided by
// Place.Revisions.
func (j *judge) siftVoices() {
	m := j.m
	var index map[feed]map[string][]uint32
	for n := range m.revs {
		i := uint32(n) //nolint:gosec // an index
		if !m.owed(i) {
			continue
		}
		t, source := m.tenantOfRev(i), m.sourceOfRev(i)
		for _, p := range j.places {
			switch {
			case p.sifted == nil || p.goes(t, source):
			case !p.alone(t, source):
				p.sifted[i] = unrouted
			default:
				if index == nil {
					index = j.byName()
				}
				p.sifted[i] = j.missing(i, index[feed{t, m.primary(t)}], p.revs[i]&taken != 0).and(p.sifted[i])
			}
		}
	}
}

// byName lists alerts by their IDs, those with da or ed before them without it
// too.
func (j *judge) byName() map[feed]map[string][]uint32 {
	index := make(map[feed]map[string][]uint32)
	for n := range j.m.alerts {
		a := &j.m.alerts[n]
		f := j.m.feeds[a.feed]
		if index[f] == nil {
			index[f] = make(map[string][]uint32)
		}
		for _, name := range names(bare(f.source, a.id)) {
			index[f][name] = append(index[f][name], uint32(n)) //nolint:gosec // an index
		}
	}
	return index
}

// bare is the ID of the alert that a row tells of: a detection is a part of one.
func bare(source, id string) string {
	if source == "siem.detections" {
		id, _, _ = strings.Cut(id, ":")
	}
	return id
}

// sameAlert reports whether two sources may name one alert by these: some write
// da or ed before its ID.
func sameAlert(a, b string) bool {
	return a == b || a == "da"+b || a == "ed"+b || b == "da"+a || b == "ed"+a
}

// names are an ID and what it is without da or ed before it.
func names(id string) []string {
	if len(id) > 2 && (id[:2] == "da" || id[:2] == "ed") {
		return []string{id, id[2:]}
	}
	return []string{id}
}

// missing decides of a secondary source's row whether the primary one does not
// show its alert within 48 hours of when the row was stored.
func (j *judge) missing(i uint32, primary map[string][]uint32, taken bool) call {
	m := j.m
	id, wait := bare(m.sourceOfRev(i), m.alerts[m.revs[i].alert].id), ticks(unseen)
	s := j.stateOf(i)
	c := due
	for _, name := range names(id) {
		for _, a := range primary[name] {
			if !sameAlert(id, bare(m.feeds[m.alerts[a].feed].source, m.alerts[a].id)) {
				continue
			}
			for _, group := range j.states(a) {
				for k := range group {
					x := &group[k]
					switch {
					case !j.counts(x):
					case x.stored && x.hi <= s.lo+wait:
						return toldThere
					case x.lo <= s.hi+wait+ticks(j.in.Behind):
						c = toldLate
					}
				}
			}
		}
	}
	return j.ripe(&s, wait, c, taken)
}

// stateOf is a revision as states returns it.
func (j *judge) stateOf(i uint32) state {
	for _, group := range j.states(j.m.revs[i].alert) {
		for _, s := range group {
			if s.i == i {
				return s
			}
		}
	}
	return state{i: i, lo: j.m.ends, hi: j.m.ends}
}
