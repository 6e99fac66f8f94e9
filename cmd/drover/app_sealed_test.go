package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/config"
	"drover/internal/entra"
	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/proof"
	"drover/internal/registration"
)

// opened is the program with its ledger open, until close.
func (m *msspStage) opened() (a *app, close func()) {
	m.Helper()
	a, err := newAppFrom(m.T, m.config)
	if err == nil {
		err = a.openLedger(m.Context())
	}
	if err != nil {
		m.Fatal(err)
	}
	return a, func() {
		if err := a.store.Close(); err != nil {
			m.Error(err)
		}
	}
}

// ring is what is sealed of an app: its PEM text.
func (m *msspStage) ring(appID string) []byte {
	m.Helper()
	a, done := m.opened()
	defer done()
	c, err := (*appRing)(a).load(m.Context(), admin.AppRef{ClientID: appID, Cloud: "lab"})
	if err != nil {
		m.Fatal(err)
	}
	return c.Secret.Bytes()
}

// beside runs f beside a drover that has the ledger open.
func (m *msspStage) beside(f func()) {
	m.Helper()
	a, err := newAppFrom(m.T, m.config)
	if err != nil {
		m.Fatal(err)
	}
	ctx, stop := context.WithCancel(m.Context())
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	for !admin.Answers(a.cfg.Ledger.Dir) && len(done) == 0 {
		time.Sleep(5 * time.Millisecond)
	}
	f()
	stop()
	if err := <-done; err != nil {
		m.Error(err)
	}
}

func TestAnAppsKeyIsSealedUsedAndRolledOverAndStandsNowhereElse(t *testing.T) {
	m := newMSSP(t)
	id := m.create("--days", "40")
	tenant := m.lab.Customers()[0].Tenant
	m.lab.Directory().Consent(tenant, id, authority.Granted)
	m.run(exitOK, "tenant", "add", tenant, "--name", "contoso", "--cloud", "lab")
	works := 0
	check := func(when string) {
		t.Helper()
		out, _ := m.run(exitOK, "tenant", "check", "contoso")
		if !strings.Contains(out, "proved by certificate") || !strings.Contains(oneLine(out), "the certificate of app default ends in") {
			t.Errorf("%s: %s", when, out)
		}
		works++
	}
	check("alone")
	// Beside a running drover the key goes to it over its socket.
	m.beside(func() {
		check("running")
		out, _ := m.run(exitOK, "app", "rotate", "--days", "300")
		if !strings.Contains(out, "certificate: {sealed: true}") {
			t.Errorf("%s", out)
		}
		check("running, rolled over")
		out, _ = m.run(exitOK, "app", "check")
		if strings.Contains(out, "FAIL") || strings.Count(out, "certificate drover ") != 2 {
			t.Errorf("%s", out)
		}
	})
	m.run(exitOK, "app", "rotate", "--days", "310")
	check("alone, rolled over")
	text := m.ring(id)
	if n := len(certificatesIn(text)); n != 3 {
		t.Errorf("%d certificates", n)
	}
	now, err1 := entra.ParseCertificate(text, text, time.Now())
	later, err2 := entra.ParseCertificate(text, text, time.Now().Add(2*rotateLead))
	if err1 != nil || err2 != nil || now.Thumbprint() == later.Thumbprint() {
		t.Errorf("a new one is not used later: %v %v", err1, err2)
	}
	// Nowhere in the clear: in no spelling, in 16-byte parts of it.
	var parts [][]byte
	keys := 0
	for b, rest := pem.Decode(text); b != nil; b, rest = pem.Decode(rest) {
		if !strings.HasSuffix(b.Type, "KEY") {
			continue
		}
		keys++
		secret := b.Bytes[64:] // behind what all keys have in common
		coded := []byte(base64.StdEncoding.EncodeToString(b.Bytes))[96:]
		for i := 0; i+16 <= len(secret); i += 16 {
			parts = append(parts, secret[i:i+16])
		}
		for i := 0; i+16 <= len(coded); i += 64 {
			parts = append(parts, coded[i:i+16])
		}
	}
	public := []byte(pemOf(certificatesIn(text)))
	for _, c := range certificatesIn(text) {
		public = append(public, c.Raw...)
	}
	parts = slices.DeleteFunc(parts, func(p []byte) bool { return bytes.Contains(public, p) || bytes.Equal(p, make([]byte, 16)) })
	files, found := 0, 0
	err := filepath.WalkDir(m.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Type()&fs.ModeSocket != 0 {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte("PRIVATE KEY")) {
			found++
			t.Errorf("%s holds a key", path)
		}
		for _, p := range parts {
			if bytes.Contains(data, p) {
				found++
				t.Errorf("%s holds a part of a key", path)
				break
			}
		}
		return err
	})
	if err != nil || keys != 3 || files < 3 || len(parts) < 300 {
		t.Errorf("%v: %d keys, %d files, %d parts", err, keys, files, len(parts))
	}
	if !t.Failed() {
		proof.Ran(t, "app.sealed", "checks with a sealed key, alone, beside a running drover and after roll-overs: %d; parts of %d keys found in %d files: %d of %d looked for", works, keys, files, found, len(parts))
	}
}

