package collect_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/ledger"
	"drover/internal/proof"
)

func TestEveryRowIsLedgeredOnceHoweverOftenItIsRead(t *testing.T) {
	story(t, 2, func(w *world) {
		now := time.Now()
		for n := range 120 {
			w.api.add(tenantID(n%2), at(fmt.Sprint("a", n), now.Add(time.Duration(n-60)*time.Minute)))
		}
		w.begin()
		w.pass(3 * time.Hour)
		for n := range 2 {
			if got := w.ledgered(n); len(got) != 60 {
				t.Errorf("tenant %d: %d revisions, want 60", n, len(got))
			}
		}
	})
}

func TestTheSameIDTwiceIsTwoAlerts(t *testing.T) {
	const tenants, alerts = 3, 20
	ids, revisions := make(map[string]bool), 0
	story(t, tenants, func(w *world) {
		now := time.Now()
		for n := range tenants {
			for i := range alerts {
				// In another incident after a merge: the same alert, a new state.
				for incident := range 2 {
					at := now.Add(time.Duration(i-100+50*incident) * time.Second)
					w.api.add(tenantID(n), row{id: fmt.Sprint("da", i), changed: at, visible: now, body: func(int) string {
						return fmt.Sprintf(`{"id":"da%d","incidentId":"%d","lastUpdateDateTime":%q}`, i, incident, drover.InstantOf(at))
					}})
				}
			}
		}
		w.begin()
		w.pass(10 * time.Minute)
		for n := range tenants {
			for r, err := range w.store.Revisions(context.Background(), drover.Feed{Tenant: tenantID(n), Source: drover.GraphAlerts}, 1) {
				if err != nil {
					t.Fatal(err)
				}
				ids[r.EventID(0)] = true
				revisions++
				r.Feed.Source = drover.SIEMDetections // what the other source would call it
				ids[r.EventID(0)] = true
				revisions++
			}
		}
	})
	if want := tenants * alerts * 2 * 2; revisions != want || len(ids) != want {
		t.Errorf("%d revisions with %d event IDs, want %d", revisions, len(ids), want)
	}
	proof.Ran(t, "P35", "collisions %d of %d revisions with IDs that two tenants, two sources or two incidents share", revisions-len(ids), revisions)
}

func TestPagesThatOverlapAreLedgeredOnce(t *testing.T) {
	const page = 10
	keys, most, served := 0, 0, 0
	for m := range page + 1 {
		story(t, 1, func(w *world) {
			w.api.page, w.api.overlap = page, m
			now := time.Now()
			for n := range 60 {
				w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n/3-200)*time.Minute)))
			}
			w.begin()
			w.pass(20 * time.Minute)
			times := make(map[string]int)
			for _, id := range w.ledgered(0) {
				times[id]++
				most = max(most, times[id])
			}
			if len(times) != 60 || most != 1 {
				t.Errorf("pages that overlap by %d: %d keys, one of them %d times", m, len(times), most)
			}
			w.api.mu.Lock()
			served += w.api.served
			w.api.mu.Unlock()
			keys += len(times)
		})
	}
	proof.Ran(t, "P06", "revisions per key %d, of %d keys in %d rows that were served: the same page twice, pages overlapping by 0 to %d rows", most, keys, served, page)
}

func TestAForeignRowIsSetAsideAndTheRestGoesOn(t *testing.T) {
	foreign, good, unnamed, put := 0, 0, 0, 0
	story(t, 1, func(w *world) {
		now := time.Now()
		mine, theirs := at("mine", now), at("theirs", now)
		mine.tenant, theirs.tenant = strings.ToUpper(string(tenantID(0))), string(tenantID(9))
		nobodys := at("nobody's", now)
		nobodys.tenant = "contoso"
		w.api.add(tenantID(0), mine, theirs, nobodys, at("of none", now))
		w.begin()
		w.pass(time.Hour)
		if got := w.ledgered(0); !slices.Equal(got, []string{"mine/0", "nobody's/0", "of none/0"}) {
			t.Errorf("ledgered %v", got)
		}
		for r, err := range w.store.Revisions(context.Background(), drover.Feed{Tenant: tenantID(0), Source: drover.GraphAlerts}, 1) {
			switch {
			case err != nil:
				t.Fatal(err)
			case r.AlertID == "theirs":
				foreign++
			case r.Flags.Has(drover.Unnamed):
				unnamed++
				good++
			default:
				good++
			}
		}
		aside, err := w.store.SetAside(context.Background(), ledger.AsideFilter{Reason: "foreign"})
		if err != nil || len(aside) != 1 || aside[0].Count != 1 {
			t.Errorf("set aside: %+v, %v", aside, err)
		}
		put = len(aside)
		if unnamed != 2 {
			t.Errorf("%d rows are marked as naming no tenant, want 2", unnamed)
		}
	})
	proof.Ran(t, "P36", "foreign rows ledgered %d, set aside %d of 1; beside it lost %d of 3; unnamed counted %d of 2", foreign, put, 3-good, unnamed)
}

