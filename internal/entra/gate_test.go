package entra

import (
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/proof"
)

func manyTenants(n int) []drover.Tenant {
	list := make([]drover.Tenant, n)
	for i := range list {
		list[i] = tenant(drover.TenantID(fmt.Sprintf("%08x-0d0b-4a77-9d34-1b2c3d4e5f60", i)))
	}
	return list
}

// mostWithin counts the most calls that fall into any stretch of d.
func mostWithin(calls []call, d time.Duration) (most int) {
	for i := range calls {
		n := 0
		for j := i; j < len(calls) && calls[j].at.Sub(calls[i].at) < d; j++ {
			n++
		}
		most = max(most, n)
	}
	return most
}

// getAll lets every tenant ask until it has its token, waiting as told.
func getAll(t *testing.T, k *Tokens, tenants []drover.Tenant) {
	var wg sync.WaitGroup
	for _, x := range tenants {
		wg.Go(func() {
			for range 200 {
				_, err := k.Token(t.Context(), x, drover.GraphAlerts)
				if err == nil {
					return
				}
				if drover.KindOf(err) != drover.Throttled || drover.WaitOf(err) <= 0 {
					t.Errorf("got %v", err)
					return
				}
				time.Sleep(drover.WaitOf(err))
			}
			t.Error("never got a token")
		})
	}
	wg.Wait()
}

func TestAPauseThatEntraAsksForHoldsAllTenantsOfTheApp(t *testing.T) {
	early, burst := 0, 0
	for name, slow := range map[string]struct {
		r     reply
		pause time.Duration
	}{
		"429 with Retry-After": {reply{status: 429, header: http.Header{"Retry-After": {"60"}}}, time.Minute},
		"429, plain text":      {reply{status: 429, body: "Too Many Requests"}, time.Minute},
		"50196":                {bad(400, 50196, "invalid_grant"), 5 * time.Minute},
		"90055":                {bad(400, 90055, "temporarily_unavailable"), time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenants := manyTenants(300)
				a := &authority{}
				a.answer = func(n int, tenant string, _ url.Values) reply {
					if n == 2 {
						return slow.r
					}
					return good(n, tenant)
				}
				k := tokensOf(a, nil)
				if _, err := k.Token(t.Context(), tenants[0], drover.GraphAlerts); err != nil {
					t.Fatal(err)
				}
				_, err := k.Token(t.Context(), tenants[1], drover.GraphAlerts)
				if drover.KindOf(err) != drover.Throttled || drover.WaitOf(err) != slow.pause {
					t.Fatalf("got %v, wait %s", err, drover.WaitOf(err))
				}
				if _, err := k.Token(t.Context(), tenants[0], drover.GraphAlerts); err != nil {
					t.Errorf("a kept token: %v", err)
				}
				until := time.Now().Add(slow.pause)
				getAll(t, k, tenants)
				for _, c := range a.calls[2:] {
					if c.at.Before(until) {
						early++
						t.Fatalf("a call %s before the pause was over", until.Sub(c.at))
					}
				}
				n := mostWithin(a.calls[2:], time.Second)
				burst = max(burst, n)
				if n > 10 {
					t.Errorf("%d calls in a second after the pause", n)
				}
				if took := a.calls[len(a.calls)-1].at.Sub(until); took > 3*time.Minute {
					t.Errorf("the last tenant waited %s", took)
				}
			})
		})
	}
	proof.Ran(t, "T09", "300 tenants of an app that is told to wait: token calls during the pause %d, afterwards at most %d in a second", early, burst)
}

func TestAStartWithManyTenantsIsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{answer: func(n int, tenant string, _ url.Values) reply { return good(n, tenant) }}
		k := tokensOf(a, nil)
		getAll(t, k, manyTenants(500))
		if n := mostWithin(a.calls, time.Second); n > 150 {
			t.Errorf("%d calls in a second", n)
		}
		if a.count() != 500 {
			t.Errorf("%d calls", a.count())
		}
	})
}

func TestAnAppsPauseLeavesOtherAppsAlone(t *testing.T) {
	other := withSecret()
	other.Name, other.ClientID = "other", string(tenantB)
	a := &authority{}
	a.answer = func(n int, tenant string, form url.Values) reply {
		if form.Get("client_id") == clientID {
			return reply{status: 429}
		}
		return reply{body: `{"access_token":"opaque"}`}
	}
	k := tokensOf(a, nil, withSecret(), other)
	if _, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts); drover.KindOf(err) != drover.Throttled {
		t.Fatal(err)
	}
	x := tenant(tenantA)
	x.App = "other"
	if _, err := k.Token(t.Context(), x, drover.GraphAlerts); err != nil {
		t.Error(err)
	}
}

