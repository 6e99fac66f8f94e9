package defender

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"drover"
	"drover/internal/httpx"
)

const (
	tenantA = drover.TenantID("3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60")
	base    = "https://graph.test"
)

// t0 is where the invented alerts begin.
var t0 = at("2026-03-02T08:00:00Z")

func at(s string) drover.Instant { return mustInstant(s) }

func alertJSON(id, changed string, evidence []byte) string {
	if evidence == nil {
		evidence = []byte(`[]`)
	}
	return fmt.Sprintf(`{"@odata.type":"#microsoft.graph.security.alert","id":%q,"status":"new","severity":"high","tenantId":%q,"title":"a \"title\" {","createdDateTime":%q,"lastUpdateDateTime":%q,"evidence":%s}`,
		id, tenantA, changed, changed, evidence)
}

// entry is an alert of the pretend API.
type entry struct {
	id       string
	changed  drover.Instant
	severity string
	product  string
	state    string // "new" if empty
	raw      string // overrides what is made of the rest
}

// pascal turns a value of Graph into the spelling of Defender for Endpoint.
func pascal(v string) string {
	if v == "unknown" {
		return "UnSpecified"
	}
	return strings.ToUpper(v[:min(len(v), 1)]) + v[min(len(v), 1):]
}

func (e entry) json(s drover.SourceID) string {
	state := cmp.Or(e.state, "new")
	switch {
	case e.raw != "":
		return e.raw
	case s == drover.MDEAlerts:
		return fmt.Sprintf(`{"id":%q,"incidentId":1,"severity":%q,"status":%q,"alertCreationTime":%q,"lastUpdateTime":%q,"aadTenantId":%q,"evidence":[]}`, e.id, pascal(e.severity), pascal(state), e.changed, e.changed, tenantA)
	case s == drover.SIEMDetections:
		return fmt.Sprintf(`{"AlertTime":%q,"Severity":"High","AlertId":"da1_1","FullId":%q,"LastProcessedTimeUtc":%q,"AlertPart":0}`, e.changed, e.id, e.changed)
	}
	return fmt.Sprintf(`{"id":%q,"lastUpdateDateTime":%q,"createdDateTime":%q,"tenantId":%q,"severity":%q,"serviceSource":%q,"status":%q}`, e.id, e.changed, e.changed, tenantA, e.severity, e.product, state)
}

// api is a pretend Graph and SIEM API for one tenant. Its knobs are the ways
// in which such an API may behave.
type api struct {
	mu      sync.Mutex
	now     drover.Instant
	entries []entry

	clamp        int    // rows in a page at most, 0: what was asked for
	least        int    // rows in a page at least, whatever was asked for
	refuseTop    int    // a larger $top is 400
	noLinks      bool   // a page never has a link
	links        bool   // also one of Defender for Endpoint has
	emptyHead    bool   // the first page of an answer is empty and has a link
	deafToSkip   bool   // $skip means nothing
	noConditions bool   // a filter on anything but time is 400
	skipLimit    int    // a deeper $skip is 400, 0: none
	order        string // "", "desc", "shuffled"
	cap          int    // only the newest so many of a range, 0: all
	coarse       time.Duration
	noDate       bool
	before       func(a *api, n int) // is called before request n, from 1
	answer       func(a *api, n int, w http.ResponseWriter, r *http.Request) bool
	rewrite      func(n int, body []byte) []byte
	rename       func(next string) string

	requests []string
	tokens   []string
	served   map[alert]bool // of whole answers
}

func newAPI(entries ...entry) *api {
	return &api{now: t0.Add(time.Hour), entries: entries, served: make(map[alert]bool)}
}

