package estate

import (
	"slices"
	"strconv"
	"time"
)

// firstIncident is the number of every tenant's first incident: the same
// numbers in all tenants, as in life.
const firstIncident = 1001

// group is one incident while the story is written.
type group struct {
	id     uint64
	states []*Row
	alerts [][]*Row // whose newest state is in it
	merged bool
	into   bool      // another one was merged into it
	by     time.Time // it is visible by then, if it is from before the start
}

// newest is the state that the story ends with so far.
func newest(states []*Row) *Row { return states[len(states)-1] }

// incidents groups the alerts of a tenant, moves some of them to another
// incident, and writes what becomes of each incident, which has a life of its
// own: its change time does not move when an alert of it changes (reference
// graph-security §3, mde-api §5).
func (w *writer) incidents(from, to *list) {
	groups := w.group(from)
	for _, g := range groups {
		w.incident(to, g)
	}
	for i, g := range groups {
		if i > 0 && w.m.r.Float64() < w.opt.Updates/(2+2*w.opt.Updates) {
			w.merge(from, to, g, groups[w.m.r.IntN(i)])
		}
	}
	w.special(to, func() *Row {
		return &Row{severity: "high", status: "active", tpl: w.e.tpls[w.m.r.IntN(len(w.e.tpls))]}
	})
}

// group deals the alerts to incidents in the order of their creation. An alert
// that was moved in its story is in another one from that state on.
func (w *writer) group(from *list) (groups []*group) {
	var alerts [][]*Row
	at := make(map[string]int)
	for _, r := range from.later {
		if r.Kind != "" {
			continue
		}
		i, ok := at[r.ID]
		if !ok {
			i = len(alerts)
			at[r.ID] = i
			alerts = append(alerts, nil)
		}
		alerts[i] = append(alerts[i], r)
	}
	slices.SortStableFunc(alerts, func(a, b []*Row) int { return a[0].Created.Compare(b[0].Created) })
	left := 0
	for _, states := range alerts {
		if left == 0 {
			left = 1 + w.m.r.IntN(3)*w.m.r.IntN(5)
			if len(groups) == 0 && w.opt.Crowd > 0 {
				left = w.opt.Crowd
			}
			// Until it has states of its own, the alert whose times it takes.
			groups = append(groups, &group{id: uint64(firstIncident + len(groups)), states: states[:1]}) //nolint:gosec // small
		}
		left--
		g := groups[len(groups)-1]
		other, last := groups[w.m.r.IntN(len(groups))], g
		for _, r := range states {
			if last = g; r.merges%2 == 1 {
				last = other
			}
			r.incident = last.id
		}
		last.alerts = append(last.alerts, states)
	}
	return groups
}

// incident writes the states of one: the first from its first alert, the
// others as analysts have it.
func (w *writer) incident(to *list, g *group) {
	first := g.states[0]
	if first.Created.Before(w.e.start) {
		g.by = w.e.start.Add(-time.Second)
	}
	delay, _ := w.pace(g.by)
	created := grid(first.Created.Add(w.within(delay)))
	r := &Row{ID: strconv.FormatUint(g.id, 10), Created: created, Changed: created, tenant: w.opt.ID, severity: first.severity, status: "active", tpl: first.tpl, incident: g.id}
	g.states = w.life(to, r, g.by, func(next *Row) {
		switch w.m.r.IntN(6) {
		case 0:
			next.status, next.assigned = w.m.pick("inProgress", "awaitingAction"), "analyst@mssp.example"
		case 1:
			next.classification, next.determination = w.m.pick("truePositive", "falsePositive"), "other"
		case 2:
			next.status = "resolved"
		case 3:
			next.comments++
		case 4:
			next.severity = "high"
			next.pieces++
		case 5: // a touch: nothing but the time
		}
	})
}

// merge puts an incident into another: it stays in the list as redirected, and
// the alerts that are in it by then are in the other one, with one change time
// for all.
func (w *writer) merge(from, to *list, g, into *group) {
	if g.into || into.merged || len(g.alerts) == 0 {
		return
	}
	at := newest(into.states).Created
	for _, states := range append(slices.Clone(g.alerts), g.states) {
		for _, r := range states {
			if at = maxTime(at, r.Changed); r.Visible.After(w.e.start) {
				at = maxTime(at, r.Visible)
			}
		}
	}
	by := g.by
	_, pace := w.pace(by)
	if at = grid(at.Add(time.Second + w.within(pace))); at.After(w.e.start.Add(w.opt.Horizon)) {
		return
	}
	if at.After(w.e.start) {
		by = time.Time{}
	}
	g.merged, into.into = true, true
	step := func(l *list, last *Row, change func(*Row)) *Row {
		next := *last
		next.Rev++
		next.silent, next.before = false, nil
		next.Changed = at
		change(&next)
		w.push(l, &next, by)
		return &next
	}
	g.states = append(g.states, step(to, newest(g.states), func(r *Row) { r.status, r.redirect = "redirected", into.id }))
	for i, states := range g.alerts {
		g.alerts[i] = append(states, step(from, newest(states), func(r *Row) { r.incident = into.id }))
	}
	into.alerts = append(into.alerts, g.alerts...)
	g.alerts = nil
}

