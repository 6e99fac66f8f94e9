package plant

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"drover/internal/oracle"
)

// Size of a simulated run.
type Size struct {
	Alerts  int // of each tenant and source; 0: 30
	Minutes int // 0: 60; at least 40
	Padding int // bytes added to each row
}

// state is one revision of one alert at the source.
type state struct {
	rec     *Record
	visible time.Time
	newest  bool
}

// world makes a Run.
type world struct {
	run    *Run
	rng    *rand.Rand
	size   Size
	start  time.Time
	polls  int
	n      int // requests at the receiver
	seq    map[string]int
	newest map[string]time.Time // change time that was read last, by tenant and source
}

// sources are those of a Run. The second half comes last, so that the first is
// the same without it.
var sources = []string{"graph.alerts", "siem.detections", "graph.incidents", "mde.alerts"}

// Good is the run of a product that keeps its promises: three tenants, four
// sources of which two show the same alerts, overlapping reads that show other bytes of the same revision, late
// rows, a stale replica, rows that name another tenant or none, a row without
// identity, answers that were lost, and a kill in the middle of a send. The
// same seed gives the same run.
func Good(seed uint64, size Size) *Run {
	size.Alerts, size.Minutes = cmp.Or(size.Alerts, 30), cmp.Or(size.Minutes, 60)
	w := &world{
		run: &Run{
			Tenants: []Tenant{
				{"11111111-aaaa-4111-8111-111111111111", "contoso"}, {"22222222-bbbb-4222-8222-222222222222", "fabrikam"}, {"33333333-cccc-4333-8333-333333333333", "tailwind"},
			},
			Marks: make(map[string]string), Variants: make(map[string]string),
			Secrets: []oracle.Secret{
				{Name: "client secret", Value: `q8~Xk/2"vR+secret canary=7Lp0Wz&9`}, {Name: "refresh token", Value: "0.AXoA-canary-refresh-token-Jk28sLq0PmZx71TtVn"},
			},
		},
		rng: rand.New(rand.NewPCG(seed, 1)), size: size, start: time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC),
		seq: make(map[string]int), newest: make(map[string]time.Time),
	}
	w.run.Kill = w.start.Add(30*time.Minute + 3*time.Second)
	w.truth(w.start, "start", `,"seed":%d`, seed)
	for i, t := range w.run.Tenants {
		w.run.Marks[t.ID] = fmt.Sprintf("mark%d-%016x", i, w.rng.Uint64())
		w.truth(w.start, "tenant", `,"tenant":"%s","customer":"%s"`, t.ID, t.Slug)
		w.run.Files = append(w.run.Files, File{Name: t.Slug + ".000000.ndjson", Tenant: t.ID}, File{Name: t.Slug + ".ndjson", Tenant: t.ID})
	}
	states := make(map[string][]*state)
	for _, t := range w.run.Tenants {
		for _, source := range sources[:2] {
			states[t.ID+source] = w.alerts(t, source)
		}
	}
	for _, t := range w.run.Tenants {
		states[t.ID+"graph.incidents"] = w.alerts(t, "graph.incidents")
		states[t.ID+"mde.alerts"] = w.endpoint(t, states[t.ID+"graph.alerts"])
	}
	for poll := 1; poll <= size.Minutes+5; poll++ {
		w.polls = poll
		if poll == 31 {
			w.truth(w.run.Kill, "mark", `,"kind":"kill","note":"in the middle of a send"`)
		}
		for i, t := range w.run.Tenants {
			for _, source := range sources {
				w.poll(i, t, source, states[t.ID+source])
			}
		}
	}
	w.finish(states)
	return w.run
}

// truth writes an event of the truth log.
func (w *world) truth(at time.Time, kind, format string, args ...any) {
	w.run.Truth = append(w.run.Truth, fmt.Sprintf(`{"t":"%s","at":"%s"`, kind, at.Format(time.RFC3339Nano))+fmt.Sprintf(format, args...)+"}")
}

