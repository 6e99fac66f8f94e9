package lab

import (
	"encoding/json"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"drover/internal/lab/estate"
	"drover/internal/proof"
)

// ask sends a request to a lab without a network; pairs are header names and
// values.
func ask(t *testing.T, l *Lab, method, target, body string, headers ...string) (int, string, http.Header) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	l.Handler().ServeHTTP(w, r)
	return w.Code, w.Body.String(), w.Header()
}

const form = "application/x-www-form-urlencoded"

func newLab(t *testing.T) *Lab {
	t.Helper()
	now := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	l, err := New(Options{Seed: 1, Customers: 2, Clock: func() time.Time { return now }, Story: func(int) estate.Options { return estate.Options{Backlog: 5, SIEM: true} }})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// token gets the app's own token for a resource.
func token(t *testing.T, l *Lab, tenant, resource string) string {
	t.Helper()
	f := url.Values{"grant_type": {"client_credentials"}, "client_id": {l.AppID()}, "client_secret": {l.AppSecret()}, "resource": {resource}}
	_, raw, _ := ask(t, l, http.MethodPost, "https://login.lab.test/"+tenant+"/oauth2/token", f.Encode(), "Content-Type", form)
	var got struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(raw), &got); err != nil || got.AccessToken == "" {
		t.Fatalf("no token: %s", raw)
	}
	return got.AccessToken
}

var canary = regexp.MustCompile(`name="canary" value="([^"]*)"`)

func TestTheSIEMAPIObeysThePortalsList(t *testing.T) {
	l := newLab(t)
	us, them := l.Customers()[0].Tenant, l.Customers()[1].Tenant
	bearer := map[string]string{us: "Bearer " + token(t, l, us, siemAudience), them: "Bearer " + token(t, l, them, siemAudience)}
	calls := 0
	reads := func(tenant string) int {
		calls++
		status, _, _ := ask(t, l, http.MethodGet, "https://siem-eu.lab.test/api/alerts?ago=PT1M", "", "Authorization", bearer[tenant])
		return status
	}
	at := "https://security.lab.test/?tid=" + us
	_, page, h := ask(t, l, http.MethodGet, at, "")
	m := canary.FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("no page: %s", page)
	}
	cookie, _, _ := strings.Cut(h.Get("Set-Cookie"), ";")
	portal := func(more url.Values) {
		t.Helper()
		f := url.Values{"canary": {html.UnescapeString(m[1])}, "user": {"admin@" + l.Customers()[0].Domain}}
		for k, v := range more {
			f[k] = v
		}
		if status, page, _ := ask(t, l, http.MethodPost, at, f.Encode(), "Content-Type", form, "Cookie", cookie); status != http.StatusOK {
			t.Fatalf("the portal: %d %s", status, page)
		}
	}
	desk := func(method, path, body string) {
		t.Helper()
		if status, answer, _ := ask(t, l, method, "https://127.0.0.1/lab/entra"+path, body); status >= 300 {
			t.Fatalf("the desk: %d %s", status, answer)
		}
	}
	for _, step := range []struct {
		name string
		do   func()
		want int
	}{
		{"listed from the start", func() {}, 200},
		{"removed in the portal", func() { portal(url.Values{"remove": {l.AppID() + " " + HomeTenant}}) }, 403},
		{"entered in the portal", func() { portal(url.Values{"add": {"yes"}, "app": {l.AppID()}, "tenant": {HomeTenant}}) }, 200},
		{"taken off at the desk", func() { desk(http.MethodDelete, "/tenants/"+us+"/mssp/"+l.AppID(), "") }, 403},
		{"listed with a wrong tenant", func() { desk(http.MethodPut, "/tenants/"+us+"/mssp/"+l.AppID(), `{"tenant":"`+them+`"}`) }, 403},
		{"listed rightly beside it", func() { desk(http.MethodPut, "/tenants/"+us+"/mssp/"+l.AppID(), `{}`) }, 200},
	} {
		step.do()
		if got := reads(us); got != step.want {
			t.Errorf("%s: %d, want %d", step.name, got, step.want)
		}
		if got := reads(them); got != 200 {
			t.Errorf("%s: the other customer's API answers %d", step.name, got)
		}
	}
	proof.Ran(t, "promise.lab.list", "%d calls of the SIEM API, each answered as the list stood", calls)
}

