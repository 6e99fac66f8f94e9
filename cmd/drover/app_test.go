package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"drover"
	"drover/internal/config"
	"drover/internal/entra"
	"drover/internal/lab"
	"drover/internal/registration"
)

const msspAdmin = "admin@mssp.example"

// msspStage is a lab with a drover.yaml that has no app yet, and an admin of the
// MSSP who signs in at once.
type msspStage struct {
	*testing.T
	*stage
	config, dir string
	page        string             // more keys below listen:
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
		"ledger: {dir: "+m.dir+"/ledger}\nvault: {key_file: "+m.dir+"/keys/master.key}\nsinks: {archive: {type: file, root: "+m.dir+"/out}}\nlisten: {health: none"+m.page+"}\nmssp: {name: Example Security}\n"+more)
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
