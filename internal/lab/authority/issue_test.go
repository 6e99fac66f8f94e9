package authority

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"drover/internal/lab/fault"
)

func TestVersion1WritesNumbersAsTextAndVersion2AsNumbers(t *testing.T) {
	e := newEntra(t)
	e.Life = Span(3599 * time.Second)
	two := e.app(contoso)
	if two.body["expires_in"] != 3599.0 || two.body["ext_expires_in"] != 3599.0 || two.text("token_type") != "Bearer" || two.body["resource"] != nil || two.body["expires_on"] != nil {
		t.Errorf("version 2: %s", two.raw)
	}
	one := e.post("/"+contoso+"/oauth2/token", values("grant_type", "client_credentials", "client_id", appID, "client_secret", password, "resource", siem, "scope", "nonsense"))
	if one.text("expires_in") != "3599" || one.text("expires_on") != strconv.FormatInt(e.time.Unix()+3599, 10) || one.text("resource") != siem {
		t.Errorf("version 1: %s", one.raw)
	}
	for _, a := range []answer{one, two} {
		if a.body["refresh_token"] != nil || a.body["id_token"] != nil || a.body["scope"] != nil {
			t.Errorf("an app's own token comes with what is a user's: %s", a.raw)
		}
	}
	if aud := e.token(one)["aud"]; aud != siem {
		t.Errorf("version 1 gave a token for %v", aud)
	}
	for form, want := range map[string]any{"number": 3599.0, "text": "3599", "negative": -3599.0, "absent": nil} {
		e.ExpiresIn = form
		for path, more := range map[string][]string{"/oauth2/token": {"resource", graph}, "/oauth2/v2.0/token": {"scope", graph + "/.default"}} {
			if a := e.post("/"+contoso+path, values(append(more, "grant_type", "client_credentials", "client_id", appID, "client_secret", password)...)); a.body["expires_in"] != want {
				t.Errorf("%s, %s: expires_in is %v, want %v", form, path, a.body["expires_in"], want)
			}
		}
	}
}

func TestATokenIsForOneResource(t *testing.T) {
	e := newEntra(t)
	for name, tt := range map[string]struct {
		path, segment string
		more          []string
		code          int
		word          string
	}{
		"scopes of two resources":       {more: []string{"scope", graph + "/.default " + siem + "/.default"}, code: 700022, word: "invalid_scope"},
		"a single permission":           {more: []string{"scope", graph + "/SecurityAlert.Read.All"}, code: 1002012, word: "invalid_scope"},
		"no scope":                      {more: []string{"scope", ""}, code: 900144, word: "invalid_request"},
		"only what is no permission":    {more: []string{"scope", "openid offline_access"}, code: 900144, word: "invalid_request"},
		"with what is no permission":    {more: []string{"scope", graph + "/.default openid offline_access profile"}}, // MSAL Go does so
		"two slashes":                   {more: []string{"scope", graph + "//.default"}},
		"encoded twice":                 {more: []string{"scope", "https%3A%2F%2Fgraph.microsoft.com%2F.default"}, code: 1002012, word: "invalid_scope"},
		"an unknown resource":           {more: []string{"scope", "https://api.example/.default"}, code: 500011, word: "invalid_resource"},
		"resource at version 2":         {more: []string{"resource", graph}, code: 901002, word: "invalid_request"},
		"no resource at version 1":      {path: "/oauth2/token", code: 900144, word: "invalid_request"},
		"by the tenant's domain":        {segment: "contoso.example"},
		"in capitals":                   {segment: strings.ToUpper(contoso), more: []string{"client_id", strings.ToUpper(appID)}},
		"common":                        {segment: "common", code: 9001023, word: "invalid_request"},
		"organizations":                 {segment: "organizations", code: 9001023, word: "invalid_request"},
		"a tenant that is not there":    {segment: "cccccccc-0000-4000-8000-000000000003", code: 90002, word: "invalid_request"},
		"a domain that is not there":    {segment: "nobody.example", code: 90002, word: "invalid_request"},
		"neither GUID nor domain":       {segment: "contoso", code: 900023, word: "invalid_request"},
		"an app that nobody registered": {more: []string{"client_id", "44444444-0000-4000-8000-00000000000d"}, code: 700016, word: "unauthorized_client"},
		"another tenant's app":          {more: []string{"client_id", seedID}, code: 700016, word: "unauthorized_client"},
		"no app":                        {more: []string{"client_id", ""}, code: 900144, word: "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			segment, path := contoso, "/oauth2/v2.0/token"
			if tt.segment != "" {
				segment = tt.segment
			}
			if tt.path != "" {
				path = tt.path
			}
			f := values("grant_type", "client_credentials", "client_id", appID, "client_secret", password, "scope", graph+"/.default")
			for k, v := range values(tt.more...) {
				f[k] = v
			}
			a := e.post("/"+segment+path, f)
			if tt.code == 0 {
				if c := e.token(a); c["aud"] != graph || c["tid"] != contoso {
					t.Errorf("for %v in %v", c["aud"], c["tid"])
				}
				return
			}
			e.wants(a, 400, tt.code, tt.word)
		})
	}
}

