package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"drover"
	"drover/internal/fault"
	"drover/internal/ledger"
)

// pruneSlice is how many rows a call touches unless told otherwise.
const pruneSlice = 10_000

// Prune drops what may be thrown away; see ledger.Bookkeeping.
func (s *Store) Prune(ctx context.Context, p ledger.PruneOrder) (out ledger.Pruned, err error) {
	slice := p.Slice
	if slice <= 0 {
		slice = pruneSlice
	}
	err = s.w.do(ctx, 0, false, func(tx *tx) error {
		out = ledger.Pruned{}
		if p.Hold > 0 || p.HoldSize > 0 {
			if out.Gaps, err = s.hold(tx, p); err != nil {
				return err
			}
		}
		if p.Bodies > 0 {
			s.pruneBodies(tx, p, slice, &out)
		}
		s.pruneKeys(tx, p, slice, &out)
		return tx.err
	})
	if err != nil {
		return out, err
	}
	fault.At(fault.LedgerPrune)
	if out.Bodies+out.Keys > 0 {
		err = s.w.do(ctx, 0, false, func(tx *tx) error {
			tx.exec(`PRAGMA incremental_vacuum(2000)`)
			return tx.err
		})
	}
	return out, err
}

// owed is the last sequence number that every sink in use has done; without
// sinks nothing is owed to anybody.
const owed = `coalesce((SELECT min(p.seq) FROM places p JOIN sinks k ON k.id = p.sink WHERE p.fid = b.fid AND k.retired = 0), b.last)`

// pruneBodies drops whole blocks that are old and owed to nobody.
func (s *Store) pruneBodies(tx *tx, p ledger.PruneOrder, slice int, out *ledger.Pruned) {
	cut := int64(p.Now.Add(-p.Bodies))
	const may = ` FROM blocks b WHERE b.at < ? AND b.max_changed < ? AND b.last <= ` + owed
	var rows, busiest int64
	tx.row(`SELECT coalesce(sum(last - first + 1), 0)`+may, cut, cut).scan(&rows)
	tx.row(`SELECT coalesce(max(n), 0) FROM (SELECT sum(n) AS n FROM counts WHERE what = 'revisions' GROUP BY day)`).scan(&busiest)
	if rows > 3*busiest && !p.Confirmed {
		out.Asks = fmt.Sprintf("%d revisions are due to be thrown away at once, more than three days' usual amount (%d a day at most); check the clock and the retention, then confirm", rows, busiest)
		return
	}
	var n, first, last int64
	var drop []int64
	for r := tx.query(`SELECT b.n, b.first, b.last`+may+` ORDER BY b.n LIMIT ?`, cut, cut, slice); r.next(&n, &first, &last); {
		if out.Bodies < int64(slice) {
			drop = append(drop, n)
			out.Bodies += last - first + 1
		}
	}
	for _, n := range drop {
		tx.exec(`DELETE FROM blocks WHERE n = ?`, n)
	}
	out.More = out.More || out.Bodies < rows
}

// pruneKeys drops keys of rows that no source shows any more.
func (s *Store) pruneKeys(tx *tx, p ledger.PruneOrder, slice int, out *ledger.Pruned) {
	cut := int64(p.Now.Add(-ledger.KeyRetention))
	var fids []int64
	var fid int64
	for r := tx.query(`SELECT fid FROM feeds`); r.next(&fid); {
		fids = append(fids, fid)
	}
	for _, fid := range fids {
		if out.Keys >= int64(slice) {
			out.More = true
			return
		}
		// Keys without a time keep for as long as their body.
		out.Keys += tx.exec(`DELETE FROM keys WHERE fid = ? AND changed > ? AND changed < ? AND (changed, alert, ordinal) IN
			(SELECT changed, alert, ordinal FROM keys WHERE fid = ? AND changed > ? AND changed < ? ORDER BY changed LIMIT ?)`,
			fid, int64(drover.NoInstant), cut, fid, int64(drover.NoInstant), cut, slice)
		tx.exec(`DELETE FROM newest WHERE fid = ? AND changed > ? AND changed < ? AND created < ?`, fid, int64(drover.NoInstant), cut, cut)
	}
}

