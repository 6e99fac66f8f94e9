package admin

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"drover"
	"drover/internal/coverage"
	"drover/internal/ledger"
)

// counted is a store with one feed of 100 revisions, of which the bodies up to
// gone have been thrown away.
type counted struct {
	ledger.Store
	gone   uint64
	since  int64 // revisions of the last days
	state  drover.TenantState
	walked []uint64
	broken error
	feeds  atomic.Int64 // how often all feeds were read
}

// covered asks for one tenant.
func covered(ctx context.Context, l *Local, q CoverageQuery) (out coverage.Tenant, err error) {
	err = l.Coverage(ctx, q, func(c Covered) error {
		out = *c.Tenant
		return nil
	})
	return out, err
}

func (c *counted) FindTenant(context.Context, string) (drover.Tenant, error) {
	return drover.Tenant{ID: "t", Name: "contoso", State: c.state}, nil
}

var readTo = drover.InstantOf(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))

func (c *counted) Feeds(context.Context) ([]ledger.FeedState, error) {
	c.feeds.Add(1)
	return []ledger.FeedState{
		{Feed: drover.Feed{Tenant: "other", Source: drover.GraphAlerts}, Head: 9, Whole: readTo.Add(time.Hour)},
		{Feed: drover.Feed{Tenant: "t", Source: drover.GraphAlerts}, Head: 100, Whole: readTo, Cursor: drover.Cursor{Source: drover.GraphAlerts, Through: readTo.Add(-time.Hour)}},
	}, nil
}

func (c *counted) Counts(context.Context, drover.TenantID) ([]ledger.DayCount, error) {
	day := func(ago int) string { return time.Now().UTC().AddDate(0, 0, -ago).Format("2006-01-02") }
	return []ledger.DayCount{
		{Day: day(0), Source: drover.GraphAlerts, Severity: "high", What: "revisions", N: c.since - 1},
		{Day: day(30), Source: drover.GraphAlerts, Severity: "low", What: "revisions", N: 1},
		{Day: day(40), Source: drover.GraphAlerts, Severity: "low", What: "revisions", N: 50},
		{Day: day(0), Source: drover.GraphAlerts, Sink: "soc", What: "taken", N: 1000},
		{Day: day(0), Source: drover.GraphAlerts, What: "touches", N: 1000},
		{Day: day(0), Source: drover.MDEAlerts, What: "revisions", N: 1000},
	}, nil
}

func (c *counted) Walk(_ context.Context, f drover.Feed, seq uint64, maxRows, _ int, visit func(*drover.Revision)) error {
	c.walked = append(c.walked, seq)
	n := 0
	for s := max(seq, c.gone) + 1; s <= 100 && n < min(maxRows, 7); s++ {
		n++
		visit(&drover.Revision{Feed: f, Seq: s, AlertID: fmt.Sprint("da", s), Created: drover.InstantOf(time.Now()), Raw: []byte(`{"serviceSource":"microsoftSentinel"}`)})
	}
	return c.broken
}