func TestASealedKeyIsBoundToItsAppAndCloud(t *testing.T) {
	m := newMSSP(t)
	id := m.create()
	a, done := m.opened()
	defer done()
	ring := (*appRing)(a)
	other := a.clouds["lab"]
	other.Name, other.Authority = "other", "https://other.example"
	a.clouds["other"] = other
	if _, err := ring.AppCertificates(t.Context(), admin.AppRef{ClientID: id, Cloud: "other"}); drover.KindOf(err) != drover.Denied || admin.Hint(err) == "" {
		t.Errorf("for another cloud it opens: %v", err)
	}
	if text, err := ring.AppCertificates(t.Context(), admin.AppRef{ClientID: "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", Cloud: "lab"}); err != nil || text != "" {
		t.Errorf("another app has %q, %v", text, err)
	}
	if _, err := ring.AppCertificates(t.Context(), admin.AppRef{ClientID: id, Cloud: "moon"}); err == nil {
		t.Error("a cloud that nobody knows")
	}
	// Two at once lose none.
	ref := admin.AppRef{ClientID: id, Cloud: "lab"}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			_, _, key, err := newCertificate("x", time.Now(), time.Now().Add(time.Hour))
			if err == nil {
				err = ring.AddAppKey(t.Context(), ref, drover.NewSecret(key))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	c, err := ring.load(t.Context(), ref)
	if n := bytes.Count(c.Secret.Bytes(), []byte("BEGIN PRIVATE KEY")); err != nil || n != 5 {
		t.Errorf("%d keys, %v", n, err)
	}
	certs, err := ring.AppCertificates(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	// Keys without a certificate go when one says what is to stay, and there is a bound.
	if err := ring.KeepAppKeys(t.Context(), ref, certs); err != nil {
		t.Fatal(err)
	}
	if c, _ = ring.load(t.Context(), ref); bytes.Count(c.Secret.Bytes(), []byte("BEGIN PRIVATE KEY")) != 1 || len(certificatesIn(c.Secret.Bytes())) != 1 {
		t.Error("what was to stay is not alone, or not there")
	}
	for range maxAppKeys {
		err = errors.Join(err, ring.AddAppKey(t.Context(), ref, drover.NewSecret("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")))
	}
	if !strings.Contains(admin.Hint(err), "--remove-old") {
		t.Errorf("no bound: %v", err)
	}
}

func TestARollOverOfASealedKeyThatIsRefusedChangesNothing(t *testing.T) {
	m := newMSSP(t)
	id := m.create()
	before, may := m.ring(id), graphSignIn
	graphSignIn = func(_ context.Context, r signInRequest) (drover.Secret, error) {
		return m.signedIn(msspAdmin, r.clientID, "Application.Read.All"), nil
	}
	_, errs := m.run(exitDenied, "app", "rotate")
	if !strings.Contains(errs, "Authorization_RequestDenied") || !samePairs(before, m.ring(id)) {
		t.Errorf("%s", errs)
	}
	graphSignIn = may
	m.run(exitOK, "app", "rotate")
	if text := m.ring(id); len(certificatesIn(text)) != 2 {
		t.Errorf("%d certificates", len(certificatesIn(text)))
	}
}

func samePairs(a, b []byte) bool {
	ca, ka := pairsOf(a, certificatesIn(a))
	cb, kb := pairsOf(b, certificatesIn(b))
	return bytes.Equal(ca, cb) && bytes.Equal(ka, kb) && bytes.Count(a, []byte("BEGIN")) == bytes.Count(b, []byte("BEGIN"))
}

// What is not used any more goes from the app and from the ledger.
func TestOldSealedKeysAreDestroyed(t *testing.T) {
	m := newMSSP(t)
	id := m.create()
	m.run(exitOK, "app", "rotate")
	c := &cobra.Command{}
	c.Flags().String("config", m.config, "")
	c.SetContext(t.Context())
	pairs := sealedPairs{c, admin.AppRef{ClientID: id, Cloud: "lab"}}
	k := knownApp{files: appFiles{record: filepath.Join(m.dir, "apps/default.json")}, pairs: pairs, graph: registration.New(registration.Options{HTTP: m.https(), Graph: "https://" + m.addr, Token: m.signedIn(msspAdmin, lab.AdminAppID, "Application.ReadWrite.All")})}
	var err error
	if k.record, _, err = readRecord(k.files.record); err != nil {
		t.Fatal(err)
	}
	if k.certs, err = pairs.certificates(t.Context()); err != nil || len(k.certs) != 2 {
		t.Fatal(len(k.certs), err)
	}
	if k.app, err = k.graph.Find(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	out := new(bytes.Buffer)
	if err := k.removeOld(t.Context(), out, time.Now().Add(2*rotateLead)); err != nil {
		t.Fatal(err)
	}
	text := m.ring(id)
	left := certificatesIn(text)
	if len(left) != 1 || !left[0].Equal(k.certs[1]) || bytes.Count(text, []byte("BEGIN PRIVATE KEY")) != 1 {
		t.Errorf("%d certificates are left: %s", len(left), out)
	}
	if now, err := k.graph.Find(t.Context(), id); err != nil || len(now.Keys) != 1 || !now.Keys[0].Is(left[0]) {
		t.Errorf("%v %v", now, err)
	}
}

// A client secret that the config does not name any more is taken away; others',
// and those that it names, stay.
func TestOldSecretsAreTakenAwayAndNoOthers(t *testing.T) {
	m := newMSSP(t)
	id := m.create("--credential", "secret")
	at := "/applications(appId='" + id + "')"
	m.graph("POST", at+"/addPassword", map[string]any{"passwordCredential": map[string]any{"displayName": "theirs", "endDateTime": time.Now().AddDate(1, 0, 0).UTC().Format(time.RFC3339)}})
	out, _ := m.run(exitOK, "app", "rotate", "--days", "30")
	_, path, _ := strings.Cut(out, "next_secret: {file: \"")
	path, _, _ = strings.Cut(path, "\"")
	first := filepath.Join(m.dir, "apps/default.secret")
	write := func(secrets string) {
		m.configure("apps:\n  default: {client_id: " + id + ", cloud: lab, " + secrets + "}\n")
	}
	write("secret: {file: " + first + "}, next_secret: {file: " + path + "}")
	if out, _ := m.run(exitOK, "app", "rotate", "--remove-old"); !strings.Contains(out, "nothing to remove") {
		t.Errorf("what the config names is removed: %s", out)
	}
	write("secret: {file: " + path + "}")
	if out, _ := m.run(exitOK, "app", "rotate", "--remove-old"); !strings.Contains(out, "removed from the app") {
		t.Errorf("%s", out)
	}
	app := m.graph("GET", at, nil)
	var names []string
	for _, p := range app["passwordCredentials"].([]any) {
		names = append(names, p.(map[string]any)["displayName"].(string))
	}
	slices.Sort(names)
	if len(names) != 2 || names[1] != "theirs" {
		t.Errorf("left: %v", names)
	}
	m.lab.Directory().Consent(m.lab.Customers()[0].Tenant, id, authority.Granted)
	if _, err := m.roles("default"); err != nil {
		t.Errorf("the one in use does not work any more: %v", err)
	}
	// A config whose secret is none of the app's tells nothing.
	put(t, path, "x~no secret of this app\n")
	m.run(exitUsage, "app", "rotate", "--remove-old")
}

// The directory shows three characters of a secret: one that begins as the one in
// use may be that one.
func TestASecretThatMayBeInUseStays(t *testing.T) {
	path := put(t, filepath.Join(t.TempDir(), "secret"), "abc8Q~used\n")
	k := knownApp{config: config.App{Secret: &config.SecretRef{File: path}}, app: &registration.Application{Passwords: []registration.Password{{ID: "1", Hint: "abc"}, {ID: "2", Hint: "abc"}, {ID: "3", Hint: "xyz"}, {ID: "4", Hint: "xyz"}}},
		record: registration.Record{Credentials: []string{"1", "2", "3"}}}
	if drop, err := k.oldSecrets(); err != nil || !slices.Equal(drop, []string{"3"}) {
		t.Errorf("got %v, %v", drop, err)
	}
}

func TestAKeyMovesFromFilesIntoTheLedger(t *testing.T) {
	m := newMSSP(t)
	id := m.create("--key-file", "DIR/apps/default.key")
	out, _ := m.run(exitOK, "app", "rotate", "--sealed")
	if !strings.Contains(out, "certificate: {sealed: true}") {
		t.Fatalf("%s", out)
	}
	_, lines, _ := strings.Cut(out, "apps:")
	m.configure("apps:" + lines)
	m.lab.Directory().Consent(m.lab.Customers()[0].Tenant, id, authority.Granted)
	a, done := m.opened()
	token, err := a.tokens.Token(t.Context(), drover.Tenant{ID: drover.TenantID(m.lab.Customers()[0].Tenant), Cloud: "lab", App: "default"}, drover.GraphAlerts)
	done()
	if err != nil || token.Empty() {
		t.Error(err)
	}
	m.run(exitUsage, "app", "rotate", "--sealed", "--key-file", "x")
	m.run(exitUsage, "app", "create", "other", "--home", "mssp.example", "--cloud", "lab", "--credential", "secret", "--key-file", "x")
}

// Before anybody signs in: without a config nobody knows which ledger keeps the key.
func TestAKeyThatCannotBeSealedIsNotMade(t *testing.T) {
	usual := graphSignIn
	t.Cleanup(func() { graphSignIn = usual })
	graphSignIn = func(context.Context, signInRequest) (drover.Secret, error) {
		t.Error("somebody is asked to sign in")
		return drover.Secret{}, errors.New("no")
	}
	dir := t.TempDir()
	code, _, errs := droverCommand(t, "app", "create", "--home", "mssp.example", "-c", filepath.Join(dir, "drover.yaml"))
	if code != exitUsage || !strings.Contains(errs, "--key-file") {
		t.Errorf("%d %s", code, errs)
	}
	cfg := writeConfig(t, "")
	put(t, cfg, strings.Replace(read(t, cfg), "apps:", "xapps:", 1))
	put(t, cfg, strings.Replace(read(t, cfg), "xapps: {default: {client_id: 9d2e4b70-1111-4c2b-9a55-77aa88bb99cc, secret:", "apps: {other: {client_id: 9d2e4b70-1111-4c2b-9a55-77aa88bb99cc, secret:", 1))
	key := filepath.Join(filepath.Dir(cfg), "keys/master.key")
	if code, _, errs := droverCommand(t, "tenant", "list", "-c", cfg); code != exitOK { // makes ledger and key
		t.Fatal(errs)
	}
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := droverCommand(t, "app", "create", "--home", "mssp.example", "-c", cfg); code != exitDenied || !strings.Contains(errs, "put the key back") {
		t.Errorf("without the master key: %d %s", code, errs)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A command that has the ledger not open has an assertion made by whoever does,
// for the cloud of the app alone.
func TestASealedKeySignsForItsOwnCloudAlone(t *testing.T) {
	m := newMSSP(t)
	id := m.create("--days", "40")
	tenant := m.lab.Customers()[0].Tenant
	m.lab.Directory().Consent(tenant, id, authority.Granted)
	fetched := func(when string) {
		t.Helper()
		if out, _ := m.run(exitOK, "fetch", "--tenant", tenant, "--cloud", "lab", "--since", "60d"); strings.Count(out, "\n") < 100 {
			t.Errorf("%s: %s", when, out)
		}
	}
	fetched("alone")
	ref := admin.AppRef{ClientID: id, Cloud: "lab"}
	m.beside(func() {
		fetched("running")
		cfg, err := config.Load(m.config)
		if err != nil {
			t.Fatal(err)
		}
		api := admin.Dial(cfg.Ledger.Dir)
		for _, to := range []string{"", "https://login.evil.example/" + tenant + "/oauth2/v2.0/token", "https://" + m.addr + ".evil.example/oauth2/v2.0/token", "https://" + m.addr + "/" + tenant + "/graph"} {
			if got, err := api.AssertApp(t.Context(), ref, to); drover.KindOf(err) != drover.Refused || !got.Empty() {
				t.Errorf("for %q: %v", to, err)
			}
		}
		if got, err := api.AssertApp(t.Context(), admin.AppRef{ClientID: tenant, Cloud: "lab"}, "https://"+m.addr+"/"+tenant+"/oauth2/v2.0/token"); err == nil || !got.Empty() {
			t.Errorf("of an app without a key: %v", err)
		}
	})
}
