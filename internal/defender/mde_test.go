package defender

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"drover"
)

func queryOf(t *testing.T, raw string) url.Values {
	t.Helper()
	v, err := url.ParseQuery(raw)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestEndpointIsAskedInWindowsBoundedOnBothSidesWithTheEvidence(t *testing.T) {
	want := entries("m", 300, t0.Add(-50*time.Hour), 10*time.Minute)
	a := newAPI(want...)
	got := read(t, mde(a), drover.Span{From: t0.Add(-60 * time.Hour), To: drover.NoInstant}, 200, 0)
	whole(t, a, got, want)
	for _, q := range a.requests {
		v := queryOf(t, q)
		if f := v.Get("$filter"); !strings.HasPrefix(f, "lastUpdateTime ge ") || !strings.Contains(f, " and lastUpdateTime lt ") || v.Get("$expand") != "evidence" || v.Has("$orderby") || v.Has("$select") || v.Has("$count") {
			t.Errorf("asked %q", q)
		}
	}
	if len(a.requests) > 40 {
		t.Errorf("%d requests", len(a.requests))
	}
	if d := a.now.Sub(got.through); d < 0 || d > time.Second {
		t.Errorf("through %s at %s", got.through, a.now)
	}
}

func TestAnEndpointAlertIsKnownByItsIDAndNamesItsTenant(t *testing.T) {
	a := newAPI(entry{id: "da637472900382838869_1364969609", changed: t0, severity: "high", state: "inProgress"})
	s := mde(a)
	page, err := s.Read(tenant(), open).Next(t.Context())
	for err == nil && len(page.Rows) == 0 {
		page, err = s.Read(tenant(), drover.Span{From: t0, To: drover.NoInstant}).Next(t.Context())
	}
	if err != nil || len(page.Rows) != 1 {
		t.Fatal(page, err)
	}
	r := page.Rows[0]
	if r.ID != "da637472900382838869_1364969609" || r.Changed != t0 || r.Created != t0 || r.TenantID != string(tenantA) || r.Severity != "High" || r.Status != "InProgress" || r.Bad != "" {
		t.Errorf("%+v", r)
	}
	if !s.NamesTenant() || s.ID() != drover.MDEAlerts || s.Retention() != 180*24*time.Hour {
		t.Error(s.NamesTenant(), s.ID(), s.Retention())
	}
	if got := fmt.Sprint(Limits(drover.MDEAlerts)); got != "100 1500" {
		t.Errorf("limits %s", got)
	}
}

// A cap may lie below what was asked for: of an answer, of what is found before
// anything is skipped, or another one each time. Whatever the order is, it shows.
func TestASilentCapOfAnyKindIsNoticed(t *testing.T) {
	want := entries("m", 400, t0, 7*time.Second)
	for name, set := range map[string]func(*api){
		"of an answer":                     func(a *api) { a.clamp = 37 },
		"of an answer, oldest first":       func(a *api) { a.clamp, a.order = 37, "asc" },
		"of an answer, no order":           func(a *api) { a.clamp, a.order = 37, "shuffled" },
		"of what is found":                 func(a *api) { a.cap = 37 },
		"of what is found, oldest first":   func(a *api) { a.cap, a.order = 37, "asc" },
		"of what is found, no order":       func(a *api) { a.cap, a.order = 37, "shuffled" },
		"another one each time":            func(a *api) { a.before = func(a *api, n int) { a.clamp = 3 + n*7%40 } },
		"of an answer, offsets refused":    func(a *api) { a.clamp, a.skipLimit = 37, 1 },
		"of two rows, offsets refused":     func(a *api) { a.clamp, a.skipLimit = 2, 1 },
		"of an answer, offsets not heeded": func(a *api) { a.clamp, a.deafToSkip = 37, true },
		"none, offsets not heeded":         func(a *api) { a.deafToSkip = true },
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(want...)
			set(a)
			got := read(t, mde(a), open, 5000, 0)
			whole(t, a, got, want)
			if len(got.skipped) > 0 {
				t.Errorf("left out %v", got.skipped)
			}
			t.Log(len(a.requests), "requests")
		})
	}
}

