package entra

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/proof"
)

// family is an authority that rotates refresh tokens. Strict ones revoke all
// when an old one comes again.
type family struct {
	mu     sync.Mutex
	strict bool
	issued int
	newest int
	dead   map[string]bool
}

func name(n int) string { return fmt.Sprintf("%s-r%d", canary, n) }

func (f *family) redeem(n int, tenant string, form url.Values) reply {
	f.mu.Lock()
	defer f.mu.Unlock()
	got := form.Get("refresh_token")
	if f.dead[got] || f.strict && got != name(f.newest) {
		for i := range f.issued + 1 {
			f.dead[name(i)] = true
		}
		return bad(400, 70000, "invalid_grant")
	}
	f.issued++
	f.newest = f.issued
	return good(n, tenant, fmt.Sprintf(`,"refresh_token":%q`, name(f.issued)))
}

func delegated() *memory { return &memory{now: Refresh{Token: drover.NewSecret(name(0)), Version: 1}} }

func TestANewRefreshTokenIsSavedBeforeTheAccessTokenIsHandedOut(t *testing.T) {
	f := &family{dead: map[string]bool{}}
	a := &authority{answer: f.redeem}
	m := delegated()
	k := tokensOf(a, m)
	handed := false
	m.before = func() {
		if handed {
			t.Error("the access token was out before the save")
		}
	}
	if _, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts); err != nil {
		t.Fatal(err)
	}
	handed = true
	if len(m.saved) != 1 || m.saved[0].Token.Reveal() != name(1) || m.saved[0].Previous.Reveal() != name(0) {
		t.Errorf("saved %d", len(m.saved))
	}
	form := a.calls[0].form
	if form.Get("scope") != "https://graph.microsoft.com/.default offline_access" || form.Get("grant_type") != "refresh_token" || form.Has("code") || form.Has("resource") || form.Get("client_secret") == "" {
		t.Errorf("the form has %d fields", len(form))
	}
}

func TestTheV1EndpointIsGivenAResource(t *testing.T) {
	a := &authority{answer: func(int, string, url.Values) reply {
		return reply{body: `{"access_token":"opaque","expires_in":"3599"}`}
	}}
	public := App{Name: "default", ClientID: clientID}
	if _, err := tokensOf(a, delegated(), public).Token(t.Context(), tenant(tenantA), drover.SIEMDetections); err != nil {
		t.Fatal(err)
	}
	if form := a.calls[0].form; form.Get("resource") != siemResource || form.Has("scope") || form.Has("client_secret") {
		t.Errorf("the form has %d fields", len(form))
	}
}

func TestAnAccessTokenIsHeldBackUntilTheStoreTakesTheRefreshToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &family{dead: map[string]bool{}, strict: true}
		a := &authority{answer: f.redeem}
		m := delegated()
		m.fail = errors.New("disk full")
		k := tokensOf(a, m)
		for range 5 {
			token, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts)
			if err == nil || !token.Empty() || drover.KindOf(err) != drover.Transient {
				t.Fatalf("got %v", err)
			}
			mustNotTell(t, err)
			time.Sleep(time.Minute)
		}
		if a.count() != 1 {
			t.Errorf("the only refresh token that works was asked for %d times over", a.count())
		}
		m.fail = nil
		if _, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts); err != nil {
			t.Errorf("once the disk has room: %v", err)
		}
		if m.now.Token.Reveal() != name(f.newest) {
			t.Error("the store does not hold the newest")
		}
	})
}

func TestThePreviousRefreshTokenIsTriedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good1 := true
		a := &authority{answer: func(n int, tenant string, form url.Values) reply {
			if form.Get("refresh_token") == "previous" && good1 {
				return good(n, tenant, `,"refresh_token":"newer"`)
			}
			return bad(400, 700082, "invalid_grant")
		}}
		m := &memory{now: Refresh{Token: drover.NewSecret("lost"), Previous: drover.NewSecret("previous"), Version: 4}}
		k := tokensOf(a, m)
		if _, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts); err != nil || a.count() != 2 {
			t.Fatalf("got %v after %d calls", err, a.count())
		}
		if m.now.Token.Reveal() != "newer" || m.now.Previous.Reveal() != "previous" {
			t.Error("what was saved is not what works")
		}
		// Both dead: one call per probe from then on.
		good1 = false
		m.now = Refresh{Token: drover.NewSecret("lost"), Previous: drover.NewSecret("previous"), Version: 9}
		k.Forget(tenantA)
		before := a.count()
		begin := time.Now()
		for time.Since(begin) < 10*time.Hour {
			_, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts)
			if drover.KindOf(err) != drover.Denied {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if n := a.count() - before; n > 17 {
			t.Errorf("%d calls in ten hours", n)
		}
		if m.now.Token.Reveal() != "lost" {
			t.Error("a refusal changed the store")
		}
	})
}

func TestOtherRefusalsDoNotCostThePreviousToken(t *testing.T) {
	for _, code := range []int{7000222, 65001, 53003, 90002, 50196, 90033} {
		a := &authority{answer: func(int, string, url.Values) reply { return bad(400, code, "invalid_grant") }}
		m := &memory{now: Refresh{Token: drover.NewSecret("a"), Previous: drover.NewSecret("b"), Version: 1}}
		if _, err := tokensOf(a, m).Token(t.Context(), tenant(tenantA), drover.GraphAlerts); err == nil || a.count() != 1 {
			t.Errorf("%d: %v after %d calls", code, err, a.count())
		}
	}
}

