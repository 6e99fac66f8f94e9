package entra

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"time"

	"drover"
)

// AdminConsent is the page on which a customer's admin agrees to the app's own
// permissions for the whole tenant (reference entra-oauth §6). What comes back
// is a hint and no more: whether the tenant has agreed, a token says.
type AdminConsent struct {
	r        request
	redirect string
	state    state

	mu   sync.Mutex
	used bool
}

// BeginConsent prepares the page of a tenant. It calls nobody.
func (k *Tokens) BeginConsent(t drover.Tenant, redirect string, v1 bool) (*AdminConsent, error) {
	r, err := k.resolve(t, "")
	if err != nil {
		return nil, err
	}
	r.old = v1
	return &AdminConsent{r: r, redirect: redirect, state: newState()}, nil
}

// URL is the page, of the tenant by its ID. It asks for everything that is in
// the app's registration.
func (c *AdminConsent) URL() string {
	q := url.Values{"client_id": {c.r.app.ClientID}, "redirect_uri": {c.redirect}, "state": {c.state.text.Reveal()}}
	path := "/adminconsent"
	if !c.r.v1() {
		path = "/v2.0/adminconsent"
		q.Set("scope", c.r.cloud.Resource("")+"/.default")
	}
	return c.r.cloud.Authority + "/" + string(c.r.tenant.ID) + path + "?" + q.Encode()
}

// Mine reports whether what came to the redirect belongs to this page.
func (c *AdminConsent) Mine(q url.Values) bool { return c.state.is(q) }

// Finish takes what came to the redirect. Error is looked at first, since
// admin_consent=True stands beside it; tenant is not looked at, since anybody can
// write it. nil means that the tenant may be asked, and nothing else. It works
// once.
func (c *AdminConsent) Finish(q url.Values) error {
	const op = "admin consent"
	stop := func(err error) error {
		return &drover.Error{Op: op, Tenant: c.r.tenant.ID, Kind: drover.Denied, Hint: "begin again, and use the newest link only", Err: err}
	}
	if !c.Mine(q) {
		return stop(errForeign)
	}
	c.mu.Lock()
	again := c.used
	c.used = true
	c.mu.Unlock()
	if again {
		return stop(errOnce)
	}
	return c.r.toldBack(op, q)
}

// Consented asks for tokens of the app's own and says how far the tenant has
// agreed: known, that the app is in it; granted, that one of the tenant's APIs
// gives the app a permission, or that its API does not say (reference
// entra-oauth §11.3). Nothing is kept. An error means that it cannot be told.
func (k *Tokens) Consented(ctx context.Context, t drover.Tenant) (known, granted bool, err error) {
	asked := make(map[string]bool)
	silent := true // no API of the tenant says which permission it wants
	for _, s := range t.Sources {
		silent = silent && Wants(s) == nil
	}
	for _, s := range t.Sources {
		r, err := k.resolve(t, s)
		if err != nil {
			return false, false, err
		}
		resource := r.cloud.Resource(s)
		if asked[resource] || Wants(s) == nil && !silent {
			continue
		}
		asked[resource] = true
		got, err := k.appOnly(ctx, r)
		if absent(err) {
			continue
		}
		if err != nil {
			return known, false, err
		}
		known = true
		c, ok := readClaims(got.access)
		if ok && c.TID != "" && !strings.EqualFold(c.TID, string(t.ID)) {
			return false, false, r.stop("check the tenant's ID and the cloud's authority; the token was dropped unused", errWrongTenant)
		}
		if silent || !ok || len(c.Roles) > 0 {
			return true, true, nil
		}
	}
	return known, false, nil
}

// appOnly gets a token of the app's own, whatever else the tenant is read by.
func (k *Tokens) appOnly(ctx context.Context, r request) (grant, error) {
	finger, g := r.app.fingerprint(), k.gate(r)
	wait, err := g.turn(r.tenant.ID, finger)
	if err != nil {
		return grant{}, err
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return grant{}, gaveUp(r.tenant, ctx.Err())
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	got, err := k.ask(ctx, r, url.Values{"grant_type": {"client_credentials"}})
	g.heard(r.tenant.ID, err, finger)
	return got, err
}

// errWrongTenant is what a token for another tenant gets.
var errWrongTenant = errors.New("wrong tenant: the token is for another one")

// absent reports whether a refusal says that the tenant has not agreed, or that
// it does not show yet.
func absent(err error) bool {
	r, ok := errors.AsType[*Refusal](err)
	return ok && (r.Class == NoPrincipal || r.Class == Consent)
}
