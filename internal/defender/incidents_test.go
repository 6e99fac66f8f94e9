package defender

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"drover"
)

func TestIncidentsAreAskedForFiftyAtATimeAndAlone(t *testing.T) {
	want := entries("i", 130, t0, time.Second)
	for _, size := range []int{0, 20, 50, 500} { // what the config may say
		a := newAPI(want...)
		got := read(t, of(drover.GraphIncidents, a, size), open, 100, 0)
		whole(t, a, got, want)
		for _, q := range a.requests {
			v := queryOf(t, q)
			if top, err := strconv.Atoi(v.Get("$top")); err != nil || top > 50 || size == 20 && top > 20 {
				t.Errorf("pages of %d: asked %q", size, q)
			}
			if v.Has("$expand") || !strings.Contains(v.Get("$filter"), "lastUpdateDateTime ge ") || v.Get("$orderby") != "lastUpdateDateTime asc" {
				t.Errorf("asked %q", q)
			}
		}
	}
}

func TestIncidentsThatShareATimeAreAskedForFiftyAtATime(t *testing.T) {
	want := entries("i", 300, t0, 0)
	a := newAPI(want...)
	a.noLinks = true
	got := read(t, of(drover.GraphIncidents, a, 0), open, 2000, 0)
	whole(t, a, got, want)
	for _, q := range a.requests {
		if top, _ := strconv.Atoi(queryOf(t, q).Get("$top")); top > 50 {
			t.Errorf("asked %q", q)
		}
		if strings.Contains(q, "serviceSource") {
			t.Errorf("no such filter for incidents: %q", q)
		}
	}
	if len(got.skipped) > 0 {
		t.Errorf("left out %v", got.skipped)
	}
}

func TestALowerLimitThatTheAPINamesIsTakenOnce(t *testing.T) {
	want := entries("i", 60, t0, time.Second)
	a := newAPI(want...)
	a.refuseTop = 25
	s := of(drover.GraphIncidents, a, 0)
	whole(t, a, read(t, s, open, 100, 0), want)
	whole(t, a, read(t, s, open, 100, 0), want)
	refused := 0
	for _, q := range a.requests {
		if top, _ := strconv.Atoi(queryOf(t, q).Get("$top")); top > 25 {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("%d questions above the limit, want the one that learnt it", refused)
	}
}

func TestAnIncidentIsKnownByItsIDAndNamesItsTenant(t *testing.T) {
	a := newAPI(entry{id: "4711", changed: t0, severity: "high", state: "redirected"})
	header := http.Header{}
	a.answer = func(_ *api, _ int, _ http.ResponseWriter, r *http.Request) bool {
		header = r.Header.Clone()
		return false
	}
	s := of(drover.GraphIncidents, a, 0)
	page, err := s.Read(tenant(), open).Next(t.Context())
	if err != nil || len(page.Rows) != 1 {
		t.Fatal(page, err)
	}
	r := page.Rows[0]
	if r.ID != "4711" || r.Changed != t0 || r.Created != t0 || r.TenantID != string(tenantA) || r.Severity != "high" || r.Status != "redirected" || r.Bad != "" {
		t.Errorf("%+v", r)
	}
	if header.Get("Prefer") != "include-unknown-enum-members" {
		t.Errorf("asked with %v", header)
	}
	if s.ID() != drover.GraphIncidents || s.Retention() != 180*24*time.Hour || s.Version() != 1 {
		t.Error(s.ID(), s.Retention(), s.Version())
	}
	if got := fmt.Sprint(Limits(drover.GraphIncidents)); got != "50 1500" {
		t.Errorf("limits %s", got)
	}
}
