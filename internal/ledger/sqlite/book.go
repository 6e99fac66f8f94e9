package sqlite

import (
	"context"
	"fmt"

	"drover"
	"drover/internal/ledger"
	"drover/internal/vault"
)

// feedGap is a gap with the number of its feed.
type feedGap struct {
	drover.Gap
	fid int64
}

func readGaps(tx *tx, where string, args ...any) (out []feedGap) {
	var g feedGap
	rows := tx.query(`SELECT g.id, g.fid, f.tenant, f.source, g.sink, g.since, g.until, g.first, g.last, g.provider, g.cause, g.state, g.opened, g.changed, g.tries
		FROM gaps g JOIN feeds f USING (fid) `+where+` ORDER BY g.id`, args...)
	for rows.next(&g.ID, &g.fid, &g.Feed.Tenant, &g.Feed.Source, &g.Sink, &g.Span.From, &g.Span.To, &g.First, &g.Last, &g.Provider, &g.Cause, &g.State, &g.Opened, &g.Changed, &g.Tries) {
		out = append(out, g)
	}
	return out
}

// openGap opens a gap. One of a provider, or at a sink, extends an open one of
// the same that it continues; any other stands for itself, because it is halved
// until what cannot be read is narrow.
func openGap(tx *tx, x *feed, g drover.Gap, now int64) drover.Gap {
	g.Feed, g.State = x.Feed, drover.GapOpen
	for _, old := range readGaps(tx, `WHERE g.fid = ? AND g.sink = ? AND g.state = 'open' AND g.provider = ?`, x.fid, string(g.Sink), g.Provider) {
		if (g.Provider != "" || g.Sink != "") && joins(old.Span, g.Span) {
			old.Span = join(old.Span, g.Span)
			old.First, old.Last = min(old.First, g.First), max(old.Last, g.Last)
			updateGap(tx, x.fid, old.Gap, now)
			return old.Gap
		}
	}
	g.Opened, g.Changed = drover.Instant(now), drover.Instant(now)
	g.ID = tx.insert(`INSERT INTO gaps (fid, sink, since, until, first, last, provider, cause, state, opened, changed, tries) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)`,
		x.fid, string(g.Sink), int64(g.Span.From), int64(g.Span.To), int64(g.First), int64(g.Last), g.Provider, clip(g.Cause), string(g.State), now, now, g.Tries)
	return g
}

// joins reports whether b begins inside a or at its end, or the other way
// round.
func joins(a, b drover.Span) bool {
	return (a.Open() || b.From <= a.To) && (b.Open() || a.From <= b.To)
}

func join(a, b drover.Span) drover.Span {
	s := drover.Span{From: min(a.From, b.From), To: max(a.To, b.To)}
	if a.Open() || b.Open() {
		s.To = drover.NoInstant
	}
	return s
}

func updateGap(tx *tx, fid int64, g drover.Gap, now int64) {
	tx.exec(`UPDATE gaps SET since = ?, until = ?, first = ?, last = ?, cause = ?, state = ?, changed = ?, tries = ? WHERE id = ? AND fid = ? AND state = 'open'`,
		int64(g.Span.From), int64(g.Span.To), int64(g.First), int64(g.Last), clip(g.Cause), string(g.State), now, g.Tries, g.ID, fid)
}

// clip bounds a text that an error brought along.
func clip(s string) string {
	if len(s) > 500 {
		return s[:500] + "…"
	}
	return s
}

// Gaps lists gaps.
func (s *Store) Gaps(ctx context.Context, f ledger.GapFilter) (out []drover.Gap, err error) {
	err = s.read(ctx, func(tx *tx) error {
		for _, g := range readGaps(tx, `WHERE (? = '' OR f.tenant = ?) AND (? = '' OR g.sink = ?) AND (? = '' OR g.state = ?)`,
			string(f.Tenant), string(f.Tenant), string(f.Sink), string(f.Sink), string(f.State), string(f.State)) {
			out = append(out, g.Gap)
		}
		return tx.err
	})
	return out, err
}

