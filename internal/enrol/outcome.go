package enrol

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"drover"
	"drover/internal/gdap"
)

// Outcome is how a customer stands.
type Outcome string

// The outcomes. docs/partner.md names each.
const (
	Granted        Outcome = "granted"               // now, and its token shows it
	Already        Outcome = "already there"         // nothing was to be done
	ToGrant        Outcome = "to be granted"         // of a survey
	NotYet         Outcome = "not yet visible"       // done, or begun; Entra does not show it everywhere
	RoleMissing    Outcome = "role missing"          // the relationship lacks a role that grants
	NoGroup        Outcome = "group not assigned"    // no group of the account has the relationship's roles
	Pending        Outcome = "relationship pending"  // the customer has not approved it, or it is not active yet
	Expired        Outcome = "relationship expired"  // the last one
	Terminated     Outcome = "relationship ended"    // somebody ended the last one
	NoRelationship Outcome = "no relationship"       // only other lists name the customer
	NotLetIn       Outcome = "account not let in"    // the customer's Entra does not know it
	Policy         Outcome = "policy refuses"        // of the customer's
	NotListed      Outcome = "not in Partner Center" // so the onboarding app cannot be consented
	NotProvisioned Outcome = "API not provisioned"   // the customer lacks an API, or a role of it
	TenantGone     Outcome = "tenant gone"
	WrongToken     Outcome = "wrong token" // for another tenant: dropped, nothing was done with it
	Refused        Outcome = "refused"     // for another reason
	Failed         Outcome = "failed for now"
	NotAdded       Outcome = "granted, not added" // the ledger did not take it
	Left           Outcome = "left"               // it was removed; nothing brings it back but drover tenant add
	Untried        Outcome = "not tried"          // the run ended before
)

// Result is what became of one customer.
type Result struct {
	Tenant   drover.TenantID    `json:"tenant"`
	Name     string             `json:"name"`   // short
	Called   string             `json:"called"` // as the partner's lists call it
	Outcome  Outcome            `json:"outcome"`
	Says     string             `json:"says,omitempty"` // why
	Do       string             `json:"do,omitempty"`
	Did      []string           `json:"did,omitempty"`
	Added    bool               `json:"added,omitempty"` // to the ledger, now
	State    drover.TenantState `json:"state,omitempty"` // in the ledger before
	Standing gdap.Standing      `json:"relationship"`
	Roles    []string           `json:"roles,omitempty"` // of the active relationships, by name
	End      time.Time          `json:"ends,omitzero"`
	Extends  bool               `json:"auto_extend,omitempty"`
	missing  []string
	// delegated: a role that reads is among what may be missing.
	delegated bool
}

// OK reports whether nothing is left to be done.
func (r Result) OK() bool { return r.Outcome == Granted || r.Outcome == Already || r.Outcome == Left }

// result begins one.
func (s *Service) result(c Candidate) Result {
	r := Result{Tenant: c.Tenant, Name: c.Short, Called: c.Name, State: c.State, Standing: c.Standing()}
	for _, id := range c.Roles() {
		r.Roles = append(r.Roles, gdap.RoleName(id))
	}
	r.End, r.Extends = c.End()
	held, known := c.Held()
	if !known {
		held = c.Roles()
	}
	r.missing, r.delegated = s.lacks(held), s.Delegated
	return r
}

// is completes a result.
func (r Result) is(o Outcome, err error) Result {
	r.Outcome = o
	if x, ok := explained[o]; ok {
		r.Says, r.Do = x[0], x[1]
	}
	if o == RoleMissing && len(r.missing) > 0 {
		r.Says = "the relationship, or the group that holds its roles, lacks " + strings.Join(r.missing, " and ")
	}
	if o == RoleMissing && r.delegated {
		r.Do = "roles cannot be added to a relationship: have the customer approve a second one, with Cloud Application Administrator and Security Reader, and assign it to a group of the account"
	}
	var e *drover.Error
	switch {
	case errors.As(err, &e):
		if r.Says = e.Op; e.Err != nil {
			r.Says = fmt.Sprintf("%s: %v", e.Op, e.Err)
		}
		if r.Do == "" || o == Refused || o == Failed {
			r.Do = drover.HintOf(err)
		}
	case err != nil && !errors.Is(err, errStopped) && !errors.Is(err, context.Canceled):
		r.Says = err.Error()
	}
	if r.Outcome == Failed && r.Do == "" {
		r.Do = "type the same command again"
	}
	return r
}

