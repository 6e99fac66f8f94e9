package sqlite

import (
	"context"
	"fmt"
	"time"

	"drover"
	"drover/internal/fault"
	"drover/internal/ledger"
)

// pruneSlice is how many rows a call touches unless told otherwise.
const pruneSlice = 10_000

// maxAhead is how far ahead of Microsoft's time the local clock may have stamped
// a block. That time is of the last whole read, so it may be behind itself.
const maxAhead = 24 * time.Hour

// pruning is one call of Prune.
type pruning struct {
	ledger.PruneOrder
	cut  int64 // bodies that changed and were stored before it are old
	wild int64 // what was stored later than that was stamped by a wrong clock
	keys int64 // keys that changed before it are old
	left int64 // rows that this call may still touch
	out  ledger.Pruned
}

// Prune drops what may be thrown away; see ledger.Bookkeeping. What is due is
// looked for by a reader; the writer looks again, feed by feed, so that nobody
// waits for a search.
func (s *Store) Prune(ctx context.Context, order ledger.PruneOrder) (ledger.Pruned, error) {
	p := &pruning{PruneOrder: order, cut: int64(order.Now.Add(-order.Bodies)), wild: int64(order.Now.Add(maxAhead)), keys: int64(order.Now.Add(-ledger.KeyRetention)), left: pruneSlice}
	if order.Slice > 0 {
		p.left = int64(order.Slice)
	}
	for _, step := range []func(context.Context, *pruning) error{s.hold, s.pruneBodies, s.pruneKeys, s.shrink} {
		if err := step(ctx, p); err != nil {
			return p.out, fmt.Errorf("prune: %w", err)
		}
		fault.At(fault.LedgerPrune)
	}
	return p.out, nil
}

// due are the conditions under which a block may go: old by both clocks, the
// one that stamped its rows and ours, and done by every sink in use; or of a
// tenant whose key is gone. Where ours had run ahead, the other one decides. Of
// a tenant that is held nothing goes but what nobody can open.
// Parameters: 1 the cut, 4 what no clock of ours can have said.
const due = `(b.last <= f.floor OR ` + free + ` AND (b.at < ?1 OR b.at > ?4) AND b.max_changed < ?1 AND
	b.last <= coalesce((SELECT min(p.seq) FROM places p JOIN sinks k ON k.id = p.sink WHERE p.fid = f.fid AND k.retired = 0), f.head))`

// free: the feed f is not of a tenant that is held.
const free = `f.tenant NOT IN (SELECT tenant FROM holds)`

// firstKept is the first block of a feed that has to stay. Blocks go from the
// oldest on, so that what is left has no hole.
const firstKept = `coalesce((SELECT b.first FROM blocks b WHERE b.fid = f.fid AND NOT ` + due + ` ORDER BY b.first LIMIT 1), f.head + 1)`

// pruneBodies drops whole blocks that are old and owed to nobody.
func (s *Store) pruneBodies(ctx context.Context, p *pruning) error {
	if p.Bodies <= 0 {
		return nil
	}
	feeds, err := s.dueFeeds(ctx, p)
	if err != nil || len(feeds) == 0 || p.out.Asks != "" {
		return err
	}
	for _, x := range feeds {
		if p.left <= 0 {
			p.out.More = true
			return nil
		}
		var gone int64
		var floor uint64
		err := s.w.do(4096, func(tx *tx) error {
			gone, floor = dropBlocks(tx, x.fid, p)
			return tx.err
		})
		if err != nil {
			return err
		}
		s.recent.trim(x.Feed, floor)
		p.out.Bodies += gone
		p.left -= gone
		fault.At(fault.LedgerPrune)
	}
	p.out.More = p.out.More || p.left <= 0
	return nil
}

// dueFeeds lists the feeds that have something to drop. If that is more than
// three days' usual amount, it asks instead.
func (s *Store) dueFeeds(ctx context.Context, p *pruning) (feeds []*feed, err error) {
	err = s.read(ctx, func(tx *tx) error {
		var rows, n int64
		var x feed
		found := tx.query(`SELECT fid, tenant, source, owed FROM (SELECT f.fid, f.tenant, f.source, (SELECT coalesce(sum(b.last - b.first + 1), 0) FROM blocks b WHERE b.fid = f.fid AND b.last > f.floor AND b.first < `+firstKept+`) AS owed,
			EXISTS (SELECT 1 FROM blocks b WHERE b.fid = f.fid AND b.first < `+firstKept+`) AS any FROM feeds f) WHERE any`, p.cut, nil, nil, p.wild)
		for found.next(&x.fid, &x.Tenant, &x.Source, &n) {
			feeds = append(feeds, &feed{Feed: x.Feed, fid: x.fid})
			rows += n
		}
		if busiest := busiestDay(tx); rows > 3*busiest && !p.Confirmed {
			p.out.Asks = fmt.Sprintf("%d revisions are due to be thrown away at once, more than three days' usual amount (%d a day at most); check the clock and the retention, then confirm", rows, busiest)
		}
		return tx.err
	})
	return feeds, err
}

// busiestDay is how many revisions the day with the most of them brought.
func busiestDay(tx *tx) (n int64) {
	tx.row(`SELECT coalesce(max(n), 0) FROM (SELECT sum(n) AS n FROM counts WHERE what = 'revisions' GROUP BY day)`).scan(&n)
	return n
}

