package sqlite

import (
	"context"

	"drover"
	"drover/internal/ledger"
)

// HoldTenant keeps a tenant's rows; see ledger.Tenants.
func (s *Store) HoldTenant(ctx context.Context, id drover.TenantID, why string) error {
	return s.w.do(512, func(tx *tx) error {
		t, err := tenant(tx, `id = ?`, string(id))
		if err != nil {
			return err
		}
		if t.State == drover.Removed {
			return ledger.ErrConflict
		}
		tx.exec(`INSERT INTO holds (tenant, why, since) VALUES (?,?,?) ON CONFLICT DO UPDATE SET why = excluded.why`, string(id), clip(why), s.now())
		s.enter(tx, "held", drover.Feed{Tenant: id}, why)
		generation(tx)
		return tx.err
	})
}

// ReleaseTenant ends a hold; see ledger.Tenants.
func (s *Store) ReleaseTenant(ctx context.Context, id drover.TenantID, why string) error {
	return s.w.do(512, func(tx *tx) error {
		if tx.exec(`DELETE FROM holds WHERE tenant = ?`, string(id)) == 0 && tx.err == nil {
			return ledger.ErrNotFound
		}
		s.enter(tx, "released", drover.Feed{Tenant: id}, why)
		generation(tx)
		return tx.err
	})
}

// Holds lists the tenants that are held; see ledger.Tenants.
func (s *Store) Holds(ctx context.Context) (out []ledger.Hold, err error) {
	err = s.read(ctx, func(tx *tx) error {
		var h ledger.Hold
		for rows := tx.query(`SELECT tenant, why, since FROM holds ORDER BY tenant`); rows.next(&h.Tenant, &h.Why, &h.Since); {
			out = append(out, h)
		}
		return tx.err
	})
	return out, err
}
