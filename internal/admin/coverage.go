package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"drover"
	"drover/internal/coverage"
	"drover/internal/ledger"
)

// CoverageQuery asks what of a tenant is covered.
type CoverageQuery struct {
	Tenant string `json:"tenant"` // ID or name
	Days   int    `json:"days"`   // how far back alerts are counted; 1 to MaxCoverageDays
	// Fresh drops the tenant's tokens and refusals first, so that a consent of
	// a minute ago counts.
	Fresh bool `json:"fresh"`
}

// MaxCoverageDays is how long the sources and the ledger's keys go back.
const MaxCoverageDays = int(ledger.KeyRetention / (24 * time.Hour))

// A step of counting: its rows are looked at without a copy.
const (
	countRows  = 2000
	countBytes = 8 << 20
)

// Coverage asks each feed of a tenant, and counts in the ledger what each
// product has brought. It holds one block of the ledger at a time.
func (l *Local) Coverage(ctx context.Context, q CoverageQuery) (out coverage.Tenant, err error) {
	const op = "tell coverage"
	t, err := l.find(ctx, op, q.Tenant)
	switch {
	case err != nil:
		return out, err
	case t.State == drover.Removed:
		return out, usage(op, "add it again: drover tenant add", fmt.Errorf("tenant %s was removed", t.Name))
	case q.Days < 1 || q.Days > MaxCoverageDays:
		return out, usage(op, "", fmt.Errorf("alerts can be counted over 1 to %d days, not %d", MaxCoverageDays, q.Days))
	case l.Cover == nil:
		return out, errors.New("coverage cannot be told here")
	}
	now := time.Now()
	out = coverage.Tenant{ID: t.ID, Name: t.Name, Customer: t.Customer, Cloud: t.Cloud, State: t.State, From: drover.InstantOf(now.AddDate(0, 0, -q.Days))}
	out.Sources = l.Cover(ctx, t, q.Fresh)
	if err := ctx.Err(); err != nil {
		return out, err
	}
	feeds, err := l.Store.Feeds(ctx)
	if err != nil {
		return out, fmt.Errorf("read feeds: %w", err)
	}
	counts, err := l.Store.Counts(ctx, t.ID)
	if err != nil {
		return out, fmt.Errorf("read daily counts: %w", err)
	}
	for i := range out.Sources {
		s := &out.Sources[i]
		s.ReadUpTo = drover.NoInstant
		for _, f := range feeds {
			if f.Feed != (drover.Feed{Tenant: t.ID, Source: s.ID}) {
				continue
			}
			s.ReadUpTo = l.readUpTo(f)
			tally := coverage.NewTally(s.ID, out.From, drover.InstantOf(now))
			if s.Pruned, err = l.count(ctx, f, behind(f, counts, now.AddDate(0, 0, -q.Days)), tally); err != nil {
				return out, fmt.Errorf("count alerts of %s: %w", f.Feed, err)
			}
			s.Seen = tally.Seen()
		}
	}
	out.Judge()
	return out, nil
}

// readUpTo is how far a feed has been read.
func (l *Local) readUpTo(f ledger.FeedState) drover.Instant {
	to := f.Whole
	if l.Whole != nil {
		if w, ok := l.Whole()[f.Feed]; ok {
			to = max(to, w)
		}
	}
	if f.Cursor.Source != "" {
		to = max(to, f.Cursor.Through)
	}
	return to
}

// behind is the sequence number that a feed had a day before from, at the
// latest: the daily counts tell how many came since. An alert is not committed
// before it was created, save by a clock that is wrong by a day.
func behind(f ledger.FeedState, counts []ledger.DayCount, from time.Time) uint64 {
	day, since := from.UTC().AddDate(0, 0, -1).Format("2006-01-02"), uint64(0)
	for _, c := range counts {
		if c.Source == f.Feed.Source && c.What == "revisions" && c.Day >= day {
			since += uint64(max(c.N, 0))
		}
	}
	return f.Head - min(f.Head, since)
}

// count adds what a feed has behind seq. pruned: the bodies of some of it are
// gone.
func (l *Local) count(ctx context.Context, f ledger.FeedState, seq uint64, tally *coverage.Tally) (pruned bool, err error) {
	for seq < f.Head && err == nil {
		last := seq
		err = l.Store.Walk(ctx, f.Feed, seq, countRows, countBytes, func(r *drover.Revision) {
			pruned = pruned || r.Seq != last+1
			last = r.Seq
			tally.Add(r)
		})
		if last == seq {
			return pruned || err == nil, err // nothing is kept up to the head
		}
		seq = last
	}
	return pruned, err
}

// Coverage is API.Coverage.
func (c *Client) Coverage(ctx context.Context, q CoverageQuery) (coverage.Tenant, error) {
	return ask[coverage.Tenant](ctx, c, "coverage", q)
}
