package sqlite

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"drover"
	"drover/internal/ledger"
)

// Sinks makes the set of sinks known; see ledger.Delivering.
func (s *Store) Sinks(ctx context.Context, sinks []ledger.SinkPlace) error {
	return s.w.do(ctx, 1024, false, func(tx *tx) error {
		known := make(map[drover.SinkID]bool)
		var id drover.SinkID
		for rows := tx.query(`SELECT id FROM sinks`); rows.next(&id); {
			known[id] = true
		}
		tx.exec(`UPDATE sinks SET retired = 1`)
		for _, p := range sinks {
			if known[p.Sink] {
				tx.exec(`UPDATE sinks SET retired = 0 WHERE id = ?`, string(p.Sink))
				continue
			}
			tx.exec(`INSERT INTO sinks (id, added) VALUES (?,?)`, string(p.Sink), int64(drover.InstantOf(s.opt.Clock())))
			from := `head`
			if p.FromAll {
				from = `0`
			}
			tx.exec(`INSERT INTO places (sink, fid, seq) SELECT ?, fid, `+from+` FROM feeds`, string(p.Sink))
		}
		return tx.err
	})
}

const selectPlaces = `SELECT f.tenant, f.source, f.head, p.seq, p.beyond FROM feeds f LEFT JOIN places p ON p.fid = f.fid AND p.sink = ?`

// Places returns the place of a sink in every feed.
func (s *Store) Places(ctx context.Context, id drover.SinkID) (out []ledger.Place, err error) {
	err = s.read(ctx, func(tx *tx) error {
		out, err = readPlaces(tx, id, selectPlaces, string(id))
		return err
	})
	return out, err
}

// Place returns one.
func (s *Store) Place(ctx context.Context, id drover.SinkID, f drover.Feed) (p ledger.Place, err error) {
	err = s.read(ctx, func(tx *tx) error {
		list, err := readPlaces(tx, id, selectPlaces+` WHERE f.tenant = ? AND f.source = ?`, string(id), string(f.Tenant), string(f.Source))
		if err == nil && len(list) == 0 {
			return ledger.ErrNotFound
		}
		if err == nil {
			p = list[0]
		}
		return err
	})
	return p, err
}

func readPlaces(tx *tx, id drover.SinkID, query string, args ...any) (out []ledger.Place, err error) {
	var (
		p      ledger.Place
		seq    *uint64
		beyond []byte
	)
	for rows := tx.query(query, args...); rows.next(&p.Feed.Tenant, &p.Feed.Source, &p.Head, &seq, &beyond); seq, beyond = nil, nil {
		if seq == nil {
			err = broken("read places", fmt.Errorf("sink %s has no place in feed %s", id, p.Feed))
			continue
		}
		p.Sink, p.Seq, p.Beyond = id, *seq, unpack(beyond)
		out = append(out, p)
	}
	if tx.err != nil {
		return nil, tx.err
	}
	return out, err
}

// pack writes ascending numbers as differences.
func pack(seqs []uint64) []byte {
	var b []byte
	last := uint64(0)
	for _, s := range seqs {
		b = binary.AppendUvarint(b, s-last)
		last = s
	}
	return b
}

func unpack(b []byte) (seqs []uint64) {
	last := uint64(0)
	for len(b) > 0 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return seqs
		}
		last += v
		seqs, b = append(seqs, last), b[n:]
	}
	return seqs
}

// wireRange is a Range in the attempts table.
type wireRange struct {
	T drover.TenantID `json:"t"`
	S drover.SourceID `json:"s"`
	F uint64          `json:"f"`
	L uint64          `json:"l"`
}

// Claim stores an attempt before it is sent.
func (s *Store) Claim(ctx context.Context, a ledger.Attempt) error {
	ranges := make([]wireRange, len(a.Ranges))
	for i, r := range a.Ranges {
		ranges[i] = wireRange{r.Feed.Tenant, r.Feed.Source, r.First, r.Last}
	}
	text, err := json.Marshal(ranges)
	if err != nil {
		return fmt.Errorf("store an attempt: %w", err)
	}
	return s.w.do(ctx, len(text), false, func(tx *tx) error {
		if tx.exec(`INSERT INTO attempts (sink, lane, ranges, generation, at) VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING`,
			string(a.Sink), a.Lane, string(text), int64(a.Generation), int64(a.At)) == 0 && tx.err == nil {
			return ledger.ErrConflict
		}
		return tx.err
	})
}

