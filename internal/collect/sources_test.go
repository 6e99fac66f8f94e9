package collect_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"drover"
	"drover/internal/collect"
	"drover/internal/proof"
	"drover/internal/revision"
)

// named is a pretend source of another name.
type named struct {
	*api
	id drover.SourceID
}

func (n named) ID() drover.SourceID { return n.id }

// A source that is retired takes nothing else with it: its feeds are parked, of
// however many tenants, and the others of these tenants are read as before.
func TestASourceThatDiesLeavesItsTenantsTheOthers(t *testing.T) {
	const tenants = 15 // more than make an incident of an app
	parked, others, incidents, lost := 0, 0, 0, 0
	story(t, 0, func(w *world) {
		all := []drover.SourceID{drover.GraphAlerts, drover.GraphIncidents, drover.MDEAlerts, drover.SIEMDetections}
		apis, sources := make(map[drover.SourceID]*api), []drover.Source{}
		for _, id := range all {
			apis[id] = newAPI()
			sources = append(sources, named{apis[id], id})
		}
		for n := range tenants {
			if err := w.store.AddTenant(w.Context(), drover.Tenant{ID: tenantID(n), Name: fmt.Sprint("t", n), Customer: "c", App: "app", Sources: all, Start: drover.InstantOf(time.Now().Add(-time.Hour))}); err != nil {
				w.Fatal(err)
			}
		}
		var dead atomic.Bool
		apis[drover.MDEAlerts].fail = func(drover.TenantID, drover.Span) error {
			if dead.Load() {
				return &drover.Error{Op: "read alerts", Kind: drover.Denied, Hint: "read the tenant by graph.alerts", Err: errors.New("410")}
			}
			return nil
		}
		c, err := collect.New(collect.Options{Store: hurt{w.store, w}, Sources: sources, Compare: revision.Comparer{}, Seed: 1, Steady: true, Notify: func(e collect.Event) {
			w.mu.Lock()
			w.events = append(w.events, e)
			w.mu.Unlock()
		}})
		if err != nil {
			w.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		w.cancel, w.done = cancel, make(chan error, 1)
		go func() { w.done <- c.Run(ctx) }()
		w.pass(30 * time.Minute)
		dead.Store(true)
		w.pass(10 * time.Minute)
		before := make(map[drover.SourceID]int)
		reads := func(id drover.SourceID, n int) int {
			apis[id].mu.Lock()
			defer apis[id].mu.Unlock()
			return len(apis[id].asked[tenantID(n)])
		}
		for _, id := range all {
			before[id] = reads(id, 0)
			apis[id].add(tenantID(0), at("late", time.Now()))
		}
		w.pass(6 * time.Hour)
		for _, id := range all {
			n := reads(id, 0) - before[id]
			switch {
			case id != drover.MDEAlerts && n < 350:
				w.Errorf("%s was read %d times in six hours", id, n)
			case id == drover.MDEAlerts && n > 14:
				w.Errorf("%s was asked %d times in six hours", id, n)
			}
			if id != drover.MDEAlerts {
				others += n
			}
		}
		feeds, err := w.store.Feeds(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		for _, f := range feeds {
			switch {
			case f.Feed.Source == drover.MDEAlerts && strings.Contains(f.Parked, "graph.alerts"):
				parked++
			case f.Feed.Source == drover.MDEAlerts, f.Parked != "":
				w.Errorf("%s: parked for %q", f.Feed, f.Parked)
			}
			for r, err := range w.store.Revisions(w.Context(), f.Feed, 1) {
				if err != nil || r.AlertID != "late" {
					w.Error(f.Feed, r.AlertID, err)
				}
			}
		}
		if parked != tenants {
			w.Errorf("%d feeds are parked, want %d", parked, tenants)
		}
		if incidents = w.count("incident"); incidents > 0 {
			w.Errorf("%d incidents of an app whose tenants are read", incidents)
		}
		// It heals by itself, and has lost nothing.
		dead.Store(false)
		w.pass(90 * time.Minute)
		for _, id := range all {
			n := 0
			for _, err := range w.store.Revisions(w.Context(), drover.Feed{Tenant: tenantID(0), Source: id}, 1) {
				if err != nil {
					w.Fatal(err)
				}
				n++
			}
			if n != 1 {
				w.Errorf("%s: %d revisions in the end", id, n)
				lost++
			}
		}
	})
	proof.Ran(t, "P33", "one source of %d tenants dead for six hours: %d feeds parked, the three others of one tenant read %d times, incidents %d; lost %d when it had healed", tenants, parked, others, incidents, lost)
}
