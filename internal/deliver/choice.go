package deliver

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"drover"
	"drover/internal/ledger"
	"drover/internal/revision"
)

// choice decides what of a feed goes into a sink's next batch. What it decides
// follows from what is stored and from the config: asked again, it says the
// same. A batch under way is not decided anew: what it was made of names it.
type choice struct {
	telling
	s       *dest
	feed    drover.Feed
	until   uint64                   // revisions up to it are old enough to be decided
	stored  []ledger.Stored          // when those up to it were stored, for revision.Settled
	missing map[string]bool          // by its first spelling: an alert that the primary source does not show, where telling is alone
	states  map[drover.Hash][]uint64 // of alerts that were looked at: their states, the newest first
}

// maxStates bounds how far the states of one alert are followed back. One that
// has had more since is not passed over.
const maxStates = 4096

// choose looks at what lies behind a place. What is too young to be decided
// ends it; its lane is woken when it no longer is.
func (l *lane) choose(ctx context.Context, x *feed, t drover.Tenant, place uint64, rows, size int) (choice, error) {
	c := choice{telling: l.telling(t, x.Source), s: l.s, feed: x.Feed, until: math.MaxUint64}
	var err error
	l.s.sooner(x)
	if wait := c.patience(t); wait > 0 {
		err = c.ripe(ctx, x, place, rows, wait)
	}
	if err == nil && c.alone && c.until > place {
		err = c.look(ctx, drover.Feed{Tenant: t.ID, Source: t.Primary()}, place, rows, size)
	}
	return c, err
}

// ripe ends the choice where it is too young.
func (c *choice) ripe(ctx context.Context, x *feed, place uint64, rows int, wait time.Duration) (err error) {
	if c.stored, err = c.s.d.opt.Store.Stored(ctx, x.Feed, place, rows); err != nil {
		return err
	}
	now := drover.InstantOf(time.Now())
	c.until = place
	for _, run := range c.stored {
		if age := now.Sub(run.At); age >= 0 && age < wait { // what a wrong clock stored in the future is not waited for
			c.s.later(x, run.At.Add(wait).Time(), wait)
			break
		}
		c.until = run.Last
	}
	return nil
}

// patience is how old a revision must be to be decided. A tenant that is not
// read any more shows nothing that is worth waiting for.
func (c *choice) patience(t drover.Tenant) time.Duration {
	switch {
	case !c.routed || t.State == drover.Paused:
		return 0
	case c.alone:
		return revision.Unseen
	case c.s.Revisions == revision.Settled:
		return revision.Quiet
	}
	return 0
}

// why says why a revision is not sent, "" if it is.
func (c *choice) why(ctx context.Context, rev *drover.Revision) (string, error) {
	switch {
	case !c.routed, c.alone && !c.missing[revision.Spellings(c.feed.Source, rev.AlertID)[0]]:
		return unrouted, nil
	case !c.s.Revisions.Takes(rev):
		return passedOver, nil
	case c.s.Revisions == revision.Settled:
		next, err := c.next(ctx, rev)
		if err != nil || next == 0 {
			return "", err
		}
		at, err := c.when(ctx, rev.Seq)
		if err != nil {
			return "", err
		}
		then, err := c.when(ctx, next)
		if err == nil && revision.Outrun(at, then) {
			return passedOver, nil
		}
		return "", err
	}
	return "", nil
}

// next returns the state of the same alert that came next, 0 if there is none.
// It goes back from the newest, each naming the one before; a late state that
// is older than the one before it is in nobody's way.
func (c *choice) next(ctx context.Context, rev *drover.Revision) (uint64, error) {
	alert := ledger.AlertHash(rev.AlertID)
	states := c.states[alert]
	if states == nil {
		newest, err := c.s.d.opt.Store.Newest(ctx, c.feed, alert, rev.Created)
		if errors.Is(err, ledger.ErrNotFound) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		states = append(states, newest.Seq)
	}
	for last := states[len(states)-1]; last > rev.Seq && len(states) < maxStates; {
		before, err := c.s.d.opt.Store.Body(ctx, c.feed, last)
		if errors.Is(err, ledger.ErrNotFound) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		last = before.Previous
		states = append(states, last)
	}
	if c.states == nil {
		c.states = make(map[drover.Hash][]uint64)
	}
	c.states[alert] = states
	if i := slices.Index(states, rev.Seq); i > 0 {
		return states[i-1], nil
	}
	return 0, nil
}

// when says when a revision was stored.
func (c *choice) when(ctx context.Context, seq uint64) (drover.Instant, error) {
	for _, run := range c.stored {
		if run.First <= seq && seq <= run.Last {
			return run.At, nil
		}
	}
	list, err := c.s.d.opt.Store.Stored(ctx, c.feed, seq-1, 1)
	if err != nil || len(list) == 0 {
		return drover.NoInstant, err
	}
	return list[0].At, nil
}

// unripe is until when nothing can be decided of a feed: what lies next behind
// its place must be so old.
type unripe struct {
	at  time.Time
	age time.Duration
}

// later notes that a feed has something that is decided at a moment, at an age.
func (s *dest) later(x *feed, at time.Time, age time.Duration) {
	s.mu.Lock()
	s.unripe[x] = unripe{at, age}
	s.ripe = earlier(s.ripe, at)
	s.mu.Unlock()
}

// sooner forgets that: it is looked again.
func (s *dest) sooner(x *feed) {
	s.mu.Lock()
	delete(s.unripe, x)
	s.mu.Unlock()
}

// waits reports whether there is no sense in looking at a feed now. A moment
// farther away than the age comes of a clock that was wrong. The lock is held.
func (s *dest) waits(x *feed, now time.Time) bool {
	u, ok := s.unripe[x]
	return ok && u.at.After(now) && u.at.Sub(now) <= u.age
}

// ripen queues the feeds of which something can be decided now, and says how
// long to wait for the next. The lock is held.
func (s *dest) ripen(now time.Time) time.Duration {
	if len(s.unripe) > 0 && !s.ripe.After(now) {
		s.ripe = time.Time{}
		for x, u := range s.unripe {
			if u.at.After(now) {
				s.ripe = earlier(s.ripe, u.at)
				continue
			}
			delete(s.unripe, x)
			s.mark(x, s.MaxRecords)
		}
	}
	if len(s.unripe) == 0 {
		return time.Minute
	}
	return min(time.Minute, s.ripe.Sub(now))
}

// earlier is the first of two times; the zero time is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// count adds up how many numbers are in runs.
func count(list []drover.Range) (n int) {
	for _, r := range list {
		n += int(r.Last - r.First + 1)
	}
	return n
}
