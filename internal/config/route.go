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
	// APIs that it matches. Without it: incidents, and of those that tell the tenant's alerts the primary one, which is graph.alerts where the tenant has it, else mde.alerts, else siem.detections. What another one tells goes only where a route names it here.
	Sources []drover.SourceID `yaml:"sources" oneof:"graph.alerts,graph.incidents,mde.alerts,siem.detections"`
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
	if r.Sources != nil && len(r.Sources) == 0 {
		report("sources", "sources is an empty list, which matches nothing; leave the key out to match incidents and each tenant's primary source of alerts")
	}
	switch {
	case r.Drop && len(r.Sinks) > 0:
		report("drop", "a route has sinks or drop: true, not both")
	case !r.Drop && len(r.Sinks) == 0:
		report("", "a route needs sinks: [...], or drop: true to send alerts nowhere on purpose")
	}
}

// All reports whether the route matches every tenant, in all that is told
// without being named.
func (r *Route) All() bool { return r.everybody() && len(r.Sources) == 0 }

func (r *Route) everybody() bool { return len(r.Tenants) == 0 && len(r.Customers) == 0 }

func (r *Route) matches(t drover.Tenant, from drover.SourceID) bool {
	if named := slices.Contains(r.Sources, from); !named && (len(r.Sources) > 0 || t.Secondary(from)) {
		return false
	}
	return r.everybody() || slices.Contains(r.Customers, string(t.Customer)) ||
		slices.Contains(r.Tenants, string(t.ID)) || t.Name != "" && slices.Contains(r.Tenants, t.Name)
}

// Routes are tried in order; the first that matches counts. An empty list
// sends everything to every sink, save what secondary sources tell.
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
			if len(r[i+1].Sources) > 0 {
				report(fmt.Sprintf("routes.%d", i+1), "a route with sources stands before entry %d, which matches every tenant", i+1)
			} else {
				report(fmt.Sprintf("routes.%d", i+1), "this route is never reached: entry %d matches every tenant", i+1)
			}
			return
		}
	}
	if !r[len(r)-1].All() {
		report("routes", "alerts of a tenant that no route matches would go nowhere unnoticed; add a last route without tenants, customers and sources: sinks: [...], or drop: true")
	}
}

// Routed reports whether what a source tells of t goes to a sink.
func (r Routes) Routed(t drover.Tenant, from drover.SourceID, to drover.SinkID) bool {
	if len(r) == 0 {
		return !t.Secondary(from)
	}
	for i := range r {
		if r[i].matches(t, from) {
			return slices.Contains(r[i].Sinks, to)
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
