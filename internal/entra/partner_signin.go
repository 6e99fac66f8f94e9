package entra

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"drover"
)

// PartnerSignIn is one sign-in of the partner's account in a browser.
type PartnerSignIn struct{ *BrowserSignIn }

// URL asks for a second factor, without which Partner Center and customers
// refuse.
func (s PartnerSignIn) URL() string { return s.BrowserSignIn.URL() + "&amr_values=mfa" }

// SignIn prepares a sign-in in the partner's directory.
func (p *Partner) SignIn(redirect string) (PartnerSignIn, error) {
	s, err := p.k.BeginSignIn(p.home, SignInOptions{Source: partnerSource, Redirect: redirect})
	return PartnerSignIn{s}, err
}

// Device begins one on another device.
func (p *Partner) Device(ctx context.Context) (*DeviceSignIn, error) {
	return p.k.BeginDevice(ctx, p.home, SignInOptions{Source: partnerSource})
}

const opPartner = "partner sign-in"

// Adopt takes the refresh token of a sign-in, once it has been redeemed at the
// partner's endpoint and the token there is the partner's own, for Partner
// Center, and says that a second factor was used. Else nothing is kept.
func (p *Partner) Adopt(ctx context.Context, who drover.Person, refresh drover.Secret) error {
	r, err := p.request(p.home.ID, p.center)
	if err != nil {
		return err
	}
	if refresh.Empty() {
		return r.stop("the app's registration must allow offline_access", errors.New("the sign-in brought no refresh token"))
	}
	if who.Tenant != p.home.ID {
		return r.stop("nothing was kept: sign in with an account of "+string(p.home.ID), errors.New("whoever signed in is of another tenant: "+string(who.Tenant)))
	}
	g, err := p.ask(ctx, r, refresh)
	if err != nil {
		return err
	}
	c, ok := readSignInClaims(g.access)
	switch {
	case !ok || !strings.EqualFold(c.TID, string(p.home.ID)):
		return r.stop("nothing was kept; check partner: tenant in the config", errors.New("wrong tenant: the token is not of the partner's own"))
	case !slices.Contains(c.AMR, "mfa"):
		return r.stop("nothing was kept: sign in with an account that has Microsoft's multi-factor authentication, and with it; Partner Center and customers refuse what was begun without", errors.New("the sign-in was without multi-factor authentication"))
	}
	if g.refresh.Empty() {
		g.refresh = refresh
	}
	old, _, err := p.k.opt.Refresh.Load(ctx, p.home)
	if err == nil {
		err = p.k.opt.Refresh.Save(ctx, p.home, Refresh{Token: g.refresh, Version: old.Version})
	}
	if err != nil {
		return notSaved(r, err)
	}
	p.keep(p.center, g)
	return nil
}

// signInClaims are what says how somebody signed in.
type signInClaims struct {
	claims
	AMR []string `json:"amr"`
}

// readSignInClaims reads them of an access token.
func readSignInClaims(token drover.Secret) (c signInClaims, ok bool) {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return c, false
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	return c, err == nil && json.Unmarshal(b, &c) == nil
}
