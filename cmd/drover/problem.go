package main

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/defender"
	"drover/internal/entra"
)

// problem says of an error of a tenant's token or feed what caused it, what to
// do, who must, and where.
func (a *app) problem(t drover.Tenant, s drover.SourceID, what string, err error) admin.Finding {
	f := admin.Finding{What: what, Source: s, Says: err.Error(), Hint: admin.Hint(err), Who: string(entra.Us)}
	de, ok := errors.AsType[*drover.Error](err)
	if ok {
		f.Code = de.Code
		if de.Err != nil {
			f.Says = de.Op + ": " + de.Err.Error() // the tenant is named above
		}
	}
	switch {
	case drover.KindOf(err) == drover.Transient, drover.KindOf(err) == drover.Throttled:
		f.Ends, f.Who = admin.Later, string(entra.Nobody)
	case f.Code != "":
		f.Ends = admin.ByMicrosoft
	}
	if r, ok := errors.AsType[*entra.Refusal](err); ok {
		a.tokenRefused(&f, t, r)
	}
	if u, ok := errors.AsType[*entra.Unfit](err); ok {
		if open, known := u.Open(s); known && !open {
			f.Ends, f.Who, f.Link = admin.ByMicrosoft, string(entra.Customer), a.consentPage(t)
			f.Cause = "the tenant has not consented to " + entra.Wants(s)[0] + ", or it does not show yet"
			f.Hint = "the customer's admin consents; if they have: is it in the app's registration (drover app check)? After that they consent again"
		}
	}
	if r, ok := errors.AsType[*defender.Refusal](err); ok {
		a.feedRefused(&f, t, s, r.Reason)
	}
	return f
}

// tokenRefused says what Entra's refusal means here.
func (a *app) tokenRefused(f *admin.Finding, t drover.Tenant, r *entra.Refusal) {
	m, ok := r.Remedy()
	if !ok {
		return
	}
	f.Cause, f.Who = m.Why, string(m.Who)
	if t.App != drover.PartnerApp || f.Hint == "" { // a partner's remedy is another one
		f.Hint = m.Do
	}
	f.Ends = admin.ByMicrosoft
	if m.Kind != drover.Denied {
		f.Ends = admin.Later
	}
	c, err := a.clouds.Of(t)
	if err != nil {
		return
	}
	switch {
	case entra.ConditionalAccess(r.Code):
		f.Hint, f.Link = "its admin changes the policy that refuses. "+a.policyLine(t, addressesOf(r.Told.Addresses))+". The mail for it: drover tenant check "+t.Name+" --for-customer", c.AdminCenter
	case m.Class == entra.NoPrincipal, m.Class == entra.Consent:
		f.Link = a.consentPage(t)
	case m.Class == entra.NotLicensed:
		f.Link = c.Portal() + "/?tid=" + string(t.ID)
	case m.Class == entra.Credential, m.Class == entra.Federation, m.App && m.Class == entra.Configuration:
		f.Link = c.AdminCenter
	}
}

func addressesOf(list []netip.Addr) (out []string) {
	for _, a := range list {
		out = append(out, a.String())
	}
	return out
}

// feedRefused says what an API's refusal means here, as far as it tells causes
// apart.
func (a *app) feedRefused(f *admin.Finding, t drover.Tenant, s drover.SourceID, reason defender.Reason) {
	f.Ends, f.Who = admin.ByMicrosoft, string(entra.Customer)
	c, err := a.clouds.Of(t)
	if err != nil {
		return
	}
	portal := c.Portal() + "/?tid=" + string(t.ID)
	switch {
	case s == drover.SIEMDetections && reason != defender.NoDefender:
		f.Cause, f.Link = "the MSSP is not authorised for the SIEM API in the customer's portal, or not yet", portal
		f.Hint = a.authoriseLine(t)
	case reason == defender.MissingRole && t.App == drover.PartnerApp:
		f.Cause, f.Who = "the partner's account has no role there that reads Defender, or the onboarding app lacks "+wants(s), string(entra.Us)
		f.Hint = "have a relationship with Security Reader approved and assigned to a group of the account; then: drover partner connect --delegated --only " + string(t.ID)
	case reason == defender.MissingRole:
		f.Cause, f.Link = "the app has no permission there that reads it", a.consentPage(t)
		f.Hint = "the customer's admin consents to " + wants(s) + "; a token keeps its permissions for an hour"
	case reason == defender.NoDefender:
		f.Cause, f.Link = "the customer has no licence for it, or Defender was never set up", portal
		f.Hint = "the customer opens the Defender portal once and sets it up, or buys a licence; or leave the source out"
	case reason == defender.EitherOne:
		f.Cause, f.Link = f.Hint, portal // it knows what else there is at its API
		f.Hint = "the customer opens the Defender portal once and sets it up; if it is, their admin consents to " + wants(s) + " at " + a.consentPage(t)
	}
}

// wants is the permission to ask for, in words.
func wants(s drover.SourceID) string {
	if w := entra.Wants(s); w != nil {
		return w[0]
	}
	return "what the app asks for"
}

// consentPage is where a customer's admin consents to everything that the app's
// registration asks for; it leads on to the app's first redirect URI (reference
// mssp-onboarding §8, v1 form).
func (a *app) consentPage(t drover.Tenant) string {
	c, err := a.clouds.Of(t)
	app, ok := a.appOf(t)
	if err != nil || !ok {
		return ""
	}
	return c.Authority + "/" + string(t.ID) + "/adminconsent?client_id=" + url.QueryEscape(app.ClientID)
}

// policyLine says what a customer's admin changes in Conditional Access: for the
// app, for the addresses, and for a partner's staff.
func (a *app) policyLine(t drover.Tenant, seen []string) string {
	app, _ := a.appOf(t)
	from := "the addresses from which drover comes (this machine cannot know them behind NAT: state them as egress: in the config)"
	if len(a.cfg.Egress) > 0 {
		from = strings.Join(a.cfg.Egress, ", ")
	}
	if len(seen) > 0 {
		from += "; Entra saw us come from " + strings.Join(seen, ", ")
	}
	line := fmt.Sprintf("Exclude: enterprise application %s; or a named location with %s", app.ClientID, from)
	if app.HomeTenant != "" {
		line += "; where our staff signs in as a partner: Service provider users of tenant " + app.HomeTenant
	}
	return line
}

// authoriseLine says where a customer lets an MSSP read the SIEM API, which no
// program can do (reference mssp-onboarding §4).
func (a *app) authoriseLine(t drover.Tenant) string {
	app, _ := a.appOf(t)
	home := app.HomeTenant
	if home == "" {
		home = "of the directory in which the app is registered (state it as home_tenant: of the app)"
	}
	return fmt.Sprintf("Settings > Endpoints > APIs > SIEM > MSSP: enter the application ID %s and the tenant ID %s, and choose Authorize application; some minutes may pass", app.ClientID, home)
}

// policyRefusal keeps what the answer of a policy told; nil if none refused.
func policyRefusal(err error, now time.Time) *admin.PolicyRefusal {
	r, ok := errors.AsType[*entra.Refusal](err)
	if !ok || !entra.ConditionalAccess(r.Code) {
		return nil
	}
	return &admin.PolicyRefusal{Code: r.Code, At: now.UTC().Truncate(time.Second), Trace: r.Told.Trace, Correlation: r.Told.Correlation, Policies: r.Told.Policies, Addresses: addressesOf(r.Told.Addresses)}
}
