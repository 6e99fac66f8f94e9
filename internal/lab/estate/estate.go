// Package estate is what the customers' tenants hold: alerts, the incidents that
// they are grouped in, and detections, which come, change, and show late. What is visible at an instant is a function
// of the seed and that instant, and of what was added by hand; nothing runs in
// between.
package estate

import (
	"cmp"
	"container/heap"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The sources that an estate serves.
const (
	Graph     = "graph.alerts"
	Incidents = "graph.incidents"
	MDE       = "mde.alerts"
	SIEM      = "siem.detections"
)

// Options of a tenant's story.
type Options struct {
	ID          string        // tenant GUID
	Backlog     int           // alerts from before the start
	BacklogSpan time.Duration // over which they are spread, 30 days by default
	PerMinute   float64       // new alerts
	Horizon     time.Duration // for how long after the start they come
	Updates     float64       // further revisions of an alert, on average
	Ties        int           // alerts that one bulk change gives one time, once per story; 0: none
	LateShare   float64       // of revisions that show late
	LateMax     time.Duration // how late
	Silent      float64       // share of new alerts that change once without a new time
	Shuffle     bool          // evidence comes in another order with each read
	Twins       int           // the first so many alerts have IDs that other tenants' have too
	LiveField   bool          // a device's address changes with each read
	Replicas    bool          // every second read shows silent changes not yet
	Foreign     int           // rows that name another tenant
	Unnamed     int           // rows that name none
	Bad         int           // rows without usable identity or time
	Size        int           // bytes of a row, about; 0: as they come
	SIEM        bool          // detections as well
	Incidents   bool          // the alerts are grouped in incidents, which Graph lists as well
	Crowd       int           // of the first incident: its alerts; 0: a few
	MDE         bool          // the API of Defender for Endpoint shows its alerts as well
	Reprocess   bool          // some come back with a newer LastProcessedTimeUtc
}

// list is what one source of one tenant shows, in the order of change times.
type list struct {
	source  string
	opt     Options
	rows    []*Row
	current map[string]*Row
	later   schedule
	reads   int
}

// schedule is a heap of rows by when they become visible.
type schedule []*Row

func (s schedule) Len() int { return len(s) }

func (s schedule) Less(i, j int) bool { return s[i].Visible.Before(s[j].Visible) }

func (s schedule) Swap(i, j int) { s[i], s[j] = s[j], s[i] }

func (s *schedule) Push(x any) { *s = append(*s, x.(*Row)) }

func (s *schedule) Pop() any {
	old := *s
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*s = old[:len(old)-1]
	return r
}

// Estate holds all tenants. Safe for concurrent use.
type Estate struct {
	mu     sync.Mutex
	seed   uint64
	start  time.Time
	lists  map[string]map[string]*list // tenant → source
	tpls   []*template
	issued func(tenant, source string, r *Row)
}

// New makes an empty estate whose story begins at start. issued is told of
// each state as it becomes visible; it may be nil.
func New(seed uint64, start time.Time, issued func(tenant, source string, r *Row)) *Estate {
	e := &Estate{seed: seed, start: start, lists: make(map[string]map[string]*list), issued: issued}
	e.tpls = templates(seed)
	return e
}

// grid is Defender's clock: 1/300 s, cut to 100 ns (reference graph-security §3).
func grid(t time.Time) time.Time {
	sec := t.Unix()
	n := int64(t.Nanosecond()) * 300 / 1e9
	return time.Unix(sec, n*1e9/300/100*100).UTC()
}

// Text renders a time as Graph does: up to seven digits, without zeros at the
// end.
func Text(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.9999999Z") }

// Add writes a tenant's story.
func (e *Estate) Add(opt Options) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if opt.BacklogSpan <= 0 {
		opt.BacklogSpan = 30 * 24 * time.Hour
	}
	h := uint64(14695981039346656037)
	for _, c := range []byte(opt.ID) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	w := &writer{e: e, opt: opt, m: maker{rand.New(rand.NewPCG(e.seed, h))}}
	g := e.list(opt.ID, Graph)
	g.opt = opt
	for i := range opt.Backlog {
		at := e.start.Add(-time.Duration(float64(opt.BacklogSpan) * (1 - float64(i)/float64(opt.Backlog)))).Add(-time.Minute)
		w.alert(g, at, e.start.Add(-time.Second))
	}
	expected := opt.PerMinute * opt.Horizon.Minutes()
	live := int(expected)
	if rest := expected - float64(live); rest > 0 && w.m.r.Float64() < rest {
		live++
	}
	for range live {
		w.alert(g, e.start.Add(time.Duration(w.m.r.Float64()*float64(opt.Horizon))), time.Time{})
	}
	w.special(g, func() *Row {
		tpl := e.tpls[w.m.r.IntN(len(e.tpls))]
		return &Row{severity: "high", status: "new", tpl: tpl, pieces: 1}
	})
	more := []*list{g}
	also := func(source string, write func(from, to *list)) {
		l := e.list(opt.ID, source)
		l.opt = opt
		write(g, l)
		more = append(more, l)
	}
	if opt.SIEM {
		also(SIEM, w.detections)
	}
	// What follows draws from a source of its own: the rest of the story is the
	// same with it and without.
	w.m = maker{rand.New(rand.NewPCG(e.seed, h^incidentStream))}
	if opt.Incidents {
		also(Incidents, w.incidents)
	}
	if opt.MDE {
		also(MDE, w.endpoint)
	}
	for _, l := range more {
		e.settle(l, e.start)
	}
}

// incidentStream keeps what is drawn for incidents apart from the alerts.
const incidentStream = 0x9e3779b97f4a7c15

func (e *Estate) list(tenant, source string) *list {
	if e.lists[tenant] == nil {
		e.lists[tenant] = make(map[string]*list)
	}
	l := e.lists[tenant][source]
	if l == nil {
		l = &list{source: source, current: make(map[string]*Row), opt: Options{ID: tenant}}
		e.lists[tenant][source] = l
	}
	return l
}

// settle sorts what is visible at t in one go; for the beginning.
func (e *Estate) settle(l *list, t time.Time) {
	heap.Init(&l.later)
	var first []*Row
	for len(l.later) > 0 && !l.later[0].Visible.After(t) {
		first = append(first, heap.Pop(&l.later).(*Row))
	}
	slices.SortStableFunc(first, func(a, b *Row) int { return cmp.Compare(a.Rev, b.Rev) })
	for _, r := range first {
		r.older = l.current[r.ID]
		l.current[r.ID] = r
		e.tell(l, r)
	}
	l.rows = l.rows[:0]
	for _, r := range l.current {
		l.rows = append(l.rows, r)
	}
	slices.SortFunc(l.rows, order)
}

func (e *Estate) tell(l *list, r *Row) {
	if e.issued != nil && r.Kind == "" {
		e.issued(l.opt.ID, l.source, r)
	}
}

func order(a, b *Row) int { return cmp.Or(a.Changed.Compare(b.Changed), strings.Compare(a.ID, b.ID)) }

// advance makes visible what has become so by t.
func (e *Estate) advance(l *list, t time.Time) {
	for len(l.later) > 0 && !l.later[0].Visible.After(t) {
		r := heap.Pop(&l.later).(*Row)
		old := l.current[r.ID]
		if old != nil {
			if old.Rev > r.Rev {
				continue // overtaken before it was ever seen
			}
			if i, ok := slices.BinarySearchFunc(l.rows, old, order); ok {
				l.rows = slices.Delete(l.rows, i, i+1)
			}
			r.older = old
		}
		i, _ := slices.BinarySearchFunc(l.rows, r, order)
		l.rows = slices.Insert(l.rows, i, r)
		l.current[r.ID] = r
		e.tell(l, r)
	}
}

// nextRev is the number of a state that is made by hand: none that the story
// has given to a state that is still to come.
func (l *list) nextRev(r *Row) int {
	n := r.Rev
	for _, later := range l.later {
		if later.ID == r.ID {
			n = max(n, later.Rev)
		}
	}
	return n + 1
}

// Put adds a state by hand. Its Visible may lie in the future.
func (e *Estate) Put(tenant, source string, r Row) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.list(tenant, source)
	r.tenant = tenant
	if r.Text == "" {
		r.Text = Text(r.Changed)
	}
	if r.tpl == nil {
		r.tpl = e.tpls[len(r.ID)%len(e.tpls)]
		r.pieces = len(r.tpl.evidence)
	}
	if r.severity == "" && r.Raw == nil {
		r.severity, r.status = "high", "new"
		if source == Incidents {
			r.status = "active"
		}
	}
	switch {
	case source == Graph && r.Raw == nil && r.incident == 0:
		r.incident = e.newestIncident(tenant)
	case source == Incidents:
		r.incident, _ = strconv.ParseUint(r.ID, 10, 64)
	}
	heap.Push(&l.later, &r)
	e.mirror(l, &r)
}

