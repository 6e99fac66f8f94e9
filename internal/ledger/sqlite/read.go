package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"

	"drover"
	"drover/internal/ledger"
)

const selectKeys = `SELECT changed, alert, ordinal, sum, seq, created FROM keys WHERE fid = ? AND changed >= ? AND changed < ? ORDER BY changed, alert, ordinal`

// Keys returns the keys in a span; see ledger.Reading. The alert hashes are
// those of AlertHash as far as the index holds them.
func (s *Store) Keys(ctx context.Context, f drover.Feed, span drover.Span, withUnknown bool) ([]ledger.Key, error) {
	x, err := s.feed(ctx, f)
	if err != nil {
		return nil, err
	}
	var keys []ledger.Key
	add := func(from, to int64) error {
		rows, err := s.db.QueryContext(ctx, selectKeys, x.fid, from, to)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		var alert, sum sql.RawBytes
		for rows.Next() {
			var k ledger.Key
			if err := rows.Scan(&k.Changed, &alert, &k.Ordinal, &sum, &k.Seq, &k.Created); err != nil {
				return err
			}
			copy(k.Alert[:], alert)
			copy(k.Sum[:], sum)
			keys = append(keys, k)
		}
		return rows.Err()
	}
	if withUnknown {
		if err := add(int64(drover.NoInstant), int64(drover.NoInstant)+1); err != nil {
			return nil, classify("read keys", err)
		}
	}
	to := int64(span.To)
	if span.Open() {
		to = math.MaxInt64
	}
	if int64(span.From) < to {
		if err := add(max(int64(span.From), int64(drover.NoInstant)+1), to); err != nil {
			return nil, classify("read keys", err)
		}
	}
	return keys, nil
}

// Newest returns the newest revision of an alert; see ledger.Reading.
func (s *Store) Newest(ctx context.Context, f drover.Feed, alert drover.Hash, created drover.Instant) (ledger.Key, error) {
	x, err := s.feed(ctx, f)
	if err != nil {
		return ledger.Key{}, err
	}
	k := ledger.Key{Alert: alert, Created: created}
	var sum []byte
	err = s.db.QueryRowContext(ctx, `SELECT changed, ordinal, sum, seq FROM newest WHERE fid = ? AND created = ? AND alert = ?`, x.fid, int64(created), alert[:alertKey]).
		Scan(&k.Changed, &k.Ordinal, &sum, &k.Seq)
	if errors.Is(err, sql.ErrNoRows) {
		return k, ledger.ErrNotFound
	}
	copy(k.Sum[:], sum)
	return k, classify("read the newest revision", err)
}

// Body returns one revision; see ledger.Reading.
func (s *Store) Body(ctx context.Context, f drover.Feed, seq uint64) (drover.Revision, error) {
	revs, err := s.After(ctx, f, seq-1, 1, 0)
	if err == nil && (len(revs) == 0 || revs[0].Seq != seq) {
		err = fmt.Errorf("revision %d of feed %s: %w", seq, f, ledger.ErrNotFound)
	}
	if err != nil {
		return drover.Revision{}, err
	}
	return revs[0], nil
}

// After reads revisions behind seq; see ledger.Delivering.
func (s *Store) After(ctx context.Context, f drover.Feed, seq uint64, maxRows, maxBytes int) ([]drover.Revision, error) {
	if out := s.recent.after(f, seq, maxRows, maxBytes); len(out) > 0 {
		return out, nil
	}
	x, err := s.feed(ctx, f)
	if err != nil {
		return nil, err
	}
	k, err := s.dataKey(ctx, f.Tenant)
	if err != nil {
		return nil, err
	}
	var out []drover.Revision
	for first := seq + 1; len(out) < maxRows; {
		b, err := s.block(ctx, x.fid, first)
		if errors.Is(err, ledger.ErrNotFound) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(out) > 0 && b.first != first {
			break // bodies in between have been pruned; the next call begins behind them
		}
		name, ok := s.incarnation(b.incarnation)
		if !ok {
			return nil, broken("read a block", fmt.Errorf("%w: incarnation %d is not known", errBlock, b.incarnation))
		}
		full := false
		err = unseal(k, f, name, b.codec, b.first, b.last, b.body, first, func(r drover.Revision) bool {
			if len(out) >= maxRows || maxBytes <= 0 && len(out) > 0 {
				full = true
				return false
			}
			out = append(out, r)
			maxBytes -= len(r.Raw)
			return true
		})
		if err != nil {
			return nil, broken("read a block", err)
		}
		if full {
			break
		}
		first = b.last + 1
	}
	return out, nil
}

// stored is a block as it stands in the file.
type stored struct {
	block
	incarnation int64
	codec       int
}

// block returns the block that holds seq, or the first behind it.
func (s *Store) block(ctx context.Context, fid int64, seq uint64) (b stored, err error) {
	const columns = `SELECT first, last, incarnation, codec, body FROM blocks WHERE fid = ? AND `
	scan := func(query string) error {
		return s.db.QueryRowContext(ctx, columns+query, fid, int64(seq)).Scan(&b.first, &b.last, &b.incarnation, &b.codec, &b.body)
	}
	err = scan(`first <= ? ORDER BY first DESC LIMIT 1`)
	if errors.Is(err, sql.ErrNoRows) || err == nil && b.last < seq {
		err = scan(`first > ? ORDER BY first LIMIT 1`)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return b, ledger.ErrNotFound
	}
	return b, classify("read a block", err)
}

func (s *Store) incarnation(n int64) (string, bool) {
	name, ok := s.names[n]
	return name, ok
}

// Revisions walks a feed; see ledger.Bookkeeping. It reads in pages, so that
// no read transaction is held between two revisions.
func (s *Store) Revisions(ctx context.Context, f drover.Feed, first uint64) iter.Seq2[drover.Revision, error] {
	return func(yield func(drover.Revision, error) bool) {
		for seq := max(first, 1); ; {
			revs, err := s.After(ctx, f, seq-1, blockRows, 4<<20)
			if err != nil {
				yield(drover.Revision{}, err)
				return
			}
			if len(revs) == 0 {
				return
			}
			for i := range revs {
				if !yield(revs[i], nil) {
					return
				}
			}
			seq = revs[len(revs)-1].Seq + 1
		}
	}
}

// Heads returns the last sequence number of every feed.
func (s *Store) Heads(ctx context.Context) (map[drover.Feed]uint64, error) {
	heads := make(map[drover.Feed]uint64)
	err := s.read(ctx, func(tx *tx) error {
		var (
			f    drover.Feed
			head uint64
		)
		rows := tx.query(`SELECT tenant, source, head FROM feeds`)
		for rows.next(&f.Tenant, &f.Source, &head) {
			heads[f] = head
		}
		return tx.err
	})
	return heads, err
}
