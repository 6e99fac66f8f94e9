package collect_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/collect"
	"drover/internal/proof"
)

// hourly gives a tenant a row an hour, a little apart from the others'.
func (w *world) hourly(n int, from time.Time, hours int) {
	for h := range hours {
		w.api.add(tenantID(n), at(fmt.Sprint("h", h), from.Add(time.Duration(h)*time.Hour).Add(time.Duration(n)*time.Minute)))
	}
}

func (w *world) observed(n int) collect.Observed {
	w.Helper()
	o, ok := w.collector.Observed()[feedOf(n)]
	if !ok {
		w.Error("the feed is not seen")
	}
	return o
}

func TestAFeedWhoseTokenSeesNothingIsSaidToBeSilent(t *testing.T) {
	story(t, 1, func(w *world) {
		now := time.Now()
		w.every = 5 * time.Minute
		w.startsAt(0, now.Add(-20*24*time.Hour)) // what is usual is learnt from the past
		w.hourly(0, now.Add(-19*24*time.Hour), 20*24)
		w.begin()
		w.pass(24*time.Hour - 10*time.Minute)
		if o := w.observed(0); o.Silent || o.Usual != time.Hour || time.Since(o.Since.Time()) > time.Hour+10*time.Minute {
			t.Errorf("while rows come: %+v", o)
		}
		w.pass(70 * time.Minute)
		if n := w.count("silent"); n > 0 {
			t.Error("said after one usual silence")
		}
		// After a restart in the middle it is known from the ledger.
		w.stop()
		w.begin()
		w.pass(time.Hour + 10*time.Minute)
		if o := w.observed(0); !o.Silent || w.count("silent") != 1 {
			t.Errorf("after %s: %+v, said %d times", time.Since(o.Since.Time()), o, w.count("silent"))
		}
		w.pass(24 * time.Hour)
		w.api.add(tenantID(0), at("again", time.Now()))
		w.pass(10 * time.Minute)
		if o := w.observed(0); o.Silent || w.count("silent") != 1 || w.count("heard") != 1 {
			t.Errorf("with rows again: %+v, said %d times", o, w.count("silent"))
		}
	})
}

func TestAFeedThatCannotBeReadIsNotSilent(t *testing.T) {
	story(t, 1, func(w *world) {
		now := time.Now()
		w.every = 5 * time.Minute
		w.startsAt(0, now.Add(-20*24*time.Hour))
		w.hourly(0, now.Add(-19*24*time.Hour), 19*24)
		w.api.fail = func(_ drover.TenantID, s drover.Span) error {
			if time.Since(now) > 30*time.Minute {
				return &drover.Error{Op: "read", Kind: drover.Denied}
			}
			return nil
		}
		w.begin()
		w.pass(24 * time.Hour)
		if n := w.count("silent"); n != 0 {
			t.Errorf("said %d times", n)
		}
	})
}

func TestWhatIsSilentInAllTenantsAtOnceIsOneIncident(t *testing.T) {
	const tenants = 5
	incidents, single, took := 0, 0, time.Duration(0)
	story(t, tenants, func(w *world) {
		now := time.Now()
		w.every = 5 * time.Minute
		for n := range tenants { // one every 12 minutes, of all together
			w.startsAt(n, now.Add(-25*24*time.Hour))
			for h := range 25 * 24 {
				w.api.add(tenantID(n), at(fmt.Sprint("h", h), now.Add(-24*24*time.Hour).Add(time.Duration(h)*time.Hour).Add(time.Duration(n)*12*time.Minute)))
			}
		}
		w.begin()
		w.pass(24*time.Hour - 10*time.Minute)
		if w.count("source_silent")+w.count("silent") > 0 {
			t.Error("said while rows come")
		}
		last := w.observed(tenants - 1).Since.Time()
		for w.count("source_silent") == 0 && time.Since(last) < 6*time.Hour {
			w.pass(time.Minute)
		}
		took = time.Since(last)
		w.pass(48 * time.Hour)
		incidents, single = w.count("source_silent")/tenants, w.count("silent")
		if n := len(w.collector.SilentSources()); n != 1 || incidents != 1 || single != 0 {
			t.Errorf("%d sources are silent, %d feeds said each for itself", n, single)
		}
		if took > 50*time.Minute {
			t.Errorf("said after %s, all together are usually silent for 15 minutes at most", took)
		}
		w.api.add(tenantID(2), at("again", time.Now()))
		w.pass(20 * time.Minute)
		if len(w.collector.SilentSources()) != 0 || w.count("source_heard") != tenants {
			t.Errorf("silent: %+v", w.collector.SilentSources())
		}
		// What stays silent now is each tenant's own.
		if n := w.count("silent"); n != tenants-1 {
			t.Errorf("%d feeds are said to be silent, want %d", n, tenants-1)
		}
	})
	proof.Ran(t, "P39", "%d tenants silent at once: %d incident after %s, and %d alarms of single feeds", tenants, incidents, took.Round(time.Minute), single)
}

