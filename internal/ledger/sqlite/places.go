package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"drover"
	"drover/internal/ledger"
)

// Sinks makes the set of sinks known; see ledger.Delivering. A sink that comes
// back may find that bodies it had not taken are gone: that is a gap at it.
func (s *Store) Sinks(ctx context.Context, sinks []ledger.SinkPlace) error {
	return s.w.do(1024, func(tx *tx) error {
		retired := make(map[drover.SinkID]bool)
		var (
			id  drover.SinkID
			was bool
		)
		for rows := tx.query(`SELECT id, retired FROM sinks`); rows.next(&id, &was); {
			retired[id] = was
		}
		tx.exec(`UPDATE sinks SET retired = 1`)
		for _, p := range sinks {
			was, known := retired[p.Sink]
			if known {
				tx.exec(`UPDATE sinks SET retired = 0 WHERE id = ?`, string(p.Sink))
				if was {
					if err := s.comeBack(tx, p.Sink); err != nil {
						return err
					}
				}
				continue
			}
			tx.exec(`INSERT INTO sinks (id, added) VALUES (?,?)`, string(p.Sink), s.now())
			from := `head`
			if p.FromAll {
				from = `floor`
			}
			tx.exec(`INSERT INTO places (sink, fid, start, seq) SELECT ?, fid, `+from+`, `+from+` FROM feeds`, string(p.Sink))
			retired[p.Sink] = false
		}
		return tx.err
	})
}

// comeBack moves a sink's places over what was thrown away while it was not
// listed.
func (s *Store) comeBack(tx *tx, id drover.SinkID) error {
	type behind struct {
		feed
		floor uint64
	}
	var list []behind
	var b behind
	for rows := tx.query(`SELECT f.fid, f.tenant, f.source, f.floor FROM places p JOIN feeds f USING (fid) WHERE p.sink = ? AND p.seq < f.floor`, string(id)); rows.next(&b.fid, &b.Tenant, &b.Source, &b.floor); {
		list = append(list, behind{feed{Feed: b.Feed, fid: b.fid}, b.floor})
	}
	for i := range list {
		if _, err := s.passOver(tx, id, &list[i].feed, list[i].floor, drover.Span{From: drover.NoInstant, To: drover.NoInstant}, "thrown away while the sink was not in use"); err != nil {
			return err
		}
	}
	return tx.err
}

// passOver moves a sink's place to seq and opens a gap over what it had not
// done of that.
func (s *Store) passOver(tx *tx, id drover.SinkID, x *feed, seq uint64, span drover.Span, why string) (drover.Gap, error) {
	p, err := readPlace(tx, id, x)
	if err != nil || seq <= p.seq {
		return drover.Gap{}, err
	}
	first := p.seq + 1
	left := runs{{first, seq}}.without(p.beyond)
	n, err := p.done(drover.Range{Feed: x.Feed, First: first, Last: seq})
	if err != nil {
		return drover.Gap{}, err
	}
	p.write(tx, id, x)
	s.miss(tx, id, x, left)
	s.count(tx, x.Feed, id, "discarded", n)
	return openGap(tx, x, drover.Gap{Sink: id, Span: span, First: first, Last: seq, Cause: why}, s.now()), tx.err
}

const selectPlaces = `SELECT f.tenant, f.source, f.head, p.start, p.seq, p.beyond FROM feeds f LEFT JOIN places p ON p.fid = f.fid AND p.sink = ?`

// Places returns the place of a sink in every feed.
func (s *Store) Places(ctx context.Context, id drover.SinkID) (out []ledger.Place, err error) {
	s.mu.Lock()
	feeds := len(s.feeds) // all that are read
	s.mu.Unlock()
	err = s.read(ctx, func(tx *tx) error {
		out, err = readPlaces(tx, id, feeds, selectPlaces, string(id))
		return err
	})
	return out, err
}

