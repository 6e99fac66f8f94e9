package entra

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"drover"
)

const (
	tenantA  = drover.TenantID("3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60")
	tenantB  = drover.TenantID("4c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60")
	clientID = "9d2e4b70-1111-4c2b-9a55-77aa88bb99cc"
	canary   = "canary-7f3a"
)

// reply is an answer of the fake authority.
type reply struct {
	status int
	header http.Header
	body   string
	err    error
}

// authority answers token requests in memory, so that time can be virtual.
type authority struct {
	mu     sync.Mutex
	answer func(n int, tenant string, form url.Values) reply
	calls  []call
}

type call struct {
	at     time.Time
	url    string
	header http.Header
	form   url.Values
}

// HTTPClient stands in for httpx's, which follows no redirect either.
func (a *authority) HTTPClient(string, int64) *http.Client {
	return &http.Client{Transport: a, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (a *authority) RoundTrip(req *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(req.Body)
	form, _ := url.ParseQuery(string(body))
	a.mu.Lock()
	a.calls = append(a.calls, call{time.Now(), req.URL.String(), req.Header.Clone(), form})
	n := len(a.calls)
	a.mu.Unlock()
	r := a.answer(n, strings.Split(req.URL.Path, "/")[1], form)
	if r.err != nil {
		return nil, r.err
	}
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	if r.header == nil {
		r.header = http.Header{}
	}
	if r.status == 0 {
		r.status = 200
	}
	return &http.Response{StatusCode: r.status, Header: r.header, Body: io.NopCloser(bytes.NewReader([]byte(r.body))), Request: req}, nil
}

func (a *authority) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.calls)
}

// jwt is a token with these claims and no signature worth the name.
func jwt(claims map[string]any) string {
	b, _ := json.Marshal(claims)
	return "e30." + base64.RawURLEncoding.EncodeToString(b) + ".c2ln"
}

// good is a success for a tenant, each with a token of its own.
func good(n int, tenant string, more ...string) reply {
	token := jwt(map[string]any{"tid": tenant, "aud": "https://graph.microsoft.com", "roles": []string{"SecurityAlert.Read.All"}, "uti": fmt.Sprint(n)})
	return reply{body: fmt.Sprintf(`{"token_type":"Bearer","expires_in":3600,"access_token":%q%s}`, token, strings.Join(more, ""))}
}

// bad is a refusal.
func bad(status, code int, word string) reply {
	return reply{status: status, body: fmt.Sprintf(`{"error":%q,"error_description":"AADSTS%d: %s\r\nTrace ID: x","error_codes":[%d]}`, word, code, canary, code)}
}

func tenant(id drover.TenantID) drover.Tenant {
	return drover.Tenant{ID: id, Name: "contoso", Cloud: "worldwide", App: "default"}
}

func withSecret() App {
	return App{Name: "default", ClientID: clientID, Secret: func() (drover.Secret, error) { return drover.NewSecret(canary + "~secret"), nil }}
}

func tokensOf(a Doer, store RefreshStore, apps ...App) *Tokens {
	if len(apps) == 0 {
		apps = []App{withSecret()}
	}
	table, _ := NewClouds()
	byName := make(map[string]App)
	for _, app := range apps {
		byName[app.Name] = app
	}
	return New(Options{HTTP: func(Cloud) Doer { return a }, Clouds: table, Apps: byName, Refresh: store})
}

// memory is a RefreshStore.
type memory struct {
	mu     sync.Mutex
	now    Refresh
	none   bool
	fail   error
	saved  []Refresh
	before func()
}

func (m *memory) Load(context.Context, drover.Tenant) (Refresh, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now, !m.none, nil
}

func (m *memory) Save(_ context.Context, _ drover.Tenant, r Refresh) error {
	if m.before != nil {
		m.before()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	if r.Version != m.now.Version {
		return ErrConflict
	}
	r.Version++
	r.At = drover.InstantOf(time.Now())
	m.now = r
	m.saved = append(m.saved, r)
	return nil
}

// mustNotTell fails if an error shows what only Entra or the app may know.
func mustNotTell(t *testing.T, err error) {
	t.Helper()
	if err != nil && strings.Contains(err.Error()+drover.HintOf(err)+fmt.Sprintf("%+v %#v", err, err), canary) {
		t.Errorf("the error tells a secret or Entra's text: %v", err)
	}
}
