package authority

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// signInAt is the address of an authorize page.
func signInAt(segment string, v2 bool, more ...string) string {
	f := values("client_id", appID, "response_type", "code", "redirect_uri", redirect, "state", "s")
	path := "/oauth2/authorize"
	if v2 {
		path = "/oauth2/v2.0/authorize"
		f.Set("scope", graph+"/.default offline_access openid")
	}
	for k, v := range values(more...) {
		f[k] = v
	}
	return "/" + segment + path + "?" + f.Encode()
}

// code signs the analyst in at contoso and returns the code.
func (e *entra) code(v2 bool, more ...string) string {
	e.Helper()
	got := e.back(e.person(signInAt(contoso, v2, more...), analyst, "accept"))
	if got.Get("code") == "" || got.Get("state") != "s" || got.Get("session_state") == "" {
		e.Fatalf("led back with %v", got)
	}
	return got.Get("code")
}

// redeem redeems a code.
func (e *entra) redeem(segment string, v2 bool, code string, more ...string) answer {
	e.Helper()
	f := values("grant_type", "authorization_code", "client_id", appID, "client_secret", password, "code", code, "redirect_uri", redirect)
	for k, v := range values(more...) {
		f[k] = v
	}
	path := "/oauth2/token"
	if v2 {
		path = "/oauth2/v2.0/token"
	}
	return e.post("/"+segment+path, f)
}

const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

func challenge() string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func TestACodeIsRedeemedOnceInTimeWhereAndByWhomItIsFor(t *testing.T) {
	for name, tt := range map[string]struct {
		v1      bool
		ask     []string // of the sign-in
		redeem  []string
		segment string
		before  func(e *entra)
		code    int
	}{
		"with nothing special":            {},
		"version 1":                       {v1: true, ask: []string{"resource", siem}},
		"version 1, named when redeemed":  {v1: true, redeem: []string{"resource", siem}},
		"version 1, named nowhere":        {v1: true, code: 900144},
		"version 1, named differently":    {v1: true, ask: []string{"resource", siem}, redeem: []string{"resource", graph}, code: 70000},
		"9 minutes old":                   {before: func(e *entra) { e.time = e.time.Add(9 * time.Minute) }},
		"11 minutes old":                  {before: func(e *entra) { e.time = e.time.Add(11 * time.Minute) }, code: 70008},
		"at another tenant":               {segment: fabrikam, code: 700005},
		"through common":                  {segment: "common"},
		"PKCE by S256":                    {ask: []string{"code_challenge", challenge(), "code_challenge_method", "S256"}, redeem: []string{"code_verifier", verifier}},
		"PKCE by S256, another verifier":  {ask: []string{"code_challenge", challenge(), "code_challenge_method", "S256"}, redeem: []string{"code_verifier", verifier + "x"}, code: 501481},
		"PKCE by S256, no verifier":       {ask: []string{"code_challenge", challenge(), "code_challenge_method", "S256"}, code: 501481},
		"PKCE by S256, the challenge":     {ask: []string{"code_challenge", challenge(), "code_challenge_method", "S256"}, redeem: []string{"code_verifier", challenge()}, code: 501481},
		"PKCE without a method is plain":  {ask: []string{"code_challenge", verifier}, redeem: []string{"code_verifier", verifier}},
		"PKCE without a method, hashed":   {ask: []string{"code_challenge", challenge()}, redeem: []string{"code_verifier", verifier}, code: 501481},
		"another redirect URI":            {redeem: []string{"redirect_uri", "http://localhost"}, code: 500112},
		"no redirect URI":                 {redeem: []string{"redirect_uri", ""}, code: 900144},
		"no code":                         {redeem: []string{"code", ""}, code: 900144},
		"a made-up code":                  {redeem: []string{"code", "0.AXnonsense"}, code: 70000},
		"by another app":                  {redeem: []string{"client_id", publicID, "client_secret", ""}, code: 70000},
		"without the secret":              {redeem: []string{"client_secret", ""}, code: 7000218},
		"for another resource":            {redeem: []string{"scope", siem + "/.default"}, code: 70000},
		"a permission that was not given": {redeem: []string{"scope", graph + "/Mail.Read"}, code: 65001},
		"after consent was withdrawn":     {before: func(e *entra) { e.Consent(contoso, appID, None) }, code: 65001},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEntra(t)
			raw := e.code(!tt.v1, tt.ask...)
			if tt.before != nil {
				tt.before(e)
			}
			segment := contoso
			if tt.segment != "" {
				segment = tt.segment
			}
			a := e.redeem(segment, !tt.v1, raw, tt.redeem...)
			if a.code() != tt.code {
				t.Fatalf("got %d %s, want AADSTS%d", a.status, a.raw, tt.code)
			}
			if tt.code != 0 {
				return
			}
			if c := e.token(a); c["tid"] != contoso || c["upn"] != analyst {
				t.Errorf("a token of %v in %v", c["upn"], c["tid"])
			}
			if a.text("refresh_token") == "" || a.text("id_token") == "" {
				t.Errorf("without refresh or ID token: %s", a.raw)
			}
			again := e.redeem(segment, !tt.v1, raw, tt.redeem...)
			e.wants(again, 400, 54005, "invalid_grant")
			e.token(e.refresh(a.text("refresh_token"))) // what it gave goes on
		})
	}
}

