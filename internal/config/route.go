package config

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"drover"
)

// Route sends some tenants' alerts to some sinks.
type Route struct {
	// Tenants that it matches, by name or ID.
	Tenants []string `yaml:"tenants" kind:"tenant"`
	// Customers that it matches, by short name.
	Customers []string `yaml:"customers" kind:"slug"`
	// Sinks to which the alerts go, by ID.
	Sinks []drover.SinkID `yaml:"sinks" kind:"slug"`
	// The alerts go nowhere. They are read, kept and counted.
	Drop bool `yaml:"drop" default:"false"`
}

// Validate checks that a route leads somewhere, or nowhere on purpose.
func (r *Route) Validate(report Report) {
	for key, empty := range map[string]bool{"tenants": r.Tenants != nil && len(r.Tenants) == 0, "customers": r.Customers != nil && len(r.Customers) == 0} {
		if empty {
			report(key, "%s is an empty list, which matches nobody; leave the key out to match everybody", key)
		}
	}
	switch {
	case r.Drop && len(r.Sinks) > 0:
		report("drop", "a route has sinks or drop: true, not both")
	case !r.Drop && len(r.Sinks) == 0:
		report("", "a route needs sinks: [...], or drop: true to send alerts nowhere on purpose")
	}
}

// All reports whether the route matches every tenant.
func (r *Route) All() bool { return len(r.Tenants) == 0 && len(r.Customers) == 0 }

func (r *Route) matches(t drover.Tenant) bool {
	return r.All() || slices.Contains(r.Customers, string(t.Customer)) ||
		slices.Contains(r.Tenants, string(t.ID)) || t.Name != "" && slices.Contains(r.Tenants, t.Name)
}

// Routes are tried in order; the first that matches counts. An empty list
// sends everything to every sink.
type Routes []Route

// check refuses lists that leave a tenant out silently, and routes that are
// never reached (faults-and-invariants C07). Keys are whole paths.
func (r Routes) check(report Report) {
	if r == nil {
		return
	}
	if len(r) == 0 {
		report("routes", "routes is an empty list; leave the key out to send everything to every sink")
		return
	}
	for i := range r[:len(r)-1] {
		if r[i].All() {
			report(fmt.Sprintf("routes.%d", i+1), "this route is never reached: entry %d matches every tenant", i+1)
			return
		}
	}
	if !r[len(r)-1].All() {
		report("routes", "alerts of a tenant that no route matches would go nowhere unnoticed; add a last route without tenants and customers: sinks: [...], or drop: true")
	}
}

// Routed reports whether t's alerts go to s.
func (r Routes) Routed(t drover.Tenant, s drover.SinkID) bool {
	if len(r) == 0 {
		return true
	}
	for i := range r {
		if r[i].matches(t) {
			return slices.Contains(r[i].Sinks, s)
		}
	}
	return false
}

// Generation names this set of routes: the same routes give the same number on
// every machine, others another one. What was not routed is counted under it.
func (r Routes) Generation() uint64 {
	text, _ := json.Marshal([]Route(r)) // plain text and bools always encode
	sum := sha256.Sum256(text)
	return binary.BigEndian.Uint64(sum[:]) >> 1 // fits a signed column
}
