package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"drover"
	"drover/internal/ledger"
)

// AddTenant stores a new tenant; see ledger.Tenants.
func (s *Store) AddTenant(ctx context.Context, t drover.Tenant) error {
	if t.State == "" {
		t.State = drover.Active
	}
	return s.w.do(1024, func(tx *tx) error {
		var state string
		if tx.row(`SELECT state FROM tenants WHERE id = ?`, string(t.ID)).scan(&state) && drover.TenantState(state) != drover.Removed {
			return ledger.ErrConflict
		}
		var other string
		if tx.row(`SELECT id FROM tenants WHERE name = ? AND id <> ?`, t.Name, string(t.ID)).scan(&other) {
			return ledger.ErrConflict
		}
		// Here, not before: behind a Rewrap nothing may come that an older key has sealed.
		_, wrapped, err := s.opt.Vault.NewDataKey(keyBinding(s.identity.ID, t.ID))
		if err != nil {
			return fmt.Errorf("make a data key: %w", err)
		}
		tx.exec(`INSERT INTO tenants (id, name, state, data, wrapped) VALUES (?,?,?,?,?) ON CONFLICT (id) DO UPDATE
			SET name = excluded.name, state = excluded.state, data = excluded.data, wrapped = excluded.wrapped`, string(t.ID), t.Name, string(t.State), encode(t), wrapped)
		makeFeeds(tx, t)
		generation(tx)
		return tx.err
	})
}

func encode(t drover.Tenant) string {
	b, err := json.Marshal(t)
	if err != nil {
		panic("a tenant cannot be encoded: " + err.Error()) // it holds strings and numbers only
	}
	return string(b)
}

// makeFeeds makes the feeds that a tenant lacks, with a place for every sink.
func makeFeeds(tx *tx, t drover.Tenant) {
	for _, source := range t.Sources {
		tx.exec(`INSERT INTO feeds (tenant, source, cursor_through, whole, keys_from) VALUES (?1,?2,?3,?3,?3) ON CONFLICT DO NOTHING`,
			string(t.ID), string(source), int64(drover.NoInstant))
		tx.exec(`INSERT INTO places (sink, fid, start, seq) SELECT sinks.id, feeds.fid, 0, 0 FROM sinks, feeds WHERE feeds.tenant = ? AND feeds.source = ? ON CONFLICT DO NOTHING`,
			string(t.ID), string(source))
	}
}

// generation tells everybody that the tenants have changed.
func generation(tx *tx) {
	tx.exec(`UPDATE meta SET v = CAST(CAST(v AS INTEGER) + 1 AS TEXT) WHERE k = 'generation'`)
}

// UpdateTenant changes a tenant; see ledger.Tenants.
func (s *Store) UpdateTenant(ctx context.Context, t drover.Tenant) error {
	return s.w.do(1024, func(tx *tx) error {
		old, err := tenant(tx, `id = ?`, string(t.ID))
		if err != nil {
			return err
		}
		var other string
		if tx.row(`SELECT id FROM tenants WHERE name = ? AND id <> ?`, t.Name, string(t.ID)).scan(&other) {
			return ledger.ErrConflict
		}
		t.State, t.Added = old.State, old.Added
		tx.exec(`UPDATE tenants SET name = ?, data = ? WHERE id = ?`, t.Name, encode(t), string(t.ID))
		makeFeeds(tx, t)
		generation(tx)
		return tx.err
	})
}

// ChangeTenant changes a tenant that is still as it was; see ledger.Tenants.
func (s *Store) ChangeTenant(ctx context.Context, was, t drover.Tenant) error {
	return s.w.do(1024, func(tx *tx) error {
		old, err := tenant(tx, `id = ?`, string(was.ID))
		if err != nil {
			return err
		}
		var other string
		if encode(old) != encode(was) || old.State == drover.Removed || tx.row(`SELECT id FROM tenants WHERE name = ? AND id <> ?`, t.Name, string(old.ID)).scan(&other) {
			return ledger.ErrConflict
		}
		t.ID, t.Added = old.ID, old.Added
		tx.exec(`UPDATE tenants SET name = ?, state = ?, data = ? WHERE id = ?`, t.Name, string(t.State), encode(t), string(t.ID))
		makeFeeds(tx, t)
		generation(tx)
		return tx.err
	})
}

