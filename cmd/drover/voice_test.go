package main

import (
	"os"
	"strings"
	"testing"
)

func TestCheckAndShowSayWhichSourceTellsATenantsAlerts(t *testing.T) {
	cfg := writeConfig(t, "")
	for _, args := range [][]string{
		{"00000000-0000-4000-8000-00000000000a", "--name", "contoso", "--source", "siem.detections,graph.alerts", "--region", "eu"},
		{"00000000-0000-4000-8000-00000000000b", "--name", "fabrikam", "--source", "siem.detections", "--region", "eu"},
		{"00000000-0000-4000-8000-00000000000c", "--name", "tailspin"},
	} {
		if code, _, errs := droverCommand(t, append([]string{"tenant", "add", "-c", cfg}, args...)...); code != exitOK {
			t.Fatal(errs)
		}
	}
	says := func(args ...string) string {
		t.Helper()
		_, out, errs := droverCommand(t, append(args, "-c", cfg)...)
		return strings.Join(strings.Fields(out+errs), " ")
	}
	expect := func(text string, parts ...string) {
		t.Helper()
		for _, p := range parts {
			if !strings.Contains(text, p) {
				t.Errorf("%q is not in %q", p, text)
			}
		}
	}
	expect(says("check"), "ok alerts: tenants by the source that tells their alerts: graph.alerts 2, siem.detections 1",
		"ok tenant contoso: graph.alerts tells its alerts; what siem.detections tells is kept, and sent only where the other does not show it within 48 hours; a route with sources: [siem.detections] would name it")
	if strings.Contains(says("check"), "tenant fabrikam") {
		t.Error("it speaks of a tenant with one source")
	}
	expect(says("tenant", "show", "contoso"), "alerts from graph.alerts", "tells what graph.alerts tells; goes where a route names it, or where that shows nothing")
	expect(says("tenant", "show", "fabrikam", "--json"), `"primary": "siem.detections"`)
	if strings.Contains(says("tenant", "show", "fabrikam"), "where a route names it") {
		t.Error("what leads is taken for second")
	}
	text, err := os.ReadFile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, "routes: [{sources: [siem.detections], sinks: [archive]}, {sinks: [archive]}]\n"...)
	if err := os.WriteFile(cfg, text, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(says("check"), "what siem.detections tells goes to archive, as a route says")
}
