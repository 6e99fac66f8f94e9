package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"drover"
)

func TestATokenIsKeptAndRenewedBeforeItEnds(t *testing.T) {
	for life, window := range map[time.Duration][2]time.Duration{
		time.Minute:    {6 * time.Second, 8 * time.Second},
		10 * time.Hour: {5 * time.Minute, 6*time.Minute + 15*time.Second},
		time.Hour:      {5 * time.Minute, 6*time.Minute + 15*time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := &authority{answer: func(n int, tenant string, _ url.Values) reply {
				r := good(n, tenant)
				r.body = fmt.Sprintf(`{"expires_in":"%d","access_token":"token-%d"}`, int(life.Seconds()), n)
				return r
			}}
			k := tokensOf(a, nil)
			begin := time.Now()
			for a.count() < 3 && time.Since(begin) < 30*time.Hour {
				got, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts)
				if err != nil || got.Reveal() != fmt.Sprintf("token-%d", a.count()) {
					t.Fatalf("got %s, %v", got.Reveal(), err)
				}
				time.Sleep(time.Second)
			}
			early := life - a.calls[1].at.Sub(a.calls[0].at)
			if early < window[0]-time.Second || early > window[1]+time.Second {
				t.Errorf("life %s: renewed %s before the end", life, early)
			}
		})
	}
}

func TestOneRequestServesAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{answer: func(n int, tenant string, _ url.Values) reply {
			time.Sleep(time.Second)
			return good(n, tenant)
		}}
		k := tokensOf(a, nil)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if a.count() != 1 {
			t.Errorf("%d requests", a.count())
		}
	})
}

func TestACallerWhoGivesUpDoesNotSpoilTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{answer: func(n int, tenant string, _ url.Values) reply {
			time.Sleep(10 * time.Second)
			return good(n, tenant, `,"refresh_token":"r2"`)
		}}
		m := &memory{now: Refresh{Token: drover.NewSecret("r1"), Version: 1}}
		k := tokensOf(a, m)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := k.Token(ctx, tenant(tenantA), drover.GraphAlerts); !errors.Is(err, context.DeadlineExceeded) || drover.KindOf(err) != drover.Transient {
			t.Errorf("got %v", err)
		}
		second, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := k.Token(second, tenant(tenantA), drover.GraphAlerts); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who waits for it: got %v", err)
		}
		k.Wait()
		if m.now.Token.Reveal() != "r2" {
			t.Error("the new refresh token is lost")
		}
		if _, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts); err != nil || a.count() != 1 {
			t.Errorf("got %v after %d calls", err, a.count())
		}
	})
}

func TestATokenThatAnAPIRefusedIsReplacedOnce(t *testing.T) {
	a := &authority{answer: func(n int, tenant string, _ url.Values) reply { return good(n, tenant) }}
	k := tokensOf(a, nil)
	first, _ := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts)
	k.Invalidate(tenant(tenantA), drover.GraphAlerts, first)
	second, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts)
	if err != nil || second.Equal(first) || a.count() != 2 {
		t.Fatalf("got %v after %d calls", err, a.count())
	}
	k.Invalidate(tenant(tenantA), drover.GraphAlerts, first) // a late one
	if third, _ := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts); !third.Equal(second) || a.count() != 2 {
		t.Errorf("a token in use was dropped; %d calls", a.count())
	}
	if _, err := k.Token(t.Context(), tenant(tenantB), drover.GraphAlerts); err != nil || a.count() != 3 {
		t.Errorf("another tenant: %v, %d calls", err, a.count())
	}
}

func TestAnOldTokenServesWhileNoNewOneCanBeHad(t *testing.T) {
	for name, tt := range map[string]struct {
		r    reply
		kind drover.Kind
		most int // requests from the first failure to the token's end
	}{
		"outage":      {reply{status: 503, body: "<html>"}, drover.Transient, 14},
		"no network":  {reply{err: errors.New("no route")}, drover.Transient, 14},
		"throttled":   {reply{status: 429, header: http.Header{"Retry-After": {"120"}}}, drover.Throttled, 4},
		"app refused": {bad(401, 7000222, "invalid_client"), drover.Denied, 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &authority{answer: func(n int, tenant string, _ url.Values) reply {
					if n == 1 {
						return good(n, tenant)
					}
					return tt.r
				}}
				k := tokensOf(a, nil)
				begin := time.Now()
				for time.Since(begin) < time.Hour-lastUse-time.Second {
					if _, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts); err != nil {
						t.Fatalf("after %s: %v", time.Since(begin), err)
					}
					time.Sleep(time.Second)
				}
				if n := a.count() - 1; n < 1 || n > tt.most {
					t.Errorf("%d requests", n)
				}
				time.Sleep(time.Minute)
				if _, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts); drover.KindOf(err) != tt.kind || err == nil {
					t.Errorf("past its end: got %v", err)
				}
			})
		})
	}
}

func TestACustomersRefusalEndsItsTokenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{answer: func(n int, tenant string, _ url.Values) reply {
			if n == 1 {
				return good(n, tenant)
			}
			return bad(400, 65001, "invalid_grant")
		}}
		k := tokensOf(a, nil)
		if _, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts); err != nil {
			t.Fatal(err)
		}
		time.Sleep(55 * time.Minute)
		if _, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts); drover.KindOf(err) != drover.Denied {
			t.Errorf("got %v", err)
		}
	})
}

// Graph's alerts and incidents have one audience and permissions of their own:
// what one of them lacks is no matter of the other's.
func TestAPermissionThatOneSourceLacksIsNoMatterOfAnothers(t *testing.T) {
	for _, first := range []drover.SourceID{drover.GraphAlerts, drover.GraphIncidents} {
		a := &authority{answer: func(_ int, id string, _ url.Values) reply {
			body, _ := json.Marshal(map[string]any{"token_type": "Bearer", "expires_in": 3600, "access_token": jwt(map[string]any{"tid": id, "aud": "https://graph.microsoft.com", "roles": []string{"SecurityAlert.Read.All"}})})
			return reply{body: string(body)}
		}}
		k := tokensOf(a, nil)
		_, _ = k.Token(t.Context(), tenant(tenantA), first)
		for range 3 {
			if _, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts); err != nil {
				t.Errorf("%s first: alerts: %v", first, err)
			}
			if _, err := k.Token(t.Context(), tenant(tenantA), drover.GraphIncidents); drover.KindOf(err) != drover.Denied || !strings.Contains(drover.HintOf(err), "SecurityIncident.Read.All") {
				t.Errorf("%s first: incidents: %v, hint %q", first, err, drover.HintOf(err))
			}
		}
		if n := a.count(); n != 2 {
			t.Errorf("%s first: %d calls", first, n)
		}
	}
}

func TestARefusalIsAskedAboutEverMoreRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		consented := false
		a := &authority{answer: func(n int, tenant string, _ url.Values) reply {
			if consented {
				return good(n, tenant)
			}
			return bad(401, 7000229, "invalid_client")
		}}
		k := tokensOf(a, nil)
		ask := func() error {
			_, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts)
			return err
		}
		begin := time.Now()
		for time.Since(begin) < 10*time.Hour {
			if err := ask(); drover.KindOf(err) != drover.Denied {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
		}
		for i := 1; i < len(a.calls); i++ {
			want := min(time.Hour, time.Minute<<(i-1))
			if gap := a.calls[i].at.Sub(a.calls[i-1].at); gap < want || gap > want+10*time.Second {
				t.Errorf("pause %d: %s, want %s", i, gap, want)
			}
		}
		if n := a.count(); n < 10 || n > 16 {
			t.Errorf("%d requests in ten hours", n)
		}
		before := a.count()
		k.Forget(tenantA) // an operator asks
		if err := ask(); drover.KindOf(err) != drover.Denied || a.count() != before+1 {
			t.Errorf("after Forget: %v, %d calls", err, a.count()-before)
		}
		consented = true
		time.Sleep(time.Minute)
		if err := ask(); err != nil {
			t.Errorf("after consent: %v", err)
		}
		consented = false
		k.Forget(tenantA)
		_ = ask()
		before = a.count()
		time.Sleep(time.Minute + time.Second)
		if _ = ask(); a.count() != before+1 {
			t.Error("a success did not begin the pauses anew")
		}
	})
}

