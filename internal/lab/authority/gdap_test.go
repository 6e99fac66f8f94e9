package authority

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

const (
	technician = "technician@mssp.example"
	theirGroup = "9b0c57e1-0000-4000-8000-0000000000bb"
)

// newPartnered is an authority whose MSSP is a partner of contoso.
func newPartnered(t *testing.T) *entra {
	t.Helper()
	e := newEntra(t)
	e.AddApp(App{ClientID: appID, MultiTenant: true, HomeTenant: mssp, Scopes: []string{"User.Read", "DelegatedAdminRelationship.Read.All", "Directory.Read.All"}})
	e.AddUser(mssp, technician, false)
	e.Join(technician, AdminAgents, theirGroup)
	e.Directory.Consent(contoso, appID, None)
	e.Directory.Consent(mssp, appID, Delegated)
	e.Relate(Relationship{ID: "one", Partner: mssp, Customer: contoso, Called: "Contoso", Roles: []string{ApplicationAdministrator}, Assignments: []Assignment{{Group: theirGroup}}})
	return e
}

func (e *entra) enter(mfa bool) answer {
	e.Helper()
	return e.through(e.server, http.MethodPost, "/"+contoso+"/oauth2/v2.0/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {appID}, "client_secret": {password},
		"refresh_token": {e.GivePartnerToken(appID, technician, mfa)}, "scope": {graph + "/.default"}})
}

func TestWhoMayEnterACustomer(t *testing.T) {
	for name, tt := range map[string]struct {
		with func(e *entra)
		mfa  bool
		code int
	}{
		"as it should be":              {func(e *entra) { e.Share(contoso, appID, resourceIDs[graph], "Application.ReadWrite.All") }, true, 0},
		"without a second factor":      {func(e *entra) { e.Share(contoso, appID, resourceIDs[graph], "Application.ReadWrite.All") }, false, 50076},
		"the app is unknown":           {func(*entra) {}, true, 700016},
		"the app is unknown, by 90099": {func(e *entra) { e.Partner.NoPrincipal = 90099 }, true, 90099},
		"nothing for this API": {func(e *entra) {
			e.Share(contoso, appID, resourceIDs["https://api.securitycenter.microsoft.com"], "Alert.Read")
		}, true, 65001},
		"ended": {func(e *entra) {
			e.time = e.time.AddDate(3, 0, 0)
			e.AddSecret(appID, password, e.time.AddDate(1, 0, 0))
		}, true, 50020},
		"ended, and called active": {func(e *entra) {
			e.time = e.time.AddDate(3, 0, 0)
			e.AddSecret(appID, password, e.time.AddDate(1, 0, 0))
			e.Partner.ActiveAfterEnd = true
		}, true, 50020},
		"not of the group":      {func(e *entra) { e.Join(technician, AdminAgents) }, true, 50020},
		"a guest there":         {func(e *entra) { e.AddUser(contoso, technician, false) }, true, 65001},
		"the customer's policy": {func(e *entra) { e.Share(contoso, appID, resourceIDs[graph], "User.Read"); e.Restrict(contoso, 53003) }, true, 53003},
	} {
		e := newPartnered(t)
		e.server.opt.Grants = func(audience, permission string) bool {
			return strings.HasPrefix(permission, "Alert.") == (audience != graph)
		}
		tt.with(e)
		if a := e.enter(tt.mfa); a.code() != tt.code || (a.status == 200) != (tt.code == 0) {
			t.Errorf("%s: %d %s, want %d", name, a.status, a.raw, tt.code)
		}
	}
}

func TestPartnerCenterRefusesInItsOwnWords(t *testing.T) {
	e := newPartnered(t)
	call := func(amr, user, method, path, body string) answer {
		claims := map[string]any{"aud": centerURL, "tid": mssp, "appid": appID, "upn": user, "amr": []string{"pwd", amr}, "scp": "user_impersonation", "exp": e.time.Add(time.Hour).Unix(), "nbf": e.time.Unix()}
		raw, err := e.sign(claims)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequestWithContext(t.Context(), method, "https://"+host+path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+raw)
		return e.ask(http.HandlerFunc(e.server.Center), r)
	}
	consents := "/v1/customers/" + contoso + "/applicationconsents"
	grant := func(scope string) string {
		return `{"applicationId":"` + appID + `","applicationGrants":[{"enterpriseApplicationId":"` + resourceIDs[graph] + `","scope":"` + scope + `"}]}`
	}
	good := grant("User.Read, Directory.Read.All")
	for _, tt := range []struct {
		name                          string
		amr, user, method, path, body string
		set                           func()
		status                        int
	}{
		{"no second factor", "rsa", technician, "GET", "/v1/customers", "", nil, 401},
		{"not of AdminAgents", "mfa", analyst, "GET", "/v1/customers", "", nil, 403},
		{"no customer", "mfa", technician, "POST", "/v1/customers/" + fabrikam + "/applicationconsents", good, nil, 404},
		{"another app", "mfa", technician, "POST", consents, strings.ReplaceAll(good, appID, publicID), nil, 403},
		{"a scope that is none", "mfa", technician, "POST", consents, grant("Everything"), nil, 400},
		{"good", "mfa", technician, "POST", consents, good, nil, 201},
		{"again", "mfa", technician, "POST", consents, good, nil, 400},
		{"again, by the other reading", "mfa", technician, "POST", consents, good, func() { e.Partner.Conflict = true }, 409},
		{"withdrawn", "mfa", technician, "DELETE", consents + "/" + appID, "", nil, 204},
		{"no blank, where one is needed", "mfa", technician, "POST", consents, grant("User.Read,Directory.Read.All"), func() { e.Partner.BlankNeeded = true }, 400},
		{"slowed down", "mfa", technician, "GET", "/v1/customers", "", func() { e.Partner.CenterPerMinute = 1 }, 429},
	} {
		if tt.set != nil {
			tt.set()
		}
		a := call(tt.amr, tt.user, tt.method, tt.path, tt.body)
		if a.status != tt.status || tt.status == 401 && a.raw != "" || tt.status == 429 && a.header.Get("Retry-After") != "57" {
			t.Errorf("%s: %d %s, want %d", tt.name, a.status, a.raw, tt.status)
		}
	}
}

func TestTheDocNamesEverySwitchOfPartners(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/lab-partner.md")
	if err != nil {
		t.Fatal(err)
	}
	all := reflect.TypeFor[PartnerSwitches]()
	for i := range all.NumField() {
		if name := all.Field(i).Tag.Get("json"); !strings.Contains(string(doc), "\n| `"+name+"` |") {
			t.Errorf("docs/lab-partner.md does not name %s", name)
		}
	}
}