func TestACodeHasItsSwitches(t *testing.T) {
	e := newEntra(t)
	ask := []string{"code_challenge", challenge(), "code_challenge_method", "S256"}
	raw := e.code(true, ask...)
	e.wants(e.redeem(contoso, true, raw, "code_verifier", "wrong"), 400, 501481, "invalid_grant")
	e.token(e.redeem(contoso, true, raw, "code_verifier", verifier))

	e.WrongVerifierEnds = true
	raw = e.code(true, ask...)
	e.wants(e.redeem(contoso, true, raw, "code_verifier", "wrong"), 400, 501481, "invalid_grant")
	e.wants(e.redeem(contoso, true, raw, "code_verifier", verifier), 400, 54005, "invalid_grant")

	e.ReplayEndsTokens = true
	raw = e.code(true)
	kept := e.redeem(contoso, true, raw).text("refresh_token")
	e.wants(e.redeem(contoso, true, raw), 400, 54005, "invalid_grant")
	e.wants(e.refresh(kept), 400, 50173, "invalid_grant")
}

func TestARefreshTokenComesOnlyIfItWasAskedForAtVersion2(t *testing.T) {
	e := newEntra(t)
	a := e.redeem(contoso, true, e.code(true, "scope", graph+"/SecurityAlert.Read.All"))
	if c := e.token(a); c["scp"] != "SecurityAlert.Read.All" || a.text("refresh_token") != "" || a.text("id_token") != "" {
		t.Errorf("%s", a.raw)
	}
	for asked, want := range map[string]string{graph + "/SecurityAlert.Read.All": graph + "/SecurityAlert.Read.All", graph + "/.default": graph + "/SecurityAlert.Read.All " + graph + "/User.Read " + graph + "/.default"} {
		if got := e.redeem(contoso, true, e.code(true, "scope", asked)).text("scope"); got != want {
			t.Errorf("asked for %s: scope %q, want %q", asked, got, want)
		}
	}
	one := e.redeem(contoso, false, e.code(false, "resource", siem))
	if one.text("refresh_token") == "" || one.text("expires_in") == "" || one.text("resource") != siem || !strings.HasSuffix(one.text("id_token"), ".") {
		t.Errorf("version 1: %s", one.raw)
	}
	two := e.redeem(contoso, true, e.code(true, "nonce", "n-1"), "client_info", "1")
	id := e.verified(two.text("id_token"))
	if id["aud"] != appID || id["tid"] != contoso || id["nonce"] != "n-1" || id["preferred_username"] != analyst || id["ver"] != "2.0" || two.text("client_info") == "" {
		t.Errorf("ID token %v", id)
	}
}