func TestTheClaimsAreAsDocumented(t *testing.T) {
	e := newEntra(t)
	e.Life = Span(time.Hour)
	same := func(got map[string]any, want map[string]any) {
		t.Helper()
		for k, v := range want {
			if fmt.Sprint(got[k]) != fmt.Sprint(v) {
				t.Errorf("%s is %v, want %v", k, got[k], v)
			}
		}
	}
	now := float64(e.time.Unix())
	same(e.token(e.app(contoso)), map[string]any{"aud": graph, "tid": contoso, "iss": "https://sts.windows.net/" + contoso + "/", "appid": appID, "appidacr": "1", "ver": "1.0",
		"roles": []string{"SecurityAlert.Read.All"}, "idtyp": "app", "scp": nil, "azp": nil, "iat": now, "exp": now + 3600})
	e.TokenV2 = true
	same(e.token(e.app(contoso)), map[string]any{"aud": "00000003-0000-0000-c000-000000000000", "tid": contoso, "iss": "https://" + host + "/" + contoso + "/v2.0", "azp": appID,
		"azpacr": "1", "ver": "2.0", "appid": nil, "appidacr": nil})
	e.TokenV2 = false
	user := e.token(e.refresh(e.GiveRefreshToken(contoso, appID, analyst)))
	same(user, map[string]any{"aud": graph, "tid": contoso, "scp": "SecurityAlert.Read.All User.Read", "roles": nil, "idtyp": nil, "upn": analyst})
	if a, b := e.token(e.app(contoso)), e.token(e.app(contoso)); a["oid"] == nil || a["oid"] != b["oid"] || a["uti"] == b["uti"] {
		t.Errorf("oid %v and %v, uti %v and %v: the one stays, the other does not", a["oid"], b["oid"], a["uti"], b["uti"])
	}
}

func TestALifetimeIsAsTheSamplesHaveItOrAsTheTextSays(t *testing.T) {
	e := newEntra(t)
	sample, long := 0, 0
	for range 200 {
		n, _ := e.app(contoso).body["expires_in"].(float64)
		switch {
		case n == 3599:
			sample++
		case n >= 3600 && n <= 5400:
			long++
		default:
			t.Fatalf("%v s", n)
		}
	}
	if sample < 50 || long < 50 {
		t.Errorf("3599 s %d times, 60 to 90 min %d times, of 200", sample, long)
	}
	e.Life = Span(10 * time.Second)
	a := e.app(contoso)
	raw := a.text("access_token")
	if a.body["expires_in"] != 10.0 {
		t.Errorf("a short life: %s", a.raw)
	}
	if _, err := e.Verify(raw); err != nil {
		t.Error(err)
	}
	e.time = e.time.Add(10 * time.Second)
	if _, err := e.Verify(raw); err == nil {
		t.Error("a token is taken after its end")
	}
}

