package sqlite

import (
	"context"
	"fmt"

	"drover"
	"drover/internal/ledger"
)

func readBackfills(tx *tx, where string, args ...any) (out []ledger.Backfill) {
	var b ledger.Backfill
	rows := tx.query(`SELECT b.id, f.tenant, f.source, b.since, b.until, b.at, b.first, b.state, b.asked, b.changed, b.pages, b.rows, b.found
		FROM backfills b JOIN feeds f USING (fid) `+where+` ORDER BY b.id`, args...)
	for rows.next(&b.ID, &b.Feed.Tenant, &b.Feed.Source, &b.Span.From, &b.Span.To, &b.At, &b.First, &b.State, &b.Asked, &b.Changed, &b.Pages, &b.Rows, &b.Found) {
		out = append(out, b)
	}
	return out
}

// openBackfill stores a new backfill and writes it into the logbook.
func (s *Store) openBackfill(tx *tx, x *feed, span drover.Span, first bool) ledger.Backfill {
	now := s.now()
	b := ledger.Backfill{Feed: x.Feed, Span: span, At: span.From, First: first, State: ledger.BackfillOpen, Asked: drover.Instant(now), Changed: drover.Instant(now)}
	b.ID = tx.insert(`INSERT INTO backfills (fid, since, until, at, first, state, asked, changed) VALUES (?,?,?,?,?,?,?,?)`,
		x.fid, int64(span.From), int64(span.To), int64(b.At), first, string(b.State), now, now)
	why := "by order"
	if first {
		why = "first read"
	}
	s.enter(tx, "backfill", x.Feed, fmt.Sprintf("%d %s: %s", b.ID, span, why))
	return b
}

// advance moves an open backfill, never back; one that is not open any more
// stays as it is. What is stored in the end is returned.
func (s *Store) advance(tx *tx, x *feed, b ledger.Backfill) ledger.Backfill {
	tx.exec(`UPDATE backfills SET at = max(at, ?), state = ?, changed = ?, pages = pages + ?, rows = rows + ?, found = found + ? WHERE id = ? AND fid = ? AND state = 'open'`,
		int64(b.At), string(b.State), s.now(), b.Pages, b.Rows, b.Found, b.ID, x.fid)
	list := readBackfills(tx, `WHERE b.id = ? AND b.fid = ?`, b.ID, x.fid)
	if len(list) == 0 {
		b.State = ledger.BackfillCancelled // there is none: nobody goes on with it
		return b
	}
	if b = list[0]; b.State == ledger.BackfillDone {
		s.enter(tx, "backfilled", x.Feed, fmt.Sprintf("%d %s: %d rows, %d new", b.ID, b.Span, b.Rows, b.Found))
	}
	return b
}

// AddBackfill stores a new one; see ledger.Backfilling.
func (s *Store) AddBackfill(ctx context.Context, f drover.Feed, span drover.Span) (b ledger.Backfill, err error) {
	x, err := s.feed(ctx, f)
	if err != nil {
		return b, err
	}
	err = s.w.do(512, func(tx *tx) error {
		for _, old := range readBackfills(tx, `WHERE b.fid = ? AND b.state = 'open' AND b.since = ? AND b.until = ?`, x.fid, int64(span.From), int64(span.To)) {
			b = old
			return tx.err
		}
		b = s.openBackfill(tx, x, span, false)
		generation(tx)
		return tx.err
	})
	return b, err
}

// Backfills lists them; see ledger.Backfilling.
func (s *Store) Backfills(ctx context.Context, f ledger.BackfillFilter) (out []ledger.Backfill, err error) {
	err = s.read(ctx, func(tx *tx) error {
		out = readBackfills(tx, `WHERE (? = '' OR f.tenant = ?) AND (? = '' OR f.source = ?) AND (? = '' OR b.state = ?)`,
			string(f.Feed.Tenant), string(f.Feed.Tenant), string(f.Feed.Source), string(f.Feed.Source), string(f.State), string(f.State))
		return tx.err
	})
	return out, err
}

// CancelBackfill ends an open one; see ledger.Backfilling.
func (s *Store) CancelBackfill(ctx context.Context, id int64) error {
	return s.w.do(256, func(tx *tx) error {
		list := readBackfills(tx, `WHERE b.id = ? AND b.state = 'open'`, id)
		if tx.err == nil && len(list) == 0 {
			return fmt.Errorf("open backfill %d: %w", id, ledger.ErrNotFound)
		}
		if tx.err != nil {
			return tx.err
		}
		b := list[0]
		tx.exec(`UPDATE backfills SET state = 'cancelled', changed = ? WHERE id = ?`, s.now(), id)
		s.enter(tx, "backfill_cancelled", b.Feed, fmt.Sprintf("%d %s: read up to %s", id, b.Span, b.At))
		generation(tx)
		return tx.err
	})
}
