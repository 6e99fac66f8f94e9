package sqlite

import (
	"bytes"
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
	err = s.ask(ctx, func(tx *tx) error {
		var (
			k          ledger.Key
			alert, sum sql.RawBytes
		)
		add := func(from, to int64) {
			for rows := tx.query(selectKeys, x.fid, from, to); rows.next(&k.Changed, &alert, &k.Ordinal, &sum, &k.Seq, &k.Created); {
				copy(k.Alert[:], alert)
				copy(k.Sum[:], sum)
				keys = append(keys, k)
			}
		}
		if withUnknown {
			add(int64(drover.NoInstant), int64(drover.NoInstant)+1)
		}
		to := int64(span.To)
		if span.Open() {
			to = math.MaxInt64
		}
		if int64(span.From) < to {
			add(max(int64(span.From), int64(drover.NoInstant)+1), to)
		}
		return tx.err
	})
	return keys, err
}

// Newest returns the newest revision of an alert; see ledger.Reading.
func (s *Store) Newest(ctx context.Context, f drover.Feed, alert drover.Hash, created drover.Instant) (ledger.Key, error) {
	x, err := s.feed(ctx, f)
	if err != nil {
		return ledger.Key{}, err
	}
	k := ledger.Key{Alert: alert, Created: created}
	err = s.ask(ctx, func(tx *tx) error {
		var sum []byte
		if !tx.row(`SELECT changed, ordinal, sum, seq FROM newest WHERE fid = ? AND created = ? AND alert = ?`, x.fid, int64(created), alert[:alertKey]).scan(&k.Changed, &k.Ordinal, &sum, &k.Seq) && tx.err == nil {
			return ledger.ErrNotFound
		}
		copy(k.Sum[:], sum)
		return tx.err
	})
	return k, err
}

// Body returns one revision; see ledger.Reading.
func (s *Store) Body(ctx context.Context, f drover.Feed, seq uint64) (drover.Revision, error) {
	if seq == 0 {
		return drover.Revision{}, fmt.Errorf("revision 0 of feed %s: %w", f, ledger.ErrNotFound)
	}
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
func (s *Store) After(ctx context.Context, f drover.Feed, seq uint64, maxRows, maxBytes int) (out []drover.Revision, err error) {
	err = s.Walk(ctx, f, seq, maxRows, maxBytes, func(r *drover.Revision) {
		kept := *r
		kept.Raw = bytes.Clone(r.Raw)
		out = append(out, kept)
	})
	return out, err
}

// Walk reads revisions behind seq one by one; see ledger.Delivering.
func (s *Store) Walk(ctx context.Context, f drover.Feed, seq uint64, maxRows, maxBytes int, visit func(*drover.Revision)) error {
	if err := s.usable(); err != nil {
		return err
	}
	for w := (walk{next: seq + 1, rows: max(maxRows, 1), bytes: maxBytes}); !w.over; {
		b, err := s.blockOf(ctx, f, w.next)
		if errors.Is(err, errNoBlock) {
			return nil
		}
		if err != nil {
			return err
		}
		w.block(b, visit)
		b.release()
	}
	return nil
}

// walk is how far a Walk has come.
type walk struct {
	next        uint64
	rows, bytes int // that may still come
	any, over   bool
}

// block visits what of a block belongs to the walk.
func (w *walk) block(b *opened, visit func(*drover.Revision)) {
	if w.any && b.first() != w.next {
		w.over = true // bodies in between have been pruned; the next walk begins behind them
		return
	}
	revs := b.revs[max(w.next, b.first())-b.first():]
	for i := range revs {
		if w.any && (w.rows == 0 || len(revs[i].Raw) > w.bytes) {
			w.over = true
			return
		}
		visit(&revs[i])
		w.any = true
		w.rows--
		w.bytes -= len(revs[i].Raw)
	}
	w.next, w.over = b.last()+1, w.rows <= 0
}

// errNoBlock: no body at or behind a sequence number.
var errNoBlock = errors.New("no body is stored there")

// blockOf returns the block that holds seq, or the first behind it, and keeps
// it for others who ask. The caller releases it.
func (s *Store) blockOf(ctx context.Context, f drover.Feed, seq uint64) (*opened, error) {
	open, sealed := s.recent.find(f, seq)
	if open != nil {
		return open, nil
	}
	x, err := s.feed(ctx, f)
	if err != nil {
		return nil, err
	}
	k, err := s.dataKey(ctx, f.Tenant)
	if err != nil {
		return nil, err
	}
	if sealed == nil {
		if sealed, err = s.block(ctx, x.fid, seq); err != nil {
			return nil, err
		}
	}
	o, err := unseal(k, f, s.names[sealed.incarnation], sealed)
	if err != nil {
		if s.keyGone(ctx, f.Tenant) {
			return nil, fmt.Errorf("data key of tenant %s: %w", f.Tenant, ledger.ErrNotFound)
		}
		return nil, err
	}
	s.recent.add(o, sealed)
	if s.keyGone(ctx, f.Tenant) { // removed meanwhile: keep nothing
		s.recent.forget(f.Tenant)
	}
	return o, nil
}

// keyGone reports whether a tenant's data key is no longer there.
func (s *Store) keyGone(ctx context.Context, id drover.TenantID) bool {
	_, err := s.dataKey(ctx, id)
	return errors.Is(err, ledger.ErrNotFound)
}

// stored is a block as it stands in the file.
type stored struct {
	first, last uint64
	incarnation int64
	codec       int
	body        []byte
	at          drover.Instant // when it was committed, by the local clock
}

// block returns the block that holds seq, or the first behind it. Bodies up to
// the feed's floor are gone, though their blocks may still wait for a prune.
func (s *Store) block(ctx context.Context, fid int64, seq uint64) (*stored, error) {
	const (
		columns = `SELECT first, last, incarnation, codec, body, at, (SELECT floor FROM feeds WHERE fid = ?1) AS floor FROM blocks WHERE fid = ?1 AND `
		from    = `max(?2, (SELECT floor FROM feeds WHERE fid = ?1) + 1)`
	)
	var b stored
	err := s.read(ctx, func(tx *tx) error {
		var floor uint64
		scan := func(query string) bool {
			return tx.row(columns+query, fid, int64(seq)).scan(&b.first, &b.last, &b.incarnation, &b.codec, &b.body, &b.at, &floor)
		}
		there := scan(`first <= ` + from + ` ORDER BY first DESC LIMIT 1`)
		if !there || b.last < max(seq, floor+1) {
			there = scan(`first > ` + from + ` ORDER BY first LIMIT 1`)
		}
		if !there && tx.err == nil {
			return errNoBlock
		}
		return tx.err
	})
	return &b, err
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
