package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/config"
	"drover/internal/entra"
	"drover/internal/proof"
	"drover/internal/vault"
)

const sealedCanary = "0.AXoA-kan4rie-refresh-token-9c2e"

// sealedWorld is a ledger with a tenant and a token, and its key put aside.
func sealedWorld(t *testing.T) (cfg *config.Config, key, aside string) {
	t.Helper()
	path := writeConfig(t, "collect: {sweeps: []}\n")
	a, err := newAppFrom(t, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.openLedger(t.Context()); err != nil {
		t.Fatal(err)
	}
	x := drover.Tenant{ID: "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", Name: "contoso", Customer: "contoso", Cloud: "worldwide", App: "default", Sources: []drover.SourceID{drover.GraphAlerts}}
	err = errors.Join(a.store.AddTenant(t.Context(), x), a.signIns.Save(t.Context(), x, entra.Refresh{Token: drover.NewSecret(sealedCanary)}), a.store.Close())
	if err != nil {
		t.Fatal(err)
	}
	key = a.cfg.Vault.KeyFile
	aside = filepath.Join(filepath.Dir(filepath.Dir(key)), "aside.key")
	if err := os.Rename(key, aside); err != nil {
		t.Fatal(err)
	}
	return a.cfg, key, aside
}

// sumOf is a digest of every file below dir.
func sumOf(t *testing.T, dir string) (sum [sha256.Size]byte) {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || filepath.Base(path) == "ledger.lock" {
			return err
		}
		b, err := os.ReadFile(path)
		_, _ = h.Write(append([]byte(path+"\x00"), b...))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// spoken gives each line of a log to whoever waits.
type spoken chan string

func (l spoken) Write(b []byte) (int, error) {
	l <- string(bytes.Clone(b))
	return len(b), nil
}

// quietFor waits, unless something is said: a drover that runs waits for more
// than the clock, which then stands still.
func (l spoken) quietFor(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case line := <-l:
		t.Fatalf("it said %s", line)
	case <-time.After(d):
	}
}

func TestRunWithoutItsKeyIsSealedAndGoesOn(t *testing.T) {
	clear, starts := 0, 0
	for name, put := range map[string]func(key, aside string) error{
		"no key":        func(string, string) error { return nil },
		"an empty file": func(key, _ string) error { return os.WriteFile(key, nil, 0o600) },
		"one others can read": func(key, aside string) error {
			b, err := os.ReadFile(aside)
			return errors.Join(err, os.WriteFile(key, b, 0o644))
		},
		"another key": func(key, _ string) error { return vault.Create(key) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg, key, aside := sealedWorld(t)
				if err := put(key, aside); err != nil {
					t.Fatal(err)
				}
				dir := filepath.Dir(cfg.Ledger.Dir)
				var dials atomic.Int64
				said := make(spoken, 100)
				a, err := newApp(cfg, slog.New(slog.NewTextHandler(said, nil)), func(context.Context, string, string) (net.Conn, error) {
					dials.Add(1)
					return nil, errors.New("nobody is there")
				})
				if err != nil {
					t.Fatal(err)
				}
				before := sumOf(t, dir)
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				done := make(chan error, 1)
				go func() { done <- a.run(ctx) }()
				first := <-said
				said.quietFor(t, 20*sealedEvery-time.Second)
				starts++
				if l := first; !strings.Contains(l, "nothing is read and nothing is delivered") || !strings.Contains(l, "hint=") || name == "no key" && !strings.Contains(l, "sealed: no key") {
					t.Errorf("says %s", l)
				}
				if n := dials.Load(); n > 0 {
					t.Errorf("%d calls while sealed", n)
				}
				if name != "another key" && sumOf(t, dir) != before {
					t.Error("something was written while sealed")
				}
				if _, err := os.Stat(filepath.Join(cfg.Ledger.Dir, admin.SocketName)); err == nil {
					t.Error("it answers as if it ran")
				}
				clear += inClear(t, dir, sealedCanary)
				begun := time.Now()
				if err := os.Rename(aside, key); err != nil {
					t.Fatal(err)
				}
				if l := <-said; !strings.Contains(l, "drover runs") {
					t.Errorf("with its key: %s", l)
				}
				if d := time.Since(begun); d > sealedEvery {
					t.Errorf("it went on after %v", d)
				}
				stop()
				if err := <-done; err != nil {
					t.Error(err)
				}
				clear += inClear(t, dir, sealedCanary)
			})
		})
	}
	if clear > 0 {
		t.Errorf("%d files hold a token in clear", clear)
	}
	proof.Ran(t, "T11", "%d starts without the right key: sealed, no call made, on within %v of its coming; secrets written unencrypted %d", starts, sealedEvery, clear)
}

func TestASealedDroverStopsWhenItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, _, _ := sealedWorld(t)
		a, err := newApp(cfg, discard(), nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.run(ctx) }()
		time.Sleep(sealedEvery + time.Second)
		stop()
		if err := <-done; err != nil || a.store != nil {
			t.Errorf("%v", err)
		}
	})
}

func TestALedgerThatGoesWhileSealedIsNotMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, key, _ := sealedWorld(t)
		said := make(spoken, 100)
		a, err := newApp(cfg, slog.New(slog.NewTextHandler(said, nil)), nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		done := make(chan error, 1)
		go func() { done <- a.run(ctx) }()
		time.Sleep(sealedEvery / 2)
		if err := os.Rename(cfg.Ledger.Dir, cfg.Ledger.Dir+".unmounted"); err != nil {
			t.Fatal(err)
		}
		<-said
		said.quietFor(t, 10*sealedEvery)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for _, path := range []string{key, cfg.Ledger.Dir} {
			if _, err := os.Stat(path); err == nil {
				t.Errorf("%s was made", path)
			}
		}
	})
}

func TestSealedIsSaidByHealthAndStatus(t *testing.T) {
	cfg, key, aside := sealedWorld(t)
	for name, source := range map[string]config.Vault{
		"file":       {KeyFile: key},
		"env":        {KeyEnv: "DROVER_TEST_NO_SUCH_KEY"},
		"credential": {KeyCredential: "master"},
	} {
		c := *cfg
		c.Vault = source
		w0, err := newApp(&c, discard(), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w0.readKey(t.Context())
		if !sealed(err) || drover.KindOf(err) != drover.Denied {
			t.Errorf("%s: %v", name, err)
			continue
		}
		w := httptest.NewRecorder()
		h := healthAnswers(func(context.Context) error { return err }, nil)
		h.ServeHTTP(w, httptest.NewRequest("GET", "/ready", nil))
		if text := w.Body.String(); w.Code != 503 || !strings.Contains(text, "sealed: no key") || !strings.Contains(text, "hint: ") {
			t.Errorf("%s: ready says %d %s", name, w.Code, text)
		}
		w = httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/live", nil))
		if w.Code != 200 {
			t.Errorf("%s: live says %d", name, w.Code)
		}
	}
	path := filepath.Join(filepath.Dir(cfg.Ledger.Dir), "drover.yaml")
	code, _, errs := droverCommand(t, "status", "-c", path)
	if code != exitDenied || !strings.Contains(errs, "sealed: no key") || !strings.Contains(errs, "hint: put the key back at "+key) {
		t.Errorf("status: exit code %d, %s", code, errs)
	}
	code, out, _ := droverCommand(t, "check", "-c", path)
	if code != exitFinding || !strings.Contains(out, "FAIL  ledger: open the master key: sealed: no key") {
		t.Errorf("check: exit code %d, %s", code, out)
	}
	// A process that has its key answers, whatever has become of the file.
	if err := os.Rename(aside, key); err != nil {
		t.Fatal(err)
	}
	a, err := newApp(cfg, discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.openLedger(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.store.Close() }()
	sock, err := admin.Listen(cfg.Ledger.Dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- admin.Serve(ctx, sock, a.local()) }()
	if err := os.Rename(key, aside); err != nil {
		t.Fatal(err)
	}
	code, out, errs = droverCommand(t, "status", "-c", path)
	if code != exitOK || !strings.Contains(out, "contoso") {
		t.Errorf("status of a running drover: exit code %d, %s%s", code, out, errs)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
