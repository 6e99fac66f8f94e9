package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/entra"
	"drover/internal/ledger"
	"drover/internal/ledger/ledgertest"
)

func TestATenantOfWhichSomethingIsOwedIsKeptUnlessItIsDiscarded(t *testing.T) {
	cfg := writeConfig(t, "")
	a, err := newAppFrom(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.openLedger(t.Context()); err != nil {
		t.Fatal(err)
	}
	const id = drover.TenantID("00000000-0000-4000-8000-00000000000a")
	x := ledgertest.Tenant(id, "contoso")
	x.Cloud = "worldwide"
	f := ledgertest.FeedOf(id)
	err = errors.Join(a.store.AddTenant(t.Context(), x), a.store.Sinks(t.Context(), []ledger.SinkPlace{{Sink: "archive", FromAll: true}}),
		a.signIns.Save(t.Context(), x, entra.Refresh{Token: drover.NewSecret("0.AXoA-kan4rie-of-contoso")}))
	if err != nil {
		t.Fatal(err)
	}
	st, err := a.store.Take(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.store.Commit(t.Context(), ledger.Commit{Feed: f, Epoch: st.Epoch, Revisions: ledgertest.Revisions(1, 7), Whole: drover.NoInstant}); err != nil {
		t.Fatal(err)
	}
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // nothing changes by asking again
		code, out, errs := droverCommand(t, "tenant", "remove", "contoso", "--yes", "-c", cfg)
		if code != exitPassing || out != "" || !strings.Contains(errs, "nobody delivers now, and sinks have still to take some of it: archive 7") || !strings.Contains(errs, "--discard") {
			t.Fatalf("exit code %d, %s%s", code, out, errs)
		}
		if _, out, _ := droverCommand(t, "tenant", "list", "-c", cfg); !strings.Contains(out, "paused") {
			t.Errorf("it is still read: %s", out)
		}
	}
	left := func() bool {
		if err := a.openLedger(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = a.store.Close() }()
		_, there, err := a.signIns.Load(t.Context(), x)
		if err != nil {
			t.Fatal(err)
		}
		return there
	}
	if !left() {
		t.Error("its token is gone before it is removed")
	}
	code, out, errs := droverCommand(t, "tenant", "remove", "contoso", "--yes", "--discard", "-c", cfg)
	if code != exitOK || !strings.Contains(out, "contoso is removed; its key is destroyed") {
		t.Errorf("exit code %d, %s%s", code, out, errs)
	}
	if left() {
		t.Error("its token is left")
	}
	if code, out, _ := droverCommand(t, "tenant", "remove", "contoso", "--yes", "-c", cfg); code != exitOK || !strings.Contains(out, "is removed") {
		t.Errorf("a second time: exit code %d, %s", code, out)
	}
}

// draining is a running drover whose sinks take ten revisions a second.
type draining struct {
	admin.API
	owed  uint64
	asked int
}

func (d *draining) RemoveTenant(_ context.Context, name string, discard bool) (admin.Removal, error) {
	d.asked++
	if d.owed == 0 || discard {
		return admin.Removal{Name: name, Running: true, Removed: true}, nil
	}
	r := admin.Removal{Name: name, Running: true, Owed: map[drover.SinkID]uint64{"soc": d.owed, "archive": 1}}
	d.owed -= min(10, d.owed)
	return r, nil
}

func TestRemovingWaitsUntilTheTenantHasDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, progress bytes.Buffer
		begun, d := time.Now(), &draining{owed: 50}
		if err := removeTenant(t.Context(), d, "contoso", false, &out, &progress); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took != 5*removeEvery || !strings.Contains(out.String(), "is removed") {
			t.Errorf("after %v: %s", took, out.String())
		}
		if lines := strings.Split(strings.TrimSpace(progress.String()), "\n"); len(lines) != 5 || !strings.HasSuffix(lines[0], "not read any more; waiting until it has been delivered: archive 1, soc 50") {
			t.Errorf("says %q", lines)
		}
		ctx, stop := context.WithTimeout(t.Context(), 2*removeEvery+time.Millisecond)
		defer stop()
		err := removeTenant(ctx, &draining{owed: 1e6}, "contoso", false, &out, &progress)
		if drover.KindOf(err) != drover.Transient || !strings.Contains(err.Error(), "soc 999980") || !strings.Contains(drover.HintOf(err), "drover tenant resume contoso") {
			t.Errorf("stopped: %v", err)
		}
		d = &draining{owed: 1e6}
		if err := removeTenant(t.Context(), d, "contoso", true, &out, &progress); err != nil || d.asked != 1 {
			t.Errorf("discarded: %v", err)
		}
	})
}
