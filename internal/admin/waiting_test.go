package admin

import (
	"context"
	"slices"
	"testing"
	"time"

	"drover"
	"drover/internal/ledger"
	"drover/internal/revision"
)

// waits is a store with one sink, whose places are given, and blocks of ten
// revisions each that were stored so long ago.
type waits struct {
	ledger.Store
	places []ledger.Place
	ages   map[drover.Feed][]time.Duration
	gone   uint64
}

func (w *waits) Places(context.Context, drover.SinkID) ([]ledger.Place, error) { return w.places, nil }
func (w *waits) Attempts(context.Context, drover.SinkID) ([]ledger.Attempt, error) {
	return nil, nil
}
func (w *waits) SetAside(context.Context, ledger.AsideFilter) ([]ledger.Aside, error) {
	return nil, nil
}
func (w *waits) Stored(_ context.Context, f drover.Feed, seq uint64, maxRows int) (out []ledger.Stored, _ error) {
	for i, age := range w.ages[f] {
		r := ledger.Stored{First: uint64(i*10 + 1), Last: uint64(i*10 + 10), At: drover.InstantOf(time.Now().Add(-age))}
		if r.Last > max(seq, w.gone) && len(out)*10 < maxRows {
			out = append(out, r)
		}
	}
	return out, nil
}

func TestWhatWaitsOnPurposeIsNotWhatASinkIsBehindWith(t *testing.T) {
	const soc = drover.SinkID("soc")
	hours := func(list ...int) (out []time.Duration) {
		for _, h := range list {
			out = append(out, time.Duration(h)*time.Hour)
		}
		return out
	}
	twoDays := hours(96, 72, 47, 10, 1)
	only := func(s ...drover.SourceID) func(drover.Tenant, drover.SourceID, drover.SinkID) bool {
		return func(_ drover.Tenant, from drover.SourceID, _ drover.SinkID) bool { return slices.Contains(s, from) }
	}
	primary := only(drover.GraphAlerts, drover.GraphIncidents)
	for name, tt := range map[string]struct {
		state         drover.TenantState
		source        drover.SourceID
		routed        func(drover.Tenant, drover.SourceID, drover.SinkID) bool
		choice        revision.Choice
		ages          []time.Duration
		place         ledger.Place
		behind, waits uint64
		why           string
		next, until   time.Duration
		gone          uint64
	}{
		"all is young":                    {source: drover.MDEAlerts, routed: primary, ages: hours(40, 10), waits: 20, why: WaitPrimary, next: 8 * time.Hour, until: 38 * time.Hour},
		"some could be decided":           {source: drover.MDEAlerts, routed: primary, ages: twoDays, behind: 20, waits: 30, why: WaitPrimary, next: time.Hour, until: 47 * time.Hour},
		"those have been":                 {source: drover.MDEAlerts, routed: primary, ages: twoDays, place: ledger.Place{Seq: 20}, waits: 30, why: WaitPrimary, next: time.Hour, until: 47 * time.Hour},
		"the place is within a block":     {source: drover.MDEAlerts, routed: primary, ages: twoDays, place: ledger.Place{Seq: 24, Beyond: []uint64{26, 50}}, waits: 24, why: WaitPrimary, next: time.Hour, until: 47 * time.Hour},
		"nothing is owed":                 {source: drover.MDEAlerts, routed: primary, ages: twoDays, place: ledger.Place{Seq: 50}},
		"it goes there":                   {source: drover.MDEAlerts, routed: only(drover.GraphAlerts, drover.MDEAlerts), ages: twoDays, behind: 50},
		"nothing of it goes there":        {source: drover.MDEAlerts, routed: only(), ages: twoDays, behind: 50},
		"the primary source":              {source: drover.GraphAlerts, routed: primary, ages: twoDays, behind: 50},
		"no teller of alerts":             {source: drover.GraphIncidents, routed: only(drover.GraphAlerts), ages: twoDays, behind: 50},
		"the tenant is paused":            {state: drover.Paused, source: drover.MDEAlerts, routed: primary, ages: twoDays, behind: 50},
		"a clock was wrong":               {source: drover.MDEAlerts, routed: primary, ages: hours(-5, 10), behind: 10, waits: 10, why: WaitPrimary, next: 38 * time.Hour, until: 38 * time.Hour},
		"the bodies are gone":             {source: drover.MDEAlerts, routed: primary, ages: twoDays, gone: 50, behind: 50},
		"states that are to settle":       {source: drover.GraphAlerts, routed: primary, choice: revision.Settled, ages: []time.Duration{time.Hour, 6 * time.Minute, time.Minute}, behind: 10, waits: 20, why: WaitRest, next: 4 * time.Minute, until: 9 * time.Minute},
		"of a source that goes nowhere":   {source: drover.SIEMDetections, routed: only(), choice: revision.Settled, ages: []time.Duration{time.Minute}, behind: 10},
		"many more than are read at once": {source: drover.MDEAlerts, routed: primary, ages: append(slices.Repeat(hours(90), 1000), hours(30, 20)...), behind: 10000, waits: 20, why: WaitPrimary, next: 18 * time.Hour, until: 28 * time.Hour},
	} {
		if tt.state == "" {
			tt.state = drover.Active
		}
		feed := drover.Feed{Tenant: "t", Source: tt.source}
		tt.place.Feed, tt.place.Head = feed, uint64(10*len(tt.ages))
		other := tt.place // of another tenant, the same
		other.Feed.Tenant = "u"
		store := &waits{places: []ledger.Place{tt.place, other}, ages: map[drover.Feed][]time.Duration{feed: tt.ages, other.Feed: tt.ages}, gone: tt.gone}
		l := &Local{Store: store, Routed: tt.routed, Revisions: map[drover.SinkID]revision.Choice{soc: tt.choice}}
		tenant := drover.Tenant{ID: "t", State: tt.state, Sources: []drover.SourceID{drover.SIEMDetections, drover.MDEAlerts, drover.GraphIncidents, drover.GraphAlerts}}
		before := drover.InstantOf(time.Now())
		s, err := l.sink(t.Context(), soc, map[drover.TenantID]drover.Tenant{"t": tenant, "u": tenant})
		after := drover.InstantOf(time.Now())
		if err != nil || s.Behind != 2*tt.behind || s.Owed() != 2*(tt.behind+tt.waits) {
			t.Errorf("%s: %v, behind %d, owed %d", name, err, s.Behind, s.Owed())
		}
		if tt.waits == 0 {
			if len(s.Waiting) > 0 {
				t.Errorf("%s: %+v", name, s.Waiting)
			}
			continue
		}
		if len(s.Waiting) != 1 || s.Waiting[0].For != tt.why || s.Waiting[0].Rows != 2*tt.waits {
			t.Errorf("%s: %+v", name, s.Waiting)
			continue
		}
		for what, at := range map[string]struct {
			got  drover.Instant
			want time.Duration
		}{"next": {s.Waiting[0].Next, tt.next}, "until": {s.Waiting[0].Until, tt.until}} {
			if at.got < before.Add(at.want) || at.got > after.Add(at.want) {
				t.Errorf("%s: %s is %s from now, want %s", name, what, at.got.Sub(before), at.want)
			}
		}
	}
}
