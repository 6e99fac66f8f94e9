package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/config"
	"drover/internal/enrol"
	"drover/internal/entra"
	"drover/internal/expiry"
	"drover/internal/gdap"
	"drover/internal/ledger"
	"drover/internal/onboard"
	"drover/internal/partner"
	"drover/internal/registration"
)

// partnerDesk is the MSSP's standing as a partner: its sign-in, if one is kept,
// and what was seen of its customers.
type partnerDesk struct {
	a   *app
	cfg config.Partner

	busy chan struct{} // holds one while the kept sign-in is asked
	wake chan struct{} // a sign-in was kept or forgotten

	// readers has those who wait for the sign-in read again; it is set before
	// anything runs.
	readers func()

	mu       sync.Mutex
	kept     *entra.Partner // with the ledger's token; nil before it is needed
	incident *admin.PartnerIncident
	doubted  bool // the last list was empty, and that was said
}

func newPartnerDesk(a *app, cfg config.Partner) *partnerDesk {
	return &partnerDesk{a: a, cfg: cfg, busy: make(chan struct{}, 1), wake: make(chan struct{}, 1), readers: func() {}}
}

// entra signs the partner's account in; store nil: for this process alone.
func (d *partnerDesk) entra(store entra.RefreshStore) *entra.Partner {
	cloud := d.a.clouds[d.cfg.Cloud]
	return entra.NewPartner(entra.PartnerOptions{HTTP: func(c entra.Cloud) entra.Doer { return d.a.https[c.Name] }, Cloud: cloud, App: d.a.entraApp("partner", d.cfg.App()),
		Home: drover.TenantID(d.cfg.Tenant), Center: d.cfg.CenterResource, Store: store})
}

// client makes the partner's calls.
func (d *partnerDesk) client(p *entra.Partner) *partner.Client {
	cloud := d.a.clouds[d.cfg.Cloud]
	return partner.New(partner.Options{HTTP: d.a.https[d.cfg.Cloud], Tokens: p, Graph: cloud.Graph, GraphResource: cloud.Resource(""), Center: d.cfg.Center, CenterResource: d.cfg.CenterResource})
}

// partnerName is what the onboarding app is called where it is consented.
const partnerName = "drover onboarding"

// asPartner is what the service needs of the partner.
type asPartner struct {
	*entra.Partner
	client   *partner.Client
	resource string // of Graph
	app      string // the onboarding app's client ID
}

func (p asPartner) Enter(ctx context.Context, customer drover.TenantID) (enrol.Directory, []string, error) {
	token, scopes, err := p.Partner.Enter(ctx, customer, p.resource)
	if err != nil {
		return nil, nil, err
	}
	return p.client.Directory(customer, token), scopes, nil
}

func (p asPartner) Consent(ctx context.Context, customer drover.TenantID, scopes []string) (bool, error) {
	return p.client.Consent(ctx, customer, p.app, partnerName, registration.Graph, scopes)
}

func (p asPartner) Withdraw(ctx context.Context, customer drover.TenantID) error {
	return p.client.Withdraw(ctx, customer, p.app)
}

// partnerScopes are what the onboarding app needs of Graph in a customer
// (reference partner-gdap §4b).
var partnerScopes = []string{"Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All"}

// readingScopes are what the onboarding app needs of Graph in a customer that is
// read with the partner's account, by source.
var readingScopes = map[drover.SourceID]string{drover.GraphAlerts: "SecurityAlert.Read.All", drover.GraphIncidents: "SecurityIncident.Read.All"}

var allReadingScopes = slices.Sorted(maps.Values(readingScopes))

// service connects customers by what the partner may; add makes one known.
func (d *partnerDesk) service(p *entra.Partner, client *partner.Client, wants []enrol.Want, add func(context.Context, enrol.Candidate) error) *enrol.Service {
	return &enrol.Service{Partner: asPartner{p, client, d.a.clouds[d.cfg.Cloud].Resource(""), d.cfg.ClientID}, Reader: d.a.cfg.Apps[d.cfg.Reader].ClientID, Wants: wants, Scopes: partnerScopes, Keeps: slices.Concat(partnerScopes, allReadingScopes), Add: add,
		Roles: func(ctx context.Context, id drover.TenantID, s drover.SourceID) ([]string, bool, error) {
			return d.a.tokens.AppRoles(ctx, drover.Tenant{ID: id, Cloud: d.cfg.Cloud, App: d.cfg.Reader}, s)
		}}
}

