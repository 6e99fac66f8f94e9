package collect_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/collect"
	"drover/internal/ledger"
	"drover/internal/proof"
	"drover/internal/revision"
)

// crowdStore is a ledger in memory that is as small as it can be, for tests
// with very many tenants. It keeps no bodies.
type crowdStore struct {
	mu      sync.Mutex
	tenants []drover.Tenant
	states  map[drover.Feed]*ledger.FeedState
	keys    map[drover.Feed][]ledger.Key
	told    func(c *ledger.Commit)
}

var errNone = fmt.Errorf("a ledger without bodies: %w", ledger.ErrNotFound)

func (s *crowdStore) Take(_ context.Context, f drover.Feed) (ledger.FeedState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.states[f]
	if st == nil {
		st = &ledger.FeedState{Feed: f, Whole: drover.NoInstant}
		s.states[f] = st
	}
	st.Epoch++
	return *st, nil
}

func (s *crowdStore) Keys(_ context.Context, f drover.Feed, span drover.Span, _ bool) (out []ledger.Key, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys[f] {
		if span.Contains(k.Changed) {
			out = append(out, k)
		}
	}
	return out, nil
}

func (s *crowdStore) Walk(context.Context, drover.Feed, uint64, int, int, func(*drover.Revision)) error {
	return nil
}

func (s *crowdStore) Newest(context.Context, drover.Feed, drover.Hash, drover.Instant) (ledger.Key, error) {
	return ledger.Key{}, errNone
}

func (s *crowdStore) Body(context.Context, drover.Feed, uint64) (drover.Revision, error) {
	return drover.Revision{}, errNone
}

func (s *crowdStore) Commit(_ context.Context, c ledger.Commit) (ledger.Committed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.states[c.Feed]
	for i := range c.Revisions {
		st.Head++
		r := &c.Revisions[i]
		s.keys[c.Feed] = append(s.keys[c.Feed], ledger.Key{Changed: r.Changed, Alert: ledger.AlertHash(r.AlertID), Sum: r.Sum, Seq: st.Head, Created: r.Created})
	}
	if c.Cursor != nil {
		st.Cursor = *c.Cursor
	}
	st.Whole = max(st.Whole, c.Whole)
	s.told(&c)
	return ledger.Committed{}, nil
}

func (s *crowdStore) Rewind(context.Context, drover.Feed, drover.Instant, string) error {
	return errNone
}

func (s *crowdStore) ListTenants(context.Context) ([]drover.Tenant, error) { return s.tenants, nil }

func (s *crowdStore) Generation(context.Context) (uint64, error) { return 1, nil }

func (s *crowdStore) Flush(_ context.Context, whole map[drover.Feed]drover.Instant) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for f, at := range whole {
		s.states[f].Whole = max(s.states[f].Whole, at)
	}
	return nil
}

func (s *crowdStore) Backfills(context.Context, ledger.BackfillFilter) ([]ledger.Backfill, error) {
	return nil, nil
}

func (s *crowdStore) Counts(context.Context, drover.TenantID) ([]ledger.DayCount, error) {
	return nil, nil
}

// crowdAPI answers every request after a while, with the rows of the tenant
// that are there by then.
type crowdAPI struct {
	mu    sync.Mutex
	rows  map[drover.TenantID][]time.Time
	asked []time.Time
	slow  func(t drover.TenantID) (time.Duration, error)
}

func (a *crowdAPI) ID() drover.SourceID { return drover.GraphAlerts }

func (a *crowdAPI) Version() int { return 1 }

func (a *crowdAPI) Retention() time.Duration { return 180 * 24 * time.Hour }

func (a *crowdAPI) Read(t drover.Tenant, span drover.Span) drover.Pass {
	return &crowdPass{a, t.ID, span}
}

type crowdPass struct {
	a    *crowdAPI
	t    drover.TenantID
	span drover.Span
}

func (p *crowdPass) Next(ctx context.Context) (drover.Page, error) {
	p.a.mu.Lock()
	p.a.asked = append(p.a.asked, time.Now())
	wait, err := p.a.slow(p.t)
	p.a.mu.Unlock()
	select {
	case <-ctx.Done():
		return drover.Page{}, ctx.Err()
	case <-time.After(wait):
	}
	if err != nil {
		return drover.Page{}, err
	}
	now := time.Now()
	page := drover.Page{Done: true, Server: drover.InstantOf(now), Through: drover.InstantOf(now)}
	if !p.span.Open() {
		page.Through = p.span.To
	}
	p.a.mu.Lock()
	defer p.a.mu.Unlock()
	for i, at := range p.a.rows[p.t] {
		if changed := drover.InstantOf(at); p.span.Contains(changed) && !at.After(now) {
			raw := fmt.Appendf(nil, `{"id":"%d"}`, i)
			page.Rows = append(page.Rows, drover.Row{Raw: raw, Sum: sha256.Sum256(raw), ID: fmt.Sprint(i), Changed: changed, Created: changed})
		}
	}
	return page, nil
}