// Change puts a new state of an alert that is visible, with a new change time
// unless silent.
func (e *Estate) Change(tenant, id string, at time.Time, silent bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.step(e.list(tenant, Graph), id, at, silent, func(r *Row) { r.comments++ })
}

// step puts a new state of what is visible in a list, as change makes it, and
// reports whether there is such a thing. The estate is locked.
func (e *Estate) step(l *list, id string, at time.Time, silent bool, change func(*Row)) bool {
	old := l.current[id]
	if old == nil {
		return false
	}
	r := *old
	r.Rev = l.nextRev(old)
	r.Visible = at
	r.silent, r.before, r.older = silent, old, nil
	if !silent {
		r.Changed = grid(at)
		r.Text, r.before = Text(r.Changed), nil
	}
	change(&r)
	heap.Push(&l.later, &r)
	e.mirror(l, &r)
	return true
}

// Return puts an alert back into the state before its last change, with the
// same change time if that change was silent (A, B, A).
func (e *Estate) Return(tenant, id string, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.list(tenant, Graph)
	now := l.current[id]
	if now == nil || now.older == nil {
		return
	}
	r := *now.older
	r.Rev, r.Visible = l.nextRev(now), at
	r.silent, r.before, r.older = true, now, nil
	heap.Push(&l.later, &r)
	e.mirror(l, &r)
}

