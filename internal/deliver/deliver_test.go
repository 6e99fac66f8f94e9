package deliver_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/deliver"
	"drover/internal/format"
	"drover/internal/ledger"
	"drover/internal/ledger/sqlite"
	"drover/internal/proof"
	"drover/internal/vault"
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
func (s *siem) Close() error                          { return nil }

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
		key := filepath.Join(dir, "keys", "k")
		if err := vault.Create(key); err != nil {
			t.Fatal(err)
		}
		v, err := vault.Open(vault.Source{File: key})
		if err != nil {
			t.Fatal(err)
		}
		store, err := sqlite.Open(t.Context(), sqlite.Options{Dir: filepath.Join(dir, "ledger"), Vault: v, Place: "test"})
		if err != nil {
			t.Fatal(err)
		}
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

func TestEverythingArrivesOnceAndInOrder(t *testing.T) {
	story(t, 3, func(w *world) {
		s := newSIEM()
		w.commit(0, 25)
		w.begin(deliver.Destination{ID: "s", Sink: s})
		w.pass(5 * time.Second)
		for range 20 {
			w.commit(0, 3)
			w.commit(1, 1)
			w.commit(2, 40)
			w.pass(300 * time.Millisecond)
		}
		w.pass(10 * time.Second)
		s.whole(t, 0, 85)
		s.whole(t, 1, 20)
		s.whole(t, 2, 800)
		if s.repeats() != 0 || w.owed("s") != 0 {
			t.Errorf("%d repeats, %d owed", s.repeats(), w.owed("s"))
		}
	})
}

func TestWhatNoHintToldOfIsFoundByTheScan(t *testing.T) {
	story(t, 1, func(w *world) {
		s := newSIEM()
		w.begin(deliver.Destination{ID: "s", Sink: s})
		w.pass(5 * time.Second)
		d := w.d
		w.d = nil
		w.commit(0, 5)
		w.d = d
		w.pass(2 * time.Minute)
		s.whole(t, 0, 5)
	})
}

func TestADeadSinkLosesNothingAndDelaysNobody(t *testing.T) {
	for _, outage := range []time.Duration{time.Minute, 6 * time.Hour, 2 * 24 * time.Hour} {
		story(t, 1, func(w *world) {
			dead, alive := newSIEM(), newSIEM()
			start := time.Now()
			dead.fail = func(b drover.Batch) (drover.Taken, error) {
				if time.Since(start) < outage {
					return drover.Taken{}, passing()
				}
				return drover.Taken{N: len(b.Records)}, nil
			}
			w.begin(deliver.Destination{ID: "dead", Sink: dead}, deliver.Destination{ID: "alive", Sink: alive})
			waited := 0
			for time.Since(start) < outage {
				w.commit(0, 4)
				w.pass(max(outage/30, 2*time.Second))
				if w.owed("alive") != 0 {
					waited++
				}
			}
			dead.mu.Lock()
			tries := len(dead.times)
			dead.mu.Unlock()
			end := time.Now()
			for w.owed("dead") > 0 && time.Since(end) < outage {
				w.pass(time.Second)
			}
			drained := time.Since(end)
			want := w.n[feed(0)]
			dead.whole(w.T, 0, want)
			alive.whole(w.T, 0, want)
			lost, repeats := want-dead.arrived(0), dead.repeats()+alive.repeats()
			if most := max(outage/10, time.Minute); drained > most || waited > 0 || lost+repeats > 0 {
				w.Errorf("drained after %s, at most %s; lost %d, repeated %d, the other sink waited %d times", drained, most, lost, repeats, waited)
			}
			if most := int(outage/time.Minute)*2 + 20; tries > most {
				w.Errorf("%d tries, want at most %d", tries, most)
			}
			proof.Ran(t, "D01", "sink dead for %s, %d records: lost %d, repeated %d, %d tries, drained in %s; the other sink waited %d times", outage, want, lost, repeats, tries, drained, waited)
		})
	}
}