func TestTheAPIsTakeTokensOfBothVersions(t *testing.T) {
	l := newLab(t)
	us := l.Customers()[0].Tenant
	for name, body := range map[string]string{"version 1": `{"token_v2":false}`, "version 2": `{"token_v2":true}`} {
		if status, answer, _ := ask(t, l, http.MethodPatch, "https://localhost:8443/lab/entra/switches", body); status != http.StatusOK {
			t.Fatalf("the desk: %d %s", status, answer)
		}
		const graphAPI, siemAPI = "https://graph.lab.test/v1.0/security/alerts_v2", "https://siem-eu.lab.test/api/alerts"
		for resource, want := range map[string]map[string]int{graphAudience: {graphAPI: 200, siemAPI: 401}, siemAudience: {graphAPI: 401, siemAPI: 200}} {
			bearer := "Bearer " + token(t, l, us, resource)
			for target, status := range want {
				if got, answer, _ := ask(t, l, http.MethodGet, target, "", "Authorization", bearer); got != status {
					t.Errorf("%s, a token for %s at %s: %d, want %d; %s", name, resource, target, got, status, answer)
				}
			}
		}
	}
}

func TestATokenHasThePermissionsOfItsResource(t *testing.T) {
	l := newLab(t)
	graph, native := []string{"SecurityAlert.Read.All", "SecurityIncident.Read.All"}, []string{"Alert.Read.All"}
	for resource, want := range map[string][]string{graphAudience: graph, "https://graph.microsoft.us": graph, siemAudience: graph, mdeAudience: native, mdeOldAudience: native, mdeID: native, xdrAudience: native, mdeGCC: native, mdeGCCHigh: native} {
		c, err := l.Directory().Verify(token(t, l, l.Customers()[0].Tenant, resource))
		if err != nil || !slices.Equal(c.Roles, want) {
			t.Errorf("%s: %v %v", resource, c.Roles, err)
		}
	}
}

func TestTheDesksAnswerToNobodyElsesPage(t *testing.T) {
	l := newLab(t)
	for name, tt := range map[string]struct {
		target  string
		headers []string
		want    int
	}{
		"the machine by address":       {target: "https://127.0.0.1:8443", want: 200},
		"by its sixth version":         {target: "https://[::1]:8443", want: 200},
		"by name":                      {target: "https://localhost", want: 200},
		"the lab by name":              {target: "https://login.lab.test:8443", want: 200},
		"a name that leads here":       {target: "https://evil.example:8443", want: 403},
		"a name that ends like it":     {target: "https://lab.test.evil.example", want: 403},
		"another address":              {target: "https://10.0.0.1:8443", want: 403},
		"a page of another site":       {target: "https://127.0.0.1:8443", headers: []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, want: 403},
		"an older browser's":           {target: "https://127.0.0.1:8443", headers: []string{"Origin", "https://evil.example"}, want: 403},
		"a page of the lab's own":      {target: "https://127.0.0.1:8443", headers: []string{"Sec-Fetch-Site", "same-origin", "Origin", "https://127.0.0.1:8443"}, want: 200},
		"a page of another local port": {target: "https://127.0.0.1:8443", headers: []string{"Sec-Fetch-Site", "same-site", "Origin", "https://127.0.0.1:9999"}, want: 403},
	} {
		t.Run(name, func(t *testing.T) {
			if status, answer, _ := ask(t, l, http.MethodPatch, tt.target+"/lab/entra/switches", `{}`, tt.headers...); status != tt.want {
				t.Errorf("%d, want %d: %s", status, tt.want, answer)
			}
		})
	}
}
