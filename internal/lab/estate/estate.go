// Package estate is what the customers' tenants hold: alerts, the incidents that
// they are grouped in, and detections, which come, change, and show late. What is visible at an instant is a function
// of the seed and that instant, and of what was added by hand; nothing runs in
// between.
package estate

import (
	"cmp"
	"container/heap"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
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

// Row is one state of one alert, ready to be rendered.
type Row struct {
	ID      string
	Rev     int
	Changed time.Time
	Created time.Time
	Visible time.Time
	Kind    string // "", foreign, unnamed, bad
	Claims  string // the tenant that the row names, if Kind says so
	Text    string // the change time as served
	Raw     []byte // served as it is, if set

	severity, status              string
	classification, determination string            // "" is null
	assigned                      string            // "" is null
	service                       string            // of a raw row; others have their template's
	group, deviceTag, cloudTag    string            // of a detection
	incident                      uint64            // of an alert; 0: one that follows from its template
	redirect                      uint64            // of an incident that was merged into another; 0: it was not
	words                         map[string]string // of a raw row: what else it can be filtered by
	tenant                        string
	tpl                           *template
	pieces                        int // of the template's evidence; of a detection: its AlertPart
	comments                      int
	merges                        int  // how often its incident was merged into another
	silent                        bool // changed, its time did not
	before                        *Row // the state that a lagging replica shows
	older                         *Row // the state that was shown before this one
}

// Service is the alert's serviceSource.
func (r *Row) Service() string {
	if r.Raw != nil && r.service != "" || r.tpl == nil {
		return r.service
	}
	return r.tpl.service
}

// Word is the value of a property that alerts can be filtered by and that is
// no time; "" stands for null.
func (r *Row) Word(property string) string {
	switch property {
	case "severity":
		return r.severity
	case "status":
		return r.status
	case "serviceSource":
		return r.Service()
	case "classification":
		return r.classification
	case "determination":
		return r.determination
	case "assignedTo":
		return r.assigned
	}
	return r.mdeWord(property)
}

// Group, DeviceTag and CloudTag are what detections can be chosen by.
func (r *Row) Group() string { return r.group }

// DeviceTag is the device's tag from its registry.
func (r *Row) DeviceTag() string { return r.deviceTag }

// CloudTag is the device's tag from the portal.
func (r *Row) CloudTag() string { return r.cloudTag }

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

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].Visible.Before(s[j].Visible) }
func (s schedule) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(x any)        { *s = append(*s, x.(*Row)) }
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
	l := e.list(tenant, Graph)
	old := l.current[id]
	if old == nil {
		return
	}
	r := *old
	r.Rev = l.nextRev(old)
	r.comments++
	r.Visible = at
	r.silent, r.before, r.older = silent, old, nil
	if !silent {
		r.Changed = grid(at)
		r.Text, r.before = Text(r.Changed), nil
	}
	heap.Push(&l.later, &r)
	e.mirror(l, &r)
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

// writer writes a tenant's story.
type writer struct {
	e    *Estate
	opt  Options
	m    maker
	n    int
	tied time.Time
	ties int
}

// alert writes one alert and what becomes of it. A backlog alert is visible by
// `by`.
func (w *writer) alert(l *list, at, by time.Time) {
	tpl := w.e.tpls[w.m.r.IntN(len(w.e.tpls))]
	w.n++
	// Fractions of a second differ in length, up to seven digits.
	created := at.Truncate([]time.Duration{100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}[w.n%8]).UTC()
	// What happens while somebody looks on happens within the story's horizon.
	delay, pace := 90*time.Second, 240*time.Second
	if by.IsZero() {
		delay, pace = time.Second, max(w.opt.Horizon/4, 2*time.Second)
	}
	r := &Row{ID: tpl.prefix + w.m.guid() + "_1", Created: created, Changed: grid(at.Add(w.within(delay))), tenant: w.opt.ID,
		severity: w.m.pick("informational", "low", "medium", "high"), status: "new", tpl: tpl, pieces: max(1, len(tpl.evidence)-w.m.r.IntN(3))}
	if w.opt.Ties > 0 && w.ties < w.opt.Ties {
		if w.tied.IsZero() {
			w.tied = r.Changed
		}
		r.Changed = w.tied
		w.ties++
	}
	if w.n <= w.opt.Twins {
		r.ID = fmt.Sprintf("da00000000-0000-4000-a000-%012d_1", w.n)
	}
	w.push(l, r, by)
	for w.m.r.Float64() < w.opt.Updates/(1+w.opt.Updates) {
		next := *r
		next.Rev++
		next.before, next.silent = nil, false
		next.Changed = grid(r.Changed.Add(time.Second + w.within(pace)))
		if by.IsZero() && next.Changed.After(w.e.start.Add(w.opt.Horizon)) {
			break
		}
		switch w.m.r.IntN(5) {
		case 0:
			next.status, next.assigned = w.m.pick("inProgress", "resolved"), "analyst@mssp.example"
		case 1:
			next.classification, next.determination = w.m.pick("truePositive", "falsePositive"), "other"
		case 2:
			next.pieces = min(next.pieces+1, len(tpl.evidence))
			next.comments++
		case 3:
			next.comments++
			next.merges += next.Rev % 2
		case 4: // a touch: nothing but the time
		}
		r = &next
		w.push(l, r, by)
	}
	// Silently changed are young rows: an old one would be out of anybody's sight.
	if w.m.r.Float64() < w.opt.Silent && w.e.start.Sub(r.Changed) < time.Minute {
		next := *r
		next.Rev++
		next.comments++
		next.silent, next.before = true, r
		next.Visible = time.Time{}
		w.pushAt(l, &next, maxTime(r.Visible, w.e.start).Add(time.Second+w.within(min(10*time.Second, w.opt.Horizon/4))))
	}
}