// set changes or adds an alert.
func (a *api) set(e entry) {
	for i := range a.entries {
		if a.entries[i].id == e.id {
			a.entries[i] = e
			return
		}
	}
	a.entries = append(a.entries, e)
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, r.URL.RawQuery)
	a.tokens = append(a.tokens, r.Header.Get("Authorization"))
	n := len(a.requests)
	if a.before != nil {
		a.before(a, n)
	}
	if !a.noDate {
		w.Header().Set("Date", a.now.Time().Format(http.TimeFormat))
	} else {
		w.Header()["Date"] = nil
	}
	if a.answer != nil && a.answer(a, n, w, r) {
		return
	}
	switch r.URL.Path {
	case graphPath:
		a.odata(w, r, n, drover.GraphAlerts)
	case incidentPath:
		a.odata(w, r, n, drover.GraphIncidents)
	case siemPath: // that of Defender for Endpoint as well
		if r.URL.Query().Has("$filter") {
			a.odata(w, r, n, drover.MDEAlerts)
		} else {
			a.siem(w, r, n)
		}
	default:
		w.WriteHeader(404)
	}
}

func (a *api) floor(i drover.Instant) drover.Instant {
	if a.coarse == 0 {
		return i
	}
	return drover.InstantOf(i.Time().Truncate(a.coarse))
}

func (a *api) siem(w http.ResponseWriter, r *http.Request, n int) {
	since, err1 := drover.ParseInstant(r.URL.Query().Get("sinceTimeUtc"))
	until, err2 := drover.ParseInstant(r.URL.Query().Get("untilTimeUtc"))
	if err1 != nil || err2 != nil || r.URL.Query().Has("limit") || r.URL.Query().Has("ago") {
		w.WriteHeader(400)
		return
	}
	var rows []entry
	for _, e := range a.entries {
		if e.changed >= a.floor(since) && e.changed < a.floor(until) && e.changed <= a.now {
			rows = append(rows, e)
		}
	}
	slices.SortFunc(rows, func(x, y entry) int { return cmp.Compare(y.changed, x.changed) })
	if a.cap > 0 && len(rows) > a.cap {
		rows = rows[:a.cap]
	}
	a.write(w, n, rows, "", drover.SIEMDetections)
}

// odata is Graph, and Defender for Endpoint: that one shows the newest first and
// gives no links unless it is told to.
func (a *api) odata(w http.ResponseWriter, r *http.Request, n int, s drover.SourceID) {
	q := r.URL.Query()
	for _, term := range strings.Split(q.Get("$filter"), " and ") {
		member, _, _ := strings.Cut(term, " ")
		if !slices.Contains(filters[s], member) || a.noConditions && !strings.HasPrefix(member, "lastUpdate") {
			w.WriteHeader(400)
			fmt.Fprint(w, `{"error":{"code":"BadRequest","message":"Invalid filter clause"}}`)
			return
		}
	}
	if s == drover.MDEAlerts && (q.Get("$expand") != "evidence" || q.Has("$orderby")) || s == drover.GraphIncidents && q.Has("$expand") {
		w.WriteHeader(400)
		return
	}
	var rows []entry
	for _, e := range a.entries {
		if a.matches(e, q.Get("$filter")) {
			rows = append(rows, e)
		}
	}
	slices.SortStableFunc(rows, func(x, y entry) int {
		return cmp.Or(cmp.Compare(x.changed, y.changed), strings.Compare(x.id, y.id))
	})
	order := a.order
	if s == drover.MDEAlerts {
		order = cmp.Or(order, "desc")
	}
	switch order {
	case "desc":
		slices.Reverse(rows)
	case "shuffled":
		slices.SortStableFunc(rows, func(x, y entry) int { return strings.Compare(x.id[len(x.id)-1:], y.id[len(y.id)-1:]) })
	}
	top, err := strconv.Atoi(q.Get("$top"))
	if err != nil {
		top = 100
	}
	refuse := map[drover.SourceID]int{drover.GraphIncidents: 50, drover.MDEAlerts: 10_000}[s]
	if a.refuseTop > 0 {
		refuse = a.refuseTop
	}
	if refuse > 0 && top > refuse {
		w.WriteHeader(400)
		fmt.Fprintf(w, `{"error":{"code":"","message":"The query specified in the URI is not valid. The limit of '%d' for Top query has been exceeded. The value from the incoming request is '%d'."}}`, refuse, top)
		return
	}
	top = max(top, a.least)
	if a.clamp > 0 {
		top = min(top, a.clamp)
	}
	skip, _ := strconv.Atoi(q.Get("$skip"))
	if a.deafToSkip {
		skip = 0
	}
	if a.skipLimit > 0 && skip > a.skipLimit {
		w.WriteHeader(400)
		fmt.Fprint(w, `{"error":{"code":"BadRequest","message":"Query option 'SkipToken' is not allowed"}}`)
		return
	}
	next := ""
	link := func(skip int) string {
		v := url.Values{}
		for k := range q {
			v.Set(k, q.Get(k))
		}
		v.Set("$skip", strconv.Itoa(skip))
		return "https://" + r.Host + r.URL.Path + "?" + v.Encode()
	}
	if a.emptyHead && !q.Has("$skip") {
		a.write(w, n, nil, link(0), s)
		return
	}
	if a.cap > 0 {
		rows = rows[:min(a.cap, len(rows))]
	}
	rows = rows[min(skip, len(rows)):]
	if len(rows) > top {
		rows, next = rows[:top], link(skip+top)
	}
	if a.noLinks || s == drover.MDEAlerts && !a.links {
		next = ""
	}
	a.write(w, n, rows, next, s)
}

