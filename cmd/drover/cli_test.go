package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"drover/internal/proof"
)

// write writes a config that reads nobody and delivers to a file.
func writeConfig(t *testing.T, extra string) (path string) {
	t.Helper()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("not-a-guid\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "drover.yaml")
	text := `
ledger: {dir: ` + dir + `/ledger}
vault: {key_file: ` + dir + `/keys/master.key}
apps: {default: {client_id: 9d2e4b70-1111-4c2b-9a55-77aa88bb99cc, secret: {file: ` + secret + `}}}
sinks: {archive: {type: file, root: ` + dir + `/out}}
listen: {health: none}
` + extra
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBadInputGetsOneClearLineAndItsExitCode(t *testing.T) {
	good := writeConfig(t, "")
	dir := filepath.Dir(good)
	for name, tt := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no such config":         {[]string{"run", "-c", dir + "/none.yaml"}, exitUsage, "there is no " + dir + "/none.yaml\nhint: name one with --config"},
		"a misspelt key":         {[]string{"config", "check", "-c", writeConfig(t, "collect: {intervall: 1m}\n")}, exitUsage, "interval"},
		"an unknown flag":        {[]string{"run", "--fast"}, exitUsage, "unknown flag: --fast; see: drover run --help"},
		"an unknown command":     {[]string{"rnu"}, exitUsage, "unknown command"},
		"a tenant ID that isn't": {[]string{"tenant", "add", "contoso", "-c", good}, exitUsage, "is not a tenant ID"},
		"no name":                {[]string{"tenant", "add", "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", "--name", "Contoso Ltd.", "-c", good}, exitUsage, "short name"},
		"an unknown cloud":       {[]string{"tenant", "add", "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", "--name", "x", "--cloud", "moon", "-c", good}, exitUsage, `there is no cloud named "moon"`},
		"an unknown source":      {[]string{"tenant", "add", "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", "--name", "x", "--source", "graph", "-c", good}, exitUsage, "known are: graph.alerts, graph.incidents, mde.alerts, siem.detections"},
		"a bad start":            {[]string{"tenant", "add", "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", "--name", "x", "--start", "soon", "-c", good}, exitUsage, "is no starting point"},
		"a tenant nobody knows":  {[]string{"tenant", "show", "nobody", "-c", good}, exitUsage, `there is no tenant "nobody"`},
		"removing without --yes": {[]string{"tenant", "remove", "x", "-c", good}, exitUsage, "cannot be undone"},
		"an argument too many":   {[]string{"status", "now", "-c", good}, exitUsage, "takes no argument"},
		"a gap that isn't":       {[]string{"gap", "acknowledge", "x", "-c", good}, exitUsage, "is no gap ID"},
		"fetch without tenant":   {[]string{"fetch", "-c", good}, exitUsage, "is not a tenant ID"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, errs := droverCommand(t, tt.args...)
			if code != tt.code || !strings.Contains(errs, tt.says) {
				t.Errorf("exit code %d, want %d; says %q, want %q in it", code, tt.code, errs, tt.says)
			}
			if !strings.HasPrefix(errs, "drover: ") {
				t.Errorf("does not begin with the program's name: %q", errs)
			}
		})
	}
}

func TestATenantIsAddedShownPausedResumedAndRemoved(t *testing.T) {
	cfg := writeConfig(t, "")
	const id = "3C9F6B1E-0D0B-4A77-9D34-1B2C3D4E5F60"
	must := func(want string, args ...string) {
		t.Helper()
		code, out, errs := droverCommand(t, append(args, "-c", cfg)...)
		if code != exitOK || !strings.Contains(out, want) {
			t.Fatalf("%v: exit code %d, %q %q, want %q", args, code, out, errs, want)
		}
	}
	must("no tenants", "tenant", "list")
	must("added contoso (3c9f6b1e", "tenant", "add", id, "--name", "contoso", "--start", "30d")
	must("contoso", "tenant", "list")
	must("owed from", "tenant", "show", "CONTOSO")
	must("contoso is paused", "tenant", "pause", "contoso")
	must("is read again", "tenant", "resume", strings.ToLower(id))
	code, _, errs := droverCommand(t, "tenant", "add", id, "--name", "other", "-c", cfg)
	if code != exitUsage || !strings.Contains(errs, "already there") {
		t.Errorf("a second time: %d %q", code, errs)
	}
	must("its key is destroyed", "tenant", "remove", "contoso", "--yes")
	must("removed", "tenant", "list")
	_, out, _ := droverCommand(t, "status", "--json", "-c", cfg)
	if !json.Valid([]byte(out)) {
		t.Errorf("status --json: %q", out)
	}
	must("the ledger is sound", "ledger", "check")
}

func TestASecondProcessOnTheLedgerIsTurnedAway(t *testing.T) {
	cfg := writeConfig(t, "")
	a, err := newAppFrom(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.openLedger(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.store.Close() }()
	code, _, errs := droverCommand(t, "run", "-c", cfg)
	if code != exitLedger || !strings.Contains(errs, "in use by another process") || !strings.Contains(errs, "hint: ") {
		t.Errorf("exit code %d, %q", code, errs)
	}
}

func TestALedgerThatWasCopiedElsewhereIsRefusedUntilAdopted(t *testing.T) {
	cfg := writeConfig(t, "")
	if code, _, errs := droverCommand(t, "tenant", "list", "-c", cfg); code != exitOK {
		t.Fatal(errs)
	}
	dir := filepath.Dir(cfg)
	if err := os.Rename(filepath.Join(dir, "ledger"), filepath.Join(dir, "moved")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cfg, []byte(strings.Replace(string(text), "/ledger}", "/moved}", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errs := droverCommand(t, "tenant", "list", "-c", cfg)
	if code != exitLedger || !strings.Contains(errs, "drover ledger adopt") {
		t.Errorf("exit code %d, %q", code, errs)
	}
	if code, out, errs := droverCommand(t, "ledger", "adopt", "-c", cfg); code != exitOK {
		t.Fatalf("adopt: %d %q %q", code, out, errs)
	}
	if code, _, errs := droverCommand(t, "tenant", "list", "-c", cfg); code != exitOK {
		t.Errorf("after adopt: %d %q", code, errs)
	}
}

func TestHelpNamesEveryCommandAndTheExitCodes(t *testing.T) {
	code, out, _ := droverCommand(t, "--help")
	for _, word := range []string{"run", "fetch", "tenant", "status", "check", "demo", "lab", "config", "ledger", "version", "completion", "exit codes:"} {
		if !strings.Contains(out, word) {
			t.Errorf("--help does not name %s", word)
		}
	}
	if code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestControlCharactersNeverReachTheTerminal(t *testing.T) {
	if got := clean("a\x1b]0;evil\x07b\u202ec\u009bd"); strings.ContainsAny(got, "\x1b\x07\u202e\u009b") {
		t.Errorf("got %q", got)
	}
	dealt, raw := 0, 0
	for r := rune(0); r <= unicode.MaxRune; r++ {
		steers := unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r) && unicode.Is(unicode.Cf, r) && r > 0x2029
		if !steers {
			continue
		}
		dealt++
		if strings.ContainsRune(clean("title"+string(r)+"x"), r) {
			raw++
		}
	}
	if raw > 0 {
		t.Errorf("%d characters pass", raw)
	}
	proof.Ran(t, "U08", "characters that steer a terminal let through: %d of %d", raw, dealt)
}
