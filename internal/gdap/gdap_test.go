package gdap

import (
	"slices"
	"testing"
	"time"

	"drover"
)

const (
	tenantA = drover.TenantID("aaaaaaaa-0000-4000-8000-000000000001")
	tenantB = drover.TenantID("bbbbbbbb-0000-4000-8000-000000000002")
)

var day0 = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

func related(name string, status string, end time.Time, roles ...string) Of {
	return Of{Named{Tenant: tenantA, Name: name}, Relationship{ID: name, Name: name + "-soc", Status: status, Roles: roles, Held: roles, HeldKnown: true, Activated: day0, End: end}}
}

func TestAStandingIsThatOfTheBestRelationship(t *testing.T) {
	for want, statuses := range map[Standing][]string{
		Related:    {"expired", "active", "terminated"},
		Pending:    {"approvalPending", "expired"},
		Expired:    {"terminated", "expired"},
		Terminated: {"terminationRequested"},
		Unrelated:  {},
	} {
		var c Customer
		for _, s := range statuses {
			c.Relationships = append(c.Relationships, Relationship{Status: s})
		}
		if got := c.Standing(); got != want {
			t.Errorf("%v: %s, want %s", statuses, got, want)
		}
	}
	if got := (Customer{Relationships: []Relationship{{Status: "neverHeardOf"}}}).Standing(); got == Related {
		t.Error("a status that nobody knows lets us in")
	}
}

func TestRolesAreThoseOfAllActiveRelationshipsTogether(t *testing.T) {
	list := Merge([]Of{related("a", "expired", day0.AddDate(9, 0, 0), GlobalAdministrator), related("b", "active", day0.AddDate(0, 1, 0), CloudAppAdministrator), related("c", "active", day0.AddDate(0, 2, 0), SecurityReader)}, nil)
	if len(list) != 1 || !slices.Equal(list[0].Roles(), []string{CloudAppAdministrator, SecurityReader}) {
		t.Fatalf("%+v", list)
	}
	if end, _ := list[0].End(); !end.Equal(day0.AddDate(0, 2, 0)) {
		t.Errorf("the end is %v", end)
	}
	for _, tt := range []struct {
		held  []string
		graph bool
		lacks int
	}{{nil, true, 2}, {nil, false, 1}, {[]string{GlobalAdministrator}, true, 0}, {[]string{ApplicationAdministrator}, true, 1}, {[]string{ApplicationAdministrator}, false, 0}, {[]string{CloudAppAdministrator, PrivilegedRoleAdministrator}, true, 0}} {
		if got := Lacks(tt.held, tt.graph); len(got) != tt.lacks {
			t.Errorf("%v lacks %v", tt.held, got)
		}
	}
}

func TestNamesAreThoseOfTheRelationshipsFirst(t *testing.T) {
	list := Merge([]Of{related("Old Name", "terminated", day0), related("Contoso", "active", day0)}, map[string][]Named{
		FromContracts: {{tenantA, "As It Was", "contoso.example"}, {tenantB, "By Contract", ""}}, FromCustomers: {{tenantA, "Contoso", ""}}})
	if len(list) != 2 || list[1].Name != "Contoso" || list[1].Domain != "contoso.example" || list[0].Name != "By Contract" || list[0].Standing() != Unrelated {
		t.Errorf("%+v", list)
	}
}

func TestShortNamesAreEachOnesOwn(t *testing.T) {
	list := []Customer{{Tenant: tenantA, Name: "Contoso Ltd."}, {Tenant: tenantB, Name: "contoso, ltd"}, {Tenant: "cccccccc-0000-4000-8000-000000000003", Name: "株式会社"}, {Tenant: "dddddddd-0000-4000-8000-000000000004", Name: "Fabrikam"}}
	got := Names(list, map[string]bool{"fabrikam": true})
	want := map[drover.TenantID]string{tenantA: "contoso-ltd", tenantB: "contoso-ltd-bbbb", list[2].Tenant: "customer-cccc", list[3].Tenant: "fabrikam-dddd"}
	for id, name := range want {
		if got[id] != name {
			t.Errorf("%s is called %q, want %q", id, got[id], name)
		}
		if _, err := drover.ParseCustomerID(got[id]); err != nil {
			t.Error(err)
		}
	}
	for _, odd := range []string{"", "---", "a b", "Ünïcode Ärger", "x" + string(make([]byte, 300)), "0123456789012345678901234567890123456789012345678 -- 9"} {
		name := Names([]Customer{{Tenant: tenantA, Name: odd}}, nil)[tenantA]
		if _, err := drover.ParseCustomerID(name); err != nil {
			t.Errorf("%q: %v", odd, err)
		}
	}
}

func TestAListBringsNewsOnceAndTakesNobodyAway(t *testing.T) {
	var s Seen
	a := Customer{Tenant: tenantA, Name: "a", Relationships: []Relationship{{Status: Active}}}
	b := Customer{Tenant: tenantB, Name: "b", Relationships: []Relationship{{Status: Active}}}
	ended := a
	ended.Relationships = []Relationship{{Status: "expired"}}
	for i, tt := range []struct {
		list       []Customer
		new, gone  int
		doubtful   bool
		customers  int
		goneMarked bool // of a
	}{
		{[]Customer{a}, 1, 0, false, 1, false},
		{[]Customer{a, b}, 1, 0, false, 2, false},
		{nil, 0, 0, true, 2, false},
		{[]Customer{b}, 0, 1, false, 2, true}, // not even listed any more
		{[]Customer{b}, 0, 0, false, 2, true},
		{[]Customer{ended, b}, 0, 0, false, 2, true},
		{[]Customer{a, b}, 0, 0, false, 2, false}, // is back, and no news
		{[]Customer{ended, b}, 0, 1, false, 2, true},
	} {
		n := s.Update(tt.list, day0.AddDate(0, 0, i))
		if len(n.New) != tt.new || len(n.Gone) != tt.gone || n.Doubtful != tt.doubtful || len(s.Customers) != tt.customers || s.Gone[tenantA].IsZero() == tt.goneMarked {
			t.Errorf("list %d: %+v, %+v", i, n, s)
		}
	}
	s.Planned = day0.Add(time.Hour)
	if s.New(tenantA) || !s.New(tenantB) {
		t.Error("new is who appeared after all were looked at")
	}
}