// partnerSignIns lets the account sign in by the ways that connecting a tenant
// has.
type partnerSignIns struct{ p *entra.Partner }

func (s partnerSignIns) SignIn(_ drover.Tenant, _ drover.SourceID, _ bool, redirect string) (onboard.SignIn, error) {
	return s.p.SignIn(redirect)
}

func (s partnerSignIns) Device(ctx context.Context, _ drover.Tenant, _ drover.SourceID, _ bool) (onboard.DeviceSignIn, error) {
	in, err := s.p.Device(ctx)
	if err != nil {
		return nil, err
	}
	return in, nil
}

func (partnerSignIns) AdminConsent(drover.Tenant, string, bool) (onboard.AdminConsent, error) {
	return nil, errors.New("a partner's account consents to nothing")
}

func (partnerSignIns) Consented(context.Context, drover.Tenant) (bool, bool, error) {
	return false, false, errors.New("a partner's account consents to nothing")
}

// Kinds of what the ledger keeps sealed of the partner.
const (
	partnerToken = "partner_refresh_token"
	partnerSeen  = "partner_seen"
)

func (d *partnerDesk) key(kind string) ledger.CredentialKey {
	cloud := d.a.clouds[d.cfg.Cloud]
	return ledger.CredentialKey{App: d.cfg.ClientID, Kind: kind, Cloud: cloud.Name, Authority: cloud.Authority}
}

// Load implements entra.RefreshStore.
func (d *partnerDesk) Load(ctx context.Context, _ drover.Tenant) (entra.Refresh, bool, error) {
	c, err := d.a.store.Credential(ctx, d.key(partnerToken))
	if errors.Is(err, ledger.ErrNotFound) {
		return entra.Refresh{}, false, nil
	}
	return entra.Refresh{Token: c.Secret, Previous: c.Previous, Version: c.Version}, err == nil, err
}

// Save implements entra.RefreshStore.
func (d *partnerDesk) Save(ctx context.Context, _ drover.Tenant, v entra.Refresh) error {
	_, err := d.a.store.PutCredential(ctx, ledger.Credential{CredentialKey: d.key(partnerToken), Secret: v.Token, Previous: v.Previous, Expires: drover.NoInstant}, v.Version)
	if errors.Is(err, ledger.ErrConflict) {
		return entra.ErrConflict
	}
	return err
}

// seen returns what was seen last, and its version.
func (d *partnerDesk) seen(ctx context.Context) (s gdap.Seen, version uint64, err error) {
	c, err := d.a.store.Credential(ctx, d.key(partnerSeen))
	if errors.Is(err, ledger.ErrNotFound) {
		return s, 0, nil
	}
	if err != nil {
		return s, 0, err
	}
	if err := json.Unmarshal(c.Secret.Bytes(), &s); err != nil {
		return s, 0, fmt.Errorf("read what was seen of the partner's customers: %w", err)
	}
	return s, c.Version, nil
}

// change changes what was seen, whoever else does at the same time.
func (d *partnerDesk) change(ctx context.Context, do func(*gdap.Seen)) (gdap.Seen, error) {
	for {
		s, version, err := d.seen(ctx)
		if err != nil {
			return s, err
		}
		do(&s)
		text, err := json.Marshal(s)
		if err != nil {
			return s, err
		}
		_, err = d.a.store.PutCredential(ctx, ledger.Credential{CredentialKey: d.key(partnerSeen), Secret: drover.NewSecret(text), Expires: drover.NoInstant}, version)
		if !errors.Is(err, ledger.ErrConflict) {
			return s, err
		}
	}
}

// KeepPartner implements admin.Partnering.
func (d *partnerDesk) KeepPartner(ctx context.Context, k admin.PartnerKeep) error {
	if _, err := d.change(ctx, func(s *gdap.Seen) {
		first, gone := s.First, s.Gone
		old := gdap.Seen{First: first, Gone: gone, Customers: s.Customers, At: s.At}
		old.Update(k.Seen.Customers, k.Seen.At)
		old.Partner, old.Account, old.Planned = k.Seen.Partner, k.Seen.Account, k.Seen.Planned
		*s = old
	}); err != nil {
		return err
	}
	for k.RefreshToken != "" {
		old, _, err := d.Load(ctx, drover.Tenant{})
		if err == nil {
			err = d.Save(ctx, drover.Tenant{}, entra.Refresh{Token: drover.NewSecret(k.RefreshToken), Version: old.Version})
		}
		if errors.Is(err, entra.ErrConflict) {
			continue
		}
		if err != nil {
			return err
		}
		d.fresh()
		break
	}
	return nil
}

