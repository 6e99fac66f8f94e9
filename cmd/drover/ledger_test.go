package main

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/ledger"
	"drover/internal/ledger/ledgertest"
	"drover/internal/ledger/sqlite"
)

// oldLedger makes a ledger that has read ten revisions a day on five days of
// last year, and nothing since, though its feed was just read whole.
func oldLedger(t *testing.T) (cfg string) {
	t.Helper()
	cfg = writeConfig(t, "")
	a, err := newAppFrom(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	v, err := a.openVault(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	clock := time.Now().AddDate(-1, 0, 0)
	opt := a.ledgerOptions(v)
	opt.Clock = func() time.Time { return clock }
	s, err := sqlite.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	const id = drover.TenantID("00000000-0000-4000-8000-00000000000a")
	if err := s.AddTenant(t.Context(), ledgertest.Tenant(id, "contoso")); err != nil {
		t.Fatal(err)
	}
	st, err := s.Take(t.Context(), ledgertest.FeedOf(id))
	if err != nil {
		t.Fatal(err)
	}
	for day := range 5 {
		revs := ledgertest.Revisions(day*10+1, day*10+10)
		for i := range revs {
			revs[i].Changed = drover.InstantOf(clock).Add(time.Duration(i) * time.Second)
		}
		if _, err := s.Commit(t.Context(), ledger.Commit{Feed: st.Feed, Epoch: st.Epoch, Revisions: revs, Whole: nowInstant()}); err != nil {
			t.Fatal(err)
		}
		clock = clock.AddDate(0, 0, 1)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// prunes types the command before and after it was confirmed.
func prunes(t *testing.T, cfg string) {
	t.Helper()
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"ledger prune", exitFinding, "stopped: 50 revisions are due to be thrown away at once"},
		{"ledger prune --json", exitFinding, `"asks": "50 revisions`},
		{"ledger prune --confirm", exitOK, "threw away 50 bodies and 50 keys"},
		{"ledger prune", exitOK, "threw away 0 bodies and 0 keys"},
	} {
		code, out, errs := droverCommand(t, append(strings.Fields(tt.args), "-c", cfg)...)
		if code != tt.code || !strings.Contains(out, tt.says) {
			t.Errorf("%s: exit code %d, want %d; says %q %q, want %q in it", tt.args, code, tt.code, out, errs, tt.says)
		}
	}
}

func TestWhatWouldDropTooMuchAtOnceWaitsForAWord(t *testing.T) { prunes(t, oldLedger(t)) }

func TestARunningDroverPrunesWhenItIsTold(t *testing.T) {
	cfg := oldLedger(t)
	a, err := newAppFrom(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.openLedger(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.store.Close() }()
	var l net.Listener
	if l, err = admin.Listen(a.cfg.Ledger.Dir); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- admin.Serve(ctx, l, a.local()) }()
	prunes(t, cfg)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestNothingIsPrunedByTheLocalClockAlone(t *testing.T) {
	cfg := writeConfig(t, "")
	code, _, errs := droverCommand(t, "ledger", "prune", "--confirm", "-c", cfg)
	if code != exitPassing || !strings.Contains(errs, "no feed has been read whole yet") {
		t.Errorf("exit code %d, %q", code, errs)
	}
}