// crowd reads many tenants for a while, with a restart in the middle, and
// returns when they were asked and how long the rows of all but the first took
// to be stored.
func crowd(t *testing.T, tenants int, span time.Duration, restart bool, slow func(t drover.TenantID) (time.Duration, error)) (asked []time.Time, lags []time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(7, 7))
		start := time.Now()
		api := &crowdAPI{rows: make(map[drover.TenantID][]time.Time), slow: slow}
		store := &crowdStore{states: make(map[drover.Feed]*ledger.FeedState), keys: make(map[drover.Feed][]ledger.Key)}
		store.told = func(c *ledger.Commit) {
			for i := range c.Revisions {
				if c.Feed.Tenant != tenantID(0) {
					lags = append(lags, time.Since(c.Revisions[i].Changed.Time()))
				}
			}
		}
		for n := range tenants {
			id := tenantID(n)
			store.tenants = append(store.tenants, drover.Tenant{ID: id, Name: string(id), App: "app", State: drover.Active, Sources: []drover.SourceID{drover.GraphAlerts}, Start: drover.InstantOf(start)})
			for range 1 + rng.IntN(2) {
				api.rows[id] = append(api.rows[id], start.Add(time.Duration(rng.Int64N(int64(span)))))
			}
		}
		run := func(d time.Duration) {
			c, err := collect.New(collect.Options{Store: store, Sources: []drover.Source{api}, Compare: revision.Comparer{}, Seed: 3, Sweeps: []collect.Sweep{}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- c.Run(ctx) }()
			time.Sleep(d)
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if restart {
			run(span / 2)
			run(span / 2)
		} else {
			run(span)
		}
		asked = api.asked
	})
	slices.Sort(lags)
	return asked, lags
}

// fine answers as fast as Graph does.
func fine(drover.TenantID) (time.Duration, error) { return 60 * time.Millisecond, nil }

//citest:plain a count of starts in pretended time
func TestTenThousandTenantsAreSpreadEvenlyAlsoAfterARestart(t *testing.T) {
	const tenants, span, window = 10_000, 16 * time.Minute, 5 * time.Second
	asked, lags := crowd(t, tenants, span, true, fine)
	per := make(map[int64]int)
	for _, at := range asked {
		per[at.Unix()/int64(window/time.Second)]++
	}
	most := 0
	for _, n := range per {
		most = max(most, n)
	}
	// Nobody asks more than once a minute, but for those with new rows.
	even := tenants * int(window/time.Second) / 60
	if most > even*3/2 {
		t.Errorf("%d requests in %s, an even spread has %d", most, window, even)
	}
	if p99 := lags[len(lags)*99/100]; p99 > 130*time.Second {
		t.Errorf("p99 from change to ledger %s", p99)
	}
	proof.Ran(t, "L02", "%d tenants, restarted once: at most %d requests in %s, an even spread of a read a minute has %d; p99 from change to ledger %s", tenants, most, window, even, lags[len(lags)*99/100].Round(time.Second))
}

func TestATenantThatIsSlowOrThrottledDelaysNoOther(t *testing.T) {
	const tenants, span = 1000, 40 * time.Minute
	p99 := func(slow func(drover.TenantID) (time.Duration, error)) time.Duration {
		_, lags := crowd(t, tenants, span, false, slow)
		if len(lags) < tenants {
			t.Errorf("only %d rows", len(lags))
		}
		return lags[len(lags)*99/100]
	}
	alone := p99(fine)
	for name, first := range map[string]func() (time.Duration, error){
		"takes a minute for every answer": func() (time.Duration, error) { return time.Minute, nil },
		"is throttled": func() (time.Duration, error) {
			return 60 * time.Millisecond, &drover.Error{Op: "read", Kind: drover.Throttled, Wait: 10 * time.Second, Err: errors.New("429")}
		},
	} {
		got := p99(func(id drover.TenantID) (time.Duration, error) {
			if id == tenantID(0) {
				return first()
			}
			return fine(id)
		})
		ratio := float64(got) / float64(alone)
		if ratio < 0.9 || ratio > 1.1 {
			t.Errorf("one tenant %s: the others' p99 is %s, and %s without", name, got, alone)
		}
		proof.Ran(t, "P25", "one of %d tenants %s: the others' p99 from change to ledger is %s, %.2f times that without", tenants, name, got.Round(time.Second), ratio)
	}
}

func TestABusyFeedIsReadMoreOftenThanAnIdleOne(t *testing.T) {
	story(t, 2, func(w *world) {
		w.adapts = true
		now := time.Now()
		for n := range 120 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n)*time.Minute)))
		}
		w.begin()
		w.pass(2 * time.Hour)
		busy, idle := w.api.times(0), w.api.times(1)
		// In each minute after 15, 15 and 30 s at the soonest; every two minutes.
		if busy < 200 || busy > 500 || idle > 120 || idle < 60 || len(w.ledgered(0)) < 119 {
			t.Errorf("busy: %d reads in two hours, %d rows; idle: %d", busy, len(w.ledgered(0)), idle)
		}
	})
}
