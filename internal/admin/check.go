package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"drover"
	"drover/internal/ledger"
)

// Finding is one result of a check.
type Finding struct {
	What string `json:"what"` // token, roles, graph.alerts …
	OK   bool   `json:"ok"`
	Says string `json:"says"`
	Warn bool   `json:"warn,omitempty"` // it works, and not for long, or somebody should look
	Hint string `json:"hint,omitempty"` // what to do

	Source drover.SourceID `json:"source,omitempty"`
	Code   string          `json:"code,omitempty"`     // what Microsoft answered: AADSTS53003
	Cause  string          `json:"cause,omitempty"`    // in words
	Who    string          `json:"who_acts,omitempty"` // us, the customer's admin, nobody
	Link   string          `json:"link,omitempty"`     // where
	// Ends is how it stands: refused by Microsoft, passing by itself, or "" for
	// everything else.
	Ends Outcome `json:"outcome,omitempty"`
}

// Outcome is how something stands that is not well.
type Outcome string

// The outcomes.
const (
	ByMicrosoft Outcome = "refused" // somebody must act
	Later       Outcome = "passing" // it may work by then
)

// CheckQuery says which tenants are to be checked.
type CheckQuery struct {
	Tenants []string `json:"tenants"` // IDs or names; none: all that are not removed
	// Fresh drops the tenants' tokens and refusals first, so that what was mended
	// a minute ago counts.
	Fresh bool `json:"fresh"`
}

// Checked is one tenant's check, with its place.
type Checked struct {
	Place int         `json:"place"` // among those that were asked for, from 0
	Of    int         `json:"of"`    // how many these are
	Check TenantCheck `json:"check"`
}

// TenantCheck is how a tenant stands.
type TenantCheck struct {
	Tenant   drover.TenantID    `json:"tenant"`
	Name     string             `json:"name"`
	Customer drover.CustomerID  `json:"customer,omitempty"`
	State    drover.TenantState `json:"state,omitempty"`
	Cloud    string             `json:"cloud,omitempty"`
	App      string             `json:"app,omitempty"`
	ClientID string             `json:"client_id,omitempty"`
	Unproven string             `json:"unproven,omitempty"` // why what it shows may not be all
	// Running: a process reads and delivers, so that lag means something.
	Running bool         `json:"running"`
	Tokens  []TokenCheck `json:"tokens,omitempty"`
	Feeds   []FeedCheck  `json:"feeds,omitempty"`
	// EntraAhead is how far Entra's clock is ahead of ours; nil: it did not say.
	EntraAhead *time.Duration `json:"entra_clock_ahead_ns,omitempty"`
	// Ends is when the app's credential ends; nil: nobody has said.
	Ends *time.Time `json:"credential_ends,omitempty"`
	// Policy is what a refusal by the customer's rules told; nil without one.
	Policy   *PolicyRefusal `json:"policy,omitempty"`
	Findings []Finding      `json:"findings"`
}

// TokenCheck is what a source's access token says of itself, without the token.
type TokenCheck struct {
	Source    drover.SourceID `json:"source"`
	Delegated bool            `json:"delegated"`
	Opaque    bool            `json:"opaque,omitempty"` // it cannot be read, and may work all the same
	Tenant    string          `json:"tid,omitempty"`
	Audience  []string        `json:"aud,omitempty"`
	Issuer    string          `json:"iss,omitempty"`
	AppID     string          `json:"appid,omitempty"`
	Proof     string          `json:"app_proved_by,omitempty"` // public, secret, certificate
	Object    string          `json:"oid,omitempty"`           // service principal or user in the tenant
	Roles     []string        `json:"permissions,omitempty"`   // roles, or scopes of a signed-in user
	Version   string          `json:"ver,omitempty"`
	ID        string          `json:"uti,omitempty"` // names it in Microsoft's logs
	Expires   *time.Time      `json:"exp,omitempty"`
}

// FeedCheck is what a source's API answered, and how far it has been read.
type FeedCheck struct {
	Source     drover.SourceID `json:"source"`
	Answers    bool            `json:"answers"`
	Asked      bool            `json:"asked"` // a test call was made
	LastWhole  drover.Instant  `json:"last_read"`
	Through    drover.Instant  `json:"through"`
	Behind     *time.Duration  `json:"behind_ns,omitempty"` // since it was last read whole; nil: never
	Revisions  uint64          `json:"revisions"`
	OpenGaps   int             `json:"open_gaps"`
	Parked     string          `json:"parked,omitempty"`
	ClockAhead *time.Duration  `json:"clock_ahead_ns,omitempty"` // the API's, of ours
}

