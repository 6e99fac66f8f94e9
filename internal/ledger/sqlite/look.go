package sqlite

import (
	"context"
	"database/sql"
	"math"

	"drover"
	"drover/internal/ledger"
)

// In the order of keys, backwards, so that a page is a short walk in the index.
const (
	stateRange = ` FROM keys k WHERE k.fid = ?1 AND (k.changed, k.alert, k.ordinal) < (?2, ?3, ?4) AND k.changed >= ?5`
	stateOrder = ` ORDER BY k.changed DESC, k.alert DESC, k.ordinal DESC LIMIT ?6`

	selectLast   = `SELECT changed, alert, ordinal FROM (SELECT k.changed, k.alert, k.ordinal` + stateRange + stateOrder + `) ORDER BY changed, alert, ordinal LIMIT 1`
	selectStates = `SELECT p.changed, p.alert, p.ordinal, p.sum, p.seq, p.created, coalesce((SELECT n.seq FROM newest n WHERE n.fid = ?1 AND n.created = p.created AND n.alert = p.alert), 0)
		FROM (SELECT k.*` + stateRange + stateOrder + `) p WHERE ?7 IS NULL OR p.alert = ?7`
)

// States returns a page of the index; see ledger.Looking.
func (s *Store) States(ctx context.Context, f drover.Feed, o ledger.StateOrder) (page ledger.StatePage, err error) {
	x, err := s.feed(ctx, f)
	if err != nil {
		return page, err
	}
	// What a page begins below: a key, or the end of the span.
	below := []any{int64(o.Span.To), []byte{}, int64(0)}
	if o.Span.Open() {
		below[0] = int64(math.MaxInt64)
	}
	if o.Below != nil {
		below = []any{int64(o.Below.Changed), o.Below.Alert[:alertKey], int64(o.Below.Ordinal)}
	}
	rows := max(o.Rows, 1)
	args := append([]any{x.fid}, below...)
	args = append(args, int64(o.Span.From), rows)
	var only any
	if o.Alert != nil {
		only = o.Alert[:alertKey]
	}
	err = s.read(ctx, func(tx *tx) error {
		page = ledger.StatePage{}
		var (
			st         ledger.State
			alert, sum sql.RawBytes
			n          int
		)
		for found := tx.query(selectStates, append(args, only)...); found.next(&st.Changed, &alert, &st.Ordinal, &sum, &st.Seq, &st.Created, &st.Newest); {
			copy(st.Alert[:], alert)
			copy(st.Sum[:], sum)
			page.States = append(page.States, st)
		}
		if tx.err != nil {
			return tx.err
		}
		if n = len(page.States); o.Alert == nil {
			if page.More = n == rows; n > 0 {
				page.Last = page.States[n-1].Key
			}
			return nil
		}
		var last []byte
		tx.row(`SELECT count(*) FROM (SELECT 1`+stateRange+stateOrder+`)`, args...).scan(&n)
		if page.More = n == rows; page.More {
			tx.row(selectLast, args...).scan(&page.Last.Changed, &last, &page.Last.Ordinal)
			copy(page.Last.Alert[:], last)
		}
		return tx.err
	})
	return page, err
}

// HeadAt returns how far a feed was at a moment; see ledger.Looking.
func (s *Store) HeadAt(ctx context.Context, f drover.Feed, at drover.Instant) (head uint64, err error) {
	x, err := s.feed(ctx, f)
	if err != nil {
		return 0, err
	}
	err = s.read(ctx, func(tx *tx) error {
		tx.row(`SELECT max(floor, coalesce((SELECT last FROM blocks b WHERE b.fid = ?1 AND b.at <= ?2 ORDER BY b.first DESC LIMIT 1), 0)) FROM feeds WHERE fid = ?1`, x.fid, int64(at)).scan(&head)
		return tx.err
	})
	return head, err
}