// hold bounds what a sink may hold back: at the bound the oldest undelivered
// range becomes a gap at that sink, and its place moves.
func (s *Store) hold(tx *tx, p ledger.PruneOrder) (gaps []drover.Gap, err error) {
	type late struct {
		sink        string
		fid         int64
		first, last uint64
		from, to    int64
	}
	var list []late
	var l late
	if p.Hold > 0 {
		cut := int64(p.Now.Add(-p.Hold))
		for r := tx.query(`SELECT p.sink, p.fid, p.seq + 1, max(b.last), min(b.max_changed), max(b.max_changed) FROM places p JOIN sinks k ON k.id = p.sink JOIN blocks b USING (fid)
			WHERE k.retired = 0 AND b.last > p.seq AND b.at < ? GROUP BY p.sink, p.fid`, cut); r.next(&l.sink, &l.fid, &l.first, &l.last, &l.from, &l.to); {
			list = append(list, l)
		}
	}
	if p.HoldSize > 0 {
		var sum, size int64
		var sink string
		for r := tx.query(`SELECT p.sink, p.fid, p.seq + 1, b.last, b.max_changed, b.max_changed, length(b.body) FROM places p JOIN sinks k ON k.id = p.sink JOIN blocks b USING (fid)
			WHERE k.retired = 0 AND b.last > p.seq ORDER BY p.sink, b.n DESC`); r.next(&l.sink, &l.fid, &l.first, &l.last, &l.from, &l.to, &size); {
			if l.sink != sink {
				sink, sum = l.sink, 0
			}
			if sum += size; sum > p.HoldSize {
				list = append(list, l)
			}
		}
	}
	now := int64(drover.InstantOf(s.opt.Clock()))
	for _, l := range list {
		var seq uint64
		var f drover.Feed
		var packed []byte
		tx.row(`SELECT p.seq, p.beyond, f.tenant, f.source FROM places p JOIN feeds f USING (fid) WHERE p.sink = ? AND p.fid = ?`, l.sink, l.fid).scan(&seq, &packed, &f.Tenant, &f.Source)
		if tx.err != nil || l.last <= seq {
			continue
		}
		x := &feed{Feed: f, fid: l.fid}
		gaps = append(gaps, openGap(tx, x, drover.Gap{Sink: drover.SinkID(l.sink), Span: drover.Span{From: drover.Instant(l.from), To: drover.Instant(l.to) + 1}, First: max(l.first, seq+1), Last: l.last,
			Cause: "the sink held back more than it may (hold:)"}, now))
		if err := settleRange(tx, drover.SinkID(l.sink), l.fid, drover.Range{Feed: f, First: seq + 1, Last: l.last}); err != nil {
			return gaps, err
		}
		tx.exec(addCount, s.day(), string(f.Tenant), string(f.Source), "", l.sink, "discarded", int64(l.last-seq))
	}
	return gaps, tx.err
}

// Space says how full the ledger is.
func (s *Store) Space(ctx context.Context) (ledger.Space, error) {
	var pages, free, size int64
	err := s.db.QueryRowContext(ctx, `SELECT page_count, freelist_count, page_size FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()`).Scan(&pages, &free, &size)
	return ledger.Space{Used: (pages - free) * size, Free: free*size + freeSpace(s.opt.Dir), Limit: s.opt.Limit}, classify("measure the ledger", err)
}

// Ready makes a commit.
func (s *Store) Ready(ctx context.Context) error {
	return s.w.do(ctx, 0, false, func(tx *tx) error {
		tx.exec(`INSERT INTO meta VALUES ('ready', '1') ON CONFLICT (k) DO UPDATE SET v = CAST(CAST(v AS INTEGER) + 1 AS TEXT)`)
		return tx.err
	})
}

// checkNewest opens the newest block of every feed, at most 1,000 of them.
func (s *Store) checkNewest(ctx context.Context) error {
	var first error
	err := s.eachBlock(ctx, `WHERE b.n IN (SELECT max(n) FROM blocks GROUP BY fid ORDER BY max(n) DESC LIMIT 1000)`, func(err error) {
		if first == nil {
			first = err
		}
	})
	if err == nil {
		err = first
	}
	if err != nil {
		return broken("check the newest blocks after an unclean stop", err)
	}
	return nil
}