// View is what a source shows at one moment; it must not be kept.
type View struct {
	Rows []*Row // by change time, ascending
	Read int    // counts reads
	Opt  Options
	// Alerts are what Graph's alerts show at that moment, of a view of incidents.
	Alerts []*Row
}

// See calls f with what a tenant's source shows at t.
func (e *Estate) See(tenant, source string, t time.Time, f func(View)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.list(tenant, source)
	e.advance(l, t)
	l.reads++
	v := View{Rows: l.rows, Read: l.reads, Opt: l.opt}
	if source == Incidents {
		g := e.list(tenant, Graph)
		e.advance(g, t)
		v.Alerts = g.rows
	}
	f(v)
}

// AsOf turns rows that are shown now into those that were shown at t: some are
// not there yet, others are in an older state.
func AsOf(rows []*Row, t time.Time) []*Row {
	var was []*Row
	for _, r := range rows {
		for r != nil && r.Visible.After(t) {
			r = r.older
		}
		if r != nil {
			was = append(was, r)
		}
	}
	slices.SortFunc(was, order)
	return was
}

// Newest lists the newest visible states at t, without special rows.
func (e *Estate) Newest(t time.Time, f func(tenant, source string, r *Row)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for tenant, sources := range e.lists {
		for source, l := range sources {
			e.advance(l, t)
			for _, r := range l.rows {
				if r.Kind == "" {
					f(tenant, source, r)
				}
			}
		}
	}
}

// Tenants lists the tenants.
func (e *Estate) Tenants() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var ids []string
	for id := range e.lists {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// render is a row of a source as its first read shows it.
func (e *Estate) render(source string, r *Row) []byte {
	switch source {
	case Incidents:
		return e.RenderIncident(nil, r, nil, View{})
	case MDE:
		return e.RenderEndpoint(nil, r, 0, Options{}, true)
	}
	return e.Render(nil, r, 0, Options{})
}
