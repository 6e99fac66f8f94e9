package authority

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drover/internal/lab/fault"
	"drover/internal/proof"
)

// known are the numbers of reference entra-oauth §8 and mssp-onboarding §6,
// under the word with which they mostly come.
var known = map[string][]int{
	"invalid_client": {7000215, 7000222, 7000218, 7000216, 700025, 700027, 700024, 700030, 50012, 70021, 700211, 700213, 7002137, 7002138, 7002381, 7000229, 650052},
	"invalid_grant": {70002, 65001, 5000224, 54005, 501481, 70008, 700082, 700084, 50173, 50089, 50132, 50133, 70043, 70000, 53003, 53000, 530032, 53011, 50105, 50020, 50034, 51004, 50014,
		500212, 500213, 50057, 50055, 50053, 530034, 50196, 50027, 50013, 500133, 700005, 16003, 90072, 70004},
	"unauthorized_client":     {700016, 700011, 7000112, 70001, 1000031, 50194, 90099},
	"consent_required":        {65004, 90094, 90095},
	"invalid_resource":        {650056, 650057, 650054, 65005, 500011, 500014, 50001},
	"invalid_scope":           {70011, 1002012, 700022},
	"invalid_request":         {901002, 28002, 28003, 9001023, 90002, 900023, 90038, 900382, 900432, 900439, 50011, 900971, 90014, 900144, 9002313, 900561},
	"interaction_required":    {5000225, 50076, 50079, 50074, 50078, 50131, 50158},
	"temporarily_unavailable": {90055, 50033, 90006, 90024, 90033, 90090, 90012, 50087},
	"server_error":            {50000, 90036},
	"authorization_pending":   {70016},
	"expired_token":           {70019, 70020},
	"bad_verification_code":   {70018},
	"authorization_declined":  {90120},
}

