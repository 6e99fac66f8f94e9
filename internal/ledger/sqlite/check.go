package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"drover"
	"drover/internal/ledger"
)

// Ready makes a commit.
func (s *Store) Ready(context.Context) error {
	return s.w.grow(0, func(tx *tx) error {
		tx.exec(`UPDATE meta SET v = CAST(CAST(v AS INTEGER) + 1 AS TEXT) WHERE k = 'ready'`)
		return tx.err
	})
}

// pragmaCheck runs one of SQLite's own checks.
func pragmaCheck(ctx context.Context, conn *sql.Conn, pragma string) (found []string) {
	rows, err := conn.QueryContext(ctx, pragma)
	if err != nil {
		return []string{err.Error()}
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return append(found, err.Error())
		}
		if line != "ok" {
			found = append(found, line)
		}
	}
	if err := rows.Err(); err != nil {
		found = append(found, err.Error())
	}
	return found
}

// checkNewest opens the newest block of every feed, at most 1,000 of them.
func (s *Store) checkNewest(ctx context.Context) error {
	err := s.eachBlock(ctx, `AND b.n IN (SELECT max(n) FROM blocks GROUP BY fid ORDER BY max(n) DESC LIMIT 1000)`, func(_ *opened, err error) error { return err })
	if err != nil {
		return broken("check the newest blocks after an unclean stop", err)
	}
	return nil
}

// sums are what must hold between the tables. Each query counts what does not.
var sums = []struct{ says, query string }{
	{"a key carries a number beyond its feed's head", `SELECT count(*) FROM keys k JOIN feeds f USING (fid) WHERE k.seq > f.head OR k.seq < 1`},
	{"a sequence number is given twice", `SELECT count(*) FROM (SELECT 1 FROM keys GROUP BY fid, seq HAVING count(*) > 1)`},
	{"the newest revision of an alert has no key", `SELECT count(*) FROM newest n WHERE NOT EXISTS (SELECT 1 FROM keys k WHERE k.fid = n.fid AND k.changed = n.changed AND k.alert = n.alert AND k.ordinal = n.ordinal AND k.sum = n.sum AND k.seq = n.seq)
		AND n.changed >= (SELECT keys_from FROM feeds f WHERE f.fid = n.fid)`},
	{"blocks of a feed overlap or leave a hole", `SELECT count(*) FROM (SELECT first, lag(last) OVER (PARTITION BY fid ORDER BY first) AS before FROM blocks) WHERE before IS NOT NULL AND first <> before + 1`},
	{"a feed's newest block does not end at its head", `SELECT count(*) FROM feeds f WHERE head > floor AND head <> coalesce((SELECT max(last) FROM blocks b WHERE b.fid = f.fid), 0)`},
	{"a feed's oldest block begins behind what was thrown away", `SELECT count(*) FROM feeds f WHERE head > floor AND (SELECT min(first) FROM blocks b WHERE b.fid = f.fid) > floor + 1`},
	{"the size of a feed is not that of its blocks", `SELECT count(*) FROM feeds f WHERE bytes <> (SELECT coalesce(sum(size), 0) FROM blocks b WHERE b.fid = f.fid)`},
	{"the size of a block is not that of its body", `SELECT count(*) FROM blocks WHERE size <> length(body)`},
	{"a place stands beyond its feed's head", `SELECT count(*) FROM places p JOIN feeds f USING (fid) WHERE p.seq > f.head OR p.seq < p.start`},
	{"a sink has no place in a feed", `SELECT count(*) FROM sinks k JOIN feeds f WHERE NOT EXISTS (SELECT 1 FROM places p WHERE p.sink = k.id AND p.fid = f.fid)`},
	{"a sink in use owes bodies that are gone", `SELECT count(*) FROM places p JOIN sinks k ON k.id = p.sink JOIN feeds f USING (fid) WHERE k.retired = 0 AND p.seq < f.floor`},
}

// Check reads everything; see ledger.Bookkeeping.
func (s *Store) Check(ctx context.Context) (found []string, err error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	s.checking.Add(1)
	defer s.checking.Add(-1)
	err = s.readers.with(ctx, func(r *session) error {
		found = pragmaCheck(ctx, r.conn, `PRAGMA integrity_check(100)`)
		return nil
	})
	if err != nil {
		return nil, err
	}
	note := func(err error) {
		if err != nil {
			found = append(found, err.Error())
		}
	}
	note(s.eachBlock(ctx, ``, func(b *opened, err error) error {
		if err == nil {
			err = s.checkBlock(ctx, b)
		}
		note(err)
		return ctx.Err()
	}))
	note(s.read(ctx, func(tx *tx) error {
		for _, c := range sums {
			var n int
			if tx.row(c.query).scan(&n) && n > 0 {
				found = append(found, fmt.Sprintf("%s (%d)", c.says, n))
			}
		}
		found = append(found, conservation(tx)...)
		found = append(found, checkKeySums(tx)...)
		return tx.err
	}))
	return found, ctx.Err()
}