// More alerts of one instant than an answer shows are told apart by severity and
// status. What still does not fit is left out, and said so.
func TestAnInstantOfEndpointIsDividedOrLeftOut(t *testing.T) {
	rest := slices.Concat(entries("a", 15, t0, time.Second), entries("z", 15, t0.Add(time.Minute), time.Second))
	for name, tt := range map[string]struct {
		ties  []entry
		set   func(*api)
		whole bool
	}{
		"by severity and status":         {entries("t", 100, t0.Add(30*time.Second), 0), func(*api) {}, true},
		"not if they are all alike":      {alike(100), func(*api) {}, false},
		"not if no filter is taken":      {entries("t", 100, t0.Add(30*time.Second), 0), func(a *api) { a.noConditions = true }, false},
		"alike, and no more than fit in": {alike(10), func(*api) {}, true},
		"of what is found, as elsewhere": {entries("t", 100, t0.Add(30*time.Second), 0), func(a *api) { a.clamp, a.cap = 0, 9 }, true},
		"alike, of what is found":        {alike(100), func(a *api) { a.clamp, a.cap = 0, 9 }, false},
		"alike, offsets refused, at cap": {alike(100), func(a *api) { a.skipLimit = 1 }, false},
		"divided, offsets refused":       {entries("t", 40, t0.Add(30*time.Second), 0), func(a *api) { a.skipLimit = 1 }, true},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(slices.Concat(rest, tt.ties)...)
			a.clamp = 10
			tt.set(a)
			got := read(t, of(drover.MDEAlerts, a, 10), open, 3000, 0)
			want := rest
			if tt.whole {
				want = slices.Concat(rest, tt.ties)
			}
			whole(t, a, got, want)
			if tt.whole != (len(got.skipped) == 0) {
				t.Errorf("left out %v", got.skipped)
			}
			for _, s := range got.skipped {
				if s.Cause != causeUnsplittable || !s.Span.Contains(t0.Add(30*time.Second)) || s.Span.To.Sub(s.Span.From) > windowMin {
					t.Errorf("left out %v", s)
				}
			}
		})
	}
}

// While a moment at the end of what the server has is divided, more comes in: the
// parts that were asked before say nothing of it.
func TestWhatComesWhileAnInstantIsDividedIsNotPassedOver(t *testing.T) {
	ties := entries("t", 100, t0, 0)
	late := entry{id: "late", changed: t0.Add(2 * time.Millisecond), severity: "unknown"}
	a := newAPI(slices.Clone(ties)...)
	a.now, a.clamp = t0, 10
	asked := false
	a.before = func(a *api, n int) {
		if asked {
			a.set(late)
			a.now = t0.Add(time.Second)
		}
		asked = asked || n > 1 && strings.Contains(a.requests[n-1], "High") // the last of the severities
	}
	got := read(t, of(drover.MDEAlerts, a, 10), drover.Span{From: t0, To: drover.NoInstant}, 2000, 0)
	whole(t, a, got, ties)
	if !asked || got.through > late.changed && !got.rows[alert{late.id, late.changed}] {
		t.Errorf("divided %v; through %s, and what came at %s was not shown", asked, got.through, late.changed)
	}
}

// alike are alerts that nothing tells apart but their IDs.
func alike(n int) []entry {
	out := entries("t", n, t0.Add(30*time.Second), 0)
	for i := range out {
		out[i].severity, out[i].state = "high", "new"
	}
	return out
}

// A link is an offset into a list that moves: a window of links is read until
// two readings agree.
func TestLinksOfEndpointAreFollowedUntilTwoReadingsAgree(t *testing.T) {
	want := entries("m", 30, t0, time.Second)
	a := newAPI(slices.Clone(want)...)
	a.clamp, a.links = 10, true
	moved := false
	a.before = func(a *api, _ int) {
		if !moved && strings.Contains(a.requests[len(a.requests)-1], "skip=10") {
			// One that was read leaves: all behind it move up by one.
			moved = true
			a.now = a.now.Add(time.Second)
			e := a.entries[29]
			e.changed = a.now
			a.set(e)
		}
	}
	got := read(t, mde(a), open, 200, 0)
	if lost := got.missing(want); !got.done || len(lost) > 0 || !moved {
		t.Errorf("done %v, moved %v, lost %v", got.done, moved, lost)
	}
}

