package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/config"
	"drover/internal/lab/estate"
	"drover/internal/oracle"
	"drover/internal/proof"
)

// TestAStolenLedgerShowsNothing fills a ledger as its users do, with alerts of
// every source and the tokens of a person, lets the tokens be renewed, and looks
// through every file of its directory, while drover runs and afterwards.
func TestAStolenLedgerShowsNothing(t *testing.T) {
	s, err := newStage(stageOptions{dir: t.TempDir(), listen: "127.0.0.1:0", seed: 9, customers: 2, story: func(int) estate.Options {
		return estate.Options{Backlog: 30, Horizon: time.Hour, Updates: 0.5, SIEM: true, Incidents: true, MDE: true}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	values := make(map[string]string) // what may not be found, and what it is
	secret := func(name, value string) {
		if len(value) >= 16 && values[value] == "" {
			values[value] = name
		}
	}
	for _, name := range []string{"secret", "splunk-token", "app-key.pem"} {
		b, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		secret(name, strings.TrimSpace(string(b)))
	}
	token := filepath.Join(s.dir, "token")
	for i, c := range s.lab.Customers() {
		args := []string{"tenant", "add", c.Tenant, "--name", c.Name, "--cloud", "lab", "--region", "eu", "-c", s.config, "--source", "graph.alerts,graph.incidents,mde.alerts,siem.detections"}
		if i == 1 {
			refresh := s.lab.Directory().GiveRefreshToken(c.Tenant, s.lab.AppID(), "analyst@"+c.Domain)
			secret("the refresh token", refresh)
			if err := os.WriteFile(token, []byte(refresh), 0o600); err != nil {
				t.Fatal(err)
			}
			args = append(args[:len(args)-1], "graph.alerts", "--refresh-token", token)
		}
		if code, _, errs := droverCommand(t, args...); code != exitOK {
			t.Fatal(errs)
		}
	}
	cfg, err := config.Load(s.config)
	if err != nil {
		t.Fatal(err)
	}
	a, err := newApp(cfg, discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	defer stop()
	full := func() bool {
		if !admin.Answers(cfg.Ledger.Dir) {
			return false
		}
		st, err := admin.Dial(cfg.Ledger.Dir).Status(t.Context())
		if err != nil {
			return false
		}
		n, feeds := uint64(0), 0
		for _, x := range st.Tenants {
			for _, f := range x.Feeds {
				if n += f.Revisions; f.Revisions > 0 {
					feeds++
				}
			}
		}
		return feeds >= 5 && n >= 120
	}
	hung := time.After(time.Minute)
	for !full() {
		select {
		case err := <-done:
			t.Fatalf("it ended: %v", err)
		case <-hung:
			t.Fatal("the ledger does not fill")
		case <-time.After(20 * time.Millisecond):
		}
	}
	// The tokens of now, and everything that stands in a body.
	tenants, err := a.store.ListTenants(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range tenants {
		if r, there, err := a.signIns.Load(t.Context(), x); err != nil {
			t.Error(err)
		} else if there {
			secret("the token of now", r.Token.Reveal())
			secret("the token before", r.Previous.Reveal())
		}
	}
	credentials, bodies := len(values), 0
	for _, x := range tenants {
		for _, source := range x.Sources {
			for r, err := range a.store.Revisions(t.Context(), drover.Feed{Tenant: x.ID, Source: source}, 1) {
				if err != nil {
					t.Fatal(err)
				}
				bodies++
				var body any
				if err := json.Unmarshal(r.Raw, &body); err != nil {
					t.Fatal(err)
				}
				leaves(body, func(text string) { secret("a body's "+text[:12], text) })
			}
		}
	}
	key, err := os.ReadFile(cfg.Vault.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	secret("the master key", strings.TrimSpace(string(key))[len("drover-key-1:0123456789abcdef:"):])
	var secrets []oracle.Secret
	for value, name := range values {
		secrets = append(secrets, oracle.Secret{Name: name, Value: value})
	}
	// What the ledger says in clear of whom it is about, on purpose.
	var public []string
	for _, x := range tenants {
		public = append(public, string(x.ID))
	}
	search := func(dir string) (found []oracle.Finding, files int, size int64) {
		outputs, size := regular(t, dir)
		found, err := oracle.Leaks(secrets, outputs, public...)
		if err != nil {
			t.Fatal(err)
		}
		return found, len(outputs), size
	}
	finds := 0
	look := func(when string) (files int, size int64) {
		found, files, size := search(cfg.Ledger.Dir)
		if finds += len(found); len(found) > 0 {
			t.Errorf("%s: %+v", when, found)
		}
		return files, size
	}
	if files, _ := look("while it runs"); files < 3 {
		t.Errorf("%d files while it runs", files)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	files, size := look("when it has stopped")
	if bodies < 100 || len(values) < 500 {
		t.Errorf("only %d bodies and %d values", bodies, len(values))
	}
	// The same search finds what it must.
	planted := t.TempDir()
	for i, x := range []string{"app-key.pem", "secret"} {
		b, err := os.ReadFile(filepath.Join(s.dir, x))
		if err != nil {
			t.Fatal(err)
		}
		b = bytes.TrimSpace(b)
		if err := os.WriteFile(filepath.Join(planted, x), fmt.Appendf(nil, "%s%x", tenants[0].ID, b[len(b)/2-8*i:len(b)/2+8]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if found, _, _ := search(planted); len(found) != 2 {
		t.Errorf("of two planted parts of credentials it finds %+v", found)
	}
	proof.Ran(t, "I15", "a ledger of %d bodies: %d values of 16 and more bytes, %d of them credentials, in clear, JSON, base64, hex and URLs, whole and each 16 bytes of them, found in its %d files of %d bytes: %d", bodies, len(values), credentials, files, size, finds)
}

// regular returns the files below a directory, without sockets, and their size.
func regular(t *testing.T, dir string) (files []oracle.Log, size int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		files, size = append(files, oracle.Files(path)...), size+info.Size()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, size
}

// leaves calls each for every text in a body.
func leaves(v any, each func(string)) {
	switch v := v.(type) {
	case string:
		if len(v) >= 16 {
			each(v)
		}
	case []any:
		for _, x := range v {
			leaves(x, each)
		}
	case map[string]any:
		for _, x := range v {
			leaves(x, each)
		}
	}
}
