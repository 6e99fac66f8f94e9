package oracle

import (
	"cmp"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// judge is one judgement under way.
type judge struct {
	in       Input
	m        *model
	places   []*place
	findings map[findingKey]*Finding
	notes    []string

	// From ledger exports.
	exported   bool
	gaps       []gap
	aside      []asideEntry
	openGaps   map[uint32]int
	asides     map[uint32]int
	dealtAside map[special]bool

	sifts   bool // some place filters
	excused map[excuseKey]*Excuse
}

// Judge reads all files and gives the verdict. An error means that it could not
// judge: a file could not be read, or the truth log is not one.
func Judge(in Input) (*Verdict, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	j := &judge{in: in, m: newModel(), findings: make(map[findingKey]*Finding), openGaps: make(map[uint32]int), asides: make(map[uint32]int), dealtAside: make(map[special]bool),
		sifts: slices.ContainsFunc(in.Sinks, func(p Place) bool { return p.Revisions != "" || len(p.Sources) > 0 }), excused: make(map[excuseKey]*Excuse)}
	j.m.reads = j.in.Reads
	if err := j.readTruth(); err != nil {
		return nil, err
	}
	for i := range j.in.Sinks {
		p := j.newPlace(&j.in.Sinks[i])
		var err error
		switch p.Kind {
		case KindFile:
			err = p.readFile()
		case KindHEC:
			err = p.readHEC()
		case KindLedger:
			j.exported = true
			err = p.readLedger()
		}
		if err != nil {
			return nil, err
		}
		j.places = append(j.places, p)
	}
	j.matchAsides()
	j.sift()
	shown := j.count()
	j.checkDealt()
	return j.verdict(shown), nil
}

// matchAsides marks the revisions that the ledger lists as refused: at one
// sink, or everywhere if they were refused when they were read.
func (j *judge) matchAsides() {
	for _, e := range j.aside {
		mark := func(i uint32) {
			for _, p := range j.places {
				if e.sink == "" || e.sink == p.Name && !p.TakesAll {
					p.revs[i] |= aside
				}
			}
		}
		found := false
		if e.hasSum {
			j.m.spelled(e.sum, func(i uint32) {
				if j.m.tenantOfRev(i) == e.tenant {
					found = true
					mark(i)
				}
			})
		}
		if i, ok := j.m.events[e.event]; !found && e.hasEvent && ok && j.m.tenantOfRev(i) == e.tenant {
			mark(i)
		}
	}
}

// count goes through all revisions that are owed and books what is missing. It
// returns how many each tenant was shown.
func (j *judge) count() []int {
	m := j.m
	shown := make([]int, len(m.tenants))
	for n := range m.revs {
		i := uint32(n)
		if !m.owed(i) || !j.in.reads(m.tenants[m.tenantOfRev(i)].id, m.sourceOfRev(i)) {
			continue
		}
		t := m.tenantOfRev(i)
		shown[t]++
		for _, p := range j.places {
			if !p.owes(t) {
				continue
			}
			a := p.tally(t)
			if p.sifted != nil && p.sieve(i, a) {
				continue
			}
			switch rv := &m.revs[i]; {
			case p.revs[i]&present != 0:
				a.Present++
			case p.revs[i]&aside != 0:
				a.SetAside++
			case j.inGap(i, p, a):
			case rv.flags&(beforeEnd|newest) == 0 && m.superseded(i):
				a.Excused++
			default:
				a.Lost++
				ex := Example{Source: m.sourceOfRev(i), AlertID: m.alerts[rv.alert].id, Rev: int(rv.n)}
				switch {
				case p.revs[i]&swallowed != 0:
					a.Swallowed++
					ex.Detail = "the receiver said that it had taken it"
				case rv.flags&served == 0:
					ex.Detail = "the newest at the end, and no whole answer showed it"
				case rv.flags&newest != 0:
					ex.Detail = "the newest at the end"
				}
				if rv.event != (eventID{}) {
					ex.EventID = hex.EncodeToString(rv.event[:])
				}
				j.find(Lost, m.tenants[t].id, p.Name, ex)
			}
		}
	}
	return shown
}

// inGap books a missing revision as listed if a gap that is shown covers it. A
// gap that was closed over it is a fault of its own.
func (j *judge) inGap(i uint32, p *place, a *At) bool {
	m := j.m
	rv := &m.revs[i]
	if rv.changed == noTick {
		return false
	}
	closed := false
	for k := range j.gaps {
		g := &j.gaps[k]
		if g.feed != m.alerts[rv.alert].feed || (g.sink != "" && g.sink != p.Name) || rv.changed < g.from || (g.to != noTick && rv.changed > g.to) {
			continue
		}
		if !g.closed {
			a.InGap++
			return true
		}
		closed = true
	}
	if closed {
		j.find(GapClosed, m.tenants[m.tenantOfRev(i)].id, p.Name, Example{Source: m.sourceOfRev(i), AlertID: m.alerts[rv.alert].id, Rev: int(rv.n)})
	}
	return false
}

// checkDealt wants each foreign or unusable row that was dealt in the list of
// what was set aside, save one that was only shown just before a kill. Without
// an export there is no such list.
func (j *judge) checkDealt() {
	if !j.exported {
		return
	}
	missing := make(map[special]sum)
	for s, list := range j.m.specials {
		for _, x := range list {
			if old, ok := missing[x]; j.m.lasting[x] && (!ok || slices.Compare(s[:], old[:]) < 0) {
				missing[x] = s
			}
		}
	}
	for x := range j.dealtAside {
		delete(missing, x)
	}
	for x, s := range missing {
		source, id, _ := strings.Cut(x.item, "\x00")
		if id == string(s[:]) {
			id = ""
		}
		j.find(NotShown, j.m.tenants[x.tenant].id, "", Example{Source: source, AlertID: id, Rev: -1, SHA256: hex.EncodeToString(s[:]), Detail: x.kind + " row; the hash is cut"})
	}
}

// verdict puts everything together.
func (j *judge) verdict(shown []int) *Verdict {
	m := j.m
	v := &Verdict{Totals: m.totals, Excuses: j.excuses(), Notes: j.notes, Labels: j.in.Labels, Findings: j.sorted(), lags: j.lags()}
	for t := range m.tenants {
		n := 0
		if t < len(shown) {
			n = shown[t]
		}
		c := Customer{Tenant: m.tenants[t].id, Customer: m.tenants[t].slug, Shown: n, SetAside: j.asides[uint32(t)], OpenGaps: j.openGaps[uint32(t)]}
		for _, p := range j.places {
			c.Places = append(c.Places, *p.tally(uint32(t)))
		}
		v.Customers = append(v.Customers, c)
	}
	slices.SortStableFunc(v.Customers, func(a, b Customer) int {
		return cmp.Or(cmp.Compare(a.Customer, b.Customer), cmp.Compare(a.Tenant, b.Tenant))
	})
	return v
}

// lag is how long revisions took from visible to taken.
type lag struct {
	p50, p99, max time.Duration
}

// lags measures at HEC places, where the time of arrival is known.
func (j *judge) lags() map[string]lag {
	lags := make(map[string]lag)
	for _, p := range j.places {
		if p.hec == nil {
			continue
		}
		var all []tick
		for i := range j.m.revs {
			if v := j.m.revs[i].visible; v != noTick && p.revs[i]&taken != 0 && p.hec.first[i].at >= v {
				all = append(all, p.hec.first[i].at-v)
			}
		}
		if len(all) == 0 {
			continue
		}
		slices.Sort(all)
		lags[p.Name] = lag{all[len(all)/2].sub(0), all[min(len(all)-1, len(all)*99/100)].sub(0), all[len(all)-1].sub(0)}
	}
	return lags
}