// members are what a source calls the tenant and the change time of a row, and
// what else only its rows have.
func members(source string, rev int) (tenant, changed, more string) {
	switch source {
	case "graph.incidents":
		redirect := "null"
		if rev > 1 {
			redirect = `"1001"`
		}
		return "tenantId", "lastUpdateDateTime", `"redirectIncidentId":` + redirect + `,"alerts":[{"id":"da1","lastUpdateDateTime":"2026-03-02T07:00:00Z"}],`
	case "mde.alerts":
		return "aadTenantId", "lastUpdateTime", `"incidentId":1001,"mitreTechniques":["T1059"],`
	}
	return "tenantId", "lastUpdateDateTime", ""
}

// row is the bytes of one state; shape varies what means nothing.
func (w *world) row(t Tenant, source, id, names string, rev, shape int, changed time.Time) string {
	tenantName, changedName, more := members(source, rev)
	evidence := []string{`{"@odata.type":"#microsoft.graph.security.deviceEvidence","n":1.50e+3}`, `{"path":"C:\\Users\\J\u00f6rg","size":12345678901234567890}`, `{ "name" : "Zoë/<b>" }`}
	slices.Reverse(evidence[:1+shape%len(evidence)])
	tenant := ""
	if names != "" {
		tenant = `"` + tenantName + `":"` + names + `",`
	}
	row := fmt.Sprintf(`{"id":"%s",%s%s"title":"Suspicious \"%s\" activity \u2014 %d","status": "new","%s":"%s","riskScore":%d.%d0,"evidence":[%s],"nested":{"tenantId":"99999999-9999-4999-8999-999999999999"},"pad":"%s"}`,
		id, tenant, more, w.run.Marks[t.ID], rev, changedName, changed.Format("2006-01-02T15:04:05.999999999Z"), rev, shape, strings.Join(evidence, ", "), strings.Repeat("x", w.size.Padding))
	if strings.HasSuffix(id, "7") {
		row = strings.Replace(row, ",\"status\"", ",\r\n  \"status\"", 1) // cannot stand on a line
	}
	return row
}

// alerts plans the states of all alerts of a feed.
func (w *world) alerts(t Tenant, source string) []*state {
	var all []*state
	prefix := map[string]string{"graph.alerts": "da", "siem.detections": "sd"}[source]
	for i := range w.size.Alerts {
		id := fmt.Sprintf("%s%d-%06d", prefix, 637000000+w.rng.IntN(1000), i)
		if source == "graph.incidents" {
			id = fmt.Sprint(1001 + i)
		}
		at := w.start.Add(time.Duration(w.rng.Int64N(int64(time.Duration(w.size.Minutes-10) * time.Minute)))).Truncate(100 * time.Nanosecond)
		names, unnamed := t.ID, false
		if i%9 == 4 {
			names, unnamed = "", true
		}
		revs := 1 + w.rng.IntN(4)
		for rev := range revs {
			lag := time.Duration(w.rng.IntN(20)) * time.Second
			if i%7 == 3 && rev == 0 {
				lag = 4 * time.Minute
			}
			rec := &Record{Tenant: t.ID, Customer: t.Slug, Source: source, ID: id, Rev: rev, Changed: at, Unnamed: unnamed, Raw: w.row(t, source, id, names, rev, 0, at)}
			all = append(all, w.issue(rec, at.Add(lag), rev == revs-1))
			at = at.Add(time.Duration(1+w.rng.IntN(180))*time.Second + lag + 300*time.Nanosecond)
		}
	}
	return all
}

// endpoint plans the same alerts as another API shows them: with the same change
// times, under other IDs.
func (w *world) endpoint(t Tenant, alerts []*state) (all []*state) {
	for _, s := range alerts {
		r := *s.rec
		r.Source, r.ID = "mde.alerts", strings.TrimPrefix(r.ID, "da")
		names := t.ID
		if r.Unnamed {
			names = ""
		}
		r.Raw = w.row(t, r.Source, r.ID, names, r.Rev, 0, r.Changed)
		all = append(all, w.issue(&r, s.visible.Add(time.Duration(w.rng.IntN(90))*time.Second), s.newest))
	}
	return all
}

