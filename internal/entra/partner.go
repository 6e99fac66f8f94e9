package entra

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"drover"
	"drover/internal/gdap"
)

// partnerCenterID is the number that some tokens carry in place of it.
const partnerCenterID = "fa3d9a0c-3fb0-42cc-9193-47c7ecd2edbd"

// partnerSource stands for Partner Center where a sign-in wants a source.
const partnerSource drover.SourceID = "partner"

// PartnerOptions of a Partner. All are required but Store and Spacing.
type PartnerOptions struct {
	HTTP    func(Cloud) Doer
	Cloud   Cloud
	App     App             // the onboarding app
	Home    drover.TenantID // the partner's own tenant
	Center  string          // audience of Partner Center; "": PartnerCenter
	Store   RefreshStore    // keeps the one refresh token; nil: in memory, until the process ends
	Spacing time.Duration   // between two token calls, as in Options
}

// Partner is an account of a partner that has signed in: it gets tokens at the
// partner's own endpoint and, by the same refresh token, at those of customers
// with which there is a relationship (reference partner-gdap §1.3, §1.4).
//
// The one refresh token is renewed at the partner's endpoint and saved before
// its access token is used. What a customer's endpoint sends along counts only
// where nothing is kept beyond the process: it may be that the one before dies.
// Safe for concurrent use.
type Partner struct {
	k      *Tokens
	home   drover.Tenant
	center string
	memory bool

	busy   chan struct{} // holds one while somebody redeems
	asking chan struct{} // holds one while somebody asks whose a refusal is

	mu     sync.Mutex
	tokens map[string]held // at home, by resource
	wide   verdict
}

type held struct {
	token drover.Secret
	until time.Time
}

// verdict is what the partner's endpoint said last when it was asked whether it
// still takes the sign-in.
type verdict struct {
	at  time.Time
	err error
}

// wideEvery is how often at most the partner's endpoint is asked that.
const wideEvery = time.Minute

// NewPartner returns it. It calls nobody.
func NewPartner(opt PartnerOptions) *Partner {
	center := opt.Center
	if center == "" {
		center = PartnerCenter
	}
	memory := opt.Store == nil
	if memory {
		opt.Store = new(inMemory)
	}
	cloud := opt.Cloud
	cloud.GraphResource = center // of partnerSource
	if cloud.Name == "" {
		cloud.Name = DefaultCloud
	}
	opt.App.Name = "partner"
	k := New(Options{HTTP: opt.HTTP, Clouds: Clouds{cloud.Name: cloud}, Apps: map[string]App{"partner": opt.App}, Refresh: opt.Store, Spacing: opt.Spacing})
	return &Partner{k: k, home: drover.Tenant{ID: opt.Home, Cloud: cloud.Name, App: "partner"}, center: center, memory: memory, busy: make(chan struct{}, 1), asking: make(chan struct{}, 1), tokens: make(map[string]held)}
}

// Home returns a token of the partner's own tenant.
func (p *Partner) Home(ctx context.Context, resource string) (drover.Secret, error) {
	p.mu.Lock()
	h, ok := p.tokens[resource]
	p.mu.Unlock()
	if ok && time.Now().Before(h.until) {
		return h.token, nil
	}
	return p.Renew(ctx, resource)
}

// Stale drops a token of the partner's own tenant that an API did not accept.
func (p *Partner) Stale(resource string, token drover.Secret) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tokens[resource].token.Equal(token) {
		delete(p.tokens, resource)
	}
}

// Renew redeems the refresh token at the partner's endpoint. What comes with it
// is saved before the token is handed out.
func (p *Partner) Renew(ctx context.Context, resource string) (drover.Secret, error) {
	r, err := p.request(p.home.ID, resource)
	if err != nil {
		return drover.Secret{}, err
	}
	var g grant
	err = p.alone(ctx, r, func(ctx context.Context) error {
		var ok bool
		if g, ok, err = p.k.redeem(ctx, r); err == nil && !ok {
			err = p.nobody(r)
		}
		return err
	})
	if err == nil {
		err = p.fits(r, g.access)
	}
	if err != nil {
		return drover.Secret{}, err
	}
	p.keep(resource, g)
	return g.access, nil
}

func (p *Partner) keep(resource string, g grant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokens[resource] = held{g.access, time.Now().Add(g.life - min(renewBefore, g.life/10))}
}

// Enter returns a new token of a customer's tenant, and the scopes that it
// carries. Nothing of it is kept here.
func (p *Partner) Enter(ctx context.Context, customer drover.TenantID, resource string) (token drover.Secret, scopes []string, err error) {
	r, err := p.request(customer, resource)
	if err != nil {
		return drover.Secret{}, nil, err
	}
	var g grant
	err = p.alone(ctx, r, func(ctx context.Context) error {
		saved, ok, err := p.k.load(ctx, p.homeRequest(r))
		if err == nil && !ok {
			err = p.nobody(r)
		}
		if err != nil {
			return err
		}
		if g, err = p.ask(ctx, r, saved.Token); err == nil && p.memory && !g.refresh.Empty() {
			err = p.k.opt.Refresh.Save(ctx, p.home, Refresh{Token: g.refresh, Previous: saved.Token, Version: saved.Version})
		}
		return err
	})
	if err == nil {
		err = p.fits(r, g.access)
	}
	if err != nil {
		return drover.Secret{}, nil, err
	}
	c, _ := readClaims(g.access)
	return g.access, strings.Fields(c.Scope), nil
}

