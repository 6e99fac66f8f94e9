package defender

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/proof"

	"pgregory.net/rapid"
)

func siem(a *api) *Listing { return NewSIEMDetections(options(a)) }

func TestWindowsAreBoundedOnBothSidesAndNeverBeyondTheServersNow(t *testing.T) {
	want := entries("d", 300, t0.Add(-50*time.Hour), 10*time.Minute)
	for name, skew := range map[string]time.Duration{"a clock that is right": 0, "5 s ahead": 5 * time.Second, "10 min behind": -10 * time.Minute, "a day ahead": 24 * time.Hour, "in 1970": -56 * 365 * 24 * time.Hour, "in 2100": 74 * 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(want...)
			o := options(a)
			o.Now = func() time.Time { return a.now.Time().Add(skew) }
			got := read(t, NewSIEMDetections(o), drover.Span{From: t0.Add(-60 * time.Hour), To: drover.NoInstant}, 200, 0)
			whole(t, a, got, want)
			if d := a.now.Sub(got.through); d < 0 || d > 11*time.Minute {
				t.Errorf("through %s at %s", got.through, a.now)
			}
			for i, q := range a.requests {
				since, until, ok := window(q)
				if !ok || since >= until || strings.Contains(q, "limit") || strings.Contains(q, "ago") {
					t.Errorf("asked %q", q)
				}
				if i > 0 && until > a.now {
					t.Errorf("asked for %s at %s", until, a.now)
				}
			}
			if len(a.requests) > 60 {
				t.Errorf("%d requests", len(a.requests))
			}
		})
	}
}

func window(q string) (since, until drover.Instant, ok bool) {
	n, err := fmt.Sscanf(strings.NewReplacer("sinceTimeUtc=", "", "&untilTimeUtc=", " ").Replace(q), "%s", new(string))
	parts := strings.Split(strings.NewReplacer("sinceTimeUtc=", "", "untilTimeUtc=", "").Replace(q), "&")
	if n != 1 || err != nil || len(parts) != 2 {
		return 0, 0, false
	}
	since, err1 := drover.ParseInstant(parts[0])
	until, err2 := drover.ParseInstant(parts[1])
	return since, until, err1 == nil && err2 == nil
}

//citest:plain one story after the other
func TestAnAnswerThatKeepsTheNewestOnlyIsHalvedUntilItIsWhole(t *testing.T) {
	lost, rows, asked, allowed := 0, 0, 0, 0
	for _, id := range []drover.SourceID{drover.SIEMDetections, drover.MDEAlerts} {
		for _, limit := range []int{70, 100, 250, 333, 1000, 10000} {
			for name, step := range map[string]time.Duration{"spread": 20 * time.Second, "dense": 50 * time.Millisecond} {
				t.Run(fmt.Sprintf("%s, %d, %s", id, limit, name), func(t *testing.T) {
					n := min(5*limit+3, 5000)
					want := slices.Concat(entries("d", n, t0.Add(-48*time.Hour), step), entries("e", 10, t0, time.Minute))
					a := newAPI(want...)
					a.cap = limit
					got := read(t, of(id, a, 0), drover.Span{From: t0.Add(-72 * time.Hour), To: drover.NoInstant}, 2000, 0)
					whole(t, a, got, want)
					if len(got.skipped) > 0 {
						t.Errorf("left out %v", got.skipped)
					}
					// From 1,000 rows on an answer is taken for cut even if it is not.
					parts := math.Ceil(float64(len(want)) / float64(min(limit, siemFull)))
					most := int(2*parts + math.Log2(float64(a.now.Sub(t0.Add(-72*time.Hour))/drover.Tick)))
					if id == drover.MDEAlerts {
						most *= 2 // each answer that is not full is checked, which costs two rows; one that is longer than any before, by its halves
					}
					if len(a.requests) > most {
						t.Errorf("%d rows, cap %d: %d requests, want at most %d", n, limit, len(a.requests), most)
					}
					lost, rows = lost+len(got.missing(want)), rows+len(want)
					asked, allowed = asked+len(a.requests), allowed+most
				})
			}
		}
	}
	proof.Ran(t, "P17", "lost %d of %d rows of two sources; %d requests, of at most %d", lost, rows, asked, allowed)
}