// filters are what may be asked for.
var filters = map[drover.SourceID][]string{
	drover.GraphAlerts:    {"lastUpdateDateTime", "severity", "status", "serviceSource"},
	drover.GraphIncidents: {"lastUpdateDateTime", "severity", "status"},
	drover.MDEAlerts:      {"lastUpdateTime", "severity", "status"},
}

func (a *api) matches(e entry, filter string) bool {
	for _, term := range strings.Split(filter, " and ") {
		f := strings.SplitN(term, " ", 3)
		if len(f) != 3 {
			continue
		}
		if f[0] == "lastUpdateDateTime" || f[0] == "lastUpdateTime" {
			lit, have := a.floor(at(f[2])), e.changed
			if a.coarse > 0 {
				have = a.floor(have)
			}
			if f[1] == "ge" && have < lit || f[1] == "lt" && have >= lit {
				return false
			}
			continue
		}
		have, lit := map[string]string{"severity": e.severity, "serviceSource": e.product, "status": cmp.Or(e.state, "new")}[f[0]], strings.Trim(f[2], "'")
		if eq := have == lit || pascal(have) == lit; eq != (f[1] == "eq") {
			return false
		}
	}
	return true
}

func (a *api) write(w http.ResponseWriter, n int, rows []entry, next string, s drover.SourceID) {
	var b bytes.Buffer
	siem := s == drover.SIEMDetections
	if !siem {
		b.WriteString(`{"@odata.context":"x",`)
		if next != "" {
			if a.rename != nil {
				next = a.rename(next)
			}
			link, _ := json.Marshal(next)
			fmt.Fprintf(&b, `"@odata.nextLink":%s,`, link)
		}
		b.WriteString(`"value":`)
	}
	b.WriteByte('[')
	for i, e := range rows {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(e.json(s))
		a.served[alert{e.id, e.changed}] = true
	}
	b.WriteByte(']')
	if !siem {
		b.WriteByte('}')
	}
	body := b.Bytes()
	if a.rewrite != nil {
		body = a.rewrite(n, body)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(body)
}

// direct calls a handler without a network.
type direct struct{ h http.Handler }

func (d direct) Do(ctx context.Context, r httpx.Request) (*httpx.Response, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	req := httptest.NewRequest(http.MethodGet, r.URL, nil)
	for k, v := range r.Header {
		req.Header[k] = v
	}
	req.Header.Set("Authorization", "Bearer "+r.Bearer.Reveal())
	rec := httptest.NewRecorder()
	d.h.ServeHTTP(rec, req)
	server := drover.NoInstant
	if t, err := http.ParseTime(rec.Header().Get("Date")); err == nil {
		server = drover.InstantOf(t)
	}
	return &httpx.Response{Status: rec.Code, Header: rec.Header(), Body: rec.Body.Bytes(), Server: server}, nil
}

// purse gives tokens and counts.
type purse struct {
	mu      sync.Mutex
	given   int
	renewed int
}

func (p *purse) Token(context.Context, drover.Tenant, drover.SourceID) (drover.Secret, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.given++
	return drover.NewSecret(fmt.Sprintf("token-%d", p.renewed)), nil
}

func (p *purse) Invalidate(_ drover.Tenant, _ drover.SourceID, token drover.Secret) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if token.Reveal() == fmt.Sprintf("token-%d", p.renewed) {
		p.renewed++
	}
}

