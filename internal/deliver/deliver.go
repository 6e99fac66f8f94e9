// Package deliver brings what is in the ledger to the sinks: it reads behind
// each sink's place, routes, encodes, fixes a batch, sends it, and settles
// place and outcome in one transaction.
//
// It promises (design §3, §6; reference faults-and-invariants D, I5, I9, I20):
//
//   - A place passes a revision only when the sink has taken it, refused it for
//     good (it is set aside), no route leads there, or the sink is not given
//     such revisions (both are counted).
//   - In order per feed and sink. A retry sends exactly the records of the
//     batch that failed, less those that were taken; new ones never join it.
//   - At a sink that can be asked (drover.Asker) nothing is sent again before
//     the sink was asked what it has, after a crash too.
//   - A dead, slow or refusing sink delays nobody else, and a lane of it that
//     is refused, or has much to send, does not stop its other lanes.
//   - A sink that is to be told what it was given gets manifests, behind what
//     they are about; they delay no alert and change the order of none.
//   - Bodies are in memory only while they are sent: what a sink does not take
//     is read again for the next try.
package deliver

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"drover"
	"drover/internal/format"
	"drover/internal/ledger"
	"drover/internal/revision"
)

// Store is what deliver needs of the ledger.
type Store interface {
	ledger.Delivering
	Newest(ctx context.Context, f drover.Feed, alert drover.Hash, created drover.Instant) (ledger.Key, error)
	Body(ctx context.Context, f drover.Feed, seq uint64) (drover.Revision, error)
	Keys(ctx context.Context, f drover.Feed, span drover.Span, withUnknown bool) ([]ledger.Key, error)
	ledger.Vouching
	SetAside(ctx context.Context, f ledger.AsideFilter) ([]ledger.Aside, error)
	Gaps(ctx context.Context, f ledger.GapFilter) ([]drover.Gap, error)
	Identity() ledger.Identity
	ListTenants(ctx context.Context) ([]drover.Tenant, error)
	Generation(ctx context.Context) (uint64, error)
}

// Routes decides which sinks a tenant's revisions go to.
type Routes interface {
	// Routed reports whether what a source tells of t goes to a sink.
	Routed(t drover.Tenant, from drover.SourceID, to drover.SinkID) bool
	// Generation names this set of routes; what was not routed is counted
	// under it.
	Generation() uint64
}

// Destination is a sink with how its batches are made.
type Destination struct {
	ID         drover.SinkID
	Sink       drover.Sink
	Format     format.Encoder
	MaxRecords int             // per batch, 500 by default
	MaxBytes   int             // of encoded records per batch, 1 MB by default
	MaxAge     time.Duration   // how long a record waits for others, 1 s by default
	Lanes      int             // lanes that send at the same time, 4 by default
	FromAll    bool            // a new sink begins with all that is kept
	Revisions  revision.Choice // which it is given; none means all
	Manifests  bool            // it is told every hour what it was given; Format must be JSON
}

// Options of a Deliverer. Store, Sinks and Routes are required.
type Options struct {
	Store  Store
	Sinks  []Destination
	Routes Routes
	Scan   time.Duration // full look for work, whatever the hints say; 1 min by default
	Seed   uint64        // of the jitter; 0 draws one
	Log    *slog.Logger
	// Notify is told of what happens. It must not block. May be nil.
	Notify func(Event)
}

// Event is one thing that happened at a sink.
type Event struct {
	Sink drover.SinkID
	Lane string
	What string // taken, refused, unrouted, passed_over, discarded, told, failed, parked, freed
	N    int
	Err  error
}

// Deliverer serves all sinks. New starts nothing; Run lives.
type Deliverer struct {
	opt   Options
	log   *slog.Logger
	dests []*dest

	mu  sync.Mutex
	rng *rand.Rand
}

// New checks the options and returns a Deliverer.
func New(opt Options) (*Deliverer, error) {
	if opt.Store == nil || opt.Routes == nil {
		return nil, fmt.Errorf("deliver needs a store and routes")
	}
	if opt.Scan <= 0 {
		opt.Scan = time.Minute
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Seed == 0 {
		opt.Seed = rand.Uint64()
	}
	d := &Deliverer{opt: opt, log: opt.Log, rng: rand.New(rand.NewPCG(opt.Seed, 2))}
	for _, s := range opt.Sinks {
		if s.ID == "" || s.Sink == nil || s.Format == nil {
			return nil, fmt.Errorf("a sink needs an ID, an adapter and a format")
		}
		if s.MaxRecords <= 0 {
			s.MaxRecords = 500
		}
		if s.MaxBytes <= 0 {
			s.MaxBytes = 1_000_000
		}
		if s.MaxAge <= 0 {
			s.MaxAge = time.Second
		}
		if s.Lanes <= 0 {
			s.Lanes = 4
		}
		d.dests = append(d.dests, newDest(d, s))
	}
	return d, nil
}

// tenantCheck is how often the list of tenants is compared with the ledger's.
const tenantCheck = 2 * time.Second

// Run delivers until ctx ends, which returns nil, or a promise of our own is
// broken, which returns the error. Batches under way are finished or given up
// as their sinks obey ctx.
func (d *Deliverer) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	sinks := make([]ledger.SinkPlace, 0, len(d.dests))
	for _, s := range d.dests {
		sinks = append(sinks, ledger.SinkPlace{Sink: s.ID, FromAll: s.FromAll})
	}
	if err := d.opt.Store.Sinks(ctx, sinks); err != nil {
		return fmt.Errorf("make the sinks known: %w", err)
	}
	var wg sync.WaitGroup
	for _, s := range d.dests {
		wg.Go(func() {
			if err := s.run(ctx); err != nil && ctx.Err() == nil {
				stop(fmt.Errorf("sink %s: %w", s.ID, err))
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil && drover.KindOf(err) == drover.Broken {
		return err
	}
	return nil
}

// Hint says that a feed has n new revisions. It only saves waiting for the
// next scan. It does not block.
func (d *Deliverer) Hint(f drover.Feed, n int) {
	for _, s := range d.dests {
		s.hint(f, n)
	}
}

func (d *Deliverer) notify(e Event) {
	if d.opt.Notify != nil {
		d.opt.Notify(e)
	}
}

// random returns a duration in [0, limit).
func (d *Deliverer) random(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Duration(d.rng.Int64N(int64(limit)))
}
