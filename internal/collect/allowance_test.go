package collect_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"drover"
	"drover/internal/proof"
)

func TestAPlaceThatIsThrottledForEverHoldsNobody(t *testing.T) {
	story(t, 1, func(w *world) {
		now := time.Now()
		bad := drover.InstantOf(now.Add(30 * time.Minute))
		early, until := 0, time.Time{}
		w.api.fail = func(_ drover.TenantID, s drover.Span) error {
			if time.Now().Before(until) {
				early++
			}
			if s.Contains(bad) && time.Since(now) > 31*time.Minute {
				until = time.Now().Add(5 * time.Minute)
				return &drover.Error{Op: "read", Kind: drover.Throttled, Wait: 5 * time.Minute, Err: errors.New("503")}
			}
			return nil
		}
		for n := range 180 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n)*time.Minute)))
		}
		w.begin()
		w.pass(6 * time.Hour)
		if got := w.ledgered(0); !slices.Contains(got, "a179/0") {
			t.Errorf("the tail is held: %d revisions", len(got))
		}
		if early > 0 {
			t.Errorf("%d requests before the time", early)
		}
	})
}

func TestNoMinuteSeesMoreRequestsThanAreAllowed(t *testing.T) {
	story(t, 2, func(w *world) {
		w.most, w.api.page = 30, 5
		now := time.Now()
		for n := range 2000 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n-2400)*time.Minute)))
		}
		w.begin()
		w.pass(time.Hour)
		if got := w.ledgered(0); len(got) != 2000 {
			t.Errorf("%d of 2000 revisions in an hour", len(got))
		}
		w.api.mu.Lock()
		defer w.api.mu.Unlock()
		times := w.api.asked[tenantID(0)]
		for i, from := range times {
			n, _ := slices.BinarySearchFunc(times, from.Add(time.Minute), time.Time.Compare)
			if n-i > w.most {
				t.Fatalf("%d requests in the minute from %s", n-i, from)
			}
		}
		if n := len(w.api.asked[tenantID(1)]); n < 58 {
			t.Errorf("the other tenant was read %d times in an hour", n)
		}
	})
}

func TestNoHourSeesMoreRequestsThanAreAllowed(t *testing.T) {
	story(t, 2, func(w *world) {
		w.perHour, w.api.page = 150, 5
		now := time.Now()
		for n := range 2000 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n-2400)*time.Minute)))
		}
		w.begin()
		w.pass(20 * time.Hour)
		if got := w.ledgered(0); len(got) != 2000 {
			t.Errorf("%d of 2000 revisions in twenty hours", len(got))
		}
		w.api.mu.Lock()
		defer w.api.mu.Unlock()
		for n := range 2 {
			times := w.api.asked[tenantID(n)]
			for i, from := range times {
				end, _ := slices.BinarySearchFunc(times, from.Add(time.Hour), time.Time.Compare)
				if end-i > w.perHour {
					t.Fatalf("tenant %d: %d requests in the hour from %s", n, end-i, from)
				}
			}
			if len(times) < 10*60 {
				t.Errorf("tenant %d was read %d times in twenty hours", n, len(times))
			}
		}
	})
}

func TestAThrottledFeedWaitsAsToldAndTheOthersDoNot(t *testing.T) {
	early, others, told := 0, 0, 0
	story(t, 2, func(w *world) {
		now := time.Now()
		var until time.Time
		w.api.fail = func(id drover.TenantID, _ drover.Span) error {
			if id != tenantID(0) || time.Since(now) < 10*time.Minute {
				return nil
			}
			if time.Now().Before(until) {
				early++
			}
			until = time.Now().Add(7 * time.Minute)
			told++
			return &drover.Error{Op: "read", Kind: drover.Throttled, Wait: 7 * time.Minute, Err: errors.New("429")}
		}
		w.begin()
		w.pass(70 * time.Minute)
		w.api.mu.Lock()
		defer w.api.mu.Unlock()
		if early > 0 {
			t.Errorf("%d requests before the time", early)
		}
		if others = len(w.api.asked[tenantID(1)]); others < 65 {
			t.Errorf("the other tenant was read %d times in 70 minutes", others)
		}
	})
	proof.Ran(t, "P25", "requests before the time %d of %d that were told to wait; the other tenant was read %d times in 70 minutes", early, told, others)
}

func TestAStartWithManyTenantsIsSpread(t *testing.T) {
	most := 0
	story(t, 200, func(w *world) {
		start := time.Now()
		w.begin()
		w.pass(10 * time.Second)
		perSecond := make(map[int]int)
		w.api.mu.Lock()
		defer w.api.mu.Unlock()
		for _, times := range w.api.asked {
			perSecond[int(times[0].Sub(start).Seconds())]++
		}
		for s, n := range perSecond {
			most = max(most, n)
			if n > 60 {
				t.Errorf("%d tenants were first read in second %d", n, s)
			}
		}
		if len(w.api.asked) < 150 {
			t.Errorf("only %d tenants were read in 10 s", len(w.api.asked))
		}
	})
	proof.Ran(t, "L02", "200 tenants, at most %d first reads in a second", most)
}
