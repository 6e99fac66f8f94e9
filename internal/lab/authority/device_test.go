package authority

import (
	"html"
	"net/http"
	"strings"
	"testing"
	"time"
)

// device begins a sign-in on another device.
func (e *entra) device(segment string, more ...string) answer {
	e.Helper()
	f := values("client_id", publicID, "scope", graph+"/.default offline_access openid")
	for k, v := range values(more...) {
		f[k] = v
	}
	return e.post("/"+segment+"/oauth2/v2.0/devicecode", f)
}

func (e *entra) poll(segment, code string, more ...string) answer {
	e.Helper()
	f := values("grant_type", deviceGrant, "client_id", publicID, "device_code", code)
	for k, v := range values(more...) {
		f[k] = v
	}
	return e.post("/"+segment+"/oauth2/v2.0/token", f)
}

// typed does on the page what a person does.
func (e *entra) typed(code, user, decision string) answer {
	e.Helper()
	m := hidden.FindStringSubmatch(e.get("/devicelogin").raw)
	if m == nil {
		e.Fatal("there is no page")
	}
	return e.post("/devicelogin", values("canary", html.UnescapeString(m[1]), "code", code, "user", user, "decision", decision))
}

func TestADeviceSignsIn(t *testing.T) {
	e := newEntra(t)
	a := e.device(contoso)
	if a.body["expires_in"] != 900.0 || a.body["interval"] != 5.0 || a.text("verification_uri") != "https://"+host+"/devicelogin" || a.body["verification_uri_complete"] != nil || !strings.Contains(a.text("message"), a.text("user_code")) {
		t.Errorf("%s", a.raw)
	}
	code := a.text("device_code")
	e.wants(e.poll(contoso, code), 400, 70016, "authorization_pending")
	e.wants(e.poll(contoso, code, "grant_type", oldDeviceGrant), 400, 70016, "authorization_pending")
	e.wants(e.poll(fabrikam, code), 400, 70018, "bad_verification_code") // the same segment as the first call
	if p := e.typed(" "+strings.ToLower(a.text("user_code"))+" ", analyst, "accept"); !strings.Contains(p.raw, "You have signed in") {
		t.Errorf("%s", p.raw)
	}
	got := e.poll(contoso, code, "grant_type", oldDeviceGrant)
	if c := e.token(got); c["tid"] != contoso || c["upn"] != analyst || c["appidacr"] != "0" || got.text("refresh_token") == "" {
		t.Errorf("%s", got.raw)
	}
	e.wants(e.poll(contoso, code), 400, 70018, "bad_verification_code") // once
	e.token(e.refresh(got.text("refresh_token"), "client_id", publicID, "client_secret", ""))
}

