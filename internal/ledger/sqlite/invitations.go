package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"drover"
	"drover/internal/ledger"
)

// hashOrNull keeps a hash that is not set out of its unique index.
func hashOrNull(h drover.Hash) any {
	if h == (drover.Hash{}) {
		return nil
	}
	return h[:]
}

// putInvitation writes one, and into the logbook if its state is another.
func (s *Store) putInvitation(tx *tx, i ledger.Invitation) (uint64, error) {
	var have uint64
	var was string
	there := tx.row(`SELECT version, state FROM invitations WHERE id = ?`, i.ID).scan(&have, &was)
	switch {
	case tx.err != nil:
		return 0, tx.err
	case !there && i.Version > 0:
		return 0, fmt.Errorf("invitation %s: %w", i.ID, ledger.ErrNotFound)
	case there && have != i.Version:
		return 0, fmt.Errorf("invitation %s: %w", i.ID, ledger.ErrConflict)
	}
	i.Version++
	i.Changed = drover.Instant(s.now())
	data, err := json.Marshal(i)
	if err != nil {
		return 0, fmt.Errorf("store an invitation: %w", err)
	}
	tx.exec(`INSERT INTO invitations (id, version, state, tenant, link, session, data) VALUES (?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE
		SET version = excluded.version, state = excluded.state, tenant = excluded.tenant, link = excluded.link, session = excluded.session, data = excluded.data`,
		i.ID, int64(i.Version), string(i.State), string(i.Tenant()), hashOrNull(i.Link), hashOrNull(i.Session), string(data))
	if isConstraint(tx.err) {
		return 0, fmt.Errorf("invitation %s: %w", i.ID, ledger.ErrConflict)
	}
	if was != string(i.State) {
		s.enter(tx, "invitation", drover.Feed{Tenant: i.Tenant()}, i.ID+" "+string(i.State))
	}
	return i.Version, tx.err
}

// PutInvitation stores or changes one; see ledger.Inviting.
func (s *Store) PutInvitation(ctx context.Context, i ledger.Invitation) (version uint64, err error) {
	err = s.w.do(2048, func(tx *tx) error {
		version, err = s.putInvitation(tx, i)
		return err
	})
	return version, err
}

func readInvitations(tx *tx, where string, args ...any) (out []ledger.Invitation) {
	var data string
	for rows := tx.query(`SELECT data FROM invitations WHERE `+where+` ORDER BY n`, args...); rows.next(&data); {
		var i ledger.Invitation
		if err := json.Unmarshal([]byte(data), &i); err != nil {
			tx.err = fmt.Errorf("read an invitation: %w", err)
			continue
		}
		out = append(out, i)
	}
	return out
}

// Invitations lists them; see ledger.Inviting.
func (s *Store) Invitations(ctx context.Context, f ledger.InvitationFilter) (out []ledger.Invitation, err error) {
	where, args := `1`, []any(nil)
	narrow := func(column string, v any) {
		where += ` AND ` + column + ` = ?`
		args = append(args, v)
	}
	if f.ID != "" {
		narrow(`id`, f.ID)
	}
	if f.Link != (drover.Hash{}) {
		narrow(`link`, f.Link[:])
	}
	if f.Session != (drover.Hash{}) {
		narrow(`session`, f.Session[:])
	}
	if f.Tenant != "" {
		narrow(`tenant`, string(f.Tenant))
	}
	if f.State != "" {
		narrow(`state`, string(f.State))
	}
	err = s.read(ctx, func(tx *tx) error {
		out = readInvitations(tx, where, args...)
		return tx.err
	})
	return out, err
}

// withdrawAll ends a tenant's invitations, and destroys in them who answered.
func (s *Store) withdrawAll(tx *tx, id drover.TenantID) error {
	for _, i := range readInvitations(tx, `tenant = ?`, string(id)) {
		i.Wanted.ID = id // whom it is about stays known
		i.Link, i.Session, i.Who = drover.Hash{}, drover.Hash{}, drover.Person{}
		if !i.State.Over() {
			i.State, i.Settled = ledger.InviteWithdrawn, drover.Instant(s.now())
		}
		if _, err := s.putInvitation(tx, i); err != nil {
			return err
		}
	}
	return tx.err
}
