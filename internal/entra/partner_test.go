package entra_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"drover"
	"drover/internal/entra"
	"drover/internal/gdap"
	"drover/internal/httpx"
	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/lab/fault"
	"drover/internal/proof"
)

const graphResource = "https://graph.microsoft.com"

// partner is a lab whose MSSP is a partner, and the sign-in of its account.
func partnerOf(t *testing.T, store entra.RefreshStore) (*cloud, *entra.Partner, string) {
	t.Helper()
	l, err := lab.New(lab.Options{Seed: 1, Customers: 2, Partner: true})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := l.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client, err := httpx.New(httpx.Options{Purpose: "lab", CAs: l.CAPEM(), AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); _ = l.Close() })
	id, secret := l.OnboardingApp()
	c := &cloud{Lab: l, client: client}
	p := entra.NewPartner(entra.PartnerOptions{HTTP: func(entra.Cloud) entra.Doer { return client }, Cloud: entra.Cloud{Name: "lab", Authority: "https://" + addr, Graph: "https://" + addr}, Home: lab.HomeTenant, Store: store,
		App: entra.App{ClientID: id, Secret: func() (drover.Secret, error) { return drover.NewSecret(secret), nil }}})
	return c, p, id
}

func adopt(t *testing.T, c *cloud, p *entra.Partner, app string, mfa bool, tenant drover.TenantID) error {
	t.Helper()
	return p.Adopt(t.Context(), drover.Person{Tenant: tenant, Name: lab.PartnerAccount}, drover.NewSecret(c.Directory().GivePartnerToken(app, lab.PartnerAccount, mfa)))
}

func TestOnlyAPartnersOwnSignInWithASecondFactorIsTaken(t *testing.T) {
	c, p, app := partnerOf(t, nil)
	foreign := drover.TenantID(c.Customers()[0].Tenant)
	for name, err := range map[string]error{
		"one factor":        adopt(t, c, p, app, false, lab.HomeTenant),
		"of another tenant": adopt(t, c, p, app, true, foreign),
		"nothing":           p.Adopt(t.Context(), drover.Person{Tenant: lab.HomeTenant}, drover.Secret{}),
	} {
		if drover.KindOf(err) != drover.Denied || drover.HintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := p.Home(t.Context(), graphResource); drover.KindOf(err) != drover.Denied {
		t.Errorf("something was kept: %v", err)
	}
	if err := adopt(t, c, p, app, true, lab.HomeTenant); err != nil {
		t.Fatal(err)
	}
	token, err := p.Home(t.Context(), graphResource)
	if err != nil {
		t.Fatal(err)
	}
	if claims, err := c.Directory().Verify(token.Reveal()); err != nil || claims.TenantID != lab.HomeTenant || claims.Audience != graphResource {
		t.Errorf("%+v %v", claims, err)
	}
}

func TestAPartnersTokenForAnotherTenantIsDropped(t *testing.T) {
	c, p, app := partnerOf(t, nil)
	a, b := c.Customers()[0].Tenant, c.Customers()[1].Tenant
	c.Directory().Share(a, app, "00000003-0000-0000-c000-000000000000", "Application.ReadWrite.All")
	if err := adopt(t, c, p, app, true, lab.HomeTenant); err != nil {
		t.Fatal(err)
	}
	if _, scopes, err := p.Enter(t.Context(), drover.TenantID(a), graphResource); err != nil || len(scopes) != 1 || scopes[0] != "Application.ReadWrite.All" {
		t.Errorf("%v %v", scopes, err)
	}
	for name, change := range map[string]func(){
		"the tenant is another's": func() {
			c.Faults().Set(fault.Rule{Kind: fault.TokenWrongTID, API: "token", Tenant: a, Value: b})
		},
		"the app is another": func() {
			c.Faults().Clear()
			c.Directory().Switch(func(s *authority.Switches) { s.TokenClaims = map[string]string{"appid": c.AppID()} })
		},
		"the API is another": func() {
			c.Directory().Switch(func(s *authority.Switches) { s.TokenClaims = map[string]string{"aud": "https://graph.windows.net"} })
		},
	} {
		change()
		token, _, err := p.Enter(t.Context(), drover.TenantID(a), graphResource)
		var e *drover.Error
		if !errors.As(err, &e) || e.Code != gdap.CodeWrongToken || !token.Empty() || drover.HintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
		c.Faults().Clear()
		c.Directory().Switch(func(s *authority.Switches) { s.TokenClaims = nil })
	}
}

// failing is a store whose disk is full for a while.
type failing struct {
	shelf
	full bool
}

func (f *failing) Save(ctx context.Context, t drover.Tenant, r entra.Refresh) error {
	if f.full {
		return errors.New("no space left")
	}
	return f.shelf.Save(ctx, t, r)
}

func (f *failing) Load(ctx context.Context, t drover.Tenant) (entra.Refresh, bool, error) {
	r, _, err := f.shelf.Load(ctx, t)
	return r, !r.Token.Empty(), err
}

func TestAPartnersNewRefreshTokenIsSavedBeforeItsAccessTokenIsUsed(t *testing.T) {
	store := new(failing)
	c, p, app := partnerOf(t, store)
	c.Directory().Switch(func(s *authority.Switches) { s.OldRefreshDies, s.ReuseKillsFamily = true, true })
	if err := adopt(t, c, p, app, true, lab.HomeTenant); err != nil {
		t.Fatal(err)
	}
	handed, rounds := 0, 5
	for range rounds {
		store.full = true
		if _, err := p.Renew(t.Context(), graphResource); err == nil || !strings.Contains(err.Error(), "save the new refresh token") {
			handed++
			t.Errorf("handed out before it was saved: %v", err)
		}
		store.full = false
		if _, err := p.Renew(t.Context(), graphResource); err != nil {
			t.Fatal(err)
		}
	}
	// What a customer's endpoint brings is forgotten where the sign-in is kept.
	before := store.now.Version
	c.Directory().Switch(func(s *authority.Switches) { s.OldRefreshDies, s.ReuseKillsFamily = false, false })
	c.Directory().Share(c.Customers()[0].Tenant, app, "00000003-0000-0000-c000-000000000000", "Application.ReadWrite.All")
	if _, _, err := p.Enter(t.Context(), drover.TenantID(c.Customers()[0].Tenant), graphResource); err != nil || store.now.Version != before {
		t.Errorf("%v, version %d, was %d", err, store.now.Version, before)
	}
	proof.Ran(t, "partner.rotation", "%d times the disk was full when a partner's refresh token came that works once: tokens handed out unsaved %d, sign-ins lost 0", rounds, handed)
}
