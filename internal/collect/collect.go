// Package collect brings revisions from the tenants' APIs into the ledger. It
// decides which feed is read when, and over which span of change time; what
// becomes of a row; and what happens when a read fails.
//
// It promises (design §5; reference faults-and-invariants P, I1, I7, I8):
//
//   - The cursor of a feed moves only together with the rows below it, and
//     only as far as every row below is in the ledger or in an open gap.
//   - Every read reaches back by the overlap, and sweeps read deeper, so that
//     a row that becomes visible after the time it carries is found.
//   - Nothing holds the tail: what cannot be read becomes an open gap after a
//     bounded number of tries, and is tried again beside the tail.
//   - One tenant's trouble stays that tenant's. Only a broken promise of our
//     own stops the process.
package collect

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"drover"
	"drover/internal/ledger"
)

// Store is what collect needs of the ledger.
type Store interface {
	ledger.Reading
	ListTenants(ctx context.Context) ([]drover.Tenant, error)
	Generation(ctx context.Context) (uint64, error)
	Flush(ctx context.Context, whole map[drover.Feed]drover.Instant) error
	Backfills(ctx context.Context, f ledger.BackfillFilter) ([]ledger.Backfill, error)
	Counts(ctx context.Context, tenant drover.TenantID) ([]ledger.DayCount, error)
	Walk(ctx context.Context, f drover.Feed, seq uint64, maxRows, maxBytes int, visit func(*drover.Revision)) error
}

// Compare tells revisions apart; internal/revision is the one used.
type Compare interface {
	// Same reports whether two bodies mean the same.
	Same(src drover.SourceID, a, b []byte) bool
	// Diff lists the members that differ, and whether it is only the change time.
	Diff(src drover.SourceID, old, new []byte) (paths []string, touch bool)
}

// Sweep is a re-read of the recent past.
type Sweep struct {
	Depth time.Duration // how far back from the server's now
	Every time.Duration
}

// DefaultSweeps are those of design §5: rows up to 7 days late are found.
var DefaultSweeps = []Sweep{
	{2 * time.Hour, 15 * time.Minute},
	{48 * time.Hour, 6 * time.Hour},
	{7 * 24 * time.Hour, 24 * time.Hour},
}

// Options of a Collector. Store, Sources and Compare are required.
type Options struct {
	Store       Store
	Sources     []drover.Source
	Compare     Compare
	Interval    time.Duration // between reads of a feed's tail, 60 s by default; a quarter of it after new rows, up to twice it where nothing happens
	Steady      bool          // the interval is kept to, whatever happens
	Overlap     time.Duration // how far each read reaches back, 15 min by default
	Sweeps      []Sweep       // DefaultSweeps if nil
	Concurrency int           // feeds read at the same time, 16 by default
	// Product names the product that an alert is one of, "" if none; nil: none is
	// told apart. It keeps nothing of row.
	Product     func(s drover.SourceID, alertID string, row []byte) string
	FlushEvery  time.Duration // how often the time of the last whole read is stored, 10 min by default
	TenantCheck time.Duration // how often the list of tenants is compared with the ledger's, 2 s by default
	Seed        uint64        // of the jitter; 0 draws one
	// Only limits which tenants are read; nil: all that are active.
	Only func(t drover.Tenant) bool
	// Allowance is how many requests a minute a tenant's source may get; 0, or
	// no function: as many as it takes.
	Allowance func(t drover.Tenant, s drover.SourceID) int
	// Hourly is the same for an hour, where an API has a limit of that kind too.
	Hourly func(t drover.Tenant, s drover.SourceID) int
	Log    *slog.Logger
	// Notify is told of what happens, for progress and metrics. It must not
	// block. May be nil.
	Notify func(Event)
}

// Event is one thing that happened to a feed.
type Event struct {
	Feed drover.Feed
	What string // read, commit, late, foreign, unstable, absent, skew, gap_opened, gap_closed, backfilled, failed, parked, freed, incident, incident_over,
	// lateness, lateness_over, silent, heard, source_silent, source_heard
	N    int
	Late time.Duration // for late: how late the row was
	Skew time.Duration // for skew: how far the server's clock is ahead of ours
	Err  error
}