// newestIncident is the incident that an alert made by hand belongs to; 0 if
// the tenant has none. The estate is locked.
func (e *Estate) newestIncident(tenant string) uint64 {
	l := e.lists[tenant][Incidents]
	if l == nil {
		return 0
	}
	n := uint64(0)
	for _, r := range l.rows {
		if r.Kind == "" && r.redirect == 0 {
			n = max(n, r.incident)
		}
	}
	return n
}

// ChangeIncident puts a new state of an incident that is visible, with a new
// change time unless silent. Its alerts stay as they are.
func (e *Estate) ChangeIncident(tenant, id string, at time.Time, silent bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.step(e.list(tenant, Incidents), id, at, silent, func(r *Row) { r.comments++ })
}

// MergeIncident merges one visible incident into another: it is redirected,
// and its alerts are in the other one, all with one change time.
func (e *Estate) MergeIncident(tenant, id, into string, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	target := e.list(tenant, Incidents).current[into]
	if target == nil || id == into || !e.step(e.list(tenant, Incidents), id, at, false, func(r *Row) { r.status, r.redirect = "redirected", target.incident }) {
		return
	}
	g := e.list(tenant, Graph)
	for _, r := range Within(g.rows, id) {
		e.step(g, r.ID, at, false, func(r *Row) { r.incident = target.incident })
	}
}

// Within picks the alerts of an incident.
func Within(alerts []*Row, incident string) (list []*Row) {
	n, err := strconv.ParseUint(incident, 10, 64)
	if err != nil {
		return nil
	}
	for _, r := range alerts {
		if r.Kind == "" && r.incidentID() == n {
			list = append(list, r)
		}
	}
	return list
}

// ByIncident groups alerts by the ID of their incident.
func ByIncident(alerts []*Row) map[string][]*Row {
	m := make(map[string][]*Row)
	for _, r := range alerts {
		if r.Kind == "" {
			id := strconv.FormatUint(r.incidentID(), 10)
			m[id] = append(m[id], r)
		}
	}
	return m
}

// RenderIncident appends a state of an incident as a read shows it; with its
// alerts if they are given: nil is none, and no member for them.
func (e *Estate) RenderIncident(dst []byte, r *Row, alerts []*Row, v View) []byte {
	if v.Opt.Replicas && v.Read%2 == 1 && r.before != nil && r.silent {
		r = r.before
	}
	if r.Raw != nil {
		return append(dst, r.Raw...)
	}
	text := func(name, value string) {
		dst = append(append(append(dst, `,"`...), name...), `":`...)
		dst = orNull(dst, value)
	}
	dst = append(append(append(dst, `{"id":"`...), r.ID...), `","tenantId":`...)
	dst = append(dst, r.names()...)
	text("status", r.status)
	text("incidentWebUrl", "https://security.microsoft.com/incident2/"+r.ID+"/overview?tid="+r.tenant)
	redirect := ""
	if r.redirect != 0 {
		redirect = strconv.FormatUint(r.redirect, 10)
	}
	text("redirectIncidentId", redirect)
	f := r.tpl.flat()
	dst = append(append(dst, `,"displayName":`...), f.title...)
	text("createdDateTime", Text(r.Created))
	text("lastUpdateDateTime", r.Text)
	text("assignedTo", r.assigned)
	text("classification", r.classification)
	text("determination", r.determination)
	text("severity", r.severity)
	dst = append(dst, `,"customTags":[`...)
	for i := range r.pieces {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(strconv.AppendInt(append(dst, `"tag `...), int64(i), 10), '"')
	}
	dst = append(append(dst, `],"systemTags":[],"description":`...), f.description...)
	summary, remark := "", ""
	if r.status == "resolved" {
		summary, remark = "Handled as usual.", `closed\nby the playbook`
	}
	text("lastModifiedBy", "Microsoft 365 Defender-AlertCorrelation")
	text("resolvingComment", remark)
	text("summary", summary)
	dst = strconv.AppendInt(append(dst, `,"priorityScore":`...), int64(r.incident%100), 10)
	dst = append(dst, `,"comments":[`...)
	dst = appendComments(dst, r.comments, "createdByDisplayName", "createdDateTime")
	dst = append(dst, ']')
	if alerts != nil {
		dst = append(dst, `,"alerts":[`...)
		for i, a := range alerts {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = e.Render(dst, a, v.Read, v.Opt)
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}
