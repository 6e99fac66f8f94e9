package entra

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/proof"
)

// begun is a sign-in at a fake authority and the query of its page.
func begun(t *testing.T, a *authority, opt SignInOptions) (*BrowserSignIn, url.Values) {
	t.Helper()
	s, err := tokensOf(a, nil).BeginSignIn(tenant(tenantA), opt)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	return s, u.Query()
}

func TestTheSignInPageIsAskedForAsEachEndpointWantsIt(t *testing.T) {
	for name, tt := range map[string]struct {
		opt  SignInOptions
		path string
		want map[string]string
	}{
		"v2, who it is": {SignInOptions{Redirect: "http://localhost:4711"}, "/oauth2/v2.0/authorize", map[string]string{"scope": "openid profile", "resource": ""}},
		"v2, a source":  {SignInOptions{Source: drover.GraphAlerts, Redirect: "http://localhost:4711"}, "/oauth2/v2.0/authorize", map[string]string{"scope": "https://graph.microsoft.com/.default offline_access openid profile", "resource": ""}},
		"v1":            {SignInOptions{Source: drover.GraphAlerts, V1: true, Redirect: "https://SiemMsspConnector"}, "/oauth2/authorize", map[string]string{"scope": "", "resource": "https://graph.microsoft.com"}},
		"the SIEM API":  {SignInOptions{Source: drover.SIEMDetections, Redirect: "https://SiemMsspConnector"}, "/oauth2/authorize", map[string]string{"resource": "https://graph.windows.net"}},
	} {
		s, q := begun(t, &authority{}, tt.opt)
		if !strings.HasPrefix(s.URL(), "https://login.microsoftonline.com/"+string(tenantA)+tt.path+"?") {
			t.Errorf("%s: %s", name, s.URL())
		}
		for member, want := range map[string]string{"client_id": clientID, "response_type": "code", "redirect_uri": tt.opt.Redirect, "prompt": "select_account", "code_challenge_method": "S256"} {
			if q.Get(member) != want {
				t.Errorf("%s: %s is %q, want %q", name, member, q.Get(member), want)
			}
		}
		for member, want := range tt.want {
			if q.Get(member) != want {
				t.Errorf("%s: %s is %q, want %q", name, member, q.Get(member), want)
			}
		}
		sum := sha256.Sum256(s.verifier.Bytes())
		if len(q.Get("state")) < 26 || len(q.Get("nonce")) < 26 || q.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || strings.Contains(s.URL(), s.verifier.Reveal()) {
			t.Errorf("%s: state, nonce or challenge is weak: %s", name, s.URL())
		}
		if _, again := begun(t, &authority{}, tt.opt); again.Get("state") == q.Get("state") || again.Get("nonce") == q.Get("nonce") {
			t.Errorf("%s: two sign-ins share their state", name)
		}
	}
}