func TestCoverageCountsWhatCameInTheDaysThatAreAskedFor(t *testing.T) {
	broken := errors.New("the disk")
	for name, tt := range map[string]struct {
		store  *counted
		first  uint64 // behind which it is walked
		alerts int
		pruned bool
		err    error
	}{
		"from where the days begin":       {&counted{since: 40}, 60, 40, false, nil},
		"the counts say more than is had": {&counted{since: 4000}, 0, 100, false, nil},
		"the older ones are gone":         {&counted{since: 40, gone: 70}, 60, 30, true, nil},
		"all are gone":                    {&counted{since: 40, gone: 100}, 60, 0, true, nil},
		"gone before that":                {&counted{since: 40, gone: 60}, 60, 40, false, nil},
		"it cannot be read":               {&counted{since: 40, broken: broken}, 60, 0, false, broken},
	} {
		l := Local{Store: tt.store, Cover: func(context.Context, drover.Tenant, bool) []coverage.Source {
			return []coverage.Source{{ID: drover.GraphAlerts, Answer: coverage.Open}, {ID: drover.MDEAlerts, Answer: coverage.Open}}
		}}
		got, err := covered(t.Context(), &l, CoverageQuery{Tenants: []string{"contoso"}, Days: 30})
		if !errors.Is(err, tt.err) || tt.store.walked[0] != tt.first {
			t.Errorf("%s: %v, walked behind %v", name, err, tt.store.walked)
		}
		if err != nil {
			continue
		}
		s, alerts := got.Sources[0], 0
		for _, n := range s.Seen {
			alerts += n.Alerts
		}
		if alerts != tt.alerts || s.Pruned != tt.pruned || s.ReadUpTo != readTo || got.Sources[1].ReadUpTo.Known() || len(got.Products) == 0 {
			t.Errorf("%s: %d alerts, %+v", name, alerts, got.Sources)
		}
	}
	for name, q := range map[string]struct {
		days  int
		state drover.TenantState
	}{"no days": {0, drover.Active}, "too many": {181, drover.Active}, "a removed tenant": {30, drover.Removed}} {
		l := Local{Store: &counted{state: q.state}, Cover: func(context.Context, drover.Tenant, bool) []coverage.Source { return nil }}
		if _, err := covered(t.Context(), &l, CoverageQuery{Tenants: []string{"contoso"}, Days: q.days}); drover.KindOf(err) != drover.Refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// crowded is a store with many tenants, of which one was removed and one cannot
// be read.
type crowded struct {
	counted
	n int
}

func (c *crowded) ListTenants(context.Context) (out []drover.Tenant, _ error) {
	for i := range c.n {
		out = append(out, drover.Tenant{ID: drover.TenantID(fmt.Sprint(i)), Name: fmt.Sprint("n", i), State: drover.Active})
	}
	return append(out, drover.Tenant{ID: "gone", Name: "gone", State: drover.Removed}), nil
}

func (c *crowded) FindTenant(_ context.Context, s string) (drover.Tenant, error) {
	if s == "nobody" {
		return drover.Tenant{}, ledger.ErrNotFound
	}
	return drover.Tenant{ID: drover.TenantID(s), Name: s, State: drover.Active}, nil
}

func TestHowFarFeedsAreIsReadOnceForAllTenants(t *testing.T) {
	dir := t.TempDir()
	store := &crowded{counted: counted{since: 40}, n: 50}
	var whole atomic.Int64
	l := &Local{Store: store, Whole: func() map[drover.Feed]drover.Instant {
		whole.Add(1)
		return map[drover.Feed]drover.Instant{{Tenant: "t", Source: drover.GraphAlerts}: readTo.Add(time.Minute)}
	}, Cover: func(_ context.Context, tenant drover.Tenant, _ bool) []coverage.Source {
		if tenant.ID == "t" {
			return []coverage.Source{{ID: drover.GraphAlerts, Answer: coverage.Open}}
		}
		return nil
	}}
	sock, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, sock, l) }()
	for name, api := range map[string]API{"alone": l, "running": Dial(dir)} {
		store.feeds.Store(0)
		whole.Store(0)
		places := make(map[int]bool)
		ask := func(names ...string) (failed []CoverageFailure, err error) {
			clear(places)
			err = api.Coverage(ctx, CoverageQuery{Tenants: names, Days: 30}, func(c Covered) error {
				if c.Place == c.Of {
					if len(c.Together) > 0 != (len(names) > 0) || len(names) > 0 && c.Together[0].Alerts != 40 {
						t.Errorf("%s: together %+v", name, c.Together)
					}
					return nil
				}
				places[c.Place] = true
				if c.Failed != nil {
					failed = append(failed, *c.Failed)
				} else if c.Tenant.ID == "t" && c.Tenant.Sources[0].ReadUpTo != readTo.Add(time.Minute) {
					t.Errorf("%s: read up to %s", name, c.Tenant.Sources[0].ReadUpTo)
				}
				return nil
			})
			return failed, err
		}
		if failed, err := ask(); err != nil || len(failed) > 0 || len(places) != 50 || !places[0] || !places[49] || store.feeds.Load() != 1 || whole.Load() != 1 {
			t.Errorf("%s, all: %v %v, %d tenants; feeds were read %d times, the process was asked %d times", name, err, failed, len(places), store.feeds.Load(), whole.Load())
		}
		if failed, err := ask("t", "nobody"); err != nil || len(failed) != 1 || len(places) != 2 || failed[0].Tenant != "nobody" || failed[0].Hint != "see: drover tenant list" {
			t.Errorf("%s, one that is not there: %v %+v", name, err, failed)
		}
		if _, err := ask("nobody"); drover.KindOf(err) != drover.Refused {
			t.Errorf("%s, nobody else: %v", name, err)
		}
		enough := errors.New("enough")
		n := 0
		if err := api.Coverage(ctx, CoverageQuery{Days: 30}, func(Covered) error { n++; return enough }); !errors.Is(err, enough) || n != 1 {
			t.Errorf("%s: %v after %d", name, err, n)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
