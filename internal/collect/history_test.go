package collect_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"drover"
	"drover/internal/ledger"
	"drover/internal/proof"
)

// flagged lists a tenant's alerts by whether they are marked as history, and
// counts those that are late.
func (w *world) flagged(n int) (history, live []string, late int) {
	w.Helper()
	for r, err := range w.store.Revisions(context.Background(), feedOf(n), 1) {
		if err != nil {
			w.Fatal(err)
		}
		if r.Flags.Has(drover.Late) {
			late++
		}
		if r.Flags.Has(drover.History) {
			history = append(history, r.AlertID)
		} else {
			live = append(live, r.AlertID)
		}
	}
	return history, live, late
}

func feedOf(n int) drover.Feed {
	return drover.Feed{Tenant: tenantID(n), Source: drover.GraphAlerts}
}

func (w *world) startsAt(n int, start time.Time) {
	w.Helper()
	t, err := w.store.Tenant(context.Background(), tenantID(n))
	if err != nil {
		w.Fatal(err)
	}
	t.Start = drover.InstantOf(start)
	if err := w.store.UpdateTenant(context.Background(), t); err != nil {
		w.Fatal(err)
	}
}

func (w *world) backfill(n int, from, to time.Time) ledger.Backfill {
	w.Helper()
	b, err := w.store.AddBackfill(context.Background(), feedOf(n), drover.Span{From: drover.InstantOf(from), To: drover.InstantOf(to)})
	if err != nil {
		w.Fatal(err)
	}
	return b
}

func (w *world) backfills(n int) []ledger.Backfill {
	w.Helper()
	list, err := w.store.Backfills(context.Background(), ledger.BackfillFilter{Feed: feedOf(n)})
	if err != nil {
		w.Fatal(err)
	}
	return list
}

// A first read of half a year is killed again and again, while alerts come.
func TestANewFeedIsReadLiveFirstAndItsPastBeside(t *testing.T) {
	const past, live, page = 12_000, 240, 20
	lost, waste, kills, lag := 0, 0, 0, time.Duration(0)
	story(t, 1, func(w *world) {
		now := time.Now()
		w.startsAt(0, now.Add(-175*24*time.Hour))
		w.api.page, w.api.latency = page, time.Second
		step := 170 * 24 * time.Hour / past
		for n := range past {
			w.api.add(tenantID(0), row{id: fmt.Sprint("past", n), changed: now.Add(-174 * 24 * time.Hour).Add(time.Duration(n) * step), visible: now.Add(-time.Hour)})
		}
		for n := range live {
			w.api.add(tenantID(0), at(fmt.Sprint("live", n), now.Add(time.Duration(n)*time.Minute)))
		}
		looked := 0
		w.keys = func() error { // a process that ends between an answer and its commit
			if looked++; looked%29 == 0 && kills < 5 {
				kills++
				w.cancel()
				return context.Canceled
			}
			return nil
		}
		w.committed = func(c ledger.Commit) {
			for i := range c.Revisions {
				var n int
				if _, err := fmt.Sscanf(c.Revisions[i].AlertID, "live%d", &n); err == nil {
					lag = max(lag, time.Since(now.Add(time.Duration(n)*time.Minute)))
				}
			}
		}
		w.begin()
		for range 5 * 60 {
			w.pass(time.Minute)
			select {
			case err := <-w.done:
				if err != nil {
					t.Error(err)
				}
				w.begin()
			default:
			}
		}
		w.keys = nil
		history, rows, late := w.flagged(0)
		lost = past + live - len(history) - len(rows)
		if late > 0 || len(history) != past || lost != 0 {
			t.Errorf("%d of %d rows of the past are marked as history, %d are late, %d lost", len(history), past, late, lost)
		}
		if lag > 90*time.Second {
			t.Errorf("a live row waited %s beside the past", lag)
		}
		if !slices.IsSortedFunc(history, func(a, b string) int { return len(a) - len(b) }) {
			t.Error("the past does not come in the order of change")
		}
		b := w.backfills(0)
		if len(b) != 1 || !b[0].First || b[0].State != ledger.BackfillDone || b[0].Found != past {
			t.Fatalf("backfills: %+v", b)
		}
		// What was read in vain is what the ledger was never told of.
		w.api.mu.Lock()
		waste = w.api.past - past
		w.api.mu.Unlock()
		if waste > kills*(page+1) || kills != 5 {
			t.Errorf("%d rows of the past read again over %d kills, a page is %d", waste, kills, page)
		}
	})
	proof.Ran(t, "P38", "first read of %d rows, half a year, beside %d live ones: lost %d; a live row waited %s at most; %d kills cost %d rows read again, a page is %d", past, live, lost, lag, kills, waste, page)
}

