package entra

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"drover"
)

// Doer makes token requests: its clients are held to one origin. *httpx.Client
// is the one used.
type Doer interface {
	HTTPClient(origin string, maxBody int64) *http.Client
}

// Options of Tokens. HTTP, Clouds and Apps are required.
type Options struct {
	HTTP    func(Cloud) Doer // for a cloud's authority
	Clouds  Clouds
	Apps    map[string]App // by the name that tenants carry
	Refresh RefreshStore   // nil: no tenant is read with delegated tokens
	Spacing time.Duration  // between two token calls of one app, 20 ms by default
}

// Tokens gets and keeps access tokens. Safe for concurrent use.
type Tokens struct {
	opt  Options
	skew atomic.Pointer[time.Duration]
	like likenesses
	wg   sync.WaitGroup

	mu       sync.Mutex
	cache    map[slot]*entry
	apis     map[api]*api
	gates    map[[2]string]*gate // by authority and client ID
	renewals map[slot]*renewal   // resource and source are empty
}

// slot names a token. Two sources of one resource have a token each: a
// permission that one of them lacks, and how often it has been refused, is no
// matter of the other's.
type slot struct {
	*api
	tenant drover.TenantID
}

// api is what many slots have in common: one is kept of each.
type api struct {
	cloud, client, resource string
	source                  drover.SourceID
}

// entry is one token, or why there is none.
type entry struct {
	mu      sync.Mutex
	busy    chan struct{} // closed by the one who renews when that is over; nil if nobody does
	token   packed
	renew   time.Time // from then on a new one is asked for
	end     time.Time // from then on it is not used any more, a little before its own end
	refusal *refusal  // why the last try failed, nil after a success
}

// refusal is why a token could not be had.
type refusal struct {
	err    error
	retry  time.Time // no other try before
	times  int       // in a row
	finger [sha256.Size]byte
	freed  uint64 // the gate's generation then
}

// New builds Tokens; it calls nobody.
func New(opt Options) *Tokens {
	if opt.Spacing <= 0 {
		opt.Spacing = defaultSpacing
	}
	return &Tokens{opt: opt, cache: make(map[slot]*entry), apis: make(map[api]*api), gates: make(map[[2]string]*gate), renewals: make(map[slot]*renewal)}
}

// Renewal.
const (
	renewBefore = 5 * time.Minute  // or a tenth of its life, if that is less
	lastUse     = 30 * time.Second // before its end a token is not used any more; or a twentieth of its life
	retryAfter  = 30 * time.Second // when renewing fails and the old one still works
	callTimeout = time.Minute
)

// Token returns an access token of the tenant for a source: the kept one, or a
// new one. One request at a time is made per token; it goes on when its caller
// gives up, since a grant may work only once. Errors are *drover.Error: Denied
// when somebody must act, Throttled with a wait, Transient otherwise.
func (k *Tokens) Token(ctx context.Context, t drover.Tenant, source drover.SourceID) (drover.Secret, error) {
	r, err := k.resolve(t, source)
	if err != nil {
		return drover.Secret{}, err
	}
	e, g := k.entry(r), k.gate(r)
	for {
		e.mu.Lock()
		token, err, done := e.kept(g, r.app)
		busy := e.busy
		if !done && busy != nil {
			token, done = e.usable() // somebody renews it already
		}
		if !done && busy == nil {
			e.busy = make(chan struct{})
		}
		e.mu.Unlock()
		switch {
		case done:
			return token, err
		case busy == nil:
			return k.renewed(ctx, e, g, r)
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return drover.Secret{}, gaveUp(t, ctx.Err())
		}
	}
}

// renewed gets a new token. The entry is busy with it, and is not any more when
// that is over.
func (k *Tokens) renewed(ctx context.Context, e *entry, g *gate, r request) (drover.Secret, error) {
	type result struct {
		token drover.Secret
		err   error
	}
	results := make(chan result, 1)
	k.wg.Go(func() {
		defer e.ready()
		token, err := k.renew(context.WithoutCancel(ctx), e, g, r)
		results <- result{token, err}
	})
	select {
	case got := <-results:
		return got.token, got.err
	case <-ctx.Done():
		return drover.Secret{}, gaveUp(r.tenant, ctx.Err())
	}
}

