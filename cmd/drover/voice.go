package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"drover"
	"drover/internal/admin"
)

// voices says which source tells the alerts of how many tenants, and where what
// their other sources tell goes.
func (a *app) voices(ctx context.Context) ([]admin.Finding, error) {
	tenants, err := a.store.ListTenants(ctx)
	if err != nil {
		return nil, err
	}
	by := make(map[drover.SourceID]int)
	var others []admin.Finding
	for _, t := range tenants {
		if t.State == drover.Removed {
			continue
		}
		p := t.Primary()
		if p != "" {
			by[p]++
		}
		for _, s := range t.Sources {
			if t.Secondary(s) {
				others = append(others, admin.Finding{What: "tenant " + t.Name, OK: true, Says: fmt.Sprintf("%s tells its alerts; what %s tells %s", p, s, a.ways(t, s))})
			}
		}
	}
	var parts []string
	for _, s := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, fmt.Sprintf("%s %d", s, by[s]))
	}
	if len(parts) == 0 {
		return others, nil
	}
	return append([]admin.Finding{{What: "alerts", OK: true, Says: "tenants by the source that tells their alerts: " + strings.Join(parts, ", ")}}, others...), nil
}

// ways says where a source of a tenant goes.
func (a *app) ways(t drover.Tenant, s drover.SourceID) string {
	var to []string
	for _, id := range a.cfg.SinkIDs() {
		if a.cfg.Routes.Routed(t, s, id) {
			to = append(to, string(id))
		}
	}
	if len(to) == 0 {
		return "is kept, and sent only where the other does not show it within 48 hours; a route with sources: [" + string(s) + "] would name it"
	}
	return "goes to " + strings.Join(to, ", ") + ", as a route says"
}
