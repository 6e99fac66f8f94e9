package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/entra"
	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/proof"
	"drover/internal/registration"
)

func TestARollOverThatIsRefusedChangesNothing(t *testing.T) {
	m := newMSSP(t)
	id := m.create("--key-file", "DIR/apps/default.key")
	m.lab.Directory().Consent(m.lab.Customers()[0].Tenant, id, authority.Granted)
	read := func() (all []byte) {
		for _, name := range []string{"default.key", "default.pem", "default.json"} {
			b, err := os.ReadFile(filepath.Join(m.dir, "apps", name))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b...)
		}
		return all
	}
	before, may := read(), graphSignIn
	graphSignIn = func(_ context.Context, r signInRequest) (drover.Secret, error) {
		return m.signedIn(msspAdmin, r.clientID, "Application.Read.All"), nil
	}
	_, errs := m.run(exitDenied, "app", "rotate")
	if !strings.Contains(errs, "Authorization_RequestDenied") || !bytes.Equal(read(), before) {
		t.Errorf("%s", errs)
	}
	if _, err := m.roles("default"); err != nil {
		t.Error(err)
	}
	graphSignIn = may
	m.run(exitOK, "app", "rotate")
}

// What others put on the app stays, and so does what is in use.
func TestOldCertificatesAreTakenAwayAndNoOthers(t *testing.T) {
	m := newMSSP(t)
	id := m.create("--key-file", "DIR/apps/default.key")
	at := "/applications(appId='" + id + "')"
	foreign, err := newForeignCertificate()
	if err != nil {
		t.Fatal(err)
	}
	app := m.graph("GET", at+"?$select=keyCredentials", nil)
	m.graph("PATCH", at, map[string]any{"keyCredentials": append(app["keyCredentials"].([]any), foreign)})
	m.run(exitOK, "app", "rotate")
	// An hour later the new one is in use: here it has been so all along.
	f := appFiles{cert: filepath.Join(m.dir, "apps/default.pem"), key: filepath.Join(m.dir, "apps/default.key"), record: filepath.Join(m.dir, "apps/default.json")}
	k := knownApp{files: f, pairs: filePairs{f.cert, f.key}, graph: registration.New(registration.Options{HTTP: m.https(), Graph: "https://" + m.addr, Token: m.signedIn(msspAdmin, lab.AdminAppID, "Application.ReadWrite.All")})}
	if k.record, _, err = readRecord(f.record); err != nil {
		t.Fatal(err)
	}
	if k.certs, err = readCertificates(f.cert); err != nil || len(k.certs) != 2 {
		t.Fatal(len(k.certs), err)
	}
	if k.app, err = k.graph.Find(t.Context(), id); err != nil || len(k.app.Keys) != 3 {
		t.Fatal(len(k.app.Keys), err)
	}
	out := new(bytes.Buffer)
	if err := k.removeOld(t.Context(), out, time.Now().Add(2*rotateLead)); err != nil {
		t.Fatal(err)
	}
	left, err := readCertificates(f.cert)
	if err != nil || len(left) != 1 || !left[0].Equal(k.certs[1]) {
		t.Fatalf("%d certificates are left in the file, %v", len(left), err)
	}
	cert, _ := os.ReadFile(f.cert)
	key, _ := os.ReadFile(f.key)
	if _, err := entra.ParseCertificate(cert, key, time.Now()); err != nil || bytes.Count(key, []byte("BEGIN")) != 1 {
		t.Errorf("the pair that is left: %v, %d keys", err, bytes.Count(key, []byte("BEGIN")))
	}
	now, err := k.graph.Find(t.Context(), id)
	if err != nil || len(now.Keys) != 2 || !slices.ContainsFunc(now.Keys, func(x registration.Key) bool { return x.Name == "foreign" }) || !slices.ContainsFunc(now.Keys, func(x registration.Key) bool { return x.Is(left[0]) }) {
		t.Errorf("%+v %v", now, err)
	}
}