func TestATokenGoesWrongOnDemand(t *testing.T) {
	e := newEntra(t)
	e.faults.Set(fault.Rule{Kind: fault.TokenWrongTID, API: "token", Tenant: contoso, Value: fabrikam, Count: 1})
	if c := e.token(e.app(contoso)); c["tid"] != fabrikam || c["iss"] != "https://sts.windows.net/"+fabrikam+"/" {
		t.Errorf("a token for %v of %v, want fabrikam's", c["tid"], c["iss"])
	}
	e.faults.Set(fault.Rule{Kind: fault.TokenNoRoles, API: "token", Count: 1})
	if c := e.token(e.app(contoso)); c["roles"] != nil {
		t.Errorf("roles %v, want none", c["roles"])
	}
	e.faults.Set(fault.Rule{Kind: fault.TokenOpaque, API: "token", Count: 1})
	raw := e.app(contoso).text("access_token")
	if strings.Contains(raw, ".") {
		t.Errorf("%s can be decoded", raw)
	}
	if c, err := e.Verify(raw); err != nil || c.TenantID != contoso {
		t.Errorf("the APIs do not take it: %v", err)
	}
}

func TestATokenIsForTheWrongAPIAppOrAuthorityOnDemand(t *testing.T) {
	e := newEntra(t)
	e.TokenClaims = map[string]string{"aud": siem, "appid": publicID, "iss": "https://sts.windows.net/" + fabrikam + "/"}
	if c := e.token(e.app(contoso)); c["aud"] != siem || c["appid"] != publicID || c["iss"] != "https://sts.windows.net/"+fabrikam+"/" || c["tid"] != contoso {
		t.Errorf("%v", c)
	}
}

