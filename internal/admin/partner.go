package admin

import (
	"context"
	"errors"
	"time"

	"drover"
	"drover/internal/gdap"
)

// Partnering is what can be asked of an MSSP that is a Microsoft partner.
type Partnering interface {
	// Partner says how the partner and its customers stand, as they were seen
	// last; fresh: after they have been asked for anew, if a sign-in is kept.
	Partner(ctx context.Context, fresh bool) (PartnerStatus, error)
	// KeepPartner seals a sign-in, unless it is empty, and what was seen.
	KeepPartner(ctx context.Context, k PartnerKeep) error
	// ForgetPartner destroys the sign-in; there was one if it returns true.
	// Nothing else changes.
	ForgetPartner(ctx context.Context) (bool, error)
}

// PartnerKeep is what a sign-in of the partner's brought. The token goes over the
// socket and into the ledger's seal; it is never shown.
type PartnerKeep struct {
	RefreshToken string    `json:"refresh_token,omitempty"`
	Seen         gdap.Seen `json:"seen"`
}

// PartnerStatus is how the partner stands.
type PartnerStatus struct {
	Tenant    drover.TenantID   `json:"tenant"`
	Account   string            `json:"account,omitempty"` // who signed in last, to read
	Kept      bool              `json:"sign_in_kept"`
	KeptSince time.Time         `json:"sign_in_renewed,omitzero"` // when the kept one was renewed last
	Seen      time.Time         `json:"seen,omitzero"`            // when the customers were listed last
	Notes     []string          `json:"notes,omitempty"`          // what could not be seen, of a fresh list
	Customers []PartnerCustomer `json:"customers"`
	Incident  *PartnerIncident  `json:"incident,omitempty"`
	Delegated []string          `json:"read_with_sign_in,omitempty"` // names of tenants that are read with the kept sign-in
	Unproven  string            `json:"unproven,omitempty"`          // why what these show may not be all
}

// PartnerCustomer is a customer of the partner, or a tenant that was one.
type PartnerCustomer struct {
	gdap.Customer
	Standing gdap.Standing      `json:"relationship"`
	Roles    []string           `json:"roles"` // of the active relationships, by name
	End      time.Time          `json:"ends,omitzero"`
	Extends  bool               `json:"auto_extend"`
	Short    string             `json:"tenant_name,omitempty"` // in the ledger
	State    drover.TenantState `json:"state,omitempty"`       // in the ledger; "": not connected
	New      bool               `json:"new,omitempty"`         // appeared after all were looked at to be connected
	Gone     time.Time          `json:"gone,omitzero"`         // since when it has no active relationship any more
	Warns    string             `json:"warns,omitempty"`       // its end, if that is near
	Unproven string             `json:"unproven,omitempty"`    // why what it shows may not be all; "": it is read app-only, or not at all
}

// PartnerIncident is a failure of the partner's own, for all of its customers.
type PartnerIncident struct {
	Since time.Time `json:"since"`
	Says  string    `json:"says"`
	Hint  string    `json:"hint"`
}

// PartnerBrief is the partner in a few words.
type PartnerBrief struct {
	Tenant       drover.TenantID  `json:"tenant"`
	Kept         bool             `json:"sign_in_kept"`
	Seen         time.Time        `json:"seen,omitzero"`
	Customers    int              `json:"customers"`     // with an active relationship
	NotConnected int              `json:"not_connected"` // of these
	New          []string         `json:"new,omitempty"` // of these, since all were looked at
	Gone         []string         `json:"gone,omitempty"`
	Incident     *PartnerIncident `json:"incident,omitempty"`
}

var errNoPartner = usage("ask for the partner", "see docs/partner.md for the section partner: of the config", errors.New("the config names no partner"))

// Partner is Partnering.Partner.
func (l *Local) Partner(ctx context.Context, fresh bool) (PartnerStatus, error) {
	if l.Partners == nil {
		return PartnerStatus{}, errNoPartner
	}
	return l.Partners.Partner(ctx, fresh)
}

// KeepPartner is Partnering.KeepPartner.
func (l *Local) KeepPartner(ctx context.Context, k PartnerKeep) error {
	if l.Partners == nil {
		return errNoPartner
	}
	return l.Partners.KeepPartner(ctx, k)
}

// ForgetPartner is Partnering.ForgetPartner.
func (l *Local) ForgetPartner(ctx context.Context) (bool, error) {
	if l.Partners == nil {
		return false, errNoPartner
	}
	return l.Partners.ForgetPartner(ctx)
}

func (l *Local) partnerBrief(ctx context.Context) (*PartnerBrief, error) {
	if l.Partners == nil {
		return nil, nil
	}
	s, err := l.Partners.Partner(ctx, false)
	b := &PartnerBrief{Tenant: s.Tenant, Kept: s.Kept, Seen: s.Seen, Incident: s.Incident}
	for _, c := range s.Customers {
		if c.Standing == gdap.Related {
			b.Customers++
			if c.State == "" {
				b.NotConnected++
			}
		}
		name := orDefault(orDefault(c.Short, c.Name), string(c.Tenant))
		switch {
		case c.New && c.State == "":
			b.New = append(b.New, name)
		case !c.Gone.IsZero() && (c.State == drover.Active || c.State == drover.Paused):
			b.Gone = append(b.Gone, name)
		}
	}
	return b, err
}

// Partner is Partnering.Partner.
func (c *Client) Partner(ctx context.Context, fresh bool) (PartnerStatus, error) {
	return ask[PartnerStatus](ctx, c, "partner", fresh)
}

// KeepPartner is Partnering.KeepPartner.
func (c *Client) KeepPartner(ctx context.Context, k PartnerKeep) error {
	_, err := ask[any](ctx, c, "keep_partner", k)
	return err
}

// ForgetPartner is Partnering.ForgetPartner.
func (c *Client) ForgetPartner(ctx context.Context) (bool, error) {
	return ask[bool](ctx, c, "forget_partner", struct{}{})
}
