package defender

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"drover"
)

func TestAPersistentFailureAsksForLess(t *testing.T) {
	want := entries("a", 40, t0, time.Second)
	a := newAPI(want...)
	a.answer = func(_ *api, _ int, w http.ResponseWriter, r *http.Request) bool {
		if top := r.URL.Query().Get("$top"); len(top) > 1 || top > "4" {
			w.WriteHeader(500)
			return true
		}
		return false
	}
	got := read(t, graph(a, 32), open, 500, 6)
	if lost := got.missing(want); !got.done || len(lost) > 0 {
		t.Errorf("done %v, lost %d, %d errors", got.done, len(lost), len(got.errs))
	}
}

func TestBytesThatVaryFromReadToReadEndThePassAllTheSame(t *testing.T) {
	a := newAPI(entries("a", 3, t0, 0)...)
	n := 0
	a.rewrite = func(_ int, body []byte) []byte {
		n++
		return []byte(strings.ReplaceAll(string(body), `"status":"new"`, fmt.Sprintf(`"status":"new","live":%d`, n)))
	}
	if got := read(t, graph(a, 10), open, 20, 0); !got.done {
		t.Error("no end")
	}
}

func TestAPageWhoseCheckIsThrottledIsNotReadAgain(t *testing.T) {
	a := newAPI()
	for i := range 20 {
		a.set(entry{id: fmt.Sprintf("da%02d", i), changed: t0.Add(time.Duration(i) * time.Second)})
	}
	late := entry{id: "late", changed: t0.Add(time.Hour + time.Second)}
	a.answer = func(a *api, n int, w http.ResponseWriter, _ *http.Request) bool {
		if n != 2 && n != 3 { // the question that checks the first page
			return false
		}
		a.now = a.now.Add(time.Minute)
		a.set(late)
		w.Header().Set("Retry-After", "2")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	}
	p := graph(a, 100).Read(tenant(), drover.Span{From: t0, To: drover.NoInstant})
	if page, err := p.Next(t.Context()); err != nil || len(page.Rows) != 20 || page.Through != t0 {
		t.Fatalf("%d rows through %s, %v", len(page.Rows), page.Through, err)
	}
	for range 2 {
		if _, err := p.Next(t.Context()); drover.KindOf(err) != drover.Throttled {
			t.Fatalf("got %v", err)
		}
	}
	page, err := p.Next(t.Context())
	if err != nil || len(page.Rows) != 0 || page.Through <= t0 {
		t.Fatalf("%d rows through %s, %v", len(page.Rows), page.Through, err)
	}
	if len(a.requests) != 4 || a.requests[1] != a.requests[2] || a.requests[2] != a.requests[3] {
		t.Errorf("asked %q", a.requests)
	}
	if page.Through > t0.Add(time.Hour) {
		t.Errorf("read through %s, when the page is of %s", page.Through, t0.Add(time.Hour))
	}
}

// A state that an answer has shown may be gone from the next one: it is
// returned even when the question that checks the answer fails.
func TestRowsOfAWholeAnswerAreReturnedThoughItsCheckFails(t *testing.T) {
	for name, tt := range map[string]struct {
		source func(a *api) drover.Source
		rows   []entry
	}{
		"Graph, is it in order": {func(a *api) drover.Source { return graph(a, 100) }, entries("a", 20, t0, time.Second)},
		"Graph, is it all":      {func(a *api) drover.Source { return graph(a, 100) }, entries("a", 5, t0, 0)},
		"incidents, in order":   {func(a *api) drover.Source { return of(drover.GraphIncidents, a, 0) }, entries("a", 20, t0, time.Second)},
		"Endpoint, was it cut":  {func(a *api) drover.Source { return mde(a) }, entries("a", 20, t0, time.Second)},
		"SIEM, was it cut":      {func(a *api) drover.Source { return siem(a) }, entries("a", siemDoubt+10, t0, time.Second)},
	} {
		for kind, status := range map[drover.Kind]int{drover.Transient: 500, drover.Throttled: 429, drover.Denied: 403} {
			t.Run(fmt.Sprintf("%s, %s", name, kind), func(t *testing.T) {
				a := newAPI(tt.rows...)
				a.answer = func(_ *api, n int, w http.ResponseWriter, _ *http.Request) bool {
					if n == 1 {
						return false
					}
					w.WriteHeader(status)
					return true
				}
				p := tt.source(a).Read(tenant(), drover.Span{From: t0.Add(-time.Second), To: t0.Add(10 * time.Minute)})
				page, err := p.Next(t.Context())
				if err != nil || len(page.Rows) != len(tt.rows) || page.Done || page.Through > t0 {
					t.Fatalf("%d of %d rows through %s, done %v, %v", len(page.Rows), len(tt.rows), page.Through, page.Done, err)
				}
				if _, err := p.Next(t.Context()); drover.KindOf(err) != kind {
					t.Errorf("then %v", err)
				}
			})
		}
	}
}
