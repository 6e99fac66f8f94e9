package entra

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/proof"
)

func TestATokenForSomebodyElseIsDroppedUnused(t *testing.T) {
	dropped, handedOut := 0, 0
	roles := []string{"SecurityAlert.Read.All"}
	graph := "https://graph.microsoft.com"
	for name, tt := range map[string]struct {
		source drover.SourceID
		claims map[string]any
		want   string // part of the error; empty: accepted
	}{
		"as it should be":              {drover.GraphAlerts, map[string]any{"tid": tenantA, "aud": graph, "iss": "https://sts.windows.net/" + tenantA + "/", "appid": clientID, "roles": roles}, ""},
		"in capitals":                  {drover.GraphAlerts, map[string]any{"tid": strings.ToUpper(string(tenantA)), "aud": graph + "/", "azp": strings.ToUpper(clientID), "roles": roles}, ""},
		"Graph by its number":          {drover.GraphAlerts, map[string]any{"tid": tenantA, "aud": graphAppID, "roles": roles}, ""},
		"several audiences":            {drover.GraphAlerts, map[string]any{"tid": tenantA, "aud": []string{"x", graph}, "roles": roles}, ""},
		"no tid":                       {drover.GraphAlerts, map[string]any{"aud": graph, "roles": roles}, ""},
		"an incident role":             {drover.GraphAlerts, map[string]any{"tid": tenantA, "aud": graph, "roles": []string{"X", "SecurityIncident.Read.All"}}, ""},
		"a user's scope":               {drover.GraphAlerts, map[string]any{"tid": tenantA, "aud": graph, "scp": "User.Read securityalert.read.all"}, ""},
		"the SIEM API asks no role":    {drover.SIEMDetections, map[string]any{"tid": tenantA, "aud": siemResource}, ""},
		"incidents":                    {drover.GraphIncidents, map[string]any{"tid": tenantA, "aud": graph, "roles": []string{"SecurityIncident.Read.All"}}, ""},
		"incidents by its number":      {drover.GraphIncidents, map[string]any{"tid": tenantA, "aud": graphAppID, "scp": "SecurityIncident.ReadWrite.All"}, ""},
		"an alert role for incidents":  {drover.GraphIncidents, map[string]any{"tid": tenantA, "aud": graph, "roles": roles}, "no permission"},
		"Endpoint":                     {drover.MDEAlerts, map[string]any{"tid": tenantA, "aud": mdeResource, "roles": []string{"Alert.Read.All"}}, ""},
		"Endpoint by its number":       {drover.MDEAlerts, map[string]any{"tid": tenantA, "aud": mdeAppID, "roles": []string{"Alert.ReadWrite.All"}}, ""},
		"Endpoint, a user's scope":     {drover.MDEAlerts, map[string]any{"tid": tenantA, "aud": mdeResource, "scp": "Alert.Read"}, ""},
		"Endpoint's host is none":      {drover.MDEAlerts, map[string]any{"tid": tenantA, "aud": "https://api.security.microsoft.com", "roles": []string{"Alert.Read.All"}}, "wrong audience"},
		"Graph's number for Endpoint":  {drover.MDEAlerts, map[string]any{"tid": tenantA, "aud": graphAppID, "roles": []string{"Alert.Read.All"}}, "wrong audience"},
		"a Graph role for Endpoint":    {drover.MDEAlerts, map[string]any{"tid": tenantA, "aud": mdeResource, "roles": roles}, "no permission"},
		"another tenant":               {drover.GraphAlerts, map[string]any{"tid": tenantB, "aud": graph, "roles": roles}, "wrong tenant"},
		"another tenant in the issuer": {drover.GraphAlerts, map[string]any{"iss": "https://login.microsoftonline.com/" + tenantB + "/v2.0", "aud": graph, "roles": roles}, "wrong tenant"},
		"another API":                  {drover.GraphAlerts, map[string]any{"tid": tenantA, "aud": siemResource, "roles": roles}, "wrong audience"},
		"another cloud":                {drover.GraphAlerts, map[string]any{"tid": tenantA, "aud": "https://graph.microsoft.us", "roles": roles}, "wrong audience"},
		"Graph's for the SIEM API":     {drover.SIEMDetections, map[string]any{"tid": tenantA, "aud": graph}, "wrong audience"},
		"another app":                  {drover.GraphAlerts, map[string]any{"tid": tenantA, "aud": graph, "appid": tenantB, "roles": roles}, "wrong app"},
		"no roles":                     {drover.GraphAlerts, map[string]any{"tid": tenantA, "aud": graph}, "no permission"},
		"other roles":                  {drover.GraphAlerts, map[string]any{"tid": tenantA, "aud": graph, "roles": []string{"User.Read.All"}}, "no permission"},
		"another scope":                {drover.GraphAlerts, map[string]any{"tid": tenantA, "aud": graph, "scp": "User.Read"}, "no permission"},
	} {
		t.Run(name, func(t *testing.T) {
			a := &authority{answer: func(int, string, url.Values) reply {
				body, _ := json.Marshal(map[string]any{"token_type": "Bearer", "expires_in": 3600, "access_token": jwt(tt.claims)})
				return reply{body: string(body)}
			}}
			k := tokensOf(a, nil)
			token, err := k.Token(t.Context(), tenant(tenantA), tt.source)
			if tt.want == "" {
				if err != nil || token.Empty() {
					t.Fatalf("got %v", err)
				}
				return
			}
			dropped++
			if !token.Empty() {
				handedOut++
			}
			if drover.KindOf(err) != drover.Denied || !strings.Contains(err.Error(), tt.want) || !token.Empty() || drover.HintOf(err) == "" {
				t.Fatalf("got %v", err)
			}
			if strings.HasPrefix(tt.want, "no permission") && !strings.Contains(drover.HintOf(err), "consent") {
				t.Errorf("the hint does not name consent: %s", drover.HintOf(err))
			}
			if _, again := k.Token(t.Context(), tenant(tenantA), tt.source); again == nil || a.count() != 1 {
				t.Errorf("asked %d times", a.count())
			}
		})
	}
	proof.Ran(t, "T05", "%d tokens for another tenant, API, cloud or app, or without a permission: handed to a caller %d", dropped, handedOut)
}