func TestSweepsGoRoundThePastThatIsYetToBeRead(t *testing.T) {
	story(t, 1, func(w *world) {
		now := time.Now()
		w.most, w.api.page = 6, 10
		for n := range 2000 {
			w.api.add(tenantID(0), at(fmt.Sprint("past", n), now.Add(-47*time.Hour).Add(time.Duration(n)*82*time.Second)))
		}
		w.begin()
		w.pass(50 * time.Minute)
		if len(w.backfills(0)) != 1 || w.backfills(0)[0].State != ledger.BackfillOpen {
			t.Fatalf("the past is not being read: %+v", w.backfills(0))
		}
		w.pass(24 * time.Hour)
		history, live, late := w.flagged(0)
		if late > 0 || len(history)+len(live) != 2000 || len(live) > 60 {
			t.Errorf("%d rows of the past, %d of the last hour, %d late", len(history), len(live), late)
		}
	})
}

func TestABackfillFindsWhatIsMissingAndNothingTwice(t *testing.T) {
	story(t, 1, func(w *world) {
		now := time.Now()
		w.startsAt(0, now)
		for n := range 300 { // the last hundred come while all is read
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n-200)*time.Hour)))
		}
		w.begin()
		w.pass(50*time.Hour + 5*time.Minute)
		if got := w.ledgered(0); len(got) != 51 {
			t.Fatalf("%d revisions since the start, want 51", len(got))
		}
		// From before the start until now: most of it is new, some is known.
		b := w.backfill(0, now.Add(-150*time.Hour), now.Add(50*time.Hour))
		w.pass(10 * time.Minute)
		history, live, late := w.flagged(0)
		if len(history) != 150 || len(live) != 51 || late > 0 {
			t.Errorf("%d found, %d live, %d late; want 150, 51, 0", len(history), len(live), late)
		}
		if slices.Contains(history, "a49") || !slices.Contains(history, "a50") {
			t.Error("the range was not kept to")
		}
		list := w.backfills(0)
		if len(list) != 1 || list[0].ID != b.ID || list[0].State != ledger.BackfillDone || list[0].Rows != 200 || list[0].Found != 150 {
			t.Errorf("backfills: %+v", list)
		}
		w.pass(40 * time.Hour)
		if got := w.ledgered(0); len(got) != 51+150+40 {
			t.Errorf("the tail goes on: %d revisions", len(got))
		}
	})
}

func TestABackfillThatIsCancelledEndsAndOneThatIsNotGoesOnAfterARestart(t *testing.T) {
	story(t, 1, func(w *world) {
		now := time.Now()
		w.startsAt(0, now)
		w.most, w.api.page = 30, 10
		for n := range 3000 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n-3001)*time.Minute)))
		}
		w.begin()
		w.pass(5 * time.Minute)
		first := w.backfill(0, now.Add(-3001*time.Minute), now.Add(-1501*time.Minute))
		w.pass(3 * time.Minute)
		w.stop()
		had := len(w.ledgered(0))
		if had == 0 || had >= 1500 {
			t.Fatalf("%d of 1500 when it was stopped", had)
		}
		second := w.backfill(0, now.Add(-1501*time.Minute), now)
		w.begin()
		w.pass(8 * time.Minute)
		got := len(w.ledgered(0))
		if err := w.store.CancelBackfill(context.Background(), second.ID); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute)
		stopped := len(w.ledgered(0))
		w.pass(2 * time.Hour)
		if after := len(w.ledgered(0)); after != stopped || after >= 3000 || got <= 1500 {
			t.Errorf("%d revisions, then cancelled with %d, in the end %d", got, stopped, after)
		}
		list := w.backfills(0)
		if list[0].ID != first.ID || list[0].State != ledger.BackfillDone || list[1].State != ledger.BackfillCancelled {
			t.Errorf("backfills: %+v", list)
		}
		if list[0].Rows > 1500+10 {
			t.Errorf("%d rows were read for 1500", list[0].Rows)
		}
	})
}

func TestAPlaceInThePastThatCannotBeReadIsAGapAndTheRestIsRead(t *testing.T) {
	story(t, 1, func(w *world) {
		now := time.Now()
		bad, healed := drover.InstantOf(now.Add(-30*time.Hour)), false
		w.api.fail = func(_ drover.TenantID, s drover.Span) error {
			if s.Contains(bad) && !healed {
				return transient()
			}
			return nil
		}
		for n := range 96 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(-48*time.Hour).Add(time.Duration(n)*time.Hour)))
		}
		w.begin()
		w.pass(10 * time.Hour)
		if list := w.backfills(0); len(list) != 1 || list[0].State != ledger.BackfillDone {
			t.Errorf("backfills: %+v", list)
		}
		if gaps := w.state(0).Gaps; len(gaps) != 1 || !gaps[0].Span.Contains(bad) || gaps[0].Span.To.Sub(gaps[0].Span.From) > 2*time.Second {
			t.Errorf("open gaps: %v, want one narrow one around %s", gaps, bad)
		}
		w.api.mu.Lock()
		healed = true
		w.api.mu.Unlock()
		w.pass(40 * time.Hour)
		if got := w.ledgered(0); len(got) != 96 || len(w.state(0).Gaps) != 0 {
			t.Errorf("%d of 96 revisions, gaps %v", len(got), w.state(0).Gaps)
		}
	})
}

