package sqlite

import (
	"context"
	"fmt"
	"strings"

	"drover"
	"drover/internal/ledger"
)

// keyRows is how many keys one statement takes: from 64 on it halves the cost
// of a row (reference dependencies §13). The rest goes one by one.
const keyRows = 64

var (
	insertKey   = `INSERT INTO keys (fid, changed, alert, ordinal, sum, seq, created) VALUES ` + `(?,?,?,?,?,?,?)`
	insertKeys  = insertKey + strings.Repeat(`,(?,?,?,?,?,?,?)`, keyRows-1)
	upsertNew   = `INSERT INTO newest (fid, created, alert, changed, ordinal, sum, seq) VALUES ` + `(?,?,?,?,?,?,?)`
	upsertNews  = upsertNew + strings.Repeat(`,(?,?,?,?,?,?,?)`, keyRows-1) + onNewest
	upsertNew1  = upsertNew + onNewest
	insertBlock = `INSERT INTO blocks (fid, first, last, at, max_changed, incarnation, codec, body) VALUES (?,?,?,?,?,?,?,?)`
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
	// The sequence numbers are part of the seal, so they are given here; the
	// writer checks that they are still the next ones.
	first := x.head + 1
	size := 0
	for i := range c.Revisions {
		c.Revisions[i].Feed, c.Revisions[i].Seq = c.Feed, first+uint64(i)
		size += 256 + len(c.Revisions[i].Raw)/3
	}
	blocks := seal(k, c.Feed, s.identity.Incarnation, c.Revisions, first)
	asides := s.sealAsides(k, c.Feed, c.Aside)
	out := ledger.Committed{First: first, Last: x.head + uint64(len(c.Revisions))}
	err = s.w.do(ctx, size, len(c.Revisions) > 0, func(tx *tx) error {
		return s.store(tx, x, &c, blocks, asides, &out)
	})
	if err != nil {
		return ledger.Committed{}, fmt.Errorf("feed %s: %w", c.Feed, err)
	}
	x.head = out.Last
	if len(c.Revisions) > 0 {
		s.recent.add(c.Feed, c.Revisions)
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
	return out, nil
}

// store is the writer's part of a commit.
func (s *Store) store(tx *tx, x *feed, c *ledger.Commit, blocks []block, asides []sealedAside, out *ledger.Committed) error {
	var (
		epoch drover.Epoch
		head  uint64
		cur   drover.Cursor
	)
	tx.row(`SELECT epoch, head, cursor_source, cursor_version, cursor_through FROM feeds WHERE fid = ?`, x.fid).scan(&epoch, &head, &cur.Source, &cur.Version, &cur.Through)
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
	now := int64(drover.InstantOf(s.opt.Clock()))
	insertRows(tx, x.fid, c.Revisions)
	for _, b := range blocks {
		tx.exec(insertBlock, x.fid, int64(b.first), int64(b.last), now, int64(b.maxChanged), s.inc, codecS2, b.body)
	}
	if c.Cursor != nil {
		tx.exec(`UPDATE feeds SET cursor_source = ?, cursor_version = ?, cursor_through = ? WHERE fid = ?`, string(c.Cursor.Source), c.Cursor.Version, int64(c.Cursor.Through), x.fid)
	}
	tx.exec(`UPDATE feeds SET head = ?, whole = max(whole, ?) WHERE fid = ?`, int64(out.Last), int64(c.Whole), x.fid)
	if c.Parked != nil {
		tx.exec(`UPDATE feeds SET parked = ? WHERE fid = ?`, *c.Parked, x.fid)
	}
	for _, g := range c.Update {
		updateGap(tx, x.fid, g, now)
		out.Gaps = append(out.Gaps, g)
	}
	for _, g := range c.Open {
		out.Gaps = append(out.Gaps, openGap(tx, x, g, now))
	}
	for _, a := range asides {
		insertAside(tx, x.fid, a, s.inc, now)
	}
	s.countCommit(tx, c)
	return tx.err
}

// insertRows writes the keys and the newest revision of each alert.
func insertRows(tx *tx, fid int64, revs []drover.Revision) {
	args, news := make([]any, 0, keyRows*7), make([]any, 0, keyRows*7)
	for i := range revs {
		r := &revs[i]
		alert := ledger.AlertHash(r.AlertID)
		args = append(args, fid, int64(r.Changed), alert[:alertKey], int64(r.Ordinal), r.Sum[:], int64(r.Seq), int64(r.Created))
		news = append(news, fid, int64(r.Created), alert[:alertKey], int64(r.Changed), int64(r.Ordinal), r.Sum[:], int64(r.Seq))
		if len(args) == keyRows*7 {
			tx.exec(insertKeys, args...)
			tx.exec(upsertNews, news...)
			args, news = args[:0], news[:0]
		}
	}
	for ; len(args) > 0; args, news = args[7:], news[7:] {
		tx.exec(insertKey, args[:7]...)
		tx.exec(upsertNew1, news[:7]...)
	}
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

func (s *Store) day() string { return s.opt.Clock().UTC().Format("2006-01-02") }