func TestSecretsTravelOnlyInTheFormOfTheTenantsEndpoint(t *testing.T) {
	a := &authority{answer: func(n int, tenant string, form url.Values) reply {
		if form.Get("resource") != "" {
			return reply{body: `{"access_token":"opaque","expires_in":"3599","resource":"https://graph.windows.net"}`}
		}
		return good(n, tenant)
	}}
	k := tokensOf(a, nil)
	for _, s := range []drover.SourceID{drover.GraphAlerts, drover.SIEMDetections} {
		if _, err := k.Token(t.Context(), tenant(tenantA), s); err != nil {
			t.Fatal(err)
		}
	}
	base := "https://login.microsoftonline.com/" + string(tenantA)
	secret := canary + "~secret"
	for i, want := range []struct {
		url  string
		form url.Values
	}{
		{base + "/oauth2/v2.0/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {clientID}, "client_secret": {secret}, "scope": {"https://graph.microsoft.com/.default"}}},
		{base + "/oauth2/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {clientID}, "client_secret": {secret}, "resource": {"https://graph.windows.net"}}},
	} {
		c := a.calls[i]
		if c.url != want.url || c.form.Encode() != want.form.Encode() {
			t.Errorf("got %s with %d fields, want %s", c.url, len(c.form), want.url)
		}
		if !drover.IsGUID(c.header.Get("client-request-id")) || c.header.Get("return-client-request-id") != "true" || c.header.Get("Authorization") != "" {
			t.Errorf("headers: %v", c.header)
		}
	}
	if a.calls[0].header.Get("client-request-id") == a.calls[1].header.Get("client-request-id") {
		t.Error("two calls of one name")
	}
}

func TestWhatTheConfigLacksIsNamed(t *testing.T) {
	a := &authority{answer: func(n int, tenant string, _ url.Values) reply { return good(n, tenant) }}
	k := tokensOf(a, nil, withSecret(),
		App{Name: "bare", ClientID: clientID},
		App{Name: "guid", ClientID: clientID, Secret: func() (drover.Secret, error) { return drover.NewSecret(string(tenantB)), nil }},
		App{Name: "gone", ClientID: clientID, Secret: func() (drover.Secret, error) { return drover.Secret{}, errors.New("no such file") }},
		App{Name: "nocert", ClientID: clientID, Certificate: func() (*Certificate, error) { return nil, errors.New("no such file") }})
	for name, change := range map[string]func(*drover.Tenant){
		"an app that is not there":   func(x *drover.Tenant) { x.App = "other" },
		"a cloud that is not there":  func(x *drover.Tenant) { x.Cloud = "mars" },
		"an app without credential":  func(x *drover.Tenant) { x.App = "bare" },
		"the secret's ID":            func(x *drover.Tenant) { x.App = "guid" },
		"a secret's file missing":    func(x *drover.Tenant) { x.App = "gone" },
		"a certificate that is gone": func(x *drover.Tenant) { x.App = "nocert" },
	} {
		x := tenant(tenantA)
		change(&x)
		if _, err := k.Token(t.Context(), x, drover.GraphAlerts); drover.KindOf(err) != drover.Denied || drover.HintOf(err) == "" {
			t.Errorf("%s: got %v", name, err)
		}
		k.Invalidate(x, drover.GraphAlerts, drover.Secret{})
	}
	if a.count() != 0 {
		t.Errorf("%d requests", a.count())
	}
}

func TestEntrasClockIsMeasuredAndUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		theirs := time.Now().Add(10 * time.Minute)
		app, _ := withCertificate(t)
		a := &authority{}
		a.answer = func(n int, tenant string, form url.Values) reply {
			if n == 1 {
				return reply{status: 401, body: `{"error":"invalid_client","error_codes":[700024],"error_description":"AADSTS700024: Client assertion is not within its valid time range. Current time: ` +
					theirs.UTC().Format("2006-01-02T15:04:05.0000000Z") + `, assertion valid from x, expiry time of assertion y."}`}
			}
			return good(n, tenant)
		}
		k := tokensOf(a, nil, app)
		if _, ok := k.Skew(); ok {
			t.Error("a skew before any answer")
		}
		_, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts)
		if drover.KindOf(err) != drover.Transient {
			t.Errorf("got %v", err)
		}
		if d, ok := k.Skew(); !ok || d != 10*time.Minute {
			t.Errorf("skew %s, %v", d, ok)
		}
		if h := drover.HintOf(err); h == "" || h[len(h)-len("10m0s behind Entra's"):] != "10m0s behind Entra's" {
			t.Errorf("hint: %s", h)
		}
		if _, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts); err != nil {
			t.Fatal(err)
		}
		c := readAssertion(t, a.calls[1].form.Get("client_assertion"))
		if nbf, exp := time.Unix(int64(c["nbf"].(float64)), 0), time.Unix(int64(c["exp"].(float64)), 0); theirs.Before(nbf) || theirs.After(exp) {
			t.Errorf("the assertion holds from %s to %s, Entra's time is %s", nbf, exp, theirs)
		}
	})
}

func TestTheDateHeaderTellsTheClockToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{answer: func(n int, tenant string, _ url.Values) reply {
			r := good(n, tenant)
			r.header = http.Header{"Date": {time.Now().Add(-3 * time.Hour).UTC().Format(http.TimeFormat)}}
			return r
		}}
		k := tokensOf(a, nil)
		if _, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts); err != nil {
			t.Fatal(err)
		}
		if d, ok := k.Skew(); !ok || (d+3*time.Hour).Abs() > time.Second {
			t.Errorf("skew %s, %v", d, ok)
		}
	})
}

func TestNothingIsKeptOfATenantThatIsRemoved(t *testing.T) {
	a := &authority{answer: func(n int, tenant string, _ url.Values) reply { return good(n, tenant) }}
	k := tokensOf(a, nil, withSecret())
	both := func() {
		for _, id := range []drover.TenantID{tenantA, tenantB} {
			if _, err := k.Token(t.Context(), tenant(id), drover.GraphAlerts); err != nil {
				t.Fatal(err)
			}
		}
	}
	both()
	k.renewal(request{tenant: tenant(tenantA), app: withSecret()}).unsaved = &Refresh{Token: drover.NewSecret("r")}
	k.renewal(request{tenant: tenant(tenantB), app: withSecret()}).unsaved = &Refresh{Token: drover.NewSecret("r")}
	k.Drop(tenantA)
	if len(k.cache) != 1 || len(k.renewals) != 1 {
		t.Errorf("%d tokens and %d renewals are kept, want the other tenant's", len(k.cache), len(k.renewals))
	}
	both()
	if a.count() != 3 {
		t.Errorf("%d calls, want 3: the other tenant's token is still good", a.count())
	}
}
