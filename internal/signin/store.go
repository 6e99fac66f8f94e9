// Package signin keeps the sign-ins by which tenants are read delegated: it
// stores their refresh tokens in the ledger, and renews those that nobody reads
// by. It promises (reference faults T03, T04; entra-oauth §5):
//
//   - A token is sealed for one tenant, app, cloud and authority, and replaced
//     only by who has seen the one that is there.
//   - A refresh token is redeemed at least once a week while drover runs,
//     whatever the state of its tenant. One that reading renews is left alone.
//   - When a sign-in cannot be renewed, it is said long before it ends, with
//     what to do.
package signin

import (
	"context"
	"errors"

	"drover"
	"drover/internal/ledger"
)

// kind names the refresh tokens among the ledger's credentials.
const kind = "refresh_token"

// Ledger is what is needed of one.
type Ledger interface {
	PutCredential(ctx context.Context, c ledger.Credential, version uint64) (uint64, error)
	Credential(ctx context.Context, c ledger.CredentialKey) (ledger.Credential, error)
	DropCredential(ctx context.Context, c ledger.CredentialKey) error
	ListTenants(ctx context.Context) ([]drover.Tenant, error)
}

// Store keeps refresh tokens in a ledger.
type Store struct {
	// Ledger returns it; nil while there is none.
	Ledger func() Ledger
	// Cloud names a tenant's cloud and its authority, to which a token is bound.
	Cloud func(t drover.Tenant) (name, authority string)
}

func (s *Store) key(t drover.Tenant) ledger.CredentialKey {
	name, authority := s.Cloud(t)
	return ledger.CredentialKey{Tenant: t.ID, App: t.App, Kind: kind, Cloud: name, Authority: authority}
}

// Load returns a tenant's token, ok false if it has none.
func (s *Store) Load(ctx context.Context, t drover.Tenant) (drover.Refresh, bool, error) {
	l := s.Ledger()
	if l == nil {
		return drover.Refresh{}, false, nil
	}
	c, err := l.Credential(ctx, s.key(t))
	if errors.Is(err, ledger.ErrNotFound) {
		return drover.Refresh{}, false, nil
	}
	return drover.Refresh{Token: c.Secret, Previous: c.Previous, Version: c.Version, At: c.Stored}, err == nil, err
}

// Save replaces what Load returned with r.Version, and returns once r is on
// disk; drover.ErrRefreshChanged if another has been stored since.
func (s *Store) Save(ctx context.Context, t drover.Tenant, r drover.Refresh) error {
	_, err := s.Ledger().PutCredential(ctx, ledger.Credential{CredentialKey: s.key(t), Secret: r.Token, Previous: r.Previous, Expires: drover.NoInstant}, r.Version)
	if errors.Is(err, ledger.ErrConflict) {
		return drover.ErrRefreshChanged
	}
	return err
}

// Seal replaces what is there by the token of a new sign-in, also while the one
// before is being renewed; an empty one destroys it.
func (s *Store) Seal(ctx context.Context, t drover.Tenant, token drover.Secret) error {
	if token.Empty() {
		if err := s.Ledger().DropCredential(ctx, s.key(t)); !errors.Is(err, ledger.ErrNotFound) {
			return err
		}
		return nil
	}
	for {
		old, _, err := s.Load(ctx, t)
		if err != nil {
			return err
		}
		if err = s.Save(ctx, t, drover.Refresh{Token: token, Version: old.Version}); !errors.Is(err, drover.ErrRefreshChanged) {
			return err
		}
	}
}