func TestATokenThatIsNotEntrasIsNotTaken(t *testing.T) {
	e := newEntra(t)
	raw := e.app(contoso).text("access_token")
	parts := strings.Split(raw, ".")
	for name, bad := range map[string]string{
		"another payload":    parts[0] + "." + part(map[string]any{"tid": fabrikam, "aud": graph, "exp": e.time.Unix() + 60}) + "." + parts[2],
		"no signature":       parts[0] + "." + parts[1] + ".",
		"a garbled one":      parts[0] + "." + parts[1] + ".!",
		"two parts":          parts[0] + "." + parts[1],
		"nothing":            "",
		"opaque, and no JWT": "opaque!x",
	} {
		if _, err := e.Verify(bad); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if c, err := e.Verify(raw); err != nil || c.AppID != appID || c.Audience != graph {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestTheDiscoveryDocumentLeadsThrough(t *testing.T) {
	e := newEntra(t)
	e.Settle(fabrikam, Region{Scope: "NA", Sub: "GCC"})
	for name, tt := range map[string]struct {
		segment string
		at      *Region
		want    map[string]any
	}{
		"by ID":     {segment: contoso, want: map[string]any{"tenant_region_scope": "EU", "tenant_region_sub_scope": nil, "cloud_instance_name": "microsoftonline.com", "msgraph_host": "graph.microsoft.com"}},
		"by domain": {segment: "fabrikam.example", want: map[string]any{"tenant_region_scope": "NA", "tenant_region_sub_scope": "GCC", "cloud_instance_name": "microsoftonline.com"}},
		"GCC High":  {segment: contoso, at: &Region{"USGov", "DODCON"}, want: map[string]any{"tenant_region_sub_scope": "DODCON", "cloud_instance_name": "microsoftonline.us", "msgraph_host": "graph.microsoft.us"}},
		"DoD":       {segment: contoso, at: &Region{"USGov", "DOD"}, want: map[string]any{"tenant_region_sub_scope": "DOD", "msgraph_host": "dod-graph.microsoft.us"}},
		"common":    {segment: "common", want: map[string]any{"issuer": "https://" + host + "/{tenantid}/v2.0", "tenant_region_scope": nil}},
	} {
		t.Run(name, func(t *testing.T) {
			e.Settle(contoso, Region{Scope: "EU"})
			if tt.at != nil {
				e.Settle(contoso, *tt.at)
			}
			a := e.get("/" + tt.segment + "/v2.0/.well-known/openid-configuration?") // MSAL Go asks with a bare ?
			for k, v := range tt.want {
				if a.body[k] != v {
					t.Errorf("%s is %v, want %v", k, a.body[k], v)
				}
			}
			for _, k := range []string{"issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "device_authorization_endpoint", "userinfo_endpoint", "subject_types_supported", "token_endpoint_auth_methods_supported"} {
				if a.body[k] == nil {
					t.Errorf("there is no %s", k)
				}
			}
			if keys := e.get(strings.TrimPrefix(a.text("jwks_uri"), "https://"+host)); keys.body["keys"] == nil {
				t.Errorf("jwks_uri leads to %d %s", keys.status, keys.raw)
			}
		})
	}
	one := e.get("/" + contoso + "/.well-known/openid-configuration")
	if one.text("issuer") != "https://sts.windows.net/"+contoso+"/" || !strings.HasSuffix(one.text("token_endpoint"), contoso+"/oauth2/token") || !strings.HasSuffix(one.text("jwks_uri"), "/discovery/keys") {
		t.Errorf("version 1: %s", one.raw)
	}
	e.ForeignToken = "evil.example"
	if a := e.get("/" + contoso + "/v2.0/.well-known/openid-configuration"); a.text("token_endpoint") != "https://evil.example/"+contoso+"/oauth2/v2.0/token" || !strings.Contains(a.text("jwks_uri"), host) {
		t.Errorf("a foreign token endpoint: %s", a.raw)
	}
	e.wants(e.get("/nobody.example/v2.0/.well-known/openid-configuration"), 400, 90002, "invalid_tenant")
	if a := e.get("/" + contoso + "/oauth2/v2.0/token"); a.status != 400 || a.code() != 900561 {
		t.Errorf("GET of the token endpoint: %s", a.raw)
	}
	if a := e.get("/" + contoso + "/nowhere"); a.status != http.StatusNotFound {
		t.Errorf("a path that is none: %d", a.status)
	}
}

func TestAskedForTheInstanceOnlyRealHostsAndThisOneAreTrusted(t *testing.T) {
	e := newEntra(t)
	for name, tt := range map[string]struct {
		endpoint, aliases string
	}{
		"Microsoft's host": {"https://login.microsoftonline.com/" + contoso + "/oauth2/v2.0/authorize", "[login.microsoftonline.com login.windows.net login.microsoft.com sts.windows.net]"},
		"this host":        {"https://" + host + "/common/oauth2/v2.0/authorize", "[" + host + "]"},
		"another":          {"https://login.example/common/oauth2/v2.0/authorize", ""},
		"none":             {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := e.get("/common/discovery/instance?" + values("api-version", "1.1", "authorization_endpoint", tt.endpoint).Encode())
			if tt.aliases == "" {
				if a.status != 400 || a.text("error") != "invalid_instance" {
					t.Errorf("%d %s", a.status, a.raw)
				}
				return
			}
			list, _ := a.body["metadata"].([]any)
			if len(list) != 1 {
				t.Fatalf("%s", a.raw)
			}
			if got := fmt.Sprint(list[0].(map[string]any)["aliases"]); got != tt.aliases {
				t.Errorf("aliases %s, want %s", got, tt.aliases)
			}
			if want := strings.TrimSuffix(tt.endpoint, "/oauth2/v2.0/authorize") + "/v2.0/.well-known/openid-configuration"; a.text("tenant_discovery_endpoint") != want {
				t.Errorf("leads to %s, want %s", a.text("tenant_discovery_endpoint"), want)
			}
		})
	}
}
