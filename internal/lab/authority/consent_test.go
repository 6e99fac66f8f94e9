package authority

import (
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"drover/internal/lab/fault"
)

func TestConsentHasItsStates(t *testing.T) {
	for name, tt := range map[string]struct {
		state  Consent
		with   func(*Switches)
		secret string
		code   int // of the app's own token
		status int
		word   string
		roles  bool
		user   int // of a user's
	}{
		"no service principal":                            {state: None, code: 7000229, status: 401, word: "invalid_client", user: 65001},
		"no service principal, and the app is unknown":    {state: None, with: func(s *Switches) { s.UnknownApp = true }, code: 700016, status: 400, word: "unauthorized_client", user: 65001},
		"no service principal and a wrong secret":         {state: None, secret: "wrong", code: 7000215, status: 401, word: "invalid_client", user: 65001},
		"the same, where the principal is looked for":     {state: None, secret: "wrong", with: func(s *Switches) { s.PrincipalFirst = true }, code: 7000229, status: 401, word: "invalid_client", user: 65001},
		"a service principal without a grant":             {state: Known, user: 65001},
		"what users may":                                  {state: Delegated},
		"granted":                                         {state: Granted, roles: true},
		"granted, where the principal is looked for once": {state: Granted, with: func(s *Switches) { s.PrincipalFirst = true }, roles: true},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEntra(t)
			e.Consent(contoso, appID, tt.state)
			if tt.with != nil {
				e.Switch(tt.with)
			}
			if a := e.refresh(e.GiveRefreshToken(contoso, appID, analyst)); a.code() != tt.user {
				t.Errorf("a user's token: %d %s, want AADSTS%d", a.status, a.raw, tt.user)
			}
			secret := password
			if tt.secret != "" {
				secret = tt.secret
			}
			a := e.app(contoso, "client_secret", secret)
			if tt.code != 0 {
				e.wants(a, tt.status, tt.code, tt.word)
				return
			}
			if _, has := e.token(a)["roles"]; has != tt.roles {
				t.Errorf("the app's token has roles: %t, want %t", has, tt.roles)
			}
		})
	}
	e := newEntra(t)
	e.token(e.app(mssp)) // at home an app is known without any consent
}

func TestAConsentSpreadsUnevenly(t *testing.T) {
	e := newEntra(t)
	e.Consent(contoso, appID, None)
	e.ConsentDelay = Span(5 * time.Minute)
	e.time = e.time.Add(time.Hour)
	e.Consent(contoso, appID, Granted)
	seen := func() string {
		a := e.app(contoso)
		switch {
		case a.code() == 7000229:
			return "none"
		case a.code() != 0:
			t.Fatal(a.raw)
		case e.token(a)["roles"] == nil:
			return "known"
		}
		return "granted"
	}
	if first := seen(); first == "granted" {
		t.Error("it shows at once")
	}
	count, back := map[string]int{}, 0
	last := ""
	for range 60 {
		e.time = e.time.Add(4 * time.Second)
		now := seen()
		if last == "granted" && now != "granted" {
			back++
		}
		count[now]++
		last = now
	}
	if count["none"] == 0 || count["known"] == 0 || count["granted"] == 0 || back == 0 {
		t.Errorf("while it spreads: %v, %d times granted and then not; want some of each", count, back)
	}
	e.time = e.time.Add(time.Minute)
	for range 50 {
		if seen() != "granted" {
			t.Fatal("after the delay it does not show always")
		}
	}
	e.Consent(contoso, appID, None) // withdrawn: that spreads too
	if seen() == "none" {
		t.Error("a withdrawal shows at once")
	}
	e.time = e.time.Add(5 * time.Minute)
	if seen() != "none" {
		t.Error("after the delay a withdrawal does not show")
	}
}

func TestAChangedClockOfEntraTakesNoConsentBack(t *testing.T) {
	e := newEntra(t)
	e.Skew = Span(time.Hour)
	e.Consent(fabrikam, appID, Granted)
	e.Skew = 0
	e.token(e.app(fabrikam))
}