// A window that was whole may have held just as many rows as the API shows: the
// next one with as many may be cut.
func TestAnAnswerAsLongAsOneThatWasWholeIsCheckedToo(t *testing.T) {
	const limit = 70 // which is in no list
	for _, id := range []drover.SourceID{drover.SIEMDetections, drover.MDEAlerts} {
		want := slices.Concat(entries("a", limit, t0.Add(-5*time.Hour), time.Second), entries("b", 3*limit, t0.Add(-4*time.Hour), 20*time.Second))
		a := newAPI(want...)
		a.cap = limit
		got := read(t, of(id, a, 0), drover.Span{From: t0.Add(-5 * time.Hour), To: t0}, 500, 0)
		whole(t, a, got, want)
		if len(got.skipped) > 0 {
			t.Errorf("%s: left out %v", id, got.skipped)
		}
	}
}

func TestAMomentThatCannotBeHalvedIsLeftOut(t *testing.T) {
	ties, rest := entries("t", 150, t0, 0), entries("r", 20, t0.Add(time.Minute), time.Second)
	a := newAPI(slices.Concat(ties, rest)...)
	a.cap = 100
	got := read(t, siem(a), open, 500, 0)
	whole(t, a, got, rest)
	if len(got.skipped) == 0 || !left(got.skipped, t0) || got.skipped[0].Cause != causeUnsplittable {
		t.Errorf("left out %v", got.skipped)
	}
	if n := len(got.rows); n != 120 {
		t.Errorf("%d rows", n)
	}
}

func TestManyRowsOfAMomentAreReturnedWhenNothingIsCut(t *testing.T) {
	ties := entries("t", 4321, t0, 0)
	got := read(t, siem(newAPI(ties...)), open, 500, 0)
	if lost := got.missing(ties); !got.done || len(lost) > 0 || len(got.skipped) > 0 {
		t.Errorf("done %v, lost %d, left out %v", got.done, len(lost), got.skipped)
	}
}

func TestAWindowIsReturnedInPagesInOrderAndCountsWhenItIsWhole(t *testing.T) {
	want := entries("d", 4500, t0, time.Second)
	a := newAPI(want...)
	a.now = t0.Add(2 * time.Hour)
	o := options(a)
	o.PageSize, o.Caps = 10000, []int{}
	s := NewSIEMDetections(o)
	p := s.Read(tenant(), drover.Span{From: t0, To: t0.Add(90 * time.Minute)})
	last, n := drover.NoInstant, 0
	for {
		page, err := p.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Rows) > windowRows {
			t.Fatalf("%d rows at once", len(page.Rows))
		}
		for _, r := range page.Rows {
			if r.Changed < last {
				t.Fatal("not in order")
			}
			if r.Changed < page.Through && r.Changed < last {
				t.Fatal("a row below Through")
			}
			last = r.Changed
			n++
		}
		if page.Done {
			if page.Through != t0.Add(90*time.Minute) {
				t.Errorf("through %s", page.Through)
			}
			break
		}
	}
	if n != 4500 {
		t.Errorf("%d rows", n)
	}
	if _, err := p.Next(t.Context()); drover.KindOf(err) != drover.Broken {
		t.Errorf("asked behind the end: %v", err)
	}
}

func TestARowOutsideTheWindowIsReturnedAllTheSame(t *testing.T) {
	stray := `{"FullId":"stray","LastProcessedTimeUtc":"2020-01-01T00:00:00Z","AlertTime":"2020-01-01T00:00:00Z","Severity":"Low"}`
	a := newAPI(entry{id: "x", changed: t0, raw: stray})
	if got := read(t, siem(a), open, 20, 0); !got.done || got.raw[stray] != 1 {
		t.Errorf("returned %d times", got.raw[stray])
	}
}

