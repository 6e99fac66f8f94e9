package collect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"drover"
	"drover/internal/ledger"
)

// namesTenant is implemented by sources whose rows never say which tenant they
// belong to; a row of such a source is not counted as unnamed.
type namesTenant interface{ NamesTenant() bool }

// errAllForeign parks a feed: nothing in the answer to its tail belonged to its
// tenant. A read beside the tail may be narrow enough to meet nothing else, and
// so may the tail of a quiet tenant: where rows of its own have come before,
// what has been set aside does not park it again.
var errAllForeign = errors.New("every row of the answer names another tenant")

// book turns a page into one commit, or into none if it brought nothing, and
// returns how many revisions were new. A page that could not be booked may be
// booked again.
func (r *reader) book(ctx context.Context, run *run, page drover.Page) (fresh int, err error) {
	c, foreign, err := r.sort(ctx, run, page)
	if err != nil {
		return 0, err
	}
	if run.purpose == readTail && foreign > 0 && foreign == len(page.Rows)+page.Again && (!r.own || len(c.Aside) > 0) {
		if _, err := r.c.opt.Store.Commit(ctx, ledger.Commit{Feed: r.feed, Epoch: r.epoch, Whole: drover.NoInstant, Aside: c.Aside}); err != nil {
			return 0, err
		}
		r.known.putAside(c.Aside)
		return 0, &drover.Error{Op: "read " + string(r.feed.Source), Tenant: r.feed.Tenant, Kind: drover.Denied, Err: errAllForeign,
			Hint: "check that this tenant's ID and hosts are right; nothing of the answer was taken"}
	}
	if run.purpose == readTail {
		through := r.through
		if page.Through.Known() {
			through = max(through, page.Through)
		}
		if run.skip != nil {
			through = max(through, run.skip.Span.To)
			c.Update, c.Open = r.skipped(*run.skip)
		}
		if run.pages == 0 {
			if run.behind != nil {
				c.Backfills = append(c.Backfills, ledger.Backfill{Span: *run.behind})
			} else if g := r.beyondRetention(run.span.From); g != nil {
				c.Open = append(c.Open, *g)
			}
		}
		if through.Known() {
			c.Cursor = &drover.Cursor{Source: r.feed.Source, Version: r.source.Version(), Through: through}
		}
		if page.Done {
			c.Whole = through
		}
	}
	for _, s := range page.Skipped {
		if run.purpose != readGap || s.Provider != r.providerOf(run) {
			r.leftOut(&c, s)
		}
	}
	if run.purpose == readGap {
		update, open := r.gapProgress(run, page)
		c.Update, c.Open = append(c.Update, update...), append(c.Open, open...)
	}
	if run.purpose == readHistory {
		r.historyProgress(run, page, &c)
	}
	update, open := r.splits(c.Update)
	c.Update, c.Open = append(c.Update, update...), append(c.Open, open...)
	c.Open = append(c.Open, r.leave...)
	if r.parked != "" {
		freed := ""
		c.Parked = &freed
	}
	if err := r.commit(ctx, run, c); err != nil {
		return 0, err
	}
	r.known.putAside(c.Aside)
	r.known.remember(run.shown, slices.ContainsFunc(c.Revisions, func(v drover.Revision) bool { return v.Ordinal > 0 }))
	r.notifyBooked(run, &c)
	r.seeLate(run, &c)
	r.c.heard(r, c.Revisions)
	r.sayAbsent(page.Absent)
	return len(c.Revisions), nil
}

// leftOut opens a gap for what a pass left out, unless one is open there.
func (r *reader) leftOut(c *ledger.Commit, s drover.Skipped) {
	covers := func(g drover.Gap) bool {
		return g.Provider == s.Provider && g.Span.From <= s.Span.From && (g.Span.Open() || !s.Span.Open() && s.Span.To <= g.Span.To)
	}
	if slices.ContainsFunc(r.gaps, func(g gap) bool { return covers(g.Gap) }) || slices.ContainsFunc(c.Open, covers) {
		return
	}
	c.Open = append(c.Open, drover.Gap{Feed: r.feed, Span: s.Span, Provider: s.Provider, Cause: s.Cause, State: drover.GapOpen})
}

func (r *reader) providerOf(run *run) string {
	if g := r.gapOf(run.gap); g != nil {
		return g.Provider
	}
	return ""
}