func TestAnUnregisteredRedirectURIIsNeverLedTo(t *testing.T) {
	for name, tt := range map[string]struct {
		uri string
		ok  bool
	}{
		"as registered":                {redirect, true},
		"with a slash more":            {redirect + "/", false},
		"with a query":                 {redirect + "?x=1", false},
		"another path":                 {"https://mssp.example/other", false},
		"another host":                 {"https://evil.example/callback", false},
		"localhost on any port":        {"http://localhost:49152", true},
		"localhost with a slash":       {"http://localhost:49152/", true},
		"localhost with another path":  {"http://localhost:49152/x", false},
		"localhost by https":           {"https://localhost:49152", false},
		"a name that begins like that": {"http://localhost.evil.example", false},
		"with somebody before it":      {"http://x@localhost:80", false},
		"an address not registered":    {"http://127.0.0.1:49152", false},
		"none":                         {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEntra(t)
			a := e.person(signInAt(contoso, true, "redirect_uri", tt.uri), analyst, "accept")
			if led := a.header.Get("Location"); (led != "") != tt.ok || !tt.ok && !strings.Contains(a.raw, "AADSTS50011") && !strings.Contains(a.raw, "AADSTS900971") {
				t.Errorf("%d, led to %q: %s", a.status, led, a.raw)
			}
		})
	}
	e := newEntra(t)
	if led := e.person(signInAt(contoso, true, "redirect_uri", "http://127.0.0.1:49152", "client_id", publicID), analyst, "accept").header.Get("Location"); !strings.HasPrefix(led, "http://127.0.0.1:49152?") {
		t.Errorf("127.0.0.1, registered: led to %q", led)
	}
}

func TestTheOldManualFailsInThisOrder(t *testing.T) {
	e := newEntra(t)
	old := func(segment string, more ...string) answer {
		return e.person(signInAt(segment, false, append([]string{"client_id", seedID, "redirect_uri", "https://SiemMsspConnector", "resource", siem, "prompt", "select_account"}, more...)...), analyst, "accept")
	}
	page := func(a answer, code string) {
		t.Helper()
		if a.status != http.StatusBadRequest || a.header.Get("Location") != "" || !strings.Contains(a.raw, code) {
			t.Errorf("%d, led to %q, want a page with %s: %s", a.status, a.header.Get("Location"), code, a.raw)
		}
	}
	page(old("nobody.example"), "AADSTS90002:")
	page(old(contoso), "AADSTS700016:") // for one tenant only
	page(old("common"), "AADSTS50194:")
	e.AddApp(App{ClientID: seedID, MultiTenant: true, HomeTenant: mssp, Resources: []string{graph}, RedirectURIs: []string{"https://mssp.example/SiemMsspConnector"}})
	page(old(contoso), "AADSTS50011:")
	e.AddApp(App{ClientID: seedID, MultiTenant: true, HomeTenant: mssp, Resources: []string{graph}, RedirectURIs: []string{"https://SiemMsspConnector"}})
	if got := e.back(old(contoso)); got.Get("error") != "invalid_resource" || !strings.Contains(got.Get("error_description"), "AADSTS650057") || got.Get("state") != "s" {
		t.Errorf("a resource that is not registered: %v", got)
	}
	e.AddApp(App{ClientID: seedID, MultiTenant: true, HomeTenant: mssp, Resources: []string{siem}, RedirectURIs: []string{"https://SiemMsspConnector"}})
	if got := e.back(old(contoso)); got.Get("error") != "consent_required" {
		t.Errorf("an analyst where an admin must consent: %v", got)
	}
	e.Consent(contoso, seedID, Delegated)
	if got := e.back(old(contoso)); got.Get("code") == "" {
		t.Errorf("when all is right: %v", got)
	}
}