func TestAWindowThatFailsAgainAndAgainIsHalved(t *testing.T) {
	want := entries("d", 200, t0, 15*time.Second)
	for name, status := range map[string]int{"500": 500, "504": 504, "413": 413} {
		a := newAPI(want...)
		a.answer = func(a *api, _ int, w http.ResponseWriter, r *http.Request) bool {
			since, until, _ := window(r.URL.RawQuery)
			if until.Sub(since) > 5*time.Minute {
				w.WriteHeader(status)
				return true
			}
			return false
		}
		got := read(t, siem(a), open, 500, 12)
		if status == 413 {
			// Too large is told apart: the window is halved at once.
			if len(got.errs) == 0 || drover.KindOf(got.errs[0]) != drover.Transient {
				t.Errorf("%s: %v", name, got.errs)
			}
		}
		if lost := got.missing(want); !got.done || len(lost) > 0 {
			t.Errorf("%s: done %v, lost %d after %d errors", name, got.done, len(lost), len(got.errs))
		}
	}
}

func TestDetectionsAreKnownByFullIdAndNameNoTenant(t *testing.T) {
	a := newAPI(entry{id: "da1_1:abc", changed: t0})
	s := siem(a)
	page, err := s.Read(tenant(), drover.Span{From: t0, To: drover.NoInstant}).Next(t.Context())
	if err != nil || len(page.Rows) != 1 {
		t.Fatal(page, err)
	}
	r := page.Rows[0]
	if r.ID != "da1_1:abc" || r.Changed != t0 || r.Created != t0 || r.Severity != "High" || r.TenantID != "" || r.Bad != "" {
		t.Errorf("%+v", r)
	}
	if s.NamesTenant() || !graph(a, 10).NamesTenant() {
		t.Error("detections name no tenant, alerts do")
	}
}

func TestAServerWithoutADateIsReadAndLittleIsClaimed(t *testing.T) {
	want := entries("d", 30, t0, time.Second)
	a := newAPI(want...)
	a.noDate = true
	got := read(t, siem(a), open, 100, 0)
	whole(t, a, got, want)
	if got.through != want[29].changed {
		t.Errorf("through %s, want the newest row's %s", got.through, want[29].changed)
	}
}

func TestDetectionsThatArriveWhileTheyAreReadAreNotLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := newAPI(entries("d", rapid.IntRange(0, 400).Draw(t, "rows"), t0.Add(-5*time.Hour), time.Duration(rapid.IntRange(50, 40000).Draw(t, "step"))*time.Millisecond)...)
		a.cap = rapid.SampledFrom([]int{0, 60, 100, 120}).Draw(t, "cap")
		a.coarse = rapid.SampledFrom([]time.Duration{0, time.Millisecond}).Draw(t, "coarse")
		more := rapid.IntRange(0, 3).Draw(t, "arrive")
		n := 0
		a.before = func(a *api, _ int) {
			a.now = a.now.Add(1500 * time.Millisecond)
			for range more {
				n++
				a.set(entry{id: fmt.Sprintf("new%d", n), changed: a.now})
			}
		}
		p := siem(a).Read(tenant(), drover.Span{From: t0.Add(-6 * time.Hour), To: drover.NoInstant})
		rows := make(map[alert]bool)
		var skipped []drover.Skipped
		for range 3000 {
			page, err := p.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for i := range page.Rows {
				rows[alert{page.Rows[i].ID, page.Rows[i].Changed}] = true
			}
			skipped = append(skipped, page.Skipped...)
			if page.Done {
				for _, e := range a.entries {
					if e.changed < page.Through && !rows[alert{e.id, e.changed}] && !left(skipped, e.changed) {
						t.Fatalf("lost %s changed %s, through %s", e.id, e.changed, page.Through)
					}
				}
				return
			}
		}
		t.Fatal("no end")
	})
}