// commit stores c if there is anything in it worth a write, and remembers
// what was stored. How far an empty read came is kept in memory only.
func (r *reader) commit(ctx context.Context, run *run, c ledger.Commit) error {
	if len(c.Revisions)+len(c.Open)+len(c.Update)+len(c.Backfills)+len(c.Aside) > 0 || c.Parked != nil {
		done, err := r.c.opt.Store.Commit(ctx, c)
		if err != nil {
			return err
		}
		for _, g := range done.Gaps {
			r.kept(g)
		}
		r.keptBackfills(done.Backfills)
		r.leave = nil
		if c.Whole.Known() {
			r.unstored.Store(int64(drover.NoInstant))
		}
		if c.Parked != nil {
			r.parked = ""
			r.c.log.Info("the feed is read again", "feed", r.feed)
			r.c.notify(Event{Feed: r.feed, What: "freed"})
		}
	} else if c.Whole.Known() {
		r.unstored.Store(int64(c.Whole))
	}
	run.skip, run.behind = nil, nil
	r.own = r.own || len(c.Revisions) > 0
	if c.Cursor != nil {
		r.through = c.Cursor.Through
	}
	if c.Whole.Known() {
		r.whole = c.Whole
	}
	return nil
}

func (r *reader) notifyBooked(run *run, c *ledger.Commit) {
	if n := len(c.Revisions); n > 0 {
		r.c.notify(Event{Feed: r.feed, What: "commit", N: n})
	}
	for i := range c.Revisions {
		if rev := &c.Revisions[i]; rev.Flags.Has(drover.Late) {
			r.c.notify(Event{Feed: r.feed, What: "late", N: 1, Late: run.lateBelow.Sub(rev.Changed)})
		}
	}
	fresh := 0
	for i := range c.Aside {
		if c.Aside[i].Reason == "foreign" {
			fresh++
		}
	}
	if fresh > 0 {
		r.c.log.Error("rows of another tenant were set aside", "feed", r.feed, "rows", fresh, "hint", "see: drover status")
		r.c.notify(Event{Feed: r.feed, What: "foreign", N: fresh})
	}
}

// sayAbsent tells once which products a tenant does not have: coverage, not a
// gap.
func (r *reader) sayAbsent(products []string) {
	for _, p := range products {
		if r.known.absent[p] || len(r.known.absent) >= maxPending {
			continue
		}
		put(&r.known.absent, p, true)
		r.c.log.Info("a product is not licensed or not granted: its alerts are not covered", "feed", r.feed, "product", p)
		r.c.notify(Event{Feed: r.feed, What: "absent", N: 1})
	}
}

// sort decides for each row of a page whether it is new, and which rows are
// set aside. foreign counts rows that name another tenant.
func (r *reader) sort(ctx context.Context, run *run, page drover.Page) (c ledger.Commit, foreign int, err error) {
	c = ledger.Commit{Feed: r.feed, Epoch: r.epoch, Whole: drover.NoInstant}
	stored, err := r.stored(ctx, page.Rows)
	if err != nil {
		return c, 0, fmt.Errorf("look up keys: %w", err)
	}
	putAside := func(row *drover.Row, reason, detail string) {
		if !r.known.aside[row.Sum] && !slices.ContainsFunc(c.Aside, func(a ledger.Aside) bool { return a.Sum == row.Sum }) {
			c.Aside = append(c.Aside, aside(r.feed, row, reason, detail))
		}
	}
	run.shown = run.shown[:0]
	named := true
	if s, ok := r.source.(namesTenant); ok {
		named = s.NamesTenant()
	}
	for i := range page.Rows {
		row := &page.Rows[i]
		if row.Bad != "" {
			putAside(row, "no_identity", row.Bad)
			continue
		}
		var flags drover.Flags
		if row.Checked {
			flags |= drover.Checked
		}
		switch mine, says := r.belongs(row.TenantID); {
		case !mine:
			foreign++
			putAside(row, "foreign", "the row names tenant "+strings.ToLower(row.TenantID))
			continue
		case !says && named:
			flags |= drover.Unnamed
		}
		rev, err := r.revision(ctx, run, row, stored, flags)
		if err != nil {
			return c, foreign, err
		}
		if run.purpose == readTail && stored[key{row.Changed, ledger.AlertHash(row.ID)}].Sum == row.Sum {
			run.shown = append(run.shown, recent{row.Changed, row.Sum})
		}
		if rev != nil {
			c.Revisions = append(c.Revisions, *rev)
			if flags.Has(drover.Unnamed) {
				c.Unnamed++
			}
		}
	}
	return c, foreign, nil
}

// belongs compares what a row says of its tenant with the feed's. Nothing, or
// something that is no GUID, says nothing (design §3.3).
func (r *reader) belongs(tenant string) (mine, says bool) {
	if !drover.IsGUID(tenant) {
		return true, false
	}
	return strings.EqualFold(tenant, string(r.feed.Tenant)), true
}

func aside(f drover.Feed, row *drover.Row, reason, detail string) ledger.Aside {
	return ledger.Aside{Feed: f, Reason: reason, Detail: detail, Sum: row.Sum, Size: int64(len(row.Raw)), Raw: row.Raw, Count: 1}
}

// index is what the ledger holds under the change times of a page: the newest
// state of each key.
type index map[key]ledger.Key