// Wide tells a failure of the partner's from a customer's: nil if the partner's
// own endpoint takes the sign-in. It asks once a minute at most.
func (p *Partner) Wide(ctx context.Context) error {
	select { // many customers may meet the same at once
	case p.asking <- struct{}{}:
		defer func() { <-p.asking }()
	case <-ctx.Done():
		return nil
	}
	p.mu.Lock()
	last := p.wide
	p.mu.Unlock()
	if !last.at.IsZero() && time.Since(last.at) < wideEvery {
		return last.err
	}
	_, err := p.Renew(ctx, p.center)
	if err != nil && drover.KindOf(err) != drover.Denied {
		return nil // it cannot be told
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wide = verdict{time.Now(), err}
	return err
}

// Kept returns the refresh token as it is now, after it has been renewed at the
// partner's own endpoint, for whoever seals it.
func (p *Partner) Kept(ctx context.Context) (drover.Secret, error) {
	if _, err := p.Renew(ctx, p.center); err != nil {
		return drover.Secret{}, err
	}
	saved, _, err := p.k.opt.Refresh.Load(ctx, p.home)
	return saved.Token, err
}

// nobody is the error of one who has not signed in.
func (p *Partner) nobody(r request) error {
	return &drover.Error{Op: opPartner, Tenant: r.tenant.ID, Kind: drover.Denied, Hint: "sign in: drover partner connect --keep", Err: errors.New("there is no sign-in of the partner's")}
}

// request is for a resource in a tenant.
func (p *Partner) request(id drover.TenantID, resource string) (request, error) {
	t := p.home
	t.ID = id
	r, err := p.k.resolve(t, partnerSource)
	r.cloud.GraphResource = strings.TrimSuffix(resource, "/")
	return r, err
}

func (p *Partner) homeRequest(r request) request {
	r.tenant = p.home
	return r
}

// alone redeems one after the other: each may bring a new refresh token. It
// keeps to the pace of the app's calls.
func (p *Partner) alone(ctx context.Context, r request, redeem func(context.Context) error) error {
	select {
	case p.busy <- struct{}{}:
		defer func() { <-p.busy }()
	case <-ctx.Done():
		return gaveUp(r.tenant, ctx.Err())
	}
	// The gate gives the pace alone. Whether a refusal is all the partner's says
	// the partner's own endpoint, not how many customers have met it.
	finger, g := r.app.fingerprint(), p.k.gate(r)
	wait, err := g.turn(r.tenant.ID, finger)
	if err != nil {
		return err
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return gaveUp(r.tenant, ctx.Err())
	}
	// A grant may work only once: who gives up does not end it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	if err = redeem(ctx); err == nil || drover.KindOf(err) == drover.Throttled {
		g.heard(r.tenant.ID, err, finger)
	}
	return err
}

// ask redeems a refresh token for r.
func (p *Partner) ask(ctx context.Context, r request, refresh drover.Secret) (grant, error) {
	return p.k.ask(ctx, r, grantOf(refresh))
}

// fits refuses a token that is for somebody or something else, before any API
// sees it (reference partner-gdap §6, acceptance 3).
func (p *Partner) fits(r request, token drover.Secret) error {
	c, ok := readClaims(token)
	if !ok {
		return nil
	}
	drop := func(hint, why string) error {
		return &drover.Error{Op: opPartner, Tenant: r.tenant.ID, Kind: drover.Denied, Code: gdap.CodeWrongToken, Hint: hint, Err: &Unfit{c.permissions(), why}}
	}
	want := r.cloud.Resource(r.source)
	number := map[string]string{p.center: partnerCenterID}[want]
	if number == "" {
		number = graphAppID
	}
	fits := func(aud string) bool { return strings.EqualFold(strings.TrimSuffix(aud, "/"), want) || aud == number }
	switch issuer := issuerTenant(c.Iss); {
	case c.TID != "" && !strings.EqualFold(c.TID, string(r.tenant.ID)), issuer != "" && !strings.EqualFold(issuer, string(r.tenant.ID)):
		return drop("the token was dropped unused; report it to Microsoft", "wrong tenant: the token is for another one")
	case len(c.audiences()) > 0 && !slices.ContainsFunc(c.audiences(), fits):
		return drop("the token was dropped unused; check the cloud's resource in the config", "wrong audience: the token is for another API")
	case c.AppID != "" && !strings.EqualFold(c.AppID, r.app.ClientID), c.Azp != "" && !strings.EqualFold(c.Azp, r.app.ClientID):
		return drop("the token was dropped unused; check partner: client_id in the config", "wrong app: the token was issued to another one")
	}
	return nil
}

// inMemory keeps one refresh token for the life of the process.
type inMemory struct {
	mu  sync.Mutex
	now Refresh
}

// Load is RefreshStore.Load.
func (m *inMemory) Load(context.Context, drover.Tenant) (Refresh, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now, !m.now.Token.Empty(), nil
}

// Save is RefreshStore.Save.
func (m *inMemory) Save(_ context.Context, _ drover.Tenant, r Refresh) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.Version != m.now.Version {
		return ErrConflict
	}
	r.Version++
	m.now = r
	return nil
}