func TestTheMSSPListIsObeyedOnceItHasSpread(t *testing.T) {
	e := newEntra(t)
	if e.Authorised(contoso, appID) {
		t.Error("an app that nobody listed may read")
	}
	e.List(contoso, Listing{appID, fabrikam}, true)
	if e.Authorised(contoso, appID) {
		t.Error("an app that is listed with another tenant than its own may read")
	}
	e.Authorise(contoso, appID, true)
	if !e.Authorised(contoso, appID) || e.Authorised(fabrikam, appID) {
		t.Error("an app that is listed may not read, or may read elsewhere")
	}
	e.List(contoso, Listing{strings.ToUpper(appID), strings.ToUpper(mssp)}, true) // the same line
	if len(e.Listed(contoso)) != 2 {
		t.Errorf("lines %v", e.Listed(contoso))
	}
	if !e.Authorised(mssp, seedID) {
		t.Error("a tenant's own app may not read")
	}
	e.time = e.time.Add(time.Hour)
	e.ListDelay = Span(10 * time.Minute)
	e.Authorise(contoso, appID, false)
	if !e.Authorised(contoso, appID) {
		t.Error("a line that is taken off is gone at once")
	}
	yes, back, last := 0, 0, true
	for range 100 {
		e.time = e.time.Add(5 * time.Second)
		now := e.Authorised(contoso, appID)
		if now {
			yes++
		}
		if now && !last {
			back++
		}
		last = now
	}
	if yes == 0 || yes == 100 || back == 0 {
		t.Errorf("while it spreads: %d of 100 let in, %d times again after a no", yes, back)
	}
	e.time = e.time.Add(10 * time.Minute)
	for range 50 {
		if e.Authorised(contoso, appID) {
			t.Fatal("after the delay it still lets in")
		}
	}
}

func TestThePortalsListIsChangedByAnAdminOnly(t *testing.T) {
	e := newEntra(t)
	e.List(contoso, Listing{appID, mssp}, false)
	visit := func(method string, form url.Values) (int, string) {
		t.Helper()
		a := e.through(http.HandlerFunc(e.server.Portal), method, "/lab/portal?tid=contoso.example", form)
		return a.status, a.raw
	}
	_, page := visit(http.MethodGet, nil)
	m := hidden.FindStringSubmatch(page)
	if m == nil || !strings.Contains(page, contoso) || strings.Contains(page, appID) {
		t.Fatalf("the page: %s", page)
	}
	canary := html.UnescapeString(m[1])
	add := func(more ...string) (int, string) {
		f := values("canary", canary, "user", "admin@contoso.example", "app", " "+appID+" ", "tenant", mssp, "add", "yes")
		for k, v := range values(more...) {
			f[k] = v
		}
		return visit(http.MethodPost, f)
	}
	for name, more := range map[string][]string{"an analyst": {"user", analyst}, "nobody": {"user", ""}, "a stranger": {"user", "admin@fabrikam.example"}, "a form of another page": {"canary", "x"}, "no app": {"app", ""}, "no tenant": {"tenant", " "}} {
		if status, page := add(more...); status != http.StatusForbidden || !strings.Contains(page, `id="error"`) || len(e.Listed(contoso)) != 0 {
			t.Errorf("%s: %d, lines %v", name, status, e.Listed(contoso))
		}
	}
	if status, page := add(); status != http.StatusOK || !strings.Contains(page, "<td>"+appID+"</td>") || !e.Authorised(contoso, appID) {
		t.Errorf("an admin: %d, lines %v, %s", status, e.Listed(contoso), page)
	}
	if status, _ := add("remove", appID+" "+mssp); status != http.StatusOK || e.Authorised(contoso, appID) {
		t.Errorf("removed: %d, lines %v", status, e.Listed(contoso))
	}
	if _, page := add("app", "<script>", "tenant", "<b>"); strings.Contains(page, "<script>") {
		t.Error("what is entered is not escaped")
	}
	if a := e.through(http.HandlerFunc(e.server.Portal), http.MethodGet, "/lab/portal", nil); !strings.Contains(a.raw, "?tid="+fabrikam) {
		t.Errorf("no tenant: %s", a.raw)
	}
}

