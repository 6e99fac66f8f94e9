package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drover"
	"drover/internal/admin"
	"drover/internal/entra"
	"drover/internal/ledger"
	"drover/internal/vault"
)

// vaultWorld is a ledger with a tenant, a person's token and one of the MSSP's
// own.
func vaultWorld(t *testing.T, extra string) (path string) {
	t.Helper()
	path = writeConfig(t, extra)
	a, err := newAppFrom(t, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.openLedger(t.Context()); err != nil {
		t.Fatal(err)
	}
	x := drover.Tenant{ID: "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", Name: "contoso", Customer: "contoso-gmbh", Cloud: "worldwide", App: "default", Sources: []drover.SourceID{drover.GraphAlerts, drover.SIEMDetections}, Region: "eu"}
	y := drover.Tenant{ID: "4c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", Name: "fabrikam", Customer: "fabrikam", Cloud: "gcc-high", App: "default", Sources: []drover.SourceID{drover.GraphAlerts}}
	own := ledger.Credential{CredentialKey: ledger.CredentialKey{App: "default", Kind: "refresh_token", Cloud: "worldwide", Authority: a.clouds["worldwide"].Authority}, Secret: drover.NewSecret("0.of-the-mssp"), Expires: drover.NoInstant}
	_, err = a.store.PutCredential(t.Context(), own, 0)
	err = errors.Join(err, a.store.AddTenant(t.Context(), x), a.store.AddTenant(t.Context(), y),
		a.signIns.Save(t.Context(), x, entra.Refresh{Token: drover.NewSecret(sealedCanary)}), a.store.Close())
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// drove runs a command that must end well.
func drove(t *testing.T, path string, args ...string) string {
	t.Helper()
	code, out, errs := droverCommand(t, append(args, "-c", path)...)
	if code != exitOK {
		t.Fatalf("%v: exit code %d, %s%s", args, code, out, errs)
	}
	return out
}

func findings(t *testing.T, path string, want int) (list []admin.Finding) {
	t.Helper()
	code, out, errs := droverCommand(t, "vault", "check", "--json", "-c", path)
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != want {
		t.Fatalf("vault check: exit code %d, %v: %s%s", code, err, out, errs)
	}
	return list
}

// told is the first of a kind that says a text.
func told(list []admin.Finding, what, says string) *admin.Finding {
	i := slices.IndexFunc(list, func(f admin.Finding) bool { return f.What == what && strings.Contains(f.Says, says) })
	if i < 0 {
		return nil
	}
	return &list[i]
}

func TestANewKeyFollowsBesideARunningDroverAndWithoutOne(t *testing.T) {
	path := vaultWorld(t, "")
	key := filepath.Join(filepath.Dir(path), "keys", "master.key")
	first, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	var r admin.KeyRotation
	if err := json.Unmarshal([]byte(drove(t, path, "vault", "rotate", "--json")), &r); err != nil || r.Seals != 3 || len(r.Old) != 1 || r.OldKept || !strings.Contains(string(first), r.Old[0]) {
		t.Errorf("without a running one: %+v, %v", r, err)
	}
	a, err := newAppFrom(t, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.openLedger(t.Context()); err != nil {
		t.Fatal(err)
	}
	sock, err := admin.Listen(a.cfg.Ledger.Dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- admin.Serve(ctx, sock, a.local()) }()
	out := drove(t, path, "vault", "rotate")
	if !strings.Contains(out, "follows "+r.New) || !strings.Contains(out, "seals made anew: 3") || !strings.Contains(out, "opens nothing here any more") {
		t.Errorf("beside a running one: %s", out)
	}
	// The key goes from its place: a check says so, and that all is open still.
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	list := findings(t, path, exitFinding)
	if f := told(list, "source", "the next start would find no key"); f == nil || f.OK || !strings.Contains(f.Hint, "put the key back at "+key) {
		t.Errorf("its place is empty: %+v", list)
	}
	if told(list, "data keys", "2 open") == nil || told(list, "credentials", "2 open") == nil {
		t.Errorf("what is sealed: %+v", list)
	}
	// Another key lies there, and is not taken for the one in use.
	if err := vault.Create(key); err != nil {
		t.Fatal(err)
	}
	if f := told(findings(t, path, exitFinding), "source", "and in use are "+a.vault.KeyID()); f == nil || f.OK {
		t.Error("another key in its place is not told")
	}
	if code, _, errs := droverCommand(t, "vault", "rotate", "-c", path); code != exitDenied || !strings.Contains(errs, "other keys than those in use") || !strings.Contains(errs, "hint: ") {
		t.Errorf("with another key: exit code %d, %s", code, errs)
	}
	if err := os.Rename(key+".away", key); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := errors.Join(<-done, a.store.Close()); err != nil {
		t.Error(err)
	}
	for _, f := range findings(t, path, exitOK) {
		if !f.OK || f.Warn && f.What != "place" {
			t.Errorf("in the end: %+v", f)
		}
	}
	// The first key opens nothing any more.
	if err := os.WriteFile(key, first, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := droverCommand(t, "status", "-c", path); code != exitDenied || !strings.Contains(errs, "sealed with another key") {
		t.Errorf("with the first key: exit code %d, %s", code, errs)
	}
}

func TestAKeyOfTwoLedgersFollowsInBoth(t *testing.T) {
	path := vaultWorld(t, "")
	key := filepath.Join(filepath.Dir(path), "keys", "master.key")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := strings.TrimSuffix(path, ".yaml") + "-2.yaml"
	if err := os.WriteFile(other, []byte(strings.Replace(string(text), "/ledger}", "/ledger-2}", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	drove(t, other, "tenant", "add", "5c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", "--name", "adatum")
	if out := drove(t, path, "vault", "rotate", "--keep-old"); !strings.Contains(out, "the old key stays there") {
		t.Error(out)
	}
	if f := told(findings(t, other, exitOK), "older key", "1 seals are still of an older key"); f == nil || !f.Warn {
		t.Error("the other ledger's seals are not told")
	}
	if out := drove(t, other, "vault", "rotate"); !strings.Contains(out, "seals made anew: 1") || !strings.Contains(out, "was there already") {
		t.Error(out)
	}
	if b, err := os.ReadFile(key); err != nil || strings.Count(string(b), "\n") != 1 {
		t.Errorf("%d keys are left, %v", strings.Count(string(b), "\n"), err)
	}
	findings(t, path, exitOK)
	findings(t, other, exitOK)
}

func TestAKeyThatDroverOnlyReadsIsExchangedByAPerson(t *testing.T) {
	path := vaultWorld(t, "")
	dir := filepath.Dir(path)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "keys", "master.key")
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Join(dir, "keys"))
	for what, line := range map[string]string{"credential": "vault: {key_credential: master.key}", "env": "vault: {key_env: DROVER_TEST_VAULT_KEY}"} {
		if err := os.WriteFile(path, []byte(strings.Replace(string(text), "vault: {key_file: "+key+"}", line, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		set := func() {
			b, err := os.ReadFile(key)
			if err != nil {
				t.Fatal(err)
			}
			if what == "env" {
				t.Setenv("DROVER_TEST_VAULT_KEY", string(b))
			}
		}
		if code, _, errs := droverCommand(t, "vault", "create", "-c", path); code != exitDenied || !strings.Contains(errs, "drover vault create FILE") {
			t.Errorf("%s: create: exit code %d, %s", what, code, errs)
		}
		set()
		if code, _, errs := droverCommand(t, "vault", "rotate", "-c", path); code != exitDenied || !strings.Contains(errs, "it holds one key only") || !strings.Contains(errs, "drover vault create --append") {
			t.Errorf("%s: exit code %d, %s", what, code, errs)
		}
		drove(t, path, "vault", "create", "--append", key)
		set()
		out := drove(t, path, "vault", "rotate")
		if !strings.Contains(out, "seals made anew: 3") || !strings.Contains(out, "take it away") {
			t.Errorf("%s: %s", what, out)
		}
		set()
		if out := drove(t, path, "vault", "check"); !strings.Contains(strings.Join(strings.Fields(out), " "), "take its line away, which begins with drover-key-1:") {
			t.Errorf("%s: what to do with the old key is not said: %s", what, out)
		}
		b, err := os.ReadFile(key)
		if err != nil {
			t.Fatal(err)
		}
		old, newer, _ := strings.Cut(string(b), "\n")
		if !strings.Contains(out, old[:len("drover-key-1:0123456789abcdef")]) {
			t.Errorf("%s: the line to take away is not named: %s", what, out)
		}
		if err := os.WriteFile(key, []byte(newer), 0o600); err != nil {
			t.Fatal(err)
		}
		set()
		findings(t, path, exitOK)
	}
}

func TestWhatDoesNotOpenIsNamed(t *testing.T) {
	path := vaultWorld(t, "")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// A ledger whose clouds are not those of before: credentials are bound to them.
	a, err := newAppFrom(t, path)
	if err != nil {
		t.Fatal(err)
	}
	k := ledger.CredentialKey{Tenant: "4c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", App: "default", Kind: "refresh_token", Cloud: "gone", Authority: "https://login.gone.example"}
	if err := a.openLedger(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = a.store.PutCredential(t.Context(), ledger.Credential{CredentialKey: k, Secret: drover.NewSecret("x"), Expires: drover.NoInstant}, 0)
	if err = errors.Join(err, a.store.Close()); err != nil {
		t.Fatal(err)
	}
	f := told(findings(t, path, exitFinding), "refresh_token of fabrikam", "the seal does not hold")
	if f == nil || f.OK || !strings.Contains(f.Hint, "drover tenant connect") {
		t.Errorf("got %+v", f)
	}
	with := string(text) + "\nclouds: {gone: {authority: 'https://login.gone.example', graph: 'https://graph.gone.example'}}\n"
	if err := os.WriteFile(path, []byte(with), 0o600); err != nil {
		t.Fatal(err)
	}
	if list := findings(t, path, exitOK); told(list, "credentials", "3 open") == nil {
		t.Errorf("with its cloud: %+v", list)
	}
}

// The wrapped key is not what is missing: nobody is to look for it.
func TestAMissingCertificateForTheKeyVaultIsNamed(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "drover.yaml")
	put(t, conf, "ledger: {dir: ledger}\nsinks: {out: {type: stdout}}\nvault: {key_vault: {url: https://contoso-drover.vault.azure.net, key: drover-master, file: master.wrapped, sign_in: certificate, client_id: 11111111-2222-4333-8444-555555555555, tenant: 99999999-0000-4000-8000-000000000001, certificate: {file: no.pem, key_file: no.key}}}\n")
	for _, args := range [][]string{{"vault", "create"}, {"vault", "show"}, {"status"}} {
		code, _, errs := droverCommand(t, append(args, "-c", conf)...)
		if code != exitDenied || !strings.Contains(errs, filepath.Join(dir, "no.pem")) || !strings.Contains(errs, "hint: name the certificate") {
			t.Errorf("%v: exit code %d: %s", args, code, errs)
		}
	}
}

func TestRevokeNamesEverythingThatLeadsIn(t *testing.T) {
	path := vaultWorld(t, "")
	before := sumOf(t, filepath.Join(filepath.Dir(path), "keys"))
	var all revocations
	if err := json.Unmarshal([]byte(drove(t, path, "revoke", "--all", "--json")), &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Apps) != 1 || all.Apps[0].ClientID != "9d2e4b70-1111-4c2b-9a55-77aa88bb99cc" || len(all.Apps[0].Withdraw) != 2 || !strings.Contains(all.Apps[0].Withdraw[1].What, "the MSSP's own refresh token") {
		t.Errorf("apps: %+v", all.Apps)
	}
	if len(all.Tenants) != 2 {
		t.Fatalf("tenants: %+v", all.Tenants)
	}
	who := func(r revocation) (list []string) {
		for _, w := range r.Withdraw {
			list = append(list, w.Who)
			if len(w.Do) == 0 || w.Because == "" || w.Who != "us" && w.Where == "" {
				t.Errorf("%s: %+v", r.Name, w)
			}
		}
		return list
	}
	contoso, fabrikam := all.Tenants[0], all.Tenants[1]
	if got := who(contoso); !slices.Equal(got, []string{"us", "customer", "customer", "customer"}) || !strings.Contains(contoso.Withdraw[3].Where, "tid="+string(contoso.Tenant)) {
		t.Errorf("contoso: %v", got)
	}
	if got := who(fabrikam); !slices.Equal(got, []string{"us", "customer"}) || fabrikam.Withdraw[1].Where != "https://entra.microsoft.us" || !slices.ContainsFunc(fabrikam.Withdraw[1].Do, func(s string) bool { return strings.Contains(s, "https://graph.microsoft.us/v1.0/servicePrincipals") }) {
		t.Errorf("fabrikam, of the US government's cloud: %+v", fabrikam.Withdraw)
	}
	if out := drove(t, path, "revoke", "fabrikam"); strings.Contains(out, "contoso") || !strings.Contains(out, "only an admin of the customer's directory") || !strings.Contains(out, "nothing was changed") {
		t.Errorf("one tenant: %s", out)
	}
	for _, args := range [][]string{{"revoke"}, {"revoke", "contoso", "--all"}, {"revoke", "a", "b"}} {
		if code, _, errs := droverCommand(t, append(args, "-c", path)...); code != exitUsage || !strings.Contains(errs, "--all") {
			t.Errorf("%v: exit code %d, %s", args, code, errs)
		}
	}
	if sumOf(t, filepath.Join(filepath.Dir(path), "keys")) != before || strings.Contains(drove(t, path, "revoke", "--all"), "0.of-the-mssp") {
		t.Error("it changed something, or shows a token")
	}
}
