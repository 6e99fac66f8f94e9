package pull

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
	"drover/internal/proof"
)

// P01: each of the first answers that a tenant gets is lost, in each way, once
// so that it is asked for again at once and once so that this is lost as well.
func TestAnAnswerLostAnywhereLosesNothing(t *testing.T) {
	const answers, page = 6, 10
	ways := []fault.Rule{{Kind: fault.Reset}, {Kind: fault.Cut, Param: 500}, {Kind: fault.Status, Param: 503}}
	var dealt []fault.Rule
	for k := range answers {
		for _, way := range ways {
			for times := 1; times <= 2; times++ {
				r := way
				r.Skip, r.Count = k, times
				dealt = append(dealt, r)
			}
		}
	}
	// The last tenant meets no fault. All have the same number of alerts.
	n := len(dealt) + 1
	lost, shown, hits, most := 0, 0, 0, 0
	for _, source := range every {
		var tenants []string
		hit := 0
		o := estate.Options{Backlog: 40, BacklogSpan: 5 * time.Hour}
		if source == drover.GraphIncidents {
			o.Backlog = 200 // in incidents of a few
		}
		v := story(t, setting{stories: same(n, o), pageSize: page, interval: time.Hour}.of(source), func(w *world) {
			for i, r := range dealt {
				r.Tenant = w.tenant(i)
				w.lab.Faults().Set(r)
			}
			w.pass(5 * time.Minute)
			if source == drover.MDEAlerts || source == drover.SIEMDetections {
				w.pass(6 * time.Hour) // a read is one answer
			}
			for i := range n {
				tenants = append(tenants, w.tenant(i))
			}
			for _, n := range w.lab.Faults().Hits() {
				hit += n
			}
		})
		v.well(t)
		if want := len(dealt) / 2 * 3; hit != want {
			t.Errorf("%s: %d answers were lost, want %d", source, hit, want)
		}
		lost, shown, hits = lost+v.lost(), shown+v.Shown(), hits+hit
		if source != drover.GraphAlerts {
			continue // tenants do not have the same number of incidents
		}
		for i := range dealt {
			most = max(most, v.tail[tenants[i]]-v.tail[tenants[n-1]])
		}
	}
	// A page, and the row that each further answer begins with: after a second
	// loss less is asked for at once.
	if most > page+answers {
		t.Errorf("%d rows were read again, of a page of %d", most, page)
	}
	proof.Ran(t, "P01", "lost %d of %d revisions of %d sources with answer k of %d lost for every k, %d in all; rows read again at most %d, a page is %d", lost, shown, len(every), answers, hits, most, page)
}

// P02: the process dies instead of its n-th commit, for every n of a read.
func TestAProcessThatDiesBeforeACommitReadsThePageAgain(t *testing.T) {
	const deaths = 12
	died, early, lost, shown, twice := 0, 0, 0, 0, 0
	for _, source := range every {
		v := story(t, setting{stories: same(3, estate.Options{Backlog: 60, BacklogSpan: 5 * time.Hour, PerMinute: 0.3, Horizon: 3 * time.Hour, Updates: 1}), pageSize: 10}.of(source), func(w *world) {
			w.end()
			heads := func() (sum uint64) {
				for i := range w.stories {
					sum += w.feed(i).Head
				}
				return sum
			}
			for n := range deaths {
				w.mu.Lock()
				w.commits = 0
				w.dies = func(commit int) bool { return commit == n+1 }
				w.mu.Unlock()
				w.begin()
				for m := 0; m < 120 && !w.p.dead.Load(); m++ {
					w.pass(time.Minute)
				}
				if w.p.dead.Load() {
					died++
				}
				// What was read and not committed reaches no ledger: there is
				// nothing that could be delivered.
				before := heads()
				w.pass(time.Minute)
				early += int(heads() - before)
				w.end()
			}
			w.mu.Lock()
			w.dies = nil
			w.mu.Unlock()
			w.begin()
			w.pass(4 * time.Hour)
		})
		v.well(t)
		lost, shown, twice = lost+v.lost(), shown+v.Shown(), twice+v.twice()
	}
	if died != deaths*len(every) || early > 0 {
		t.Errorf("died %d times, want %d; %d rows after a death", died, deaths*len(every), early)
	}
	proof.Ran(t, "P02", "lost %d of %d revisions of %d sources over %d deaths between a page and its commit; ledgered twice %d", lost, shown, len(every), died, twice)
}