// ready wakes those who wait for the one who renews.
func (e *entry) ready() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.busy)
	e.busy = nil
}

// Wait returns when no renewal is on its way any more. The store must not be
// closed before.
func (k *Tokens) Wait() { k.wg.Wait() }

// Invalidate drops a token that an API did not accept, so that the next call
// gets a new one. A token that has been replaced meanwhile stays.
func (k *Tokens) Invalidate(t drover.Tenant, source drover.SourceID, token drover.Secret) {
	r, err := k.resolve(t, source)
	if err != nil {
		return
	}
	e := k.entry(r)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.token.token().Equal(token) {
		e.token = packed{}
	}
}

// Forget drops a tenant's tokens and refusals, and the refusals of the apps
// that asked for them, for a check that an operator asks for.
func (k *Tokens) Forget(id drover.TenantID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for s := range k.cache {
		if s.tenant != id {
			continue
		}
		delete(k.cache, s)
		for key, g := range k.gates {
			if key[1] == s.client {
				g.forgive()
			}
		}
	}
}

// Drop forgets everything of a tenant that is read no more: its tokens, and
// what was received for it and not saved.
func (k *Tokens) Drop(id drover.TenantID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	mine := func(s slot) bool { return s.tenant == id }
	maps.DeleteFunc(k.cache, func(s slot, _ *entry) bool { return mine(s) })
	maps.DeleteFunc(k.renewals, func(s slot, _ *renewal) bool { return mine(s) })
}

// Skew returns how far Entra's clock is ahead of ours, by the answer that was
// heard last; ok is false before any.
func (k *Tokens) Skew() (d time.Duration, ok bool) {
	if p := k.skew.Load(); p != nil {
		return *p, true
	}
	return 0, false
}

// heard notes Entra's clock.
func (k *Tokens) heard(at drover.Instant) {
	d := at.Sub(drover.InstantOf(time.Now())).Round(time.Second)
	k.skew.Store(&d)
}

// now is the time for assertions: Entra's, if ours is far from it.
func (k *Tokens) now() time.Time {
	now := time.Now()
	if d, ok := k.Skew(); ok && d.Abs() > assertionBack/2 {
		now = now.Add(d)
	}
	return now
}

func (k *Tokens) resolve(t drover.Tenant, source drover.SourceID) (request, error) {
	app, ok := k.opt.Apps[t.App]
	if !ok {
		return request{}, &drover.Error{Op: opToken, Tenant: t.ID, Kind: drover.Denied, Hint: "define it under apps: in the config", Err: fmt.Errorf("there is no app named %q", t.App)}
	}
	cloud, err := k.opt.Clouds.Of(t)
	return request{tenant: t, app: app, cloud: cloud, source: source}, err
}

func (k *Tokens) entry(r request) *entry {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := slot{k.apiLocked(api{r.cloud.Name, r.app.ClientID, r.cloud.Resource(r.source), r.source}), r.tenant.ID}
	e := k.cache[s]
	if e == nil {
		e = new(entry)
		k.cache[s] = e
	}
	return e
}

func (k *Tokens) apiLocked(a api) *api {
	x := k.apis[a]
	if x == nil {
		x = &a
		k.apis[a] = x
	}
	return x
}

func (k *Tokens) gate(r request) *gate {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := [2]string{r.cloud.Authority, r.app.ClientID}
	g := k.gates[key]
	if g == nil {
		g = &gate{spacing: k.opt.Spacing}
		k.gates[key] = g
	}
	return g
}

func (k *Tokens) renewal(r request) *renewal {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := slot{k.apiLocked(api{cloud: r.cloud.Name, client: r.app.ClientID}), r.tenant.ID}
	w := k.renewals[s]
	if w == nil {
		w = &renewal{busy: make(chan struct{}, 1)}
		k.renewals[s] = w
	}
	return w
}

