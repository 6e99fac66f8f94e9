package admin

import (
	"context"
	"fmt"
	"time"

	"drover"
	"drover/internal/ledger"
	"drover/internal/revision"
)

// WaitStatus is what waits before a sink is given it, as it is meant to: it is
// none of what the sink is behind.
type WaitStatus struct {
	For  string `json:"for"` // WaitPrimary or WaitRest
	Rows uint64 `json:"rows"`
	// Next is when the first of them is decided, Until when all of them are.
	Next  drover.Instant `json:"next"`
	Until drover.Instant `json:"until"`
}

// What a revision waits for.
const (
	WaitPrimary = "primary_source" // its tenant's primary source may show the alert yet
	WaitRest    = "rest"           // the sink is given settled states only
)

// patience is what revisions of a tenant's source wait for at a sink, and how
// long each does; it is what deliver goes by.
func (l *Local) patience(t drover.Tenant, from drover.SourceID, to drover.SinkID) (why string, wait time.Duration) {
	goes := func(s drover.SourceID) bool { return l.Routed == nil || l.Routed(t, s, to) }
	switch {
	case t.State != drover.Active:
	case !goes(from) && t.Secondary(from) && goes(t.Primary()):
		return WaitPrimary, revision.Unseen
	case goes(from) && l.Revisions[to] == revision.Settled:
		return WaitRest, revision.Quiet
	}
	return "", 0
}

// waitSlice is how many revisions it is asked of at once when they were stored.
const waitSlice = 4096

// waiting finds what of a feed waits behind a place: from the first revision on
// that is too young, for a place passes none over. It reads the index of blocks
// alone.
func (l *Local) waiting(ctx context.Context, p ledger.Place, wait time.Duration, now drover.Instant) (w WaitStatus, err error) {
	for seq := p.Seq; seq < p.Head; {
		runs, err := l.Store.Stored(ctx, p.Feed, seq, waitSlice)
		if err != nil {
			return w, fmt.Errorf("look when revisions of %s were stored: %w", p.Feed, err)
		}
		for _, r := range runs {
			if age := now.Sub(r.At); age < 0 || age >= wait {
				continue
			}
			first := max(r.First, p.Seq+1)
			w.Rows = p.Head - first + 1
			for _, done := range p.Beyond {
				if done >= first {
					w.Rows--
				}
			}
			w.Next, w.Until = r.At.Add(wait), r.At.Add(wait)
			if last, err := l.Store.Stored(ctx, p.Feed, p.Head-1, 1); err != nil {
				return w, fmt.Errorf("look when revisions of %s were stored: %w", p.Feed, err)
			} else if n := len(last); n > 0 {
				w.Until = max(w.Until, last[n-1].At.Add(wait))
			}
			return w, nil
		}
		if len(runs) == 0 || runs[len(runs)-1].Last <= seq {
			return w, nil // the bodies are gone
		}
		seq = runs[len(runs)-1].Last
	}
	return w, nil
}

// wait counts apart what of a place waits.
func (s *SinkStatus) wait(why string, w WaitStatus) {
	s.Behind -= w.Rows
	for i := range s.Waiting {
		if x := &s.Waiting[i]; x.For == why {
			x.Rows, x.Next, x.Until = x.Rows+w.Rows, min(x.Next, w.Next), max(x.Until, w.Until)
			return
		}
	}
	w.For = why
	s.Waiting = append(s.Waiting, w)
}

// Owed is how many revisions the sink has not been given yet, whether it is
// behind with them or they wait.
func (s *SinkStatus) Owed() uint64 {
	n := s.Behind
	for _, w := range s.Waiting {
		n += w.Rows
	}
	return n
}
