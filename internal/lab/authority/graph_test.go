package authority

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

const admin = "admin@mssp.example"

var writers = []string{"Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All", "DelegatedPermissionGrant.ReadWrite.All", "Directory.Read.All"}

// bearer is a Graph token of a signed-in user.
func (e *entra) bearer(user string, scopes ...string) string {
	e.Helper()
	raw, err := e.sign(map[string]any{"aud": graph, "tid": mssp, "appid": publicID, "upn": user, "scp": strings.Join(scopes, " "), "exp": e.now().Add(time.Hour).Unix(), "nbf": e.now().Unix()})
	if err != nil {
		e.Fatal(err)
	}
	return raw
}

// graph calls the directory's part of Graph.
func (e *entra) graph(token, method, path string, body any) answer {
	e.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		e.Fatal(err)
	}
	path, query, _ := strings.Cut(path, "?")
	u := url.URL{Path: "/v1.0" + path, RawQuery: strings.ReplaceAll(query, " ", "%20")}
	if !IsDirectoryPath(u.Path) {
		e.Fatalf("%s is not the directory's", u.Path)
	}
	r := httptest.NewRequestWithContext(e.Context(), method, "https://"+host+u.String(), bytes.NewReader(b))
	r.Header.Set("Authorization", "Bearer "+token)
	return e.ask(e.Graph(func(_, audience string) bool { return audience == graph }), r)
}

// refused fails the test unless the answer is an error in Graph's form.
func (e *entra) refused(a answer, status int, code string) {
	e.Helper()
	err, _ := a.body["error"].(map[string]any)
	inner, _ := err["innerError"].(map[string]any)
	if a.status != status || err["code"] != code || err["message"] == "" || inner["request-id"] == nil {
		e.Errorf("got %d %s, want %d %s", a.status, a.raw, status, code)
	}
}

func (e *entra) done(a answer, status int) answer {
	e.Helper()
	if a.status != status {
		e.Fatalf("got %d %s, want %d", a.status, a.raw, status)
	}
	return a
}

func (a answer) list(name string) (out []map[string]any) {
	all, _ := a.body[name].([]any)
	for _, v := range all {
		m, _ := v.(map[string]any)
		out = append(out, m)
	}
	return out
}

// roleID looks a permission up by its value, as a program must.
func (e *entra) roleID(api, set, value string) (id, principal string) {
	e.Helper()
	sp := e.done(e.graph(e.bearer(admin, writers...), http.MethodGet, "/servicePrincipals(appId='"+api+"')", nil), 200)
	for _, r := range sp.list(set) {
		if r["value"] == value {
			return r["id"].(string), sp.text("id")
		}
	}
	e.Fatalf("%s has no %s %s", api, set, value)
	return "", ""
}

const graphAPI = "00000003-0000-0000-c000-000000000000"

// made registers an app for many tenants that reads alerts.
func (e *entra) made(token string) (client, object string) {
	e.Helper()
	role, _ := e.roleID(graphAPI, "appRoles", "SecurityAlert.Read.All")
	a := e.done(e.graph(token, http.MethodPost, "/applications", map[string]any{"displayName": "Contoso SIEM MSSP Connector", "signInAudience": "AzureADMultipleOrgs", "web": map[string]any{"redirectUris": []string{redirect}},
		"requiredResourceAccess": []any{map[string]any{"resourceAppId": graphAPI, "resourceAccess": []any{map[string]any{"id": role, "type": "Role"}}}}}), 201)
	return a.text("appId"), a.text("id")
}

func (e *entra) secretToken(tenant, client, secret string) answer {
	e.Helper()
	return e.post("/"+tenant+"/oauth2/v2.0/token", values("grant_type", "client_credentials", "client_id", client, "client_secret", secret, "scope", graph+"/.default"))
}

