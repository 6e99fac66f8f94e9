package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"drover/internal/admin"
	"drover/internal/ledger"
)

func backfillList(t *testing.T, out string) (list []admin.BackfillStatus) {
	t.Helper()
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	return list
}

func TestABackfillIsReadHereOrByARunningDrover(t *testing.T) {
	s, tenant := pretendCloud(t)
	must := func(args ...string) string {
		t.Helper()
		code, out, errs := droverCommand(t, append(args, "-c", s.config)...)
		if code != exitOK {
			t.Fatalf("%v: exit code %d, %q %q", args, code, out, errs)
		}
		return out
	}
	must("tenant", "add", tenant, "--name", "contoso", "--cloud", "lab", "--start", "now")

	// Nobody runs: the command reads, and it ends when all has been read.
	list := backfillList(t, must("backfill", "--tenant", "contoso", "--from", "60d", "--json"))
	if len(list) != 1 || list[0].State != ledger.BackfillDone || list[0].Found != 5 || list[0].Rows != 5 {
		t.Fatalf("backfilled %+v", list)
	}
	out := must("backfill", "list", "--all")
	if !strings.Contains(out, "contoso") || !strings.Contains(out, "done") || !strings.Contains(out, "asked for") {
		t.Errorf("listed: %q", out)
	}

	// It is noted without being read, and cancelled.
	list = backfillList(t, must("backfill", "--tenant", "contoso", "--from", "90d", "--to", "70d", "--detach", "--json"))
	if len(list) != 1 || list[0].State != ledger.BackfillOpen {
		t.Fatalf("noted %+v", list)
	}
	must("backfill", "cancel", "2")
	if code, _, errs := droverCommand(t, "backfill", "cancel", "2", "-c", s.config); code != exitUsage || !strings.Contains(errs, "backfill list") {
		t.Errorf("cancelled twice: %d %q", code, errs)
	}

	// A running drover reads it; what it holds is not found again.
	a, err := newAppFrom(t, s.config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	api := admin.Dial(a.cfg.Ledger.Dir)
	for ctx.Err() == nil {
		if st, err := api.Status(ctx); err == nil && st.Running {
			break
		}
		pause(ctx, 20*time.Millisecond)
	}
	list = backfillList(t, must("backfill", "--tenant", "contoso", "--from", "61d", "--json"))
	if len(list) != 1 || list[0].State != ledger.BackfillDone || list[0].Rows != 5 || list[0].Found != 0 {
		t.Errorf("a running drover: %+v", list)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if out := must("ledger", "export"); strings.Count(out, `"history"`) != 5 {
		t.Errorf("not every row that was found is marked:\n%s", out)
	}
}

func TestABackfillThatMakesNoSenseIsRefusedWithTheWayOut(t *testing.T) {
	cfg := writeConfig(t, "")
	if code, _, errs := droverCommand(t, "tenant", "add", "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", "--name", "contoso", "-c", cfg); code != exitOK {
		t.Fatal(errs)
	}
	for name, tt := range map[string]struct {
		args []string
		says string
	}{
		"no tenant":                   {nil, "--tenant"},
		"nobody's tenant":             {[]string{"--tenant", "fabrikam", "--from", "1d"}, "there is no tenant"},
		"nothing to go on with":       {[]string{"--tenant", "contoso"}, "--from 30d"},
		"an end without a beginning":  {[]string{"--tenant", "contoso", "--to", "1d"}, "--from 30d"},
		"an end before the beginning": {[]string{"--tenant", "contoso", "--from", "1d", "--to", "2d"}, "would begin"},
		"older than the keys":         {[]string{"--tenant", "contoso", "--from", "200d"}, "--may-repeat"},
		"a source that is not read":   {[]string{"--tenant", "contoso", "--from", "1d", "--source", "siem.detections"}, "drover tenant show contoso"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, errs := droverCommand(t, append([]string{"backfill", "-c", cfg}, tt.args...)...)
			if code != exitUsage || !strings.Contains(errs, tt.says) {
				t.Errorf("exit code %d, %q, want %q in it", code, errs, tt.says)
			}
		})
	}
}
