package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/proof"
	"drover/internal/registration"
)

func TestAnAppIsCreatedAndReadsWhatItsCustomerConsentsTo(t *testing.T) {
	type kind struct {
		args []string
		file string // where what is secret is
	}
	kinds := map[string]kind{
		"with a certificate": {[]string{"--key-file", "DIR/apps/default.key"}, "apps/default.key"},
		"with a secret":      {[]string{"--credential", "secret", "--days", "90"}, "apps/default.secret"},
	}
	works, leaks := 0, 0
	for name, tt := range kinds {
		t.Run(name, func(t *testing.T) {
			m := newMSSP(t)
			id := m.create(append(tt.args, "--source", "graph.alerts,graph.incidents,mde.alerts")...)
			m.lab.Directory().Consent(m.lab.Customers()[0].Tenant, id, authority.Granted)
			got, err := m.roles("default")
			if err != nil || !slices.Equal(got, []string{"SecurityAlert.Read.All", "SecurityIncident.Read.All"}) {
				t.Errorf("the token has %v, %v", got, err)
			} else {
				works++
			}
			info, err := os.Stat(filepath.Join(m.dir, tt.file))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v %v", info, err)
			}
			secret, _ := os.ReadFile(filepath.Join(m.dir, tt.file))
			record, _ := os.ReadFile(filepath.Join(m.dir, "apps/default.json"))
			if len(secret) < 16 || bytes.Contains(record, bytes.TrimSpace(secret)) {
				leaks++
				t.Error("the record holds what is secret")
			}
			app := m.graph("GET", "/applications(appId='"+id+"')", nil)
			if app["displayName"] != "mssp.example SIEM MSSP Connector" || app["signInAudience"] != "AzureADMultipleOrgs" {
				t.Errorf("%v", app)
			}
			// A second time nothing is made and nothing is written over.
			m.run(exitUsage, "app", "create", "--home", "mssp.example", "--cloud", "lab")
			if again, _ := os.ReadFile(filepath.Join(m.dir, tt.file)); !bytes.Equal(again, secret) {
				t.Error("the second time has written over the first")
			}
			_, errs := m.run(exitUsage, "app", "create", "other", "--home", "mssp.example", "--cloud", "lab")
			if !strings.Contains(errs, id) {
				t.Errorf("does not name the app of that name: %s", errs)
			}
			if _, err := os.Stat(filepath.Join(m.dir, "apps/other.key")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a key was made for nothing: %v", err)
			}
			out, _ := m.run(exitOK, "app", "check")
			if !strings.Contains(out, "permission Microsoft Graph SecurityAlert.Read.All") {
				t.Errorf("%s", out)
			}
		})
	}
	if !t.Failed() {
		proof.Ran(t, "app.create", "apps made through Graph whose credential gets tokens with the roles that were asked for: %d of %d; secrets in the record: %d", works, len(kinds), leaks)
	}
}

// The manual's model: an app for each customer, in the MSSP's tenant and beside
// the others.
func TestACustomerMayHaveAnAppOfItsOwn(t *testing.T) {
	m := newMSSP(t)
	id := m.create("contoso", "--customer", "Contoso", "--credential", "secret")
	customer := m.lab.Customers()[0].Tenant
	m.lab.Directory().Consent(customer, id, authority.Granted)
	if got, err := m.roles("contoso"); err != nil || !slices.Equal(got, []string{"SecurityAlert.Read.All"}) {
		t.Errorf("the token has %v, %v", got, err)
	}
	if app := m.graph("GET", "/applications(appId='"+id+"')", nil); app["displayName"] != "Contoso SIEM MSSP Connector" {
		t.Errorf("%v", app["displayName"])
	}
	out, _ := m.run(exitOK, "app", "rotate", "contoso", "--days", "30")
	if !strings.Contains(out, "next_secret: {file: ") || !strings.Contains(out, "next_secret_until: "+day(time.Now().AddDate(0, 0, 30))) {
		t.Errorf("%s", out)
	}
	if app := m.graph("GET", "/applications(appId='"+id+"')", nil); len(app["passwordCredentials"].([]any)) != 2 || len(app["keyCredentials"].([]any)) != 0 {
		t.Errorf("%v %v", app["passwordCredentials"], app["keyCredentials"])
	}
	out, _ = m.run(exitOK, "app", "check", "contoso")
	if strings.Contains(out, "FAIL") || !strings.Contains(out, "ends in 29 days") {
		t.Errorf("%s", out)
	}
}

