package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"drover"
	"drover/internal/ledger"
	"drover/internal/vault"
)

// sealedCredential is what is inside a credential's seal.
type sealedCredential struct {
	Secret, Previous []byte
}

// credentialBinding ties a credential to its ledger and to everything that
// names it: what was issued for one cloud cannot be opened for another.
func (s *Store) credentialBinding(k ledger.CredentialKey) string {
	return fmt.Sprintf("credential\x00%s\x00%s\x00%s\x00%s\x00%s\x00%s", s.identity.ID, k.Tenant, k.App, k.Kind, k.Cloud, k.Authority)
}

// PutCredential seals and stores a credential; see ledger.Tenants. A tenant's
// credential is sealed with its data key, so that removing the tenant destroys
// it too.
func (s *Store) PutCredential(ctx context.Context, c ledger.Credential, version uint64) (uint64, error) {
	plain, err := json.Marshal(sealedCredential{c.Secret.Bytes(), c.Previous.Bytes()})
	if err != nil {
		return 0, fmt.Errorf("seal a credential: %w", err)
	}
	defer clear(plain)
	key, err := s.keyFor(ctx, c.Tenant)
	if err != nil {
		return 0, err
	}
	var next uint64
	err = s.w.do(len(plain)+vault.Overhead, func(tx *tx) error {
		// Here, not before: behind a Rewrap nothing may come that an older key has sealed.
		sealed, err := s.sealCredential(key, c.CredentialKey, plain)
		if err != nil {
			return err
		}
		var have uint64
		tx.row(`SELECT version FROM credentials WHERE tenant = ? AND app = ? AND kind = ?`, string(c.Tenant), c.App, c.Kind).scan(&have)
		if tx.err == nil && have != version {
			return fmt.Errorf("credential %s: %w", c.Kind, ledger.ErrConflict)
		}
		if err := s.keyStill(tx, c.Tenant); err != nil {
			return err
		}
		// Versions never come again, so that whoever read one that was dropped
		// and stored anew does not overwrite it.
		tx.exec(`UPDATE meta SET v = CAST(CAST(v AS INTEGER) + 1 AS TEXT) WHERE k = 'credentials'`)
		tx.row(`SELECT CAST(v AS INTEGER) FROM meta WHERE k = 'credentials'`).scan(&next)
		tx.exec(`INSERT INTO credentials (tenant, app, kind, sealed, version, stored, expires) VALUES (?,?,?,?,?,?,?) ON CONFLICT DO UPDATE
			SET sealed = excluded.sealed, version = excluded.version, stored = excluded.stored, expires = excluded.expires`,
			string(c.Tenant), c.App, c.Kind, sealed, int64(next), s.now(), int64(c.Expires))
		return tx.err
	})
	if err != nil {
		return 0, err
	}
	return next, nil
}

// keyStill returns ErrNotFound if the tenant was removed since its data key
// was used.
func (s *Store) keyStill(tx *tx, id drover.TenantID) error {
	var n int
	if id != "" && !tx.row(`SELECT 1 FROM tenants WHERE id = ? AND wrapped IS NOT NULL`, string(id)).scan(&n) && tx.err == nil {
		return fmt.Errorf("data key of tenant %s: %w", id, ledger.ErrNotFound)
	}
	return tx.err
}

// keyFor is the data key of a tenant, nil for none, whose credentials the
// master key seals.
func (s *Store) keyFor(ctx context.Context, id drover.TenantID) (*vault.DataKey, error) {
	if id == "" {
		return nil, nil
	}
	return s.dataKey(ctx, id)
}

func (s *Store) sealCredential(key *vault.DataKey, k ledger.CredentialKey, plain []byte) ([]byte, error) {
	binding := s.credentialBinding(k)
	if key == nil {
		return s.opt.Vault.Seal(plain, binding)
	}
	return key.Seal(nil, plain, []byte(binding)), nil
}

// Credential opens one.
func (s *Store) Credential(ctx context.Context, k ledger.CredentialKey) (ledger.Credential, error) {
	c := ledger.Credential{CredentialKey: k}
	var sealed []byte
	err := s.read(ctx, func(tx *tx) error {
		if !tx.row(`SELECT sealed, version, stored, expires FROM credentials WHERE tenant = ? AND app = ? AND kind = ?`, string(k.Tenant), k.App, k.Kind).
			scan(&sealed, &c.Version, &c.Stored, &c.Expires) && tx.err == nil {
			return ledger.ErrNotFound
		}
		return tx.err
	})
	if err != nil {
		return c, err
	}
	binding := s.credentialBinding(k)
	var plain []byte
	if k.Tenant == "" {
		plain, err = s.opt.Vault.Open(sealed, binding)
	} else if key, keyErr := s.dataKey(ctx, k.Tenant); keyErr != nil {
		return c, keyErr
	} else {
		plain, err = key.Open(nil, sealed, []byte(binding))
	}
	if err != nil {
		return c, fmt.Errorf("open the credential %s: %w", k.Kind, err)
	}
	var in sealedCredential
	if err := json.Unmarshal(plain, &in); err != nil {
		return c, fmt.Errorf("open the credential %s: %w", k.Kind, err)
	}
	c.Secret, c.Previous = drover.NewSecret(in.Secret), drover.NewSecret(in.Previous)
	return c, nil
}

// DropCredential destroys one.
func (s *Store) DropCredential(ctx context.Context, k ledger.CredentialKey) error {
	return s.w.do(64, func(tx *tx) error {
		if tx.exec(`DELETE FROM credentials WHERE tenant = ? AND app = ? AND kind = ?`, string(k.Tenant), k.App, k.Kind) == 0 && tx.err == nil {
			return ledger.ErrNotFound
		}
		return tx.err
	})
}