// explained says why and what to do, where no error says it better.
var explained = map[Outcome][2]string{
	NotYet:         {"Entra does not show it everywhere yet", "type the same command again in a while; within an hour is usual, two days have been seen; if it stays so, look for a guest object of the account in that tenant"},
	RoleMissing:    {"the relationship lacks a role that grants", "roles cannot be added to a relationship: have the customer approve a second one, with Cloud Application Administrator and Privileged Role Administrator, and assign it to a group of the account; or connect it by consent: drover tenant connect"},
	NoGroup:        {"no group of the account is assigned the relationship's roles", "assign them to a security group that the account is in: Partner Center > Customers > the customer > Admin relationships"},
	Pending:        {"the customer has not approved the relationship, or it is not active yet", "have the customer's admin open the invitation of Partner Center"},
	Expired:        {"the last relationship has ended", "have the customer approve a new one, or connect it by consent: drover tenant connect"},
	Terminated:     {"the last relationship was ended by the customer or by us", "ask whether the customer has left; else have it approve a new one"},
	NoRelationship: {"the customer has approved no delegated admin relationship", "request one in Partner Center, or connect it by consent: drover tenant connect"},
	NotLetIn:       {"the customer's Entra does not let the account in", "see that the account has no guest object in that tenant, that a group of it is assigned the relationship's roles, and that the relationship is active; after a change some minutes pass"},
	Policy:         {"the customer's Conditional Access refuses", "have the customer's admin exclude service provider users of our tenant from the policy (users and groups > guest or external users > service provider users)"},
	NotListed:      {"", "connect it by consent: drover tenant connect"},
	NotProvisioned: {"the customer's tenant does not have the API, or not that role", "leave that source out with --source, or have the customer set the service up"},
	TenantGone:     {"the tenant is not there any more", "has the customer left?"},
	Left:           {"the tenant was removed from drover", "nothing; if it is to be read again: drover tenant add"},
	Untried:        {"the run ended before its turn", "type the same command again"},
}

// codes are refusals of Entra's by what they mean for a partner (reference
// partner-gdap §1.6).
var codes = map[string]Outcome{
	"AADSTS50020": NotLetIn, "AADSTS16003": NotLetIn, "AADSTS90072": NotLetIn, "AADSTS50034": NotLetIn, "invalid_grant": NotLetIn,
	"AADSTS53003": Policy, "AADSTS53000": Policy, "AADSTS530003": Policy, "AADSTS50177": Policy, "AADSTS50158": Policy, "AADSTS70043": Policy,
	"AADSTS50076": Policy, "AADSTS50078": Policy, "AADSTS50079": Policy, "AADSTS50105": Policy,
	"AADSTS90002": TenantGone, "AADSTS5000224": TenantGone, "AADSTS5000225": TenantGone,
	"AADSTS500011": NotProvisioned, "AADSTS650052": NotProvisioned,
	gdap.CodeForbidden: RoleMissing, "Authorization_RequestDenied": RoleMissing, "graph 403": RoleMissing,
	gdap.CodeNoCustomer: NotListed, gdap.CodeWrongToken: WrongToken,
}

// asksConsent are those that say that the app is not consented there, or that it
// does not show.
var asksConsent = map[string]bool{"AADSTS65001": true, "AADSTS700016": true, "AADSTS7000229": true, "AADSTS90099": true, "AADSTS650051": true}

// Remedy is what to do about a code with which a customer's Entra refuses the
// partner's account; "" if there is nothing better than what is said of it
// anyway.
func Remedy(code string) string {
	o := codes[code]
	if asksConsent[code] {
		return "consent the onboarding app there: drover partner connect --delegated; if it is: a guest object of the account in that tenant, or a group that is not assigned, shows the same"
	}
	return explained[o][1]
}

// code is that of the first *drover.Error.
func code(err error) string {
	if e, ok := errors.AsType[*drover.Error](err); ok {
		return e.Code
	}
	return ""
}

// outcome is what an error means for one customer.
func outcome(err error) Outcome {
	switch {
	case errors.Is(err, errStopped), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Untried
	case errors.Is(err, errNotYet), asksConsent[code(err)]:
		return NotYet
	case codes[code(err)] != "":
		return codes[code(err)]
	case drover.KindOf(err) == drover.Denied, drover.KindOf(err) == drover.Refused:
		return Refused
	}
	return Failed
}

// reader is what an error of the reading app's own token means.
func (s *Service) reader(err error) Outcome {
	switch o := outcome(err); o {
	case TenantGone, NotProvisioned, WrongToken, Untried, Failed:
		return o
	}
	return Refused
}