// stored looks up the keys of all rows of a page with one range query, save of
// those that are remembered.
func (r *reader) stored(ctx context.Context, rows []drover.Row) (index, error) {
	span, unknown := drover.Span{From: drover.NoInstant, To: drover.NoInstant}, false
	idx := make(index, len(rows))
	for i := range rows {
		switch at := rows[i].Changed; {
		case rows[i].Bad != "":
		case r.known.has(&rows[i]):
			id := key{at, ledger.AlertHash(rows[i].ID)}
			idx[id] = ledger.Key{Changed: at, Alert: id.alert, Sum: rows[i].Sum}
		case !at.Known():
			unknown = true
		case !span.From.Known():
			span = drover.Span{From: at, To: at + 1}
		default:
			span = drover.Span{From: min(span.From, at), To: max(span.To, at+1)}
		}
	}
	if !span.From.Known() {
		if !unknown {
			return idx, nil
		}
		span = drover.Span{From: 0, To: 0}
	}
	keys, err := r.c.opt.Store.Keys(ctx, r.feed, span, unknown)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		id := key{k.Changed, k.Alert}
		if old, ok := idx[id]; !ok || k.Ordinal >= old.Ordinal {
			idx[id] = k
		}
	}
	return idx, nil
}

// revision returns what is to be stored for a row, nil for a repeat.
func (r *reader) revision(ctx context.Context, run *run, row *drover.Row, stored index, flags drover.Flags) (*drover.Revision, error) {
	id := key{row.Changed, ledger.AlertHash(row.ID)}
	rev := &drover.Revision{Feed: r.feed, AlertID: row.ID, Changed: row.Changed, Created: row.Created, Severity: row.Severity, Status: row.Status,
		Flags: flags, Sum: row.Sum, Raw: row.Raw}
	if newest, ok := stored[id]; ok {
		v, err := r.known.judge(r.c.opt.Compare, r.feed.Source, id, row, newest, func() ([]byte, error) { return r.body(ctx, newest.Seq) })
		if err != nil {
			return nil, err
		}
		switch v {
		case repeat:
			return nil, nil
		case waiting:
			// The tail reads it again by itself, by its overlap.
			if (run.purpose == readSweep || run.purpose == readGap || run.purpose == readHistory) && len(r.confirm) < maxConfirm {
				r.confirm = append(r.confirm, drover.Span{From: row.Changed, To: row.Changed + 1})
			}
			return nil, nil
		case unstable:
			r.sayUnstable(id, row)
			return nil, nil
		}
		rev.Ordinal = newest.Ordinal + 1
	}
	switch {
	case !row.Changed.Known():
		rev.Flags |= drover.NoTime
	case run.purpose == readHistory:
	case run.lateBelow.Known() && row.Changed < run.lateBelow && !r.inGap(row.Changed):
		rev.Flags |= drover.Late
	}
	if run.purpose == readHistory {
		rev.Flags |= drover.History
	}
	if err := r.trace(ctx, rev, id.alert); err != nil {
		return nil, err
	}
	// A second row with this key in the same page is compared with this one.
	stored[id] = ledger.Key{Changed: row.Changed, Alert: id.alert, Ordinal: rev.Ordinal, Sum: row.Sum, Created: row.Created}
	return rev, nil
}

// body fetches a stored body; nil when it is not there any more, or not yet.
func (r *reader) body(ctx context.Context, seq uint64) ([]byte, error) {
	rev, err := r.c.opt.Store.Body(ctx, r.feed, seq)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, nil
	}
	return rev.Raw, err
}

// trace fills in the predecessor of a revision and what changed since. While a
// feed is read for the first time, most alerts certainly have none.
func (r *reader) trace(ctx context.Context, rev *drover.Revision, alert drover.Hash) error {
	if r.known.fresh != nil && !r.known.fresh.add(alert) {
		return nil
	}
	newest, err := r.c.opt.Store.Newest(ctx, r.feed, alert, rev.Created)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up the revision before: %w", err)
	}
	rev.Previous = newest.Seq
	before, err := r.body(ctx, newest.Seq)
	if err != nil || before == nil {
		return err
	}
	paths, touch := r.c.opt.Compare.Diff(r.feed.Source, before, rev.Raw)
	rev.Changes = paths
	if touch {
		rev.Flags |= drover.Touch
	}
	return nil
}

// inGap reports whether i lies in an open gap: a row found there is not late,
// it was known to be missing.
func (r *reader) inGap(i drover.Instant) bool {
	for _, g := range r.gaps {
		if g.Span.Contains(i) {
			return true
		}
	}
	return false
}

// sayUnstable tells once that a row has more states under one change time than
// are taken.
func (r *reader) sayUnstable(id key, row *drover.Row) {
	if r.known.unstable[id] {
		return
	}
	if len(r.known.unstable) >= maxPending {
		clear(r.known.unstable)
	}
	put(&r.known.unstable, id, true)
	r.c.log.Warn("unstable rows: an alert shows more states under one change time than are taken", "feed", r.feed, "changed", row.Changed, "taken", drover.MaxOrdinal+1)
	r.c.notify(Event{Feed: r.feed, What: "unstable", N: 1})
}