func TestATokenThatCannotBeReadIsUsed(t *testing.T) {
	for _, opaque := range []string{"opaque", "a.b.c", "a.b.c.d.e", "e30.bm90IGpzb24.x", "..", "e30." + strings.Repeat("x", 10000) + ".x"} {
		a := &authority{answer: func(int, string, url.Values) reply { return reply{body: `{"access_token":"` + opaque + `"}`} }}
		if token, err := tokensOf(a, nil).Token(t.Context(), tenant(tenantA), drover.GraphAlerts); err != nil || token.Reveal() != opaque {
			t.Errorf("%.20q: got %v", opaque, err)
		}
	}
}

func TestALifeIsReadInEverySpelling(t *testing.T) {
	for raw, want := range map[string]time.Duration{
		`3600`: time.Hour, `"3600"`: time.Hour, ` "4211" `: 4211 * time.Second, `3599.7`: 3599 * time.Second, `"3599.7"`: 3599 * time.Second,
		`0`: shortLife, `-5`: shortLife, `"-5"`: shortLife, `1`: shortLife, `1e9`: longLife, `"1e999"`: longLife, `99999999999999999999`: longLife, `86399`: 86399 * time.Second,
		``: defaultLife, `null`: defaultLife, `""`: defaultLife, `"soon"`: defaultLife, `{}`: defaultLife, `[3600]`: defaultLife, `"NaN"`: defaultLife, `true`: defaultLife,
	} {
		if got := lifeOf(json.RawMessage(raw)); got != want {
			t.Errorf("%s: got %s, want %s", raw, got, want)
		}
	}
}

func TestASuccessThatIsNoneIsTriedAgain(t *testing.T) {
	for name, r := range map[string]reply{
		"empty":               {body: ""},
		"null":                {body: "null"},
		"an array":            {body: "[]"},
		"no token":            {body: `{"token_type":"Bearer","expires_in":3600}`},
		"another type":        {body: `{"token_type":"pop","access_token":"x"}`},
		"a page":              {body: "<html>" + canary},
		"a token of a number": {body: `{"access_token":7}`},
		"cut":                 {body: `{"access_token":"` + canary},
		"another status":      {status: 204},
	} {
		t.Run(name, func(t *testing.T) {
			a := &authority{answer: func(int, string, url.Values) reply { return r }}
			k := tokensOf(a, nil)
			for i := range 2 {
				if _, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts); drover.KindOf(err) != drover.Transient || err == nil || a.count() != i+1 {
					t.Errorf("got %v after %d calls", err, a.count())
				} else {
					mustNotTell(t, err)
				}
			}
		})
	}
	a := &authority{answer: func(int, string, url.Values) reply {
		return reply{body: `{"error":"invalid_client","error_codes":[7000222]}`}
	}}
	if _, err := tokensOf(a, nil).Token(t.Context(), tenant(tenantA), drover.GraphAlerts); drover.KindOf(err) != drover.Denied {
		t.Errorf("an error with status 200: got %v", err)
	}
}
