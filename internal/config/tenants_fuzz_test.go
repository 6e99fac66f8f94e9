package config

import (
	"reflect"
	"testing"
)

// FuzzTenants: whatever a list holds, it is refused in words or read, and what
// was read is written and read back the same.
func FuzzTenants(f *testing.F) {
	for _, tt := range tenantCases {
		f.Add(tt.text)
	}
	f.Add("tenants: [{id: " + guidA + ", name: a, regions: [\"x y\", 'no'], start: 24h}]")
	f.Add("id;name;sources\n" + guidA + ";a;graph.alerts mde.alerts\n")
	f.Add("id,name\n\"" + guidA + "\",\"a\n\"\n,,,\n")
	f.Fuzz(func(t *testing.T, text string) {
		if list, err := ParseTenants("t", []byte(text)); err == nil {
			again, err := ParseTenants("t", EncodeTenants(full(list.List)))
			if err != nil || !reflect.DeepEqual(again.List, full(list.List)) {
				t.Errorf("%v\n%q", err, text)
			}
		} else if len(IsFaults(err)) == 0 {
			t.Errorf("refused without a fault: %v", err)
		}
		rows, err := ParseTenantsCSV("t", []byte(text))
		if err != nil && len(IsFaults(err)) == 0 {
			t.Errorf("refused without a fault: %v", err)
		}
		for _, r := range rows {
			if r.Line < 2 || len(r.Faults) == 0 && (r.ID == "" || r.Name == "") {
				t.Errorf("%+v", r)
			}
		}
	})
}

// full gives every key a value, as an export does.
func full(list []Tenant) []Tenant {
	out := make([]Tenant, len(list))
	for i, t := range list {
		def := func(s *string, d string) {
			if *s == "" {
				*s = d
			}
		}
		def(&t.Customer, t.Name)
		def(&t.Cloud, "worldwide")
		def(&t.App, "default")
		def(&t.Region, NoRegion)
		def(&t.State, "active")
		t.Start = "2026-03-02T08:00:00.0000000Z"
		if t.Regions == nil {
			t.Regions = []string{}
		}
		if t.Sources == nil {
			t.Sources = append(t.Sources, "graph.alerts")
		}
		out[i] = t
	}
	return out
}