func TestAnAppsRefusalIsAskedAboutByOneForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenants := manyTenants(100)
		mended := false
		a := &authority{answer: func(n int, tenant string, _ url.Values) reply {
			if mended {
				return good(n, tenant)
			}
			return bad(401, 7000222, "invalid_client")
		}}
		k := tokensOf(a, nil)
		begin := time.Now()
		for time.Since(begin) < 3*time.Hour {
			for _, x := range tenants {
				_, err := k.Token(t.Context(), x, drover.GraphAlerts)
				if e, ok := err.(*drover.Error); !ok || e.Kind != drover.Denied || !e.App || e.Tenant != x.ID || e.Code != "AADSTS7000222" {
					t.Fatalf("got %v", err)
				}
			}
			time.Sleep(10 * time.Second)
		}
		if n := a.count(); n > 12 {
			t.Errorf("%d calls in three hours for 100 tenants", n)
		}
		mended = true
		// The first success frees all of them.
		for k.tryAll(t, tenants) == 0 {
			if time.Sleep(10 * time.Second); time.Since(begin) > 5*time.Hour {
				t.Fatal("nobody got through")
			}
		}
		time.Sleep(time.Minute)
		if n := k.tryAll(t, tenants); n != len(tenants) {
			t.Errorf("%d of %d tenants are free", n, len(tenants))
		}
	})
}

func TestTheFirstSuccessOfAnAppFreesWhoWasRefusedLongest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pair := manyTenants(2)
		mended := false
		a := &authority{answer: func(n int, tenant string, _ url.Values) reply {
			if mended {
				return good(n, tenant)
			}
			return bad(401, 7000215, "invalid_client")
		}}
		k := tokensOf(a, nil)
		begin := time.Now()
		for time.Since(begin) < 24*time.Hour {
			for _, x := range pair {
				if _, err := k.Token(t.Context(), x, drover.GraphAlerts); drover.KindOf(err) != drover.Denied {
					t.Fatal(err)
				}
			}
			time.Sleep(10 * time.Second)
		}
		mended = true
		for i := 0; ; i = 1 - i {
			if _, err := k.Token(t.Context(), pair[i], drover.GraphAlerts); err == nil {
				if _, err := k.Token(t.Context(), pair[1-i], drover.GraphAlerts); err != nil {
					t.Errorf("the other waits on: %v", err)
				}
				break
			}
			if time.Sleep(10 * time.Second); time.Since(begin) > 26*time.Hour {
				t.Fatal("nobody got through")
			}
		}
	})
}

// tryAll counts the tenants that get a token, waiting for their turn.
func (k *Tokens) tryAll(t *testing.T, tenants []drover.Tenant) (n int) {
	for _, x := range tenants {
		for range 3 {
			_, err := k.Token(t.Context(), x, drover.GraphAlerts)
			if err == nil {
				n++
			}
			if drover.KindOf(err) != drover.Throttled || err == nil {
				break
			}
			time.Sleep(drover.WaitOf(err))
		}
	}
	return n
}

func TestOneTenantThatDisablesTheAppStopsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{answer: func(n int, tenant string, _ url.Values) reply {
			if tenant == string(tenantA) {
				return bad(400, 7000112, "unauthorized_client")
			}
			return good(n, tenant)
		}}
		k := tokensOf(a, nil)
		for range 50 {
			if _, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts); drover.KindOf(err) != drover.Denied {
				t.Fatal(err)
			}
			token, err := k.Token(t.Context(), tenant(tenantB), drover.GraphAlerts)
			if err != nil {
				t.Fatal(err)
			}
			k.Invalidate(tenant(tenantB), drover.GraphAlerts, token)
			time.Sleep(time.Minute)
		}
	})
}

func TestAReplacedSecretIsUsedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		current := "old~secret"
		app := App{Name: "default", ClientID: clientID, Secret: func() (drover.Secret, error) { return drover.NewSecret(current), nil }}
		a := &authority{answer: func(n int, tenant string, form url.Values) reply {
			if form.Get("client_secret") == "new~secret" {
				return good(n, tenant)
			}
			return bad(401, 7000222, "invalid_client")
		}}
		k := tokensOf(a, nil, app)
		tenants := manyTenants(3)
		for range 100 {
			for _, x := range tenants {
				if _, err := k.Token(t.Context(), x, drover.GraphAlerts); err == nil {
					t.Fatal("got a token by the old secret")
				}
			}
			time.Sleep(time.Minute)
		}
		current = "new~secret"
		for _, x := range tenants {
			if _, err := k.Token(t.Context(), x, drover.GraphAlerts); err != nil {
				t.Errorf("with the new secret: %v", err)
			}
		}
	})
}
