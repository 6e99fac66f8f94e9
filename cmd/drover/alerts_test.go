package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"drover"
	"drover/internal/admin"
	"drover/internal/ledger"
)

// storeAlerts puts alerts of two states each into the ledger of a config.
func storeAlerts(t *testing.T, cfg string, n int) {
	t.Helper()
	a, err := newAppFrom(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.openLedger(t.Context()); err != nil {
		t.Fatal(err)
	}
	tenant, err := a.store.FindTenant(t.Context(), "contoso")
	if err != nil {
		t.Fatal(err)
	}
	f := drover.Feed{Tenant: tenant.ID, Source: drover.GraphAlerts}
	st, err := a.store.Take(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	for state := range 2 {
		var revs []drover.Revision
		for i := range n {
			raw := fmt.Appendf(nil, `{"id":"alert-%d","title":"Alert \u001b[31m%d","status":"%s","severity":"high"}`, i, i, []string{"new", "resolved"}[state])
			at := nowInstant().Add(minute * -10)
			revs = append(revs, drover.Revision{AlertID: fmt.Sprint("alert-", i), Created: 1, Changed: at + drover.Instant(i), Severity: "high", Status: []string{"new", "resolved"}[state], Sum: sha256.Sum256(raw), Raw: raw})
		}
		if _, err := a.store.Commit(t.Context(), ledger.Commit{Feed: f, Epoch: st.Epoch, Revisions: revs, Whole: drover.NoInstant}); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAlertsAreListedShownAndCompared(t *testing.T) {
	cfg := writeConfig(t, "")
	if code, _, errs := droverCommand(t, "tenant", "add", "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", "--name", "contoso", "-c", cfg); code != exitOK {
		t.Fatal(errs)
	}
	storeAlerts(t, cfg, 30)
	run := func(want int, args ...string) (out, errs string) {
		t.Helper()
		code, out, errs := droverCommand(t, append(append([]string{"alerts"}, args...), "-c", cfg)...)
		if code != want {
			t.Fatalf("%v: exit code %d, want %d: %s%s", args, code, want, out, errs)
		}
		return out, errs
	}
	out, errs := run(exitOK, "list", "--limit", "7")
	if lines := strings.Count(out, "\n"); lines != 8 || !strings.Contains(out, "alert-29") || !strings.Contains(errs, "there is more: these are the newest 7") || strings.Contains(out, "\x1b") {
		t.Errorf("a table of seven: %q %q", out, errs)
	}
	out, errs = run(exitOK, "list", "--json", "--all", "--since", "1h", "--limit", "0")
	dec, n := json.NewDecoder(strings.NewReader(out)), 0
	for dec.More() {
		var a admin.AlertLine
		if err := dec.Decode(&a); err != nil || a.AlertID == "" {
			t.Fatalf("%v in %q", err, out)
		}
		n++
	}
	if n != 60 || errs != "" {
		t.Errorf("%d lines, %q", n, errs)
	}
	if out, _ = run(exitOK, "list", "--until", "1h"); !strings.Contains(out, "nothing found") {
		t.Errorf("before: %q", out)
	}
	out, _ = run(exitOK, "show", "alert-3")
	for _, want := range []string{"revision  2 of 2", "resolved", "archive  no place"} {
		if !strings.Contains(out, want) {
			t.Errorf("show: %q is not in %s", want, out)
		}
	}
	if out, _ = run(exitOK, "show", "alert-3", "--raw", "--revision", "1"); out != `{"id":"alert-3","title":"Alert \u001b[31m3","status":"new","severity":"high"}`+"\n" {
		t.Errorf("raw: %q", out)
	}
	if out, _ = run(exitOK, "diff", "alert-3"); !strings.Contains(out, "status\n  - \"new\"\n  + \"resolved\"\n") {
		t.Errorf("diff: %q", out)
	}
	for _, args := range [][]string{{"list", "--since", "soon"}, {"list", "--limit", "-1"}, {"list", "--tenant", "nobody"}, {"show", "none"}, {"show", "alert-3", "--revision", "9"}, {"diff", "alert-3", "x"}, {"diff"}, {"diff", "alert-3", "1", "2", "3"}} {
		run(exitUsage, args...)
	}
}
