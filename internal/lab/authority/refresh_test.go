package authority

import (
	"strings"
	"testing"
	"time"
)

// refresh redeems a refresh token.
func (e *entra) refresh(raw string, more ...string) answer {
	e.Helper()
	f := values("grant_type", "refresh_token", "client_id", appID, "client_secret", password, "refresh_token", raw, "scope", graph+"/.default offline_access")
	for k, v := range values(more...) {
		f[k] = v
	}
	return e.post("/"+contoso+"/oauth2/v2.0/token", f)
}

func TestARefreshTokenRotates(t *testing.T) {
	for name, tt := range map[string]struct {
		with        func(*Switches)
		none        bool // no new one comes
		old, newest int  // what the old and then the newest one gets
	}{
		"the old one stays good":               {},
		"no new one comes":                     {with: func(s *Switches) { s.NoNewRefresh = true }, none: true},
		"the old one dies":                     {with: func(s *Switches) { s.OldRefreshDies = true }, old: 70000},
		"one that comes twice ends the family": {with: func(s *Switches) { s.ReuseKillsFamily = true }, old: 50173, newest: 50173},
		"both of it":                           {with: func(s *Switches) { s.OldRefreshDies, s.ReuseKillsFamily = true, true }, old: 50173, newest: 50173},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEntra(t)
			if tt.with != nil {
				e.Switch(tt.with)
			}
			first := e.GiveRefreshToken(contoso, appID, analyst)
			a := e.refresh(first)
			e.token(a)
			second := a.text("refresh_token")
			if tt.none != (second == "") || second == first {
				t.Fatalf("a new refresh token: %q", second)
			}
			if a := e.refresh(first); a.code() != tt.old {
				t.Errorf("the old one: AADSTS%d, want AADSTS%d", a.code(), tt.old)
			}
			if tt.none {
				return
			}
			if a := e.refresh(second); a.code() != tt.newest {
				t.Errorf("the newest: AADSTS%d, want AADSTS%d", a.code(), tt.newest)
			}
		})
	}
}

func TestARefreshTokenIsOfAUserAndAnAppAndOfNoTenantOrResource(t *testing.T) {
	e := newEntra(t)
	raw := e.GiveRefreshToken(contoso, appID, analyst)
	e.AddUser(fabrikam, analyst, false)
	e.Consent(fabrikam, appID, Delegated)
	f := values("grant_type", "refresh_token", "client_id", appID, "client_secret", password, "refresh_token", raw, "resource", siem)
	for segment, tid := range map[string]string{fabrikam: fabrikam, contoso: contoso, "common": contoso} {
		a := e.post("/"+segment+"/oauth2/token", f)
		if c := e.token(a); c["tid"] != tid || c["aud"] != siem || a.text("refresh_token") == "" || a.text("expires_in") == "" {
			t.Errorf("at %s: a token for %v in %v; %s", segment, c["aud"], c["tid"], a.raw)
		}
	}
	first := e.refresh(raw, "scope", siem+"/.default "+graph+"/.default")
	if c := e.token(first); c["aud"] != siem {
		t.Errorf("with scopes of two resources: for %v, want the first one's", c["aud"])
	}
	e.wants(e.refresh(raw, "client_id", publicID, "client_secret", ""), 400, 70000, "invalid_grant")
	e.wants(e.refresh("nonsense"), 400, 70000, "invalid_grant")
	e.wants(e.refresh(""), 400, 900144, "invalid_request")
	e.wants(e.refresh(raw, "scope", graph+"/Mail.Read"), 400, 65001, "invalid_grant")
	e.wants(e.refresh(raw, "client_secret", "wrong"), 401, 7000215, "invalid_client")
}

func TestARefreshTokenEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		do    func(e *entra)
		code  int
		outer float64
	}{
		"nothing happens":              {func(*entra) {}, 0, 0},
		"89 days unused":               {func(e *entra) { e.time = e.time.AddDate(0, 0, 89) }, 0, 0},
		"91 days unused":               {func(e *entra) { e.time = e.time.AddDate(0, 0, 91) }, 700082, 0},
		"91 days, in the older form":   {func(e *entra) { e.OldExpiry = true; e.time = e.time.AddDate(0, 0, 91) }, 70008, 70002},
		"an hour, if that is the rule": {func(e *entra) { e.RefreshIdle = Span(time.Hour); e.time = e.time.Add(61 * time.Minute) }, 700082, 0},
		"revoked at the tenant":        {func(e *entra) { e.RevokeRefreshTokens(contoso) }, 50173, 0},
		"revoked at another":           {func(e *entra) { e.RevokeRefreshTokens(fabrikam) }, 0, 0},
		"revoked in the user's home":   {func(e *entra) { e.RevokeUser(analyst) }, 50173, 0},
		"consent withdrawn":            {func(e *entra) { e.Consent(contoso, appID, Known) }, 65001, 0},
		"a policy for a second factor": {func(e *entra) { e.Restrict(contoso, 50076) }, 50076, 0},
		"a policy against the app":     {func(e *entra) { e.Restrict(contoso, 53003) }, 53003, 0},
		"the app is disabled":          {func(e *entra) { e.Disable(appID, true) }, 7000112, 0},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEntra(t)
			raw := e.GiveRefreshToken(contoso, appID, analyst)
			tt.do(e)
			a := e.refresh(raw)
			if a.code() != tt.code {
				t.Errorf("got %d %s, want AADSTS%d", a.status, a.raw, tt.code)
			}
			if codes, _ := a.body["error_codes"].([]any); tt.outer != 0 && (len(codes) != 2 || codes[0] != tt.outer) {
				t.Errorf("numbers %v, want %v first", codes, tt.outer)
			}
		})
	}
}

func TestALoopOfTheSameRequestIsEnded(t *testing.T) {
	e := newEntra(t)
	e.LoopAfter = 3
	raw := e.GiveRefreshToken(contoso, appID, analyst)
	for range 3 {
		e.token(e.refresh(raw))
	}
	e.wants(e.refresh(raw), 400, 50196, "invalid_grant")
	e.token(e.refresh(raw, "scope", siem+"/.default")) // another request
	e.time = e.time.Add(5 * time.Minute)
	e.token(e.refresh(raw))
}

func TestAPolicyAnswersAsItIsSeen(t *testing.T) {
	e := newEntra(t)
	raw := e.GiveRefreshToken(contoso, appID, analyst)
	e.Restrict(contoso, 53003)
	a := e.refresh(raw)
	if e.wants(a, 400, 53003, "invalid_grant"); a.text("suberror") != "message_only" {
		t.Errorf("suberror %q", a.text("suberror"))
	}
	e.token(e.app(contoso)) // reaches no multi-tenant app's own token
	e.PolicyOnApps = true
	e.wants(e.app(contoso), 400, 53003, "invalid_grant")
	e.Restrict(contoso, 50076)
	if a := e.refresh(raw); a.text("error") != "interaction_required" || !strings.Contains(a.text("claims"), "capolids") {
		t.Errorf("%s", a.raw)
	}
	e.Restrict(contoso, 0)
	e.token(e.refresh(raw))
}
