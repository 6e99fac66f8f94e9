package sqlite

import (
	"context"

	"drover"
	"drover/internal/ledger"
)

// selectStored reads from the index of blocks alone.
const selectStored = `SELECT first, last, at FROM blocks WHERE fid = ?1 AND first > ?2 - 64 AND last > max(?2, (SELECT floor FROM feeds WHERE fid = ?1)) ORDER BY first LIMIT ?3`

// Stored says when revisions were stored; see ledger.Delivering. Blocks that
// follow each other and have one time are one run.
func (s *Store) Stored(ctx context.Context, f drover.Feed, seq uint64, maxRows int) (out []ledger.Stored, err error) {
	x, err := s.feed(ctx, f)
	if err != nil {
		return nil, err
	}
	err = s.ask(ctx, func(tx *tx) error {
		var b ledger.Stored
		for rows := tx.query(selectStored, x.fid, int64(seq), max(maxRows, 1)); rows.next(&b.First, &b.Last, &b.At); {
			n := len(out)
			switch {
			case n > 0 && out[n-1].Last >= seq+uint64(max(maxRows, 1)):
			case n > 0 && out[n-1].Last+1 == b.First && out[n-1].At == b.At:
				out[n-1].Last = b.Last
			default:
				out = append(out, b)
			}
		}
		return tx.err
	})
	return out, err
}
