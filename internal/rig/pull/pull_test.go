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
	const answers, page = 8, 10
	ways := []fault.Rule{{Kind: fault.Reset}, {Kind: fault.Cut, Param: 500}, {Kind: fault.Status, Param: 503}, {Kind: fault.Cut, Param: 999}}
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
	var tenants []string
	hit := 0
	v := story(t, setting{stories: same(n, estate.Options{Backlog: 40, BacklogSpan: 5 * time.Hour}), pageSize: page, interval: time.Hour}, func(w *world) {
		for i, r := range dealt {
			r.Tenant = w.tenant(i)
			w.lab.Faults().Set(r)
		}
		w.pass(5 * time.Minute)
		for i := range n {
			tenants = append(tenants, w.tenant(i))
		}
		for _, n := range w.lab.Faults().Hits() {
			hit += n
		}
	})
	v.well(t)
	most := 0
	for i := range dealt {
		most = max(most, v.tail[tenants[i]]-v.tail[tenants[n-1]])
	}
	if want := len(dealt) / 2 * 3; hit != want {
		t.Errorf("%d answers were lost, want %d", hit, want)
	}
	// A page, and the row that each further answer begins with: after a second
	// loss less is asked for at once.
	if most > page+answers {
		t.Errorf("%d rows were read again, of a page of %d", most, page)
	}
	proof.Ran(t, "P01", "lost %d of %d revisions with answer k of %d lost for every k, %d in all; rows read again at most %d, a page is %d", v.lost(), v.Shown(), answers, hit, most, page)
}

// P02: the process dies instead of its n-th commit, for every n of a read.
func TestAProcessThatDiesBeforeACommitReadsThePageAgain(t *testing.T) {
	const deaths = 12
	died, early := 0, 0
	v := story(t, setting{stories: same(3, estate.Options{Backlog: 60, BacklogSpan: 5 * time.Hour, PerMinute: 0.3, Horizon: 6 * time.Hour, Updates: 1}), pageSize: 10}, func(w *world) {
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
		w.pass(8 * time.Hour)
	})
	v.well(t)
	if died != deaths || early > 0 {
		t.Errorf("died %d times, want %d; %d rows after a death", died, deaths, early)
	}
	proof.Ran(t, "P02", "lost %d of %d revisions over %d deaths between a page and its commit; ledgered twice %d", v.lost(), v.Shown(), died, v.twice())
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
		w.pass(12 * time.Hour)
	})
	v.well(t)
	for _, n := range v.requests {
		most = max(most, n)
	}
	if limit := 2*interval + 30*time.Minute; slowest > limit || late > 0 {
		t.Errorf("a fresh row took %s, %d more than %s", slowest, late, limit)
	}
	proof.Ran(t, "P05", "lost %d of %d revisions, ledgered twice %d; a fresh row took at most %s; requests of a tenant in 14 hours at most %d", v.lost(), v.Shown(), v.twice(), slowest.Round(time.Second), most)
}