func TestARefreshTokenThatWorkedTwiceNeedsNoPrevious(t *testing.T) {
	a := &authority{answer: func(n int, tenant string, _ url.Values) reply { return good(n, tenant) }} // no new one
	m := &memory{now: Refresh{Token: drover.NewSecret("same"), Previous: drover.NewSecret("older"), Version: 3}}
	k := tokensOf(a, m)
	for range 3 {
		token, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts)
		if err != nil {
			t.Fatal(err)
		}
		k.Invalidate(tenant(tenantA), drover.GraphAlerts, token)
	}
	if len(m.saved) != 1 || m.now.Token.Reveal() != "same" || !m.now.Previous.Empty() {
		t.Errorf("saved %d times", len(m.saved))
	}
}

func TestWhoRenewsSecondOverwritesNothing(t *testing.T) {
	a := &authority{}
	m := delegated()
	a.answer = func(n int, tenant string, _ url.Values) reply {
		if n == 1 { // another replica is faster
			m.mu.Lock()
			m.now = Refresh{Token: drover.NewSecret("theirs"), Previous: m.now.Token, Version: m.now.Version + 1}
			m.mu.Unlock()
		}
		return good(n, tenant, `,"refresh_token":"ours"`)
	}
	k := tokensOf(a, m)
	if _, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts); err != nil {
		t.Fatal(err)
	}
	if m.now.Token.Reveal() != "theirs" {
		t.Error("an older token overwrote a newer one")
	}
}

func TestAStoredTokenThatSomebodyElseRenewedIsReadAgain(t *testing.T) {
	m := delegated()
	a := &authority{}
	a.answer = func(n int, tenant string, form url.Values) reply {
		if form.Get("refresh_token") == "theirs" {
			return good(n, tenant, `,"refresh_token":"next"`)
		}
		m.mu.Lock()
		m.now = Refresh{Token: drover.NewSecret("theirs"), Version: m.now.Version + 1}
		m.mu.Unlock()
		return bad(400, 70000, "invalid_grant")
	}
	if _, err := tokensOf(a, m).Token(t.Context(), tenant(tenantA), drover.GraphAlerts); err != nil || m.now.Token.Reveal() != "next" {
		t.Errorf("got %v", err)
	}
}

func TestTwoResourcesOfATenantShareOneRefreshTokenInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &family{dead: map[string]bool{}, strict: true}
		a := &authority{answer: func(n int, tenant string, form url.Values) reply {
			time.Sleep(time.Second) // on its way there
			r := f.redeem(n, tenant, form)
			if form.Has("resource") && r.status == 0 {
				r.body = fmt.Sprintf(`{"access_token":"opaque","refresh_token":%q}`, name(f.newest))
			}
			time.Sleep(time.Second) // and back
			return r
		}}
		k := tokensOf(a, delegated())
		for range 5 {
			var wg sync.WaitGroup
			for _, s := range []drover.SourceID{drover.GraphAlerts, drover.SIEMDetections} {
				wg.Go(func() {
					token, err := k.Token(t.Context(), tenant(tenantA), s)
					if err != nil {
						t.Error(err)
					}
					k.Invalidate(tenant(tenantA), s, token)
				})
			}
			wg.Wait()
		}
		if a.count() != 10 {
			t.Errorf("%d calls", a.count())
		}
	})
}

// TestNoKillLocksATenantOut ends the process at random points of renewals: at
// each, what is stored must still open the door. With an authority that kills
// the family on reuse, only a kill between its answer and the save may.
func TestNoKillLocksATenantOut(t *testing.T) {
	const kills = 2000
	for _, strict := range []bool{false, true} {
		lockouts, explained := 0, 0
		rng := rand.New(rand.NewPCG(7, 7))
		for range kills {
			f := &family{dead: map[string]bool{}, strict: strict}
			m := delegated()
			killAt, step := rng.IntN(8), 0
			died := ""
			killed := func(where string) bool {
				step++
				if died == "" && step > killAt {
					died = where
				}
				return died != ""
			}
			a := &authority{answer: func(n int, tenant string, form url.Values) reply {
				if killed("before the answer") {
					return reply{err: errors.New("killed")}
				}
				r := f.redeem(n, tenant, form)
				if killed("after the answer") {
					return reply{err: errors.New("killed")}
				}
				return r
			}}
			s := &dying{memory: m, dead: func() bool { return died != "" }}
			for range 4 {
				k := tokensOf(a, s)
				_, _ = k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts)
			}
			// A new process.
			again := tokensOf(&authority{answer: f.redeem}, m)
			if _, err := again.Token(t.Context(), tenant(tenantA), drover.GraphAlerts); err != nil {
				lockouts++
				if died == "after the answer" {
					explained++
				}
				if drover.KindOf(err) != drover.Denied {
					t.Fatalf("a lock-out that does not show: %v", err)
				}
			}
		}
		proof.Ran(t, "T03", "reuse kills the family: %v: lock-outs %d of %d kills, %d of them between answer and save, each shown as denied", strict, lockouts, kills, explained)
		if !strict && lockouts != 0 || lockouts != explained {
			t.Errorf("strict %v: %d lock-outs, %d explained", strict, lockouts, explained)
		}
	}
}

// dying is a store of a process that may be dead.
type dying struct {
	*memory
	dead func() bool
}

func (d *dying) Save(ctx context.Context, t drover.Tenant, r Refresh) error {
	if d.dead() {
		return errors.New("killed")
	}
	return d.memory.Save(ctx, t, r)
}
