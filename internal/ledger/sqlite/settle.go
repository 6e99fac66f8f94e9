package sqlite

import (
	"context"
	"errors"
	"fmt"

	"drover"
	"drover/internal/ledger"
)

// maxBeyond bounds what is remembered beyond a place; a batch is far smaller.
const maxBeyond = 100_000

// standing is a sink's place in a feed inside a transaction.
type standing struct {
	seq    uint64
	beyond runs
	head   uint64
}

// readPlace reads a place. One that is absent is Broken, never a default.
func readPlace(tx *tx, id drover.SinkID, x *feed) (p standing, err error) {
	var packed []byte
	if !tx.row(`SELECT p.seq, p.beyond, f.head FROM places p JOIN feeds f USING (fid) WHERE p.sink = ? AND p.fid = ?`, string(id), x.fid).scan(&p.seq, &packed, &p.head) && tx.err == nil {
		return p, broken("read a place", fmt.Errorf("sink %s has no place in feed %s", id, x.Feed))
	}
	p.beyond = unpack(packed)
	return p, tx.err
}

func (p *standing) write(tx *tx, id drover.SinkID, x *feed) {
	tx.exec(`UPDATE places SET seq = ?, beyond = ? WHERE sink = ? AND fid = ?`, int64(p.seq), p.beyond.pack(), string(id), x.fid)
}

// has reports whether a number is done.
func (p *standing) has(seq uint64) bool { return seq <= p.seq || p.beyond.has(seq) }

// done adds a run, moves the place over the unbroken run, and returns how many
// numbers were not done before.
func (p *standing) done(r drover.Range) (fresh uint64, err error) {
	if r.First == 0 || r.Last < r.First || r.Last > p.head {
		return 0, broken("settle", fmt.Errorf("%d to %d of feed %s, which ends at %d", r.First, r.Last, r.Feed, p.head))
	}
	if r.Last <= p.seq {
		return 0, nil
	}
	p.beyond, fresh = p.beyond.add(run{max(r.First, p.seq+1), r.Last})
	if p.beyond[0].first == p.seq+1 {
		p.seq, p.beyond = p.beyond[0].last, p.beyond[1:]
	}
	if p.beyond.len() > maxBeyond {
		return 0, broken("settle", fmt.Errorf("%d records done beyond the place in feed %s", p.beyond.len(), r.Feed))
	}
	return fresh, nil
}

// Settle stores what became of an attempt; see ledger.Delivering.
func (s *Store) Settle(ctx context.Context, o ledger.Settle) error {
	feeds := make(map[drover.Feed]*feed)
	var order []*feed
	know := func(f drover.Feed) (*feed, error) {
		if x := feeds[f]; x != nil {
			return x, nil
		}
		x, err := s.feed(ctx, f)
		if err == nil {
			feeds[f] = x
			order = append(order, x)
		}
		return x, err
	}
	for _, r := range o.Done {
		if _, err := know(r.Feed); err != nil {
			return err
		}
	}
	var asides []sealedAside
	for _, a := range o.Aside {
		x, err := know(a.Feed)
		if err != nil {
			return err
		}
		a.Sink = o.Sink
		sealed, err := s.sealSinkAside(ctx, x, a)
		if err != nil {
			return err
		}
		asides = append(asides, sealed)
	}
	told := make([]*feed, len(o.Manifests))
	for i, m := range o.Manifests {
		x, err := s.feed(ctx, m.Feed)
		if err != nil {
			return err
		}
		told[i] = x
	}
	var next ledger.Attempt
	var nextRanges string
	if o.Next != nil {
		if !o.Close {
			return broken("settle", fmt.Errorf("sink %s: a next attempt beside one that stays open", o.Sink))
		}
		next = *o.Next
		next.Sink, next.Lane = o.Sink, o.Lane
		var err error
		if nextRanges, err = packRanges(&next); err != nil {
			return err
		}
	}
	return s.w.do(512+256*len(o.Done)+4096*len(asides)+len(nextRanges), func(tx *tx) error {
		left := outcome{unrouted: uint64(max(0, o.Unrouted)), discarded: uint64(max(0, o.Discarded)), exact: len(o.Passed) > 0}
		for _, x := range order {
			if err := s.settleFeed(tx, &o, x, asides, &left); err != nil {
				return fmt.Errorf("sink %s: %w", o.Sink, err)
			}
		}
		for i, m := range o.Manifests {
			s.vouch(tx, o.Sink, told[i].fid, m.Last)
		}
		if o.Mark != nil {
			tx.exec(`INSERT INTO marks (sink, lane, mark) VALUES (?,?,?) ON CONFLICT DO UPDATE SET mark = excluded.mark`, string(o.Sink), o.Lane, o.Mark)
		}
		if o.Close {
			tx.exec(`DELETE FROM attempts WHERE sink = ? AND lane = ?`, string(o.Sink), o.Lane)
		}
		if o.Next != nil {
			return claim(tx, &next, nextRanges)
		}
		return tx.err
	})
}