func TestWhatDroverDidNotMakeIsNamed(t *testing.T) {
	m := newMSSP(t)
	id := m.create()
	at := "/applications(appId='" + id + "')"
	m.run(exitOK, "app", "check")
	m.lab.Directory().AddUser(lab.HomeTenant, "mallory@mssp.example", false)
	other, err := newForeignCertificate()
	if err != nil {
		t.Fatal(err)
	}
	m.graph("POST", at+"/addPassword", map[string]any{"passwordCredential": map[string]any{"displayName": "left over", "endDateTime": time.Now().AddDate(1, 0, 0).UTC().Format(time.RFC3339)}})
	m.graph("POST", at+"/federatedIdentityCredentials", map[string]any{"name": "ci", "issuer": "https://token.example", "subject": "repo:mallory/x", "audiences": []string{"api://AzureADTokenExchange"}})
	app := m.graph("GET", at+"?$select=keyCredentials,requiredResourceAccess,web", nil)
	m.graph("PATCH", at, map[string]any{
		"keyCredentials": append(app["keyCredentials"].([]any), other),
		"web":            map[string]any{"redirectUris": []string{"http://localhost", seedRedirect, "https://mallory.example/"}},
	})
	api := m.graph("GET", "/servicePrincipals(appId='"+registration.Graph+"')", nil)
	var ids []any
	for _, r := range api["appRoles"].([]any) {
		r := r.(map[string]any)
		if slices.Contains([]any{"SecurityAlert.Read.All", "Application.ReadWrite.All"}, r["value"]) {
			ids = append(ids, map[string]any{"id": r["id"], "type": "Role"})
		}
	}
	m.graph("PATCH", at, map[string]any{"requiredResourceAccess": []any{map[string]any{"resourceAppId": registration.Graph, "resourceAccess": ids}}})
	out, _ := m.run(exitFinding, "app", "check", "--json")
	var list []admin.Finding
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	named := 0
	want := []string{"client secret left over", "certificate foreign", "federated credential ci", "redirect URI https://mallory.example/", "permission Microsoft Graph Application.ReadWrite.All"}
	for _, w := range want {
		i := slices.IndexFunc(list, func(f admin.Finding) bool { return strings.HasPrefix(f.What, w) })
		if i < 0 || list[i].OK || !strings.Contains(list[i].Says, "drover did not") {
			t.Errorf("%s is not named: %s", w, out)
			continue
		}
		named++
	}
	bad := 0
	for _, f := range list {
		if !f.OK {
			bad++
		}
	}
	if bad != len(want) {
		t.Errorf("%d things are named, want %d: %s", bad, len(want), out)
	}
	shown, _ := m.run(exitOK, "app", "show")
	for _, w := range []string{"left over", "mallory.example", "repo:mallory/x", "Application.ReadWrite.All", msspAdmin} {
		if !strings.Contains(shown, w) {
			t.Errorf("show does not have %s: %s", w, shown)
		}
	}
	if !t.Failed() {
		proof.Ran(t, "app.check", "things that others put on the app and that are named: %d of %d; of drover's own: %d", named, len(want), bad-named)
	}
}

func newForeignCertificate() (map[string]any, error) {
	c, _, _, err := newCertificate("foreign", time.Now(), time.Now().AddDate(1, 0, 0))
	if err != nil {
		return nil, err
	}
	var entry map[string]any
	b, err := json.Marshal(map[string]any{"type": "AsymmetricX509Cert", "usage": "Verify", "displayName": "foreign", "key": c.Raw})
	if err == nil {
		err = json.Unmarshal(b, &entry)
	}
	return entry, err
}

func TestARollOverNeverLeavesTheAppWithoutAValidCredential(t *testing.T) {
	m := newMSSP(t)
	id := m.create("--days", "20", "--key-file", "DIR/apps/default.key")
	tenant := m.lab.Customers()[0].Tenant
	m.lab.Directory().Consent(tenant, id, authority.Granted)
	asked, refused := 0, 0
	works := func(when string) {
		t.Helper()
		asked++
		if _, err := m.roles("default"); err != nil {
			refused++
			t.Errorf("%s: %v", when, err)
		}
	}
	works("before")
	out, _ := m.run(exitOK, "app", "check")
	if !strings.Contains(out, "ends in 19 days") || !strings.Contains(out, "drover app rotate") {
		t.Errorf("it is not warned: %s", out)
	}
	// The directory tells its servers of the new certificate slowly.
	m.lab.Directory().Switch(func(s *authority.Switches) { s.DirectoryDelay = authority.Span(time.Hour) })
	m.run(exitOK, "app", "rotate")
	for range 20 {
		works("while the directory tells its servers")
	}
	m.lab.Directory().Switch(func(s *authority.Switches) { s.DirectoryDelay = 0 })
	certs, err := readCertificates(filepath.Join(m.dir, "apps/default.pem"))
	if err != nil || len(certs) != 2 {
		t.Fatalf("%d certificates, %v", len(certs), err)
	}
	if app := m.graph("GET", "/applications(appId='"+id+"')", nil); len(app["keyCredentials"].([]any)) != 2 {
		t.Errorf("%v", app["keyCredentials"])
	}
	out, _ = m.run(exitOK, "app", "rotate", "--remove-old")
	if !strings.Contains(out, "nothing to remove") {
		t.Errorf("what is in use is removed: %s", out)
	}
	works("after a look for old ones")
	// Both pairs work: a drover of an hour later uses the new one.
	cert, _ := os.ReadFile(filepath.Join(m.dir, "apps/default.pem"))
	key, _ := os.ReadFile(filepath.Join(m.dir, "apps/default.key"))
	now, err1 := entra.ParseCertificate(cert, key, time.Now())
	later, err2 := entra.ParseCertificate(cert, key, time.Now().Add(2*rotateLead))
	if err1 != nil || err2 != nil || now.Thumbprint() == later.Thumbprint() {
		t.Errorf("%v %v", err1, err2)
	}
	if !t.Failed() {
		proof.Ran(t, "app.rotate", "tokens refused during a roll-over: %d of %d asked for", refused, asked)
	}
}
