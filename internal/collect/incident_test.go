package collect_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"drover"
	"drover/internal/proof"
)

func TestADeniedFeedIsParkedProbedRarelyAndHealsByItself(t *testing.T) {
	probes, lost, others := 0, 0, 0
	story(t, 2, func(w *world) {
		now := time.Now()
		var healed atomic.Bool
		w.api.fail = func(id drover.TenantID, _ drover.Span) error {
			if id == tenantID(0) && !healed.Load() && time.Since(now) > 5*time.Minute {
				return &drover.Error{Op: "read", Kind: drover.Denied, Hint: "consent may have been withdrawn", Err: errors.New("403")}
			}
			return nil
		}
		w.begin()
		w.pass(6 * time.Minute)
		before, beside := w.api.times(0), w.api.times(1)
		w.pass(6 * time.Hour)
		if probes = w.api.times(0) - before; probes > 14 {
			t.Errorf("%d probes in 6 hours", probes)
		}
		if others = w.api.times(1) - beside; others < 350 {
			t.Errorf("the other feed was read %d times in 6 hours", others)
		}
		if p := w.state(0).Parked; !strings.Contains(p, "consent") {
			t.Errorf("parked for %q", p)
		}
		w.api.add(tenantID(0), at("missed", time.Now().Add(-time.Hour)))
		healed.Store(true)
		w.pass(90 * time.Minute)
		if got := w.ledgered(0); len(got) != 1 || w.state(0).Parked != "" {
			t.Errorf("after it healed: %v, parked %q", got, w.state(0).Parked)
			lost++
		}
	})
	proof.Ran(t, "P33", "%d probes in 6 hours, the other feed read %d times; lost %d when it had healed", probes, others, lost)
}

func TestADeniedAppIsOneIncidentWithOneProbe(t *testing.T) {
	story(t, 30, func(w *world) {
		w.every = 2 * time.Minute
		now := time.Now()
		var healed atomic.Bool
		w.api.fail = func(drover.TenantID, drover.Span) error {
			if !healed.Load() && time.Since(now) > 10*time.Minute {
				return &drover.Error{Op: "read", Kind: drover.Denied, App: true, Err: errors.New("AADSTS7000222")}
			}
			return nil
		}
		w.begin()
		w.pass(12 * time.Minute)
		if n := w.count("incident"); n != 1 {
			t.Errorf("%d incidents", n)
		}
		asked := func() (n int) {
			for i := range 30 {
				n += w.api.times(i)
			}
			return n
		}
		before := asked()
		w.pass(3 * time.Hour)
		if n := asked() - before; n > 20 {
			t.Errorf("%d requests in 3 hours of one incident", n)
		}
		healed.Store(true)
		w.pass(70 * time.Minute)
		for n := range 30 {
			if w.state(n).Parked != "" {
				t.Errorf("tenant %d is still parked", n)
			}
		}
	})
}

func TestATenantsOwnTroubleDoesNotHoldTheOthersOfItsApp(t *testing.T) {
	denied := &drover.Error{Op: "read", Kind: drover.Denied, Err: errors.New("403")}
	t.Run("when it is the one that asks for all", func(t *testing.T) {
		story(t, 30, func(w *world) {
			now := time.Now()
			var stuck atomic.Pointer[drover.TenantID]
			w.api.fail = func(id drover.TenantID, _ drover.Span) error {
				if s := stuck.Load(); time.Since(now) > 10*time.Minute && (s == nil || *s == id) {
					return denied
				}
				return nil
			}
			w.begin()
			w.pass(3 * time.Hour)
			if n := w.count("incident"); n == 0 {
				t.Fatal("no incident")
			}
			// Whoever asked last stays denied when the others are not any more.
			var last drover.TenantID
			w.api.mu.Lock()
			for id, times := range w.api.asked {
				if last == "" || times[len(times)-1].After(w.api.asked[last][len(w.api.asked[last])-1]) {
					last = id
				}
			}
			w.api.mu.Unlock()
			stuck.Store(&last)
			w.pass(3 * time.Hour)
			held := 0
			for n := range 30 {
				if tenantID(n) != last && w.state(n).Parked != "" {
					held++
				}
			}
			if held > 0 {
				t.Errorf("%d of 29 tenants are held by the trouble of one", held)
			}
		})
	})
	t.Run("when it is one of many, and most are well", func(t *testing.T) {
		story(t, 60, func(w *world) {
			w.api.fail = func(id drover.TenantID, _ drover.Span) error {
				if id < tenantID(12) {
					return denied
				}
				return nil
			}
			w.begin()
			w.pass(time.Hour)
			if n := w.count("incident"); n > 0 {
				t.Errorf("%d incidents of an app that works", n)
			}
			for n := 12; n < 60; n++ {
				if times := w.api.times(n); times < 55 {
					t.Errorf("tenant %d was read %d times in an hour", n, times)
				}
			}
		})
	})
}

// A feed that has failed often waited for its app, asked for all, and was
// refused: its next try is an hour away when another one's success frees it,
// while sweeps are due that it may not begin yet. It must be read then, and take
// no turns in vain.
func TestAFeedThatIsFreedBeforeItsOwnTryIsReadAtOnce(t *testing.T) {
	story(t, 2, func(w *world) {
		var own, app, asked atomic.Bool
		w.api.fail = func(id drover.TenantID, _ drover.Span) error {
			switch {
			case app.Load():
				if id == tenantID(0) { // and from now on all is well
					asked.Store(true)
					own.Store(false)
					app.Store(false)
				}
				return &drover.Error{Op: "read", Kind: drover.Denied, App: true, Err: errors.New("AADSTS7000222")}
			case own.Load() && id == tenantID(0):
				return &drover.Error{Op: "read", Kind: drover.Denied, Err: errors.New("403")}
			}
			return nil
		}
		w.begin()
		w.pass(30 * time.Minute)
		own.Store(true)
		w.pass(4 * time.Hour) // its tries are an hour apart by now
		app.Store(true)
		for range 48 {
			if w.pass(time.Hour); asked.Load() {
				break
			}
		}
		w.pass(15 * time.Minute)
		if !asked.Load() || w.count("incident") == 0 || w.count("incident_over") == 0 {
			t.Errorf("asked for all %v, %d incidents, %d over", asked.Load(), w.count("incident"), w.count("incident_over"))
		}
		for n := range 2 {
			if why := w.state(n).Parked; why != "" {
				t.Errorf("tenant %d is still parked: %s", n, why)
			}
		}
	})
}
