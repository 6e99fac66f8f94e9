package authority

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// desk asks the control desk.
func (e *entra) desk(method, path, body string) answer {
	e.Helper()
	return e.ask(e.server.Control(), httptest.NewRequestWithContext(e.Context(), method, path, strings.NewReader(body)))
}

func TestTheDeskChangesWhatItNames(t *testing.T) {
	ok := http.StatusNoContent
	for name, tt := range map[string]struct {
		method, path, body string
		status             int
		took               func(e *entra) bool
	}{
		"switches by name": {"PATCH", "/switches", `{"consent_delay":"5m","crlf":true}`, 200, func(e *entra) bool {
			return e.CRLF && e.ConsentDelay == Span(5*time.Minute) && e.Skew == Span(time.Second)
		}},
		"claims":                         {"PATCH", "/switches", `{"token_claims":{"appid":"x"}}`, 200, func(e *entra) bool { return e.TokenClaims["appid"] == "x" && e.TokenClaims["aud"] == "y" }},
		"what is shown":                  {"GET", "/switches", "", 200, func(e *entra) bool { return e.TokenClaims["aud"] == "y" }},
		"all switches":                   {"PUT", "/switches", `{"crlf":true}`, 200, func(e *entra) bool { return e.CRLF && e.Skew == 0 }},
		"consent":                        {"PUT", "/tenants/contoso.example/consents/" + appID, `{"state":"known"}`, ok, func(e *entra) bool { return e.Consented(contoso, appID) == Known }},
		"the MSSP list":                  {"PUT", "/tenants/" + contoso + "/mssp/" + appID, `{}`, ok, func(e *entra) bool { return e.Authorised(contoso, appID) }},
		"a wrong line":                   {"PUT", "/tenants/" + contoso + "/mssp/" + appID, `{"tenant":"` + fabrikam + `"}`, ok, func(e *entra) bool { return !e.Authorised(contoso, appID) && len(e.Listed(contoso)) == 1 }},
		"a user":                         {"PUT", "/tenants/" + contoso + "/users/new@contoso.example", `{"admin":true}`, ok, func(e *entra) bool { return e.tenants[contoso].users["new@contoso.example"] }},
		"a policy":                       {"PUT", "/tenants/" + contoso + "/policy", `{"code":53003}`, ok, func(e *entra) bool { return e.tenants[contoso].policy == 53003 }},
		"a region":                       {"PUT", "/tenants/" + contoso + "/region", `{"scope":"USGov","sub_scope":"DOD"}`, ok, func(e *entra) bool { return e.tenants[contoso].region == Region{"USGov", "DOD"} }},
		"an end of sign-ins at a tenant": {"POST", "/tenants/" + contoso + "/revoke", "", ok, func(e *entra) bool { return e.live() == 0 }},
		"an end of a user's sign-ins":    {"POST", "/users/" + analyst + "/revoke", "", ok, func(e *entra) bool { return e.live() == 0 }},
		"an app":                         {"PUT", "/apps/" + appID, `{"home_tenant":"` + mssp + `"}`, ok, func(e *entra) bool { return !e.apps[appID].MultiTenant && len(e.apps[appID].secrets) == 1 }},
		"a new app":                      {"PUT", "/apps/new", `{"public":true,"multi_tenant":true}`, ok, func(e *entra) bool { return e.apps["new"].Public && e.apps["new"].ClientID == "new" }},
		"an app switched off":            {"POST", "/apps/" + appID + "/disable", "", ok, func(e *entra) bool { return e.apps[appID].Disabled }},
		"an app switched on":             {"POST", "/apps/" + appID + "/enable", "", ok, func(e *entra) bool { return !e.apps[appID].Disabled }},
		"faults":                         {"POST", "/faults", `[{"kind":"aadsts","api":"token","param":90055}]`, 200, func(e *entra) bool { return e.app(contoso).code() == 90055 }},

		"an unknown switch":    {"PATCH", "/switches", `{"crlv":true}`, 400, nil},
		"no JSON":              {"PATCH", "/switches", `crlf`, 400, nil},
		"a wrong span":         {"PATCH", "/switches", `{"life":"soon"}`, 400, nil},
		"a negative span":      {"PATCH", "/switches", `{"life":"-5m"}`, 400, nil},
		"a wrong form":         {"PATCH", "/switches", `{"expires_in":"roman"}`, 400, nil},
		"a wrong consent":      {"PUT", "/tenants/" + contoso + "/consents/" + appID, `{"state":"maybe"}`, 400, nil},
		"a tenant that is not": {"PUT", "/tenants/nobody.example/policy", `{"code":1}`, 404, nil},
		"an app that is not":   {"POST", "/apps/nobody/disable", "", 404, nil},
		"no certificate":       {"POST", "/apps/" + appID + "/certificates", `{"pem":"x"}`, 400, nil},
		"another method":       {"DELETE", "/switches", "", 405, nil},
		"another path":         {"POST", "/tenants", "", 404, nil},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEntra(t)
			e.Skew, e.TokenClaims = Span(time.Second), map[string]string{"aud": "y"}
			e.GiveRefreshToken(contoso, appID, analyst)
			a := e.desk(tt.method, tt.path, tt.body)
			if a.status != tt.status || tt.status >= 400 && tt.status != 404 && a.text("error") == "" {
				t.Fatalf("%d %s, want %d", a.status, a.raw, tt.status)
			}
			if tt.took != nil && !tt.took(e) {
				t.Error("it had no effect")
			}
			if tt.took == nil && (e.Skew != Span(time.Second) || e.Consented(contoso, appID) != Granted) {
				t.Error("it had an effect")
			}
		})
	}
}

