package collect_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"drover"
	"drover/internal/ledger"
	"drover/internal/proof"
)

func TestAStretchThatCannotBeReadBecomesAGapAndTheTailGoesOn(t *testing.T) {
	lost, narrow := 0, time.Duration(0)
	story(t, 1, func(w *world) {
		now := time.Now()
		bad := drover.InstantOf(now.Add(30 * time.Minute))
		var healed atomic.Bool
		w.api.fail = func(_ drover.TenantID, s drover.Span) error {
			if s.Contains(bad) && time.Now().After(now.Add(31*time.Minute)) && !healed.Load() {
				return transient()
			}
			return nil
		}
		for n := range 120 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n)*time.Minute)))
		}
		w.api.add(tenantID(0), row{id: "in the gap", changed: now.Add(30*time.Minute + time.Microsecond), visible: now.Add(35 * time.Minute)})
		w.begin()
		w.pass(2*time.Hour + 30*time.Minute)
		if gaps := w.state(0).Gaps; len(gaps) != 1 || gaps[0].Span.To.Sub(gaps[0].Span.From) > 2*time.Second || !gaps[0].Span.Contains(bad) {
			t.Errorf("open gaps: %v, want one narrow one around %s", gaps, bad)
		} else {
			narrow = gaps[0].Span.To.Sub(gaps[0].Span.From)
		}
		got := w.ledgered(0)
		if !slices.Contains(got, "a119/0") {
			t.Error("the tail did not go on behind the gap")
		}
		if missing := 120 - len(got); missing > 1 {
			t.Errorf("%d rows beside the gap are missing", missing)
		}
		healed.Store(true)
		w.pass(12 * time.Hour)
		if gaps := w.state(0).Gaps; len(gaps) != 0 {
			t.Errorf("still open when it could be read again: %v", gaps)
		}
		if lost = 121 - len(w.ledgered(0)); lost != 0 {
			t.Errorf("%d of 121 revisions are missing at the end", lost)
		}
	})
	proof.Ran(t, "P26", "lost %d of 121 around a place that failed for two hours; the gap was narrowed to %s, and closed", lost, narrow.Round(time.Millisecond))
}

func TestASweepGoesOnBehindWhatCannotBeReadAgain(t *testing.T) {
	story(t, 1, func(w *world) {
		now := time.Now()
		bad := drover.InstantOf(now.Add(30 * time.Minute))
		var healed atomic.Bool
		w.api.fail = func(_ drover.TenantID, s drover.Span) error {
			if s.Contains(bad) && time.Since(now) > 80*time.Minute && !healed.Load() {
				return transient()
			}
			return nil
		}
		for n := range 20 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n)*time.Minute)))
		}
		for i, late := range []time.Duration{20 * time.Minute, 90 * time.Minute, 30 * time.Hour, 60 * time.Hour} {
			w.api.add(tenantID(0), row{id: fmt.Sprint("late", i), changed: now.Add(35 * time.Minute), visible: now.Add(35*time.Minute + late)})
		}
		w.every = 10 * time.Minute
		w.begin()
		w.pass(5 * 24 * time.Hour)
		if got := w.ledgered(0); len(got) != 24 {
			t.Errorf("%d of 24 revisions while the place is bad: %v", len(got), got)
		}
		if gaps := w.state(0).Gaps; len(gaps) != 1 || !gaps[0].Span.Contains(bad) || gaps[0].Span.To.Sub(gaps[0].Span.From) > 2*time.Second {
			t.Errorf("open gaps: %v, want one narrow one around %s", gaps, bad)
		}
		healed.Store(true)
		w.pass(24 * time.Hour)
		if gaps := w.state(0).Gaps; len(gaps) != 0 {
			t.Errorf("still open when it could be read again: %v", gaps)
		}
	})
}

func TestAGapThatGrowsWhileItIsReadIsNotClosedBeforeItsTime(t *testing.T) {
	story(t, 1, func(w *world) {
		now := time.Now()
		w.api.page = 1 // a gap takes many turns
		bad := func(m int) bool { return m > 30 && m <= 60 || m > 64 && m <= 95 }
		w.api.fail = func(_ drover.TenantID, s drover.Span) error {
			// The tail fails but for its newest minutes, twice.
			if from := s.From.Time(); s.Open() && bad(int(time.Since(now).Minutes())) && time.Since(from) > 3*time.Minute {
				return transient()
			}
			return nil
		}
		for n := range 150 {
			for k := range 3 {
				w.api.add(tenantID(0), row{id: fmt.Sprint("a", n, ".", k), changed: now.Add(time.Duration(n)*time.Minute + time.Duration(k)*time.Second), visible: now.Add(time.Duration(n)*time.Minute + time.Duration(k)*time.Second)})
			}
		}
		w.begin()
		w.pass(5 * time.Hour)
		if got := w.ledgered(0); len(got) != 450 {
			t.Errorf("%d of 450 revisions", len(got))
		}
		if w.count("gap_opened") == 0 {
			t.Error("no gap was opened: nothing was tried")
		}
		if gaps := w.state(0).Gaps; len(gaps) > 0 {
			t.Errorf("still open: %v", gaps)
		}
	})
}

