package oracle

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// What is known of a revision at one place.
const (
	present   uint8 = 1 << iota // a record with its bytes is there
	taken                       // a record was booked for it
	aside                       // the ledger lists it as refused here
	swallowed                   // the receiver said that it had taken it, and had not
	touched                     // its record is marked as a touch
)

// seqKey is what sequence numbers are compared within.
type seqKey struct {
	feed        uint32
	incarnation string
}

// place gathers what arrived at one Place.
type place struct {
	*Place
	j      *judge
	revs   []uint8
	last   map[seqKey]uint64 // highest sequence number sent for the first time
	alerts []tick            // newest change time sent, of each alert
	at     map[uint32]*At    // by tenant
	hec    *hecCopies        // of a HEC place
	seqs   map[uint32][]uint64

	manifests int
	sifted    []call // of each revision, where the sink filters
}

func (j *judge) newPlace(p *Place) *place {
	x := &place{Place: p, j: j, revs: make([]uint8, len(j.m.revs)), last: make(map[seqKey]uint64), alerts: make([]tick, len(j.m.alerts)), at: make(map[uint32]*At)}
	for i := range x.alerts {
		x.alerts[i] = noTick
	}
	return x
}

// tally returns the counts of a tenant.
func (p *place) tally(t uint32) *At {
	a := p.at[t]
	if a == nil {
		a = &At{Place: p.Name, Kind: p.Kind}
		p.at[t] = a
	}
	return a
}

// owes reports whether a tenant's revisions have to be here.
func (p *place) owes(t uint32) bool {
	return len(p.Tenants) == 0 || slices.Contains(p.Tenants, p.j.m.tenants[t].id)
}

// where names a line.
func where(l *Log, line int) string { return fmt.Sprintf("%s:%d", l.Name, line) }

// example describes a record.
func (p *place) example(r *record, at, detail string) Example {
	ex := Example{Source: r.source, AlertID: r.alertID, Rev: -1, SHA256: r.hash(), Where: at, Detail: detail}
	if r.hasEvent {
		ex.EventID = hex.EncodeToString(r.event[:])
	}
	return ex
}

// readFile reads a file sink.
func (p *place) readFile() error {
	var r record
	for i := range p.Logs {
		l := &p.Logs[i]
		torn, err := l.lines(func(n int, line []byte) error {
			switch err := parseRecord(line, &r); {
			case errors.Is(err, errManifest):
				p.manifest(&r, l.Tenant, func() string { return where(l, n) })
				return nil
			case err != nil:
				p.j.find(Torn, l.Tenant, p.Name, Example{Rev: -1, Where: where(l, n), Detail: err.Error()})
				return nil
			}
			if rev, ok := p.judge(&r, l.Tenant, func() string { return where(l, n) }); ok {
				p.take(&r, rev, func() string { return where(l, n) })
			}
			return nil
		})
		if err != nil {
			return err
		}
		if torn > 0 {
			p.j.note("%s: %s ends in a torn line of %d bytes; it was left out", p.Name, l.Name, torn)
		}
	}
	p.noteManifests()
	return nil
}

// manifest takes a record that says what the place was given. It stands for no
// revision; but it must be the tenant's own.
func (p *place) manifest(r *record, bound string, at func() string) {
	p.manifests++
	t := p.j.m.tenant(r.tenant, false)
	switch {
	case bound != "" && bound != r.tenant:
		p.foreign(r, bound, at(), "a manifest of tenant "+r.tenant+" stands at a place of this customer")
	case !p.owes(t) || p.j.m.tenants[t].unknown:
		p.foreign(r, r.tenant, at(), "a manifest of a tenant that has nothing here")
	}
}

func (p *place) noteManifests() {
	if p.manifests > 0 {
		p.j.note("%s: %d records are manifests and stand for no alert", p.Name, p.manifests)
	}
}

// judge decides whose a record is and which revision it holds. ok is false if
// it cannot stand for one; what is wrong with it has been booked.
func (p *place) judge(r *record, bound string, at func() string) (rv uint32, ok bool) {
	m := p.j.m
	t := m.tenant(r.tenant, false)
	blamed := r.tenant
	foreign := ""
	switch {
	case bound != "" && bound != r.tenant:
		// It is the place of another customer that shows what it must not.
		blamed = bound
		foreign = "stands at a place of this customer and belongs to tenant " + r.tenant
	case !p.owes(t):
		foreign = "no revision of this tenant is routed here"
	case r.names != "" && r.names != r.tenant:
		foreign = "the row names tenant " + r.names
	case m.tenants[t].unknown:
		foreign = "no such tenant"
	}
	if foreign != "" {
		p.foreign(r, blamed, at(), foreign)
		return none, false
	}
	var found []uint32
	others := false
	m.spelled(r.sum, func(i uint32) {
		if m.tenantOfRev(i) == t {
			found = append(found, i)
		} else {
			others = true
		}
	})
	if len(found) == 0 {
		for _, s := range m.specials[r.sum] {
			if s.tenant == t && s.kind == "bad" {
				p.j.find(Refusable, r.tenant, p.Name, p.example(r, at(), ""))
				return none, false
			}
			others = true
		}
		if owner, ok := m.unnamed[r.sum]; ok && owner == t {
			p.tally(t).Taken++
			return none, false
		}
		if others {
			p.foreign(r, r.tenant, at(), "these bytes were shown to another tenant only")
			return none, false
		}
		p.altered(t, r, at(), "nobody served these bytes")
		return none, false
	}
	rv = p.choose(r, found)
	if why := p.mislabelled(r, rv); why != "" {
		p.altered(t, r, at(), why)
	}
	if _, dealt := m.unnamed[r.sum]; dealt && !r.unnamed {
		p.j.find(Unmarked, r.tenant, p.Name, p.example(r, at(), "the row names no tenant"))
	}
	return rv, true
}