// PolicyRefusal is what the answer of a policy told, for the customer's admin.
type PolicyRefusal struct {
	Code        int       `json:"code"`
	At          time.Time `json:"at"`
	Trace       string    `json:"trace_id,omitempty"`
	Correlation string    `json:"correlation_id,omitempty"`
	Policies    []string  `json:"policies,omitempty"`  // IDs, if Entra named them
	Addresses   []string  `json:"addresses,omitempty"` // from which Entra saw us, if it said so
}

// Worst is how the check ends: ok if nothing is wrong, else what weighs most:
// what Microsoft refuses, then what is wrong otherwise, then what passes.
func (c TenantCheck) Worst() (ok bool, o Outcome) {
	ok, o = true, Later
	for _, f := range c.Findings {
		if f.OK {
			continue
		}
		ok = false
		if f.Ends == ByMicrosoft {
			return false, ByMicrosoft
		}
		if f.Ends != Later {
			o = ""
		}
	}
	return ok, o
}

// checkAtOnce is how many tenants are checked at once: waiting for Microsoft
// takes most of the time, and calls for tokens are paced by app.
const checkAtOnce = 8

// CheckTenants is API.CheckTenants.
func (l *Local) CheckTenants(ctx context.Context, q CheckQuery, each func(Checked) error) error {
	const op = "check tenant"
	if l.Check == nil {
		return errors.New("no check is available here")
	}
	status, err := l.Tenants(ctx)
	if err != nil {
		return err
	}
	of := make(map[drover.TenantID]TenantStatus, len(status))
	for _, s := range status {
		of[s.ID] = s
	}
	var tenants []drover.Tenant
	if len(q.Tenants) == 0 {
		all, err := l.Store.ListTenants(ctx)
		if err != nil {
			return err
		}
		for _, t := range all {
			if t.State != drover.Removed {
				tenants = append(tenants, t)
			}
		}
	}
	for _, name := range q.Tenants {
		t, err := l.find(ctx, op, name)
		if err != nil {
			return err
		}
		tenants = append(tenants, t)
	}
	aside, err := l.asideOf(ctx)
	if err != nil {
		return err
	}
	return sideBySide(ctx, len(tenants), checkAtOnce, func(ctx context.Context, i int) (func() error, error) {
		t := tenants[i]
		c := l.Check(ctx, t, of[t.ID], q.Fresh)
		c.Tenant, c.Name, c.Customer, c.State, c.Cloud, c.App, c.Unproven, c.Running = t.ID, t.Name, t.Customer, t.State, t.Cloud, t.App, t.Unproven(), !l.Started.IsZero()
		c.Findings = append(c.Findings, aside[t.ID]...)
		if c.Findings == nil {
			c.Findings = []Finding{}
		}
		return func() error { return each(Checked{i, len(tenants), c}) }, nil
	})
}

// asideOf says of each tenant what of its rows was set aside at reading and is
// not resolved.
func (l *Local) asideOf(ctx context.Context) (map[drover.TenantID][]Finding, error) {
	list, err := l.Store.SetAside(ctx, ledger.AsideFilter{Unresolved: true})
	if err != nil {
		return nil, err
	}
	type key struct {
		drover.TenantID
		reason string
	}
	count := make(map[key]int64)
	var keys []key
	for _, a := range list {
		if a.Sink != "" {
			continue
		}
		k := key{a.Feed.Tenant, a.Reason}
		if count[k] == 0 {
			keys = append(keys, k)
		}
		count[k] += a.Count
	}
	out := make(map[drover.TenantID][]Finding)
	for _, k := range keys {
		f := Finding{What: "set aside", OK: true, Warn: true, Says: fmt.Sprintf("%d rows of this tenant were set aside at reading: %s", count[k], k.reason), Who: "us"}
		if k.reason == "foreign" {
			f.Says = fmt.Sprintf("%d rows that this tenant's APIs showed name another tenant; they were kept from every sink", count[k])
			f.Cause, f.Hint = "Microsoft showed rows of somebody else, or the tenant's ID is not the customer's", "check the tenant's ID, and open a ticket with Microsoft: this must not happen"
		}
		out[k.TenantID] = append(out[k.TenantID], f)
	}
	return out, nil
}

// CheckTenants is API.CheckTenants.
func (c *Client) CheckTenants(ctx context.Context, q CheckQuery, each func(Checked) error) error {
	_, err := follow[Checked, struct{}](ctx, c, "check_tenants", q, each)
	return err
}
