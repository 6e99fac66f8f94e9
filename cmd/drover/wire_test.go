package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drover"
	"drover/internal/config"
	"drover/internal/entra"
	"drover/internal/proof"
	"drover/internal/vault"
)

func TestTwoTokensOfOneFileNameNeverShareALane(t *testing.T) {
	places := []string{"{file: contoso/hec.token}", "{file: fabrikam/hec.token}", "{file: hec.token}", "{env: hec.token}", "{credential: hec.token}"}
	text := "sinks:\n  soc:\n    type: splunk_hec\n    url: https://splunk.example:8088\n    token: {file: shared.token}\n    tenants:\n"
	for n, p := range places {
		text += fmt.Sprintf("      t%d: {token: %s}\n", n, p)
	}
	cfg, err := config.Parse(filepath.Join(t.TempDir(), "drover.yaml"), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	a, err := newApp(cfg, discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	dests, err := a.destinations()
	if err != nil {
		t.Fatal(err)
	}
	lanes := make(map[string]string)
	for n, p := range append(places, "{file: shared.token}") {
		lane := dests[0].Sink.Lane(drover.Tenant{ID: drover.TenantID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)), Name: fmt.Sprint("t", n), Customer: drover.CustomerID(fmt.Sprint("c", n))})
		if other, taken := lanes[lane]; taken {
			t.Errorf("%s and %s share the lane %s", p, other, lane)
		}
		lanes[lane] = p
	}
	proof.Ran(t, "D16", "%d tokens kept in %d places, most under one file name: %d lanes", len(places)+1, len(places)+1, len(lanes))
}

func TestAPathThatTheConfigTakesIsOneThatTheSinkWrites(t *testing.T) {
	longest := drover.Tenant{ID: "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", Name: strings.Repeat("n", 63), Customer: drover.CustomerID(strings.Repeat("c", 63))}
	for _, path := range []string{"{customer}/{tenant}.ndjson", "{customer}-{name}-{sink}", "{name}/{customer}-{tenant}-{source}/{sink}.x", strings.Repeat("a", 200), strings.Repeat("{tenant}/", 50) + "x"} {
		s := config.Sink{ID: drover.SinkID(strings.Repeat("s", 63)), Type: config.TypeFile, File: &config.FileSink{Root: t.TempDir(), Path: path}}
		if err := config.CheckPath(path); err != nil {
			t.Errorf("%q: %v", path, err)
			continue
		}
		sink, err := (&app{}).sink(s)
		if err != nil {
			t.Errorf("%q: %v", path, err)
			continue
		}
		for _, source := range []drover.SourceID{drover.GraphAlerts, drover.SIEMDetections} {
			r := drover.Record{EventID: "e-" + string(source), Tenant: longest.ID, Customer: longest.Customer, Source: source, Seq: 1, Body: []byte("{}")}
			b := drover.Batch{Lane: sink.Lane(longest), Ranges: []drover.Range{{Feed: drover.Feed{Tenant: longest.ID, Source: source}, First: 1, Last: 1}}, Records: []drover.Record{r}}
			if taken, err := sink.Deliver(t.Context(), b); err != nil || taken.N != 1 {
				t.Errorf("%q: %d taken, %v", path, taken.N, err)
			}
		}
		_ = sink.Close()
	}
}