//citest:plain many stories in pretended time
func TestAFirstReadLosesNothingWhateverTheClocksSay(t *testing.T) {
	for name, tt := range map[string]struct {
		ahead  time.Duration // of our clock
		noDate bool
	}{
		"our clock is a month ahead":     {ahead: 30 * 24 * time.Hour},
		"our clock is a month behind":    {ahead: -30 * 24 * time.Hour},
		"the server tells no time":       {noDate: true},
		"all clocks agree":               {},
		"our clock is half an hour fast": {ahead: 30 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, 1, func(w *world) {
				w.api.noDate, w.api.behind = tt.noDate, tt.ahead
				server := time.Now().Add(-tt.ahead)
				w.startsAt(0, server.Add(-60*24*time.Hour))
				for n := range 122 {
					changed := server.Add(-59 * 24 * time.Hour).Add(time.Duration(n) * 12 * time.Hour)
					w.api.add(tenantID(0), at(fmt.Sprint("a", n), changed))
				}
				w.every = 5 * time.Minute
				w.begin()
				w.pass(3 * 24 * time.Hour)
				if got := w.ledgered(0); len(got) != 122 || len(w.state(0).Backfills) > 0 {
					t.Errorf("%d of 122 revisions, open: %+v", len(got), w.state(0).Backfills)
				}
				if history, live, late := w.flagged(0); late > 0 || len(live) < 4 || slices.Contains(history, "a120") {
					t.Errorf("%d are late, %d live, %d history", late, len(live), len(history))
				}
			})
		})
	}
}

func TestTheStartOfANewFeedThatTheAPIHasForgottenIsAGap(t *testing.T) {
	story(t, 1, func(w *world) {
		w.startsAt(0, time.Now().Add(-200*24*time.Hour))
		w.api.add(tenantID(0), at("old", time.Now().Add(-179*24*time.Hour)))
		w.begin()
		w.pass(time.Hour)
		gaps, list := w.state(0).Gaps, w.backfills(0)
		if len(gaps) != 1 || len(list) != 1 || gaps[0].Span.From != list[0].Span.From || gaps[0].Span.To > drover.InstantOf(time.Now().Add(-179*24*time.Hour)) || len(w.ledgered(0)) != 1 {
			t.Errorf("gaps %v, backfills %+v, ledgered %v", gaps, list, w.ledgered(0))
		}
	})
}

// hollow is a source whose past is read in many answers that hold nothing.
type hollow struct {
	*api
	answers int
	asked   *int
}

func (h hollow) Read(t drover.Tenant, span drover.Span) drover.Pass {
	if span.Open() {
		return h.api.Read(t, span)
	}
	return &hollowPass{h: h, span: span}
}

type hollowPass struct {
	h    hollow
	span drover.Span
	n    int
}

func (p *hollowPass) Next(context.Context) (drover.Page, error) {
	p.n++
	*p.h.asked++
	through := p.span.From.Add(p.span.To.Sub(p.span.From) / time.Duration(p.h.answers) * time.Duration(p.n))
	return drover.Page{Server: drover.InstantOf(time.Now()), Through: through, Done: p.n == p.h.answers}, nil
}

// counted counts commits that move a backfill.
type counted struct {
	ledger.Store
	n *int
}

func (s counted) Commit(ctx context.Context, c ledger.Commit) (ledger.Committed, error) {
	if len(c.Backfills) > 0 {
		*s.n++
	}
	return s.Store.Commit(ctx, c)
}

func TestYearsInWhichNothingHappenedAreNotWrittenDayByDay(t *testing.T) {
	const answers, emptyPages = 500, 32
	story(t, 1, func(w *world) {
		asked, commits := 0, 0
		w.store = counted{w.store, &commits}
		w.beginWith(hollow{w.api, answers, &asked})
		w.pass(time.Minute)
		w.backfill(0, time.Now().Add(-1500*24*time.Hour), time.Now().Add(-1000*24*time.Hour))
		w.pass(2 * time.Hour)
		list := w.backfills(0) // the tenant's own past, and the years before
		for _, b := range list {
			if b.State != ledger.BackfillDone || b.Pages != answers || b.At != b.Span.To {
				t.Errorf("%+v", b)
			}
		}
		if most := len(list) * (answers/emptyPages + 3); commits > most || asked < len(list)*answers {
			t.Errorf("%d commits for %d answers, want at most %d", commits, asked, most)
		}
	})
}
