package defender

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/proof"

	"pgregory.net/rapid"
)

var open = drover.Span{From: t0.Add(-time.Hour), To: drover.NoInstant}

func graph(a *api, size int) *Graph {
	o := options(a)
	o.PageSize = size
	return NewGraphAlerts(o)
}

// whole checks that a pass returned everything once, and how far it says it
// came.
func whole(t *testing.T, a *api, got result, want []entry) {
	t.Helper()
	if !got.done || len(got.errs) > 0 {
		t.Fatalf("done %v, errors %v", got.done, got.errs)
	}
	if lost := got.missing(want); len(lost) > 0 {
		t.Fatalf("lost %d of %d rows, first %s", len(lost), len(want), lost[0])
	}
	for raw, n := range got.raw {
		if n > 1 {
			t.Errorf("returned %d times: %.200s", n, raw)
		}
	}
	if got.through > a.now {
		t.Errorf("through %s is ahead of the server's clock %s", got.through, a.now)
	}
}

func TestKeysetAsksAgainFromTheLastTimeAndFollowsNoLink(t *testing.T) {
	want := entries("a", 25, t0, time.Second)
	a := newAPI(want...)
	got := read(t, graph(a, 10), open, 100, 0)
	whole(t, a, got, want)
	if got.through != a.now {
		t.Errorf("through %s, want the server's time %s", got.through, a.now)
	}
	for _, q := range a.requests {
		if strings.Contains(q, "skip") && !strings.Contains(q, "$top=2&$skip=8") { // but for how many rows there are
			t.Errorf("a link was followed: %s", q)
		}
	}
	if n := len(a.requests); n > 6 {
		t.Errorf("%d requests for 25 rows in pages of 10: three, one that brings nothing new, two for the order", n)
	}
}

// A question reaches back by a grain before the span: what lies there is not
// taken for a part of the instant at which the span begins.
func TestRowsJustBeforeTheSpanDoNotHideItsEnd(t *testing.T) {
	for _, before := range []int{1, 2, 3} {
		for _, within := range []int{0, 1, 2} {
			var all, want []entry
			for i := range before {
				all = append(all, entry{id: fmt.Sprint("before", i), changed: t0.Add(-100 * time.Nanosecond)})
			}
			for i := range within {
				want = append(want, entry{id: fmt.Sprint("within", i), changed: t0})
			}
			a := newAPI(append(all, want...)...)
			got := read(t, graph(a, 500), drover.Span{From: t0, To: t0.Add(10 * time.Second)}, 40, 0)
			if !got.done || len(got.errs) > 0 || len(got.skipped) > 0 || len(got.missing(want)) > 0 || len(a.requests) > 6 {
				t.Errorf("%d before, %d within: done %v, errors %v, left out %v, missing %v, %d requests", before, within, got.done, got.errs, got.skipped, got.missing(want), len(a.requests))
			}
		}
	}
}

// A page is checked by the number of rows before its last one: two more rows on
// the wire. Where offsets are refused, ignored or lie, by all of them.
func TestTheOrderIsCheckedByCountingOrElseByReadingAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		set      func(*api)
		requests int // for ten rows in one page
	}{
		"offsets are taken":   {func(*api) {}, 3},
		"offsets are refused": {func(a *api) { a.skipLimit = 1 }, 4},
	} {
		t.Run(name, func(t *testing.T) {
			want := entries("a", 10, t0, time.Second)
			a := newAPI(want...)
			tt.set(a)
			got := read(t, graph(a, 20), open, 100, 0)
			whole(t, a, got, want)
			if len(a.requests) != tt.requests {
				t.Errorf("%d requests, want %d: %q", len(a.requests), tt.requests, a.requests)
			}
		})
	}
}

