package sqlite

import (
	"context"

	"drover"
	"drover/internal/ledger"
)

// Vouch begins what is not begun; see ledger.Vouching. What a sink has beyond
// its place was given to it before.
func (s *Store) Vouch(ctx context.Context, id drover.SinkID) error {
	const missing = ` FROM places p LEFT JOIN vouched v ON v.sink = p.sink AND v.fid = p.fid WHERE p.sink = ?1 AND (v.seq IS NULL OR v.incarnation <> ?2)`
	var n int
	err := s.read(ctx, func(tx *tx) error {
		tx.row(`SELECT count(*)`+missing, string(id), s.inc).scan(&n)
		return tx.err
	})
	if err != nil || n == 0 {
		return err
	}
	return s.w.do(64*n, func(tx *tx) error {
		tx.exec(`INSERT OR REPLACE INTO vouched (sink, fid, incarnation, seq, missed) SELECT p.sink, p.fid, ?2, p.seq, p.beyond`+missing, string(id), s.inc)
		return tx.err
	})
}

// Vouched returns how far manifests have come; see ledger.Vouching.
func (s *Store) Vouched(ctx context.Context, id drover.SinkID, f drover.Feed) (v ledger.Vouched, err error) {
	x, err := s.feed(ctx, f)
	if err != nil {
		return v, err
	}
	err = s.ask(ctx, func(tx *tx) error {
		seq, missed, ok := readVouched(tx, id, x.fid, s.inc)
		if tx.err == nil && !ok {
			return ledger.ErrNotFound
		}
		v = ledger.Vouched{Seq: seq}
		for _, r := range missed {
			v.Missed = append(v.Missed, drover.Range{Feed: f, First: r.first, Last: r.last})
		}
		return tx.err
	})
	return v, err
}

func readVouched(tx *tx, id drover.SinkID, fid, incarnation int64) (seq uint64, missed runs, ok bool) {
	var packed []byte
	ok = tx.row(`SELECT seq, missed FROM vouched WHERE sink = ? AND fid = ? AND incarnation = ?`, string(id), fid, incarnation).scan(&seq, &packed)
	return seq, unpack(packed), ok
}

// miss notes numbers that a sink has behind it without having been given them,
// if somebody vouches there.
func (s *Store) miss(tx *tx, id drover.SinkID, x *feed, list runs) {
	if len(list) == 0 {
		return
	}
	seq, missed, ok := readVouched(tx, id, x.fid, s.inc)
	if !ok {
		return
	}
	for _, r := range list {
		if r.last > seq {
			missed, _ = missed.add(run{max(r.first, seq+1), r.last})
		}
	}
	tx.exec(`UPDATE vouched SET missed = ? WHERE sink = ? AND fid = ?`, missed.pack(), string(id), x.fid)
}

// vouch moves what is vouched for behind a manifest.
func (s *Store) vouch(tx *tx, id drover.SinkID, fid int64, last uint64) {
	seq, missed, ok := readVouched(tx, id, fid, s.inc)
	if !ok || last <= seq {
		return
	}
	var rest runs
	for _, r := range missed {
		if r.last > last {
			rest = append(rest, run{max(r.first, last+1), r.last})
		}
	}
	tx.exec(`UPDATE vouched SET seq = ?, missed = ? WHERE sink = ? AND fid = ?`, int64(last), rest.pack(), string(id), fid)
}
