package enrol

import (
	"errors"
	"os"
	"strings"
	"testing"

	"drover"
	"drover/internal/gdap"
)

// The table of docs/partner.md names every outcome.
func TestThePageNamesEveryOutcome(t *testing.T) {
	page, err := os.ReadFile("../../docs/partner.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []Outcome{Granted, Already, ToGrant, NotYet, RoleMissing, NoGroup, Pending, Expired, Terminated, NoRelationship, NotLetIn, Policy, NotListed, NotProvisioned, TenantGone, WrongToken, Refused, Failed, NotAdded, Left, Untried} {
		if !strings.Contains(string(page), "`"+string(o)+"`") {
			t.Errorf("docs/partner.md does not name %q", o)
		}
	}
}

func TestOneCustomersRefusalOfTheReaderIsNotBelievedOfAll(t *testing.T) {
	app := &drover.Error{Op: "get a token", Tenant: "x", Kind: drover.Denied, App: true, Err: errors.New("disabled")}
	s := new(Service)
	s.begin()
	for _, err := range []error{app, app, nil, app, app} {
		s.heard(err)
	}
	if err := s.why(); err != nil {
		t.Errorf("stopped by two in a row: %v", err)
	}
	s.heard(app)
	var e *drover.Error
	if err := s.why(); !errors.As(err, &e) || e.Tenant != "" {
		t.Errorf("three in a row: %v", err)
	}
}

func TestNoPermissionOfGraphNoPrivilegedRole(t *testing.T) {
	held := gdap.Relationship{Status: gdap.Active, Roles: []string{gdap.ApplicationAdministrator}, Held: []string{gdap.ApplicationAdministrator}, HeldKnown: true}
	c := Candidate{Customer: gdap.Customer{Relationships: []gdap.Relationship{held}}}
	for graph, want := range map[bool]Outcome{true: RoleMissing, false: ToGrant} {
		s := &Service{Wants: []Want{{Graph: graph}}}
		if got := s.foreseen(c); got != want {
			t.Errorf("graph %v: %s, want %s", graph, got, want)
		}
	}
}