// A sign-in for the SIEM API is refused unless the registration names the API
// whose audience its tokens have.
func TestAnAppForTheSIEMAPINamesItsAudience(t *testing.T) {
	m := newMSSP(t)
	out, _ := m.run(exitOK, "app", "create", "--home", "mssp.example", "--cloud", "lab", "--credential", "secret", "--source", "graph.alerts,siem.detections")
	id := clientIDLine.FindStringSubmatch(out)[1]
	if !strings.Contains(out, "home_tenant: "+lab.HomeTenant) {
		t.Errorf("a domain is not told as the tenant's ID: %s", out)
	}
	required := m.graph("GET", "/applications(appId='"+id+"')", nil)["requiredResourceAccess"].([]any)
	named := slices.ContainsFunc(required, func(r any) bool { return r.(map[string]any)["resourceAppId"] == registration.OldGraph })
	if len(required) != 2 || !named {
		t.Errorf("%v", required)
	}
	lines, _, _ := strings.Cut(out, "# each customer")
	m.configure(lines)
	if out, _ := m.run(exitOK, "app", "check"); !strings.Contains(out, "Windows Azure Active Directory User.Read (delegated)") {
		t.Errorf("%s", out)
	}
	_, out, _ = droverCommand(t, "app", "manual", "--source", "siem.detections", "-c", m.config)
	if !strings.Contains(out, "Windows Azure Active Directory > Delegated permissions > User.Read") {
		t.Errorf("%s", out)
	}
}

func TestAFederatedCredentialIsRegisteredAndIsDrovers(t *testing.T) {
	m := newMSSP(t)
	m.run(exitUsage, "app", "create", "--home", "mssp.example", "--cloud", "lab", "--credential", "federated")
	id := m.create("--credential", "federated", "--issuer", "https://issuer.example", "--subject", "system:serviceaccount:soc:drover")
	list := m.graph("GET", "/applications(appId='"+id+"')/federatedIdentityCredentials", nil)["value"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["subject"] != "system:serviceaccount:soc:drover" {
		t.Errorf("%v", list)
	}
	m.run(exitOK, "app", "check")
	out, _ := m.run(exitOK, "app", "show", "--json")
	var shown registration.Application
	if err := json.Unmarshal([]byte(out), &shown); err != nil || shown.AppID != id || len(shown.Federated) != 1 || len(shown.Owners) != 1 {
		t.Errorf("%v %s", err, out)
	}
}

func TestWhereTheAdminMayNotNothingIsLeftBehind(t *testing.T) {
	m := newMSSP(t)
	may := graphSignIn
	graphSignIn = func(_ context.Context, r signInRequest) (drover.Secret, error) {
		return m.signedIn(msspAdmin, r.clientID, "Application.Read.All"), nil
	}
	_, errs := m.run(exitDenied, "app", "create", "--home", "mssp.example", "--cloud", "lab")
	if !strings.Contains(errs, "Authorization_RequestDenied") || !strings.Contains(errs, "drover app manual") {
		t.Errorf("%s", errs)
	}
	if files, _ := filepath.Glob(filepath.Join(m.dir, "apps", "*")); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
	graphSignIn = may
	m.create()
}

func TestMoreThanReadingIsNeverAskedFor(t *testing.T) {
	m := newMSSP(t)
	graphSignIn = func(context.Context, signInRequest) (drover.Secret, error) {
		t.Error("somebody is asked to sign in")
		return drover.Secret{}, errors.New("no")
	}
	beyond := []string{"SecurityAlert.ReadWrite.All", "Application.ReadWrite.OwnedBy", "AppRoleAssignment.ReadWrite.All", "defender/Machine.Isolate", "defender/Alert.ReadWrite.All", "Mail.Send", "Sites.FullControl.All"}
	refused := 0
	for _, role := range beyond {
		_, errs := m.run(exitUsage, "app", "create", "--home", "mssp.example", "--cloud", "lab", "--role", role)
		if strings.Contains(errs, strings.TrimPrefix(role, "defender/")) {
			refused++
		} else {
			t.Errorf("%s: %s", role, errs)
		}
		m.run(exitUsage, "app", "manual", "--role", role)
	}
	if files, _ := filepath.Glob(filepath.Join(m.dir, "apps", "*")); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
	if !t.Failed() {
		proof.Ran(t, "app.readonly", "roles beyond read that are refused by name, before anybody signs in: %d of %d", refused, len(beyond))
	}
}

func TestTheManualHasTheUsersValues(t *testing.T) {
	dir := t.TempDir()
	code, out, errs := droverCommand(t, "app", "manual", "contoso", "--customer", "Contoso", "--home", "mssp.example", "--client-id", "9d2e4b70-1111-4c2b-9a55-77aa88bb99cc", "--redirect", "https://mssp.example/cb,https://SiemMsspConnector", "--source", "graph.alerts,mde.alerts", "-c", filepath.Join(dir, "drover.yaml"))
	if code != exitOK {
		t.Fatal(errs)
	}
	for _, want := range []string{
		"Contoso SIEM MSSP Connector", "Accounts in any organizational directory", "Web, https://mssp.example/cb", "https://SiemMsspConnector",
		"Microsoft Graph > Application permissions > SecurityAlert.Read.All", "WindowsDefenderATP > Application permissions > Alert.Read.All", "openssl req -x509 -newkey rsa:3072",
		"https://login.microsoftonline.com/CUSTOMER-TENANT-ID/v2.0/adminconsent?client_id=9d2e4b70-1111-4c2b-9a55-77aa88bb99cc&scope=https%3A%2F%2Fgraph.microsoft.com%2F.default&redirect_uri=https%3A%2F%2Fmssp.example%2Fcb",
		"client_id: 9d2e4b70-1111-4c2b-9a55-77aa88bb99cc", filepath.Join(dir, "apps/contoso.key"), "--app contoso",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the manual does not have %q:\n%s", want, out)
		}
	}
}
