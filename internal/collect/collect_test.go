package collect_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/proof"
)

func TestARowThatShowsLateIsFoundByTheOverlapOrASweep(t *testing.T) {
	lates := []time.Duration{0, 5 * time.Minute, 100 * time.Minute, 40 * time.Hour, 6 * 24 * time.Hour}
	var after []time.Duration // it could be seen
	story(t, 1, func(w *world) {
		now := time.Now()
		visible := make(map[string]time.Time)
		for i, late := range lates {
			id := fmt.Sprint("late", i)
			visible[id] = now.Add(time.Minute + late)
			w.api.add(tenantID(0), row{id: id, changed: now.Add(time.Minute), visible: visible[id]})
		}
		w.every = 10 * time.Minute
		w.begin()
		for range 8 * 24 {
			w.pass(time.Hour)
			for _, id := range w.ledgered(0) {
				if at, ok := visible[strings.TrimSuffix(id, "/0")]; ok {
					after = append(after, time.Since(at).Truncate(time.Hour))
					delete(visible, strings.TrimSuffix(id, "/0"))
				}
			}
		}
		if len(visible) > 0 {
			t.Errorf("not found: %v", visible)
		}
		// The one that was 5 minutes late showed before its time had been read
		// over: that is not late.
		if n := w.count("late"); n != 3 {
			t.Errorf("%d counted late, want 3", n)
		}
	})
	slices.Sort(after)
	proof.Ran(t, "P09", "lost %d of %d rows up to 6 days late; found after p50 %s, at most %s", len(lates)-len(after), len(lates), after[len(after)/2], after[len(after)-1])
}

func TestASourceThatGoesBackInTimeIsReadAgainWhenItReturns(t *testing.T) {
	story(t, 1, func(w *world) {
		now := time.Now()
		for n := range 300 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n)*time.Minute)))
		}
		w.begin()
		w.pass(100 * time.Minute)
		// Restored from an older state: the last hour is gone, for an hour; then
		// all is back, and what happened meanwhile as well.
		w.api.mu.Lock()
		all := w.api.rows[tenantID(0)]
		w.api.rows[tenantID(0)] = all[:40:40]
		w.api.mu.Unlock()
		w.pass(time.Hour)
		w.api.mu.Lock()
		w.api.rows[tenantID(0)] = all
		w.api.mu.Unlock()
		w.pass(8 * time.Hour)
		got := w.ledgered(0)
		w.mu.Lock()
		back := w.back
		w.mu.Unlock()
		if len(got) != 300 || back > 0 {
			t.Errorf("%d of 300 revisions, %d cursors went back", len(got), back)
		}
		proof.Ran(t, "P37", "cursors that went back %d; lost %d of 300 after an hour in which the source was an hour older", back, 300-len(got))
	})
}

func TestAFirstReadThatIsInterruptedGoesOnWhereItWas(t *testing.T) {
	story(t, 1, func(w *world) {
		const rows, page = 6000, 50
		now := time.Now()
		for n := range rows {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(-47*time.Hour).Add(time.Duration(n)*time.Second*25)))
		}
		w.api.page = page
		starts, waste := 0, 0
		var held int
		w.keys = func() error { // a process that ends in the middle
			if held++; held%25 == 0 {
				starts++
				w.cancel()
			}
			return nil
		}
		for range 3 {
			w.begin()
			w.pass(time.Second * 5)
			if err := <-w.done; err != nil {
				t.Error(err)
			}
		}
		w.keys, w.cancel = nil, nil
		w.begin()
		w.pass(5 * time.Minute)
		got := w.ledgered(0)
		w.api.mu.Lock()
		served := w.api.served
		w.api.mu.Unlock()
		// The overlap of each start, and of each poll afterwards, holds 36 rows.
		waste = served - rows
		if most := (starts + 6) * (page + 36); len(got) != rows || waste > most || starts != 3 {
			t.Errorf("%d revisions; %d rows read again over %d starts, want at most %d", len(got), waste, starts, most)
		}
		proof.Ran(t, "P38", "lost %d of %d rows of a first read that was interrupted %d times; rows read again %d, a slice is %d and the overlap 36", rows-len(got), rows, starts, waste, page)
	})
}

func TestAPageThatTheLedgerDidNotTakeIsReadAgain(t *testing.T) {
	story(t, 1, func(w *world) {
		now, looked := time.Now(), 0
		w.keys = func() error {
			if looked++; looked%3 == 0 && looked < 12 {
				return errors.New("the disk is busy")
			}
			return nil
		}
		for n := range 400 { // older than the overlap
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n-450)*time.Minute)))
		}
		w.begin()
		w.pass(5 * time.Minute)
		if got := w.ledgered(0); len(got) != 400 || looked < 12 {
			t.Errorf("%d of 400 revisions after %d look-ups", len(got), looked)
		}
	})
}

func TestPagesThatDoNotLeadOnAreNoSuccess(t *testing.T) {
	story(t, 1, func(w *world) {
		now := time.Now()
		bad := drover.InstantOf(now.Add(30 * time.Minute))
		w.api.stuckAt = bad
		for n := range 180 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n)*time.Minute)))
		}
		w.begin()
		w.pass(4 * time.Hour)
		if got := w.ledgered(0); !slices.Contains(got, "a179/0") {
			t.Errorf("the tail is held: %d revisions", len(got))
		}
		if n := w.api.times(0); n > 4*60*3 {
			t.Errorf("%d requests in four hours", n)
		}
	})
}

func TestWithoutAServersClockSweepsGoByWhatHasBeenRead(t *testing.T) {
	story(t, 1, func(w *world) {
		w.api.noDate = true
		now := time.Now()
		for n := range 180 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n)*time.Minute)))
		}
		w.api.add(tenantID(0), row{id: "late", changed: now.Add(10 * time.Minute), visible: now.Add(50 * time.Minute)})
		w.begin()
		w.pass(3 * time.Hour)
		if got := w.ledgered(0); !slices.Contains(got, "late/0") {
			t.Errorf("%d rows, and not the late one", len(got))
		}
	})
}

func TestEmptyReadsWriteNothingAndAreRememberedOverAStop(t *testing.T) {
	story(t, 1, func(w *world) {
		w.begin()
		w.pass(5 * time.Minute)
		first := w.state(0).Whole // with the first read it is written what lies behind the tail
		w.pass(4 * time.Minute)
		if st := w.state(0); st.Whole != first {
			t.Errorf("an empty read was written: %s, after %s", st.Whole, first)
		}
		w.stop()
		if st := w.state(0); !st.Whole.Known() || time.Since(st.Whole.Time()) > 2*time.Minute {
			t.Errorf("whole %s", st.Whole)
		}
	})
}

func TestAPausedTenantIsNotReadAndCatchesUp(t *testing.T) {
	story(t, 1, func(w *world) {
		ctx := context.Background()
		w.begin()
		w.pass(5 * time.Minute)
		if err := w.store.SetTenantState(ctx, tenantID(0), drover.Paused); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute)
		before := w.api.times(0)
		w.api.add(tenantID(0), at("while paused", time.Now()))
		w.pass(time.Hour)
		if n := w.api.times(0); n != before {
			t.Errorf("read %d times while paused", n-before)
		}
		if err := w.store.SetTenantState(ctx, tenantID(0), drover.Active); err != nil {
			t.Fatal(err)
		}
		w.pass(5 * time.Minute)
		if got := w.ledgered(0); len(got) != 1 {
			t.Errorf("ledgered %v", got)
		}
	})
}
