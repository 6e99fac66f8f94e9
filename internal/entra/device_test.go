package entra

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/proof"
)

// signedInAs is a success of a sign-in, with what the ID token says.
func signedInAs(change func(id map[string]any)) reply {
	id := map[string]any{"aud": clientID, "tid": string(tenantA), "iss": "https://login.microsoftonline.com/" + string(tenantA) + "/v2.0", "exp": time.Now().Add(time.Hour).Unix(), "preferred_username": "ada@contoso.example"}
	if change != nil {
		change(id)
	}
	access := jwt(map[string]any{"tid": id["tid"], "aud": "https://graph.microsoft.com", "scp": "SecurityAlert.Read.All"})
	return reply{body: fmt.Sprintf(`{"token_type":"Bearer","expires_in":3600,"access_token":%q,"refresh_token":"%s-refresh","id_token":%q}`, access, canary, jwt(id))}
}

const deviceAnswer = `{"user_code":"FJ7K2QWX","device_code":"` + canary + `-device","verification_uri":"https://microsoft.com/devicelogin","expires_in":900,"interval":5,"message":"x"}`

func TestADeviceIsWaitedForAtTheTimesThatAreTold(t *testing.T) {
	pending, slow := bad(400, 70016, "authorization_pending"), bad(400, 70016, "slow_down")
	early, wrong := 0, 0
	for name, tt := range map[string]struct {
		device  string
		answers []reply
		want    []time.Duration // after the one before, at least
		refused string          // in the error; "": it works
		v1      bool
	}{
		"pending, then signed in":        {deviceAnswer, []reply{pending, pending, signedInAs(nil)}, []time.Duration{5, 5, 5}, "", false},
		"slow_down adds five seconds":    {deviceAnswer, []reply{pending, slow, slow, signedInAs(nil)}, []time.Duration{5, 5, 10, 15}, "", false},
		"pending under its number alone": {deviceAnswer, []reply{bad(400, 70016, "invalid_grant"), signedInAs(nil)}, []time.Duration{5, 5}, "", false},
		"a lost answer is asked again":   {deviceAnswer, []reply{{err: errors.New("reset")}, signedInAs(nil)}, []time.Duration{5, 10}, "", false},
		"a wait that is told is kept":    {deviceAnswer, []reply{{status: 429, header: map[string][]string{"Retry-After": {"60"}}}, signedInAs(nil)}, []time.Duration{5, 60}, "", false},
		"no interval is five seconds":    {strings.Replace(deviceAnswer, `"interval":5,`, "", 1), []reply{signedInAs(nil)}, []time.Duration{5}, "", false},
		"an interval as text":            {strings.Replace(deviceAnswer, `"interval":5`, `"interval":"7"`, 1), []reply{signedInAs(func(id map[string]any) { id["iss"] = "https://sts.windows.net/" + string(tenantA) + "/" })}, []time.Duration{7}, "", true},
		"declined":                       {deviceAnswer, []reply{pending, bad(400, 90120, "authorization_declined")}, []time.Duration{5, 5}, "AADSTS90120", false},
		"expired":                        {deviceAnswer, []reply{bad(400, 70020, "expired_token")}, []time.Duration{5}, "AADSTS70020", false},
		"a code that nobody knows":       {deviceAnswer, []reply{bad(400, 70018, "bad_verification_code")}, []time.Duration{5}, "AADSTS70018", false},
		"refused by a policy":            {deviceAnswer, []reply{bad(400, 53003, "invalid_grant")}, []time.Duration{5}, "AADSTS53003", false},
		"passed on to another tenant's user": {deviceAnswer, []reply{pending, signedInAs(func(id map[string]any) {
			id["tid"], id["iss"] = string(tenantB), "https://login.microsoftonline.com/"+string(tenantB)+"/v2.0"
		})}, []time.Duration{5, 5}, "wrong tenant", false},
	} {
		synctest.Test(t, func(t *testing.T) {
			last := time.Now()
			a := &authority{}
			a.answer = func(n int, _ string, form url.Values) reply {
				if n == 1 {
					last = time.Now()
					return reply{body: tt.device}
				}
				gap := time.Since(last)
				last = time.Now()
				if n-2 >= len(tt.want) {
					t.Fatalf("%s: poll %d is one too many", name, n-1)
				}
				if want := tt.want[n-2] * time.Second; gap < want {
					early++
					t.Errorf("%s: poll %d after %v, want %v", name, n-1, gap, want)
				}
				if form.Get("device_code") != canary+"-device" {
					t.Errorf("%s: polls with %v", name, form)
				}
				return tt.answers[n-2]
			}
			k := tokensOf(a, nil)
			d, err := k.BeginDevice(t.Context(), tenant(tenantA), SignInOptions{Source: drover.GraphAlerts, V1: tt.v1})
			if err != nil {
				t.Fatal(err)
			}
			if d.UserCode() != "FJ7K2QWX" || d.Address() != "https://microsoft.com/devicelogin" {
				t.Errorf("%s: %s at %s", name, d.UserCode(), d.Address())
			}
			who, refresh, err := d.Wait(t.Context())
			mustNotTell(t, err)
			switch {
			case tt.refused == "":
				if err != nil || who.Tenant != tenantA || who.Name != "ada@contoso.example" || refresh.Reveal() != canary+"-refresh" {
					t.Errorf("%s: %v %v", name, who, err)
				}
			case err == nil || !refresh.Empty():
				wrong++
				t.Errorf("%s: somebody is signed in: %v", name, who)
			case !strings.Contains(err.Error(), tt.refused) || drover.KindOf(err) != drover.Denied || drover.HintOf(err) == "":
				t.Errorf("%s: got %v", name, err)
			}
			if polls := a.count() - 1; polls != len(tt.want) {
				t.Errorf("%s: %d polls, want %d", name, polls, len(tt.want))
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		a := &authority{answer: func(n int, _ string, _ url.Values) reply {
			if n == 1 {
				return reply{body: deviceAnswer}
			}
			return pending
		}}
		d, err := tokensOf(a, nil).BeginDevice(t.Context(), tenant(tenantA), SignInOptions{})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, _, err := d.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "has ended") || time.Since(began) != 15*time.Minute {
			t.Errorf("nobody signs in: %v after %v", err, time.Since(began))
		}
	})
	proof.Ran(t, "T15", "12 stories of a device's sign-in: polls too early %d, people of another tenant let in %d", early, wrong)
}
