package sqlite

import (
	"context"
	"errors"

	"drover"
	"drover/internal/vault"
)

// checkKey refuses a vault that cannot open what this ledger has sealed, before
// anything more is sealed with another key. It opens one tenant's key for each
// master key in use.
func (s *Store) checkKey(ctx context.Context) error {
	sealedBy := make(map[string]bool)
	return s.ask(ctx, func(tx *tx) error {
		var (
			id      drover.TenantID
			wrapped []byte
		)
		var bad error
		for rows := tx.query(`SELECT id, wrapped FROM tenants WHERE wrapped IS NOT NULL`); rows.next(&id, &wrapped); {
			key, err := s.opt.Vault.KeyIDOf(wrapped)
			if err == nil && sealedBy[key] || bad != nil {
				continue
			}
			sealedBy[key] = true
			if _, err := s.opt.Vault.Unwrap(wrapped, keyBinding(s.identity.ID, id)); errors.Is(err, vault.ErrWrongKey) {
				bad = &drover.Error{Op: "open ledger", Kind: drover.Denied, Err: err, Hint: "the master key is not the one that this ledger is sealed with: name that one under vault:, from a backup if need be"}
			}
		}
		if tx.err != nil {
			return tx.err
		}
		return bad
	})
}
