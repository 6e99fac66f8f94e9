package deliver

import (
	"context"
	"fmt"
	"sync"
	"time"

	"drover"
	"drover/internal/ledger"
)

// dest is one sink with its lanes.
type dest struct {
	Destination
	d *Deliverer

	mu         sync.Mutex
	generation uint64
	feeds      map[drover.Feed]*feed
	lanes      map[string]*lane
	hot        map[*lane]struct{} // lanes that have, or may have, something to do
	running    int                // lanes that have a goroutine now
	wake       chan struct{}      // something may have become due
}

// feed is one feed as this sink sees it. Its lane owns place and tenant while
// it runs.
type feed struct {
	drover.Feed
	tenant  drover.Tenant
	lane    *lane
	place   ledger.Place
	pending bool // there may be revisions behind the place
	removed bool // the tenant is gone
}

func newDest(d *Deliverer, s Destination) *dest {
	return &dest{Destination: s, d: d, feeds: make(map[drover.Feed]*feed), lanes: make(map[string]*lane),
		hot: make(map[*lane]struct{}), wake: make(chan struct{}, 1)}
}

// run starts lanes as they become due.
func (s *dest) run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	broken := make(chan error, 1)
	timer := time.NewTimer(0)
	defer timer.Stop()
	check, scan := time.NewTicker(tenantCheck), time.NewTicker(s.d.opt.Scan)
	defer check.Stop()
	defer scan.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-broken:
			return err
		case <-s.wake:
		case <-timer.C:
		case <-check.C:
			if err := s.load(ctx, false); err != nil && ctx.Err() == nil {
				return err
			}
		case <-scan.C:
			if err := s.load(ctx, true); err != nil && ctx.Err() == nil {
				return err
			}
		}
		due, wait := s.due(time.Now())
		for _, l := range due {
			wg.Go(func() {
				err := l.run(ctx)
				s.ended(l)
				if err != nil {
					select {
					case broken <- err:
					default:
					}
				}
			})
		}
		timer.Reset(wait)
	}
}

// due takes the lanes that may run now, and says how long to wait for the
// next.
func (s *dest) due(now time.Time) (due []*lane, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait = time.Minute
	for l := range s.hot {
		if l.running {
			continue
		}
		if l.current == nil && len(l.queue) == 0 {
			delete(s.hot, l)
			continue
		}
		at := l.notBefore
		if l.current == nil && l.waiting < s.MaxRecords {
			if ripe := l.since.Add(s.MaxAge); ripe.After(at) {
				at = ripe
			}
		}
		if at.After(now) {
			wait = min(wait, at.Sub(now))
			continue
		}
		if s.running >= s.Lanes {
			continue // an ending lane wakes us
		}
		s.running++
		l.running = true
		due = append(due, l)
	}
	return due, wait
}

// ended gives a lane's place back.
func (s *dest) ended(l *lane) {
	s.mu.Lock()
	s.running--
	l.running = false
	s.mu.Unlock()
	s.nudge()
}

func (s *dest) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// hint marks a feed as having n new revisions.
func (s *dest) hint(f drover.Feed, n int) {
	s.mu.Lock()
	x := s.feeds[f]
	if x == nil {
		s.mu.Unlock()
		return // a tenant that is not loaded yet; the next check finds it
	}
	s.mark(x, n)
	s.mu.Unlock()
	s.nudge()
}

// mark notes that a feed is pending. The lock is held.
func (s *dest) mark(x *feed, n int) {
	l := x.lane
	s.hot[l] = struct{}{}
	if l.waiting == 0 {
		l.since = time.Now()
	}
	l.waiting += n
	if !x.pending {
		x.pending = true
		l.queue = append(l.queue, x)
	}
}

// load brings feeds and places up to date: always when tenants changed, and in
// a scan to find what no hint told of.
func (s *dest) load(ctx context.Context, scan bool) error {
	generation, err := s.d.opt.Store.Generation(ctx)
	if err != nil {
		return passing(err)
	}
	s.mu.Lock()
	same := generation == s.generation
	s.mu.Unlock()
	if same && !scan {
		return nil
	}
	tenants, err := s.d.opt.Store.ListTenants(ctx)
	if err != nil {
		return passing(err)
	}
	places, err := s.d.opt.Store.Places(ctx, s.ID)
	if err != nil {
		return passing(err)
	}
	byID := make(map[drover.TenantID]drover.Tenant, len(tenants))
	for _, t := range tenants {
		byID[t.ID] = t
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation = generation
	for _, p := range places {
		t, ok := byID[p.Feed.Tenant]
		if !ok || t.State == drover.Removed {
			if x := s.feeds[p.Feed]; x != nil {
				x.removed = true
				delete(s.feeds, p.Feed)
			}
			continue
		}
		x := s.feeds[p.Feed]
		if x == nil {
			l := s.lane(s.Sink.Lane(t))
			x = &feed{Feed: p.Feed, tenant: t, lane: l, place: p}
			s.feeds[p.Feed] = x
		}
		if !x.lane.running {
			x.tenant = t
			if p.Seq > x.place.Seq { // moved by someone else: a bound on what a sink holds back
				x.place = p
			}
		}
		if p.Head > p.Seq+uint64(len(p.Beyond)) && !x.pending {
			s.mark(x, int(min(p.Head-p.Seq, uint64(s.MaxRecords))))
		}
	}
	return nil
}

// lane returns the lane of that name. The lock is held.
func (s *dest) lane(name string) *lane {
	l := s.lanes[name]
	if l == nil {
		l = &lane{s: s, name: name}
		s.lanes[name] = l
	}
	return l
}

// passing lets only a broken promise end the process; anything else is tried
// again with the next check.
func passing(err error) error {
	if drover.KindOf(err) == drover.Broken {
		return err
	}
	return nil
}

// recover asks the sink what it has of the attempts that an earlier process
// left open, settles that, and keeps the rest as each lane's next batch.
func (s *dest) recover(ctx context.Context) error {
	if err := s.load(ctx, true); err != nil {
		return err
	}
	attempts, err := s.d.opt.Store.Attempts(ctx, s.ID)
	if err != nil {
		return fmt.Errorf("read open attempts: %w", err)
	}
	for _, a := range attempts {
		s.mu.Lock()
		l := s.lane(a.Lane)
		s.hot[l] = struct{}{}
		s.mu.Unlock()
		b, err := l.rebuild(ctx, a)
		if err != nil {
			return fmt.Errorf("read the batch that was under way: %w", err)
		}
		b.unclear = true
		l.current = b
	}
	return nil
}
