package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/audit"
	"drover/internal/httpx"
	"drover/internal/lab/estate"
)

// audited is a stage whose customers have been read and delivered whole.
func auditedStage(t *testing.T) *stage {
	t.Helper()
	s, err := newStage(stageOptions{dir: t.TempDir(), listen: "127.0.0.1:0", seed: 5, customers: 2, story: func(int) estate.Options {
		return estate.Options{Backlog: 60, BacklogSpan: 72 * time.Hour, Shuffle: true, LiveField: true}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	a, err := newAppFrom(t, s.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.openLedger(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range s.lab.Customers() {
		if _, err := a.local().AddTenant(t.Context(), admin.NewTenant{ID: c.Tenant, Name: c.Name, Cloud: "lab", Region: "eu", Start: "30d"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAnAuditTellsByItsExitCodeWhatItFound(t *testing.T) {
	s := auditedStage(t)
	a, err := newAppFrom(t, s.config)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	page, report := filepath.Join(dir, "r.html"), filepath.Join(dir, "r.json")
	type step struct {
		args string
		code int
		says string
	}
	try := func(st step) {
		t.Helper()
		code, out, errs := droverCommand(t, append(strings.Fields(st.args), "-c", s.config)...)
		if code != st.code || !strings.Contains(out+errs, st.says) {
			t.Errorf("%s: exit code %d, want %d; says %q %q, want %q in it", st.args, code, st.code, out, errs, st.says)
		}
		if strings.Contains(errs, clearLine) {
			t.Errorf("%s: progress is shown where there is no terminal", st.args)
		}
	}
	first := s.lab.Customers()[0]

	// In the process that has the ledger open.
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	settled(t, a, s)
	try(step{"audit --all --from 5d --html " + page + " --json " + report, exitOK, "agree: "})
	try(step{"audit --tenant " + first.Name + " --tenant " + first.Tenant + " --from 5d --sink archive", exitOK, "60 rows at Microsoft: 60 as they are in the ledger"})
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	// On the ledger, when nothing runs.
	for _, st := range []step{
		{"audit --all --from 5d", exitOK, "agree: "},
		{"audit verify " + report, exitOK, "as it was made: agree"},
		{"audit --from 5d", exitUsage, "say which tenants"},
		{"audit --all --tenant x --from 5d", exitUsage, "say which tenants"},
		{"audit --all", exitUsage, "--from"},
		{"audit --all --from soon", exitUsage, "--from: "},
		{"audit --all --from now --to 5d", exitUsage, "ends before it begins"},
		{"audit --tenant nobody --from 5d", exitUsage, `there is no tenant "nobody"`},
		{"audit --all --from 5d --sink nowhere", exitUsage, `there is no sink named "nowhere"`},
		{"audit verify " + filepath.Join(dir, "none"), exitUsage, "none"},
		{"audit verify " + page, exitUsage, "read the report"},
	} {
		try(st)
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := audit.Verify(text); err != nil || len(r.Feeds) != 2 || !r.Feeds[0].Sinks[0].ReadBack || r.Feeds[0].Sinks[0].Found != 60 {
		t.Errorf("the report: %v", err)
	}
	if err := os.WriteFile(report, bytes.Replace(text, []byte(first.Name), []byte("another"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	try(step{"audit verify " + report, exitFinding, "not as it was made"})
	if html, err := os.ReadFile(page); err != nil || !bytes.Contains(html, []byte("What no such audit can see")) {
		t.Errorf("the page: %v", err)
	}

	// A record is gone from a file.
	out, err := filepath.Glob(filepath.Join(s.dir, "out", "*", "*.ndjson"))
	if err != nil || len(out) != 2 {
		t.Fatal(out, err)
	}
	lines, err := os.ReadFile(out[0])
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(lines, []byte("\n"))
	if err := os.WriteFile(out[0], rest, 0o600); err != nil {
		t.Fatal(err)
	}
	try(step{"audit --all --from 5d", exitFinding, "unexplained: 1 × missing at sink archive"})
	try(step{"audit --all --from 5d --sink soc", exitOK, "agree: "})

	// Nobody answers, and a ledger that a silent process holds.
	if err := a.openLedger(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(a.cfg.Ledger.Dir, admin.SocketName)); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	try(step{"audit --all --from 5d", exitUnsure, "another drover has it open"})
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
}

// settled waits until every feed has been read whole and delivered.
func settled(t *testing.T, a *app, s *stage) {
	t.Helper()
	api := admin.Dial(a.cfg.Ledger.Dir)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for pause(ctx, 100*time.Millisecond) {
		st, err := api.Status(t.Context())
		if err != nil {
			continue
		}
		well := len(st.Tenants) == len(s.lab.Customers())
		for _, tenant := range st.Tenants {
			for _, f := range tenant.Feeds {
				well = well && f.LastWhole.Known() && f.Revisions >= 60
			}
		}
		for _, k := range st.Sinks {
			well = well && k.Feeds > 0 && k.Behind == 0
		}
		if well {
			return
		}
	}
	t.Fatal("it did not settle")
}

// slowAudit is an operator's view whose audit takes a while and tells how far
// it is.
type slowAudit struct {
	admin.API
	takes time.Duration
	asked *int
}

func (s slowAudit) Audit(ctx context.Context, _ admin.AuditOrder) (json.RawMessage, error) {
	select {
	case <-time.After(s.takes):
		return json.RawMessage(`{}`), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s slowAudit) AuditProgress(context.Context, string) (string, error) {
	*s.asked++
	return fmt.Sprintf("part %d", (*s.asked+1)/2), nil
}

func TestAnAuditThatIsPipedTellsInAFewLinesHowItGoes(t *testing.T) {
	for takes, says := range map[time.Duration]string{time.Second / 2: "", 10 * time.Second: "part 1\n", 130 * time.Second: "part 1\npart 2\npart 3\n"} {
		synctest.Test(t, func(t *testing.T) {
			s := slowAudit{takes: takes, asked: new(int)}
			var w bytes.Buffer
			if _, err := watchAudit(t.Context(), &w, s, admin.AuditOrder{From: drover.NoInstant}); err != nil || w.String() != says || *s.asked > 5 {
				t.Errorf("%s: %v, asked %d times, says %q", takes, err, *s.asked, w.String())
			}
		})
	}
}

func TestAnAuditThatIsStoppedLeavesNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), 70*time.Second)
		defer stop()
		start := time.Now()
		var w bytes.Buffer
		if _, err := watchAudit(ctx, &w, slowAudit{takes: time.Hour, asked: new(int)}, admin.AuditOrder{From: drover.NoInstant}); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 70*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

// What the collector asks is counted where Microsoft's limits are known, by
// tenant and source, and an audit beside it is told.
func TestWhatTheCollectorAsksIsLeftToIt(t *testing.T) {
	a, err := newAppFrom(t, writeConfig(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	dead := errors.New("nobody is asked")
	a.https["worldwide"], err = httpx.New(httpx.Options{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, dead }})
	if err != nil {
		t.Fatal(err)
	}
	tenant := drover.Tenant{ID: "00000000-0000-4000-8000-00000000000a", Cloud: "worldwide", App: "default"}
	feed := drover.Feed{Tenant: tenant.ID, Source: drover.GraphAlerts}
	doer, err := a.doer(tenant, feed.Source)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := doer.Do(t.Context(), httpx.Request{URL: "https://graph.microsoft.com/v1.0/security/alerts_v2", Origin: "https://graph.microsoft.com/v1.0/security/alerts_v2"}); err == nil {
			t.Fatal("something answers")
		}
	}
	beside := a.paces(true)
	minute, hour := beside.Used(feed)
	none, _ := beside.Used(drover.Feed{Tenant: tenant.ID, Source: drover.MDEAlerts})
	most, hourly := beside.Allowed(tenant, drover.MDEAlerts)
	if minute != 3 || hour != 3 || none != 0 || most != 50 || hourly != 750 || a.paces(false).Used != nil {
		t.Errorf("used %d a minute, %d an hour; of another source %d; allowed %d and %d", minute, hour, none, most, hourly)
	}
}