//citest:plain one story after the other
func TestTiesAcrossAPageEdgeAreReadWhole(t *testing.T) {
	const size = 10
	lost, rows, skipped := 0, 0, 0
	for _, id := range paged {
		for _, n := range []int{1, 2, size - 1, size, size + 1, 10 * size} {
			for name, set := range map[string]func(*api){
				"by offset links":                 func(a *api) { a.clamp, a.links = size, true },
				"clamped, no links":               func(a *api) { a.clamp, a.noLinks = size, true },
				"links refused":                   func(a *api) { a.clamp, a.skipLimit, a.links = size, size, true },
				"times compared in milliseconds":  func(a *api) { a.clamp, a.coarse = size, time.Millisecond },
				"each answer's first page empty":  func(a *api) { a.clamp, a.emptyHead, a.links = size, true, true },
				"$top refused above a page":       func(a *api) { a.refuseTop = size },
				"rows in no order":                func(a *api) { a.order = "shuffled" },
				"rows newest first, a link":       func(a *api) { a.order, a.clamp, a.links = "desc", size, true },
				"rows newest first, cut silently": func(a *api) { a.order, a.clamp, a.noLinks = "desc", size, true },
			} {
				for _, step := range []time.Duration{0, 100 * time.Nanosecond, time.Second / 300} {
					t.Run(fmt.Sprintf("%s, %d rows %s apart, %s", id, n, step, name), func(t *testing.T) {
						want := slices.Concat(entries("a", 15, t0, time.Second), entries("t", n, t0.Add(20*time.Second), step), entries("z", 15, t0.Add(30*time.Second), time.Second))
						a := newAPI(want...)
						set(a)
						got := read(t, of(id, a, size), open, 20000, 0)
						whole(t, a, got, want)
						lost, rows, skipped = lost+len(got.missing(want)), rows+len(want), skipped+len(got.skipped)
						for _, s := range got.skipped {
							if step > 0 || a.clamp == 0 || n <= size {
								t.Errorf("left out %v", s)
							}
						}
					})
				}
			}
		}
	}
	proof.Ran(t, "P14", "lost %d of %d rows of three sources: N = 1, 2, cap-1, cap, cap+1, 10·cap of one time, by nine kinds of API; instants left out %d", lost, rows, skipped)
}

func TestAnInstantThatCannotBeDividedIsLeftOutAndThePassGoesOn(t *testing.T) {
	ties := entries("t", 40, t0.Add(20*time.Second), 0)
	for i := range ties {
		ties[i].severity, ties[i].product = "high", "microsoft365Defender"
	}
	rest := slices.Concat(entries("a", 15, t0, time.Second), entries("z", 15, t0.Add(30*time.Second), time.Second))
	a := newAPI(slices.Concat(rest, ties)...)
	a.clamp, a.noLinks = 10, true
	got := read(t, graph(a, 10), open, 2000, 0)
	whole(t, a, got, rest)
	if len(got.skipped) != 1 || got.skipped[0].Span != (drover.Span{From: t0.Add(20 * time.Second), To: t0.Add(20*time.Second) + 1}) || got.skipped[0].Cause != causeUnsplittable {
		t.Errorf("left out %v", got.skipped)
	}
}

// moving is a story of alerts that change while a pass reads them.
type moving struct {
	size, rows int // of a page; of alerts, many of which share a time
	rate       int // changes before an answer, at most
	noLinks    bool
	desc       bool // the API does not keep the order
	source     drover.SourceID
}

// play tells the story and counts what the pass owes, and what of it is
// missing.
func (m moving) play(rng *rand.Rand, read func(drover.Source) result) (owed int, missing []string) {
	a := newAPI()
	for i := range m.rows {
		a.set(entry{id: fmt.Sprintf("a%03d", i), changed: t0.Add(time.Duration(rng.IntN(1+m.rows/3)) * time.Second / 300), severity: severities[rng.IntN(5)], product: products[rng.IntN(5)]})
	}
	a.clamp, a.noLinks, a.links = m.size, m.noLinks, !m.noLinks
	if m.desc {
		a.order = "desc"
	}
	budget := 40
	a.before = func(a *api, _ int) {
		for range rng.IntN(m.rate + 1) {
			if budget--; budget < 0 {
				return
			}
			a.now = a.now.Add(time.Duration(rng.IntN(2000)) * time.Millisecond)
			e := a.entries[rng.IntN(len(a.entries))]
			e.changed = a.now
			a.set(e)
		}
	}
	got := read(of(m.source, a, m.size*map[bool]int{true: 2, false: 1}[m.source == drover.MDEAlerts])) // as that one follows a link only where less comes than is asked for
	// What was there at the end and not touched later than the pass says it
	// came is owed, save in stretches that it says it left out.
	for _, e := range a.entries {
		if e.changed >= got.through || left(got.skipped, e.changed) {
			continue
		}
		if owed++; !got.rows[alert{e.id, e.changed}] {
			missing = append(missing, fmt.Sprintf("%s changed %s; through %s, skipped %v", e.id, e.changed, got.through, got.skipped))
		}
	}
	// So is every state that an answer showed.
	for s := range a.served {
		if owed++; !got.rows[s] {
			missing = append(missing, fmt.Sprintf("shown and not returned: %v", s))
		}
	}
	return owed, missing
}

