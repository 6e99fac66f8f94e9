package sqlite

import (
	"context"
	"errors"
	"fmt"

	"drover"
	"drover/internal/ledger"
	"drover/internal/vault"
)

// sealedAside is something set aside, its bytes sealed.
type sealedAside struct {
	ledger.Aside
	fid    int64
	sealed []byte
}

// asideAAD binds a sealed row to what it is.
func asideAAD(f drover.Feed, sum drover.Hash, incarnation string) []byte {
	return fmt.Appendf(nil, "aside\x00%s\x00%s\x00%x\x00%s", f.Tenant, f.Source, sum, incarnation)
}

func (s *Store) sealAsides(k *vault.DataKey, x *feed, list []ledger.Aside) []sealedAside {
	out := make([]sealedAside, len(list))
	for i, a := range list {
		a.Feed = x.Feed
		out[i] = sealedAside{Aside: a, fid: x.fid}
		if a.Raw != nil {
			out[i].sealed = k.Seal(nil, a.Raw, asideAAD(x.Feed, a.Sum, s.identity.Incarnation))
			out[i].Raw = nil
		}
	}
	return out
}

// insertAside stores what was set aside, or counts it if it was before.
func insertAside(tx *tx, a *sealedAside, incarnation, now int64) {
	n := max(a.Count, 1)
	tx.exec(`INSERT INTO aside (fid, sink, reason, detail, seq, event_id, sum, size, raw, incarnation, at, count) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)
		ON CONFLICT DO UPDATE SET count = count + excluded.count, resolved = 0`,
		a.fid, string(a.Sink), a.Reason, clip(a.Detail), int64(a.Seq), a.EventID, a.Sum[:], a.Size, a.sealed, incarnation, now, n)
}

const selectAside = `SELECT a.id, f.tenant, f.source, a.sink, a.reason, a.detail, a.seq, a.event_id, a.sum, a.size, a.at, a.count, a.resolved FROM aside a JOIN feeds f USING (fid)`

func readAsides(tx *tx, where string, args ...any) (out []ledger.Aside) {
	var (
		a   ledger.Aside
		sum []byte
	)
	rows := tx.query(selectAside+where+` ORDER BY a.id`, args...)
	for rows.next(&a.ID, &a.Feed.Tenant, &a.Feed.Source, &a.Sink, &a.Reason, &a.Detail, &a.Seq, &a.EventID, &sum, &a.Size, &a.At, &a.Count, &a.Resolved) {
		copy(a.Sum[:], sum)
		out = append(out, a)
	}
	return out
}

// SetAside lists what was set aside, without bodies.
func (s *Store) SetAside(ctx context.Context, f ledger.AsideFilter) (out []ledger.Aside, err error) {
	err = s.read(ctx, func(tx *tx) error {
		out = readAsides(tx, ` WHERE (?1 = '' OR f.tenant = ?1) AND (?2 = '' OR a.sink = ?2) AND (?3 = '' OR a.reason = ?3) AND (NOT ?4 OR a.resolved = 0)
			AND (?5 = '' OR f.source = ?5) AND (?7 = 0 OR a.seq BETWEEN ?6 AND ?7)`,
			string(f.Tenant), string(f.Sink), f.Reason, f.Unresolved, string(f.Source), int64(f.First), int64(f.Last))
		return tx.err
	})
	return out, err
}

// AsideBody returns one thing that was set aside, with its bytes; see
// ledger.Bookkeeping.
func (s *Store) AsideBody(ctx context.Context, id int64) (a ledger.Aside, err error) {
	var (
		sealed      []byte
		incarnation int64
	)
	err = s.read(ctx, func(tx *tx) error {
		list := readAsides(tx, ` WHERE a.id = ?`, id)
		if tx.err == nil && len(list) == 0 {
			return fmt.Errorf("set aside %d: %w", id, ledger.ErrNotFound)
		}
		if tx.err == nil {
			a = list[0]
			tx.row(`SELECT raw, incarnation FROM aside WHERE id = ?`, id).scan(&sealed, &incarnation)
		}
		return tx.err
	})
	if err != nil || sealed == nil {
		return a, err
	}
	k, err := s.dataKey(ctx, a.Feed.Tenant)
	if err != nil {
		return a, err
	}
	a.Raw, err = k.Open(nil, sealed, asideAAD(a.Feed, a.Sum, s.names[incarnation]))
	if errors.Is(err, vault.ErrTampered) && a.At <= s.erased(ctx, a.Feed.Tenant) {
		return a, fmt.Errorf("set aside %d: the key of that time was destroyed: %w", id, ledger.ErrNotFound)
	}
	if err != nil {
		return a, broken("open what was set aside", fmt.Errorf("number %d of feed %s: %w", id, a.Feed, err))
	}
	return a, nil
}

// erased is when a tenant was removed the last time.
func (s *Store) erased(ctx context.Context, id drover.TenantID) (at drover.Instant) {
	_ = s.read(ctx, func(tx *tx) error {
		tx.row(`SELECT coalesce(max(at), ?) FROM logbook WHERE what = 'erased' AND tenant = ?`, int64(drover.NoInstant), string(id)).scan(&at)
		return tx.err
	})
	return at
}

// ResolveAside notes that an operator has sent or discarded something that was
// set aside.
func (s *Store) ResolveAside(ctx context.Context, id int64, why string) error {
	return s.w.do(256, func(tx *tx) error {
		list := readAsides(tx, ` WHERE a.id = ? AND a.resolved = 0`, id)
		if tx.err == nil && len(list) == 0 {
			return fmt.Errorf("set aside %d: %w", id, ledger.ErrNotFound)
		}
		if tx.err != nil {
			return tx.err
		}
		tx.exec(`UPDATE aside SET resolved = 1 WHERE id = ?`, id)
		s.enter(tx, "resolved", list[0].Feed, fmt.Sprintf("set aside %d: %s", id, why))
		return tx.err
	})
}
