package admin

import (
	"context"
	"errors"

	"drover"
)

// Vaulting is about the master key and what it seals.
type Vaulting interface {
	// CheckVault reads the master key anew from where it is kept, opens all that
	// is sealed, and tells what it found.
	CheckVault(ctx context.Context) ([]Finding, error)
	// RotateVault lets a new master key follow, or goes on where an earlier
	// attempt ended. keepOld leaves the old one where the keys are kept.
	RotateVault(ctx context.Context, keepOld bool) (KeyRotation, error)
	// SealedCredentials lists the credentials in the ledger, without opening
	// them.
	SealedCredentials(ctx context.Context) ([]CredentialStatus, error)
}

// KeyRotation is what became of the master keys.
type KeyRotation struct {
	Place   string   `json:"place"` // where they are kept
	New     string   `json:"new"`   // the ID of the key that seals
	Old     []string `json:"old"`   // of those that it follows
	Seals   int      `json:"seals"` // what was sealed anew
	Resumed bool     `json:"resumed"`
	OldKept bool     `json:"old_kept"`           // the old ones can still be read there
	WhyKept string   `json:"why_kept,omitempty"` // if only a person can take them away
}

// CredentialStatus is a credential in the ledger.
type CredentialStatus struct {
	Tenant  drover.TenantID `json:"tenant,omitempty"` // none: the MSSP's own
	App     string          `json:"app"`
	Kind    string          `json:"kind"`
	Stored  drover.Instant  `json:"stored"`
	Expires drover.Instant  `json:"expires"`
}

var errNoVault = errors.New("the master key cannot be looked at here")

// CheckVault is Vaulting.CheckVault.
func (l *Local) CheckVault(ctx context.Context) ([]Finding, error) {
	if l.CheckKeys == nil {
		return nil, errNoVault
	}
	return l.CheckKeys(ctx)
}

// RotateVault is Vaulting.RotateVault.
func (l *Local) RotateVault(ctx context.Context, keepOld bool) (KeyRotation, error) {
	if l.RotateKey == nil {
		return KeyRotation{}, errNoVault
	}
	return l.RotateKey(ctx, keepOld)
}

// SealedCredentials is Vaulting.SealedCredentials.
func (l *Local) SealedCredentials(ctx context.Context) (out []CredentialStatus, err error) {
	list, err := l.Store.SealedCredentials(ctx)
	for _, c := range list {
		out = append(out, CredentialStatus(c))
	}
	return out, err
}

// CheckVault is Vaulting.CheckVault.
func (c *Client) CheckVault(ctx context.Context) ([]Finding, error) {
	return ask[[]Finding](ctx, c, "check_vault", struct{}{})
}

// RotateVault is Vaulting.RotateVault.
func (c *Client) RotateVault(ctx context.Context, keepOld bool) (KeyRotation, error) {
	return ask[KeyRotation](ctx, c, "rotate_vault", keepOld)
}

// SealedCredentials is Vaulting.SealedCredentials.
func (c *Client) SealedCredentials(ctx context.Context) ([]CredentialStatus, error) {
	return ask[[]CredentialStatus](ctx, c, "sealed_credentials", struct{}{})
}