func TestARetrySendsWhatIsLeftOfTheBatchAndNothingElse(t *testing.T) {
	story(t, 1, func(w *world) {
		s := newSIEM()
		var batches []string
		n := 0
		s.fail = func(b drover.Batch) (drover.Taken, error) {
			n++
			var seqs []string
			for i := range b.Records {
				seqs = append(seqs, fmt.Sprint(b.Records[i].Seq))
			}
			batches = append(batches, strings.Join(seqs, " "))
			switch n {
			case 1:
				return drover.Taken{N: 2, Also: []int{4, 5}}, passing()
			case 2:
				return drover.Taken{}, passing()
			}
			return drover.Taken{N: len(b.Records)}, nil
		}
		w.commit(0, 8)
		w.begin(deliver.Destination{ID: "s", Sink: s})
		w.pass(time.Second)
		w.commit(0, 3) // must not join the batch
		w.pass(time.Minute)
		want := []string{"1 2 3 4 5 6 7 8", "3 4 7 8", "3 4 7 8", "9 10 11"}
		owed := w.owed("s")
		w.stop()
		if !slices.Equal(batches, want) {
			t.Errorf("sent %q, want %q", batches, want)
		}
		if s.repeats() != 0 || owed != 0 {
			t.Errorf("%d repeats, %d owed", s.repeats(), owed)
		}
		proof.Ran(t, "D03", "taken in part, twice: lost %d, extra sends of taken records %d", 11-s.arrived(0), s.repeats())
	})
}

func TestARefusedRecordIsSetAsideAndTheRestFlows(t *testing.T) {
	story(t, 1, func(w *world) {
		s := newSIEM()
		s.fail = func(b drover.Batch) (drover.Taken, error) {
			taken := drover.Taken{N: len(b.Records)}
			for i := range b.Records {
				if b.Records[i].Seq%7 == 0 {
					taken.Refused = append(taken.Refused, drover.Refusal{Index: i, Reason: "code 13"})
				}
			}
			return taken, nil
		}
		w.commit(0, 50)
		w.begin(deliver.Destination{ID: "s", Sink: s})
		w.pass(time.Minute)
		aside, err := w.store.SetAside(context.Background(), ledger.AsideFilter{Sink: "s"})
		if err != nil || len(aside) != 7 || aside[0].Detail != "code 13" || aside[0].EventID == "" {
			t.Errorf("set aside %d, %v: %+v", len(aside), err, aside)
		}
		if w.owed("s") != 0 {
			t.Errorf("%d owed", w.owed("s"))
		}
		s.whole(t, 0, 43)
		proof.Ran(t, "D04", "set aside %d of 7 dealt; %d of 43 others arrived", len(aside), s.arrived(0))
	})
}

func TestASinkThatCanBeAskedIsAskedBeforeAnythingIsSentAgain(t *testing.T) {
	story(t, 2, func(w *world) {
		s := newSIEM()
		n := 0
		s.fail = func(b drover.Batch) (drover.Taken, error) {
			if n++; n%3 == 1 { // takes some, and the answer is lost
				for i := range b.Records[:len(b.Records)*2/3] {
					s.take(&b.Records[i])
				}
				return drover.Taken{}, passing()
			}
			return drover.Taken{N: len(b.Records)}, nil
		}
		w.begin(deliver.Destination{ID: "s", Sink: asking{s}})
		for range 30 {
			w.commit(0, 4)
			w.commit(1, 7)
			w.pass(20 * time.Second)
		}
		w.pass(2 * time.Minute)
		s.whole(t, 0, 120)
		s.whole(t, 1, 210)
		w.stop()
		if s.repeats() != 0 || s.asked == 0 {
			t.Errorf("%d repeats; asked %d times", s.repeats(), s.asked)
		}
		proof.Ran(t, "D06", "answers lost in every third of %d sends: lost %d, visible repeats %d at a sink that can be asked", n, 330-s.arrived(0)-s.arrived(1), s.repeats())
	})
}