func TestWhatGraphMakesTheAuthorityKnows(t *testing.T) {
	e := newEntra(t)
	token := e.bearer(admin, writers...)
	client, object := e.made(token)
	at := "/applications(appId='" + client + "')"

	secret := e.done(e.graph(token, http.MethodPost, at+"/addPassword", map[string]any{"passwordCredential": map[string]any{"displayName": "one", "endDateTime": "2026-09-02T00:00:00Z"}}), 200)
	value := secret.text("secretText")
	if len(value) < 16 || secret.text("hint") != value[:3] {
		t.Errorf("%s", secret.raw)
	}
	if again := e.graph(token, http.MethodGet, at, nil); strings.Contains(again.raw, value) || again.list("passwordCredentials")[0]["endDateTime"] != "2026-09-02T00:00:00Z" || again.text("id") != object {
		t.Errorf("%s", again.raw)
	}
	e.wants(e.secretToken(mssp, client, value), 401, 7000229, "invalid_client") // no service principal yet
	e.refused(e.graph(token, http.MethodGet, "/servicePrincipals(appId='"+client+"')", nil), 404, "Request_ResourceNotFound")
	principal := e.done(e.graph(token, http.MethodPost, "/servicePrincipals", map[string]any{"appId": client}), 201).text("id")
	e.refused(e.graph(token, http.MethodPost, "/servicePrincipals", map[string]any{"appId": client}), 409, "Request_MultipleObjectsWithSameKeyValue")
	claims := e.token(e.secretToken(mssp, client, value))
	if claims["roles"] != nil || claims["oid"] != principal {
		t.Errorf("%v", claims)
	}
	// A customer agrees to what the registration asks for.
	e.Consent(contoso, client, Granted)
	if roles := e.token(e.secretToken(contoso, client, value))["roles"]; len(roles.([]any)) != 1 || roles.([]any)[0] != "SecurityAlert.Read.All" {
		t.Errorf("%v", roles)
	}
	// A grant by Graph gives the role too, until it is taken back.
	role, resource := e.roleID(graphAPI, "appRoles", "SecurityIncident.Read.All")
	grant := map[string]any{"principalId": principal, "resourceId": resource, "appRoleId": role}
	given := e.done(e.graph(token, http.MethodPost, "/servicePrincipals/"+resource+"/appRoleAssignedTo", grant), 201)
	e.refused(e.graph(token, http.MethodPost, "/servicePrincipals/"+principal+"/appRoleAssignments", grant), 400, "Request_BadRequest")
	if roles := e.token(e.secretToken(mssp, client, value))["roles"]; len(roles.([]any)) != 1 || roles.([]any)[0] != "SecurityIncident.Read.All" {
		t.Errorf("%v", roles)
	}
	if got := e.graph(token, http.MethodGet, "/servicePrincipals(appId='"+client+"')/appRoleAssignments", nil).list("value"); len(got) != 1 || got[0]["appRoleId"] != role || got[0]["resourceDisplayName"] != "Microsoft Graph" {
		t.Errorf("%v", got)
	}
	e.done(e.graph(token, http.MethodDelete, "/servicePrincipals/"+principal+"/appRoleAssignments/"+given.text("id"), nil), 204)
	if c := e.token(e.secretToken(mssp, client, value)); c["roles"] != nil {
		t.Errorf("%v", c["roles"])
	}
	// A permission that is added later needs consent again.
	e.done(e.graph(token, http.MethodPatch, "/applications/"+object, map[string]any{"requiredResourceAccess": []any{map[string]any{"resourceAppId": graphAPI, "resourceAccess": []any{map[string]any{"id": role, "type": "Role"}}}}}), 204)
	if roles := e.token(e.secretToken(contoso, client, value))["roles"]; roles.([]any)[0] != "SecurityAlert.Read.All" {
		t.Errorf("%v", roles)
	}
	e.Consent(contoso, client, Granted)
	if roles := e.token(e.secretToken(contoso, client, value))["roles"]; len(roles.([]any)) != 1 || roles.([]any)[0] != "SecurityIncident.Read.All" {
		t.Errorf("%v", roles)
	}
	e.done(e.graph(token, http.MethodPost, at+"/removePassword", map[string]any{"keyId": secret.text("keyId")}), 204)
	e.wants(e.secretToken(mssp, client, value), 401, 7000215, "invalid_client")
}