func options(a *api) Options {
	return Options{
		HTTP:   func(drover.Tenant) (Doer, error) { return direct{a}, nil },
		Tokens: &purse{},
		Host:   func(drover.Tenant) (string, error) { return base, nil },
		Now:    func() time.Time { return a.now.Time() },
	}
}

func tenant() drover.Tenant { return drover.Tenant{ID: tenantA, Name: "contoso"} }

// result is what a pass gave.
type result struct {
	rows    map[alert]bool
	raw     map[string]int // how often each body was returned
	skipped []drover.Skipped
	absent  []string
	through drover.Instant
	done    bool
	pages   int
	errs    []error
}

// read runs a pass to its end, at most steps calls long. Errors that may pass
// are tried again up to tries times in a row.
func read(t testing.TB, s drover.Source, span drover.Span, steps, tries int) result {
	t.Helper()
	out := result{rows: make(map[alert]bool), raw: make(map[string]int), through: drover.NoInstant}
	p := s.Read(tenant(), span)
	failed := 0
	for range steps {
		page, err := p.Next(t.Context())
		if err != nil {
			out.errs = append(out.errs, err)
			var e *drover.Error
			if !errors.As(err, &e) || e.Tenant != tenantA || e.Op == "" {
				t.Fatalf("an error that is no *drover.Error of the tenant: %v", err)
			}
			if failed++; failed > tries || e.Kind == drover.Denied || e.Kind == drover.Broken {
				return out
			}
			continue
		}
		failed = 0
		out.pages++
		if page.Through < out.through {
			t.Fatalf("Through went back from %s to %s", out.through, page.Through)
		}
		out.through = page.Through
		for i := range page.Rows {
			r := &page.Rows[i]
			out.rows[alert{r.ID, r.Changed}] = true
			out.raw[string(r.Raw)]++
		}
		out.skipped = append(out.skipped, page.Skipped...)
		out.absent = append(out.absent, page.Absent...)
		if page.Done {
			out.done = true
			return out
		}
	}
	t.Fatalf("the pass has no end: %d pages", out.pages)
	return out
}

// missing lists alerts of want that are not in the result.
func (r result) missing(want []entry) (lost []string) {
	for _, e := range want {
		if !r.rows[alert{e.id, e.changed}] {
			lost = append(lost, e.id+"@"+e.changed.String())
		}
	}
	return lost
}

// entries makes n alerts, step apart, with ID prefix.
func entries(prefix string, n int, from drover.Instant, step time.Duration) (out []entry) {
	for i := range n {
		out = append(out, entry{id: fmt.Sprintf("%s%05d", prefix, i), changed: from.Add(time.Duration(i) * step),
			severity: severities[i%len(severities)], product: products[i%len(products)], state: []string{"new", "inProgress", "resolved"}[i/len(severities)%3]})
	}
	return out
}

// sources are all of them, in pages of a size where that can be asked for.
var sources = map[drover.SourceID]func(o Options) drover.Source{
	drover.GraphAlerts:    func(o Options) drover.Source { return NewGraphAlerts(o) },
	drover.GraphIncidents: func(o Options) drover.Source { return NewGraphIncidents(o) },
	drover.MDEAlerts:      func(o Options) drover.Source { return NewMDEAlerts(o) },
	drover.SIEMDetections: func(o Options) drover.Source { return NewSIEMDetections(o) },
}

// paged are those that take a page size.
var paged = []drover.SourceID{drover.GraphAlerts, drover.GraphIncidents, drover.MDEAlerts}

// of builds a source that asks for pages of a size, 0 for its own.
func of(s drover.SourceID, a *api, size int) drover.Source {
	o := options(a)
	if o.PageSize = size; s == drover.SIEMDetections {
		o.PageSize = 0
	}
	return sources[s](o)
}

func mde(a *api) *Listing { return NewMDEAlerts(options(a)) }
