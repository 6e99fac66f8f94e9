package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/entra"
	"drover/internal/proof"
)

// typed runs a command with something on its standard input.
func typed(t *testing.T, in string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(args, strings.NewReader(in), &o, &e)
	return code, o.String(), e.String()
}

const someTenants = `version: 1
tenants:
  - id: 3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60
    name: contoso
    region: eu
    sources: [graph.alerts, mde.alerts]
    start: 24h
  - {id: 4d9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f61, name: fabrikam, customer: contoso, state: paused}
`

// beside runs drover in this process while f asks it, or runs f alone.
func beside(t *testing.T, cfg string, f func()) {
	t.Helper()
	a, err := newAppFrom(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	for !admin.Answers(a.cfg.Ledger.Dir) && len(done) == 0 {
		time.Sleep(10 * time.Millisecond) // until it answers, however long that takes
	}
	f()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTenantsAreAppliedExportedAndAppliedAgain(t *testing.T) {
	rounds, same := 0, 0
	story := func(cfg string) {
		file := filepath.Join(filepath.Dir(cfg), "tenants.yaml")
		must := func(want string, in string, args ...string) string {
			t.Helper()
			code, out, errs := typed(t, in, append(args, "-c", cfg)...)
			if code != exitOK || !strings.Contains(out, want) {
				t.Fatalf("%v: exit code %d, %q %q, want %q", args, code, out, errs, want)
			}
			return out
		}
		must("nothing was changed; would be: 2 added, 0 changed", someTenants, "tenant", "apply", "-f", "-", "--dry-run")
		must("no tenants", "", "tenant", "list")
		must("2 added, 0 changed, 0 unchanged", someTenants, "tenant", "apply", "-f", "-")
		must("0 added, 0 changed, 2 unchanged", someTenants, "tenant", "apply", "-f", "-")
		must("", "", "tenant", "export", "-f", file)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			rounds++
			if out := must("", "", "tenant", "export"); out == string(text) {
				same++
			}
			must("0 added, 0 changed, 2 unchanged", "", "tenant", "apply", "-f", file)
		}
		out := must("1 changed, 1 unchanged", strings.Replace(string(text), "region: eu", "region: uk", 1), "tenant", "apply", "-f", "-")
		if want := "~ contoso (3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60) changed\n    region: eu → uk\n"; !strings.Contains(out, want) {
			t.Errorf("says %q, want %q in it", out, want)
		}
		one := "tenants: [{id: 3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60, name: contoso}]"
		must("fabrikam (4d9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f61) not in the file; would be removed with --prune", one, "tenant", "apply", "-f", "-")
		must("fabrikam (4d9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f61) would be removed, its key destroyed", one, "tenant", "apply", "-f", "-", "--prune", "--dry-run")
		if code, _, errs := typed(t, one, "tenant", "apply", "-f", "-", "--prune", "-c", cfg); code != exitUsage || !strings.Contains(errs, "add --yes") {
			t.Errorf("--prune without --yes: %d %s", code, errs)
		}
		must("paused", "", "tenant", "show", "fabrikam")
		must("fabrikam (4d9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f61) removed, its key destroyed", one, "tenant", "apply", "-f", "-", "--prune", "--yes")
		var res admin.Applied
		if err := json.Unmarshal([]byte(must("", one, "tenant", "apply", "-f", "-", "--json")), &res); err != nil || len(res.Tenants) != 1 || res.Tenants[0].What != admin.Unchanged {
			t.Errorf("--json: %+v, %v", res, err)
		}
		if out := must("", "", "tenant", "export"); strings.Contains(out, "fabrikam") {
			t.Errorf("a removed tenant is exported: %s", out)
		}
	}
	story(writeConfig(t, ""))
	cfg := writeConfig(t, "")
	beside(t, cfg, func() { story(cfg) })
	proof.Ran(t, "tenants.apply", "%d of %d exports byte for byte the same, each applied without a change; alone and beside a running drover", same, rounds)
}

func TestAListThatIsWrongIsNamedLineByLine(t *testing.T) {
	cfg := writeConfig(t, "")
	file := filepath.Join(filepath.Dir(cfg), "tenants.yaml")
	text := strings.Replace(someTenants, "state: paused", "app: gov, cloud: moon, regions: [eu]", 1) + "  - {id: x, name: zz, colour: red}\n"
	for _, tt := range []struct {
		text string
		want []string
	}{
		{text, []string{"9: id: \"x\" is not a tenant ID", "9: unknown key \"colour\""}},
		{strings.TrimSuffix(text, "  - {id: x, name: zz, colour: red}\n"), []string{"8: there is no app named \"gov\"; known are: default; define it under apps: in the config", "8: there is no cloud named \"moon\"", "8: its alerts may be kept in eu only, and this ledger is bound to no region"}},
	} {
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, errs := droverCommand(t, "tenant", "apply", "-f", file, "-c", cfg)
		if code != exitUsage || out != "" {
			t.Errorf("exit code %d, %q", code, out)
		}
		for _, w := range tt.want {
			if !strings.Contains(errs, "drover: "+file+":"+w) {
				t.Errorf("says %q, want %q in it", errs, w)
			}
		}
		if n := strings.Count(errs, "\n"); n != len(tt.want) {
			t.Errorf("%d lines: %s", n, errs)
		}
		if _, out, _ := droverCommand(t, "tenant", "list", "-c", cfg); !strings.Contains(out, "no tenants") {
			t.Errorf("something was added: %s", out)
		}
	}
	for says, args := range map[string][]string{"-f tenants.yaml": {"tenant", "apply"}, "no such file": {"tenant", "apply", "-f", file + ".none"}} {
		if code, _, errs := droverCommand(t, append(args, "-c", cfg)...); code != exitUsage || !strings.Contains(errs, says) {
			t.Errorf("%v: %d %q", args, code, errs)
		}
	}
}

func TestAnExportHoldsNoSecret(t *testing.T) {
	cfg := writeConfig(t, "")
	if code, _, errs := typed(t, "0.AXoA-kan4rie", "tenant", "add", pretendTenant, "--name", "contoso", "--regions", "", "--refresh-token", "-", "-c", cfg); code != exitOK {
		t.Fatal(errs)
	}
	a, err := newAppFrom(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.openLedger(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, there, err := a.signIns.Load(t.Context(), drover.Tenant{ID: pretendTenant, App: "default", Cloud: entra.DefaultCloud})
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	code, out, errs := droverCommand(t, "tenant", "export", "-c", cfg)
	if code != exitOK || !there || err != nil || !strings.Contains(out, pretendTenant) || strings.Contains(out, "kan4rie") {
		t.Errorf("%d %t %v %s %s", code, there, err, out, errs)
	}
}

func TestAListIsImportedRowByRow(t *testing.T) {
	cfg := writeConfig(t, "")
	file := filepath.Join(filepath.Dir(cfg), "customers.csv")
	text := "id,name,customer,sources,state\n"
	for i := range 50 {
		text += fmt.Sprintf("00000000-0000-4000-8000-%012d,t-%d,c,graph.alerts mde.alerts,\n", i, i)
	}
	text += "00000000-0000-4000-8000-000000000003,t-3,c,graph.alerts,\nx,bad,c,,\n00000000-0000-4000-8000-000000000099,t-4,c,,\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	story := func() {
		for _, args := range [][]string{{"--dry-run"}, {}} {
			code, out, errs := droverCommand(t, append([]string{"tenant", "import", file, "-c", cfg}, args...)...)
			for _, want := range []string{"= line 52: t-3 (00000000-0000-4000-8000-000000000003) exists, and differs", "sources: graph.alerts, mde.alerts → graph.alerts", "! line 53: bad (x) refused: id: \"x\" is not a tenant ID",
				"! line 54: t-4 (00000000-0000-4000-8000-000000000099) refused: the name t-4 is that of the tenant 00000000-0000-4000-8000-000000000004", "50 added, 1 exist, 2 refused"} {
				if code != exitFinding || !strings.Contains(out, want) {
					t.Errorf("exit code %d, %s%s, want %q", code, out, errs, want)
				}
			}
		}
		code, out, errs := droverCommand(t, "tenant", "import", file, "--json", "-c", cfg)
		var list []imported
		if err := json.Unmarshal([]byte(out), &list); err != nil || code != exitFinding || len(list) != 53 || list[0].What != admin.Exists || list[0].Line != 2 {
			t.Errorf("again: %d %v %d %s", code, err, len(list), errs)
		}
	}
	beside(t, cfg, story)
	code, out, _ := typed(t, "id;name\n"+pretendTenant+";contoso\n", "tenant", "import", "-", "-c", cfg)
	if code != exitOK || !strings.Contains(out, "1 added, 0 exist, 0 refused") {
		t.Errorf("%d %s", code, out)
	}
	if code, _, errs := typed(t, "id;nam\n", "tenant", "import", "-", "-c", cfg); code != exitUsage || !strings.Contains(errs, `drover: standard input:1: unknown column "nam"; did you mean "name"?`) {
		t.Errorf("%d %s", code, errs)
	}
	if code, out, _ := droverCommand(t, "tenant", "export", "-c", cfg); code != exitOK || strings.Count(out, "- id:") != 51 {
		t.Errorf("%d: %d tenants", code, strings.Count(out, "- id:"))
	}
}

func TestAHeldTenantIsShownAsSuchAndStays(t *testing.T) {
	cfg := writeConfig(t, "")
	must := func(code int, want string, args ...string) {
		t.Helper()
		got, out, errs := droverCommand(t, append(args, "-c", cfg)...)
		if got != code || !strings.Contains(out+errs, want) {
			t.Errorf("%v: exit code %d, %q %q, want %q", args, got, out, errs, want)
		}
	}
	must(exitOK, "added", "tenant", "add", pretendTenant, "--name", "contoso")
	must(exitUsage, "--why", "tenant", "hold", "contoso")
	must(exitOK, "contoso is held", "tenant", "hold", "contoso", "--why", "litigation 17")
	for _, where := range [][]string{{"tenant", "list"}, {"tenant", "show", "contoso"}, {"status"}} {
		must(exitOK, "litigation 17", where...)
	}
	must(exitUsage, "hint: it stays until it is released: drover tenant hold contoso --release", "tenant", "remove", "contoso", "--yes", "--discard")
	must(exitOK, "active", "tenant", "show", "contoso")
	must(exitOK, "is held no more", "tenant", "hold", "contoso", "--release", "--why", "settled")
	must(exitUsage, "is not held", "tenant", "hold", "contoso", "--release")
	must(exitOK, "its key is destroyed", "tenant", "remove", "contoso", "--yes", "--discard")
}

func TestAnAppliedTenantIsReadByTheRunningDrover(t *testing.T) {
	m, cfg := serveMicrosoft(t)
	a, err := newAppFrom(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.roles[a.clouds["own"].Graph] = []string{"SecurityAlert.Read.All"}
	changed := time.Now().Add(-time.Minute).UTC().Format("2006-01-02T15:04:05.0000000Z")
	m.rows["/graph/v1.0/security/alerts_v2"] = `{"id":"da1","tenantId":"` + pretendTenant + `","lastUpdateDateTime":"` + changed + `","createdDateTime":"` + changed + `"}`
	list := "tenants:\n  - {id: " + pretendTenant + ", name: contoso, cloud: own, start: 1h, state: %s}\n"
	beside(t, cfg, func() {
		if code, out, errs := typed(t, fmt.Sprintf(list, "active"), "tenant", "apply", "-f", "-", "-c", cfg); code != exitOK || !strings.Contains(out, "1 added") {
			t.Fatal(code, out, errs)
		}
		path := filepath.Join(filepath.Dir(cfg), "out", "contoso", pretendTenant+".ndjson")
		for text := []byte(nil); !bytes.Contains(text, []byte("da1")); time.Sleep(10 * time.Millisecond) { // until it was delivered, however long that takes
			text, _ = os.ReadFile(path)
			if t.Context().Err() != nil {
				return
			}
		}
		code, out, _ := typed(t, fmt.Sprintf(list, "paused"), "tenant", "apply", "-f", "-", "-c", cfg)
		if code != exitOK || !strings.Contains(out, "    state: active → paused") {
			t.Errorf("%d %s", code, out)
		}
		if _, out, _ := droverCommand(t, "tenant", "list", "-c", cfg); !strings.Contains(out, "paused") {
			t.Errorf("%s", out)
		}
	})
}
