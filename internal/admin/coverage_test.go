package admin

import (
	"context"
	"errors"
	"fmt"
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
}

func (c *counted) FindTenant(context.Context, string) (drover.Tenant, error) {
	return drover.Tenant{ID: "t", Name: "contoso", State: c.state}, nil
}

var readTo = drover.InstantOf(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))

func (c *counted) Feeds(context.Context) ([]ledger.FeedState, error) {
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
		store  counted
		first  uint64 // behind which it is walked
		alerts int
		pruned bool
		err    error
	}{
		"from where the days begin":       {counted{since: 40}, 60, 40, false, nil},
		"the counts say more than is had": {counted{since: 4000}, 0, 100, false, nil},
		"the older ones are gone":         {counted{since: 40, gone: 70}, 60, 30, true, nil},
		"all are gone":                    {counted{since: 40, gone: 100}, 60, 0, true, nil},
		"gone before that":                {counted{since: 40, gone: 60}, 60, 40, false, nil},
		"it cannot be read":               {counted{since: 40, broken: broken}, 60, 0, false, broken},
	} {
		l := Local{Store: &tt.store, Cover: func(context.Context, drover.Tenant, bool) []coverage.Source {
			return []coverage.Source{{ID: drover.GraphAlerts, Answer: coverage.Open}, {ID: drover.MDEAlerts, Answer: coverage.Open}}
		}}
		got, err := l.Coverage(t.Context(), CoverageQuery{Tenant: "contoso", Days: 30})
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
		if _, err := l.Coverage(t.Context(), CoverageQuery{Tenant: "contoso", Days: q.days}); drover.KindOf(err) != drover.Refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}