// SetTenantState moves a tenant between active and paused.
func (s *Store) SetTenantState(ctx context.Context, id drover.TenantID, state drover.TenantState) error {
	return s.w.do(256, func(tx *tx) error {
		t, err := tenant(tx, `id = ?`, string(id))
		if err != nil {
			return err
		}
		if t.State == drover.Removed {
			return ledger.ErrConflict
		}
		tx.exec(`UPDATE tenants SET state = ? WHERE id = ?`, string(state), string(id))
		generation(tx)
		return tx.err
	})
}

// RemoveTenant destroys a tenant's data key and credentials. What its sinks
// had not taken is counted as discarded. The places that held the key are
// overwritten, and the log that may still hold them is emptied; its blocks,
// which nobody can open any more, go with the next prune.
func (s *Store) RemoveTenant(ctx context.Context, id drover.TenantID) error {
	return s.removeTenant(id, func(*tx) error { return nil })
}

// errOwed keeps a tenant that is not drained. It is a conflict, so that the
// writer takes back this step and no other.
var errOwed = fmt.Errorf("sinks have still to take some of it: %w", ledger.ErrConflict)

// RemoveDrained is RemoveTenant if nothing is owed to a sink in use.
func (s *Store) RemoveDrained(ctx context.Context, id drover.TenantID) (owed map[drover.SinkID]uint64, err error) {
	err = s.removeTenant(id, func(tx *tx) error {
		list, err := notTaken(tx, id, true)
		if err != nil {
			return err
		}
		owed = make(map[drover.SinkID]uint64)
		for i := range list {
			_, n, err := list[i].skip(tx)
			if err != nil {
				return err
			}
			owed[list[i].sink] += n
		}
		if len(owed) > 0 {
			return errOwed
		}
		return nil
	})
	if errors.Is(err, errOwed) {
		return owed, nil
	}
	return nil, err
}

// removeTenant destroys a tenant's data key and what goes with it, unless
// first, in the same transaction, says no.
func (s *Store) removeTenant(id drover.TenantID, first func(*tx) error) error {
	err := s.w.doThen(func(tx *tx) error {
		t, err := tenant(tx, `id = ?`, string(id))
		if err != nil {
			return err
		}
		if t.State == drover.Removed {
			return nil
		}
		var why string
		if tx.row(`SELECT why FROM holds WHERE tenant = ?`, string(id)).scan(&why) {
			return fmt.Errorf("%w: %s", ledger.ErrHeld, why)
		}
		if err := first(tx); err != nil {
			return err
		}
		tx.exec(`UPDATE tenants SET wrapped = zeroblob(length(wrapped)) WHERE id = ?`, string(id))
		tx.exec(`UPDATE tenants SET wrapped = NULL, state = ? WHERE id = ?`, string(drover.Removed), string(id))
		tx.exec(`DELETE FROM credentials WHERE tenant = ?`, string(id))
		if err := s.discardAll(tx, id); err != nil {
			return err
		}
		tx.exec(`UPDATE feeds SET epoch = epoch + 1, floor = head WHERE tenant = ?`, string(id))
		tx.exec(`UPDATE vouched SET seq = (SELECT head FROM feeds f WHERE f.fid = vouched.fid), missed = NULL WHERE fid IN (SELECT fid FROM feeds WHERE tenant = ?)`, string(id))
		tx.exec(`UPDATE backfills SET state = 'cancelled', changed = ? WHERE state = 'open' AND fid IN (SELECT fid FROM feeds WHERE tenant = ?)`, s.now(), string(id))
		if err := s.withdrawAll(tx, id); err != nil {
			return err
		}
		s.enter(tx, "erased", drover.Feed{Tenant: id}, t.Name)
		s.record(tx, &t)
		generation(tx)
		return tx.err
	}, func(ctx context.Context, w *writer) error {
		s.mu.Lock()
		delete(s.keys, id)
		s.mu.Unlock()
		s.recent.forget(id)
		return w.emptyLog(ctx, s.state)
	})
	if err != nil {
		return fmt.Errorf("remove tenant %s: %w", id, err)
	}
	return nil
}

// late is a sink that has not taken all of a feed.
type late struct {
	sink drover.SinkID
	feed
}

