package deliver

import (
	"context"
	"fmt"
	"slices"
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
	listed     bool // tenants have been read once
	feeds      map[drover.Feed]*feed
	lanes      map[string]*lane
	hot        map[*lane]struct{} // lanes that have, or may have, something to do
	unripe     map[*feed]unripe   // of which something can be decided that is too young now
	ripe       time.Time          // no later than the first of these: they may be as many as feeds, and are looked through only then
	running    int                // lanes that have a goroutine now
	waiting    bool               // a lane is due and all goroutines are taken
	wake       chan struct{}      // something may have become due
}

// feed is one feed as this sink sees it. Its lane owns the place while it runs.
type feed struct {
	drover.Feed
	tenant  *drover.Tenant // never changed, only replaced
	lane    *lane
	want    string // the lane where the tenant's records belong now
	place   ledger.Place
	pending bool // there may be revisions behind the place
	removed bool // the tenant is gone
	vouching
}

func newDest(d *Deliverer, s Destination) *dest {
	return &dest{Destination: s, d: d, feeds: make(map[drover.Feed]*feed), lanes: make(map[string]*lane),
		hot: make(map[*lane]struct{}), unripe: make(map[*feed]unripe), wake: make(chan struct{}, 1)}
}

// run starts lanes as they become due.
func (s *dest) run(ctx context.Context) error {
	if err := s.recover(ctx); err != nil {
		return err
	}
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
			if err := passing(s.load(ctx, false)); err != nil {
				return err
			}
			s.markOwing(time.Now())
		case <-scan.C:
			if err := passing(s.load(ctx, true)); err != nil {
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

// due takes the lanes that may run now, those that wait longest first, and says
// how long to wait for the next.
func (s *dest) due(now time.Time) (due []*lane, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait = s.ripen(now)
	for l := range s.hot {
		if l.running {
			continue
		}
		if !l.busy() && len(l.queue) == 0 && len(l.owing) == 0 {
			delete(s.hot, l)
			continue
		}
		if at := l.dueAt(); at.After(now) {
			wait = min(wait, at.Sub(now))
			continue
		}
		due = append(due, l)
	}
	free := max(s.Lanes-s.running, 0)
	if free > 0 {
		slices.SortFunc(due, func(a, b *lane) int { return a.dueAt().Compare(b.dueAt()) })
	}
	if s.waiting = len(due) > free; s.waiting {
		due = due[:free] // an ending lane wakes us
	}
	for _, l := range due {
		s.running++
		l.running = true
	}
	return due, wait
}

// dueAt is when a lane may run: after the pause that an error asks for, and
// when there is enough to send or it has waited long enough. The sink's lock is
// held.
func (l *lane) dueAt() time.Time {
	at := l.notBefore
	if l.busy() || len(l.owing) > 0 {
		return at
	}
	ripe := l.since
	if l.waiting < l.s.MaxRecords {
		ripe = ripe.Add(l.s.MaxAge)
	}
	if ripe.After(at) {
		return ripe
	}
	return at
}

// crowded reports whether a lane waits for another to end.
func (s *dest) crowded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting
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
	if s.waits(x, time.Now()) {
		s.mu.Unlock()
		return
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

// move makes a feed another lane's. No batch under way holds anything of it, or
// the batch is that lane's. The lock is held.
func (s *dest) move(x *feed, name string) {
	old := x.lane
	old.queue = slices.DeleteFunc(old.queue, func(y *feed) bool { return y == x })
	x.lane, x.pending = s.lane(name), false
	s.mark(x, s.MaxRecords)
	s.nudge()
}

// load brings feeds and places up to date: always when tenants changed, and in
// a scan to find what no hint told of.
func (s *dest) load(ctx context.Context, scan bool) error {
	generation, err := s.d.opt.Store.Generation(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	same := s.listed && generation == s.generation
	s.mu.Unlock()
	if same && !scan {
		return nil
	}
	var byID map[drover.TenantID]*drover.Tenant
	if !same {
		tenants, err := s.d.opt.Store.ListTenants(ctx)
		if err != nil {
			return err
		}
		byID = make(map[drover.TenantID]*drover.Tenant, len(tenants))
		for i := range tenants {
			byID[tenants[i].ID] = &tenants[i]
		}
	}
	if s.Manifests { // before anything of a feed that is new here is sent
		if err := s.d.opt.Store.Vouch(ctx, s.ID); err != nil {
			return err
		}
	}
	places, err := s.d.opt.Store.Places(ctx, s.ID)
	if err != nil {
		return err
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation, s.listed = generation, true
	for i := range places {
		p, x := &places[i], s.feeds[places[i].Feed]
		if !same {
			x = s.belongs(x, p, byID[p.Feed.Tenant])
		}
		if x == nil {
			continue // of a tenant that was removed
		}
		if !x.lane.running && p.Seq > x.place.Seq { // moved by someone else: a bound on what a sink holds back
			x.place = *p
			delete(s.unripe, x)
		}
		if p.Head > p.Seq+uint64(len(p.Beyond)) && !x.pending && !(same && s.waits(x, now)) {
			s.mark(x, int(min(p.Head-p.Seq, uint64(s.MaxRecords))))
		}
	}
	return nil
}

// belongs brings a feed up to date with its tenant; nil if that is gone. The
// lock is held.
func (s *dest) belongs(x *feed, p *ledger.Place, t *drover.Tenant) *feed {
	if t == nil || t.State == drover.Removed {
		if x != nil {
			x.removed = true
			delete(s.feeds, p.Feed)
		}
		return nil
	}
	want := s.lane(s.Sink.Lane(*t))
	if x == nil {
		x = &feed{Feed: p.Feed, lane: want, place: *p}
		s.feeds[p.Feed] = x
	}
	x.tenant, x.want = t, want.name
	return x
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

// recover loads everything and takes up the attempts that an earlier process
// left open: each is its lane's next batch, about which the sink is asked
// first. A feed that belongs to another lane by now stays with the attempt's
// until that is closed.
func (s *dest) recover(ctx context.Context) error {
	attempts, err := s.begin(ctx)
	for err != nil {
		if passing(err) != nil {
			return err
		}
		s.d.log.Warn("the places of a sink cannot be read", "sink", s.ID, "again_in", firstPause, "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(firstPause):
		}
		attempts, err = s.begin(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range attempts {
		l := s.lane(a.Lane)
		s.hot[l] = struct{}{}
		l.held = &held{ranges: a.Ranges, manifests: a.Manifests, generation: a.Generation, claimed: true, unclear: true}
		for _, f := range feedsOf(&a) {
			if x := s.feeds[f]; x != nil && x.lane != l {
				s.move(x, a.Lane)
			}
		}
	}
	return nil
}

// feedsOf lists the feeds of an attempt.
func feedsOf(a *ledger.Attempt) (list []drover.Feed) {
	for _, r := range a.Ranges {
		list = append(list, r.Feed)
	}
	for i := range a.Manifests {
		list = append(list, a.Manifests[i].Feed)
	}
	return list
}

// begin reads what a sink begins with.
func (s *dest) begin(ctx context.Context) ([]ledger.Attempt, error) {
	if err := s.load(ctx, true); err != nil {
		return nil, err
	}
	attempts, err := s.d.opt.Store.Attempts(ctx, s.ID)
	if err != nil {
		return nil, fmt.Errorf("read open attempts: %w", err)
	}
	return attempts, nil
}
