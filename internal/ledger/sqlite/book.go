package sqlite

import (
	"context"
	"fmt"

	"drover"
	"drover/internal/ledger"
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

// openGap opens a gap. One of a provider extends an open one of the same that
// it continues, and so does one at a sink whose numbers follow on; any other
// stands for itself, because it is halved until what cannot be read is narrow.
func openGap(tx *tx, x *feed, g drover.Gap, now int64) drover.Gap {
	g.Feed, g.State = x.Feed, drover.GapOpen
	for _, old := range readGaps(tx, `WHERE g.fid = ? AND g.sink = ? AND g.state = 'open' AND g.provider = ?`, x.fid, string(g.Sink), g.Provider) {
		if g.Sink == "" && g.Provider != "" && joins(old.Span, g.Span) || g.Sink != "" && g.First == old.Last+1 {
			old.Span, old.Last = join(old.Span, g.Span), max(old.Last, g.Last)
			updateGap(tx, x, old.Gap, now)
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

func updateGap(tx *tx, x *feed, g drover.Gap, now int64) drover.Gap {
	tx.exec(`UPDATE gaps SET since = ?, until = ?, first = ?, last = ?, cause = ?, state = ?, changed = ?, tries = ? WHERE id = ? AND fid = ? AND state = 'open'`,
		int64(g.Span.From), int64(g.Span.To), int64(g.First), int64(g.Last), clip(g.Cause), string(g.State), now, g.Tries, g.ID, x.fid)
	g.Feed, g.Changed = x.Feed, drover.Instant(now)
	return g
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
	return s.w.do(256, func(tx *tx) error {
		list := readGaps(tx, `WHERE g.id = ? AND g.state = 'open'`, id)
		if tx.err == nil && len(list) == 0 {
			return fmt.Errorf("open gap %d: %w", id, ledger.ErrNotFound)
		}
		if tx.err != nil {
			return tx.err
		}
		tx.exec(`UPDATE gaps SET state = 'acknowledged', cause = ?, changed = ? WHERE id = ?`, clip(list[0].Cause+"; acknowledged: "+why), s.now(), id)
		s.enter(tx, "acknowledged", list[0].Feed, fmt.Sprintf("gap %d %s: %s", id, list[0].Span, why))
		return tx.err
	})
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