// P05: links that loop, have no end, or lead through empty pages only, for an
// hour and a half each.
func TestLinksThatLeadNowhereEndAndTheTailGoesOn(t *testing.T) {
	kinds := []string{fault.LoopLink, fault.EndlessLinks, fault.EmptyPage}
	const interval = 5 * time.Minute
	var slowest time.Duration
	most, late := 0, 0
	v := story(t, setting{stories: same(len(kinds)*2, estate.Options{Backlog: 20, BacklogSpan: 5 * time.Hour, Ties: 15}), pageSize: 10, interval: interval, allowance: 75}, func(w *world) {
		w.pass(20 * time.Minute)
		begun := w.now()
		for i, k := range kinds {
			// One always, one at every other answer.
			w.lab.Faults().Set(fault.Rule{Kind: k, Tenant: w.tenant(2 * i), From: begun, To: begun.Add(90 * time.Minute)}, fault.Rule{Kind: k, Tenant: w.tenant(2*i + 1), From: begun, To: begun.Add(90 * time.Minute), Share: 0.5})
		}
		at := make(map[string]time.Time)
		for m := range 18 {
			for i := range w.stories {
				id := fmt.Sprintf("da-fresh-%d-%d", i, m)
				w.put(i, id, w.now())
				at[id] = w.now()
			}
			for range 5 {
				w.pass(time.Minute)
				for i := range w.stories {
					w.revisions(i, func(r drover.Revision) {
						if since, ok := at[r.AlertID]; ok {
							slowest = max(slowest, w.now().Sub(since))
							delete(at, r.AlertID)
						}
					})
				}
			}
		}
		for id, since := range at {
			// Where every answer is an empty page, nothing can be read.
			if waited := w.now().Sub(since); waited > 2*interval+30*time.Minute && !strings.HasPrefix(id, "da-fresh-4-") {
				late++
			}
		}
		w.pass(7 * time.Hour)
	})
	v.well(t)
	for _, n := range v.requests {
		most = max(most, n)
	}
	if limit := 2*interval + 30*time.Minute; slowest > limit || late > 0 {
		t.Errorf("a fresh row took %s, %d more than %s", slowest, late, limit)
	}
	proof.Ran(t, "P05", "lost %d of %d revisions, ledgered twice %d; a fresh row took at most %s; requests of a tenant in 9 hours at most %d", v.lost(), v.Shown(), v.twice(), slowest.Round(time.Second), most)
}

// P08: an API that ignores the order asked for, always or at every other
// answer, while alerts come and change.
func TestRowsInNoOrderLoseNothingAndNoCursorGoesBack(t *testing.T) {
	dealt, lost, shown, back := 0, 0, 0, 0
	sources := []drover.SourceID{drover.GraphAlerts, drover.GraphIncidents, drover.MDEAlerts}
	for _, source := range sources {
		v := story(t, setting{stories: same(6, estate.Options{Backlog: 50, BacklogSpan: 20 * time.Hour, PerMinute: 0.3, Horizon: 5 * time.Hour, Updates: 1, Ties: 12, LateShare: 0.05, LateMax: 30 * time.Minute}), pageSize: 10, interval: 10 * time.Minute}.of(source), func(w *world) {
			for i := range w.stories {
				w.lab.Faults().Set(fault.Rule{Kind: fault.Unordered, Tenant: w.tenant(i), Share: []float64{0, 0.5, 0.1}[i%3]})
			}
			w.pass(7 * time.Hour)
			dealt += w.lab.Faults().Hits()[fault.Unordered]
			w.lab.Faults().Clear()
			w.pass(2 * time.Hour)
		})
		v.well(t)
		lost, shown, back = lost+v.lost(), shown+v.Shown(), back+v.back
	}
	proof.Ran(t, "P08", "lost %d of %d revisions of %d sources over %d answers in no order; cursors that went back %d", lost, shown, len(sources), dealt, back)
}

// P10: alerts change once, twice, fifty times between two polls.
func TestOfManyUpdatesTheNewestIsAlwaysRead(t *testing.T) {
	times := []int{1, 2, 50}
	updates, missed := 0, 0
	v := story(t, setting{stories: same(len(times), estate.Options{Backlog: 12, BacklogSpan: 3 * time.Hour}), pageSize: 5}, func(w *world) {
		w.pass(3 * time.Minute)
		newest := make(map[string]time.Time) // by tenant and alert
		for range 20 {
			for i, n := range times {
				var ids []string
				w.revisions(i, func(r drover.Revision) { ids = append(ids, r.AlertID) })
				for u := range n {
					id := ids[u%min(3, len(ids))]
					w.lab.Estate().Change(w.tenant(i), id, w.now(), false)
					w.lab.Estate().See(w.tenant(i), estate.Graph, w.now(), func(v estate.View) {
						for _, r := range v.Rows {
							if r.ID == id {
								newest[w.tenant(i)+id] = r.Changed
							}
						}
					})
					updates++
					time.Sleep(30 * time.Second / time.Duration(n))
				}
			}
			w.pass(time.Minute)
		}
		w.pass(time.Hour)
		for i := range times {
			w.revisions(i, func(r drover.Revision) {
				if at, ok := newest[w.tenant(i)+r.AlertID]; ok && drover.InstantOf(at) == r.Changed {
					delete(newest, w.tenant(i)+r.AlertID)
				}
			})
		}
		missed = len(newest)
	})
	v.well(t)
	if missed > 0 {
		t.Errorf("%d alerts whose newest state is not there", missed)
	}
	proof.Ran(t, "P10", "newest states missed %d after %d updates, up to 50 between two polls; shown and not ledgered %d of %d", missed, updates, v.lost(), v.Shown())
}