// choose picks the revision that a record stands for, among those that were
// served with its bytes: the one of its event ID, else one that is not there
// yet.
func (p *place) choose(r *record, found []uint32) uint32 {
	m := p.j.m
	if len(found) == 1 {
		return found[0]
	}
	slices.Sort(found)
	// The same bytes under two alerts or sources are two rows.
	if same := slices.DeleteFunc(slices.Clone(found), func(i uint32) bool {
		return m.sourceOfRev(i) != r.source || m.alerts[m.revs[i].alert].id != r.alertID
	}); len(same) > 0 {
		found = same
	}
	for _, i := range found {
		if r.hasEvent && m.revs[i].event == r.event {
			return i
		}
	}
	for _, i := range found {
		if p.revs[i]&taken == 0 && m.revs[i].event == (eventID{}) {
			return i
		}
	}
	for _, i := range found {
		if p.revs[i]&taken == 0 {
			return i
		}
	}
	return found[0]
}

// mislabelled compares the envelope with what was served.
func (p *place) mislabelled(r *record, i uint32) string {
	m := p.j.m
	a := &m.alerts[m.revs[i].alert]
	c := m.revs[i].changed
	switch {
	case r.claimed != r.sum:
		return "the sha256 of the envelope is not that of the row"
	case r.source != m.feeds[a.feed].source:
		return "the envelope names another source"
	case r.alertID != a.id:
		return "the envelope names another alert"
	case c != noTick && parseTick(r.changed) != c:
		return "the envelope names another change time"
	}
	return ""
}

func (p *place) foreign(r *record, tenant, at, detail string) {
	p.tally(p.j.m.tenant(tenant, false)).Foreign++
	p.j.find(Foreign, tenant, p.Name, p.example(r, at, detail))
}

func (p *place) altered(t uint32, r *record, at, detail string) {
	p.tally(t).Altered++
	p.j.find(Altered, r.tenant, p.Name, p.example(r, at, detail))
}

// take books a record for a revision and reports whether it is the first.
func (p *place) take(r *record, i uint32, at func() string) (first bool) {
	m := p.j.m
	t := m.tenantOfRev(i)
	a := p.tally(t)
	a.Taken++
	if r.unnamed {
		a.Unnamed++
	}
	m.spelled(r.sum, func(s uint32) {
		if m.tenantOfRev(s) == t {
			p.revs[s] |= present
		}
	})
	p.checkEvent(r, i, at)
	if p.revs[i]&taken != 0 {
		a.Repeated++
		if p.hec == nil {
			a.Unexplained++
			ex := p.example(r, at(), "")
			ex.Rev = int(m.revs[i].n)
			p.j.find(Repeated, r.tenant, p.Name, ex)
		}
		return false
	}
	p.revs[i] |= taken
	if r.touch {
		p.revs[i] |= touched
	}
	p.checkVoice(r, i, at)
	if p.Kind != KindLedger {
		p.checkOrder(r, i, at)
	}
	return true
}

// checkEvent holds a record's event ID against all others: one revision, one
// ID, at every place.
func (p *place) checkEvent(r *record, i uint32, at func() string) {
	m := p.j.m
	detail := ""
	switch known := &m.revs[i].event; {
	case !r.hasEvent:
		detail = "missing, or not 32 hex digits"
	case *known == eventID{}:
		if _, ok := m.events[r.event]; ok {
			detail = "is that of another revision"
		} else {
			m.events[r.event] = i
			*known = r.event
		}
	case *known != r.event:
		detail = "another record of this revision has " + hex.EncodeToString(known[:])
	}
	if detail != "" {
		ex := p.example(r, at(), detail)
		ex.Rev = int(m.revs[i].n)
		p.j.find(EventID, r.tenant, p.Name, ex)
	}
}

// checkOrder looks at first sends only; what was replayed and what a backfill
// read stand outside the order.
func (p *place) checkOrder(r *record, i uint32, at func() string) {
	if r.aside {
		return
	}
	m := p.j.m
	key := seqKey{m.alerts[m.revs[i].alert].feed, r.incarnation}
	if last := p.last[key]; r.seq <= last {
		p.tally(m.tenantOfRev(i)).Disorder++
		ex := p.example(r, at(), fmt.Sprintf("sequence %d after %d", r.seq, last))
		ex.Rev = int(m.revs[i].n)
		p.j.find(OutOfOrder, r.tenant, p.Name, ex)
	} else {
		p.last[key] = r.seq
	}
	changed := m.revs[i].changed
	if changed == noTick {
		return
	}
	newest := &p.alerts[m.revs[i].alert]
	if changed < *newest && !r.late {
		p.tally(m.tenantOfRev(i)).Disorder++
		ex := p.example(r, at(), fmt.Sprintf("changed %s, after one of %s", changed.time().Format("15:04:05.0000000"), newest.time().Format("15:04:05.0000000")))
		ex.Rev = int(m.revs[i].n)
		p.j.find(WentBack, r.tenant, p.Name, ex)
	}
	*newest = max(*newest, changed)
}