// Collector reads all feeds. New starts nothing; Run lives.
type Collector struct {
	opt     Options
	sources map[drover.SourceID]drover.Source
	log     *slog.Logger
	queue   *queue
	board   *board
	skewed  atomic.Bool // it has been said that clocks differ

	mu      sync.Mutex
	rng     *rand.Rand
	readers map[drover.Feed]*reader
	// backfills are the open ones that were seen last.
	backfills map[drover.Feed][]int64

	learntRows atomic.Int64 // whose products were looked at to learn what is usual

	crowdsMu sync.Mutex
	crowds   map[part]*crowd
}

// New checks the options and returns a Collector.
func New(opt Options) (*Collector, error) {
	if opt.Store == nil || opt.Compare == nil || len(opt.Sources) == 0 {
		return nil, fmt.Errorf("collect needs a store, a comparison and at least one source")
	}
	setDefault(&opt.Interval, time.Minute)
	setDefault(&opt.Overlap, 15*time.Minute)
	setDefault(&opt.FlushEvery, 10*time.Minute)
	setDefault(&opt.TenantCheck, 2*time.Second)
	if opt.Concurrency <= 0 {
		opt.Concurrency = 16
	}
	if opt.Sweeps == nil {
		opt.Sweeps = DefaultSweeps
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Seed == 0 {
		opt.Seed = rand.Uint64()
	}
	c := &Collector{
		opt:     opt,
		sources: make(map[drover.SourceID]drover.Source, len(opt.Sources)),
		log:     opt.Log,
		queue:   newQueue(),
		rng:     rand.New(rand.NewPCG(opt.Seed, 1)),
		readers: make(map[drover.Feed]*reader),
		crowds:  make(map[part]*crowd),
	}
	for _, s := range opt.Sources {
		c.sources[s.ID()] = s
	}
	c.board = newBoard(c)
	return c, nil
}

func setDefault(d *time.Duration, v time.Duration) {
	if *d <= 0 {
		*d = v
	}
}

// Mended has an app's tenants be read again at once, if an incident of the app's
// own holds them: what was wrong has been mended.
func (c *Collector) Mended(app string) { c.board.mended(app) }

// Run reads until ctx ends, which returns nil, or a promise of our own is
// broken, which returns the error.
func (c *Collector) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var generation uint64
	if err := c.sync(ctx, &generation); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("list tenants: %w", err)
	}
	var wg sync.WaitGroup
	for range c.opt.Concurrency {
		wg.Go(func() { c.work(ctx, stop) })
	}
	wg.Go(func() { c.queue.tick(ctx) })

	check, flush, silence := time.NewTicker(c.opt.TenantCheck), time.NewTicker(c.opt.FlushEvery), time.NewTicker(silenceEvery)
	defer silence.Stop()
	defer check.Stop()
	defer flush.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-check.C:
			if err := c.sync(ctx, &generation); err != nil && ctx.Err() == nil {
				c.log.Warn("list tenants", "err", err)
			}
		case <-flush.C:
			c.flush(ctx)
		case <-silence.C:
			c.checkSilence()
		}
	}
	c.queue.close()
	wg.Wait()
	if err := context.Cause(ctx); err != nil && drover.KindOf(err) == drover.Broken {
		return err
	}
	// What was read whole is kept over an orderly stop.
	c.flush(context.WithoutCancel(ctx))
	return nil
}

// work takes feeds that are due and gives each one turn.
func (c *Collector) work(ctx context.Context, stop context.CancelCauseFunc) {
	for {
		r := c.queue.next(ctx)
		if r == nil {
			return
		}
		next, err := r.turn(ctx)
		if err != nil {
			if ctx.Err() == nil {
				stop(err)
			}
			return
		}
		c.queue.put(r, next)
	}
}

