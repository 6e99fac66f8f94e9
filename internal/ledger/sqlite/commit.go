package sqlite

import (
	"context"
	"fmt"
	"strings"

	"drover"
	"drover/internal/ledger"
)

// rowSizes are the statements by which rows are written, for as many at once
// as their rows say: from 64 on that halves the cost of a row (reference
// dependencies §13).
var rowSizes = func() (sizes []rowSize) {
	for _, n := range []int{64, 16, 4, 1} {
		row := `(?` + strings.Repeat(`,?`, rowColumns-1) + `)`
		rows := row + strings.Repeat(`,`+row, n-1)
		sizes = append(sizes, rowSize{n, insertKeys + rows, upsertNews + rows + onNewest})
	}
	return sizes
}()

type rowSize struct {
	rows         int
	keys, newest string
}

// rowColumns is how many columns each of the two statements writes a row.
const rowColumns = 7

const (
	insertKeys  = `INSERT INTO keys (fid, changed, alert, ordinal, sum, seq, created) VALUES `
	upsertNews  = `INSERT INTO newest (fid, created, alert, changed, ordinal, sum, seq) VALUES `
	insertBlock = `INSERT INTO blocks (fid, first, last, at, min_changed, max_changed, incarnation, codec, size, body) VALUES (?,?,?,?,?,?,?,?,?,?)`
	addCount    = `INSERT INTO counts (day, tenant, source, severity, sink, what, n) VALUES (?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET n = n + excluded.n`
)

// A late, older revision does not take the place of a newer one.
const onNewest = ` ON CONFLICT DO UPDATE SET changed = excluded.changed, ordinal = excluded.ordinal, sum = excluded.sum, seq = excluded.seq
	WHERE (excluded.changed, excluded.ordinal) >= (newest.changed, newest.ordinal)`

// alertKey is the part of an alert's hash that indices hold.
const alertKey = 16

