package defender

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/proof"
)

func TestARefusalSaysWhoMustDoWhat(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		body   string
		hint   string
	}{
		"a permission is missing":      {403, `{"error":{"code":"Forbidden","message":"Missing application roles. API required roles: SecurityAlert.Read.All, application roles: ."}}`, "consent to SecurityAlert.Read.All"},
		"no Defender":                  {403, `{"error":{"code":"Forbidden","message":"Unauthorized request - Account is not provisioned."}}`, "no active Defender"},
		"no Defender, by 401":          {401, `{"error":{"code":"","message":"No Tvm license"}}`, "no active Defender"},
		"an inactive account":          {403, `{"error":{"code":"","message":"Account mode is inactive"}}`, "no active Defender"},
		"one of two causes":            {403, `{"error":{"code":"Forbidden","message":""}}`, "or the tenant is not onboarded"},
		"a token nobody accepts":       {401, `{"error":{"code":"InvalidAuthenticationToken","message":"x"}}`, "fresh token"},
		"the host is gone":             {410, ``, "no Graph alerts_v2"},
		"the collection is not there":  {404, `{"error":{"code":"ResourceNotFound"}}`, "no Graph alerts_v2"},
		"the question is not accepted": {400, `{"error":{"code":"BadRequest","message":"Invalid filter"}}`, "needs an update"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI()
			a.answer = func(_ *api, _ int, w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.body)
				return true
			}
			got := read(t, graph(a, 10), open, 5, 0)
			if len(got.errs) != 1 || drover.KindOf(got.errs[0]) != drover.Denied || !strings.Contains(drover.HintOf(got.errs[0]), tt.hint) {
				t.Fatalf("got %v, hint %q", got.errs, drover.HintOf(got.errs[0]))
			}
			if strings.Contains(got.errs[0].Error(), "Missing") || strings.Contains(got.errs[0].Error(), "token-") {
				t.Errorf("the error shows what the API said: %v", got.errs[0])
			}
		})
	}
	for name, tt := range map[string]struct {
		status int
		body   string
		hint   string
	}{
		"a permission is missing":     {403, `{"error":{"code":"Forbidden","message":"Missing application roles. API required roles: Alert.Read.All,Alert.ReadWrite.All, application roles: .","target":"x"}}`, "consent to Alert.Read.All"},
		"the audience, by 401":        {401, `{"error":{"code":"Unauthorized","message":"Invalid Authorization payload."}}`, "host and audience"},
		"the audience, by 403":        {403, `{"error":{"code":"Forbidden","message":"The audience 'x' is invalid"}}`, "host and audience"},
		"not onboarded":               {403, `{"error":{"code":"DisabledFeature","message":"x"}}`, "no active Defender"},
		"no licence, by 401":          {401, `{"error":{"code":"Unauthorized","message":"Unauthorized request - reason of failure: No Tvm license"}}`, "no active Defender"},
		"inactive, by 401":            {401, `{"error":{"code":"Unauthorized","message":"Unauthorized request - reason of failure: Account mode is inactive"}}`, "no active Defender"},
		"it does not say":             {403, `{"error":{"code":"Forbidden","message":""}}`, "mde_resource"},
		"a token that nobody accepts": {401, `{"error":{"code":"Unauthorized","message":""}}`, "fresh token"},
		"it is retired":               {410, ``, "graph.alerts"},
		"it is not there":             {404, `{"error":{"code":"NotFound","message":""}}`, "graph.alerts"},
	} {
		t.Run("Endpoint, "+name, func(t *testing.T) {
			a := newAPI()
			a.answer = func(_ *api, _ int, w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.body)
				return true
			}
			got := read(t, mde(a), open, 5, 0)
			if len(got.errs) != 1 || drover.KindOf(got.errs[0]) != drover.Denied || !strings.Contains(drover.HintOf(got.errs[0]), tt.hint) {
				t.Errorf("got %v, hint %q", got.errs, drover.HintOf(got.errs[0]))
			}
		})
	}
	t.Run("incidents want a permission of their own", func(t *testing.T) {
		a := newAPI()
		a.answer = once(1, 403, `{"error":{"code":"Forbidden","message":"Missing application roles. API required roles: SecurityIncident.Read.All, application roles: ."}}`)
		if got := read(t, of(drover.GraphIncidents, a, 0), open, 5, 0); len(got.errs) != 1 || !strings.Contains(drover.HintOf(got.errs[0]), "consent to SecurityIncident.Read.All") {
			t.Errorf("got %v", got.errs)
		}
	})
	t.Run("the SIEM API is retired", func(t *testing.T) {
		a := newAPI()
		a.answer = once(1, 410, "")
		got := read(t, NewSIEMDetections(options(a)), open, 5, 0)
		if len(got.errs) != 1 || drover.KindOf(got.errs[0]) != drover.Denied || !strings.Contains(drover.HintOf(got.errs[0]), "alerts_v2") {
			t.Errorf("got %v", got.errs)
		}
	})
}

func TestATokenIsRenewedOnceAndTheSameQuestionAskedAgain(t *testing.T) {
	want := entries("a", 25, t0, time.Second)
	lost := 0
	for id := range sources {
		for n := 1; n <= 4; n++ {
			a := newAPI(want...)
			a.answer = once(n, 401, `{"error":{"code":"InvalidAuthenticationToken"}}`)
			got := read(t, of(id, a, 10), open, 100, 0)
			whole(t, a, got, want)
			if len(a.requests) <= n { // it was all before
				continue
			}
			if a.requests[n-1] != a.requests[n] || a.tokens[n-1] == a.tokens[n] {
				t.Errorf("request %d: asked %q with another token, want the same", n, a.requests[n])
			}
			lost += len(got.missing(want))
		}
	}
	most := 0
	for id := range sources {
		for _, body := range []string{"", `{"error":{"code":"","message":"No Tvm license"}}`} {
			most = max(most, tokensInAnHour(t, id, body))
		}
	}
	if most > 3 {
		t.Errorf("%d tokens in an hour of 401", most)
	}
	proof.Ran(t, "P32", "lost %d with a 401 between two pages, the same question asked again; token calls in an hour of 401s, one without a licence too: %d; four sources", lost, most)
}

// tokensInAnHour counts the tokens that are asked for while every answer is 401
// and a probe is made every minute.
func tokensInAnHour(t *testing.T, id drover.SourceID, body string) int {
	a := newAPI()
	a.answer = func(_ *api, _ int, w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(401)
		fmt.Fprint(w, body)
		return true
	}
	o := options(a)
	s := sources[id](o)
	for range 60 {
		if got := read(t, s, open, 1, 0); drover.KindOf(got.errs[0]) != drover.Denied {
			t.Fatal(got.errs)
		}
		a.now = a.now.Add(time.Minute)
	}
	return 1 + o.Tokens.(*purse).renewed // the first one, and those in its place
}

func TestATokenThatIsAcceptedAgainHealsTheFeed(t *testing.T) {
	a := newAPI()
	a.answer = func(_ *api, _ int, w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(401); return true }
	s := graph(a, 10)
	if got := read(t, s, open, 1, 0); drover.KindOf(got.errs[0]) != drover.Denied {
		t.Fatal(got.errs)
	}
	a.answer = once(len(a.requests)+1, 401, "")
	a.now = a.now.Add(time.Hour)
	if got := read(t, s, open, 10, 0); !got.done {
		t.Errorf("not healed: %v", got.errs)
	}
}