// dropBlocks drops blocks of a feed with about so many rows, and returns how
// many they were and up to where.
func dropBlocks(tx *tx, fid int64, p *pruning) (gone int64, floor uint64) {
	var n, first, last, size, bytes int64
	rows := p.left
	var drop []int64
	found := tx.query(`SELECT b.n, b.first, b.last, b.size FROM blocks b JOIN feeds f USING (fid) WHERE b.fid = ?2 AND b.first < `+firstKept+` ORDER BY b.first LIMIT ?3`, p.cut, fid, rows, p.wild)
	for found.next(&n, &first, &last, &size) {
		if gone < rows {
			drop = append(drop, n)
			gone += last - first + 1
			floor, bytes = uint64(last), bytes+size
		}
	}
	for _, n := range drop {
		tx.exec(`DELETE FROM blocks WHERE n = ?`, n)
	}
	if len(drop) > 0 {
		tx.exec(`UPDATE feeds SET floor = max(floor, ?), bytes = max(0, bytes - ?) WHERE fid = ?`, int64(floor), bytes, fid)
	}
	return gone, floor
}

const (
	oldKeys   = `fid = ?1 AND changed > ?2 AND changed < ?3`
	oldNoTime = `fid = ?1 AND changed = ?2 AND created > ?2 AND created < ?3`
	oldNewest = `fid = ?1 AND created < ?3 AND changed < ?3 AND (created > ?2 OR changed > ?2)`
)

// pruneKeys drops keys of rows that no source shows any more. A key with
// neither a change time nor a created time stays: nothing says how old it is.
// Where the bodies are in doubt, so are the keys; and they are asked about by
// themselves, because without its key a row that is shown again comes twice.
func (s *Store) pruneKeys(ctx context.Context, p *pruning) error {
	if p.out.Asks != "" {
		return nil
	}
	var feeds []int64
	err := s.read(ctx, func(tx *tx) error {
		var fid, n int64
		if busiest := busiestDay(tx); !p.Confirmed {
			tx.row(`SELECT count(*) FROM (SELECT 1 FROM feeds f CROSS JOIN keys k WHERE k.fid = f.fid AND k.changed < ?2 AND (k.changed > ?1 OR k.created > ?1 AND k.created < ?2) AND `+free+` LIMIT ?3)`,
				int64(drover.NoInstant), p.keys, 3*busiest+1).scan(&n)
			if n > 3*busiest {
				p.out.Asks = fmt.Sprintf("more than three days' usual amount of keys (%d a day at most) are due to be thrown away at once; check the clock, then confirm", busiest)
				return tx.err
			}
		}
		for found := tx.query(`SELECT fid FROM feeds f WHERE `+free+` AND (EXISTS (SELECT 1 FROM keys k WHERE k.fid = f.fid AND k.changed < ?3 AND (k.changed > ?2 OR k.created > ?2 AND k.created < ?3))
			OR EXISTS (SELECT 1 FROM newest n WHERE n.fid = f.fid AND n.created < ?3 AND n.changed < ?3 AND (n.created > ?2 OR n.changed > ?2)))`, nil, int64(drover.NoInstant), p.keys); found.next(&fid); {
			feeds = append(feeds, fid)
		}
		return tx.err
	})
	for _, fid := range feeds {
		if err != nil {
			break
		}
		if p.left <= 0 {
			p.out.More = true
			break
		}
		var gone, newest int64
		err = s.w.do(4096, func(tx *tx) error {
			gone, newest = 0, 0
			if !tx.row(`SELECT fid FROM feeds f WHERE fid = ? AND `+free, fid).scan(&fid) {
				return tx.err // it has been held since
			}
			tx.exec(`UPDATE feeds SET keys_from = max(keys_from, ?) WHERE fid = ?`, p.keys, fid)
			for _, old := range []string{oldKeys, oldNoTime} {
				sum, n := sumRows(tx, `DELETE FROM keys WHERE fid = ?1 AND (changed, alert, ordinal) IN (SELECT changed, alert, ordinal FROM keys WHERE `+old+` LIMIT ?4) RETURNING `+keyColumns,
					fid, int64(drover.NoInstant), p.keys, max(0, p.left-gone))
				changeKeySum(tx, fid, sum)
				gone += n
			}
			newest = tx.exec(`DELETE FROM newest WHERE fid = ?1 AND (created, alert) IN (SELECT created, alert FROM newest WHERE `+oldNewest+` LIMIT ?4)`, fid, int64(drover.NoInstant), p.keys, p.left)
			return tx.err
		})
		p.out.Keys += gone
		p.out.More = p.out.More || gone >= p.left || newest >= p.left
		p.left -= gone
	}
	return err
}

// Free pages up to a part of the file stay in it, for the rows to come.
const (
	keepFree    = 20 // a twentieth
	shrinkPages = 2_000
)

// shrink gives free pages back to the volume.
func (s *Store) shrink(_ context.Context, p *pruning) error {
	if p.out.Bodies+p.out.Keys == 0 {
		return nil
	}
	return s.w.do(64, func(tx *tx) error {
		count, free, _, _ := pages(tx)
		if spare := free - count/keepFree; spare > 0 {
			tx.exec(fmt.Sprintf(`PRAGMA incremental_vacuum(%d)`, min(spare, shrinkPages)))
			p.out.More = p.out.More || spare > shrinkPages
		}
		return tx.err
	})
}