// Attempts returns the open attempts of a sink.
func (s *Store) Attempts(ctx context.Context, id drover.SinkID) (out []ledger.Attempt, err error) {
	err = s.read(ctx, func(tx *tx) error {
		var text string
		a := ledger.Attempt{Sink: id}
		for rows := tx.query(`SELECT lane, ranges, generation, at FROM attempts WHERE sink = ? ORDER BY lane`, string(id)); rows.next(&a.Lane, &text, &a.Generation, &a.At); {
			var ranges []wireRange
			if err := json.Unmarshal([]byte(text), &ranges); err != nil {
				tx.err = broken("read an attempt", err)
				continue
			}
			a.Ranges = nil
			for _, r := range ranges {
				a.Ranges = append(a.Ranges, drover.Range{Feed: drover.Feed{Tenant: r.T, Source: r.S}, First: r.F, Last: r.L})
			}
			out = append(out, a)
		}
		return tx.err
	})
	return out, err
}

// Mark returns what a lane asked to be kept.
func (s *Store) Mark(ctx context.Context, id drover.SinkID, lane string) (mark []byte, err error) {
	err = s.read(ctx, func(tx *tx) error {
		if !tx.row(`SELECT mark FROM marks WHERE sink = ? AND lane = ?`, string(id), lane).scan(&mark) && tx.err == nil {
			return ledger.ErrNotFound
		}
		return tx.err
	})
	return mark, err
}

// Settle stores what became of an attempt; see ledger.Delivering.
func (s *Store) Settle(ctx context.Context, o ledger.Settle) error {
	fids := make([]int64, len(o.Done))
	for i, r := range o.Done {
		x, err := s.feed(ctx, r.Feed)
		if err != nil {
			return err
		}
		fids[i] = x.fid
	}
	asides := make([]sealedAside, len(o.Aside))
	for i, a := range o.Aside {
		x, err := s.feed(ctx, a.Feed)
		if err != nil {
			return err
		}
		asides[i] = sealedAside{Aside: a, fid: x.fid}
	}
	return s.w.do(ctx, 512, false, func(tx *tx) error {
		taken := make(map[drover.Feed]int)
		for i, r := range o.Done {
			if err := settleRange(tx, o.Sink, fids[i], r); err != nil {
				return err
			}
			taken[r.Feed] += int(r.Last - r.First + 1)
		}
		now := int64(drover.InstantOf(s.opt.Clock()))
		for _, a := range asides {
			insertAside(tx, a.fid, a, s.inc, now)
			taken[a.Feed]--
			tx.exec(addCount, s.day(), string(a.Feed.Tenant), string(a.Feed.Source), "", string(o.Sink), "set_aside", 1)
		}
		// A settle that passes over unrouted rows has rows of one route only.
		what := "taken"
		switch {
		case o.Unrouted > 0 && o.Taken == 0:
			what = "unrouted"
		case o.Discarded > 0 && o.Taken == 0:
			what = "discarded"
		}
		for f, n := range taken {
			if n > 0 {
				tx.exec(addCount, s.day(), string(f.Tenant), string(f.Source), "", string(o.Sink), what, n)
			}
		}
		if o.Mark != nil {
			tx.exec(`INSERT INTO marks (sink, lane, mark) VALUES (?,?,?) ON CONFLICT DO UPDATE SET mark = excluded.mark`, string(o.Sink), o.Lane, o.Mark)
		}
		if o.Close {
			tx.exec(`DELETE FROM attempts WHERE sink = ? AND lane = ?`, string(o.Sink), o.Lane)
		}
		return tx.err
	})
}

// maxBeyond bounds what is remembered beyond a place; a batch is far smaller.
const maxBeyond = 100_000

// settleRange moves a place over the unbroken run and keeps the rest.
func settleRange(tx *tx, id drover.SinkID, fid int64, r drover.Range) error {
	var (
		seq, head uint64
		packed    []byte
	)
	if !tx.row(`SELECT p.seq, p.beyond, f.head FROM places p JOIN feeds f USING (fid) WHERE p.sink = ? AND p.fid = ?`, string(id), fid).scan(&seq, &packed, &head) {
		if tx.err != nil {
			return tx.err
		}
		return broken("settle", fmt.Errorf("sink %s has no place in feed %s", id, r.Feed))
	}
	if r.First == 0 || r.Last < r.First || r.Last > head || r.Last-r.First > maxBeyond {
		return broken("settle", fmt.Errorf("sink %s: %d to %d of feed %s, which ends at %d", id, r.First, r.Last, r.Feed, head))
	}
	beyond := unpack(packed)
	for n := max(r.First, seq+1); n <= r.Last; n++ {
		beyond = append(beyond, n)
	}
	slices.Sort(beyond)
	beyond = slices.Compact(beyond)
	for len(beyond) > 0 && beyond[0] <= seq+1 {
		seq = max(seq, beyond[0])
		beyond = beyond[1:]
	}
	if len(beyond) > maxBeyond {
		return broken("settle", fmt.Errorf("sink %s: %d records done beyond the place in feed %s", id, len(beyond), r.Feed))
	}
	tx.exec(`UPDATE places SET seq = ?, beyond = ? WHERE sink = ? AND fid = ?`, int64(seq), pack(beyond), string(id), fid)
	return tx.err
}
