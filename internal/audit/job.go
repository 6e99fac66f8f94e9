package audit

import (
	"context"
	"fmt"
	"sync"
	"time"

	"drover"
)

// job is one run of an Auditor: its feeds side by side.
type job struct {
	a     *Auditor
	turns chan struct{} // one for each feed that works
	feeds []*feed

	mu       sync.Mutex
	start    time.Time
	done     int
	resting  int // that wait before they look at the ledger again
	requests int
	about    int           // requests that are expected
	rows     int           // that have been read
	expect   int           // rows, about, by the ledger
	sum      time.Duration // that all of them take, about, one after another
	longest  time.Duration // that one takes at most
	last     string        // what was said last of a feed
}

const (
	// atOnce is how many feeds are read or compared at once: most of the time they
	// wait for an answer or for the pace of their API.
	atOnce = 12
	// maxBegun is how many are under way, with those that wait to look at the
	// ledger again. Each holds about half a kilobyte for each of its rows.
	maxBegun = 40
)

// run audits feeds. The first error of one ends all.
func (j *job) run(ctx context.Context, feeds []*feed) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	j.start, j.feeds = time.Now(), feeds
	if err := j.estimate(ctx); err != nil {
		return err
	}
	defer j.tellOften(ctx)()
	j.turns = make(chan struct{}, atOnce)
	begun := make(chan struct{}, maxBegun)
	var wg sync.WaitGroup
	for _, f := range feeds {
		select {
		case begun <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-begun }()
			if err := j.one(ctx, f); err != nil {
				stop(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (j *job) one(ctx context.Context, f *feed) error {
	if err := j.turn(ctx); err != nil {
		return err
	}
	defer func() { <-j.turns }()
	if err := f.run(ctx); err != nil {
		return err
	}
	j.mu.Lock()
	j.done++
	j.mu.Unlock()
	j.say(fmt.Sprintf("%s %s has been compared", f.Name, f.Feed.Source))
	return nil
}

func (j *job) turn(ctx context.Context) error {
	select {
	case j.turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// rest waits and lets others work meanwhile.
func (j *job) rest(ctx context.Context, d time.Duration) error {
	j.mu.Lock()
	j.resting++
	j.mu.Unlock()
	j.say("differences are looked at again")
	<-j.turns
	err := sleep(ctx, d)
	j.turns <- struct{}{} // whoever has it works, and ends with ctx
	j.mu.Lock()
	j.resting--
	j.mu.Unlock()
	return err
}

// estimate says what is to be done at most, by the ledger's daily counts: what
// was created in the window was stored since it began.
func (j *job) estimate(ctx context.Context) error {
	tenants, counts := make(map[drover.TenantID]bool), make(map[drover.SourceID]int64)
	for _, f := range j.feeds {
		if !tenants[f.tenant.ID] {
			tenants[f.tenant.ID] = true
			clear(counts)
			days, err := j.a.opt.Store.Counts(ctx, f.tenant.ID)
			if err != nil {
				return fmt.Errorf("read daily counts: %w", err)
			}
			since := f.order.From.Time().UTC().Format(time.DateOnly)
			for _, d := range days {
				if d.Sink == "" && d.What == "revisions" && d.Day >= since {
					counts[d.Source] += d.N
				}
			}
		}
		if f.src = sources[f.Feed.Source]; f.src != nil {
			j.expects(f, int(min(uint64(max(counts[f.Feed.Source], 0)), f.state.Head)))
		}
	}
	j.say("begins")
	return nil
}

// expects notes how many rows a feed is expected to have, in place of what was
// noted before.
func (j *job) expects(f *feed, rows int) {
	requests := f.src.requests(rows, f.order.To.Sub(f.order.From))
	lasts := f.a.opt.Paces.of(f.tenant, f.Feed.Source).lasts(requests)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.expect += rows - f.expect
	j.about += requests - f.requests
	j.sum += lasts - f.lasts
	f.expect, f.requests, f.lasts = rows, requests, lasts
	j.longest = 0
	for _, o := range j.feeds {
		j.longest = max(j.longest, o.lasts)
	}
}

// asked counts a request.
func (j *job) asked() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.requests++
}

// read counts rows, and says how far a feed has been read.
func (j *job) read(l *listing, fresh int, back drover.Instant) {
	j.mu.Lock()
	j.rows += fresh
	j.mu.Unlock()
	if back.Known() {
		j.say(fmt.Sprintf("%s %s back to %s", l.tenant.Name, l.src.id, back.Time().UTC().Format("2006-01-02 15:04Z")))
	}
}

// sayEvery is how often it is told how far the whole is while nothing happens.
const sayEvery = 10 * time.Second

// tellOften tells how far the whole is until it is stopped.
func (j *job) tellOften(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for sleep(ctx, sayEvery) == nil {
			j.say("")
		}
	})
	return func() { cancel(); wg.Wait() }
}

// say tells how far the whole is, and what has just been done.
func (j *job) say(what string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if what != "" {
		j.last = what
	}
	line := fmt.Sprintf("%d of %d feeds, %d of about %d rows, %d of about %d requests, %s of about %s", j.done, len(j.feeds), j.rows, j.expect, j.requests, j.about, time.Since(j.start).Round(time.Second), max(j.longest, j.sum/atOnce).Round(time.Second))
	if j.resting > 0 {
		line += fmt.Sprintf("; %d wait for up to %s to look at the ledger again", j.resting, polls*j.a.opt.Wait)
	}
	j.a.opt.Progress(line + "; " + j.last)
}
