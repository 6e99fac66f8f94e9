package entra

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/proof"
)

// TestAnAPIRefusesATokenOnceAtMostBeforeItIsRenewed polls an API for a day. It
// takes a token for as long as it really lives, whatever the answer said.
func TestAnAPIRefusesATokenOnceAtMostBeforeItIsRenewed(t *testing.T) {
	cases := map[string]struct {
		says string        // "expires_in": …, or nothing
		real time.Duration // for which the API takes it
		date time.Duration // by which Entra's clock is ahead
	}{
		"as it is":                       {`"expires_in":3600,`, time.Hour, 0},
		"as text":                        {`"expires_in":"3600",`, time.Hour, 0},
		"negative":                       {`"expires_in":-5,`, time.Hour, 0},
		"nothing said":                   {"", time.Hour, 0},
		"a day":                          {`"expires_in":86399,`, 24 * time.Hour, 0},
		"one minute":                     {`"expires_in":"60",`, time.Minute, 0},
		"Entra's clock 10 min ahead":     {`"expires_in":3600,`, time.Hour, 10 * time.Minute},
		"Entra's clock 10 min behind":    {`"expires_in":3600,`, time.Hour, -10 * time.Minute},
		"it lives for less than is said": {`"expires_in":3600,`, 50 * time.Minute, 0},
		"revoked again and again":        {`"expires_in":86399,`, 7 * time.Minute, 0},
	}
	most, refusals, tokens := 0, 0, 0
	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				born := make(map[string]time.Time)
				a := &authority{}
				a.answer = func(n int, _ string, _ url.Values) reply {
					token := fmt.Sprint("token-", n)
					born[token] = time.Now()
					return reply{header: http.Header{"Date": {time.Now().Add(tt.date).UTC().Format(http.TimeFormat)}}, body: `{` + tt.says + `"access_token":"` + token + `"}`}
				}
				k := tokensOf(a, nil)
				refused := make(map[string]int)
				for range 24 * 360 {
					for range 3 {
						token, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts)
						if err != nil {
							t.Fatal(err)
						}
						if time.Since(born[token.Reveal()]) < tt.real {
							break
						}
						refused[token.Reveal()]++
						k.Invalidate(tenant(tenantA), drover.GraphAlerts, token)
					}
					time.Sleep(10 * time.Second)
				}
				for _, n := range refused {
					most = max(most, n)
				}
				tokens, refusals = tokens+len(born), refusals+len(refused)
				if len(refused) > 0 && tt.real >= time.Hour {
					t.Errorf("%d of %d tokens were used after their end", len(refused), len(born))
				}
			})
		})
	}
	if most > 1 {
		t.Errorf("a token was refused %d times", most)
	}
	proof.Ran(t, "T01", "a day each of %d ways to say how long, %d tokens, %d revoked early: 401s per expiry at most %d", len(cases), tokens, refusals, most)
}

func TestWhileParkedATokenIsAskedForOncePerProbe(t *testing.T) {
	codes := append(Codes(), 123456) // and one that nobody knows
	parked, calls, worst := 0, 0, 0
	for _, code := range codes {
		if remedy, ok := Explain(code); ok && remedy.Kind != drover.Denied {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			a := &authority{answer: func(int, string, url.Values) reply { return bad(400, code, "invalid_grant") }}
			k := tokensOf(a, nil)
			for range 10 * 60 {
				if _, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts); drover.KindOf(err) != drover.Denied {
					t.Fatalf("%d: %v", code, err)
				}
				time.Sleep(time.Minute)
			}
			parked++
			calls += a.count()
			worst = max(worst, a.count())
			for i := 1; i < len(a.calls); i++ { // 1 min, doubling to 1 h
				if gap := a.calls[i].at.Sub(a.calls[i-1].at); gap < min(time.Hour, time.Minute<<(i-1)) {
					t.Errorf("%d: call %d came %s after the one before", code, i, gap)
				}
			}
		})
	}
	proof.Ran(t, "T02", "codes of the table that park, and an unknown one: %d of %d; asked once a minute for ten hours: %d calls, at most %d each, none before its probe", parked, len(codes), calls, worst)
}