// outcome is what of a settle is still to be counted to a feed.
type outcome struct {
	unrouted, discarded uint64
	exact               bool // Settle.Passed says which were unrouted
}

// settleFeed moves one place. Every number that is done now and was not before
// is counted once, as what became of it.
func (s *Store) settleFeed(tx *tx, o *ledger.Settle, x *feed, asides []sealedAside, left *outcome) error {
	p, err := readPlace(tx, o.Sink, x)
	if err != nil {
		return err
	}
	before := p
	before.beyond = append(runs(nil), p.beyond...)
	var fresh uint64
	for _, r := range o.Done {
		if r.Feed != x.Feed {
			continue
		}
		n, err := p.done(r)
		if err != nil {
			return err
		}
		fresh += n
	}
	p.write(tx, o.Sink, x)
	now := s.now()
	var missed runs
	var aside, unrouted uint64
	counted := make(map[uint64]bool) // a revision of several records may be set aside in several parts
	for i := range asides {
		if a := &asides[i]; a.Feed == x.Feed {
			if !p.has(a.Seq) {
				return broken("settle", fmt.Errorf("%d of feed %s is set aside and not done", a.Seq, x.Feed))
			}
			insertAside(tx, a, s.inc, now)
			missed, _ = missed.add(run{a.Seq, a.Seq})
			if !before.has(a.Seq) && !counted[a.Seq] {
				counted[a.Seq] = true
				aside++
			}
		}
	}
	first := func(ranges []drover.Range) (n uint64) { // numbers that are done now and were not counted yet
		for _, r := range ranges {
			for seq := r.First; r.Feed == x.Feed && seq <= min(r.Last, p.head); seq++ {
				if !before.has(seq) && p.has(seq) && !counted[seq] {
					counted[seq] = true
					n++
				}
			}
		}
		return n
	}
	over := first(o.Over)
	if left.exact {
		unrouted = first(o.Passed)
	} else {
		unrouted = min(left.unrouted, fresh-min(aside+over, fresh))
		left.unrouted -= unrouted
	}
	for _, list := range [][]drover.Range{o.Passed, o.Over, o.Elsewhere} {
		for _, r := range list {
			if r.Feed == x.Feed {
				missed, _ = missed.add(run{r.First, r.Last})
			}
		}
	}
	if len(missed) > 0 {
		had := append(runs(nil), before.beyond...)
		if before.seq > 0 {
			had, _ = had.add(run{1, before.seq})
		}
		s.miss(tx, o.Sink, x, missed.without(had))
	}
	rest := fresh - min(aside+over+unrouted, fresh)
	discarded := min(left.discarded, rest)
	left.discarded -= discarded
	s.count(tx, x.Feed, o.Sink, "set_aside", aside)
	s.count(tx, x.Feed, o.Sink, "unrouted", unrouted)
	s.count(tx, x.Feed, o.Sink, "passed_over", over)
	s.count(tx, x.Feed, o.Sink, "discarded", discarded)
	s.count(tx, x.Feed, o.Sink, "taken", rest-discarded)
	return tx.err
}

// count adds to a daily count of a sink.
func (s *Store) count(tx *tx, f drover.Feed, id drover.SinkID, what string, n uint64) {
	if n > 0 {
		tx.exec(addCount, s.day(), string(f.Tenant), string(f.Source), "", string(id), what, int64(n))
	}
}

// sealSinkAside seals what a sink refused. Without bytes of its own it gets
// those of its revision, so that it can be sent again when the retention has
// taken the block.
func (s *Store) sealSinkAside(ctx context.Context, x *feed, a ledger.Aside) (sealedAside, error) {
	if a.Raw == nil && a.Seq > 0 {
		rev, err := s.Body(ctx, x.Feed, a.Seq)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
		case err != nil:
			return sealedAside{}, err
		default:
			a.Raw = rev.Raw
		}
	}
	k, err := s.dataKey(ctx, x.Tenant)
	if errors.Is(err, ledger.ErrNotFound) {
		a.Raw = nil // the tenant is gone
	} else if err != nil {
		return sealedAside{}, err
	}
	return s.sealAsides(k, x, []ledger.Aside{a})[0], nil
}