func TestASignInIsRefusedByRedirectWithWordAndState(t *testing.T) {
	for name, tt := range map[string]struct {
		more       []string
		decision   string
		word, says string
		user       string
		with       func(*entra)
	}{
		"no response_type":         {more: []string{"response_type", ""}, word: "invalid_request"},
		"another response_type":    {more: []string{"response_type", "token"}, word: "unsupported_response_type"},
		"an unknown response_mode": {more: []string{"response_mode", "pigeon"}, word: "invalid_request"},
		"an unknown PKCE method":   {more: []string{"code_challenge", "x", "code_challenge_method", "S512"}, word: "invalid_request"},
		"no scope":                 {more: []string{"scope", ""}, word: "invalid_request"},
		"an unknown permission":    {more: []string{"scope", "Nonsense"}, word: "invalid_scope"},
		"an unknown resource":      {more: []string{"scope", "https://api.example/.default"}, word: "invalid_resource"},
		"declined":                 {decision: "deny", word: "access_denied", says: "AADSTS65004"},
		"silent, nobody there":     {more: []string{"prompt", "none"}, word: "login_required", says: "AADSTS50058"},
		"who may not consent":      {word: "consent_required", says: "AADSTS90094", with: func(e *entra) { e.Consent(contoso, appID, None) }},
		"consent for all":          {more: []string{"prompt", "admin_consent"}, word: "consent_required", says: "AADSTS90094"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEntra(t)
			if tt.with != nil {
				tt.with(e)
			}
			decision := "accept"
			if tt.decision != "" {
				decision = tt.decision
			}
			got := e.back(e.person(signInAt(contoso, true, tt.more...), analyst, decision))
			if got.Get("error") != tt.word || got.Get("state") != "s" || got.Get("code") != "" || !strings.Contains(got.Get("error_description"), tt.says) {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestWhoSignsInIsLookedAtOnThePage(t *testing.T) {
	e := newEntra(t)
	for name, tt := range map[string]struct {
		user, says string
		policy     int
	}{
		"a stranger":               {"somebody@fabrikam.example", "AADSTS50020", 0},
		"a policy against the app": {analyst, "AADSTS53003", 53003},
	} {
		e.Restrict(contoso, tt.policy)
		if a := e.person(signInAt(contoso, true), tt.user, "accept"); a.status != http.StatusBadRequest || !strings.Contains(a.raw, tt.says) || a.header.Get("Location") != "" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	e.Restrict(contoso, 50076) // the page asks for the second factor
	e.token(e.redeem(contoso, true, e.code(true)))
	if got := e.back(e.get(signInAt(contoso, true, "prompt", "none"))); got.Get("error") != "interaction_required" {
		t.Errorf("silently, with a policy: %v", got)
	}
	e.Restrict(contoso, 0)
	if got := e.back(e.get(signInAt(contoso, true, "prompt", "none"))); got.Get("code") == "" {
		t.Errorf("silently, signed in: %v", got)
	}
	if a := e.post(signInAt(contoso, true), values("canary", "x", "user", analyst, "decision", "accept")); a.status != http.StatusBadRequest || a.header.Get("Location") != "" {
		t.Errorf("a form of another page: %d", a.status)
	}
	e.cookie = ""
	if a := e.post(signInAt(contoso, true), values("user", analyst, "decision", "accept")); a.status != http.StatusBadRequest {
		t.Errorf("a form without a cookie: %d", a.status)
	}
}

func TestAPersonsConsentIsNotTheApps(t *testing.T) {
	for name, tt := range map[string]struct {
		user   string
		may    bool
		prompt string
		want   Consent
	}{
		"an admin":                        {user: "admin@contoso.example", want: Delegated},
		"an admin, for all":               {user: "admin@contoso.example", prompt: "admin_consent", want: Granted},
		"a user":                          {user: analyst, want: None},
		"a user, where users may":         {user: analyst, may: true, want: Delegated},
		"a user for all, where users may": {user: analyst, may: true, prompt: "admin_consent", want: None},
		"an admin who is asked again":     {user: "admin@contoso.example", prompt: "consent", want: Delegated},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEntra(t)
			e.Consent(contoso, appID, None)
			e.UsersMayConsent = tt.may
			got := e.back(e.person(signInAt(contoso, true, "prompt", tt.prompt), tt.user, "accept"))
			if e.Consented(contoso, appID) != tt.want || (got.Get("code") != "") != (tt.want != None) || (got.Get("admin_consent") == "True") != (tt.want == Granted) {
				t.Errorf("consent %d, want %d; %v", e.Consented(contoso, appID), tt.want, got)
			}
		})
	}
}

var field = regexp.MustCompile(`name="([a-z_]+)" value="([^"]*)"`)

func TestTheAnswerComesInTheModeThatWasAskedFor(t *testing.T) {
	e := newEntra(t)
	a := e.person(signInAt(contoso, true, "response_mode", "fragment"), analyst, "accept")
	u, err := url.Parse(a.header.Get("Location"))
	if f, _ := url.ParseQuery(u.Fragment); err != nil || f.Get("code") == "" || u.RawQuery != "" {
		t.Errorf("fragment: %q", a.header.Get("Location"))
	}
	a = e.person(signInAt(contoso, true, "response_mode", "form_post", "state", `"><b>`), analyst, "accept")
	got := map[string]string{}
	for _, m := range field.FindAllStringSubmatch(a.raw, -1) {
		got[m[1]] = html.UnescapeString(m[2])
	}
	if got["code"] == "" || got["state"] != `"><b>` || !strings.Contains(a.raw, `action="`+redirect+`"`) {
		t.Errorf("form_post: %s", a.raw)
	}
}