func TestAfterAStopTheOpenBatchIsAskedForAndFinished(t *testing.T) {
	story(t, 1, func(w *world) {
		s := newSIEM()
		down := true
		s.fail = func(b drover.Batch) (drover.Taken, error) {
			if down {
				for i := range b.Records[:3] {
					s.take(&b.Records[i])
				}
				return drover.Taken{}, passing()
			}
			return drover.Taken{N: len(b.Records)}, nil
		}
		w.commit(0, 9)
		w.begin(deliver.Destination{ID: "s", Sink: asking{s}})
		w.pass(2 * time.Second)
		w.stop()
		if open, err := w.store.Attempts(context.Background(), "s"); err != nil || len(open) != 1 {
			t.Fatalf("open attempts: %v, %v", open, err)
		}
		down = false
		w.commit(0, 4)
		w.begin(deliver.Destination{ID: "s", Sink: asking{s}})
		w.pass(time.Minute)
		s.whole(t, 0, 13)
		if s.repeats() != 0 {
			t.Errorf("%d repeats", s.repeats())
		}
		if open, _ := w.store.Attempts(context.Background(), "s"); len(open) != 0 {
			t.Errorf("still open: %v", open)
		}
		proof.Ran(t, "D18", "stopped in the middle of a send: lost %d, repeated %d", 13-s.arrived(0), s.repeats())
	})
}

func TestALaneThatIsRefusedDoesNotStopTheOthers(t *testing.T) {
	story(t, 2, func(w *world) {
		s := newSIEM()
		s.lane = func(t drover.Tenant) string { return string(t.ID) }
		denied := true
		s.fail = func(b drover.Batch) (drover.Taken, error) {
			if b.Lane == string(id(0)) && denied {
				return drover.Taken{}, &drover.Error{Op: "send", Kind: drover.Denied, Err: errors.New("code 7")}
			}
			return drover.Taken{N: len(b.Records)}, nil
		}
		w.begin(deliver.Destination{ID: "s", Sink: s})
		for range 60 {
			w.commit(0, 1)
			w.commit(1, 1)
			w.pass(time.Minute)
		}
		s.whole(t, 1, 60)
		behind := 60 - s.arrived(1)
		s.mu.Lock()
		tries := len(s.times) - 60
		denied = false
		s.mu.Unlock()
		if tries > 15 {
			t.Errorf("%d tries of a refused lane in an hour", tries)
		}
		w.pass(15 * time.Minute)
		s.whole(t, 0, 60)
		if s.mixed {
			t.Error("a batch mixed two lanes")
		}
		proof.Ran(t, "D10", "a lane refused for an hour, %d tries: the other lane was %d of 60 behind; afterwards the refused one lost %d", tries, behind, 60-s.arrived(0))
	})
}

func TestWhatIsNotRoutedIsPassedOverAndCounted(t *testing.T) {
	story(t, 2, func(w *world) {
		s := newSIEM()
		w.route = func(t drover.Tenant, _ drover.SinkID) bool { return t.ID == id(0) }
		w.commit(0, 5)
		w.commit(1, 6)
		w.begin(deliver.Destination{ID: "s", Sink: s})
		w.pass(time.Minute)
		s.whole(t, 0, 5)
		if s.arrived(1) != 0 {
			t.Error("a tenant's records went where no route leads")
		}
		counts, err := w.store.Counts(context.Background(), id(1))
		if err != nil {
			t.Fatal(err)
		}
		unrouted := int64(0)
		for _, c := range counts {
			if c.What == "unrouted" {
				unrouted += c.N
			}
		}
		if unrouted != 6 || w.owed("s") != 0 {
			t.Errorf("counted %d, owed %d", unrouted, w.owed("s"))
		}
	})
}

func TestASinkThatMiscountsStopsTheProcess(t *testing.T) {
	story(t, 1, func(w *world) {
		s := newSIEM()
		s.fail = func(b drover.Batch) (drover.Taken, error) { return drover.Taken{N: len(b.Records) - 1}, nil }
		w.commit(0, 5)
		w.begin(deliver.Destination{ID: "s", Sink: s})
		w.pass(time.Minute)
		if err := <-w.done; drover.KindOf(err) != drover.Broken {
			t.Errorf("got %v", err)
		}
		w.cancel()
		w.cancel = nil
	})
}