// TestNoReplicaOverwritesANewerToken lets replicas renew at the same time, each
// as slow as chance has it.
func TestNoReplicaOverwritesANewerToken(t *testing.T) {
	const races = 400
	stale, saved, conflicts, locked := 0, 0, 0, 0
	for seed := range uint64(races) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 4))
			var mu sync.Mutex
			pause := func() {
				mu.Lock()
				d := time.Duration(rng.IntN(50)) * time.Millisecond
				mu.Unlock()
				time.Sleep(d)
			}
			f := &family{dead: map[string]bool{}}
			m := &racing{memory: delegated(), pause: pause, conflicts: &conflicts}
			var wg sync.WaitGroup
			for range 3 {
				k := tokensOf(&authority{answer: func(n int, tenant string, form url.Values) reply {
					pause()
					r := f.redeem(n, tenant, form)
					pause()
					return r
				}}, m)
				wg.Go(func() {
					for range 3 {
						token, err := k.Token(t.Context(), tenant(tenantA), drover.GraphAlerts)
						if err != nil {
							mu.Lock()
							locked++
							mu.Unlock()
						}
						k.Invalidate(tenant(tenantA), drover.GraphAlerts, token)
					}
				})
			}
			wg.Wait()
			for i := 1; i < len(m.saved); i++ {
				// What is saved was bought with what stood there.
				if m.saved[i].Previous.Reveal() != m.saved[i-1].Token.Reveal() {
					stale++
				}
			}
			saved += len(m.saved)
		})
	}
	if stale > 0 || locked > 0 {
		t.Errorf("%d stale overwrites, %d refused", stale, locked)
	}
	proof.Ran(t, "T04", "%d races of three replicas, %d saves, %d that came late: stale overwrites %d", races, saved, conflicts, stale)
}

// racing is a store that several replicas reach at their own speed.
type racing struct {
	*memory
	pause     func()
	conflicts *int
}

func (r *racing) Load(ctx context.Context, t drover.Tenant) (Refresh, bool, error) {
	defer r.pause()
	return r.memory.Load(ctx, t)
}

func (r *racing) Save(ctx context.Context, t drover.Tenant, v Refresh) error {
	r.pause()
	err := r.memory.Save(ctx, t, v)
	if errors.Is(err, ErrConflict) {
		r.mu.Lock()
		*r.conflicts++
		r.mu.Unlock()
	}
	return err
}

// TestEverySecretGoesToItsOwnCloudAndTenant records where each secret goes:
// every cloud, kind of credential and source, several tenants, and authorities
// that name other places in whatever they say.
func TestEverySecretGoesToItsOwnCloudAndTenant(t *testing.T) {
	const away = "https://evil.example/oauth2/v2.0/token"
	hostile := []reply{
		{status: 307, header: http.Header{"Location": {away}}},
		{status: 308, header: http.Header{"Location": {"//evil.example/token"}}},
		{body: `{"token_endpoint":"` + away + `","access_token":"opaque","expires_in":60}`},
		{body: `{"access_token":"opaque","expires_in":60,"resource":"` + away + `","cloud_instance_host_name":"evil.example"}`},
		{status: 400, body: `{"error":"invalid_grant","error_codes":[70000],"error_uri":"` + away + `"}`},
		{status: 400, header: http.Header{"Www-Authenticate": {`Bearer authorization_uri="` + away + `"`}}, body: `{"error":"interaction_required"}`},
		{},
	}
	withCert, _ := withCertificate(t)
	clouds := BuiltIn()
	foreign, wrongTenant, calls, tried := 0, 0, 0, 0
	for _, name := range slices.Sorted(maps.Keys(clouds)) {
		for kind, app := range map[string]App{"secret": withSecret(), "certificate": withCert, "refresh token": withSecret()} {
			for _, h := range hostile {
				var asked drover.TenantID
				a := &authority{answer: func(n int, tenant string, _ url.Values) reply {
					if n%2 == 1 && (h.body != "" || h.status != 0) {
						return h
					}
					return reply{body: `{"access_token":"opaque","expires_in":60}`}
				}}
				var store RefreshStore
				if kind == "refresh token" {
					store = delegated()
				}
				k := tokensOf(a, store, app)
				for _, id := range []drover.TenantID{tenantA, tenantB, tenantA} {
					for _, s := range []drover.SourceID{drover.GraphAlerts, drover.SIEMDetections} {
						x := tenant(id)
						x.Cloud, asked = name, id
						before := a.count()
						token, _ := k.Token(t.Context(), x, s)
						k.Invalidate(x, s, token)
						k.Forget(id)
						tried++
						for _, c := range a.calls[before:] {
							calls++
							u, err := url.Parse(c.url)
							if err != nil || u.Scheme+"://"+u.Host != clouds[name].Authority {
								foreign++
							}
							if !strings.HasPrefix(u.Path, "/"+string(asked)+"/oauth2/") {
								wrongTenant++
							}
						}
					}
				}
			}
		}
	}
	if foreign > 0 || wrongTenant > 0 || calls == 0 {
		t.Errorf("%d requests left their cloud, %d were for another tenant, of %d", foreign, wrongTenant, calls)
	}
	proof.Ran(t, "I13", "%d clouds, 3 kinds of credential, %d hostile answers: of %d token requests %d to another origin, %d for another tenant", len(clouds), len(hostile)-1, calls, foreign, wrongTenant)
}