// Commit stores a read in one step; see ledger.Reading.
func (s *Store) Commit(ctx context.Context, c ledger.Commit) (ledger.Committed, error) {
	x, err := s.feed(ctx, c.Feed)
	if err != nil {
		return ledger.Committed{}, err
	}
	k, err := s.dataKey(ctx, c.Feed.Tenant)
	if err != nil {
		return ledger.Committed{}, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if c.Epoch != x.epoch {
		return ledger.Committed{}, fmt.Errorf("feed %s: %w", c.Feed, ledger.ErrMoved)
	}
	out := ledger.Committed{First: x.head + 1, Last: x.head + uint64(len(c.Revisions))}
	if empty(&c) {
		return out, nil
	}
	// The sequence numbers are part of the seal, so they are given here; the
	// writer checks that they are still the next ones.
	for i := range c.Revisions {
		c.Revisions[i].Feed, c.Revisions[i].Seq = c.Feed, out.First+uint64(i)
	}
	blocks := seal(k, c.Feed, s.identity.Incarnation, c.Revisions)
	asides := s.sealAsides(k, x, c.Aside)
	do, size := s.w.do, 1024*(1+len(c.Open)+len(c.Update)+len(c.Backfills))
	for i := range blocks {
		size += len(blocks[i].body) + 256*blockRows
	}
	for i := range asides {
		size += len(asides[i].sealed) + 512
	}
	if len(c.Revisions)+len(c.Aside) > 0 {
		do = s.w.grow
	}
	defer func() {
		for i := range blocks {
			blocks[i].opened.release()
		}
	}()
	err = do(size, func(tx *tx) error { return s.store(tx, x, &c, blocks, asides, &out) })
	if err != nil {
		return ledger.Committed{}, fmt.Errorf("feed %s: %w", c.Feed, err)
	}
	x.head = out.Last
	for i := range blocks {
		b := &blocks[i]
		s.recent.add(b.opened, &stored{b.first, b.last, s.inc, codecS2, b.body, b.at})
	}
	if len(c.Revisions) > 0 {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
	return out, nil
}

// empty reports whether there is nothing to store.
func empty(c *ledger.Commit) bool {
	return len(c.Revisions)+len(c.Open)+len(c.Update)+len(c.Backfills)+len(c.Aside)+c.Unnamed == 0 && c.Cursor == nil && c.Parked == nil && !c.Whole.Known()
}

// store is the writer's part of a commit.
func (s *Store) store(tx *tx, x *feed, c *ledger.Commit, blocks []block, asides []sealedAside, out *ledger.Committed) error {
	var (
		epoch drover.Epoch
		head  uint64
		cur   drover.Cursor
		bytes int64
		keys  int64
	)
	tx.row(`SELECT epoch, head, cursor_source, cursor_version, cursor_through, bytes, keys_sum FROM feeds WHERE fid = ?`, x.fid).scan(&epoch, &head, &cur.Source, &cur.Version, &cur.Through, &bytes, &keys)
	switch {
	case tx.err != nil:
		return tx.err
	case epoch != c.Epoch:
		return ledger.ErrMoved
	case head+1 != out.First:
		return broken("commit", fmt.Errorf("the feed stands at %d, the commit begins at %d", head, out.First))
	case c.Cursor != nil && cur.Source != "" && c.Cursor.Version == cur.Version && c.Cursor.Through < cur.Through:
		return broken("commit", fmt.Errorf("the cursor would go back from %s to %s", cur.Through, c.Cursor.Through))
	}
	if len(blocks) > 0 {
		if err := s.w.space.crowds(bytes); err != nil {
			return err
		}
	}
	now := s.now()
	keys ^= int64(insertRows(tx, x.fid, c.Revisions))
	for i := range blocks {
		b := &blocks[i]
		bytes += int64(len(b.body))
		b.stamp(drover.Instant(now))
		tx.exec(insertBlock, x.fid, int64(b.first), int64(b.last), now, int64(b.minChanged), int64(b.maxChanged), s.inc, codecS2, len(b.body), b.body)
	}
	if c.Cursor != nil {
		cur = *c.Cursor
	}
	tx.exec(`UPDATE feeds SET head = ?, bytes = ?, keys_sum = ?, whole = max(whole, ?), cursor_source = ?, cursor_version = ?, cursor_through = ? WHERE fid = ?`,
		int64(out.Last), bytes, keys, int64(c.Whole), string(cur.Source), cur.Version, int64(cur.Through), x.fid)
	if c.Parked != nil {
		tx.exec(`UPDATE feeds SET parked = ? WHERE fid = ?`, clip(*c.Parked), x.fid)
	}
	out.Gaps = nil
	for _, g := range c.Update {
		out.Gaps = append(out.Gaps, updateGap(tx, x, g, now))
	}
	for _, g := range c.Open {
		out.Gaps = append(out.Gaps, openGap(tx, x, g, now))
	}
	out.Backfills = nil
	for _, b := range c.Backfills {
		if b.ID == 0 {
			b = s.openBackfill(tx, x, b.Span, true)
		} else {
			b = s.advance(tx, x, b)
		}
		out.Backfills = append(out.Backfills, b)
	}
	for i := range asides {
		insertAside(tx, &asides[i], s.inc, now)
	}
	s.countCommit(tx, c)
	return tx.err
}

// insertRows writes the keys and the newest revision of each alert, and returns
// the sum of the keys.
func insertRows(tx *tx, fid int64, revs []drover.Revision) (sum uint64) {
	for _, size := range rowSizes {
		for ; len(revs) >= size.rows; revs = revs[size.rows:] {
			keys, newest := tx.many(size.keys, rowColumns*size.rows), tx.many(size.newest, rowColumns*size.rows)
			if tx.err != nil {
				return 0
			}
			alerts := make([]byte, 0, alertKey*size.rows)
			for i := range revs[:size.rows] {
				r := &revs[i]
				hash := ledger.AlertHash(r.AlertID)
				alerts = append(alerts, hash[:alertKey]...)
				alert := alerts[len(alerts)-alertKey:]
				sum ^= keySum(r.Changed, alert, r.Ordinal, r.Sum[:], r.Seq, r.Created)
				keys.add(fid, int64(r.Changed), alert, int64(r.Ordinal), r.Sum[:], int64(r.Seq), int64(r.Created))
				newest.add(fid, int64(r.Created), alert, int64(r.Changed), int64(r.Ordinal), r.Sum[:], int64(r.Seq))
			}
			tx.run(keys)
			tx.run(newest)
		}
	}
	return sum
}

// countCommit adds to the daily counts.
func (s *Store) countCommit(tx *tx, c *ledger.Commit) {
	type what struct{ severity, what string }
	n := make(map[what]int)
	for i := range c.Revisions {
		r := &c.Revisions[i]
		n[what{r.Severity, "revisions"}]++
		if r.Flags.Has(drover.Late) {
			n[what{"", "late"}]++
		}
		if r.Flags.Has(drover.Touch) {
			n[what{"", "touches"}]++
		}
	}
	n[what{"", "unnamed"}] += c.Unnamed
	for i := range c.Aside {
		n[what{"", c.Aside[i].Reason}]++
	}
	for k, v := range n {
		if v > 0 {
			tx.exec(addCount, s.day(), string(c.Feed.Tenant), string(c.Feed.Source), k.severity, "", k.what, v)
		}
	}
}