// live counts refresh tokens that would be taken.
func (e *entra) live() (n int) {
	for _, t := range e.server.state().Tenants {
		n += t.Refresh
	}
	return n
}

func TestTheDeskTakesALineOffTheMSSPList(t *testing.T) {
	e := newEntra(t)
	e.Authorise(contoso, appID, true)
	e.List(contoso, Listing{appID, fabrikam}, true)
	e.List(contoso, Listing{publicID, mssp}, true)
	if a := e.desk("DELETE", "/tenants/contoso.example/mssp/"+appID, ""); a.status != http.StatusNoContent {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	if left := e.Listed(contoso); len(left) != 1 || left[0].App != publicID || e.Authorised(contoso, appID) {
		t.Errorf("left: %v", left)
	}
}

func TestTheDeskMakesCredentialsAndShowsNone(t *testing.T) {
	e := newEntra(t)
	a := e.desk("POST", "/apps/"+appID+"/secrets", `{"days":30}`)
	secret, id := a.text("secret"), a.text("id")
	e.token(e.app(contoso, "client_secret", secret))
	cert := certificate(t, 1, e.time.AddDate(1, 0, 0))
	in, _ := json.Marshal(map[string]string{"pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))})
	thumb := e.desk("POST", "/apps/"+appID+"/certificates", string(in)).text("sha256")
	e.token(e.byAssertion(e.claim(cert).sign(t)))
	refresh := e.GiveRefreshToken(contoso, appID, analyst)

	shown := e.desk("GET", "/", "").raw
	for name, kept := range map[string]string{"a secret": secret, "another": password, "a refresh token": refresh} {
		if strings.Contains(shown, kept) {
			t.Errorf("the desk shows %s", name)
		}
	}
	for name, seen := range map[string]string{"the secret's ID": id, "its end": e.time.AddDate(0, 0, 30).Format(time.RFC3339), "the certificate": thumb, "a consent": `"` + appID + `":"granted"`, "a switch": `"consent_delay":"0s"`, "a redirect URI": redirect} {
		if !strings.Contains(shown, seen) {
			t.Errorf("the desk does not show %s, %s: %s", name, seen, shown)
		}
	}
	e.desk("DELETE", "/apps/"+appID+"/secrets/"+id, "")
	e.wants(e.app(contoso, "client_secret", secret), 401, 7000215, "invalid_client")
	e.desk("DELETE", "/apps/"+appID+"/certificates/"+thumb, "")
	e.wants(e.byAssertion(e.claim(cert).sign(t)), 401, 700027, "invalid_client")
	e.token(e.app(contoso))
}

func TestTheDocNamesEverySwitch(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/lab-entra.md")
	if err != nil {
		t.Fatal(err)
	}
	all := reflect.TypeFor[Switches]()
	for i := range all.NumField() {
		if name := all.Field(i).Tag.Get("json"); !strings.Contains(string(doc), "\n| `"+name+"` |") {
			t.Errorf("docs/lab-entra.md does not name %s", name)
		}
	}
}