func TestAnAdminConsentsForAllAndIsLedBack(t *testing.T) {
	v2 := "/" + fabrikam + "/v2.0/adminconsent?" + values("client_id", appID, "scope", graph+"/.default", "redirect_uri", redirect, "state", "s t&te").Encode()
	v1 := "/" + fabrikam + "/adminconsent?" + values("client_id", appID, "redirect_uri", redirect, "state", "x").Encode()
	for name, tt := range map[string]struct {
		target, decision string
		forged           string
		want             url.Values
		says             string
	}{
		"version 2, agreed":            {target: v2, decision: "accept", want: values("admin_consent", "True", "tenant", fabrikam, "scope", graph+"/.default", "state", "s t&te")},
		"version 2, refused":           {target: v2, decision: "deny", want: values("admin_consent", "True", "error", "consent_required", "state", "s t&te"), says: "AADSTS65004"},
		"version 1, agreed":            {target: v1, decision: "accept", want: values("admin_consent", "True", "tenant", fabrikam, "state", "x")},
		"version 1, refused":           {target: v1, decision: "deny", want: values("error", "permission_denied", "state", "x"), says: "AADSTS65004"},
		"with a forged tenant":         {target: v2, decision: "accept", forged: contoso, want: values("admin_consent", "True", "tenant", contoso, "scope", graph+"/.default", "state", "s t&te")},
		"through organizations":        {target: strings.Replace(v2, fabrikam, "organizations", 1), decision: "accept", want: values("admin_consent", "True", "tenant", fabrikam, "scope", graph+"/.default", "state", "s t&te")},
		"version 1, through common":    {target: strings.Replace(v1, fabrikam, "common", 1), decision: "accept", want: values("admin_consent", "True", "tenant", fabrikam, "state", "x")},
		"the short link of the manual": {target: "/" + fabrikam + "/adminconsent?client_id=" + appID, decision: "accept", want: values("admin_consent", "True", "tenant", fabrikam)},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEntra(t)
			e.ForgedTenant = tt.forged
			got := e.back(e.person(tt.target, "admin@fabrikam.example", tt.decision))
			if !strings.Contains(got.Get("error_description"), tt.says) {
				t.Errorf("description %q", got.Get("error_description"))
			}
			got.Del("error_description")
			if got.Encode() != tt.want.Encode() {
				t.Errorf("led back with %v, want %v", got, tt.want)
			}
			a := e.app(fabrikam)
			if tt.decision == "accept" {
				if c := e.token(a); c["roles"] == nil || c["tid"] != fabrikam {
					t.Error("no roles after it")
				}
				return
			}
			e.wants(a, 401, 7000229, "invalid_client")
		})
	}
}

func TestAConsentThatMayNotBeIsSaidOnThePage(t *testing.T) {
	ask := func(more ...string) string {
		f := values("client_id", appID, "scope", graph+"/.default", "redirect_uri", redirect)
		for k, v := range values(more...) {
			f[k] = v
		}
		return "v2.0/adminconsent?" + f.Encode()
	}
	for name, tt := range map[string]struct {
		target, user, says string
		with               func(*entra)
	}{
		"by who is no admin":         {target: fabrikam + "/" + ask(), user: "guest@fabrikam.example", says: "AADSTS90094"},
		"by a stranger":              {target: fabrikam + "/" + ask(), user: "admin@contoso.example", says: "AADSTS50020"},
		"against a policy":           {target: fabrikam + "/" + ask(), user: "admin@fabrikam.example", says: "AADSTS53003", with: func(e *entra) { e.Restrict(fabrikam, 53003) }},
		"without a scope":            {target: fabrikam + "/" + ask("scope", ""), says: "AADSTS900144"},
		"at common":                  {target: "common/" + ask(), says: "AADSTS900144"},
		"to a strange redirect URI":  {target: fabrikam + "/" + ask("redirect_uri", "https://evil.example"), says: "AADSTS50011"},
		"for an app of one tenant":   {target: fabrikam + "/" + ask("client_id", seedID), says: "AADSTS700016"},
		"for a disabled app":         {target: fabrikam + "/" + ask(), says: "AADSTS7000112", with: func(e *entra) { e.Disable(appID, true) }},
		"at a tenant that is not":    {target: "nobody.example/" + ask(), says: "AADSTS90002"},
		"of an app that has no name": {target: fabrikam + "/" + ask("client_id", ""), says: "AADSTS900144"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEntra(t)
			e.AddUser(fabrikam, "guest@fabrikam.example", false)
			if tt.with != nil {
				tt.with(e)
			}
			a := e.person("/"+tt.target, tt.user, "accept")
			if a.header.Get("Location") != "" || !strings.Contains(a.raw, tt.says+":") || a.status < 400 {
				t.Errorf("%d, to %q: %s", a.status, a.header.Get("Location"), a.raw)
			}
			if e.Consented(fabrikam, appID) != None {
				t.Error("it counts")
			}
		})
	}
}

func TestAFaultHitsOneTenantsTokensOnly(t *testing.T) {
	e := newEntra(t)
	e.Consent(fabrikam, appID, Granted)
	e.faults.Set(fault.Rule{Kind: fault.AADSTS, API: "token", Tenant: contoso, Param: 700082})
	e.wants(e.app("contoso.example"), 400, 700082, "invalid_grant")
	e.token(e.app(fabrikam))
}