// sync makes the set of readers that of the ledger's tenants.
func (c *Collector) sync(ctx context.Context, seen *uint64) error {
	generation, err := c.opt.Store.Generation(ctx)
	if err != nil || generation == *seen {
		return err
	}
	tenants, err := c.opt.Store.ListTenants(ctx)
	if err != nil {
		return err
	}
	open, err := c.opt.Store.Backfills(ctx, ledger.BackfillFilter{State: ledger.BackfillOpen})
	if err != nil {
		return err
	}
	*seen = generation
	wanted := make(map[drover.Feed]*drover.Tenant)
	for i := range tenants {
		t := &tenants[i]
		if t.State != drover.Active || c.opt.Only != nil && !c.opt.Only(*t) {
			continue
		}
		for _, s := range t.Sources {
			if c.sources[s] != nil {
				wanted[drover.Feed{Tenant: t.ID, Source: s}] = t
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for f, r := range c.readers {
		if _, ok := wanted[f]; !ok {
			c.queue.remove(r)
			delete(c.readers, f)
		}
	}
	c.tellBackfills(open)
	var fresh []*reader
	for f, t := range wanted {
		if r := c.readers[f]; r != nil {
			r.tenant.Store(t)
			continue
		}
		r := newReader(c, f, t)
		c.readers[f] = r
		fresh = append(fresh, r)
	}
	// A start with many tenants is spread, so that there is no herd: fifty
	// feeds a second, or over one interval if that is faster.
	spread := min(c.opt.Interval, time.Duration(len(fresh))*20*time.Millisecond)
	for _, r := range fresh {
		c.queue.put(r, time.Now().Add(c.randomLocked(spread)))
	}
	return nil
}

// tellBackfills tells the feeds whose open backfills are others than before.
func (c *Collector) tellBackfills(open []ledger.Backfill) {
	now := make(map[drover.Feed][]int64)
	for i := range open {
		now[open[i].Feed] = append(now[open[i].Feed], open[i].ID)
	}
	for f, r := range c.readers {
		if !slices.Equal(now[f], c.backfills[f]) {
			r.asked.Store(true)
			c.queue.hasten(r, time.Now())
		}
	}
	c.backfills = now
}

// flush stores, for all feeds together, when they were last read whole.
func (c *Collector) flush(ctx context.Context) {
	whole := make(map[drover.Feed]drover.Instant)
	c.mu.Lock()
	for f, r := range c.readers {
		if w := r.unstored.Swap(int64(drover.NoInstant)); w != int64(drover.NoInstant) {
			whole[f] = drover.Instant(w)
		}
	}
	c.mu.Unlock()
	if len(whole) == 0 {
		return
	}
	if err := c.opt.Store.Flush(ctx, whole); err != nil {
		c.log.Warn("store when feeds were last read", "err", err)
	}
}

// Whole returns when feeds were last read whole, for those of which the ledger
// does not know yet: an empty read writes nothing.
func (c *Collector) Whole() map[drover.Feed]drover.Instant {
	c.mu.Lock()
	defer c.mu.Unlock()
	whole := make(map[drover.Feed]drover.Instant)
	for f, r := range c.readers {
		if w := drover.Instant(r.unstored.Load()); w.Known() {
			whole[f] = w
		}
	}
	return whole
}

// Skew returns how far the APIs' clocks are ahead of ours, by the last answer
// of each feed that told the time. Their Date counts whole seconds.
func (c *Collector) Skew() map[drover.Feed]time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	skew := make(map[drover.Feed]time.Duration)
	for f, r := range c.readers {
		if d := r.skew.Load(); d != noSkew {
			skew[f] = time.Duration(d)
		}
	}
	return skew
}

// random returns a duration in [0, d).
func (c *Collector) random(d time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.randomLocked(d)
}

func (c *Collector) randomLocked(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(c.rng.Int64N(int64(d)))
}

func (c *Collector) notify(e Event) {
	if c.opt.Notify != nil {
		c.opt.Notify(e)
	}
}