func TestOnlyAFittingIDTokenSaysWhoSignedIn(t *testing.T) {
	nonce, let := "", 0
	for name, tt := range map[string]struct {
		change  func(id map[string]any)
		refused string
	}{
		"all fits":      {func(map[string]any) {}, ""},
		"the v1 issuer": {func(id map[string]any) { id["iss"] = "https://sts.windows.net/" + string(tenantA) + "/" }, ""},
		"another tenant": {func(id map[string]any) {
			id["tid"], id["iss"] = string(tenantB), "https://login.microsoftonline.com/"+string(tenantB)+"/v2.0"
		}, "wrong tenant"},
		"a tid that iss does not": {func(id map[string]any) { id["iss"] = "https://login.microsoftonline.com/" + string(tenantB) + "/v2.0" }, "wrong issuer"},
		"another cloud's issuer":  {func(id map[string]any) { id["iss"] = "https://login.microsoftonline.us/" + string(tenantA) + "/v2.0" }, "wrong issuer"},
		"an issuer made up": {func(id map[string]any) {
			id["iss"] = "https://login.microsoftonline.com.evil.example/" + string(tenantA) + "/v2.0"
		}, "wrong issuer"},
		"no tid":        {func(id map[string]any) { delete(id, "tid") }, "names no tenant"},
		"another app's": {func(id map[string]any) { id["aud"] = string(tenantB) }, "wrong audience"},
		"two audiences": {func(id map[string]any) { id["aud"] = []string{clientID, "x"} }, "wrong audience"},
		"another nonce": {func(id map[string]any) { id["nonce"] = "x" }, "another sign-in"},
		"no nonce":      {func(id map[string]any) { delete(id, "nonce") }, "another sign-in"},
		"it has ended":  {func(id map[string]any) { id["exp"] = time.Now().Add(-10 * time.Minute).Unix() }, "has ended"},
		"it never ends": {func(id map[string]any) { delete(id, "exp") }, "has ended"},
	} {
		a := &authority{answer: func(int, string, url.Values) reply {
			return signedInAs(func(id map[string]any) { id["nonce"] = nonce; tt.change(id) })
		}}
		s, q := begun(t, a, SignInOptions{Source: drover.GraphAlerts, Redirect: "http://localhost:1"})
		nonce = q.Get("nonce")
		who, refresh, err := s.Finish(t.Context(), url.Values{"state": {q.Get("state")}, "code": {canary}})
		mustNotTell(t, err)
		switch {
		case tt.refused == "":
			if err != nil || who.Tenant != tenantA || refresh.Empty() {
				t.Errorf("%s: %v %v", name, who, err)
			}
		case err == nil || !refresh.Empty() || who != (drover.Person{}):
			let++
			t.Errorf("%s: %v is let in", name, who)
		case !strings.Contains(err.Error(), tt.refused):
			t.Errorf("%s: got %v", name, err)
		}
	}
	proof.Ran(t, "T06", "11 ID tokens that do not fit: let in %d", let)
}

func TestAnAnswerCountsOnceAndOnlyWithItsState(t *testing.T) {
	a := &authority{}
	s, q := begun(t, a, SignInOptions{Redirect: "http://localhost:1"})
	a.answer = func(int, string, url.Values) reply {
		return signedInAs(func(id map[string]any) { id["nonce"] = q.Get("nonce") })
	}
	own := q.Get("state")
	for name, v := range map[string]url.Values{"none": {}, "another": {"state": {"x"}}, "two": {"state": {own, own}}, "empty": {"state": {""}}} {
		v.Set("code", canary)
		if s.Mine(v) {
			t.Errorf("%s state is taken for ours", name)
		}
		if _, _, err := s.Finish(t.Context(), v); err == nil {
			t.Errorf("%s state: signed in", name)
		}
	}
	if a.count() != 0 {
		t.Errorf("%d calls for foreign answers", a.count())
	}
	good := url.Values{"state": {own}, "code": {canary}}
	if _, refresh, err := s.Finish(t.Context(), good); err != nil || !refresh.Empty() {
		t.Fatalf("%v", err)
	}
	if _, _, err := s.Finish(t.Context(), good); err == nil || a.count() != 1 {
		t.Errorf("a second time: %v, %d calls", err, a.count())
	}
}

func TestACodeIsNotRedeemedAgainWhenItsAnswerIsLost(t *testing.T) {
	a := &authority{answer: func(int, string, url.Values) reply { return reply{err: context.DeadlineExceeded} }}
	s, q := begun(t, a, SignInOptions{Redirect: "http://localhost:1"})
	_, _, err := s.Finish(t.Context(), url.Values{"state": {q.Get("state")}, "code": {canary}})
	if err == nil || a.count() != 1 || !strings.Contains(drover.HintOf(err), "sign in again") {
		t.Errorf("%d calls, %v", a.count(), err)
	}
	mustNotTell(t, err)
}

func TestAnErrorInTheAnswerIsSaidAndNothingIsRedeemed(t *testing.T) {
	a := &authority{}
	s, q := begun(t, a, SignInOptions{Redirect: "http://localhost:1"})
	_, _, err := s.Finish(t.Context(), url.Values{"state": {q.Get("state")}, "code": {canary}, "error": {"access_denied"}, "error_description": {"AADSTS65004: " + canary}})
	if err == nil || a.count() != 0 || !strings.Contains(err.Error(), "AADSTS65004") || !strings.Contains(drover.HintOf(err), "declined") {
		t.Errorf("%d calls, %v", a.count(), err)
	}
	mustNotTell(t, err)
}

