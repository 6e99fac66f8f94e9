package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gokeyring "github.com/zalando/go-keyring"

	"drover"
	"drover/internal/config"
	"drover/internal/entra"
	"drover/internal/lab"
	pretend "drover/internal/lab/keyvault"
	"drover/internal/proof"
	"drover/internal/rig/memnet"
)

// keySource is a place of the master key that can lose it and have it back.
type keySource struct {
	set  config.Vault
	dial dialer
	// begin puts the key there for the first time, from a file, if need be.
	begin      func(t *testing.T, key []byte)
	lose, give func(t *testing.T)
	once       bool // a process reads it only once: it comes back with a new start
	says       string
	close      func()
}

// keySources makes each place, in a directory of its own.
func keySources(t *testing.T, cfg *config.Config) map[string]*keySource {
	t.Helper()
	dir := filepath.Join(filepath.Dir(cfg.Ledger.Dir), "elsewhere")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var key []byte
	kept := filepath.Join(dir, "master")
	put := func(t *testing.T) { must(t, os.WriteFile(kept, key, 0o600)) }
	remember := func(then func(t *testing.T)) func(*testing.T, []byte) {
		return func(t *testing.T, b []byte) {
			key = b
			then(t)
		}
	}
	remove := func(t *testing.T) { must(t, os.Remove(kept)) }
	setenv := func(t *testing.T) { must(t, os.Setenv("DROVER_TEST_KEY_SOURCE", string(key))) }
	unsetenv := func(t *testing.T) { must(t, os.Unsetenv("DROVER_TEST_KEY_SOURCE")) }
	ring := func(t *testing.T) { must(t, gokeyring.Set("drover", "master", string(key))) }
	return map[string]*keySource{
		"file":       {set: config.Vault{KeyFile: kept}, begin: remember(put), lose: remove, give: put, says: "put the key back at"},
		"credential": {set: config.Vault{KeyCredential: "master"}, begin: remember(put), lose: remove, give: put, says: "LoadCredential=master"},
		"env":        {set: config.Vault{KeyEnv: "DROVER_TEST_KEY_SOURCE"}, begin: remember(setenv), lose: unsetenv, give: setenv, once: true, says: "DROVER_TEST_KEY_SOURCE"},
		"keyring": {set: config.Vault{KeyKeyring: "master"}, begin: remember(ring), says: "unlock the keyring", give: ring,
			lose: func(t *testing.T) { must(t, gokeyring.Delete("drover", "master")) }},
	}
}

// vaultOnNet is a Key Vault at its real name on a network in memory.
func vaultOnNet(t *testing.T, cfg *config.Config) *keySource {
	t.Helper()
	l, err := lab.New(lab.Options{Seed: 4, Customers: 1})
	if err != nil {
		t.Fatal(err)
	}
	network := memnet.New()
	go func() { _ = l.Serve(network) }()
	dir := filepath.Join(filepath.Dir(cfg.Ledger.Dir), "kv")
	cert, key := l.AppCertificate()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"ca.pem": l.CAPEM(), "cert.pem": cert, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg.CA.Microsoft = filepath.Join(dir, "ca.pem")
	v := &config.KeyVault{URL: "https://drover.vault.azure.net", Key: pretend.RSAKey, Algorithm: "RSA-OAEP-256", File: filepath.Join(dir, "master.wrapped"), SignIn: config.ByCertificate, ClientID: l.AppID(), Tenant: lab.HomeTenant, Cloud: "worldwide",
		Certificate: &config.Certificate{File: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}}
	return &keySource{set: config.Vault{KeyVault: v}, dial: func(ctx context.Context, n, addr string) (net.Conn, error) { return network.Dial(ctx, n, addr) },
		begin: func(*testing.T, []byte) {}, says: "the key drover-master, version",
		lose:  func(*testing.T) { l.KeyVault().Set(pretend.State{Refuse: "disabled"}) },
		give:  func(*testing.T) { l.KeyVault().Set(pretend.State{}) },
		close: func() { _, _ = l.Close(), network.Close() }}
}