// conservation checks that for every sink and feed each number from the sink's
// start on is taken, set aside, unrouted, passed over, discarded or pending (reference
// faults-and-invariants I9).
func conservation(tx *tx) (found []string) {
	var (
		sink, tenant, source string
		done                 uint64
		counted              uint64
		packed               []byte
	)
	rows := tx.query(`SELECT p.sink, f.tenant, f.source, p.seq - p.start, p.beyond,
		(SELECT coalesce(sum(c.n), 0) FROM counts c WHERE c.tenant = f.tenant AND c.source = f.source AND c.sink = p.sink AND c.what IN ('taken', 'set_aside', 'unrouted', 'passed_over', 'discarded'))
		FROM places p JOIN feeds f USING (fid)`)
	for rows.next(&sink, &tenant, &source, &done, &packed, &counted) {
		if done += unpack(packed).len(); done != counted {
			found = append(found, fmt.Sprintf("sink %s has done %d of feed %s/%s, but %d are accounted for", sink, done, tenant, source, counted))
		}
		packed = nil
	}
	return found
}

// checkBlock compares a block with the index and its rows with their sums.
func (s *Store) checkBlock(ctx context.Context, b *opened) error {
	x, err := s.feed(ctx, b.feed)
	if err != nil {
		return err
	}
	return s.read(ctx, func(tx *tx) error {
		var kept drover.Instant
		tx.row(`SELECT keys_from FROM feeds WHERE fid = ?`, x.fid).scan(&kept)
		for i := range b.revs {
			r := &b.revs[i]
			if sha256.Sum256(r.Raw) != r.Sum {
				return fmt.Errorf("revision %d of feed %s is not what its sum says", r.Seq, b.feed)
			}
			when := r.Changed
			if !when.Known() {
				when = r.Created
			}
			var seq uint64
			var sum []byte
			alert := ledger.AlertHash(r.AlertID)
			there := tx.row(`SELECT seq, sum FROM keys WHERE fid = ? AND changed = ? AND alert = ? AND ordinal = ?`, x.fid, int64(r.Changed), alert[:alertKey], int64(r.Ordinal)).scan(&seq, &sum)
			switch {
			case tx.err != nil:
				return tx.err
			case !there && (!when.Known() || when >= kept):
				return fmt.Errorf("revision %d of feed %s has no key", r.Seq, b.feed)
			case there && (seq != r.Seq || string(sum) != string(r.Sum[:])):
				return fmt.Errorf("the key of revision %d of feed %s is another's", r.Seq, b.feed)
			}
		}
		return nil
	})
}

// eachBlock opens blocks, save those of removed tenants, one by one.
func (s *Store) eachBlock(ctx context.Context, and string, each func(*opened, error) error) error {
	var ns []int64
	err := s.read(ctx, func(tx *tx) error {
		var n int64
		for rows := tx.query(`SELECT b.n FROM blocks b JOIN feeds f USING (fid) JOIN tenants t ON t.id = f.tenant WHERE t.wrapped IS NOT NULL AND b.last > f.floor ` + and); rows.next(&n); {
			ns = append(ns, n)
		}
		return tx.err
	})
	if err != nil {
		return err
	}
	for _, n := range ns {
		var b stored
		var f drover.Feed
		there := false
		err := s.ask(ctx, func(tx *tx) error {
			there = tx.row(`SELECT f.tenant, f.source, b.first, b.last, b.incarnation, b.codec, b.body FROM blocks b JOIN feeds f USING (fid) WHERE b.n = ?`, n).
				scan(&f.Tenant, &f.Source, &b.first, &b.last, &b.incarnation, &b.codec, &b.body)
			return tx.err
		})
		if err == nil && !there {
			continue // pruned meanwhile
		}
		var o *opened
		if err == nil {
			k, kerr := s.dataKey(ctx, f.Tenant)
			if errors.Is(kerr, ledger.ErrNotFound) {
				continue // removed meanwhile
			}
			if err = kerr; err == nil {
				o, err = unseal(k, f, s.names[b.incarnation], &b)
			}
		}
		err = each(o, err)
		if o != nil {
			o.release()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Size is what the ledger's files take on disk, for tests and benchmarks.
func (s *Store) Size() (n int64) {
	for _, name := range []string{fileName, fileName + "-wal"} {
		if info, err := os.Stat(filepath.Join(s.opt.Dir, name)); err == nil {
			n += info.Size()
		}
	}
	return n
}