// issue writes the truth of one state.
func (w *world) issue(r *Record, visible time.Time, newest bool) *state {
	r.seal()
	w.truth(w.start, "issued", `,"tenant":"%s","source":"%s","id":"%s","rev":%d,"changed":"%s","visible_at":"%s"`,
		r.Tenant, r.Source, r.ID, r.Rev, r.Changed.Format(time.RFC3339Nano), visible.Format(time.RFC3339Nano))
	return &state{rec: r, visible: visible, newest: newest}
}

// served writes the truth of one row that was read.
func (w *world) served(at time.Time, r *Record, raw string) {
	w.truth(at, "served", `,"tenant":"%s","source":"%s","id":"%s","rev":%d,"changed":"%s","sha256":"%s","request":%d,"page_rows":1`,
		r.Tenant, r.Source, r.ID, r.Rev, r.Changed.Format("2006-01-02T15:04:05.999999999Z"), hash(raw), w.polls)
	if r.Unnamed {
		w.truth(at, "row", `,"tenant":"%s","source":"%s","kind":"unnamed","id":"%s","sha256":"%s","claims":""`, r.Tenant, r.Source, r.ID, hash(raw))
	}
}

// poll reads a feed once and delivers what is new.
func (w *world) poll(ti int, t Tenant, source string, states []*state) {
	at := w.start.Add(time.Duration(w.polls) * time.Minute)
	w.truth(at, "request", `,"n":%d,"tenant":"%s","source":"%s","status":200,"rows":1,"fault":""`, w.polls, t.ID, source)
	// What the source shows is the newest visible state of each alert.
	shown := make(map[string]*state)
	for _, s := range states {
		if !s.visible.After(at) && (shown[s.rec.ID] == nil || s.rec.Rev > shown[s.rec.ID].rec.Rev) {
			shown[s.rec.ID] = s
		}
	}
	var fresh []*Record
	var stale *state
	for _, id := range slices.Sorted(maps.Keys(shown)) {
		s := shown[id]
		switch {
		case s.rec.Poll != 0:
			if at.Sub(s.rec.Changed) < 5*time.Minute { // overlap: read again, with other bytes
				names := t.ID
				if s.rec.Unnamed {
					names = ""
				}
				other := w.row(t, source, s.rec.ID, names, s.rec.Rev, 2, s.rec.Changed)
				w.served(at, s.rec, other)
				w.run.Variants[s.rec.Event] = other
			}
		default:
			s.rec.Poll = w.polls
			w.served(at, s.rec, s.rec.Raw)
			fresh = append(fresh, s.rec)
		}
	}
	if w.polls%11 == 0 { // a replica that lags behind shows an older state
		for _, s := range states {
			if n := shown[s.rec.ID]; n != nil && s.rec.Poll == 0 && s.rec.Rev < n.rec.Rev && (stale == nil || s.rec.Changed.Before(stale.rec.Changed)) {
				stale = s
			}
		}
	}
	if w.polls == 30 && ti == 1 { // read just before the kill, and superseded
		for _, s := range states {
			if n := shown[s.rec.ID]; n != nil && s.rec.Poll == 0 && s.rec.Rev < n.rec.Rev {
				s.rec.Poll = -1
				w.served(w.run.Kill.Add(-time.Second), s.rec, s.rec.Raw)
				break
			}
		}
	}
	slices.SortFunc(fresh, func(a, b *Record) int { return cmp.Or(a.Changed.Compare(b.Changed), cmp.Compare(a.ID, b.ID)) })
	if stale != nil {
		stale.rec.Poll = w.polls
		w.served(at, stale.rec, stale.rec.Raw)
		fresh = append(fresh, stale.rec)
	}
	w.deliver(ti, t, source, at, fresh)
}

