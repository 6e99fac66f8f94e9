package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"drover"
	"drover/internal/admin"
	"drover/internal/entra"
)

func TestATenantThatLeavesIsRemovedRecordedAndChecked(t *testing.T) {
	m, cfg := serveMicrosoft(t)
	a, err := newAppFrom(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	graph := a.clouds["own"].Graph
	m.roles[graph] = []string{"SecurityAlert.Read.All"}
	must := func(code int, want string, args ...string) string {
		t.Helper()
		got, out, errs := droverCommand(t, append(args, "-c", cfg)...)
		if got != code || !strings.Contains(oneLine(out+errs), oneLine(want)) {
			t.Fatalf("%v: exit code %d, %q %q, want %q", args, got, out, errs, want)
		}
		return out
	}
	must(exitOK, "no tenant has been removed", "tenant", "list", "--removed")
	must(exitOK, "added", "tenant", "add", pretendTenant, "--name", "contoso", "--cloud", "own")
	must(exitOK, "drover tenant leave-page contoso", "tenant", "remove", "contoso", "--yes")
	must(exitOK, "contoso", "tenant", "list", "--removed")
	var list []admin.ErasureStatus
	if err := json.Unmarshal([]byte(must(exitOK, "", "tenant", "list", "--removed", "--json")), &list); err != nil || len(list) != 1 || list[0].ID != pretendTenant || list[0].Incarnation == "" || !list[0].At.Known() {
		t.Errorf("%+v, %v", list, err)
	}
	// The consent is still there; then the permission is taken away, then the application is gone.
	must(exitFinding, "the consent has not been withdrawn", "tenant", "check", "contoso")
	m.mu.Lock()
	m.roles[graph] = nil
	m.mu.Unlock()
	must(exitOK, "WARN  graph.alerts token: the permission has been revoked; the enterprise application is still there", "tenant", "check", "contoso")
	m.mu.Lock()
	m.refusal = `{"error":"unauthorized_client","error_description":"AADSTS700016: not found","error_codes":[700016]}`
	m.mu.Unlock()
	must(exitOK, "ok    graph.alerts token: Entra gives no token: AADSTS700016 (no service principal, status 400)", "tenant", "check", "contoso")
	m.mu.Lock()
	m.refusal = `{"error":"invalid_client","error_description":"AADSTS7000222: expired","error_codes":[7000222]}`
	m.mu.Unlock()
	must(exitFinding, "it cannot be told whether the consent was withdrawn", "tenant", "check", "contoso")
}

func TestOnlyARefusalForWantOfConsentSaysThatItWasWithdrawn(t *testing.T) {
	x := drover.Tenant{Name: "contoso"}
	ok := make(map[entra.Class]bool)
	for _, code := range entra.Codes() {
		r, _ := entra.Explain(code)
		f := gone(x, drover.GraphAlerts, &drover.Error{Kind: r.Kind, Err: &entra.Refusal{Code: code, Class: r.Class}})
		if f.OK {
			ok[r.Class] = true
		}
		if f.OK && r.Kind != drover.Denied {
			t.Errorf("%d passes, and counts as withdrawn", code)
		}
	}
	if len(ok) != 3 || !ok[entra.NoPrincipal] || !ok[entra.Consent] || !ok[entra.TenantGone] {
		t.Errorf("withdrawn: %v", ok)
	}
	if f := gone(x, drover.GraphAlerts, errors.New("no network")); f.OK {
		t.Errorf("%+v", f)
	}
}

func TestThePageForTheCustomersAdminNamesAppAndDirectory(t *testing.T) {
	cfg := writeConfig(t, "")
	const client = "9d2e4b70-1111-4c2b-9a55-77aa88bb99cc"
	for cloud, want := range map[string][]string{"worldwide": {"https://entra.microsoft.com ", "https://graph.microsoft.com/v1.0/"}, "gcc-high": {"https://entra.microsoft.us ", "https://graph.microsoft.us/v1.0/"}} {
		id := map[string]string{"worldwide": pretendTenant, "gcc-high": "00000000-0000-4000-8000-00000000000a"}[cloud]
		if code, _, errs := droverCommand(t, "tenant", "add", id, "--name", cloud, "--cloud", cloud, "--source", "graph.alerts,mde.alerts", "-c", cfg); code != exitOK {
			t.Fatal(errs)
		}
		if code, _, errs := droverCommand(t, "tenant", "remove", cloud, "--yes", "-c", cfg); code != exitOK {
			t.Fatal(errs)
		}
		for _, args := range [][]string{nil, {"--html"}} {
			code, out, errs := droverCommand(t, append([]string{"tenant", "leave-page", cloud, "-c", cfg}, args...)...)
			plain := strings.NewReplacer("&#39;", "'", "&gt;", ">").Replace(out)
			for _, w := range append(want, id, "SecurityAlert.Read.All, Alert.Read.All", "DELETE ", "servicePrincipals(appId='"+client+"')", "Enterprise applications > All applications") {
				if code != exitOK || !strings.Contains(plain, w) {
					t.Errorf("%s %v: %d %s lacks %q:\n%s", cloud, args, code, errs, w, out)
				}
			}
			if strings.Contains(out, "<html") != (args != nil) {
				t.Errorf("%v: %s", args, out)
			}
		}
	}
}

func TestANewTenantIsMovedUnderTheOldOnesCustomer(t *testing.T) {
	cfg := writeConfig(t, "")
	for _, tt := range []struct {
		code int
		want string
		args []string
	}{
		{exitOK, "added", []string{"tenant", "add", pretendTenant, "--name", "contoso", "--customer", "contoso-group"}},
		{exitUsage, `there is no tenant "contoso-new"`, []string{"tenant", "move", "contoso", "contoso-new"}},
		{exitOK, "added", []string{"tenant", "add", "00000000-0000-4000-8000-00000000000a", "--name", "contoso-new"}},
		{exitOK, "    customer: contoso-new → contoso-group\n", []string{"tenant", "move", "contoso", "contoso-new"}},
		{exitOK, "of one customer already", []string{"tenant", "move", "contoso", "contoso-new"}},
		{exitUsage, "wants the old tenant and the new one", []string{"tenant", "move", "contoso"}},
	} {
		if code, out, errs := droverCommand(t, append(tt.args, "-c", cfg)...); code != tt.code || !strings.Contains(out+errs, tt.want) {
			t.Errorf("%v: exit code %d, %q %q, want %q", tt.args, code, out, errs, tt.want)
		}
	}
}