var stamped = regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ$`)

// TestEveryNumberComesOnDemandInEveryForm has each number of the tables dealt,
// with both line ends, under its own word and under another.
func TestEveryNumberComesOnDemandInEveryForm(t *testing.T) {
	e := newEntra(t)
	traces := map[string]bool{}
	asked, numbers, disagree := 0, 0, 0
	for word, codes := range known {
		for _, code := range append(codes, 99999999) { // and one that nobody knows
			if code != 99999999 {
				numbers++
			}
			for _, crlf := range []bool{false, true} {
				for _, other := range []string{"", "some_other_word"} {
					e.CRLF = crlf
					e.faults.Set(fault.Rule{Kind: fault.AADSTS, API: "token", Param: code, Value: other, Count: 1})
					a := e.app(contoso)
					asked++
					text, trace, end := a.text("error_description"), a.text("trace_id"), " "
					if crlf {
						end = "\r\n"
					}
					head := fmt.Sprintf("AADSTS%d: ", code)
					tail := end + "Trace ID: " + trace + end + "Correlation ID: " + a.text("correlation_id") + end + "Timestamp: " + a.text("timestamp")
					if !strings.HasPrefix(text, head) || !strings.HasSuffix(text, tail) || strings.Contains(text, "\n") != crlf {
						t.Fatalf("%d: %q", code, text)
					}
					if a.code() != code || !stamped.MatchString(a.text("timestamp")) || traces[trace] || len(trace) != 36 || a.status < 400 {
						t.Fatalf("%d: %d %s", code, a.status, a.raw)
					}
					traces[trace] = true
					switch got := a.text("error"); {
					case other != "" && got == other:
						disagree++
					case other != "" || code != 99999999 && got != word:
						t.Errorf("%d comes as %q, want %q", code, got, cmp.Or(other, word))
					}
				}
			}
		}
	}
	proof.Ran(t, "promise.lab.entra", "%d AADSTS numbers on demand, %d refusals in both line ends, %d of them under another word, %d trace IDs", numbers, asked, disagree, len(traces))
}

func TestTheStatusGoesWithTheNumber(t *testing.T) {
	e := newEntra(t)
	for code, want := range map[int]int{7000215: 401, 7000222: 401, 7000229: 401, 700211: 401, 700016: 400, 53003: 400, 70016: 400, 70020: 400, 50000: 500, 12345678: 400} {
		e.faults.Set(fault.Rule{Kind: fault.AADSTS, API: "token", Param: code, Count: 1})
		if a := e.app(contoso); a.status != want {
			t.Errorf("%d comes with %d, want %d", code, a.status, want)
		}
	}
}

func TestWordAndStatusMayDisagreeWithTheNumber(t *testing.T) {
	e := newEntra(t)
	e.OtherWord = true
	e.Consent(contoso, appID, None)
	var pairs []string
	for range 10 {
		a := e.app(contoso)
		if a.code() != 7000229 || a.text("error") == "invalid_client" {
			t.Fatalf("%s", a.raw)
		}
		if pair := fmt.Sprint(a.status, a.text("error")); !slices.Contains(pairs, pair) {
			pairs = append(pairs, pair)
		}
	}
	if len(pairs) < 3 {
		t.Errorf("only %v", pairs)
	}
	e.faults.Set(fault.Rule{Kind: fault.AADSTS, API: "token", Param: 7000215, Value: "invalid_grant", Count: 1})
	if a := e.app(contoso); a.text("error") != "invalid_grant" {
		t.Errorf("a word that was asked for becomes %q", a.text("error"))
	}
	e.faults.Set(fault.Rule{Kind: fault.AADSTS, API: "token", Param: 90036, Count: 1})
	if a := e.app(contoso); a.status != 500 {
		t.Errorf("a fault of the service becomes %d", a.status)
	}
	e.PerMinute = 1
	if a := e.app(contoso); a.status == http.StatusOK {
		t.Fatal("no refusal")
	}
	if a := e.app(contoso); a.status != http.StatusTooManyRequests {
		t.Errorf("throttling becomes %d", a.status)
	}
}

func TestARefusalMayLackWhatIsNotAlwaysThere(t *testing.T) {
	e := newEntra(t)
	bad := func() answer { return e.app(contoso, "client_secret", "wrong") }
	if a := bad(); a.text("error_uri") != "https://"+host+"/error?code=7000215" {
		t.Errorf("error_uri %q", a.text("error_uri"))
	}
	e.NoErrorURI = true
	if a := bad(); a.body["error_uri"] != nil {
		t.Errorf("error_uri %q", a.text("error_uri"))
	}
	if a := e.app("nobody.example"); a.body["error_uri"] != nil {
		t.Error("every number has an error_uri")
	}
}

func TestTheCallersIDComesBack(t *testing.T) {
	e := newEntra(t)
	const id = "7a0c1e1e-2f0a-4c39-8f12-9f0f5f7e6c20"
	for name, tt := range map[string]struct {
		secret, ret, want string
	}{
		"with a token":           {password, "true", id},
		"with a refusal":         {"wrong", "true", id},
		"not if it is not asked": {password, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := values("grant_type", "client_credentials", "client_id", appID, "client_secret", tt.secret, "scope", graph+"/.default")
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+host+"/"+contoso+"/oauth2/v2.0/token", strings.NewReader(f.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("client-request-id", id)
			r.Header.Set("return-client-request-id", tt.ret)
			a := e.do(r)
			if got := a.header.Get("client-request-id"); got != tt.want {
				t.Errorf("%q comes back, want %q", got, tt.want)
			}
			if a.status != http.StatusOK && a.text("correlation_id") != id {
				t.Errorf("correlation_id %q", a.text("correlation_id"))
			}
		})
	}
}

func TestTheAppIsThrottledInEveryForm(t *testing.T) {
	for name, tt := range map[string]struct {
		with  func(*Switches)
		wait  string
		plain bool
	}{
		"saying how long":    {wait: "60"},
		"not saying so":      {with: func(s *Switches) { s.NoRetryAfter = true }},
		"in plain text":      {with: func(s *Switches) { s.PlainTooMany = true }, wait: "60", plain: true},
		"the harshest of it": {with: func(s *Switches) { *s = Harsh(); s.PerMinute = 2 }, plain: true},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEntra(t)
			e.PerMinute = 2
			if tt.with != nil {
				e.Switch(tt.with)
			}
			e.time = e.time.Add(time.Hour) // consents have spread
			e.token(e.app(contoso))
			e.token(e.app(contoso))
			a := e.app(fabrikam) // it is the app's, at whatever tenant
			if a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") != tt.wait || (a.raw == "Too Many Requests") != tt.plain {
				t.Errorf("%d, Retry-After %q, %q", a.status, a.header.Get("Retry-After"), a.raw)
			}
			e.time = e.time.Add(time.Minute)
			e.token(e.app(contoso))
			if !slices.Contains(e.noted, http.StatusTooManyRequests) {
				t.Error("nobody was told")
			}
		})
	}
}

func TestTheTokenEndpointFailsOnDemand(t *testing.T) {
	for name, tt := range map[string]struct {
		rule   fault.Rule
		status int
		body   string
	}{
		"429 with a wait":     {fault.Rule{Kind: fault.Status, Param: 429, RetryAfter: "60"}, 429, ""},
		"429 in plain text":   {fault.Rule{Kind: fault.Status, Param: 429, Body: "text"}, 429, "Too Many Requests"},
		"503 as a page":       {fault.Rule{Kind: fault.Status, Param: 503, Body: "html"}, 503, "<html>"},
		"a redirect":          {fault.Rule{Kind: fault.Redirect, Param: 307, Value: "https://evil.example/token"}, 307, ""},
		"a page with 200":     {fault.Rule{Kind: fault.HTML200}, 200, "<html>"},
		"null":                {fault.Rule{Kind: fault.NullBody}, 200, "null"},
		"nothing":             {fault.Rule{Kind: fault.EmptyBody}, 200, ""},
		"an empty object":     {fault.Rule{Kind: fault.NoValue}, 200, "{}"},
		"a connection cut":    {fault.Rule{Kind: fault.Reset}, -1, ""},
		"no answer, for long": {fault.Rule{Kind: fault.Hang}, -1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEntra(t)
				e.Consent(fabrikam, appID, Granted)
				tt.rule.API, tt.rule.Tenant, tt.rule.Count = "token", contoso, 1
				e.faults.Set(tt.rule)
				f := values("grant_type", "client_credentials", "client_id", appID, "client_secret", password, "scope", graph+"/.default")
				ctx, cancel := context.WithCancel(t.Context())
				r := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://"+host+"/"+contoso+"/oauth2/v2.0/token", strings.NewReader(f.Encode()))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				w := httptest.NewRecorder()
				done := make(chan any, 1)
				go func() {
					defer func() { done <- recover() }()
					e.server.ServeHTTP(w, r)
				}()
				synctest.Wait()
				e.token(e.app(fabrikam)) // nobody else waits
				if tt.rule.Kind == fault.Hang && len(done) > 0 {
					t.Error("it is answered")
				}
				cancel()
				cut := <-done
				switch {
				case (cut == http.ErrAbortHandler) != (tt.rule.Kind == fault.Reset):
					t.Errorf("the connection: %v", cut)
				case !slices.Contains(e.noted, tt.status):
					t.Errorf("noted %v, want %d", e.noted, tt.status)
				case tt.status > 0 && (w.Code != tt.status || !strings.HasPrefix(w.Body.String(), tt.body) || w.Header().Get("Retry-After") != tt.rule.RetryAfter || w.Header().Get("Location") != tt.rule.Value):
					t.Errorf("%d %v %q", w.Code, w.Header(), w.Body.String())
				}
				e.token(e.app(contoso))
			})
		})
	}
}

func TestTheHarshestAuthorityStillLetsARightClientThrough(t *testing.T) {
	e := newEntra(t)
	e.Switches = Harsh()
	e.time = e.time.Add(time.Hour) // consents have spread
	cert := certificate(t, 1, e.time.AddDate(1, 0, 0))
	e.AddCertificate(appID, cert)
	c := e.claim(cert)
	c.claims["aud"] = "https://" + host + "/" + contoso + "/oauth2/v2.0/token"
	e.token(e.byAssertion(c.sign(t)))
	a := e.redeem(contoso, true, e.code(true, "code_challenge", challenge(), "code_challenge_method", "S256"), "code_verifier", verifier)
	e.token(a)
	for range 3 {
		a = e.refresh(a.text("refresh_token"))
		e.token(a)
	}
}