// Place returns one.
func (s *Store) Place(ctx context.Context, id drover.SinkID, f drover.Feed) (p ledger.Place, err error) {
	err = s.read(ctx, func(tx *tx) error {
		list, err := readPlaces(tx, id, 1, selectPlaces+` WHERE f.tenant = ? AND f.source = ?`, string(id), string(f.Tenant), string(f.Source))
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

// readPlaces reads places, about so many.
func readPlaces(tx *tx, id drover.SinkID, about int, query string, args ...any) (out []ledger.Place, err error) {
	out = make([]ledger.Place, 0, about)
	var (
		p          ledger.Place
		start, seq *uint64
		beyond     []byte
		same       intern
	)
	for rows := tx.query(query, args...); rows.next(&p.Feed.Tenant, &p.Feed.Source, &p.Head, &start, &seq, &beyond); start, seq, beyond = nil, nil, nil {
		if seq == nil {
			err = fmt.Errorf("sink %s has no place in feed %s", id, p.Feed)
			continue
		}
		p.Feed.Tenant, p.Feed.Source = drover.TenantID(same.one(string(p.Feed.Tenant))), drover.SourceID(same.one(string(p.Feed.Source)))
		p.Sink, p.Start, p.Seq, p.Beyond = id, *start, *seq, unpack(beyond).list()
		out = append(out, p)
	}
	if tx.err == nil && err != nil && !tx.row(`SELECT 1 FROM sinks WHERE id = ?`, string(id)).scan(new(int)) && tx.err == nil {
		err = fmt.Errorf("sink %s was never made known: %w", id, ledger.ErrNotFound)
	}
	if tx.err != nil {
		return nil, tx.err
	}
	if err != nil {
		return out, broken("read places", err)
	}
	return out, nil
}

// wireRange is a Range in the attempts table.
type wireRange struct {
	T drover.TenantID `json:"t"`
	S drover.SourceID `json:"s"`
	F uint64          `json:"f"`
	L uint64          `json:"l"`
	// Of a manifest: its event ID, time and record.
	E string         `json:"e,omitempty"`
	A drover.Instant `json:"a,omitempty"`
	M string         `json:"m,omitempty"`
}

// Claim stores an attempt before it is sent.
func (s *Store) Claim(ctx context.Context, a ledger.Attempt) error {
	text, err := packRanges(&a)
	if err != nil {
		return err
	}
	return s.w.do(len(text), func(tx *tx) error { return claim(tx, &a, text) })
}

// packRanges writes what an attempt sends: numbers, or manifests.
func packRanges(a *ledger.Attempt) (string, error) {
	ranges := make([]wireRange, 0, len(a.Ranges)+len(a.Manifests))
	for _, r := range a.Ranges {
		ranges = append(ranges, wireRange{T: r.Feed.Tenant, S: r.Feed.Source, F: r.First, L: r.Last})
	}
	for i := range a.Manifests {
		m := &a.Manifests[i]
		ranges = append(ranges, wireRange{m.Feed.Tenant, m.Feed.Source, m.First, m.Last, m.EventID, m.At, string(m.Record)})
	}
	text, err := json.Marshal(ranges)
	if err != nil {
		return "", fmt.Errorf("store an attempt: %w", err)
	}
	return string(text), nil
}

// claim is the writer's part of Claim.
func claim(tx *tx, a *ledger.Attempt, ranges string) error {
	if tx.exec(`INSERT INTO attempts (sink, lane, ranges, generation, at) VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING`,
		string(a.Sink), a.Lane, ranges, int64(a.Generation), int64(a.At)) == 0 && tx.err == nil {
		return fmt.Errorf("sink %s, lane %s: %w", a.Sink, a.Lane, ledger.ErrConflict)
	}
	return tx.err
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
			a.Ranges, a.Manifests = nil, nil
			for _, r := range ranges {
				f := drover.Feed{Tenant: r.T, Source: r.S}
				if r.M != "" {
					a.Manifests = append(a.Manifests, ledger.Manifest{Feed: f, First: r.F, Last: r.L, EventID: r.E, At: r.A, Record: []byte(r.M)})
					continue
				}
				a.Ranges = append(a.Ranges, drover.Range{Feed: f, First: r.F, Last: r.L})
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
