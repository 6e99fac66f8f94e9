package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/config"
	"drover/internal/entra"
	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/proof"
	"drover/internal/registration"
)

const msspAdmin = "admin@mssp.example"

// msspStage is a lab with a drover.yaml that has no app yet, and an admin of the
// MSSP who signs in at once.
type msspStage struct {
	*testing.T
	*stage
	config, dir string
	stop        context.CancelFunc // ends the command that signs in
	client      *http.Client
}

func newMSSP(t *testing.T) *msspStage {
	t.Helper()
	s, err := newStage(stageOptions{dir: t.TempDir(), listen: "127.0.0.1:0", seed: 5, customers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	dir := t.TempDir()
	m := &msspStage{T: t, stage: s, dir: dir, config: filepath.Join(dir, "drover.yaml")}
	m.configure("")
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.lab.CAPEM())
	jar, _ := cookiejar.New(nil)
	m.client = &http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	usual := graphSignIn
	graphSignIn = func(_ context.Context, r signInRequest) (drover.Secret, error) {
		return m.signedIn(msspAdmin, r.clientID, "Application.ReadWrite.All"), nil
	}
	t.Cleanup(func() { graphSignIn = usual })
	return m
}

// configure writes the config, with more lines.
func (m *msspStage) configure(more string) {
	m.Helper()
	put(m.T, m.config, "clouds: {lab: {authority: \"https://"+m.addr+"\", graph: \"https://"+m.addr+"\", graph_resource: \"https://graph.microsoft.com\", ca_file: "+m.stage.dir+"/ca.pem, allow_private: true}}\n"+
		"ledger: {dir: "+m.dir+"/ledger}\nvault: {key_file: "+m.dir+"/keys/master.key}\nsinks: {archive: {type: file, root: "+m.dir+"/out}}\nlisten: {health: none}\n"+more)
}

func (m *msspStage) form(path string, pairs ...string) []byte {
	m.Helper()
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	res, err := m.client.PostForm("https://"+m.addr+path, v)
	if err != nil {
		m.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		m.Fatal(err)
	}
	return b
}

var canary = regexp.MustCompile(`name="canary" value="([^"]*)"`)

// enter types a user code on the page, as somebody.
func (m *msspStage) enter(code, user string) {
	res, err := m.client.Get("https://" + m.addr + "/devicelogin")
	if err != nil {
		m.Error(err)
		return
	}
	page, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	found := canary.FindSubmatch(page)
	if found == nil {
		m.Error("there is no page")
		return
	}
	m.form("/devicelogin", "canary", html.UnescapeString(string(found[1])), "code", code, "user", user, "decision", "accept")
}

// signedIn is a delegated Graph token of somebody in the MSSP's tenant.
func (m *msspStage) signedIn(user, client string, scopes ...string) drover.Secret {
	m.Helper()
	for i := range scopes {
		scopes[i] = "https://graph.microsoft.com/" + scopes[i]
	}
	var code struct {
		User   string `json:"user_code"`
		Device string `json:"device_code"`
	}
	var token struct {
		Access string `json:"access_token"`
	}
	scope := strings.Join(scopes, " ")
	if err := json.Unmarshal(m.form("/mssp.example/oauth2/v2.0/devicecode", "client_id", client, "scope", scope), &code); err != nil {
		m.Fatal(err)
	}
	m.enter(code.User, user)
	b := m.form("/mssp.example/oauth2/v2.0/token", "client_id", client, "scope", scope, "grant_type", "urn:ietf:params:oauth:grant-type:device_code", "device_code", code.Device)
	if err := json.Unmarshal(b, &token); err != nil || token.Access == "" {
		m.Fatalf("no token: %s", b)
	}
	return drover.NewSecret(token.Access)
}

// graph calls the lab's Graph as the admin.
func (m *msspStage) graph(method, path string, body any) (out map[string]any) {
	m.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		m.Fatal(err)
	}
	r, err := http.NewRequestWithContext(m.Context(), method, "https://"+m.addr+"/v1.0"+path, bytes.NewReader(b))
	if err != nil {
		m.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+m.signedIn(msspAdmin, lab.AdminAppID, "Application.ReadWrite.All").Reveal())
	res, err := m.client.Do(r)
	if err != nil {
		m.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode >= 300 {
		m.Fatalf("%s %s: %d", method, path, res.StatusCode)
	}
	_ = json.NewDecoder(res.Body).Decode(&out)
	return out
}

func (m *msspStage) https() registration.Doer {
	m.Helper()
	a, err := newAppFrom(m.T, m.config)
	if err != nil {
		m.Fatal(err)
	}
	return a.https["lab"]
}

func (m *msspStage) run(want int, args ...string) (stdout, stderr string) {
	m.Helper()
	code, out, errs := droverCommand(m.T, append(args, "-c", m.config)...)
	if code != want {
		m.Fatalf("%v: exit code %d, want %d: %s %s", args, code, want, out, errs)
	}
	return out, errs
}

var clientIDLine = regexp.MustCompile(`client_id: (\S+)`)

// create makes an app and adds the printed lines to the config.
func (m *msspStage) create(args ...string) (appID string) {
	m.Helper()
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "DIR", m.dir)
	}
	out, _ := m.run(exitOK, append([]string{"app", "create", "--home", "mssp.example", "--cloud", "lab"}, args...)...)
	found := clientIDLine.FindStringSubmatch(out)
	if found == nil {
		m.Fatalf("no lines for the config: %s", out)
	}
	lines, _, _ := strings.Cut(out, "# each customer")
	m.configure(lines)
	return found[1]
}

// roles asks for a token of the app in the customer's tenant, with the config as it is, and
// returns what it may there.
func (m *msspStage) roles(name string) ([]string, error) {
	m.Helper()
	cfg, err := config.Load(m.config)
	if err != nil {
		m.Fatal(err)
	}
	a, err := newApp(cfg, discard(), nil)
	if err != nil {
		m.Fatal(err)
	}
	id := m.lab.Customers()[0].Tenant
	token, err := a.tokens.Token(m.Context(), drover.Tenant{ID: drover.TenantID(id), Cloud: "lab", App: name}, drover.GraphAlerts)
	if err != nil {
		return nil, err
	}
	p, ok := entra.Carried(token)
	if !ok {
		m.Fatal("the token cannot be read")
	}
	return p.List, nil
}

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
