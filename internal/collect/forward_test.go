package collect_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"drover"
	"drover/internal/ledger"
)

// busy is a ledger that is too busy for some commits that hold anything.
type busy struct {
	ledger.Store
	times int
}

func (b *busy) Commit(ctx context.Context, c ledger.Commit) (ledger.Committed, error) {
	if len(c.Revisions)+len(c.Aside) > 0 && b.times > 0 {
		b.times--
		return ledger.Committed{}, &drover.Error{Op: "commit", Kind: drover.Transient, Err: errors.New("busy")}
	}
	return b.Store.Commit(ctx, c)
}

func TestAPageThatTheLedgerWasTooBusyForIsNotLost(t *testing.T) {
	story(t, 1, func(w *world) {
		w.store = &busy{w.store, 8} // more often than a place may fail before it is left behind
		now := time.Now()
		mine, theirs := at("mine", now), at("theirs", now)
		theirs.tenant = string(tenantID(9))
		w.api.add(tenantID(0), mine, theirs)
		w.begin()
		w.pass(2 * time.Second)
		w.api.mu.Lock()
		w.api.rows[tenantID(0)] = nil // the API shows them once
		w.api.mu.Unlock()
		w.pass(30 * time.Minute)
		if got := w.ledgered(0); !slices.Equal(got, []string{"mine/0"}) {
			t.Errorf("ledgered %v", got)
		}
		aside, err := w.store.SetAside(context.Background(), ledger.AsideFilter{})
		if err != nil || len(aside) != 1 || aside[0].Reason != "foreign" {
			t.Errorf("set aside %+v, %v", aside, err)
		}
		if n := w.count("gap_opened"); n != 0 {
			t.Errorf("%d gaps opened for what is the ledger's trouble", n)
		}
	})
}

// A place that cannot be read is left behind, the ledger is too busy for what
// was read behind it, and the API does not show it again.
func TestAPageBehindALeftPlaceThatTheLedgerWasTooBusyForIsNotLost(t *testing.T) {
	story(t, 1, func(w *world) {
		w.store = &busy{w.store, 3}
		now := time.Now()
		bad, served := drover.InstantOf(now.Add(10*time.Minute)), false
		once := row{id: "once", changed: now.Add(20 * time.Minute), visible: bad.Time(), body: func(int) string {
			served = true
			return `{"id":"once"}`
		}}
		w.api.add(tenantID(0), once)
		w.api.fail = func(id drover.TenantID, s drover.Span) error {
			if served {
				w.api.rows[id] = nil
			}
			if s.Contains(bad) && time.Now().After(bad.Time()) {
				return transient()
			}
			return nil
		}
		w.begin()
		w.pass(time.Hour)
		if got := w.ledgered(0); !slices.Equal(got, []string{"once/0"}) {
			t.Errorf("ledgered %v", got)
		}
	})
}

// round is a source that leads nowhere from some place on: every second answer
// is one, and shows what was shown before.
type round struct {
	*api
	bad drover.Instant
}

func (s round) Read(t drover.Tenant, span drover.Span) drover.Pass {
	p := s.api.Read(t, span)
	if !span.Contains(s.bad) {
		return p
	}
	return &rounds{Pass: p}
}

type rounds struct {
	drover.Pass
	n int
}

func (p *rounds) Next(ctx context.Context) (drover.Page, error) {
	page, err := p.Pass.Next(ctx)
	if p.n++; err == nil && p.n%2 == 0 {
		return page, transient()
	}
	page.Done, page.Through = false, drover.NoInstant
	return page, err
}

func TestAnAPIThatAnswersWithoutLeadingOnDoesNotHoldTheTail(t *testing.T) {
	story(t, 1, func(w *world) {
		now := time.Now()
		source := round{w.api, drover.InstantOf(now.Add(-time.Hour))}
		w.api.add(tenantID(0), at("behind", now))
		w.beginWith(source)
		w.pass(30 * time.Minute)
		if got := w.ledgered(0); !slices.Contains(got, "behind/0") {
			t.Errorf("ledgered %v", got)
		}
		if gaps := w.state(0).Gaps; len(gaps) == 0 {
			t.Error("no gap was opened")
		}
		if n := w.api.times(0); n > 300 {
			t.Errorf("%d requests in half an hour", n)
		}
	})
}

func TestAnAPIThatAsksForNextToNoPatienceIsAskedEverMoreRarely(t *testing.T) {
	story(t, 1, func(w *world) {
		w.api.fail = func(drover.TenantID, drover.Span) error {
			return &drover.Error{Op: "read", Kind: drover.Throttled, Wait: time.Second, Err: errors.New("429, Retry-After: 0")}
		}
		w.begin()
		w.pass(time.Hour)
		if n := w.api.times(0); n < 50 || n > 70 {
			t.Errorf("%d requests in an hour", n)
		}
	})
}

func TestAGapInWhichThereIsOnlyARowOfSomebodyElseCloses(t *testing.T) {
	story(t, 1, func(w *world) {
		now := time.Now()
		theirs := at("theirs", now.Add(30*time.Minute))
		theirs.tenant = string(tenantID(9))
		for n := range 120 {
			if n != 30 {
				w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n)*time.Minute)))
			}
		}
		w.api.add(tenantID(0), theirs)
		var healed atomic.Bool
		w.api.fail = func(_ drover.TenantID, s drover.Span) error {
			if s.Contains(drover.InstantOf(theirs.changed)) && time.Since(now) > 29*time.Minute && !healed.Load() {
				return transient()
			}
			return nil
		}
		w.begin()
		w.pass(2 * time.Hour)
		if n := len(w.state(0).Gaps); n != 1 {
			t.Fatalf("%d gaps are open, want one", n)
		}
		healed.Store(true)
		w.pass(8 * time.Hour)
		if gaps := w.state(0).Gaps; len(gaps) != 0 {
			t.Errorf("still open: %v", gaps)
		}
	})
}

func TestAnAnswerOfNothingButForeignRowsParksAFeedUntilTheyAreKnown(t *testing.T) {
	for name, tt := range map[string]struct {
		own    bool
		parked bool
	}{
		"a feed that had rows of its own goes on when they are set aside": {true, false},
		"a feed that never had any stays parked":                          {false, true},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, 1, func(w *world) {
				now := time.Now()
				if tt.own {
					w.api.add(tenantID(0), at("mine", now.Add(-time.Hour)))
				}
				theirs := at("theirs", now.Add(30*time.Minute))
				theirs.tenant = string(tenantID(9))
				w.api.add(tenantID(0), theirs)
				w.begin()
				w.pass(3 * time.Hour)
				if w.count("parked") == 0 {
					t.Error("the feed was not parked at all")
				}
				if parked := w.state(0).Parked != ""; parked != tt.parked {
					t.Errorf("parked %v in the end", parked)
				}
				aside, err := w.store.SetAside(context.Background(), ledger.AsideFilter{Reason: "foreign"})
				if err != nil || len(aside) != 1 {
					t.Errorf("set aside %d, %v", len(aside), err)
				}
			})
		})
	}
}