// fresh begins anew with what is kept now.
func (d *partnerDesk) fresh() {
	d.mu.Lock()
	d.kept = nil
	d.mu.Unlock()
	d.mended()
	d.wakeUp()
}

// mended lets those who are read with the sign-in try again at once.
func (d *partnerDesk) mended() {
	d.a.tokens.Forgive(drover.PartnerApp)
	d.readers()
}

// wakeUp has the watch look now.
func (d *partnerDesk) wakeUp() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// ForgetPartner implements admin.Partnering.
func (d *partnerDesk) ForgetPartner(ctx context.Context) (bool, error) {
	err := d.a.store.DropCredential(ctx, d.key(partnerToken))
	if errors.Is(err, ledger.ErrNotFound) {
		return false, nil
	}
	if err == nil {
		d.mu.Lock()
		d.incident = nil
		d.mu.Unlock()
		d.fresh()
	}
	return err == nil, err
}

// Partner implements admin.Partnering.
func (d *partnerDesk) Partner(ctx context.Context, fresh bool) (admin.PartnerStatus, error) {
	out := admin.PartnerStatus{Tenant: drover.TenantID(d.cfg.Tenant), Customers: []admin.PartnerCustomer{}}
	token, err := d.a.store.Credential(ctx, d.key(partnerToken))
	switch {
	case err == nil:
		out.Kept, out.KeptSince = true, token.Stored.Time()
	case !errors.Is(err, ledger.ErrNotFound):
		return out, err
	}
	if fresh && out.Kept {
		if out.Notes, err = d.look(ctx); err != nil {
			return out, err
		}
	}
	s, _, err := d.seen(ctx)
	if err != nil {
		return out, err
	}
	tenants, err := d.a.store.ListTenants(ctx)
	if err != nil {
		return out, err
	}
	now := time.Now()
	for _, t := range tenants {
		if t.App == drover.PartnerApp && t.State != drover.Removed {
			out.Delegated = append(out.Delegated, t.Name)
		}
	}
	if len(out.Delegated) > 0 {
		out.Unproven = drover.UnprovenPartner
	}
	out.Account, out.Seen = s.Account, s.At
	for _, c := range s.Customers {
		x := admin.PartnerCustomer{Customer: c, Standing: c.Standing(), Roles: []string{}, New: s.New(c.Tenant), Gone: s.Gone[c.Tenant]}
		for _, r := range c.Roles() {
			x.Roles = append(x.Roles, gdap.RoleName(r))
		}
		x.End, x.Extends = c.End()
		if i := slices.IndexFunc(tenants, func(t drover.Tenant) bool { return t.ID == c.Tenant }); i >= 0 {
			x.Short, x.State = tenants[i].Name, tenants[i].State
			if x.State != drover.Removed {
				x.Unproven = tenants[i].Unproven()
			}
		}
		if item, ok := relationshipEnds(c, x.Short, s.At); ok {
			if x.Unproven != "" {
				item.Hint = endsTheReading
			}
			if _, near := item.Reached(now); near {
				x.Warns = item.Says(now)
			}
		}
		out.Customers = append(out.Customers, x)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if out.Kept || len(out.Delegated) > 0 { // else nobody needs one
		out.Incident = d.incident
	}
	return out, nil
}

// endsTheReading is what to do about the end of a relationship with a customer that
// is read by it.
const endsTheReading = "have the customer approve a new relationship in time, or grant the reading app its permissions and give the tenant that app: with this relationship the reading of this tenant ends"

// relationshipEnds is the end of a customer's last relationship, if somebody must
// see to it, by a list of that time.
func relationshipEnds(c gdap.Customer, short string, seen time.Time) (expiry.Item, bool) {
	at, ok := c.Ends(seen)
	name := short
	if name == "" {
		name = c.Name
	}
	return expiry.Item{What: "the partner relationship with " + name, ID: at.Format(time.RFC3339), Until: at, Days: gdap.WarnDays,
		Hint: "have the customer approve a new relationship in time; what is read with the app's own permissions goes on without one, but nothing can be granted there any more"}, ok
}

// signedIn asks with the ledger's token.
func (d *partnerDesk) signedIn() *entra.Partner {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kept == nil {
		d.kept = d.entra(d)
	}
	return d.kept
}
