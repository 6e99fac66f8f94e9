package authority

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Consent is what a tenant has agreed to (reference entra-oauth §11.3).
type Consent int

// The states of consent, each with what the one before has. One person's
// consent counts for the whole tenant here.
const (
	None      Consent = iota // no service principal: 7000229
	Known                    // a service principal without a grant: a token without roles
	Delegated                // signed-in users have their scopes; the app itself still has no roles
	Granted                  // roles
)

var consentNames = []string{"none", "known", "delegated", "granted"}

// MarshalText writes it as a word.
func (c Consent) MarshalText() ([]byte, error) { return []byte(consentNames[c]), nil }

// UnmarshalText reads that word.
func (c *Consent) UnmarshalText(text []byte) error {
	i := slices.Index(consentNames, string(text))
	if i < 0 {
		return fmt.Errorf("a consent is one of %v", consentNames)
	}
	*c = Consent(i)
	return nil
}

// consent is a state with the one it replaces.
type consent struct {
	now, before Consent
	since       time.Time
}

// Consent sets what a tenant has agreed to for an app. With ConsentDelay it
// shows unevenly for a while.
func (d *Directory) Consent(tenant, client string, c Consent) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.agree(d.tenants[tenant], client, c)
}

// Consented returns what a tenant has agreed to, once it has spread.
func (d *Directory) Consented(tenant, client string) Consent {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tenants[tenant].consent(client).now
}

// agree sets a consent to all that the registration asks for.
func (d *Directory) agree(t *Tenant, client string, c Consent) {
	delete(t.roles, strings.ToLower(client))
	was := t.consent(client)
	if was.now != c {
		t.consents[strings.ToLower(client)] = consent{now: c, before: was.now, since: d.Clock()}
	}
}

func (t *Tenant) consent(client string) consent { return t.consents[strings.ToLower(client)] }

// shown is what one request sees of a consent. While it spreads, each request
// meets another server: one that knows, one that does not, or one that has the
// service principal and not yet its grants.
func (d *Directory) shown(t *Tenant, client string) Consent {
	c := t.consent(client)
	if d.spread(c.since, d.ConsentDelay) {
		return c.now
	}
	if lo, hi := min(c.now, c.before), max(c.now, c.before); hi-lo > 1 && d.rng.IntN(2) == 0 {
		return Known
	}
	return c.before
}

// spread reports whether a request sees a change: never at once, always after
// the delay, and ever more often in between.
func (d *Directory) spread(since time.Time, delay Span) bool {
	gone := d.Clock().Sub(since)
	return delay <= 0 || gone >= time.Duration(delay) || d.rng.Float64() < float64(gone)/float64(delay)
}

// Listing is what a customer enters in the portal's MSSP tab: the app, and the
// MSSP's tenant (reference mssp-onboarding §4).
type Listing struct {
	App  string `json:"app"`
	MSSP string `json:"tenant"`
}

type listed struct {
	on    bool
	since time.Time
}

// Authorise lists an app in a tenant's MSSP tab with its own home tenant, or
// takes it off.
func (d *Directory) Authorise(tenant, client string, on bool) {
	home := ""
	d.mu.Lock()
	if a := d.app(client); a != nil {
		home = a.HomeTenant
	}
	d.mu.Unlock()
	d.List(tenant, Listing{client, home}, on)
}

// List enters a line in a tenant's MSSP tab, or takes it off. Nobody checks
// what is entered.
func (d *Directory) List(tenant string, l Listing, on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list(d.tenants[tenant], l, on)
}

func (d *Directory) list(t *Tenant, l Listing, on bool) {
	l = Listing{strings.ToLower(l.App), strings.ToLower(l.MSSP)}
	if t.mssp[l].on != on {
		t.mssp[l] = listed{on, d.Clock()}
	}
}

// Listed returns the lines of a tenant's MSSP tab, in order.
func (d *Directory) Listed(tenant string) []Listing {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tenants[tenant].lines()
}

func (t *Tenant) lines() []Listing {
	out := []Listing{}
	for l, e := range t.mssp {
		if e.on {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b Listing) int { return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.MSSP, b.MSSP)) })
	return out
}

// Authorised reports whether an app may read a tenant's detections: it is the
// tenant's own, or the MSSP tab lists it with the tenant that owns it. With
// ListDelay a change shows unevenly for a while.
func (d *Directory) Authorised(tenant, client string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	t, a := d.tenants[tenant], d.app(client)
	if t == nil || a == nil {
		return false
	}
	if a.HomeTenant == tenant {
		return true
	}
	l := t.mssp[Listing{strings.ToLower(client), strings.ToLower(a.HomeTenant)}]
	return l.on == d.spread(l.since, d.ListDelay)
}

// Tenant resolves a GUID or domain to a tenant's ID and domain.
func (d *Directory) Tenant(name string) (id, domain string, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.find(name)
	if t == nil {
		return "", "", false
	}
	return t.ID, t.Domain, true
}