// Check reads everything; see ledger.Bookkeeping.
func (s *Store) Check(ctx context.Context) (found []string, err error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, classify("check the ledger", err)
	}
	rows, err := conn.QueryContext(ctx, `PRAGMA integrity_check(100)`)
	if err == nil {
		for rows.Next() {
			var line string
			if err = rows.Scan(&line); err == nil && line != "ok" {
				found = append(found, line)
			}
		}
		err = errors.Join(err, rows.Err(), rows.Close())
	}
	if err = errors.Join(err, conn.Close()); err != nil {
		found = append(found, err.Error())
	}
	if err := s.eachBlock(ctx, ``, func(err error) { found = append(found, err.Error()) }); err != nil {
		found = append(found, err.Error())
	}
	err = s.read(ctx, func(tx *tx) error {
		for _, c := range []struct{ says, query string }{
			{"a feed has more or fewer keys and pruned keys than its head says", `SELECT count(*) FROM feeds f WHERE head < coalesce((SELECT max(seq) FROM keys k WHERE k.fid = f.fid), 0)`},
			{"a place stands beyond its feed's head", `SELECT count(*) FROM places p JOIN feeds f USING (fid) WHERE p.seq > f.head`},
			{"blocks of a feed overlap or leave a hole", `SELECT count(*) FROM (SELECT first, lag(last) OVER (PARTITION BY fid ORDER BY first) AS before FROM blocks) WHERE before IS NOT NULL AND first <> before + 1`},
			{"a block ends beyond its feed's head", `SELECT count(*) FROM blocks b JOIN feeds f USING (fid) WHERE b.last > f.head`},
			{"a feed's newest block does not end at its head", `SELECT count(*) FROM feeds f WHERE head > 0 AND EXISTS (SELECT 1 FROM blocks b WHERE b.fid = f.fid) AND head <> (SELECT max(last) FROM blocks b WHERE b.fid = f.fid)`},
			{"a key's sequence number is given twice", `SELECT count(*) FROM (SELECT 1 FROM keys GROUP BY fid, seq HAVING count(*) > 1)`},
		} {
			var n int
			if tx.row(c.query).scan(&n) && n > 0 {
				found = append(found, fmt.Sprintf("%s (%d)", c.says, n))
			}
		}
		return tx.err
	})
	return found, err
}

// eachBlock opens blocks and reports those that do not open.
func (s *Store) eachBlock(ctx context.Context, where string, bad func(error)) error {
	var ns []int64
	err := s.read(ctx, func(tx *tx) error {
		var n int64
		for rows := tx.query(`SELECT b.n FROM blocks b JOIN feeds f USING (fid) JOIN tenants t ON t.id = f.tenant ` + orWhere(where) + ` AND t.wrapped IS NOT NULL`); rows.next(&n); {
			ns = append(ns, n)
		}
		return tx.err
	})
	for _, n := range ns {
		if err != nil || ctx.Err() != nil {
			break
		}
		var b stored
		var f drover.Feed
		err = classify("read a block", s.db.QueryRowContext(ctx, `SELECT f.tenant, f.source, b.first, b.last, b.incarnation, b.codec, b.body FROM blocks b JOIN feeds f USING (fid) WHERE b.n = ?`, n).
			Scan(&f.Tenant, &f.Source, &b.first, &b.last, &b.incarnation, &b.codec, &b.body))
		if err != nil {
			break
		}
		k, kerr := s.dataKey(ctx, f.Tenant)
		if errors.Is(kerr, ledger.ErrNotFound) {
			continue
		}
		if kerr != nil {
			bad(kerr)
			continue
		}
		name, _ := s.incarnation(b.incarnation)
		if err := unseal(k, f, name, b.codec, b.first, b.last, b.body, b.first, func(drover.Revision) bool { return true }); err != nil {
			bad(err)
		}
	}
	return errors.Join(err, ctx.Err())
}

func orWhere(where string) string {
	if where == "" {
		return `WHERE true`
	}
	return where
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