func TestAnAnswerOfForeignRowsOnlyParksTheFeed(t *testing.T) {
	story(t, 1, func(w *world) {
		theirs := at("theirs", time.Now())
		theirs.tenant = string(tenantID(9))
		w.api.add(tenantID(0), theirs)
		w.begin()
		w.pass(5 * time.Minute)
		if w.state(0).Parked == "" || len(w.ledgered(0)) != 0 {
			t.Errorf("parked %q, ledgered %v", w.state(0).Parked, w.ledgered(0))
		}
	})
}

// An answer of nothing but a foreign row parks the feed until the next probe,
// by which the row is set aside; one that came with rows known before does not.
func TestAForeignRowAloneBehindRowsThatComeAgainParksNobody(t *testing.T) {
	for again, parked := range map[int]bool{0: true, 1: false} {
		story(t, 1, func(w *world) {
			now := time.Now()
			mine, theirs, behind := at("mine", now), at("theirs", now.Add(time.Second)), at("behind", now.Add(2*time.Second))
			mine.tenant, theirs.tenant, behind.tenant = string(tenantID(0)), string(tenantID(9)), string(tenantID(0))
			w.api.page, w.api.again = 1, again
			w.api.add(tenantID(0), mine, theirs, behind)
			w.begin()
			w.pass(5 * time.Minute)
			if got := w.count("parked") > 0; got != parked {
				t.Errorf("%d rows come again: was parked %v", again, got)
			}
			if got := w.ledgered(0); w.state(0).Parked != "" || !slices.Contains(got, "behind/0") {
				t.Errorf("%d rows come again: parked %q, ledgered %v", again, w.state(0).Parked, got)
			}
		})
	}
}

func TestBytesThatVaryWithoutMeaningMakeOneRevision(t *testing.T) {
	story(t, 1, func(w *world) {
		r := at("a", time.Now())
		r.body = func(read int) string {
			evidence := []string{`{"x":1,"lastIpAddress":"10.0.0.%d"}`, `{"y":2}`}
			if read%2 == 0 {
				slices.Reverse(evidence)
			}
			body := `{"id":"a","evidence":[` + strings.Join(evidence, ",") + `]}`
			return strings.Replace(body, "%d", fmt.Sprint(read), 1)
		}
		w.api.add(tenantID(0), r)
		w.begin()
		w.pass(10 * time.Hour)
		if got := w.ledgered(0); !slices.Equal(got, []string{"a/0"}) {
			t.Errorf("ledgered %v", got)
		}
	})
}

func TestContentThatChangesWithoutItsTimeIsTakenWhenTwoReadsAgree(t *testing.T) {
	stories, told := 0, 0
	for name, tt := range map[string]struct {
		body func(start time.Time, read int) string
		want []string
	}{
		"a stable change is one more revision": {
			func(start time.Time, _ int) string { return pick(time.Since(start) > 4*time.Minute, "B", "A") }, []string{"a/0", "a/1"}},
		"a return to an earlier state is a revision too": {
			func(start time.Time, _ int) string {
				m := time.Since(start)
				return pick(m > 4*time.Minute && m < 8*time.Minute, "B", "A")
			}, []string{"a/0", "a/1", "a/2"}},
		"two replicas that answer in turn make none": {
			func(_ time.Time, read int) string { return pick(read%2 == 0, "B", "A") }, []string{"a/0"}},
		"more states than three are not taken": {
			func(start time.Time, _ int) string { return fmt.Sprint(int(time.Since(start)/(3*time.Minute)) % 9) }, []string{"a/0", "a/1", "a/2"}},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, 1, func(w *world) {
				start, reads := time.Now(), 0
				r := at("a", start)
				r.body = func(int) string {
					reads++
					return fmt.Sprintf(`{"id":"a","status":%q}`, tt.body(start, reads))
				}
				w.api.add(tenantID(0), r)
				w.begin()
				w.pass(14 * time.Minute)
				stories++
				if got := w.ledgered(0); slices.Equal(got, tt.want) {
					told++
				} else {
					t.Errorf("ledgered %v, want %v", got, tt.want)
				}
			})
		})
	}
	proof.Ran(t, "P11", "of %d stories of content that changes without its time, %d gave one revision a real change, none for replicas that answer in turn, three at most", stories, told)
}

func pick(c bool, a, b string) string {
	if c {
		return a
	}
	return b
}