// P12: nothing but the change time moves.
func TestATouchIsARevisionThatIsMarked(t *testing.T) {
	const touches = 40
	marked, plain := 0, 0
	v := story(t, setting{stories: same(1, estate.Options{Backlog: 5, BacklogSpan: time.Hour})}, func(w *world) {
		created := w.now()
		for n := range touches + 1 {
			w.lab.Estate().Put(w.tenant(0), estate.Graph, estate.Row{ID: "da-touched", Rev: n, Created: created, Changed: w.now(), Visible: w.now()})
			w.pass(2 * time.Minute)
		}
		w.revisions(0, func(r drover.Revision) {
			switch {
			case r.AlertID != "da-touched":
			case r.Flags.Has(drover.Touch):
				marked++
			default:
				plain++
			}
		})
	})
	v.well(t)
	if marked != touches || plain != 1 {
		t.Errorf("%d touches marked of %d, %d not", marked, touches, plain)
	}
	proof.Ran(t, "P12", "lost %d of %d revisions; touches counted %d of %d", v.lost(), v.Shown(), marked, touches)
}

// P13: our clock is wrong.
func TestAWrongClockOfOursLosesNothing(t *testing.T) {
	year := 365 * 24 * time.Hour
	lost, shown, worst, told := 0, 0, time.Duration(0), 0
	for name, tt := range map[string]struct {
		at    time.Time // our clock
		ahead time.Duration
		far   bool
	}{
		"right":              {epoch, 0, false},
		"5 s behind":         {epoch, 5 * time.Second, false},
		"5 s ahead":          {epoch, -5 * time.Second, false},
		"10 minutes behind":  {epoch, 10 * time.Minute, true},
		"10 minutes ahead":   {epoch, -10 * time.Minute, true},
		"a day behind":       {epoch, 24 * time.Hour, true},
		"a day ahead":        {epoch, -24 * time.Hour, true},
		"56 years behind":    {time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC), 56 * year, true}, // 1970 in 2026
		"in 2099, from 2026": {time.Date(2099, 3, 2, 8, 0, 0, 0, time.UTC), -73 * year, true},
	} {
		v := story(t, setting{at: tt.at, ahead: tt.ahead, pageSize: 10, interval: 15 * time.Minute,
			stories: same(1, estate.Options{Backlog: 15, BacklogSpan: 30 * time.Hour, PerMinute: 0.4, Horizon: time.Hour, Updates: 0.5, LateShare: 0.2, LateMax: 40 * time.Minute, SIEM: true})}, func(w *world) {
			w.pass(3 * time.Hour)
			for _, d := range w.p.col.Skew() {
				worst = max(worst, (d - tt.ahead).Abs())
			}
			if n := w.count("skew"); (n > 0) != tt.far {
				t.Errorf("%s: told %d times", name, n)
			} else if n > 0 {
				told++
			}
		})
		v.well(t)
		lost, shown = lost+v.lost(), shown+v.Shown()
	}
	if worst > time.Second {
		t.Errorf("the difference of clocks is wrong by %s", worst)
	}
	proof.Ran(t, "P13", "lost %d of %d revisions with our clock wrong by up to 73 years; the difference shown is wrong by at most %s, and was told in %d of 6 cases above two minutes", lost, shown, worst.Round(10*time.Millisecond), told)
}

