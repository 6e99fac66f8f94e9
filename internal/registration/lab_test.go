package registration_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"html"
	"io"
	"math/big"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"drover"
	"drover/internal/httpx"
	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/proof"
	"drover/internal/registration"
)

// cloud is a lab on a clock that moves when somebody waits.
type cloud struct {
	*testing.T
	*lab.Lab
	http  *httpx.Client
	base  string
	mu    sync.Mutex
	now   time.Time
	waits int
}

func (c *cloud) clock() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// pause passes the time at once.
func (c *cloud) pause(_ context.Context, d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits++
	c.now = c.now.Add(d)
	return true
}

func pretend(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{T: t, now: time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)}
	var err error
	if c.Lab, err = lab.New(lab.Options{Seed: 1, Customers: 1, Clock: c.clock}); err != nil {
		t.Fatal(err)
	}
	addr, err := c.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.base = "https://" + addr
	if c.http, err = httpx.New(httpx.Options{Purpose: "lab", CAs: c.CAPEM(), AllowPrivate: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.http.Close(); _ = c.Close() })
	return c
}

var canary = regexp.MustCompile(`name="canary" value="([^"]*)"`)

// signIn is a token of the MSSP's admin with a scope of Graph's.
func (c *cloud) signIn(scope string) drover.Secret {
	c.Helper()
	jar, _ := cookiejar.New(nil)
	client := c.http.HTTPClient(c.base, 1<<20)
	client.Jar = jar
	form := func(path string, v url.Values) (out map[string]any, raw []byte) {
		res, err := client.PostForm(c.base+path, v)
		if err != nil {
			c.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		raw, _ = io.ReadAll(res.Body)
		_ = json.Unmarshal(raw, &out)
		return out, raw
	}
	scope = "https://graph.microsoft.com/" + scope
	code, raw := form("/mssp.example/oauth2/v2.0/devicecode", url.Values{"client_id": {lab.AdminAppID}, "scope": {scope}})
	user, _ := code["user_code"].(string)
	device, _ := code["device_code"].(string)
	if user == "" {
		c.Fatalf("%s", raw)
	}
	res, err := client.Get(c.base + "/devicelogin")
	if err != nil {
		c.Fatal(err)
	}
	page, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	found := canary.FindSubmatch(page)
	if found == nil {
		c.Fatalf("no page: %s", page)
	}
	form("/devicelogin", url.Values{"canary": {html.UnescapeString(string(found[1]))}, "code": {user}, "user": {"admin@mssp.example"}, "decision": {"accept"}})
	token, raw := form("/mssp.example/oauth2/v2.0/token", url.Values{"client_id": {lab.AdminAppID}, "scope": {scope}, "grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {device}})
	access, _ := token["access_token"].(string)
	if access == "" {
		c.Fatalf("%s", raw)
	}
	return drover.NewSecret(access)
}

func (c *cloud) client(http registration.Doer, scope string) *registration.Client {
	c.Helper()
	return registration.New(registration.Options{HTTP: http, Graph: c.base, Token: c.signIn(scope), Pause: c.pause})
}

const writes = "Application.ReadWrite.All"

var (
	oneKey  = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })
	serials int64
)

func (c *cloud) certificate(until time.Time) *x509.Certificate {
	c.Helper()
	key, err := oneKey()
	if err != nil {
		c.Fatal(err)
	}
	serials++
	like := &x509.Certificate{SerialNumber: big.NewInt(serials), Subject: pkix.Name{CommonName: "app"}, NotBefore: c.clock().Add(-time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, like, like, key.Public(), key)
	if err != nil {
		c.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.Fatal(err)
	}
	return cert
}

func alerts() []registration.Permission {
	return []registration.Permission{{API: registration.Graph, Value: "SecurityAlert.Read.All"}, {API: registration.Defender, Value: "Alert.Read.All"}}
}

func (c *cloud) plan() registration.Plan {
	return registration.Plan{Name: "Contoso SIEM MSSP Connector", Audience: registration.ManyTenants, Redirects: []string{"https://mssp.example/cb"}, Permissions: alerts(), Certificate: c.certificate(c.clock().AddDate(1, 0, 0)), KeyName: "drover"}
}

// A directory tells its servers of what is new one by one: every step of making
// an app meets one that has not heard of the one before.
func TestAnAppIsMadeWholeWhileTheDirectoryShowsItUnevenly(t *testing.T) {
	whole, waits := 0, 0
	for seed := range 3 {
		c := pretend(t)
		g := c.client(c.http, writes)
		c.Directory().Switch(func(s *authority.Switches) {
			s.DirectoryDelay, s.ConsentDelay = authority.Span(time.Minute), authority.Span(time.Minute)
		})
		a, err := g.Create(t.Context(), c.plan())
		if err != nil {
			t.Fatalf("run %d: %v", seed, err)
		}
		secret, _, err := g.AddSecret(t.Context(), a.AppID, "drover", c.clock().AddDate(0, 6, 0))
		if err != nil || secret.Empty() {
			t.Fatalf("run %d: %v", seed, err)
		}
		if err := g.Trust(t.Context(), a.AppID, registration.Federated{Name: "x", Issuer: "https://issuer.example", Subject: "y", Audiences: []string{"api://AzureADTokenExchange"}}); err != nil {
			t.Fatalf("run %d: %v", seed, err)
		}
		got, err := g.Await(t.Context(), a.AppID)
		if err != nil {
			t.Fatal(err)
		}
		perms, err := g.Permissions(t.Context(), got)
		if err != nil || !slices.Equal(perms, alerts()) || len(got.Keys) != 1 || len(got.Passwords) != 1 || len(got.Federated) != 1 || len(got.Owners) != 1 || got.Audience != registration.ManyTenants {
			t.Errorf("run %d: %v %+v %v", seed, perms, got, err)
		}
		if c.waits == 0 {
			t.Errorf("run %d: nothing was waited for", seed)
		}
		whole, waits = whole+1, waits+c.waits
		c.pause(t.Context(), time.Minute)
		if ids, err := g.Named(t.Context(), got.Name); err != nil || !slices.Equal(ids, []string{a.AppID}) {
			t.Errorf("by name: %v %v", ids, err)
		}
	}
	if !t.Failed() {
		proof.Ran(t, "app.uneven", "apps made whole while the directory shows what is new unevenly: %d of 3, after %d waits", whole, waits)
	}
}

func TestNothingIsMadeWhereAPermissionIsNotToBeHad(t *testing.T) {
	c := pretend(t)
	g := c.client(c.http, writes)
	for name, p := range map[string]registration.Permission{
		"it does not exist": {API: registration.Graph, Value: "SecurityAlarm.Read.All"},
		"another API's":     {API: registration.Graph, Value: "Alert.Read.All"},
		"an unknown API":    {API: "aaaaaaaa-0000-4000-8000-000000000001", Value: "Alert.Read.All"},
		"more than reading": {API: registration.Graph, Value: "SecurityAlert.ReadWrite.All"},
		"an ID":             {API: registration.Graph, Value: "472e4a4d-bb4a-4026-98d1-0b0d74cb74a5"},
	} {
		plan := c.plan()
		plan.Permissions = append(plan.Permissions, p)
		a, err := g.Create(t.Context(), plan)
		if err == nil || a != nil || drover.HintOf(err) == "" {
			t.Errorf("%s: %v %v", name, a, err)
		}
		if ids, err := g.Named(t.Context(), plan.Name); err != nil || len(ids) > 0 {
			t.Errorf("%s: it was made: %v %v", name, ids, err)
		}
	}
}

// meddler answers, or changes what is asked.
type meddler struct {
	next registration.Doer
	do   func(r httpx.Request, next registration.Doer, ctx context.Context) (*httpx.Response, error)
	all  []httpx.Request
}

func (m *meddler) Do(ctx context.Context, r httpx.Request) (*httpx.Response, error) {
	m.all = append(m.all, r)
	if m.do == nil {
		return m.next.Do(ctx, r)
	}
	return m.do(r, m.next, ctx)
}

func TestOthersCertificatesStayWhenOneIsAddedOrRemoved(t *testing.T) {
	c := pretend(t)
	m := &meddler{next: c.http}
	g := c.client(m, writes)
	plan := c.plan()
	a, err := g.Create(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	theirs, ours := c.certificate(c.clock().AddDate(1, 0, 0)), c.certificate(c.clock().AddDate(1, 0, 0))
	if _, err := g.AddCertificate(t.Context(), a.AppID, theirs, "theirs", nil); err != nil {
		t.Fatal(err)
	}
	id, err := g.AddCertificate(t.Context(), a.AppID, ours, "ours", nil)
	if err != nil {
		t.Fatal(err)
	}
	has := func(want ...*x509.Certificate) {
		t.Helper()
		got, err := g.Find(t.Context(), a.AppID)
		if err != nil || len(got.Keys) != len(want) {
			t.Fatalf("%d certificates, want %d; %v", len(got.Keys), len(want), err)
		}
		for _, w := range want {
			if !slices.ContainsFunc(got.Keys, func(k registration.Key) bool { return k.Is(w) }) {
				t.Errorf("one is not there")
			}
		}
	}
	has(plan.Certificate, theirs, ours)
	if _, err := g.AddCertificate(t.Context(), a.AppID, nil, "", []string{id}); err != nil {
		t.Fatal(err)
	}
	has(plan.Certificate, theirs)
	// Somebody else replaces the list at the same time: that is said.
	m.do = func(r httpx.Request, next registration.Doer, ctx context.Context) (*httpx.Response, error) {
		if r.Method == http.MethodPatch {
			r.Body = []byte(`{"keyCredentials":[]}`)
		}
		return next.Do(ctx, r)
	}
	if _, err := g.AddCertificate(t.Context(), a.AppID, ours, "ours", nil); err == nil || drover.HintOf(err) == "" {
		t.Errorf("a lost certificate is not noticed: %v", err)
	}
}

func TestACertificateThatIsProvenTouchesNoOther(t *testing.T) {
	c := pretend(t)
	m := &meddler{next: c.http}
	g := c.client(m, writes)
	plan := c.plan()
	a, err := g.Create(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	key, err := oneKey()
	if err != nil {
		t.Fatal(err)
	}
	more := c.certificate(c.clock().AddDate(1, 0, 0))
	m.all = nil
	id, err := g.AddProven(t.Context(), a, more, "more", proves(t, a, plan.Certificate, key, c.clock()))
	if err != nil || id == "" || slices.ContainsFunc(m.all, func(r httpx.Request) bool { return r.Method == http.MethodPatch }) {
		t.Fatalf("%q %v", id, err)
	}
	got, err := g.Find(t.Context(), a.AppID)
	if err != nil || len(got.Keys) != 2 || !slices.ContainsFunc(got.Keys, func(k registration.Key) bool { return k.ID == id && k.Is(more) }) {
		t.Errorf("%+v %v", got, err)
	}
	// Another's key proves nothing, nor does a clock that is an hour off.
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"another key": func() error {
			_, err := g.AddProven(t.Context(), a, more, "x", proves(t, a, plan.Certificate, other, c.clock()))
			return err
		}(),
		"another clock": func() error {
			_, err := g.AddProven(t.Context(), a, more, "x", proves(t, a, plan.Certificate, key, c.clock().Add(time.Hour)))
			return err
		}(),
	} {
		if drover.KindOf(err) != drover.Denied {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestARefusalSaysWhatToDoAndHoldsNoToken(t *testing.T) {
	c := pretend(t)
	client := "aaaaaaaa-0000-4000-8000-000000000001"
	token := c.signIn("User.Read")
	g := registration.New(registration.Options{HTTP: c.http, Graph: c.base, Token: token, Pause: c.pause})
	_, err := g.Find(t.Context(), client)
	if err == nil || drover.KindOf(err) != drover.Denied || !strings.Contains(err.Error(), "Authorization_RequestDenied") || !strings.Contains(drover.HintOf(err), "drover app manual") {
		t.Errorf("without the scope: %v", err)
	}
	if strings.Contains(err.Error()+drover.HintOf(err), token.Reveal()) {
		t.Error("the token stands in the error")
	}
	if _, err = c.client(c.http, writes).Find(t.Context(), client); !errors.Is(err, registration.ErrUnknown) || drover.HintOf(err) == "" {
		t.Errorf("an app that is not there: %v", err)
	}
	if _, err = c.client(c.http, writes).Find(t.Context(), "x')/addPassword?"); err == nil {
		t.Error("what is no ID is asked for")
	}
}

func TestEveryCallGoesToGraphAndASlowedOneIsMadeAgain(t *testing.T) {
	c := pretend(t)
	slowed := 0
	m := &meddler{next: c.http}
	m.do = func(r httpx.Request, next registration.Doer, ctx context.Context) (*httpx.Response, error) {
		if slowed < 2 && r.Method == http.MethodPost {
			slowed++
			return &httpx.Response{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"7"}}, Body: []byte(`{"error":{"code":"TooManyRequests","message":"slow down"}}`)}, nil
		}
		return next.Do(ctx, r)
	}
	begun := c.clock()
	if _, err := c.client(m, writes).Create(t.Context(), c.plan()); err != nil || slowed != 2 {
		t.Fatalf("slowed down %d times: %v", slowed, err)
	}
	if gone := c.clock().Sub(begun); gone < 14*time.Second {
		t.Errorf("waited %v, was told 14 s", gone)
	}
	for _, r := range m.all {
		if r.Origin != c.base || !strings.HasPrefix(r.URL, c.base+"/v1.0/") || r.Bearer.Empty() {
			t.Errorf("%s with origin %q", httpx.SafeURL(r.URL), r.Origin)
		}
	}
	// What never ends being slow ends here.
	m.do = func(httpx.Request, registration.Doer, context.Context) (*httpx.Response, error) {
		return &httpx.Response{Status: http.StatusTooManyRequests, Header: http.Header{}}, nil
	}
	m.all = nil
	if _, err := c.client(m, writes).Named(t.Context(), "x"); err == nil || len(m.all) > 5 {
		t.Errorf("%d calls, %v", len(m.all), err)
	}
}

func proves(t *testing.T, a *registration.Application, cert *x509.Certificate, key *rsa.PrivateKey, now time.Time) drover.Secret {
	t.Helper()
	proof, err := registration.Prove(a.ObjectID, cert, key, now)
	if err != nil {
		t.Fatal(err)
	}
	return proof
}
