package deliver

import (
	"context"
	"errors"
	"time"

	"drover"
	"drover/internal/ledger"
	"drover/internal/revision"
)

// lookSlice is how much of the primary source's keys is looked through at once.
const lookSlice = 24 * time.Hour

// telling says how the records of a source stand beside those of a tenant's
// other sources at a sink.
type telling struct {
	routed bool              // they go there
	alone  bool              // of them, those go there whose alerts the primary source does not show; they are marked
	also   []drover.SourceID // others that tell the same alerts there
}

func (l *lane) telling(t drover.Tenant, from drover.SourceID) (w telling) {
	goes := func(s drover.SourceID) bool { return l.s.d.opt.Routes.Routed(t, s, l.s.ID) }
	primary := t.Primary()
	if w.routed = goes(from); !w.routed {
		w.alone = t.Secondary(from) && goes(primary)
		w.routed = w.alone
		return w
	}
	for _, s := range t.Sources {
		if s != from && (from == primary || t.Secondary(from)) && (s == primary || t.Secondary(s)) && goes(s) {
			w.also = append(w.also, s)
		}
	}
	return w
}

// look finds which of the alerts behind a place the primary source shows, under
// any of their spellings.
func (c *choice) look(ctx context.Context, primary drover.Feed, place uint64, rows, size int) error {
	type spelling struct {
		as      drover.Hash
		created drover.Instant
		alert   string
	}
	var list []spelling
	missing, since, last := make(map[string]bool), drover.InstantOf(time.Now()), place
	err := c.s.d.opt.Store.Walk(ctx, c.feed, place, rows, size, func(rev *drover.Revision) {
		if rev.Seq > c.until {
			return
		}
		last = rev.Seq
		all := revision.Spellings(rev.Feed.Source, rev.AlertID)
		missing[all[0]] = true
		for _, as := range all {
			list = append(list, spelling{ledger.AlertHash(as), rev.Created, all[0]})
		}
		for _, at := range []drover.Instant{rev.Created, rev.Changed} {
			if at.Known() {
				since = min(since, at)
			}
		}
	})
	if err != nil {
		return err
	}
	c.missing, c.until = missing, last // nothing is decided that was not looked at
	wanted := make(map[drover.Hash]string, len(list))
	// Most are found at once: both sources mostly say when it was created.
	for _, k := range list {
		wanted[k.as] = k.alert
		if !missing[k.alert] {
			continue
		}
		_, err := c.s.d.opt.Store.Newest(ctx, primary, k.as, k.created)
		switch {
		case err == nil:
			delete(missing, k.alert)
		case !errors.Is(err, ledger.ErrNotFound):
			return err
		}
	}
	now := drover.InstantOf(time.Now()).Add(lookSlice)
	since = max(since.Add(-lookSlice), now.Add(-ledger.KeyRetention))
	for from := since; from < now && len(missing) > 0; from = from.Add(lookSlice) {
		keys, err := c.s.d.opt.Store.Keys(ctx, primary, drover.Span{From: from, To: from.Add(lookSlice)}, from == since)
		if errors.Is(err, ledger.ErrNotFound) {
			return nil // it was never read
		}
		if err != nil {
			return err
		}
		for i := range keys {
			delete(missing, wanted[keys[i].Alert])
		}
	}
	return nil
}
