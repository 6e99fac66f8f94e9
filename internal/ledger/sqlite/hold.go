package sqlite

import (
	"context"

	"drover"
)

// heldBack is what a sink holds back too long or too much of in one feed.
type heldBack struct {
	sink  drover.SinkID
	until uint64
	feed
}

// hold bounds what a sink may hold back: at the bound the oldest range that it
// has not taken becomes a gap at that sink, and its place moves (design §4).
func (s *Store) hold(ctx context.Context, p *pruning) error {
	var list []heldBack
	err := s.read(ctx, func(tx *tx) error {
		if p.Hold > 0 {
			list = append(list, heldTooLong(tx, int64(p.Now.Add(-p.Hold)), p.wild)...)
		}
		if p.HoldSize > 0 {
			list = append(list, heldTooMuch(tx, p.HoldSize)...)
		}
		return tx.err
	})
	for i := range list {
		if err != nil {
			break
		}
		h := &list[i]
		var g drover.Gap
		err = s.w.do(512, func(tx *tx) (err error) {
			var span drover.Span
			tx.row(`SELECT coalesce(min(min_changed), ?1), coalesce(max(max_changed) + 1, ?1) FROM blocks WHERE fid = ?2 AND last > (SELECT seq FROM places WHERE sink = ?3 AND fid = ?2) AND first <= ?4`,
				int64(drover.NoInstant), h.fid, string(h.sink), int64(h.until)).scan(&span.From, &span.To)
			g, err = s.passOver(tx, h.sink, &h.feed, h.until, span, "the sink held back more than it may")
			return err
		})
		if err == nil && g.ID != 0 {
			p.out.Gaps = append(p.out.Gaps, g)
		}
	}
	return err
}

// behind are the places of sinks in use that have something before them. A
// block has at most 64 rows, so the ones that matter begin near the place.
const behind = ` FROM places p JOIN sinks k ON k.id = p.sink JOIN feeds f ON f.fid = p.fid WHERE k.retired = 0 AND p.seq < f.head`

// heldTooLong finds what was stored, and had changed, before a moment; what a
// wrong clock stamped goes by its change time alone.
func heldTooLong(tx *tx, cut, wild int64) (list []heldBack) {
	var h heldBack
	found := tx.query(`SELECT sink, fid, tenant, source, until FROM (SELECT p.sink, p.fid, f.tenant, f.source, p.seq,
		coalesce((SELECT b.first - 1 FROM blocks b WHERE b.fid = p.fid AND b.first > p.seq - 64 AND b.last > p.seq AND (b.at BETWEEN ?1 AND ?2 OR b.max_changed >= ?1) ORDER BY b.first LIMIT 1), f.head) AS until`+behind+`) WHERE until > seq`, cut, wild)
	for found.next(&h.sink, &h.fid, &h.Tenant, &h.Source, &h.until) {
		list = append(list, heldBack{h.sink, h.until, feed{Feed: h.Feed, fid: h.fid}})
	}
	return list
}

// heldTooMuch finds the oldest of what sinks hold back beyond so many bytes.
func heldTooMuch(tx *tx, limit int64) (list []heldBack) {
	var total int64
	if tx.row(`SELECT coalesce(sum(bytes), 0) FROM feeds`).scan(&total); total <= limit {
		return nil
	}
	type sum struct {
		sink drover.SinkID
		size int64
	}
	var sums []sum
	var one sum
	found := tx.query(`SELECT sink, sum(size) FROM (SELECT p.sink, (SELECT sum(b.size) FROM blocks b WHERE b.fid = p.fid AND b.first > p.seq - 64 AND b.last > p.seq) AS size`+behind+`) GROUP BY sink HAVING sum(size) > ?`, limit)
	for found.next(&one.sink, &one.size) {
		sums = append(sums, one)
	}
	for _, one := range sums {
		at := make(map[int64]int)
		var h heldBack
		var size int64
		blocks := tx.query(`SELECT f.fid, f.tenant, f.source, b.last, b.size FROM places p JOIN feeds f ON f.fid = p.fid JOIN blocks b ON b.fid = p.fid
			WHERE p.sink = ? AND p.seq < f.head AND b.first > p.seq - 64 AND b.last > p.seq ORDER BY b.n`, string(one.sink))
		for blocks.next(&h.fid, &h.Tenant, &h.Source, &h.until, &size) {
			if one.size <= limit {
				continue
			}
			one.size -= size
			i, there := at[h.fid]
			if !there {
				i = len(list)
				at[h.fid] = i
				list = append(list, heldBack{sink: one.sink, feed: feed{Feed: h.Feed, fid: h.fid}})
			}
			list[i].until = h.until
		}
	}
	return list
}