func TestOfWhatIsPastedOnlyThisSignInCounts(t *testing.T) {
	s, q := begun(t, &authority{}, SignInOptions{Redirect: "https://SiemMsspConnector"})
	own := "code=" + canary + "&session_state=x&state=" + q.Get("state")
	old := "https://siemmsspconnector/?code=old-" + canary + "&state=AAAA"
	dealt, wrong := 0, 0
	for name, tt := range map[string]struct {
		text string
		code string // that is found; "": nothing is
	}{
		"as the browser shows it":  {"https://siemmsspconnector/?" + own + "\n", canary},
		"as it was registered":     {"https://SiemMsspConnector?" + own, canary},
		"between quotation marks":  {`"https://siemmsspconnector/?` + own + `"`, canary},
		"the whole history":        {strings.Repeat(old+"\n", 500) + "https://siemmsspconnector/?" + own + "\nhttps://bank.example/?session=" + canary + "\n" + old, canary},
		"extra parameters":         {"https://siemmsspconnector/?" + own + "&tenant=" + string(tenantB) + "&scope=all", canary},
		"an old one":               {old, ""},
		"of another session":       {"https://siemmsspconnector/?code=x&state=" + strings.Repeat("A", 26), ""},
		"no state":                 {"https://siemmsspconnector/?code=x", ""},
		"the code alone":           {canary, ""},
		"our state elsewhere":      {"https://evil.example/?" + own, ""},
		"our state over http":      {"http://siemmsspconnector/?" + own, ""},
		"our state, a user before": {"https://a@siemmsspconnector/?" + own, ""},
		"our state twice":          {"https://siemmsspconnector/?" + own + "&state=" + q.Get("state"), ""},
		"the page of the sign-in":  {s.URL(), ""},
		"nothing":                  {" \n", ""},
	} {
		dealt++
		got, ok := s.Pasted(tt.text)
		if ok != (tt.code != "") || got.Get("code") != tt.code || got.Has("tenant") || got.Has("scope") {
			wrong++
			t.Errorf("%s: found %v", name, ok)
		}
	}
	got, ok := s.Pasted("https://siemmsspconnector/?error=access_denied&error_description=AADSTS65004:+" + canary + "&state=" + q.Get("state"))
	if !ok {
		t.Fatal("an error of ours is not found")
	}
	_, _, err := s.Finish(t.Context(), got)
	mustNotTell(t, err)
	if err == nil || !strings.Contains(err.Error(), "AADSTS65004") {
		t.Errorf("got %v", err)
	}
	proof.Ran(t, "T16", "%d pasted texts: taken wrongly %d; secrets in errors 0", dealt+1, wrong)
}

func TestTheConsentPagesAnswerIsAHint(t *testing.T) {
	k := tokensOf(&authority{}, nil)
	begin := func(v1 bool) (*AdminConsent, url.Values) {
		c, err := k.BeginConsent(tenant(tenantA), "http://localhost:1", v1)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(c.URL())
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]string{false: "/v2.0/adminconsent", true: "/adminconsent"}[v1]; u.Host != "login.microsoftonline.com" || u.Path != "/"+string(tenantA)+want || u.Query().Has("scope") == v1 {
			t.Errorf("v1 %v: %s", v1, c.URL())
		}
		return c, u.Query()
	}
	for _, v1 := range []bool{false, true} {
		c, q := begin(v1)
		for name, v := range map[string]url.Values{"no state": {"admin_consent": {"True"}}, "another": {"admin_consent": {"True"}, "state": {"x"}}} {
			if err := c.Finish(v); err == nil {
				t.Errorf("%s: taken", name)
			}
		}
		ok := url.Values{"admin_consent": {"True"}, "tenant": {string(tenantB)}, "state": {q.Get("state")}}
		if err := c.Finish(ok); err != nil {
			t.Errorf("got %v", err)
		}
		if err := c.Finish(ok); err == nil {
			t.Error("a second time: taken")
		}
		c, q = begin(v1)
		err := c.Finish(url.Values{"admin_consent": {"True"}, "tenant": {string(tenantA)}, "error": {"consent_required"}, "error_description": {"AADSTS65004 " + canary}, "state": {q.Get("state")}})
		if err == nil || !strings.Contains(drover.HintOf(err), "declined") {
			t.Errorf("an error beside admin_consent=True: %v", err)
		}
		mustNotTell(t, err)
	}
}
