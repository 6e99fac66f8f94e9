package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/ledger/ledgertest"
)

func TestStatusShowsHowFarMicrosoftsClocksAreFromOurs(t *testing.T) {
	cfg := writeConfig(t, "")
	a, err := newAppFrom(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.openLedger(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.store.Close() }()
	const one, two = drover.TenantID("00000000-0000-4000-8000-00000000000a"), drover.TenantID("00000000-0000-4000-8000-00000000000b")
	for id, name := range map[drover.TenantID]string{one: "contoso", two: "fabrikam"} {
		if err := a.store.AddTenant(t.Context(), ledgertest.Tenant(id, name)); err != nil {
			t.Fatal(err)
		}
	}
	sock, err := admin.Listen(a.cfg.Ledger.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var api map[drover.Feed]time.Duration
	var entra *time.Duration
	local := a.local()
	local.Skew = func() map[drover.Feed]time.Duration { return api }
	local.EntraSkew = func() (time.Duration, bool) {
		if entra == nil {
			return 0, false
		}
		return *entra, true
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- admin.Serve(ctx, sock, local) }()
	feed := ledgertest.FeedOf
	minus, zero := -5*time.Minute, time.Duration(0)
	for name, tt := range map[string]struct {
		api   map[drover.Feed]time.Duration
		entra *time.Duration
		says  []string
		not   []string
	}{
		"nobody has answered yet": {nil, nil, nil, []string{"clock of", "NTP"}},
		"a second, and none":      {map[drover.Feed]time.Duration{feed(one): 1200 * time.Millisecond, feed(two): 0}, &zero, []string{"clock of the APIs (at most, contoso " + string(feed(one).Source) + "): 1s ahead of ours", "clock of Entra: as ours"}, []string{"NTP"}},
		"one is far behind":       {map[drover.Feed]time.Duration{feed(one): time.Second, feed(two): -3 * time.Hour}, nil, []string{"(at most, fabrikam " + string(feed(two).Source) + "): 3h0m0s behind ours", "hint: set this machine's clock by NTP"}, []string{"Entra"}},
		"Entra alone":             {nil, &minus, []string{"clock of Entra: 5m0s behind ours", "NTP"}, []string{"the APIs"}},
	} {
		api, entra = tt.api, tt.entra
		_, out, errs := droverCommand(t, "status", "-c", cfg)
		for _, words := range tt.says {
			if !strings.Contains(out, words) {
				t.Errorf("%s: %q is not in %s%s", name, words, out, errs)
			}
		}
		for _, words := range tt.not {
			if strings.Contains(out, words) {
				t.Errorf("%s: %q is in %s", name, words, out)
			}
		}
		_, out, _ = droverCommand(t, "status", "--json", "-c", cfg)
		var s admin.Status
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			t.Fatal(err)
		}
		for _, tenant := range s.Tenants {
			want, known := tt.api[feed(tenant.ID)]
			if got := tenant.Feeds[0].ClockAhead; (got != nil) != known || known && *got != want {
				t.Errorf("%s: %s in JSON: %v, want %v", name, tenant.Name, got, want)
			}
		}
		if (s.EntraAhead != nil) != (entra != nil) || entra != nil && *s.EntraAhead != *entra {
			t.Errorf("%s: Entra's in JSON: %v", name, s.EntraAhead)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestARunningDroverShowsTheClocksThatItHears(t *testing.T) {
	s, tenant := pretendCloud(t)
	code, _, errs := droverCommand(t, "tenant", "add", tenant, "--name", "contoso", "--cloud", "lab", "-c", s.config)
	if code != exitOK {
		t.Fatal(errs)
	}
	code, out, errs := droverCommand(t, "check", "-c", s.config)
	if code != exitOK || !strings.Contains(out, "sink soc: the certificate of "+s.addr+", sink soc, ends in ") {
		t.Errorf("check: exit code %d, %s%s", code, out, errs)
	}
	a, err := newAppFrom(t, s.config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	heard := func() bool {
		st, err := admin.Dial(a.cfg.Ledger.Dir).Status(ctx)
		return err == nil && st.EntraAhead != nil && st.Tenants[0].Feeds[0].ClockAhead != nil
	}
	for !heard() && len(done) == 0 {
		time.Sleep(10 * time.Millisecond) // until it has asked once, however long that takes
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