// TestWithoutItsKeyDroverIsSealedWhereverTheKeyIsKept loses the key of every
// source during a renewal and at the start (reference faults T11).
func TestWithoutItsKeyDroverIsSealedWhereverTheKeyIsKept(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere") // the keyring is one in memory
	gokeyring.MockInit()
	clear, sealedStarts := 0, 0
	for _, name := range []string{"file", "credential", "env", "keyring", "key vault"} {
		path := writeConfig(t, "collect: {sweeps: []}\n")
		t.Setenv("CREDENTIALS_DIRECTORY", filepath.Join(filepath.Dir(path), "elsewhere"))
		synctest.Test(t, func(t *testing.T) {
			cfg, err := config.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			s := keySources(t, cfg)[name]
			if name == "key vault" {
				s = vaultOnNet(t, cfg)
				defer s.close()
			}
			cfg.Vault = s.set
			dir := filepath.Dir(cfg.Ledger.Dir)
			s.begin(t, []byte("drover-key-1:0102030405060708:a2V5LW9mLXRoZS10ZXN0LWtleS1vZi10aGUtdGVzdC0=\n"))
			a, err := newApp(cfg, discard(), s.dial)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.openLedger(t.Context()); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			x := drover.Tenant{ID: "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", Name: "contoso", Customer: "contoso", Cloud: "worldwide", App: "default", State: drover.Paused}
			if err := errors.Join(a.store.AddTenant(t.Context(), x), a.signIns.Save(t.Context(), x, entra.Refresh{Token: drover.NewSecret(sealedCanary)})); err != nil {
				t.Fatal(err)
			}
			// During a renewal: what the process holds is used.
			if name != "env" { // that is gone anyway
				s.lose(t)
			}
			now, _, err := a.signIns.Load(t.Context(), x)
			if err == nil {
				err = a.signIns.Save(t.Context(), x, entra.Refresh{Token: drover.NewSecret(sealedCanary + "-renewed"), Version: now.Version})
			}
			if err = errors.Join(err, a.store.Close()); err != nil {
				t.Fatalf("%s: a renewal without the source: %v", name, err)
			}
			clear += inClear(t, dir, sealedCanary)
			// At the start.
			said := make(spoken, 100)
			b, err := newApp(cfg, slog.New(slog.NewTextHandler(said, nil)), s.dial)
			if err != nil {
				t.Fatal(err)
			}
			before := sumOf(t, dir)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			done := make(chan error, 1)
			go func() { done <- b.run(ctx) }()
			if l := <-said; !strings.Contains(l, "sealed: no key") || !strings.Contains(l, s.says) {
				t.Errorf("%s: says %s", name, l)
			}
			said.quietFor(t, 20*sealedEvery-time.Second)
			sealedStarts++
			if sumOf(t, dir) != before {
				t.Errorf("%s: something was written while sealed", name)
			}
			clear += inClear(t, dir, sealedCanary)
			if name == "keyring" { // the one in memory has no lock of its own
				_, _ = b.keys.Read(ctx)
			}
			s.give(t)
			if name == "keyring" {
				_, _ = b.keys.Read(ctx)
			}
			if s.once {
				stop()
				if err := <-done; err != nil {
					t.Error(err)
				}
				ctx, stop = context.WithCancel(t.Context())
				defer stop()
				s.give(t)
				if b, err = newApp(cfg, slog.New(slog.NewTextHandler(said, nil)), s.dial); err != nil {
					t.Fatal(err)
				}
				go func() { done <- b.run(ctx) }()
			}
			select {
			case l := <-said:
				if !strings.Contains(l, "drover runs") {
					t.Errorf("%s: with its key: %s", name, l)
				}
			case <-time.After(sealedEvery + time.Second):
				t.Errorf("%s: it does not go on", name)
			}
			if r, _, err := b.signIns.Load(ctx, x); err != nil || r.Token.Reveal() != sealedCanary+"-renewed" {
				t.Errorf("%s: the renewed token: %v", name, err)
			}
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
			clear += inClear(t, dir, sealedCanary)
		})
	}
	if clear > 0 {
		t.Errorf("%d files hold a token in clear", clear)
	}
	proof.Ran(t, "T11", "the key of each of %d sources gone during a renewal and at the start: sealed, nothing written, on when it is back; secrets written unencrypted %d", sealedStarts, clear)
}

// TestTheFirstKeyIsMadeOnlyWithANewLedger covers the sources in which drover
// can write.
func TestTheFirstKeyIsMadeOnlyWithANewLedger(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
	gokeyring.MockInit()
	path := writeConfig(t, "")
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Vault = config.Vault{KeyKeyring: "first"}
	open := func() error {
		a, err := newApp(cfg, discard(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.openLedger(t.Context()); err != nil {
			return err
		}
		return a.store.Close()
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
	key, err := gokeyring.Get("drover", "first")
	if err != nil || !strings.HasPrefix(key, "drover-key-1:") {
		t.Fatalf("no key was made: %v", err)
	}
	if err := errors.Join(gokeyring.Delete("drover", "first"), open()); !errors.Is(err, errSealed) {
		t.Errorf("an old ledger: %v", err)
	}
	if _, err := gokeyring.Get("drover", "first"); !errors.Is(err, gokeyring.ErrNotFound) {
		t.Error("a key was made for an old ledger")
	}
	// One that cannot be asked is not one that holds no key.
	cfg.Ledger.Dir += "-2"
	gokeyring.MockInitWithError(errors.New("locked"))
	if err := open(); !errors.Is(err, errSealed) || strings.Contains(fmt.Sprint(err), "make") {
		t.Errorf("a keyring that gives no answer: %v", err)
	}
}