func TestARemovedTenantsRecordsAreNotWaitedFor(t *testing.T) {
	story(t, 2, func(w *world) {
		s := newSIEM()
		s.fail = func(drover.Batch) (drover.Taken, error) { return drover.Taken{}, passing() }
		w.begin(deliver.Destination{ID: "s", Sink: s})
		w.commit(0, 3)
		w.commit(1, 3)
		w.pass(30 * time.Second)
		token := ledger.CredentialKey{Tenant: id(0), App: "default", Kind: "refresh_token", Cloud: "worldwide", Authority: "https://login.example"}
		if _, err := w.store.PutCredential(context.Background(), ledger.Credential{CredentialKey: token, Secret: drover.NewSecret("r1"), Expires: drover.NoInstant}, 0); err != nil {
			t.Fatal(err)
		}
		if err := w.store.RemoveTenant(context.Background(), id(0)); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		w.pass(5 * time.Minute)
		w.commit(1, 3)
		w.pass(time.Minute)
		s.whole(t, 1, 6)
		if w.owed("s") != 0 {
			t.Errorf("%d owed", w.owed("s"))
		}
		// Removal is for good and at once: what was pending is counted as
		// thrown away, and nothing that was sealed is left.
		discarded, left := int64(0), 0
		counts, err := w.store.Counts(context.Background(), id(0))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range counts {
			if c.What == "discarded" {
				discarded += c.N
			}
		}
		if _, err := w.store.Credential(context.Background(), token); !errors.Is(err, ledger.ErrNotFound) {
			left++
		}
		for seq := range uint64(3) {
			if _, err := w.store.Body(context.Background(), feed(0), seq+1); !errors.Is(err, ledger.ErrNotFound) {
				left++
			}
		}
		if discarded != 3 || left != 0 {
			t.Errorf("%d of 3 pending counted as discarded, %d sealed things left", discarded, left)
		}
		proof.Ran(t, "C04", "a tenant removed with 3 pending: counted as discarded %d, credentials and bodies left %d, the other tenant's arrived %d of 6", discarded, left, s.arrived(1))
	})
}

func TestATenantIsRemovedWhenItHasDrained(t *testing.T) {
	story(t, 2, func(w *world) {
		ctx := context.Background()
		s := newSIEM()
		s.fail = func(drover.Batch) (drover.Taken, error) { return drover.Taken{}, passing() }
		w.begin(deliver.Destination{ID: "s", Sink: s})
		w.commit(0, 3)
		w.commit(1, 3)
		w.pass(30 * time.Second)
		token := ledger.CredentialKey{Tenant: id(0), App: "default", Kind: "refresh_token", Cloud: "worldwide", Authority: "https://login.example"}
		if _, err := w.store.PutCredential(ctx, ledger.Credential{CredentialKey: token, Secret: drover.NewSecret("r1"), Expires: drover.NoInstant}, 0); err != nil {
			t.Fatal(err)
		}
		if err := w.store.SetTenantState(ctx, id(0), drover.Paused); err != nil {
			t.Fatal(err)
		}
		remove := func() uint64 {
			owed, err := w.store.RemoveDrained(ctx, id(0))
			if err != nil {
				t.Fatal(err)
			}
			return owed["s"]
		}
		if n := remove(); n != 3 {
			t.Errorf("%d owed, want 3", n)
		}
		w.commit(0, 2) // a read that was under way
		if n := remove(); n != 5 {
			t.Errorf("%d owed, want 5", n)
		}
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		asked := 0
		for ; remove() > 0 && asked < 600; asked++ {
			w.pass(time.Second)
		}
		s.whole(t, 0, 5)
		s.whole(t, 1, 3)
		lost, left := 5-s.arrived(0), 0
		counts, err := w.store.Counts(ctx, id(0))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range counts {
			if c.What == "discarded" {
				lost += int(c.N)
			}
		}
		if _, err := w.store.Credential(ctx, token); !errors.Is(err, ledger.ErrNotFound) {
			left++
		}
		for seq := range uint64(5) {
			if _, err := w.store.Body(ctx, feed(0), seq+1); !errors.Is(err, ledger.ErrNotFound) {
				left++
			}
		}
		if lost != 0 || left != 0 {
			t.Errorf("lost %d, %d sealed things left", lost, left)
		}
		proof.Ran(t, "C04", "a tenant removed with 3 pending and 2 that came while it was: removed when drained; lost %d, left-over secrets %d", lost, left)
	})
}