// P14: a page of ten, and up to a hundred alerts of one time; last an instant
// that nothing divides.
func TestManyAlertsOfOneTimeAreReadWholeAndHoldNobody(t *testing.T) {
	const page, interval = 10, 5 * time.Minute
	sizes := []int{1, 2, page - 1, page, page + 1, 10 * page}
	steps := []time.Duration{0, 100 * time.Nanosecond, time.Second / 300}
	n := len(sizes) * len(steps)
	var slowest time.Duration
	inGap := 0
	v := story(t, setting{stories: same(n+1, estate.Options{Backlog: 5, BacklogSpan: time.Hour}), pageSize: page, interval: interval}, func(w *world) {
		w.lab.Faults().Set(fault.Rule{Kind: fault.Clamp, Param: page}, fault.Rule{Kind: fault.NoLink, Tenant: w.tenant(n)}, fault.Rule{Kind: fault.LinkRefused, Tenant: w.tenant(n)})
		w.pass(10 * time.Minute)
		at := w.now().Truncate(time.Second)
		for i := range n + 1 {
			ties, step := 5*page, time.Duration(0)
			if i < n {
				ties, step = sizes[i/len(steps)], steps[i%len(steps)]
			}
			for k := range ties {
				w.put(i, fmt.Sprintf("da-tie-%d-%d", i, k), at.Add(time.Duration(k)*step))
			}
			w.put(i, fmt.Sprintf("da-behind-%d", i), at.Add(5*time.Second))
		}
		put := w.now()
		w.pass(6 * time.Second)
		for slow := false; !slow && slowest < 2*time.Hour; {
			slow = true
			for i := range n + 1 {
				slow = slow && w.has(i, fmt.Sprintf("da-behind-%d", i))
			}
			slowest = w.now().Sub(put)
			w.pass(10 * time.Second)
		}
		w.pass(2 * time.Hour)
		w.revisions(n, func(r drover.Revision) {
			if strings.HasPrefix(r.AlertID, "da-tie-") {
				inGap++
			}
		})
		if gaps := w.feed(n).Gaps; len(gaps) != 1 {
			t.Errorf("%d gaps of what nothing divides, want one: %v", len(gaps), gaps)
		}
		w.lab.Faults().Clear()
		w.pass(7 * time.Hour) // gaps are tried every six hours at least
	})
	v.well(t)
	if limit := 2*interval + 30*time.Minute; slowest > limit {
		t.Errorf("a row behind took %s", slowest)
	}
	proof.Ran(t, "P14", "lost %d of %d revisions, N = 1, 2, cap-1, cap, cap+1, 10·cap of one time or a step apart; rows behind took at most %s, also behind an instant of 50 that showed %d", v.lost(), v.Shown(), slowest.Round(time.Second), inGap)
}

// P24: something in between answers, for an hour.
func TestAPortalInBetweenParksNobody(t *testing.T) {
	rules := []fault.Rule{{Kind: fault.HTML200}, {Kind: fault.Redirect, Param: 302, Value: "https://portal.example/login"}, {Kind: fault.Redirect, Param: 307, Value: "/login"},
		{Kind: fault.Status, Param: 407, Body: "html"}, {Kind: fault.Status, Param: 407, Body: "empty"}, {Kind: fault.Status, Param: 511, Body: "html"}, {Kind: fault.Status, Param: 403, Body: "html"}, {Kind: fault.Status, Param: 200, Body: "html"},
		{Kind: fault.Status, Param: 401, Body: "html"}}
	moves, parks, hits, lost, shown := 0, 0, 0, 0, 0
	for _, source := range every {
		v := story(t, setting{stories: same(len(rules), estate.Options{Backlog: 10, BacklogSpan: time.Hour, PerMinute: 0.1, Horizon: 2 * time.Hour}), interval: 5 * time.Minute}.of(source), func(w *world) {
			w.pass(30 * time.Minute)
			from := w.now()
			for i, r := range rules {
				r.Tenant, r.From, r.To = w.tenant(i), from, from.Add(time.Hour)
				w.lab.Faults().Set(r)
			}
			w.pass(time.Second)
			before := make(map[int]drover.Instant)
			for i := range rules {
				before[i] = w.feed(i).Cursor.Through
			}
			w.pass(time.Hour - 2*time.Second)
			for i := range rules {
				if f := w.feed(i); f.Cursor.Through != before[i] {
					moves++
				} else if f.Parked != "" {
					parks++
				}
				parks += w.of(i, "parked")
			}
			for _, n := range w.lab.Faults().Hits() {
				hits += n
			}
			w.pass(2 * time.Hour)
		})
		v.well(t)
		lost, shown = lost+v.lost(), shown+v.Shown()
	}
	if moves+parks > 0 {
		t.Errorf("%d cursors moved, %d feeds parked", moves, parks)
	}
	proof.Ran(t, "P24", "cursor moves %d, feeds parked %d in an hour of %d answers that are not the API's, of %d sources; lost %d of %d", moves, parks, hits, len(every), lost, shown)
}