// within draws a duration below d.
func (w *writer) within(d time.Duration) time.Duration {
	return time.Duration(w.m.r.Float64() * float64(d))
}

func (w *writer) push(l *list, r *Row, by time.Time) {
	visible := r.Changed.Add(time.Duration(w.m.r.IntN(900)) * time.Millisecond)
	// Late rows are young: how late a row may show is bounded by LateMax, so an
	// old one has shown long ago.
	if w.m.r.Float64() < w.opt.LateShare && w.opt.LateMax > 0 {
		visible = r.Changed.Add(w.within(w.opt.LateMax))
	}
	if !by.IsZero() && visible.After(by) && w.e.start.Sub(r.Changed) > w.opt.LateMax {
		visible = by
	}
	w.pushAt(l, r, visible)
}

func (w *writer) pushAt(l *list, r *Row, visible time.Time) {
	r.Text, r.Visible = Text(r.Changed), visible
	l.later = append(l.later, r)
}

// special writes rows that should not be there. plain makes one without
// identity and times.
func (w *writer) special(l *list, plain func() *Row) {
	put := func(n int, kind string, make func(i int, r *Row)) {
		for i := range n {
			r := plain()
			at := w.e.start.Add(-time.Duration(1+w.m.r.IntN(600)) * time.Second)
			if w.opt.Horizon > 0 && i%2 == 1 {
				at = w.e.start.Add(time.Duration(w.m.r.Float64() * float64(w.opt.Horizon/2)))
			}
			r.ID, r.Created, r.Changed, r.tenant, r.Kind = w.specialID(l.source, r), at, grid(at), w.opt.ID, kind
			make(i, r)
			w.pushAt(l, r, at)
		}
	}
	put(w.opt.Foreign, "foreign", func(_ int, r *Row) { r.Claims = w.m.guid() })
	// Unnamed rows are the tenant's own, and owed: they are no special rows to
	// the judge.
	put(w.opt.Unnamed, "", func(i int, r *Row) { r.Claims = []string{"null", `"contoso"`, `""`}[i%3] })
	put(w.opt.Bad, "bad", func(i int, r *Row) {
		body := string(w.e.render(l.source, r))
		switch i % 4 {
		case 0:
			body = strings.Replace(body, `"id":`, `"noid":`, 1)
		case 1:
			body = strings.Replace(body, `"id":`, `"id":"twice","id":`, 1)
		case 2:
			body = strings.Replace(body, `"id":"`+r.ID+`"`, `"id":null`, 1)
		case 3:
			body = strings.Replace(body, `"id":"`+r.ID+`"`, `"id":7`, 1)
		}
		r.Raw = []byte(body)
	})
}

// specialID is the identity of a special row of a source.
func (w *writer) specialID(source string, r *Row) string {
	switch source {
	case Incidents:
		return strconv.Itoa(900_000_000 + w.m.r.IntN(100_000_000))
	case MDE:
		return w.m.guid() + "_1"
	}
	return r.tpl.prefix + w.m.guid() + "_1"
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

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// unixTicks is 1970 in .NET's 100 ns since the year 1.
const unixTicks = 621355968000000000

// Device groups and tags of detections.
var (
	groups = []string{"", "UKMachines", "FranceMachines", "Servers & more"}
	tags   = []string{"", "kiosk", "vip"}
)

// detections writes the SIEM API's rows from the same alerts: one to three per
// alert, some of them days after the first (reference siem-api §1, §9).
func (w *writer) detections(from, to *list) {
	for _, r := range from.later {
		if r.Rev > 0 || r.Kind != "" {
			continue
		}
		// The number before the line is a .NET tick count, the one behind it may be
		// negative.
		alert := fmt.Sprintf("da%d_%d", unixTicks+r.Created.UnixNano()/100, int32(w.m.r.Uint32())) //nolint:gosec // so it is meant
		for part := range 1 + w.m.r.IntN(3) {
			processed := r.Created.Add(time.Duration(1+w.m.r.IntN(300)) * time.Second)
			if part > 0 && w.m.r.IntN(8) == 0 {
				processed = processed.Add(time.Duration(w.m.r.IntN(72)) * time.Hour)
			}
			processed = processed.Add(time.Duration(w.m.r.IntN(1e7)) * 100).Truncate(100)
			hash := sha256.Sum256([]byte(w.m.hex(42)))
			ioc := base64.StdEncoding.EncodeToString(hash[:])
			d := &Row{ID: alert + ":" + ioc, Created: r.Created, Changed: processed, tenant: w.opt.ID, severity: w.m.pick("Informational", "Low", "Medium", "High"), tpl: r.tpl, pieces: part}
			d.group, d.deviceTag, d.cloudTag = groups[len(to.later)%len(groups)], tags[len(to.later)/2%len(tags)], tags[len(to.later)/3%len(tags)]
			w.pushAt(to, d, processed.Add(time.Duration(w.m.r.IntN(900))*time.Millisecond))
			if w.opt.Reprocess && w.m.r.IntN(10) == 0 {
				again := *d
				again.Rev = 1
				again.Changed = processed.Add(time.Duration(30+w.m.r.IntN(600)) * time.Second)
				w.pushAt(to, &again, again.Changed)
			}
		}
	}
}