// Two products in each tenant, an alert an hour of each: one stops everywhere,
// or in one tenant, while the feeds go on with the other.
//
//citest:plain weeks in pretended time
func TestAProductThatIsSilentInAllTenantsIsOneIncident(t *testing.T) {
	const tenants, past = 5, 30 * 24
	incidents, single, took := 0, 0, time.Duration(0)
	story(t, tenants, func(w *world) {
		now := time.Now()
		w.every = 5 * time.Minute
		w.product = func(_ drover.SourceID, alertID string, row []byte) string {
			if len(row) == 0 || alertID[0] == 'x' {
				return ""
			}
			return alertID[:1]
		}
		hours := func(n int, product string, from, hours int) {
			for h := from; h < hours; h++ {
				w.api.add(tenantID(n), at(fmt.Sprint(product, h), now.Add(time.Duration(h-past)*time.Hour).Add(time.Duration(n)*12*time.Minute+time.Duration(product[0]-'a')*time.Minute)))
			}
		}
		for n := range tenants {
			w.startsAt(n, now.Add(-(past+1)*time.Hour))
			switch n {
			case 0: // this tenant has nothing else
				hours(n, "b", 0, past+24)
			case 1: // this one has lost it
				hours(n, "a", 0, past+100)
				hours(n, "b", 0, past-100)
			default:
				hours(n, "a", 0, past+100)
				hours(n, "b", 0, past+24)
			}
		}
		w.begin()
		w.pass(23 * time.Hour)
		w.stop()
		w.begin() // what is usual is learnt from the ledger
		w.pass(40 * time.Minute)
		if w.count("source_silent")+w.count("silent") > 0 {
			t.Errorf("said while alerts come: %+v", w.collector.SilentSources())
		}
		last := now.Add(23*time.Hour + 49*time.Minute)
		w.pass(20 * time.Minute)
		for w.count("source_silent") == 0 && time.Since(last) < 6*time.Hour {
			w.pass(time.Minute)
		}
		took = time.Since(last)
		w.pass(12 * time.Hour)
		list := w.collector.SilentSources()
		if incidents, single = w.count("source_silent")/tenants, w.count("silent"); len(list) != 1 || list[0].Product != "b" || incidents != 1 || single != 0 {
			t.Errorf("silent: %+v, said %d times, %d feeds each for itself", list, incidents, single)
		}
		if took > 100*time.Minute {
			t.Errorf("said after %s, all together are usually silent for 36 minutes at most", took)
		}
		w.pass(time.Until(now.Add(106 * time.Hour)))
		list = w.collector.SilentSources()
		if w.count("source_silent") != 2*tenants || len(list) != 2 || w.count("silent") > 0 {
			t.Errorf("when all of the source is silent too: %+v, told %d times", list, w.count("source_silent"))
		}
		w.api.add(tenantID(2), at("b-again", time.Now()))
		w.pass(20 * time.Minute)
		if list = w.collector.SilentSources(); len(list) != 0 {
			t.Errorf("when one of them is there again: %+v", list)
		}
	})
	proof.Ran(t, "P39", "%d tenants lose a product at once while their feeds go on: %d incident after %s, and %d alarms of single feeds", tenants, incidents, took.Round(time.Minute), single)
}

//citest:plain weeks in pretended time
func TestAJumpOfLatenessIsSaidWithAdvice(t *testing.T) {
	story(t, 2, func(w *world) {
		now := time.Now()
		w.every = 10 * time.Minute
		const days, jump = 14, 11
		for h := range days * 48 {
			changed := now.Add(time.Duration(h) * 30 * time.Minute)
			for n := range 2 {
				r := at(fmt.Sprint("a", h), changed)
				switch {
				case h%48 == 0: // one a day is late, always
					r.visible = changed.Add(40 * time.Minute)
				case n == 0 && h >= jump*48 && h%2 == 0:
					r.visible = changed.Add(50 * time.Minute)
				}
				w.api.add(tenantID(n), r)
			}
		}
		w.begin()
		w.pass(jump * 24 * time.Hour)
		if n := w.count("lateness"); n != 0 {
			t.Errorf("said %d times while all is as usual", n)
		}
		w.pass(2 * 24 * time.Hour)
		o, other := w.observed(0).Lateness, w.observed(1).Lateness
		if w.count("lateness") != 1 || !strings.Contains(o.Alarm, "showed late") || !strings.Contains(o.Alarm, "1h0m0s") || other.Alarm != "" {
			t.Errorf("said %d times: %+v; the other: %+v", w.count("lateness"), o, other)
		}
		if o.Class[3] < 40 || o.Class[0]+o.Class[1]+o.Class[2] != 0 || o.Most > time.Hour || o.Late != w.late(0) {
			t.Errorf("%d are late; histogram %+v", w.late(0), o)
		}
	})
}

func TestRowsThatComeCloseToBeingOutOfReachAreSaid(t *testing.T) {
	story(t, 1, func(w *world) {
		now := time.Now()
		w.every = 10 * time.Minute
		w.api.add(tenantID(0), row{id: "late", changed: now.Add(time.Minute), visible: now.Add(5 * 24 * time.Hour)})
		w.begin()
		w.pass(7 * 24 * time.Hour)
		if o := w.observed(0).Lateness; !strings.Contains(o.Alarm, "add a deeper one") || o.Class[8] != 1 {
			t.Errorf("%+v", o)
		}
	})
}

// late counts a tenant's rows that are marked as late.
func (w *world) late(n int) int64 {
	_, _, late := w.flagged(n)
	return int64(late)
}