func TestAnOutageIsNoGapAndLosesNothing(t *testing.T) {
	story(t, 1, func(w *world) {
		now := time.Now()
		w.api.fail = func(drover.TenantID, drover.Span) error {
			if d := time.Since(now); d > 10*time.Minute && d < 6*time.Hour {
				return transient()
			}
			return nil
		}
		for n := range 500 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n)*time.Minute)))
		}
		w.begin()
		w.pass(10 * time.Hour)
		if got := w.ledgered(0); len(got) != 500 {
			t.Errorf("%d revisions, want 500", len(got))
		}
		if all, _ := w.store.Gaps(context.Background(), ledger.GapFilter{}); len(all) != 0 {
			t.Errorf("gaps: %v", all)
		}
	})
}

func TestAProductThatIsNotLicensedIsToldOnceAndHoldsNothing(t *testing.T) {
	story(t, 1, func(w *world) {
		w.api.absent = []string{"Microsoft/MCAS"}
		w.api.add(tenantID(0), at("a", time.Now()))
		w.begin()
		w.pass(3 * time.Hour)
		if n, gaps := w.count("absent"), w.state(0).Gaps; n != 1 || len(gaps) > 0 || len(w.ledgered(0)) != 1 {
			t.Errorf("told %d times, gaps %v", n, gaps)
		}
	})
}

func TestAMissingProviderIsAGapOfItsOwnThatClosesItself(t *testing.T) {
	waited, lost := 0, 0
	story(t, 1, func(w *world) {
		now := time.Now()
		var back atomic.Bool
		w.api.skipped = func(_ drover.TenantID, s drover.Span) []drover.Skipped {
			if back.Load() {
				return nil
			}
			to := s.To
			if s.Open() {
				to = drover.InstantOf(time.Now())
			}
			return []drover.Skipped{{Span: drover.Span{From: s.From, To: to}, Provider: "Microsoft/MDI", Cause: "did not answer"}}
		}
		for n := range 60 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n)*time.Minute)))
		}
		w.begin()
		w.pass(time.Hour)
		if gaps := w.state(0).Gaps; len(gaps) != 1 || gaps[0].Provider != "Microsoft/MDI" {
			t.Errorf("gaps: %v", gaps)
		}
		// The last two may not have been read yet: two intervals.
		if waited = 58 - min(len(w.ledgered(0)), 58); waited > 0 {
			t.Errorf("the others' rows waited: %d", waited)
		}
		w.api.add(tenantID(0), at("the provider's", now.Add(30*time.Minute)))
		back.Store(true)
		w.pass(8 * time.Hour)
		if gaps := w.state(0).Gaps; len(gaps) != 0 {
			t.Errorf("still open: %v", gaps)
		}
		if lost = 61 - len(w.ledgered(0)); lost != 0 {
			t.Errorf("%d of 61 are missing", lost)
		}
	})
	proof.Ran(t, "P18", "lost %d of 61 after the provider returned; rows that waited more than two intervals for it %d", lost, waited)
}

func TestWhatTheAPIHasForgottenIsRecordedAsAGap(t *testing.T) {
	recorded := 0
	story(t, 1, func(w *world) {
		w.begin()
		w.pass(time.Hour)
		w.stop()
		w.pass(200 * 24 * time.Hour)
		w.begin()
		w.pass(time.Hour)
		gaps := w.state(0).Gaps
		if recorded = len(gaps); recorded != 1 {
			t.Fatalf("gaps: %v", gaps)
		}
		if d := gaps[0].Span.To.Sub(gaps[0].Span.From); d < 19*24*time.Hour || d > 21*24*time.Hour {
			t.Errorf("the gap is %s long, want about 20 days", d)
		}
	})
	proof.Ran(t, "P34", "gaps recorded %d of 1", recorded)
}