func TestWhatCannotChangeIsRefusedWithTheWayOut(t *testing.T) {
	cfg := writeConfig(t, "")
	text, err := os.ReadFile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	bind := func(region string) string {
		return strings.Replace(string(text), "/ledger}", "/ledger, region: "+region+"}", 1)
	}
	begin := func(text string) (code int, says string) {
		if err := os.WriteFile(cfg, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, says = droverCommand(t, "status", "-c", cfg)
		return code, says
	}
	if code, says := begin(bind("eu")); code != exitOK {
		t.Fatalf("a new ledger: exit code %d: %s", code, says)
	}
	cases := map[string]struct {
		text string
		code int
		says []string
	}{
		"another region":             {bind("us"), exitDenied, []string{"eu", "us", "hint: "}},
		"a config of a newer drover": {bind("eu") + "version: 2\n", exitUsage, []string{"version 2", "install"}},
		"a key of a newer drover":    {bind("eu") + "shards: 4\n", exitUsage, []string{"shards"}},
	}
	started := 0
	for name, tt := range cases {
		code, says := begin(tt.text)
		if code == exitOK {
			started++
		}
		if code != tt.code {
			t.Errorf("%s: exit code %d: %s", name, code, says)
		}
		for _, word := range tt.says {
			if !strings.Contains(says, word) {
				t.Errorf("%s: %q is not in: %s", name, word, says)
			}
		}
	}
	for _, text := range []string{bind("eu"), string(text)} { // as it was, or not said
		if code, says := begin(text); code != exitOK {
			t.Errorf("afterwards: exit code %d: %s", code, says)
		}
	}
	proof.Ran(t, "C10", "%d configs with what cannot change or is of a newer version: started anyway %d", len(cases), started)
}

func TestWithoutItsKeyALedgerStaysSealed(t *testing.T) {
	cfg := writeConfig(t, "")
	dir := filepath.Dir(cfg)
	key, aside := filepath.Join(dir, "keys", "master.key"), filepath.Join(dir, "keys", "aside")
	const canary = "0.AXoA-kan4rie-refresh-token-71b3"
	a, err := newAppFrom(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.openLedger(t.Context()); err != nil {
		t.Fatal(err)
	}
	x := drover.Tenant{ID: "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", Name: "contoso", Customer: "contoso", Cloud: "worldwide", App: "default", Sources: []drover.SourceID{drover.GraphAlerts}}
	if err := a.store.AddTenant(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	save := func(token string, version uint64) error {
		return a.signIns.Save(t.Context(), x, entra.Refresh{Token: drover.NewSecret(token), Version: version})
	}
	if err := save(canary+"-first", 0); err != nil {
		t.Fatal(err)
	}
	// The key goes while a renewal is under way: what the process holds is used.
	if err := os.Rename(key, aside); err != nil {
		t.Fatal(err)
	}
	now, _, err := a.signIns.Load(t.Context(), x)
	if err != nil || now.Token.Reveal() != canary+"-first" {
		t.Fatalf("while it runs: %v", err)
	}
	if err := save(canary+"-second", now.Version); err != nil {
		t.Fatalf("a renewal without the key's file: %v", err)
	}
	clear := inClear(t, dir, canary)
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	clear += inClear(t, dir, canary)
	starts, started := 0, 0
	for name, put := range map[string]func() error{
		"no key":        func() error { return nil },
		"a directory":   func() error { return os.Mkdir(key, 0o700) },
		"an empty file": func() error { return os.WriteFile(key, nil, 0o600) },
		"another key":   func() error { return vault.Create(key) },
		"one others can read": func() error {
			b, err := os.ReadFile(aside)
			return errors.Join(err, os.WriteFile(key, b, 0o644))
		},
	} {
		if err := os.RemoveAll(key); err != nil {
			t.Fatal(err)
		}
		if err := put(); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadFile(key)
		starts++
		b, err := newAppFrom(t, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.openLedger(t.Context()); err == nil {
			started++
			t.Errorf("%s: the ledger opens", name)
			_ = b.store.Close()
		} else if drover.KindOf(err) != drover.Denied {
			t.Errorf("%s: %v", name, err)
		}
		if after, _ := os.ReadFile(key); !bytes.Equal(before, after) {
			t.Errorf("%s: a key was made for an old ledger", name)
		}
		clear += inClear(t, dir, canary)
	}
	if err := errors.Join(os.RemoveAll(key), os.Rename(aside, key)); err != nil {
		t.Fatal(err)
	}
	if err := a.openLedger(t.Context()); err != nil {
		t.Fatalf("with its key: %v", err)
	}
	if now, _, err := a.signIns.Load(t.Context(), x); err != nil || now.Token.Reveal() != canary+"-second" {
		t.Errorf("with its key again: %v", err)
	}
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	if clear > 0 {
		t.Errorf("%d files hold a token in clear", clear)
	}
	proof.Ran(t, "T11", "the key gone during a renewal, and %d starts without it, %d of which opened the ledger: secrets written unencrypted %d", starts, started, clear)
}

// inClear counts the files below dir that hold a secret, in any of its shapes.
func inClear(t *testing.T, dir, secret string) (n int) {
	t.Helper()
	var shapes [][]byte
	for i := range 3 { // wherever base64's groups of three begin
		enc := base64.StdEncoding.EncodeToString([]byte(secret[i:]))
		shapes = append(shapes, []byte(enc[:len(enc)-4]))
	}
	shapes = append(shapes, []byte(secret), []byte(secret[8:24]), []byte(hex.EncodeToString([]byte(secret))))
	files := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		for _, s := range shapes {
			if bytes.Contains(b, s) {
				n++
				break
			}
		}
		return nil
	})
	if err != nil || files < 2 {
		t.Fatalf("%d files read, %v", files, err)
	}
	return n
}
