package deliver_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/deliver"
	"drover/internal/format"
	"drover/internal/ledger"
	"drover/internal/ledger/sqlite"
	"drover/internal/ledger/sqlite/sqlitetest"
)

// siem is a pretend sink that remembers what it was sent.
type siem struct {
	mu    sync.Mutex
	got   []string            // event IDs in the order of arrival, repeats too
	seqs  map[string][]uint64 // by tenant, first arrivals only
	fail  func(b drover.Batch) (drover.Taken, error)
	lane  func(t drover.Tenant) string
	asked int
	times []time.Time
	mixed bool
}

func newSIEM() *siem { return &siem{seqs: make(map[string][]uint64)} }

func (s *siem) Lane(t drover.Tenant) string {
	if s.lane != nil {
		return s.lane(t)
	}
	return "all"
}

func (s *siem) Deliver(_ context.Context, b drover.Batch) (drover.Taken, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times = append(s.times, time.Now())
	taken, err := drover.Taken{N: len(b.Records)}, error(nil)
	if s.fail != nil {
		taken, err = s.fail(b)
	}
	refused := make(map[int]bool)
	for _, r := range taken.Refused {
		refused[r.Index] = true
	}
	for i := range b.Records {
		if s.lane != nil && s.lane(drover.Tenant{ID: b.Records[i].Tenant}) != b.Lane {
			s.mixed = true
		}
		if (i < taken.N || slices.Contains(taken.Also, i)) && !refused[i] {
			s.take(&b.Records[i])
		}
	}
	return taken, err
}

func (s *siem) take(r *drover.Record) {
	if !slices.Contains(s.got, r.EventID) {
		s.seqs[string(r.Tenant)] = append(s.seqs[string(r.Tenant)], r.Seq)
	}
	s.got = append(s.got, r.EventID)
}

func (s *siem) Check(context.Context) (string, error) { return "", nil }

func (s *siem) Close() error { return nil }

// asking is a siem that can say what it has.
type asking struct{ *siem }

func (a asking) Taken(_ context.Context, b drover.Batch) (drover.Taken, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	var t drover.Taken
	for i := range b.Records {
		if slices.Contains(a.got, b.Records[i].EventID) {
			if t.N == i {
				t.N++
			} else {
				t.Also = append(t.Also, i)
			}
		}
	}
	return t, nil
}

// world is a ledger and a deliverer in virtual time.
type world struct {
	*testing.T
	store  ledger.Store
	epochs map[drover.Feed]drover.Epoch
	n      map[drover.Feed]int
	d      *deliver.Deliverer
	cancel context.CancelFunc
	done   chan error
	route  func(t drover.Tenant, s drover.SinkID) bool
	voice  func(t drover.Tenant, from drover.SourceID, s drover.SinkID) bool
}

func (w *world) Routed(t drover.Tenant, from drover.SourceID, s drover.SinkID) bool {
	if w.voice != nil {
		return w.voice(t, from, s)
	}
	return w.route == nil || w.route(t, s)
}

func (w *world) Generation() uint64 { return 1 }

func id(n int) drover.TenantID {
	return drover.TenantID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n))
}

func feed(n int) drover.Feed { return drover.Feed{Tenant: id(n), Source: drover.GraphAlerts} }

func story(t *testing.T, tenants int, f func(w *world)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store := sqlitetest.Open(t, dir, sqlite.Options{Place: "test"})
		w := &world{T: t, store: store, epochs: make(map[drover.Feed]drover.Epoch), n: make(map[drover.Feed]int)}
		for n := range tenants {
			if err := store.AddTenant(t.Context(), drover.Tenant{ID: id(n), Name: fmt.Sprint("t", n), Customer: drover.CustomerID(fmt.Sprint("c", n)), Sources: []drover.SourceID{drover.GraphAlerts}}); err != nil {
				t.Fatal(err)
			}
			st, err := store.Take(t.Context(), feed(n))
			if err != nil {
				t.Fatal(err)
			}
			w.epochs[feed(n)] = st.Epoch
		}
		defer func() { // also when f ends the test
			w.stop()
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		}()
		f(w)
	})
}

// commit adds revisions to a tenant's feed.
func (w *world) commit(n, count int) {
	w.Helper()
	f := feed(n)
	var revs []drover.Revision
	for range count {
		w.n[f]++
		raw := fmt.Appendf(nil, `{"id":"a%d"}`, w.n[f])
		at := drover.Instant(w.n[f])
		revs = append(revs, drover.Revision{AlertID: fmt.Sprint("a", w.n[f]), Changed: at, Created: at, Sum: sha256.Sum256(raw), Raw: raw})
	}
	if _, err := w.store.Commit(context.Background(), ledger.Commit{Feed: f, Epoch: w.epochs[f], Revisions: revs, Whole: drover.NoInstant}); err != nil {
		w.Fatal(err)
	}
	if w.d != nil {
		w.d.Hint(f, count)
	}
}

func (w *world) begin(sinks ...deliver.Destination) {
	w.Helper()
	w.beginAt(nil, sinks...)
}

// beginAt begins; of the sinks those in now are to have what comes from now on.
func (w *world) beginAt(now map[drover.SinkID]bool, sinks ...deliver.Destination) {
	w.Helper()
	for i := range sinks {
		sinks[i].FromAll = !now[sinks[i].ID]
		if sinks[i].Format == nil {
			sinks[i].Format = format.JSON{}
		}
		if sinks[i].MaxRecords == 0 {
			sinks[i].MaxRecords = 10
		}
	}
	d, err := deliver.New(deliver.Options{Store: w.store, Routes: w, Sinks: sinks})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.d, w.cancel, w.done = d, cancel, make(chan error, 1)
	go func() { w.done <- d.Run(ctx) }()
}

func (w *world) stop() {
	if w.cancel == nil {
		return
	}
	w.cancel()
	if err := <-w.done; err != nil {
		w.Errorf("deliver ended: %v", err)
	}
	w.cancel, w.d = nil, nil
}

func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// owed counts what a sink has not done.
func (w *world) owed(s drover.SinkID) (n uint64) {
	w.Helper()
	places, err := w.store.Places(context.Background(), s)
	if err != nil {
		w.Fatal(err)
	}
	for _, p := range places {
		n += p.Head - p.Seq - uint64(len(p.Beyond))
	}
	return n
}

// whole checks that each tenant's first arrivals are 1, 2, 3 … up to want.
func (s *siem) whole(t *testing.T, n, want int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.seqs[string(id(n))]
	if len(got) != want || !slices.IsSorted(got) {
		t.Errorf("tenant %d: %d arrived, want %d, in order: %t", n, len(got), want, slices.IsSorted(got))
	}
}

func (s *siem) repeats() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := make(map[string]bool)
	n := 0
	for _, e := range s.got {
		if seen[e] {
			n++
		}
		seen[e] = true
	}
	return n
}

func passing() error {
	return &drover.Error{Op: "send", Kind: drover.Transient, Err: errors.New("503")}
}
