package defender

import (
	"slices"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/proof"
)

func TestASpanThatIsEmptyIsNoSuccess(t *testing.T) {
	for name, span := range map[string]drover.Span{"both ends equal": {From: t0, To: t0}, "the wrong way round": {From: t0, To: t0 - 1}} {
		a := newAPI()
		for id := range sources {
			s := of(id, a, 10)
			if _, err := s.Read(tenant(), span).Next(t.Context()); drover.KindOf(err) != drover.Broken || len(a.requests) > 0 {
				t.Errorf("%s, %s: %v after %d requests", name, s.ID(), err, len(a.requests))
			}
		}
	}
}

func TestSpansOfAnyKindAreReadWhole(t *testing.T) {
	for name, span := range map[string]drover.Span{"both ends equal": {From: t0, To: t0}, "the wrong way round": {From: t0, To: t0 - 1}} {
		for id := range sources {
			s := of(id, newAPI(), 10)
			if page, err := s.Read(tenant(), span).Next(t.Context()); err == nil || page.Done {
				t.Errorf("%s, %s: taken for a success", name, s.ID())
			}
		}
	}
	spans, lost := 0, 0
	for name, tt := range map[string]struct{ from, at, to string }{
		"one step wide":       {"2026-03-02T08:00:00.0033333Z", "2026-03-02T08:00:00.0033333Z", "2026-03-02T08:00:00.0033334Z"},
		"across the year end": {"2025-12-31T23:59:59Z", "2025-12-31T23:59:59.9999999Z", "2026-01-01T00:00:01Z"},
		"across a clock hour": {"2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z", "2026-03-29T03:30:00Z"},
	} {
		for _, coarse := range []time.Duration{0, time.Millisecond} {
			e := entry{id: "x", changed: at(tt.at), severity: "high"}
			a := newAPI(e)
			a.coarse, a.now = coarse, at("2026-06-01T00:00:00Z")
			for id := range sources {
				s := of(id, a, 10)
				got := read(t, s, drover.Span{From: at(tt.from), To: at(tt.to)}, 100, 0)
				whole(t, a, got, []entry{e})
				if got.through != at(tt.to) {
					t.Errorf("%s, %s: through %s", name, s.ID(), got.through)
				}
				spans, lost = spans+1, lost+len(got.missing([]entry{e}))
			}
			for _, q := range a.requests {
				if strings.Contains(q, "%2B") {
					t.Errorf("%s: a time that is not UTC: %s", name, q)
				}
			}
		}
	}
	proof.Ran(t, "P40", "lost %d in %d spans: a step wide, across a year's end, across a change of clocks; empty ones taken for a success 0 of 8; four sources", lost, spans)
}

func TestAbsurdTimesMoveNothing(t *testing.T) {
	good := entries("a", 5, t0, time.Second)
	odd := []entry{
		{id: "future", changed: at("9999-12-31T23:59:59.9999999Z")},
		{id: "tomorrow", changed: t0.Add(30 * time.Hour)},
		{id: "null", changed: t0.Add(10 * time.Second), raw: `{"id":"null","lastUpdateDateTime":null,"lastUpdateTime":null,"FullId":"null","LastProcessedTimeUtc":null}`},
		{id: "junk", changed: t0.Add(11 * time.Second), raw: `{"id":"junk","lastUpdateDateTime":"soon","lastUpdateTime":"soon","FullId":"junk"}`},
		{id: "bad", changed: t0.Add(12 * time.Second), raw: `{"lastUpdateDateTime":"2026-03-02T08:00:12Z","lastUpdateTime":"2026-03-02T08:00:12Z","LastProcessedTimeUtc":"2026-03-02T08:00:12Z"}`},
	}
	jumps, lost, rows := 0, 0, 0
	for id := range sources {
		for _, noDate := range []bool{false, true} {
			a := newAPI(slices.Concat(good, odd)...)
			a.noDate = noDate
			got := read(t, of(id, a, 3), open, 200, 0)
			whole(t, a, got, good)
			ahead := odd[:2]
			if id == drover.MDEAlerts || id == drover.SIEMDetections {
				ahead = nil // nothing is asked for beyond the server's now
			}
			for _, e := range ahead {
				if !got.rows[alert{e.id, e.changed}] {
					t.Errorf("%s was not returned", e.id)
				}
			}
			for _, e := range odd[2:] {
				if got.raw[e.raw] != 1 {
					t.Errorf("%s was returned %d times", e.id, got.raw[e.raw])
				}
			}
			if noDate && got.through > t0.Add(12*time.Second) || !noDate && (got.through > a.now || got.through < a.now.Add(-time.Minute)) {
				t.Errorf("no Date %v: through %s", noDate, got.through)
				jumps++
			}
			lost, rows = lost+len(got.missing(good))+len(got.missing(ahead)), rows+len(good)+len(ahead)+3
			for _, e := range odd[2:] {
				lost += 1 - got.raw[e.raw]
			}
		}
	}
	proof.Ran(t, "P15", "cursor jumps from bad times %d; lost %d of %d rows of four sources, half of them with a time that is none or far ahead", jumps, lost, rows)
}

// A row that is shown at its place and claims a year long gone ends no pass.
func TestATimeBeforeAllAlertsIsNoBoundThatWasNotKept(t *testing.T) {
	for _, size := range []int{1, 3, 10} {
		good := entries("a", 5, t0, time.Second)
		odd := entry{id: "old", changed: t0.Add(time.Minute), raw: `{"id":"old","lastUpdateDateTime":"0001-01-01T00:00:00Z","tenantId":null}`}
		a := newAPI(append(good, odd)...)
		got := read(t, graph(a, size), open, 200, 0)
		if len(got.errs) > 0 || !got.done || len(got.missing(good)) > 0 || got.raw[odd.raw] != 1 {
			t.Errorf("pages of %d: done %v, errors %v, missing %v, the odd one %d times", size, got.done, got.errs, got.missing(good), got.raw[odd.raw])
		}
	}
}

// The outer bounds of a span are widened, so what lies just outside comes with
// an instant at its edge.
func TestANeighbourOfTheSpansEdgeIsNotAskedForAgainAndAgain(t *testing.T) {
	want := entries("a", 3, t0.Add(-200*time.Nanosecond), 100*time.Nanosecond)
	want[0].severity, want[1].severity, want[2].severity = "low", "high", "low"
	a := newAPI(want...)
	got := read(t, graph(a, 10), drover.Span{From: t0, To: t0.Add(700 * time.Millisecond)}, 200, 0)
	if lost := got.missing(want[2:]); !got.done || len(lost) > 0 || len(a.requests) > 60 {
		t.Errorf("done %v, lost %v, %d requests", got.done, lost, len(a.requests))
	}
}