// deliver numbers, stores and sends what is new.
func (w *world) deliver(ti int, t Tenant, source string, at time.Time, fresh []*Record) {
	if len(fresh) == 0 {
		return
	}
	key := t.ID + source
	for _, r := range fresh {
		w.seq[key]++
		r.Seq = w.seq[key]
		r.Late = r.Changed.Before(w.newest[key])
		if r.Changed.After(w.newest[key]) {
			w.newest[key] = r.Changed
		}
		f := &w.run.Files[2*ti]
		if w.polls > w.size.Minutes/2 {
			f = &w.run.Files[2*ti+1]
		}
		f.Lines = append(f.Lines, Line{Record: r})
		w.run.Ledger = append(w.run.Ledger, Line{Record: r})
	}
	lost := w.polls%13 == 5
	w.send(t, at.Add(2*time.Second), fresh, !lost)
	if lost || w.polls == 30 { // again after a lost answer, or after the kill
		w.send(t, at.Add(10*time.Second), fresh, true)
	}
}

// send makes one request to the receiver.
func (w *world) send(t Tenant, at time.Time, batch []*Record, answered bool) {
	w.n++
	for i, r := range batch {
		w.run.HEC = append(w.run.HEC, Event{Record: r, Token: "token-" + t.Slug, N: w.n, I: i, At: at, Kept: true, Answered: answered})
	}
}

// finish deals the rows that must not pass, and writes the end of each log.
func (w *world) finish(states map[string][]*state) {
	end := w.start.Add(time.Duration(w.size.Minutes+6) * time.Minute)
	a, b := w.run.Tenants[0], w.run.Tenants[1]
	special := func(source, kind, id, raw, claims string) Record {
		r := Record{Tenant: a.ID, Customer: a.Slug, Source: source, ID: id, Rev: -1, Changed: end, Seq: w.seq[a.ID+source] + 1, Raw: raw}
		r.seal()
		w.truth(end, "row", `,"tenant":"%s","source":"%s","kind":"%s","id":"%s","sha256":"%s","claims":"%s"`, a.ID, source, kind, id, r.Sum, claims)
		w.run.Ledger = append(w.run.Ledger, Line{Text: fmt.Sprintf(`{"t":"set_aside","tenant":"%s","source":"%s","reason":"%s row","sha256":"%s"}`, a.ID, source, kind, r.Sum)})
		return r
	}
	w.run.Foreign = special("graph.alerts", "foreign", "da-foreign", w.row(b, "graph.alerts", "da-foreign", b.ID, 0, 0, end), b.ID)
	w.run.ForeignEndpoint = special("mde.alerts", "foreign", "foreign", w.row(b, "mde.alerts", "foreign", b.ID, 0, 0, end), b.ID)
	w.run.Bad = special("graph.alerts", "bad", "", `{"tenantId":"`+a.ID+`","title":"no identity"}`, "")
	span := fmt.Sprintf(`"from":"%s","to":"%s"`, w.start.Format(time.RFC3339), w.start.Add(5*time.Minute).Format(time.RFC3339))
	w.run.Ledger = append(w.run.Ledger,
		Line{Text: `{"t":"gap","tenant":"` + a.ID + `","source":"graph.alerts",` + span + `,"cause":"page over the limit","state":"closed"}`},
		Line{Text: `{"t":"gap","tenant":"` + b.ID + `","source":"mde.alerts",` + span + `,"cause":"retention passed","state":"open"}`})
	for _, t := range w.run.Tenants {
		for _, source := range sources {
			for _, s := range states[t.ID+source] {
				if s.newest {
					w.truth(end, "newest", `,"tenant":"%s","source":"%s","id":"%s","rev":%d`, t.ID, source, s.rec.ID, s.rec.Rev)
				}
			}
		}
		w.run.Outputs = append(w.run.Outputs, Output{Name: "page of " + t.Slug, Tenant: t.ID, Text: "<td>Suspicious " + w.run.Marks[t.ID] + "</td>"})
	}
	w.truth(end, "end", "")
	w.run.Outputs = append(w.run.Outputs, Output{Name: "drover.log", Text: strings.Repeat("level=INFO msg=committed tenant=contoso rows=12\n", 100)},
		Output{Name: "metrics", Text: "drover_rows_total{tenant=\"contoso\"} 12\n"})
}
