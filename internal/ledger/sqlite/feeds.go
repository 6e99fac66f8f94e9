package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"drover"
	"drover/internal/ledger"
	"drover/internal/vault"
)

// feed is what is kept in memory of a feed. Commits of one feed come one at a
// time; what they need to seal is known before the writer gets them.
type feed struct {
	drover.Feed
	fid int64

	mu    sync.Mutex // held by a commit from sealing to its answer
	epoch drover.Epoch
	head  uint64
}

// feed finds a feed by its tenant and source.
func (s *Store) feed(ctx context.Context, f drover.Feed) (*feed, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.feeds[f]; x != nil {
		return x, nil
	}
	x := &feed{Feed: f}
	err := s.ask(ctx, func(tx *tx) error {
		if !tx.row(`SELECT fid, epoch, head FROM feeds WHERE tenant = ? AND source = ?`, string(f.Tenant), string(f.Source)).scan(&x.fid, &x.epoch, &x.head) && tx.err == nil {
			return fmt.Errorf("feed %s: %w", f, ledger.ErrNotFound)
		}
		return tx.err
	})
	if err != nil {
		return nil, err
	}
	s.feeds[f] = x
	return x, nil
}

// dataKey returns the key that seals a tenant's bodies. ErrNotFound: it has
// been destroyed.
func (s *Store) dataKey(ctx context.Context, id drover.TenantID) (*vault.DataKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.keys[id]; k != nil {
		return k, nil
	}
	var wrapped []byte
	err := s.ask(ctx, func(tx *tx) error {
		tx.row(`SELECT wrapped FROM tenants WHERE id = ?`, string(id)).scan(&wrapped)
		if tx.err == nil && wrapped == nil {
			return fmt.Errorf("data key of tenant %s: %w", id, ledger.ErrNotFound)
		}
		return tx.err
	})
	if err != nil {
		return nil, err
	}
	k, err := s.opt.Vault.Unwrap(wrapped, keyBinding(s.identity.ID, id))
	if err != nil {
		return nil, broken("open the data key of tenant "+string(id), err)
	}
	s.keys[id] = k
	return k, nil
}

// keyBinding ties a tenant's data key to its ledger and tenant.
func keyBinding(ledgerID string, id drover.TenantID) string {
	return "tenant\x00" + ledgerID + "\x00" + string(id)
}

// Take makes the caller the one reader of a feed.
func (s *Store) Take(ctx context.Context, f drover.Feed) (ledger.FeedState, error) {
	x, err := s.feed(ctx, f)
	if err != nil {
		return ledger.FeedState{}, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	var state ledger.FeedState
	err = s.w.do(64, func(tx *tx) error {
		tx.exec(`UPDATE feeds SET epoch = epoch + 1 WHERE fid = ?`, x.fid)
		states := readFeeds(tx, `WHERE fid = ?`, x.fid)
		if tx.err == nil && len(states) != 1 {
			return ledger.ErrNotFound
		}
		if tx.err == nil {
			state = states[0]
		}
		return tx.err
	})
	if err != nil {
		return state, err
	}
	x.epoch, x.head = state.Epoch, state.Head
	return state, nil
}

// Feeds returns every feed's state.
func (s *Store) Feeds(ctx context.Context) (states []ledger.FeedState, err error) {
	err = s.read(ctx, func(tx *tx) error {
		states = readFeeds(tx, ``)
		return tx.err
	})
	return states, err
}

// readFeeds reads the states of feeds with their open gaps in
// reading and their open backfills.
func readFeeds(tx *tx, where string, args ...any) (states []ledger.FeedState) {
	var (
		fid    int64
		st     ledger.FeedState
		byID   = make(map[int64]int)
		cursor = &st.Cursor
	)
	rows := tx.query(`SELECT fid, tenant, source, epoch, head, cursor_source, cursor_version, cursor_through, whole, parked FROM feeds `+where+` ORDER BY fid`, args...)
	for rows.next(&fid, &st.Feed.Tenant, &st.Feed.Source, &st.Epoch, &st.Head, &cursor.Source, &cursor.Version, &cursor.Through, &st.Whole, &st.Parked) {
		byID[fid] = len(states)
		states = append(states, st)
	}
	for _, g := range readGaps(tx, `WHERE g.state = 'open' AND g.sink = ''`) {
		if i, ok := byID[g.fid]; ok {
			states[i].Gaps = append(states[i].Gaps, g.Gap)
		}
	}
	open := `WHERE b.state = 'open'`
	if where != "" {
		open += ` AND b.fid IN (SELECT fid FROM feeds ` + where + `)`
	}
	byFeed := make(map[drover.Feed]int, len(states))
	for i := range states {
		byFeed[states[i].Feed] = i
	}
	for _, b := range readBackfills(tx, open, args...) {
		i := byFeed[b.Feed]
		states[i].Backfills = append(states[i].Backfills, b)
	}
	return states
}

// Flush stores, for all feeds together, when they were last read whole.
func (s *Store) Flush(ctx context.Context, whole map[drover.Feed]drover.Instant) error {
	ids := make(map[int64]drover.Instant, len(whole))
	for f, at := range whole {
		x, err := s.feed(ctx, f)
		if errors.Is(err, ledger.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		ids[x.fid] = at
	}
	return s.w.do(64*len(ids), func(tx *tx) error {
		for fid, at := range ids {
			tx.exec(`UPDATE feeds SET whole = max(whole, ?) WHERE fid = ?`, int64(at), fid)
		}
		return tx.err
	})
}

// Rewind moves a cursor back; see ledger.Reading.
func (s *Store) Rewind(ctx context.Context, f drover.Feed, to drover.Instant, why string) error {
	x, err := s.feed(ctx, f)
	if err != nil {
		return err
	}
	return s.w.do(256, func(tx *tx) error {
		var from drover.Instant
		tx.row(`SELECT cursor_through FROM feeds WHERE fid = ?`, x.fid).scan(&from)
		tx.exec(`UPDATE feeds SET cursor_through = min(cursor_through, ?), whole = min(whole, ?), epoch = epoch + 1 WHERE fid = ?`, int64(to), int64(to), x.fid)
		s.enter(tx, "rewound", f, fmt.Sprintf("from %s to %s: %s", from, to, why))
		return tx.err
	})
}
