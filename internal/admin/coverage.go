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

// CoverageQuery asks what of tenants is covered.
type CoverageQuery struct {
	Tenants []string `json:"tenants"` // IDs or names; none: all that are not removed
	Days    int      `json:"days"`    // how far back alerts are counted; 1 to MaxCoverageDays
	// Fresh drops the tenants' tokens and refusals first, so that a consent of
	// a minute ago counts.
	Fresh bool `json:"fresh"`
}

// Covered is what can be told of one tenant, or why nothing can; the last one is
// of all of them together.
type Covered struct {
	Place  int              `json:"place"` // among those that were asked for, from 0
	Of     int              `json:"of"`    // how many these are
	Tenant *coverage.Tenant `json:"tenant,omitempty"`
	Failed *CoverageFailure `json:"failed,omitempty"`
	// Together is what all tenants have brought of each product.
	Together []coverage.Seen `json:"together,omitempty"`
}

// CoverageFailure is a tenant of which nothing could be told.
type CoverageFailure struct {
	Tenant string `json:"tenant"`
	Says   string `json:"says"`
	Hint   string `json:"hint,omitempty"`
}

// MaxCoverageDays is how long the sources and the ledger's keys go back.
const MaxCoverageDays = int(ledger.KeyRetention / (24 * time.Hour))

// A step of counting: its rows are looked at without a copy.
const (
	countRows  = 2000
	countBytes = 8 << 20
)

// coverageAtOnce is how many tenants are asked at once: waiting for APIs takes
// most of the time.
const coverageAtOnce = 4

// feedsNow is how far the feeds of all tenants are, read once.
type feedsNow struct {
	of    map[drover.TenantID][]ledger.FeedState
	whole map[drover.Feed]drover.Instant // of a running process
}

// Coverage is API.Coverage. How far feeds are is read once for all tenants; of
// each tenant that is under way one block of the ledger is held at a time.
func (l *Local) Coverage(ctx context.Context, q CoverageQuery, each func(Covered) error) error {
	const op = "tell coverage"
	switch {
	case q.Days < 1 || q.Days > MaxCoverageDays:
		return usage(op, "", fmt.Errorf("alerts can be counted over 1 to %d days, not %d", MaxCoverageDays, q.Days))
	case l.Cover == nil:
		return errors.New("coverage cannot be told here")
	}
	names := q.Tenants
	if len(names) == 0 {
		list, err := l.Store.ListTenants(ctx)
		if err != nil {
			return err
		}
		for _, t := range list {
			if t.State != drover.Removed {
				names = append(names, string(t.ID))
			}
		}
	}
	feeds, err := l.feedsNow(ctx)
	if err != nil {
		return err
	}
	var together coverage.Together
	now := time.Now()
	err = sideBySide(ctx, len(names), coverageAtOnce, func(ctx context.Context, i int) (func() error, error) {
		name := names[i]
		c := Covered{Place: i, Of: len(names)}
		t, tallies, err := l.covered(ctx, op, name, q, now, feeds)
		switch {
		case err == nil:
			c.Tenant = &t
		case len(names) == 1:
			return nil, err
		default:
			c.Failed = &CoverageFailure{name, err.Error(), Hint(err)}
		}
		return func() error {
			for _, x := range tallies {
				together.Add(x)
			}
			return each(c)
		}, nil
	})
	if err != nil || len(names) < 2 {
		return err
	}
	return each(Covered{Place: len(names), Of: len(names), Together: together.Seen()})
}

func (l *Local) feedsNow(ctx context.Context) (n feedsNow, err error) {
	feeds, err := l.Store.Feeds(ctx)
	if err != nil {
		return n, fmt.Errorf("read feeds: %w", err)
	}
	n.of = make(map[drover.TenantID][]ledger.FeedState)
	for _, f := range feeds {
		n.of[f.Feed.Tenant] = append(n.of[f.Feed.Tenant], f)
	}
	if l.Whole != nil {
		n.whole = l.Whole()
	}
	return n, nil
}

// covered asks each feed of a tenant, and counts in the ledger what each product
// has brought.
func (l *Local) covered(ctx context.Context, op, name string, q CoverageQuery, now time.Time, feeds feedsNow) (out coverage.Tenant, tallies []*coverage.Tally, err error) {
	t, err := l.find(ctx, op, name)
	switch {
	case err != nil:
		return out, nil, err
	case t.State == drover.Removed:
		return out, nil, usage(op, "add it again: drover tenant add", fmt.Errorf("tenant %s was removed", t.Name))
	}
	out = coverage.Tenant{ID: t.ID, Name: t.Name, Customer: t.Customer, Cloud: t.Cloud, State: t.State, Unproven: t.Unproven(), From: drover.InstantOf(now.AddDate(0, 0, -q.Days))}
	out.Sources = l.Cover(ctx, t, q.Fresh)
	if err := ctx.Err(); err != nil {
		return out, nil, err
	}
	counts, err := l.Store.Counts(ctx, t.ID)
	if err != nil {
		return out, nil, fmt.Errorf("read daily counts: %w", err)
	}
	for i := range out.Sources {
		s := &out.Sources[i]
		s.ReadUpTo = drover.NoInstant
		for _, f := range feeds.of[t.ID] {
			if f.Feed.Source != s.ID {
				continue
			}
			s.ReadUpTo = feeds.readUpTo(f)
			tally := coverage.NewTally(s.ID, out.From, drover.InstantOf(now))
			if s.Pruned, err = l.count(ctx, f, behind(f, counts, now.AddDate(0, 0, -q.Days)), tally); err != nil {
				return out, nil, fmt.Errorf("count alerts of %s: %w", f.Feed, err)
			}
			s.Seen, tallies = tally.Seen(), append(tallies, tally)
		}
	}
	out.Judge()
	return out, tallies, nil
}

// readUpTo is how far a feed has been read.
func (n *feedsNow) readUpTo(f ledger.FeedState) drover.Instant {
	to := f.Whole
	if w, ok := n.whole[f.Feed]; ok {
		to = max(to, w)
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
func (c *Client) Coverage(ctx context.Context, q CoverageQuery, each func(Covered) error) error {
	_, err := follow[Covered, struct{}](ctx, c, "coverage", q, each)
	return err
}