// notTaken lists the sinks that have not taken all of a tenant's feeds, those
// that are not in use any more only if inUse is false.
func notTaken(tx *tx, id drover.TenantID, inUse bool) (list []late, err error) {
	var a late
	for rows := tx.query(`SELECT p.sink, f.fid, f.tenant, f.source FROM places p JOIN feeds f USING (fid) JOIN sinks s ON s.id = p.sink
		WHERE f.tenant = ? AND p.seq < f.head AND NOT (s.retired AND ?)`, string(id), inUse); rows.next(&a.sink, &a.fid, &a.Tenant, &a.Source); {
		list = append(list, late{a.sink, feed{Feed: a.Feed, fid: a.fid}})
	}
	return list, tx.err
}

// skip returns the sink's place at the feed's head, and how many revisions it
// had not taken.
func (a *late) skip(tx *tx) (p standing, n uint64, err error) {
	if p, err = readPlace(tx, a.sink, &a.feed); err != nil {
		return p, 0, err
	}
	n, err = p.done(drover.Range{Feed: a.Feed, First: p.seq + 1, Last: p.head})
	return p, n, err
}

// discardAll moves every sink's place to the heads of a tenant's feeds.
func (s *Store) discardAll(tx *tx, id drover.TenantID) error {
	list, err := notTaken(tx, id, false)
	if err != nil {
		return err
	}
	for i := range list {
		a := &list[i]
		p, n, err := a.skip(tx)
		if err != nil {
			return err
		}
		p.write(tx, a.sink, &a.feed)
		s.count(tx, a.Feed, a.sink, "discarded", n)
	}
	return tx.err
}

// tenant reads one tenant inside a transaction.
func tenant(tx *tx, where string, args ...any) (drover.Tenant, error) {
	list := tenants(tx, `WHERE `+where, args...)
	if tx.err == nil && len(list) == 0 {
		return drover.Tenant{}, ledger.ErrNotFound
	}
	if tx.err != nil {
		return drover.Tenant{}, tx.err
	}
	return list[0], nil
}

func tenants(tx *tx, where string, args ...any) (out []drover.Tenant) {
	var (
		data, state string
		same        intern
	)
	rows := tx.query(`SELECT data, state FROM tenants `+where+` ORDER BY name`, args...)
	for rows.next(&data, &state) {
		var t drover.Tenant
		if err := json.Unmarshal([]byte(data), &t); err != nil {
			tx.err = fmt.Errorf("read a tenant: %w", err)
			continue
		}
		t.State = drover.TenantState(state)
		t.Cloud, t.App, t.Region = same.one(t.Cloud), same.one(t.App), same.one(t.Region)
		for i, s := range t.Sources {
			t.Sources[i] = drover.SourceID(same.one(string(s)))
		}
		out = append(out, t)
	}
	return out
}

// intern keeps one of many equal texts: lists of all tenants and all feeds are
// kept in memory by those who ask for them.
type intern map[string]string

func (i *intern) one(s string) string {
	if old, ok := (*i)[s]; ok {
		return old
	}
	if *i == nil {
		*i = make(intern)
	}
	(*i)[s] = s
	return s
}

// Tenant returns one tenant by ID.
func (s *Store) Tenant(ctx context.Context, id drover.TenantID) (t drover.Tenant, err error) {
	err = s.read(ctx, func(tx *tx) error {
		t, err = tenant(tx, `id = ?`, string(id))
		return err
	})
	return t, err
}

// FindTenant returns one tenant by ID or name, in any case.
func (s *Store) FindTenant(ctx context.Context, idOrName string) (t drover.Tenant, err error) {
	v := strings.ToLower(strings.TrimSpace(idOrName))
	err = s.read(ctx, func(tx *tx) error {
		t, err = tenant(tx, `id = ? OR name = ?`, v, v)
		return err
	})
	return t, err
}

// ListTenants returns all tenants by name.
func (s *Store) ListTenants(ctx context.Context) (out []drover.Tenant, err error) {
	err = s.read(ctx, func(tx *tx) error {
		out = tenants(tx, ``)
		return tx.err
	})
	return out, err
}

// Generation grows with every change to tenants.
func (s *Store) Generation(ctx context.Context) (n uint64, err error) {
	err = s.ask(ctx, func(tx *tx) error {
		tx.row(`SELECT CAST(v AS INTEGER) FROM meta WHERE k = 'generation'`).scan(&n)
		return tx.err
	})
	return n, err
}