func TestLiveUpdatesBetweenPagesLoseNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		m := moving{size: rapid.IntRange(2, 6).Draw(t, "page"), rows: rapid.IntRange(1, 30).Draw(t, "rows"), rate: rapid.IntRange(0, 3).Draw(t, "updates a page"),
			source: rapid.SampledFrom(paged).Draw(t, "source"), noLinks: rapid.Bool().Draw(t, "no links"), desc: rapid.Bool().Draw(t, "out of order")}
		if _, lost := m.play(rng, func(s drover.Source) result { return readRapid(t, s) }); len(lost) > 0 {
			t.Fatal(lost)
		}
	})
}

//citest:plain one story after the other
func TestAThousandStoriesOfAlertsThatMoveBetweenPages(t *testing.T) {
	const stories = 1000
	owed, lost := 0, 0
	for n := range uint64(stories) {
		rng := rand.New(rand.NewPCG(n, 7))
		m := moving{size: 2 + rng.IntN(5), rows: 1 + rng.IntN(30), rate: 1 + rng.IntN(3), desc: n%4 == 3, source: paged[n%3]} // by offset links, as the real one
		o, missing := m.play(rng, func(s drover.Source) result { return readRapid(t, s) })
		if owed, lost = owed+o, lost+len(missing); len(missing) > 0 {
			t.Errorf("story %d: %v", n, missing)
		}
	}
	proof.Ran(t, "P07", "lost %d of %d states over %d stories of three sources with updates between pages, by offset links", lost, owed, stories)
}

func left(skipped []drover.Skipped, i drover.Instant) bool {
	return slices.ContainsFunc(skipped, func(s drover.Skipped) bool { return s.Span.Contains(i) })
}

// failer is a *testing.T or a *rapid.T.
type failer interface {
	Context() context.Context
	Fatal(...any)
	Fatalf(string, ...any)
}

func readRapid(t failer, s drover.Source) result {
	out := result{rows: make(map[alert]bool), through: drover.NoInstant}
	p := s.Read(tenant(), open)
	for range 20000 {
		page, err := p.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if page.Through < out.through {
			t.Fatalf("Through went back from %s to %s", out.through, page.Through)
		}
		out.through = page.Through
		out.skipped = append(out.skipped, page.Skipped...)
		for i := range page.Rows {
			out.rows[alert{page.Rows[i].ID, page.Rows[i].Changed}] = true
		}
		if page.Done {
			return out
		}
	}
	t.Fatal("the pass has no end")
	return out
}