// AcknowledgeGap takes note of a gap.
func (s *Store) AcknowledgeGap(ctx context.Context, id int64, why string) error {
	return s.w.do(ctx, 256, false, func(tx *tx) error {
		if tx.exec(`UPDATE gaps SET state = 'acknowledged', cause = cause || '; acknowledged: ' || ?, changed = ? WHERE id = ? AND state = 'open'`,
			clip(why), int64(drover.InstantOf(s.opt.Clock())), id) == 0 && tx.err == nil {
			return ledger.ErrNotFound
		}
		return tx.err
	})
}

// sealedAside is something set aside, its bytes sealed.
type sealedAside struct {
	ledger.Aside
	fid    int64
	sealed []byte
}

// asideAAD binds a sealed row to what it is.
func asideAAD(f drover.Feed, sum drover.Hash, incarnation string) []byte {
	return fmt.Appendf(nil, "aside\x00%s\x00%s\x00%x\x00%s", f.Tenant, f.Source, sum, incarnation)
}

func (s *Store) sealAsides(k *vault.DataKey, f drover.Feed, list []ledger.Aside) []sealedAside {
	out := make([]sealedAside, len(list))
	for i, a := range list {
		a.Feed = f
		out[i] = sealedAside{Aside: a}
		if a.Raw != nil {
			out[i].sealed = k.Seal(nil, a.Raw, asideAAD(f, a.Sum, s.identity.Incarnation))
		}
	}
	return out
}

func insertAside(tx *tx, fid int64, a sealedAside, incarnation, now int64) {
	tx.exec(`INSERT INTO aside (fid, sink, reason, detail, seq, event_id, sum, size, raw, incarnation, at, count) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)
		ON CONFLICT DO UPDATE SET count = count + 1, resolved = 0`,
		fid, string(a.Sink), a.Reason, clip(a.Detail), int64(a.Seq), a.EventID, a.Sum[:], a.Size, a.sealed, incarnation, now, max(a.Count, 1))
}

// SetAside lists what was set aside, without bodies.
func (s *Store) SetAside(ctx context.Context, f ledger.AsideFilter) (out []ledger.Aside, err error) {
	err = s.read(ctx, func(tx *tx) error {
		var (
			a   ledger.Aside
			sum []byte
		)
		rows := tx.query(`SELECT a.id, f.tenant, f.source, a.sink, a.reason, a.detail, a.seq, a.event_id, a.sum, a.size, a.at, a.count, a.resolved FROM aside a JOIN feeds f USING (fid)
			WHERE (? = '' OR f.tenant = ?) AND (? = '' OR a.sink = ?) AND (? = '' OR a.reason = ?) AND (NOT ? OR a.resolved = 0) ORDER BY a.id`,
			string(f.Tenant), string(f.Tenant), string(f.Sink), string(f.Sink), f.Reason, f.Reason, f.Unresolved)
		for rows.next(&a.ID, &a.Feed.Tenant, &a.Feed.Source, &a.Sink, &a.Reason, &a.Detail, &a.Seq, &a.EventID, &sum, &a.Size, &a.At, &a.Count, &a.Resolved) {
			copy(a.Sum[:], sum)
			out = append(out, a)
		}
		return tx.err
	})
	return out, err
}

// Counts returns the daily counts of a tenant, or of all.
func (s *Store) Counts(ctx context.Context, id drover.TenantID) (out []ledger.DayCount, err error) {
	err = s.read(ctx, func(tx *tx) error {
		var c ledger.DayCount
		rows := tx.query(`SELECT day, tenant, source, severity, sink, what, n FROM counts WHERE (? = '' OR tenant = ?) ORDER BY day, tenant, source, sink, what, severity`, string(id), string(id))
		for rows.next(&c.Day, &c.Tenant, &c.Source, &c.Severity, &c.Sink, &c.What, &c.N) {
			out = append(out, c)
		}
		return tx.err
	})
	return out, err
}