// kept answers from what is known: a token that need not be renewed yet, one
// that could not be and still works, or a refusal whose time is not over. The
// entry is locked.
func (e *entry) kept(g *gate, app App) (token drover.Secret, err error, done bool) {
	now := time.Now()
	alive := !e.token.empty() && now.Before(e.end)
	last := e.refusal
	switch {
	case alive && now.Before(e.renew):
		return e.token.token(), nil, true
	case last == nil || !now.Before(last.retry):
		return drover.Secret{}, nil, false
	case alive:
		return e.token.token(), nil, true
	}
	denied, ok := errors.AsType[*drover.Error](last.err)
	if !ok || denied.Kind == drover.Transient {
		return drover.Secret{}, nil, false
	}
	if denied.App && denied.Kind == drover.Denied && (g.generation() != last.freed || app.fingerprint() != last.finger) {
		return drover.Secret{}, nil, false // another tenant has got through, or the credential is another one
	}
	if denied.Kind == drover.Throttled {
		left := *denied
		left.Wait = last.retry.Sub(now)
		return drover.Secret{}, &left, true
	}
	return drover.Secret{}, last.err, true
}

// usable returns the token while it works, though it is due for renewal. The
// entry is locked.
func (e *entry) usable() (drover.Secret, bool) {
	if e.token.empty() || !time.Now().Before(e.end) {
		return drover.Secret{}, false
	}
	return e.token.token(), true
}

// renew gets a new token and keeps it. It is called by the one the entry is busy
// with.
func (k *Tokens) renew(ctx context.Context, e *entry, g *gate, r request) (drover.Secret, error) {
	finger := r.app.fingerprint()
	wait, err := g.turn(r.tenant.ID, finger)
	if err != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		if token, ok := e.usable(); ok {
			return token, nil
		}
		return drover.Secret{}, err // no call was made: nothing to remember
	}
	time.Sleep(wait) // at most maxRow, and in no caller's goroutine
	got, err := k.get(ctx, r)
	g.heard(r.tenant.ID, err, finger)
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if err == nil {
		early := min(renewBefore, got.life/10)
		early += rand.N(early/4 + 1)
		e.token, e.end, e.renew = k.like.pack(r.cloud.Resource(r.source), got.access), now.Add(got.life-min(lastUse, got.life/20)), now.Add(got.life-early)
		e.refusal = nil
		return got.access, nil
	}
	var why *drover.Error
	if !errors.As(err, &why) {
		why = &drover.Error{Op: opToken, Tenant: r.tenant.ID, Kind: drover.Transient, Err: err}
	}
	next := &refusal{err: why, finger: finger, freed: g.generation()}
	if e.refusal != nil {
		next.times = e.refusal.times
	}
	e.refusal = next
	switch why.Kind {
	case drover.Denied:
		next.retry = now.Add(probeAfter(next.times))
		next.times++
		if !why.App {
			e.token = packed{} // the customer has spoken
		}
	case drover.Throttled:
		next.retry = now.Add(why.Wait)
	default:
		next.retry = now.Add(retryAfter)
	}
	if token, ok := e.usable(); ok {
		return token, nil // used to its end while no new one can be had
	}
	return drover.Secret{}, why
}

// get asks for a token, delegated where the tenant has a refresh token, and
// checks it.
func (k *Tokens) get(ctx context.Context, r request) (grant, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var got grant
	var err error
	if r.app.Master != nil {
		got, err = k.exchange(ctx, r)
	} else {
		var delegated bool
		got, delegated, err = k.redeem(ctx, r)
		if err == nil && !delegated {
			got, err = k.ask(ctx, r, url.Values{"grant_type": {"client_credentials"}})
		}
	}
	if err == nil {
		err = check(r, got.access)
	}
	return got, err
}

func gaveUp(t drover.Tenant, err error) error {
	return &drover.Error{Op: opToken, Tenant: t.ID, Kind: drover.Transient, Err: err}
}