func TestAShortPageIsNotTheLast(t *testing.T) {
	want := entries("a", 40, t0, time.Second)
	lost, rows := 0, 0
	for _, id := range paged {
		for name, set := range map[string]func(*api){
			"clamped":                       func(a *api) { a.clamp = 3 },
			"clamped, no links":             func(a *api) { a.clamp, a.noLinks = 3, true },
			"clamped to one row":            func(a *api) { a.clamp = 1 },
			"clamped to two, no links":      func(a *api) { a.clamp, a.noLinks = 2, true },
			"$top is refused, no links":     func(a *api) { a.refuseTop, a.noLinks = 7, true },
			"$top ignored, all at once":     func(a *api) { a.least = 1000 },
			"$top ignored, and a page of 9": func(a *api) { a.least, a.clamp = 9, 9 },
			"an empty page and a link":      func(a *api) { a.clamp, a.emptyHead = 3, true },
			"clamped anew each time":        func(a *api) { a.before = func(a *api, n int) { a.clamp, a.noLinks = 2+n*7%11, n%3 > 0 } },
		} {
			for _, size := range []int{5, 500} {
				a := newAPI(want...)
				a.links = true
				set(a)
				got := read(t, of(id, a, size), open, 500, 0)
				if lost := got.missing(want); !got.done || len(lost) > 0 {
					t.Errorf("%s, %s, pages of %d: done %v, lost %d", id, name, size, got.done, len(lost))
				}
				if len(got.skipped) > 0 {
					t.Errorf("%s, %s: left out %v", id, name, got.skipped)
				}
				lost, rows = lost+len(got.missing(want)), rows+len(want)
			}
		}
	}
	proof.Ran(t, "P16", "lost %d of %d rows of three sources by APIs that clamp, ignore or refuse $top, or give no link", lost, rows)
}

func TestARefusedTopIsTakenFromTheMessageAndRemembered(t *testing.T) {
	want := entries("a", 40, t0, time.Second)
	for name, body := range map[string]string{"the limit is named": "", "no message": `{"error":{"code":"","message":""}}`, "no number": `{"error":{"code":"","message":"Top is too big"}}`} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(want...)
			a.refuseTop = 20
			refused := 0
			a.answer = func(a *api, n int, w http.ResponseWriter, r *http.Request) bool {
				if top := r.URL.Query().Get("$top"); body == "" || top < "20" || len(top) < 2 || top == "20" {
					return false
				}
				if len(r.URL.Query().Get("$top")) == 2 && r.URL.Query().Get("$top") <= "20" {
					return false
				}
				refused++
				w.WriteHeader(400)
				fmt.Fprint(w, body)
				return true
			}
			s := graph(a, 100)
			whole(t, a, read(t, s, open, 100, 0), want)
			before := len(a.requests)
			whole(t, a, read(t, s, open, 100, 0), want)
			for _, q := range a.requests[before:] {
				if strings.Contains(q, "top=100") {
					t.Error("the refused size was asked for again")
				}
			}
		})
	}
}

func TestAnotherBadRequestIsNotTakenForATopTooBig(t *testing.T) {
	a := newAPI()
	a.answer = func(_ *api, _ int, w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(400)
		fmt.Fprint(w, `{"error":{"code":"BadRequest","message":"Invalid filter clause"}}`)
		return true
	}
	got := read(t, graph(a, 100), open, 10, 3)
	if len(a.requests) != 1 || len(got.errs) != 1 || drover.KindOf(got.errs[0]) != drover.Denied {
		t.Errorf("%d requests, errors %v", len(a.requests), got.errs)
	}
}

func TestRowsThatComeAgainAreCountedAndLeftOut(t *testing.T) {
	for name, set := range map[string]func(*api){"by keyset": func(*api) {}, "in windows": func(a *api) { a.order = "shuffled" }, "through a run": func(a *api) { a.clamp = 3 }} {
		a := newAPI(append(entries("a", 4, t0, 0), entries("b", 4, t0.Add(time.Second), time.Second)...)...)
		set(a)
		p := graph(a, 5).Read(tenant(), open)
		for n, rows := 0, 0; ; n++ {
			page, err := p.Next(t.Context())
			if err != nil || n > 100 {
				t.Fatal(name, n, err)
			}
			if page.Again < 0 || n == 0 && page.Again > 0 {
				t.Errorf("%s: page %d says that %d rows come again", name, n, page.Again)
			}
			if n > 0 && rows > 0 && rows < 8 && len(page.Rows) > 0 && page.Again == 0 && name == "by keyset" {
				t.Errorf("%s: page %d has none of those before", name, n)
			}
			if rows += len(page.Rows); page.Done {
				break
			}
		}
	}
}
