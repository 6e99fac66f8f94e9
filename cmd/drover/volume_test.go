package main

import (
	"strings"
	"testing"
)

func TestVolumeIsATableByTenantAndSink(t *testing.T) {
	cfg := oldLedger(t) // fifty alerts, each of one state, a year ago
	code, out, errs := droverCommand(t, "tenant", "volume", "-c", cfg, "--days", "400")
	if code != exitOK || !strings.Contains(out, "SETTLED") || !strings.Contains(strings.Join(strings.Fields(out), " "), "contoso archive all 50 50 50 50 2") {
		t.Errorf("exit code %d, %s%s", code, out, errs)
	}
	code, out, errs = droverCommand(t, "tenant", "volume", "contoso", "-c", cfg, "--json")
	if code != exitOK || !strings.Contains(out, `"all": 0`) || !strings.Contains(out, `"sink": "archive"`) {
		t.Errorf("exit code %d, %s%s", code, out, errs)
	}
	if code, _, errs = droverCommand(t, "tenant", "volume", "fabrikam", "-c", cfg); code != exitUsage || !strings.Contains(errs, `there is no tenant "fabrikam"`) {
		t.Errorf("exit code %d, %s", code, errs)
	}
}
