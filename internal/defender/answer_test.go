package defender

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"drover"
	"drover/internal/proof"
)

// once answers request n with a status and a body, and the others as usual.
func once(n int, status int, body string, header ...string) func(*api, int, http.ResponseWriter, *http.Request) bool {
	return func(_ *api, m int, w http.ResponseWriter, _ *http.Request) bool {
		if m != n {
			return false
		}
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
		return true
	}
}

// ops are what the sources say they do.
var ops = map[drover.SourceID]string{drover.GraphAlerts: "read alerts", drover.GraphIncidents: "read incidents", drover.MDEAlerts: "read alerts", drover.SIEMDetections: "read detections"}

func TestAnAnswerThatIsNoPageMovesNothing(t *testing.T) {
	want := entries("a", 25, t0, time.Second)
	dealt, moves, lost := 0, 0, 0
	for name, tt := range map[string]struct {
		status int
		body   string
		header []string
		kind   drover.Kind
	}{
		"200 and an error object":   {200, `{"error":{"code":"UnknownError","message":""}}`, nil, drover.Transient},
		"200 and nothing":           {200, ``, nil, drover.Transient},
		"200 and null":              {200, `null`, nil, drover.Transient},
		"200 without value":         {200, `{}`, nil, drover.Transient},
		"200 and value is null":     {200, `{"value":null}`, nil, drover.Transient},
		"204":                       {204, ``, nil, drover.Transient},
		"200 and a sign-in page":    {200, `<!DOCTYPE html><html>`, []string{"Content-Type", "text/html"}, drover.Transient},
		"a web page called JSON":    {200, "\n<html>", []string{"Content-Type", "application/json"}, drover.Transient},
		"302 to a sign-in page":     {302, ``, []string{"Location", "https://evil.example/"}, drover.Transient},
		"401 from a sign-in page":   {401, `<html>`, []string{"Content-Type", "text/html"}, drover.Transient},
		"407":                       {407, ``, nil, drover.Transient},
		"429 that says how long":    {429, `{"error":{"code":"TooManyRequests"}}`, []string{"Retry-After", "2.128"}, drover.Throttled},
		"500 with an empty message": {500, `{"error":{"code":"UnknownError","message":""}}`, nil, drover.Transient},
		"502 and a web page":        {502, `<html>`, []string{"Content-Type", "text/html"}, drover.Transient},
		"a page that is cut":        {200, `{"value":[{"id":"a"`, nil, drover.Transient},
	} {
		for id := range sources {
			for n := 1; n <= 3; n++ {
				t.Run(fmt.Sprintf("%s, %s, request %d", id, name, n), func(t *testing.T) {
					a := newAPI(want...)
					a.answer = once(n, tt.status, tt.body, tt.header...)
					p := of(id, a, 10).Read(tenant(), open)
					through := open.From
					for {
						page, err := p.Next(t.Context())
						if page.Done {
							if len(a.requests) >= n {
								t.Error("taken for a page")
							}
							return
						}
						if err != nil {
							var e *drover.Error
							if !errors.As(err, &e) || e.Kind != tt.kind || e.Tenant != tenantA || e.Op != ops[id] {
								t.Errorf("got %#v", err)
							}
							if tt.kind == drover.Throttled && e.Wait < 2128*time.Millisecond {
								t.Errorf("wait %s", e.Wait)
							}
							dealt++
							if page.Through > through || len(page.Rows) > 0 || page.Done {
								moves++
							}
							break
						}
						through = page.Through
					}
					page, err := p.Next(t.Context()) // the step that failed is repeated
					if err != nil || page.Through < through {
						t.Fatalf("through %s after %s, %v", page.Through, through, err)
					}
					a2 := newAPI(want...)
					a2.answer = once(n, tt.status, tt.body, tt.header...)
					got := read(t, of(id, a2, 10), open, 100, 1)
					lost += len(got.missing(want))
					if lost := got.missing(want); !got.done || len(lost) > 0 {
						t.Errorf("done %v, lost %v", got.done, lost)
					}
				})
			}
		}
	}
	if moves > 0 {
		t.Errorf("%d answers moved something", moves)
	}
	proof.Ran(t, "P19", "cursor moves %d by %d answers of four sources that are no page; lost %d", moves, dealt, lost)
}

func TestJSONOfAnotherTypeIsStillAPage(t *testing.T) {
	want := entries("a", 5, t0, time.Second)
	a := newAPI(want...)
	a.answer = func(a *api, n int, w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "text/plain")
		return false
	}
	whole(t, a, read(t, graph(a, 10), open, 100, 0), want)
}

func TestAPartialAnswerLeavesAGapForTheProviderAndMissingLicencesAreCoverage(t *testing.T) {
	want := entries("a", 15, t0, time.Second)
	for id := range sources {
		a := newAPI(want...)
		a.answer = func(_ *api, n int, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Add("Warning", `199 - "Microsoft/IPC/504/10001", 199 - "Microsoft/MCAS/403/12"`)
			w.Header().Add("Warning", `199 - "Vendor\x00/Odd/nonsense/1"`)
			return false
		}
		got := read(t, of(id, a, 10), open, 100, 0)
		whole(t, a, got, want)
		if !slices.Contains(got.absent, "Microsoft/MCAS") || slices.Contains(got.absent, "Microsoft/IPC") {
			t.Errorf("absent %q", got.absent)
		}
		at := open.From
		for _, s := range got.skipped {
			switch s.Provider {
			case "Microsoft/IPC":
				if s.Span.From != at {
					t.Errorf("a gap from %s, want from %s", s.Span.From, at)
				}
				at = s.Span.To
			case "Microsoft/MCAS":
				t.Error("what is not licensed is no gap")
			}
		}
		if at != got.through {
			t.Errorf("the gaps reach to %s, the pass to %s", at, got.through)
		}
	}
	t.Run("206 that names nobody", func(t *testing.T) {
		a := newAPI()
		a.answer = once(1, 206, `{"value":[]}`)
		got := read(t, graph(a, 10), open, 10, 0)
		if !got.done || len(got.skipped) != 1 || got.skipped[0].Provider == "" {
			t.Errorf("got %+v", got)
		}
	})
}

func always(status int) func(*api, int, http.ResponseWriter, *http.Request) bool {
	return func(_ *api, _ int, w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(status); return true }
}
