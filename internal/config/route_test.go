package config

import (
	"strings"
	"testing"

	"drover"
	"drover/internal/proof"
)

func TestTheFirstRouteThatMatchesCounts(t *testing.T) {
	contoso := drover.Tenant{ID: "aaaaaaaa-0000-4000-8000-00000000000a", Name: "contoso-eu", Customer: "contoso"}
	fabrikam := drover.Tenant{ID: "bbbbbbbb-0000-4000-8000-00000000000b", Name: "fabrikam", Customer: "fabrikam"}
	nameless := drover.Tenant{ID: "cccccccc-0000-4000-8000-00000000000c"}
	routes := Routes{
		{Tenants: []string{"contoso-eu"}, Sinks: []drover.SinkID{"one"}},
		{Customers: []string{"contoso"}, Sinks: []drover.SinkID{"two"}},
		{Tenants: []string{"bbbbbbbb-0000-4000-8000-00000000000b"}, Drop: true},
		{Sinks: []drover.SinkID{"one", "three"}},
	}
	other := contoso
	other.Name = "contoso-us"
	for name, tt := range map[string]struct {
		routes Routes
		tenant drover.Tenant
		want   string
	}{
		"no routes: every sink":         {nil, contoso, "one two three"},
		"by name":                       {routes, contoso, "one"},
		"by customer":                   {routes, other, "two"},
		"dropped, by ID":                {routes, fabrikam, ""},
		"the rest":                      {routes, nameless, "one three"},
		"a list that ends: to no sink":  {routes[:1], fabrikam, ""},
		"an empty name matches no name": {Routes{{Tenants: []string{""}, Sinks: []drover.SinkID{"one"}}}, nameless, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			for _, s := range []drover.SinkID{"one", "two", "three"} {
				if tt.routes.Routed(tt.tenant, drover.GraphAlerts, s) {
					if got != "" {
						got += " "
					}
					got += string(s)
				}
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestOneAlertHasOneVoice: of the sources that tell the same alerts only the
// primary one is delivered without being named.
func TestOneAlertHasOneVoice(t *testing.T) {
	all := []drover.SourceID{drover.SIEMDetections, drover.GraphIncidents, drover.MDEAlerts, drover.GraphAlerts}
	named := Routes{
		{Sources: []drover.SourceID{drover.SIEMDetections, drover.MDEAlerts}, Tenants: []string{"contoso"}, Sinks: []drover.SinkID{"old"}},
		{Sources: []drover.SourceID{drover.GraphIncidents}, Drop: true},
		{Sinks: []drover.SinkID{"soc"}},
	}
	checked, wrong := 0, 0
	for name, tt := range map[string]struct {
		routes  Routes
		name    string
		sources []drover.SourceID
		want    string
	}{
		"no routes, Graph leads":              {nil, "contoso", all, "graph.incidents>old graph.incidents>soc graph.alerts>old graph.alerts>soc"},
		"no routes, MDE leads without Graph":  {nil, "contoso", all[:3], "graph.incidents>old graph.incidents>soc mde.alerts>old mde.alerts>soc"},
		"no routes, SIEM leads alone":         {nil, "contoso", all[:2], "siem.detections>old siem.detections>soc graph.incidents>old graph.incidents>soc"},
		"no routes, only incidents":           {nil, "contoso", all[1:2], "graph.incidents>old graph.incidents>soc"},
		"a route that names the others":       {named, "contoso", all, "siem.detections>old mde.alerts>old graph.alerts>soc"},
		"it names what leads, too":            {named, "contoso", all[:2], "siem.detections>old"},
		"of another tenant it names nothing":  {named, "fabrikam", all, "graph.alerts>soc"},
		"of another tenant what leads is led": {named, "fabrikam", all[:1], "siem.detections>soc"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, from := range tt.sources {
				for _, to := range []drover.SinkID{"old", "soc"} {
					checked++
					if tt.routes.Routed(drover.Tenant{ID: "x", Name: tt.name, Sources: tt.sources}, from, to) {
						got = append(got, string(from)+">"+string(to))
					}
				}
			}
			if s := strings.Join(got, " "); s != tt.want {
				wrong++
				t.Errorf("got %q, want %q", s, tt.want)
			}
		})
	}
	proof.Ran(t, "one.voice", "%d ways from a source to a sink, wrong in %d of 8 configs", checked, wrong)
}

func TestAGenerationIsOfTheRoutesAlone(t *testing.T) {
	parse := func(text string) Routes {
		c, err := Parse("x", []byte("sinks: {a: {type: stdout}, b: {type: stdout}}\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		return c.Routes
	}
	one := parse("routes: [{tenants: [contoso], sinks: [a]}, {sinks: [a, b]}]")
	again := parse("log: {level: debug}\nroutes:\n- sinks: [a]\n  tenants: [contoso]\n- {sinks: [a, b]}")
	if one.Generation() != again.Generation() {
		t.Error("the same routes have two generations")
	}
	seen := map[uint64]string{one.Generation(): "one"}
	for _, text := range []string{"", "routes: [{sinks: [a, b]}]", "routes: [{sinks: [a]}]", "routes: [{customers: [contoso], sinks: [a]}, {sinks: [a, b]}]", "routes: [{drop: true}]", "routes: [{sources: [mde.alerts], sinks: [a]}, {sinks: [a, b]}]"} {
		g := parse(text).Generation()
		if seen[g] != "" || int64(g) < 0 {
			t.Errorf("%q has the generation of %q", text, seen[g])
		}
		seen[g] = text
	}
}

func TestATenantsOwnEntryIsFilledUpWithTheSinks(t *testing.T) {
	all, own := &SecretRef{File: "all"}, &SecretRef{File: "own"}
	h := SplunkHEC{Token: all, Index: "main", Source: "drover", Sourcetype: "st", Tenants: map[string]SplunkTenant{
		"contoso": {Index: "c"}, "bbbbbbbb-0000-4000-8000-00000000000b": {Token: own, Host: "h"},
	}}
	for name, tt := range map[string]struct {
		tenant drover.Tenant
		want   SplunkTenant
	}{
		"by name":      {drover.Tenant{ID: "x", Name: "contoso"}, SplunkTenant{Token: all, Index: "c", Source: "drover", Sourcetype: "st"}},
		"by ID":        {drover.Tenant{ID: "bbbbbbbb-0000-4000-8000-00000000000b", Name: "contoso"}, SplunkTenant{Token: own, Index: "main", Host: "h", Source: "drover", Sourcetype: "st"}},
		"of no entry":  {drover.Tenant{ID: "x", Name: "tailspin"}, SplunkTenant{Token: all, Index: "main", Source: "drover", Sourcetype: "st"}},
		"without name": {drover.Tenant{ID: "x"}, SplunkTenant{Token: all, Index: "main", Source: "drover", Sourcetype: "st"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := h.For(tt.tenant); got != tt.want {
				t.Errorf("got %+v", got)
			}
		})
	}
}
