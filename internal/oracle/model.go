package oracle

import (
	"encoding/hex"
	"math"
	"strings"
)

// none is the index that stands for nothing.
const none = math.MaxUint32

// sum is the first half of a SHA-256: enough to tell rows apart, and half the
// memory.
type sum [16]byte

// parseSum reads 64 hex digits.
func parseSum(v []byte) (s sum, ok bool) {
	if len(v) == 66 && v[0] == '"' {
		var full [32]byte
		if _, err := hex.Decode(full[:], v[1:65]); err == nil {
			return sum(full[:16]), true
		}
	}
	return s, false
}

// eventID is the identity of a record; all zero stands for none.
type eventID [16]byte

func parseEventID(v []byte) (id eventID, ok bool) {
	if len(v) == 34 && v[0] == '"' {
		if _, err := hex.Decode(id[:], v[1:33]); err == nil {
			return id, id != eventID{}
		}
	}
	return eventID{}, false
}

// What is known of a revision, beside its numbers.
const (
	served    uint8 = 1 << iota // contained in an answer that was read whole
	newest                      // the newest visible one at the end
	beforeEnd                   // some serving was not within grace before a kill
)

// rev is one state of one alert.
type rev struct {
	alert   uint32
	next    uint32 // an earlier entry of the same alert, or none
	n       int32  // number in the truth log
	flags   uint8
	changed tick
	visible tick
	event   eventID // the first event ID that any place showed
}

type alert struct {
	feed uint32
	last uint32 // newest entry in revs, or none
	id   string
}

// feed is one tenant read through one source.
type feed struct {
	tenant uint32
	source string
}

type tenant struct {
	id, slug string
	unknown  bool // not in the truth log
}

// variant is one spelling, byte by byte, of a revision.
type variant struct {
	rev, next uint32
}

// special is a row that must not be delivered.
type special struct {
	tenant uint32 // of the token that it was shown to
	kind   string // foreign, bad
	item   string // source and ID: its spellings count as one
}

type alertKey struct {
	feed uint32
	id   string
}

// model is what the truth log says, in compact form.
type model struct {
	tenants  []tenant
	tenantOf map[string]uint32
	feeds    []feed
	feedOf   map[feed]uint32
	alerts   []alert
	alertOf  map[alertKey]uint32
	revs     []rev
	variants []variant
	variant  map[sum]uint32
	specials map[sum][]special
	lasting  map[special]bool // some serving was not within grace before a kill
	unnamed  map[sum]uint32   // tenant
	events   map[eventID]uint32
	kills    []tick
	ended    bool
	readings []reading           // of revs, where a sink filters
	sources  map[feed]bool       // that were asked
	reads    map[string][]string // Input.Reads
	ahead    tick                // how far the clock of the truth log is ahead of the run's, where it is read now
	ends     tick                // the last event, by the run's clock
	totals   Totals
}

func newModel() *model {
	return &model{
		tenantOf: make(map[string]uint32), feedOf: make(map[feed]uint32), alertOf: make(map[alertKey]uint32), variant: make(map[sum]uint32),
		specials: make(map[sum][]special), lasting: make(map[special]bool), unnamed: make(map[sum]uint32), events: make(map[eventID]uint32),
		sources: make(map[feed]bool), ends: noTick,
		totals: Totals{Faults: make(map[string]int), from: noTick, to: noTick},
	}
}

// tenant returns the index of a tenant, known or not.
func (m *model) tenant(id string, known bool) uint32 {
	id = strings.ToLower(id)
	t, ok := m.tenantOf[id]
	if !ok {
		t = uint32(len(m.tenants))
		m.tenants = append(m.tenants, tenant{id: id, unknown: !known})
		m.tenantOf[id] = t
	} else if known {
		m.tenants[t].unknown = false
	}
	return t
}

func (m *model) feed(t uint32, source string) uint32 {
	key := feed{t, source}
	f, ok := m.feedOf[key]
	if !ok {
		f = uint32(len(m.feeds))
		m.feeds = append(m.feeds, key)
		m.feedOf[key] = f
	}
	return f
}

// find returns revision n of an alert, or none.
func (m *model) find(a uint32, n int32) uint32 {
	for i := m.alerts[a].last; i != none; i = m.revs[i].next {
		if m.revs[i].n == n {
			return i
		}
	}
	return none
}

// rev returns revision n of an alert, adding what is not there.
func (m *model) rev(f uint32, id string, n int32) uint32 {
	key := alertKey{f, id}
	a, ok := m.alertOf[key]
	if !ok {
		a = uint32(len(m.alerts))
		m.alerts = append(m.alerts, alert{feed: f, last: none, id: id})
		m.alertOf[key] = a
	}
	if i := m.find(a, n); i != none {
		return i
	}
	i := uint32(len(m.revs))
	m.revs = append(m.revs, rev{alert: a, next: m.alerts[a].last, n: n, changed: noTick, visible: noTick})
	m.alerts[a].last = i
	return i
}

// spell adds a spelling of a revision.
func (m *model) spell(s sum, r uint32) {
	first, ok := m.variant[s]
	for i := first; ok && i != none; i = m.variants[i].next {
		if m.variants[i].rev == r {
			return
		}
	}
	next := uint32(none)
	if ok {
		next = first
	}
	m.variant[s] = uint32(len(m.variants))
	m.variants = append(m.variants, variant{rev: r, next: next})
}

// spelled calls fn for each revision that was served with these bytes.
func (m *model) spelled(s sum, fn func(r uint32)) {
	i, ok := m.variant[s]
	for ; ok && i != none; i = m.variants[i].next {
		fn(m.variants[i].rev)
	}
}

func (m *model) tenantOfRev(r uint32) uint32 { return m.feeds[m.alerts[m.revs[r].alert].feed].tenant }

func (m *model) sourceOfRev(r uint32) string { return m.feeds[m.alerts[m.revs[r].alert].feed].source }

// superseded reports whether the truth log knows a later state of the alert.
func (m *model) superseded(r uint32) bool {
	for i := m.alerts[m.revs[r].alert].last; i != none; i = m.revs[i].next {
		if m.revs[i].n > m.revs[r].n {
			return true
		}
	}
	return false
}

// owed reports whether a revision has to be at each place.
func (m *model) owed(r uint32) bool { return m.revs[r].flags&(served|newest) != 0 }

// killed reports whether t lies within d before a kill.
func (m *model) killed(t tick, d tick) bool {
	for _, k := range m.kills {
		if t <= k && k-t <= d {
			return true
		}
	}
	return false
}
