package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/lab/estate"
)

// benchStage is a small pretend cloud with a drover that is pointed at it.
func benchStage(t *testing.T, tenants int, story estate.Options) (*stage, *app) {
	t.Helper()
	s, done, err := new(bench).stage(tenants, story)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(done)
	path, err := s.benchConfig(t.TempDir(), "60s", true)
	if err != nil {
		t.Fatal(err)
	}
	a, err := newAppFrom(t, path)
	if err != nil {
		t.Fatal(err)
	}
	return s, a
}

func TestTheBareReferenceReadsEachSourceWhole(t *testing.T) {
	s, a := benchStage(t, 1, estate.Options{Backlog: 1200, Incidents: true, MDE: true, SIEM: true})
	for _, source := range allSources {
		tenant := drover.Tenant{ID: drover.TenantID(s.lab.Customers()[0].Tenant), Cloud: "lab", App: "default", Start: nowInstant().Add(-60 * 24 * time.Hour)}
		b := newBare(a, tenant, source)
		var out strings.Builder
		n, err := b.read(t.Context(), &out)
		if want := visible(s, source); err != nil || n != want {
			t.Errorf("%s: %d rows, %v, want %d", source, n, err, want)
		}
		lines := 0
		for line := range strings.Lines(out.String()) {
			if lines++; !json.Valid([]byte(line)) {
				t.Fatalf("%s: no row: %.200s", source, line)
			}
		}
		if lines != n {
			t.Errorf("%s: %d lines of %d rows", source, lines, n)
		}
		if n, err := b.read(t.Context(), &out); err != nil || n > 2 { // what has become visible meanwhile
			t.Errorf("%s: read again, %d rows are new, %v", source, n, err)
		}
	}
}

func TestABacklogHasAboutAsManyRowsOfEachSourceAsAreAskedFor(t *testing.T) {
	for _, source := range allSources {
		s, _ := benchStage(t, 1, story(source, 3000, 1000))
		if n := visible(s, source); n < 2400 || n > 3600 {
			t.Errorf("%s: %d rows", source, n)
		}
	}
}

func TestLagIsCountedFromWhatTheEstateShows(t *testing.T) {
	s, _ := benchStage(t, 2, estate.Options{Backlog: 20})
	from, to := time.Now().AddDate(0, 0, -60), time.Now()
	var list strings.Builder
	n := 0
	s.lab.Estate().Newest(to, func(tenant, source string, r *estate.Row) {
		if shown := r.Visible; shown.After(from) && shown.Before(to) {
			if n++; n > 1 { // the first was lost
				_, _ = fmt.Fprintf(&list, "{\"tenant\":%q,\"source\":%q,\"id\":%q,\"at\":%d}\n", tenant, source, r.ID, shown.Add(7*time.Second).UnixMicro())
			}
		}
	})
	path := filepath.Join(t.TempDir(), commitsName)
	if err := os.WriteFile(path, []byte(list.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	m := measure{from: from.UnixMicro(), to: to.Add(time.Minute).UnixMicro()}
	if err := s.lag(path, &m); err != nil || n < 2 || m.Missed != 1 || m.P50 != 7 || m.P99 != 7 || m.Alerts != n-1 {
		t.Errorf("of %d rows: %+v, %v", n, m, err)
	}
}

func TestFeedsAreCountedOnce(t *testing.T) {
	f := newFirsts(2)
	for _, source := range []drover.SourceID{drover.GraphAlerts, drover.GraphAlerts, drover.MDEAlerts, drover.MDEAlerts} {
		f.note(drover.Feed{Tenant: "t", Source: source})
	}
	select {
	case <-f.all:
	default:
		t.Error("not all have been read")
	}
}

func TestRequestsAreCountedBetweenTwoTimes(t *testing.T) {
	s, _ := benchStage(t, 1, estate.Options{})
	from := time.Now().UnixMicro()
	end := s.countRequests()
	for range 3 {
		s.lab.Truth().Request()
	}
	if n := end()(from, time.Now().Add(time.Hour).UnixMicro()); n < 0 || n > 3 {
		t.Errorf("%d requests", n)
	}
}