func TestADeviceIsAnsweredWithEveryErrorOfTheFlow(t *testing.T) {
	for name, tt := range map[string]struct {
		do     func(e *entra, a answer)
		with   func(*Switches)
		status int
		code   int
		word   string
	}{
		"nobody has signed in":   {nil, nil, 400, 70016, "authorization_pending"},
		"asked too fast":         {func(e *entra, a answer) { e.poll(contoso, a.text("device_code")) }, func(s *Switches) { s.SlowDownPolls = true }, 400, 70016, "slow_down"},
		"asked slowly enough":    {func(e *entra, a answer) { e.poll(contoso, a.text("device_code")); e.time = e.time.Add(5 * time.Second) }, func(s *Switches) { s.SlowDownPolls = true }, 400, 70016, "authorization_pending"},
		"declined":               {func(e *entra, a answer) { e.typed(a.text("user_code"), analyst, "deny") }, nil, 400, 90120, "authorization_declined"},
		"899 s old":              {func(e *entra, _ answer) { e.time = e.time.Add(899 * time.Second) }, nil, 400, 70016, "authorization_pending"},
		"901 s old":              {func(e *entra, _ answer) { e.time = e.time.Add(901 * time.Second) }, nil, 400, 70020, "expired_token"},
		"a wrong code was typed": {func(e *entra, _ answer) { e.typed("XXXXXXXXX", analyst, "accept") }, nil, 400, 70016, "authorization_pending"},
		"by a stranger":          {func(e *entra, a answer) { e.typed(a.text("user_code"), "x@fabrikam.example", "accept") }, nil, 400, 70016, "authorization_pending"},
		"against a policy":       {func(e *entra, a answer) { e.typed(a.text("user_code"), analyst, "accept"); e.Restrict(contoso, 53003) }, nil, 400, 53003, "invalid_grant"},
		"without consent": {func(e *entra, a answer) {
			e.typed(a.text("user_code"), analyst, "accept")
			e.Consent(contoso, publicID, None)
		}, nil, 400, 65001, "invalid_grant"},
		"by somebody who may not consent": {func(e *entra, a answer) {
			e.Consent(contoso, publicID, None)
			e.typed(a.text("user_code"), analyst, "accept")
		}, nil, 400, 70016, "authorization_pending"},
		"other words, but not its": {nil, func(s *Switches) { s.OtherWord = true }, 400, 70016, "authorization_pending"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEntra(t)
			if tt.with != nil {
				e.Switch(tt.with)
			}
			a := e.device(contoso)
			if tt.do != nil {
				tt.do(e, a)
			}
			e.wants(e.poll(contoso, a.text("device_code")), tt.status, tt.code, tt.word)
		})
	}
	e := newEntra(t)
	e.wants(e.poll(contoso, "nonsense"), 400, 70018, "bad_verification_code")
	e.wants(e.poll(contoso, ""), 400, 900144, "invalid_request")
	e.Consent(contoso, publicID, None)
	a := e.device(contoso)
	if p := e.typed(a.text("user_code"), "admin@contoso.example", "accept"); p.status != http.StatusOK {
		t.Errorf("an admin: %s", p.raw)
	}
	if got := e.poll(contoso, a.text("device_code")); got.status != http.StatusOK || e.Consented(contoso, publicID) != Delegated {
		t.Errorf("an admin who agrees: %s", got.raw)
	}
	if p := e.typed("XXXXXXXXX", analyst, "accept"); p.status != http.StatusOK || !strings.Contains(p.raw, "AADSTS70018") {
		t.Errorf("a wrong code: %s", p.raw)
	}
}

func TestADeviceMayBeginOnlyWithAnAppThatIsThere(t *testing.T) {
	e := newEntra(t)
	e.wants(e.device(contoso, "client_id", ""), 400, 900144, "invalid_request")
	e.wants(e.device(contoso, "scope", ""), 400, 900144, "invalid_request")
	e.wants(e.device(contoso, "client_id", "nonsense"), 400, 700016, "unauthorized_client")
	e.wants(e.device(contoso, "client_id", seedID), 400, 700016, "unauthorized_client")
	e.wants(e.device("common", "client_id", seedID), 400, 50194, "unauthorized_client")
	e.wants(e.device("nobody.example"), 400, 90002, "invalid_request")
	e.Disable(publicID, true)
	e.wants(e.device(contoso), 400, 7000112, "unauthorized_client")
}

func TestADeviceMaySpeakVersion1(t *testing.T) {
	e := newEntra(t)
	a := e.post("/common/oauth2/devicecode", values("client_id", publicID, "resource", siem))
	if a.text("expires_in") != "900" || a.text("interval") != "5" || a.text("verification_url") == "" {
		t.Errorf("%s", a.raw)
	}
	e.Consent(mssp, publicID, Delegated)
	e.typed(a.text("user_code"), analyst, "accept")
	got := e.post("/common/oauth2/token", values("grant_type", deviceGrant, "client_id", publicID, "device_code", a.text("device_code")))
	if c := e.token(got); c["tid"] != mssp || c["aud"] != siem || got.text("refresh_token") == "" {
		t.Errorf("through common: a token for %v in %v, want the analyst's home", c["aud"], c["tid"])
	}
}