func TestLinksOfEndpointWithoutEndEnd(t *testing.T) {
	for name, next := range map[string]func(n int) string{
		"the same link for ever": func(int) string { return base + mdePath + "?$skip=1" },
		"two links in turn":      func(n int) string { return fmt.Sprintf(base+mdePath+"?$skip=%d", n%2) },
		"always another link":    func(n int) string { return fmt.Sprintf(base+mdePath+"?$skip=%d", n) },
	} {
		for _, row := range []string{"", entry{id: "x", changed: t0, severity: "high"}.json(drover.MDEAlerts)} {
			a := newAPI()
			a.answer = func(_ *api, n int, w http.ResponseWriter, _ *http.Request) bool {
				fmt.Fprintf(w, `{"@odata.nextLink":%q,"value":[%s]}`, next(n), row)
				return true
			}
			got := read(t, mde(a), open, 100, 0)
			if got.done || len(got.errs) != 1 || drover.KindOf(got.errs[0]) != drover.Transient || got.through > open.From || len(a.requests) > windowEmpty+2 {
				t.Errorf("%s, rows %q: done %v, through %s, errors %v, %d requests", name, row, got.done, got.through, got.errs, len(a.requests))
			}
			if row != "" && got.raw[row] != 1 {
				t.Errorf("%s: what was shown was returned %d times", name, got.raw[row])
			}
		}
	}
}

// An API that does not heed the bounds would be asked for ever, ten
// milliseconds at a time.
func TestAnAPIThatKeepsNoBoundsIsNoticed(t *testing.T) {
	old := entries("o", 50, t0.Add(-90*24*time.Hour), time.Second)
	for _, id := range []drover.SourceID{drover.MDEAlerts, drover.SIEMDetections} {
		a := newAPI()
		var rows []string
		for range 1000 / len(old) {
			for _, e := range old {
				rows = append(rows, e.json(id))
			}
		}
		a.answer = func(_ *api, _ int, w http.ResponseWriter, _ *http.Request) bool {
			fmt.Fprintf(w, `{"value":[%s]}`, strings.Join(rows, ","))
			return true
		}
		got := read(t, of(id, a, 0), open, 100, 0)
		if got.done || len(got.errs) != 1 || drover.KindOf(got.errs[0]) != drover.Transient || got.through > open.From || len(a.requests) > 5 {
			t.Errorf("%s: done %v, errors %v, %d requests", id, got.done, got.errs, len(a.requests))
		}
		if lost := got.missing(old); len(lost) > 0 {
			t.Errorf("%s: %d rows that were shown are lost", id, len(lost))
		}
	}
}

func TestAnEndpointWindowThatFailsIsHalved(t *testing.T) {
	want := entries("m", 200, t0, 15*time.Second)
	for name, status := range map[string]int{"500": 500, "504": 504, "413": 413} {
		a := newAPI(want...)
		a.answer = func(_ *api, _ int, w http.ResponseWriter, r *http.Request) bool {
			f := strings.Fields(r.URL.Query().Get("$filter"))
			if at(f[6]).Sub(at(f[2])) > 5*time.Minute {
				w.WriteHeader(status)
				return true
			}
			return false
		}
		got := read(t, mde(a), open, 500, 12)
		if lost := got.missing(want); !got.done || len(lost) > 0 {
			t.Errorf("%s: done %v, lost %d after %d errors", name, got.done, len(lost), len(got.errs))
		}
	}
}

// What an hour of usual reading costs of what is allowed: a read a minute that
// reaches back by a quarter of an hour, and the sweeps.
func TestUsualReadingFitsTheAllowance(t *testing.T) {
	a := newAPI(entries("m", 20*24*7, t0.Add(-7*24*time.Hour), 3*time.Minute)...)
	a.now = t0
	s := mde(a)
	pass := func(back time.Duration) int {
		before := len(a.requests)
		if got := read(t, s, drover.Span{From: a.now.Add(-back), To: drover.NoInstant}, 500, 0); !got.done {
			t.Fatal(got.errs)
		}
		return len(a.requests) - before
	}
	tail, sweep, deep, deepest := pass(15*time.Minute), pass(2*time.Hour), pass(48*time.Hour), pass(7*24*time.Hour)
	hour := 60*tail + 4*sweep + int(math.Ceil(float64(deep)/6+float64(deepest)/24))
	if _, limit := Limits(drover.MDEAlerts); hour > int(limit)/2 {
		t.Errorf("%d requests an hour: %d a read, %d, %d and %d a sweep", hour, tail, sweep, deep, deepest)
	}
	t.Logf("%d requests an hour: %d a read, %d, %d and %d a sweep", hour, tail, sweep, deep, deepest)
}