// proof is a proof of possession, signed with the one test key.
func (e *entra) proof(claims map[string]any) string {
	e.Helper()
	key, err := oneKey()
	if err != nil {
		e.Fatal(err)
	}
	text := part(map[string]string{"alg": "RS256", "typ": "JWT"}) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		e.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func entry(c *x509.Certificate) map[string]any {
	return map[string]any{"type": "AsymmetricX509Cert", "usage": "Verify", "key": base64.StdEncoding.EncodeToString(c.Raw)}
}

func TestCertificatesAreReplacedAsAWholeAndAddedWithAProof(t *testing.T) {
	e := newEntra(t)
	token := e.bearer(admin, writers...)
	client, object := e.made(token)
	at := "/applications/" + object
	one, two, three := certificate(t, 1, e.time.AddDate(1, 0, 0)), certificate(t, 2, e.time.AddDate(1, 0, 0)), certificate(t, 3, e.time.AddDate(1, 0, 0))
	right := map[string]any{"aud": "00000002-0000-0000-c000-000000000000", "iss": object, "nbf": e.time.Unix(), "exp": e.time.Add(10 * time.Minute).Unix()}
	add := func(c *x509.Certificate, proof string) answer {
		return e.graph(token, http.MethodPost, at+"/addKey", map[string]any{"keyCredential": entry(c), "passwordCredential": nil, "proof": proof})
	}
	e.refused(add(one, e.proof(right)), 401, "Authentication_MissingOrMalformed") // there is no key yet that could prove anything
	e.done(e.graph(token, http.MethodPatch, at, map[string]any{"keyCredentials": []any{entry(one)}}), 204)
	for name, change := range map[string]func(map[string]any){
		"another audience":  func(c map[string]any) { c["aud"] = graphAPI },
		"the client ID":     func(c map[string]any) { c["iss"] = client },
		"an hour":           func(c map[string]any) { c["exp"] = e.time.Add(time.Hour).Unix() },
		"one that is over":  func(c map[string]any) { c["nbf"], c["exp"] = e.time.Unix()-700, e.time.Unix()-100 },
		"one without times": func(c map[string]any) { delete(c, "exp") },
	} {
		wrong := map[string]any{}
		for k, v := range right {
			wrong[k] = v
		}
		change(wrong)
		if a := add(two, e.proof(wrong)); a.status != 401 {
			t.Errorf("%s: %d", name, a.status)
		}
	}
	e.done(add(two, e.proof(right)), 200)
	count := func() int {
		return len(e.graph(token, http.MethodGet, at, nil).list("keyCredentials"))
	}
	if n := count(); n != 2 {
		t.Errorf("%d certificates, want 2", n)
	}
	// The list is replaced: who sends the new one alone has lost the others.
	e.done(e.graph(token, http.MethodPatch, at, map[string]any{"keyCredentials": []any{entry(three)}}), 204)
	keys := e.graph(token, http.MethodGet, at+"?$select=keyCredentials", nil).list("keyCredentials")
	if len(keys) != 1 || keys[0]["key"] != base64.StdEncoding.EncodeToString(three.Raw) {
		t.Errorf("%v", keys)
	}
	if all := e.graph(token, http.MethodGet, "/applications?$filter=appId eq '"+client+"'&$select=keyCredentials", nil).list("value"); len(all) != 1 || all[0]["keyCredentials"].([]any)[0].(map[string]any)["key"] != nil {
		t.Errorf("a list shows the bytes of certificates: %v", all)
	}
}

// A customer's admin takes the consent back by deleting the app in the tenant.
func TestADeletedAppGetsNoTokenInThatTenant(t *testing.T) {
	e := newEntra(t)
	token := e.bearer(admin, writers...)
	client, _ := e.made(token)
	value := e.done(e.graph(token, http.MethodPost, "/applications(appId='"+client+"')/addPassword", map[string]any{"passwordCredential": map[string]any{"displayName": "one", "endDateTime": "2026-09-02T00:00:00Z"}}), 200).text("secretText")
	at := "/servicePrincipals(appId='" + client + "')"
	e.Consent(mssp, client, Granted)
	e.Consent(contoso, client, Granted)
	e.token(e.secretToken(mssp, client, value))
	e.refused(e.graph(e.bearer(analyst, writers...), http.MethodDelete, at, nil), 403, "Authorization_RequestDenied")
	e.done(e.graph(token, http.MethodDelete, at, nil), 204)
	e.wants(e.secretToken(mssp, client, value), 401, 7000229, "invalid_client")
	e.refused(e.graph(token, http.MethodDelete, at, nil), 404, "Request_ResourceNotFound")
	e.token(e.secretToken(contoso, client, value)) // another tenant's is its own
	e.refused(e.graph(token, http.MethodDelete, "/servicePrincipals(appId='"+graphAPI+"')", nil), 405, "Request_BadRequest")
}

func TestWhoMayNotIsDenied(t *testing.T) {
	e := newEntra(t)
	client, object := e.made(e.bearer(admin, writers...))
	body := map[string]any{"displayName": "x"}
	for name, tt := range map[string]struct {
		token        string
		method, path string
		body         any
		status       int
		code         string
	}{
		"no token":                        {"", "GET", "/applications", nil, 401, "InvalidAuthenticationToken"},
		"no scope":                        {e.bearer(admin, "User.Read"), "POST", "/applications", body, 403, "Authorization_RequestDenied"},
		"a scope to read":                 {e.bearer(admin, "Application.Read.All"), "PATCH", "/applications/" + object, body, 403, "Authorization_RequestDenied"},
		"no admin, another's app":         {e.bearer(analyst, writers...), "PATCH", "/applications/" + object, body, 403, "Authorization_RequestDenied"},
		"no admin grants":                 {e.bearer(analyst, writers...), "POST", "/servicePrincipals/x/appRoleAssignedTo", body, 403, "Authorization_RequestDenied"},
		"no scope to grant":               {e.bearer(admin, "Application.ReadWrite.All"), "POST", "/servicePrincipals/x/appRoleAssignedTo", body, 403, "Authorization_RequestDenied"},
		"no scope for grants of users":    {e.bearer(admin, "Application.ReadWrite.All"), "POST", "/oauth2PermissionGrants", body, 403, "Authorization_RequestDenied"},
		"an app that is not there":        {e.bearer(admin, writers...), "GET", "/applications(appId='" + contoso + "')", nil, 404, "Request_ResourceNotFound"},
		"a secret with the app":           {e.bearer(admin, writers...), "POST", "/applications", map[string]any{"displayName": "x", "passwordCredentials": []any{map[string]any{}}}, 400, "Request_BadRequest"},
		"no name":                         {e.bearer(admin, writers...), "POST", "/applications", map[string]any{}, 400, "Request_BadRequest"},
		"a property that is not known":    {e.bearer(admin, writers...), "POST", "/applications", map[string]any{"displayName": "x", "redirectUris": []string{}}, 400, "Request_BadRequest"},
		"plain http":                      {e.bearer(admin, writers...), "PATCH", "/applications/" + object, map[string]any{"web": map[string]any{"redirectUris": []string{"http://mssp.example/"}}}, 400, "Request_BadRequest"},
		"a filter that is not understood": {e.bearer(admin, writers...), "GET", "/applications?$filter=startswith(displayName,'x')", nil, 400, "Request_UnsupportedQuery"},
		"an app nobody has registered":    {e.bearer(admin, writers...), "POST", "/servicePrincipals", map[string]any{"appId": contoso}, 400, "NoBackingApplicationObject"},
		"a method that is not there":      {e.bearer(admin, writers...), "PUT", "/applications/" + object, body, 405, "Request_BadRequest"},
	} {
		t.Run(name, func(t *testing.T) {
			sub := *e
			sub.T = t
			sub.refused(sub.graph(tt.token, tt.method, tt.path, tt.body), tt.status, tt.code)
		})
	}
	// Who is no admin may make an app, owns it, and may change that one.
	own := e.bearer(analyst, writers...)
	mine, _ := e.made(own)
	e.done(e.graph(own, http.MethodPatch, "/applications(appId='"+mine+"')", map[string]any{"displayName": "mine"}), 204)
	e.done(e.graph(own, http.MethodPost, "/servicePrincipals", map[string]any{"appId": mine}), 201)
	e.refused(e.graph(own, http.MethodPost, "/servicePrincipals", map[string]any{"appId": client}), 403, "Authorization_RequestDenied")
	if o := e.graph(own, http.MethodGet, "/applications(appId='"+mine+"')/owners", nil).list("value"); len(o) != 1 || o[0]["userPrincipalName"] != analyst {
		t.Errorf("%v", o)
	}
}

func TestOwnersTrustsAndGrantsOfUsers(t *testing.T) {
	e := newEntra(t)
	token := e.bearer(admin, writers...)
	client, object := e.made(token)
	at := "/applications/" + object
	trust := map[string]any{"name": "k8s", "issuer": "https://issuer.example", "subject": "system:serviceaccount:a:b", "audiences": []string{"api://AzureADTokenExchange"}}
	e.done(e.graph(token, http.MethodPost, at+"/federatedIdentityCredentials", trust), 201)
	trust["name"] = "other"
	e.refused(e.graph(token, http.MethodPost, at+"/federatedIdentityCredentials", trust), 409, "Request_MultipleObjectsWithSameKeyValue")
	trust["subject"], trust["audiences"] = "x", []string{"a", "b"}
	e.refused(e.graph(token, http.MethodPost, at+"/federatedIdentityCredentials", trust), 400, "Request_BadRequest")
	list := e.graph(token, http.MethodGet, at+"/federatedIdentityCredentials", nil).list("value")
	if len(list) != 1 || list[0]["subject"] != "system:serviceaccount:a:b" {
		t.Errorf("%v", list)
	}
	e.done(e.graph(token, http.MethodDelete, at+"/federatedIdentityCredentials/"+list[0]["id"].(string), nil), 204)
	e.done(e.graph(token, http.MethodPost, at+"/owners/$ref", map[string]any{"@odata.id": "https://graph.microsoft.com/v1.0/directoryObjects/" + objectID(mssp, analyst)}), 204)
	if n := len(e.graph(token, http.MethodGet, at+"/owners", nil).list("value")); n != 2 {
		t.Errorf("%d owners, want 2", n)
	}
	principal := e.done(e.graph(token, http.MethodPost, "/servicePrincipals", map[string]any{"appId": client}), 201).text("id")
	_, resource := e.roleID(graphAPI, "oauth2PermissionScopes", "User.Read")
	grant := map[string]any{"clientId": principal, "consentType": "AllPrincipals", "resourceId": resource, "scope": "SecurityAlert.Read.All"}
	e.done(e.graph(token, http.MethodPost, "/oauth2PermissionGrants", grant), 201)
	if got := e.Consented(mssp, client); got != Delegated {
		t.Errorf("the consent is %v", got)
	}
	grant["scope"] = "Nothing.Read"
	e.refused(e.graph(token, http.MethodPost, "/oauth2PermissionGrants", grant), 400, "Request_BadRequest")
}

func TestWhatIsNewIsSeenUnevenlyForAWhile(t *testing.T) {
	e := newEntra(t)
	e.Switch(func(s *Switches) { s.DirectoryDelay, s.ConsentDelay = Span(time.Minute), Span(time.Minute) })
	token := e.bearer(admin, writers...)
	client, _ := e.made(token)
	at := "/applications(appId='" + client + "')"
	seen := func(do func() bool) (n int) {
		for range 200 {
			if do() {
				n++
			}
		}
		return n
	}
	shown := func() bool { return e.graph(token, http.MethodGet, at, nil).status == 200 }
	if n := seen(shown); n != 0 {
		t.Errorf("at once it is seen %d times", n)
	}
	e.time = e.time.Add(30 * time.Second)
	if n := seen(shown); n < 50 || n > 150 {
		t.Errorf("half way it is seen %d times of 200", n)
	}
	e.time = e.time.Add(time.Minute)
	if n := seen(shown); n != 200 {
		t.Errorf("at the end it is seen %d times of 200", n)
	}
	value := e.done(e.graph(token, http.MethodPost, at+"/addPassword", map[string]any{}), 200).text("secretText")
	e.done(e.graph(token, http.MethodPost, "/servicePrincipals", map[string]any{"appId": client}), 201)
	e.time = e.time.Add(30 * time.Second)
	works := func() bool { return e.secretToken(mssp, client, value).status == 200 }
	if n := seen(works); n == 0 || n > 150 {
		t.Errorf("half way a new secret works %d times of 200", n)
	}
	e.time = e.time.Add(time.Minute)
	if n := seen(works); n != 200 {
		t.Errorf("at the end it works %d times of 200", n)
	}
}
