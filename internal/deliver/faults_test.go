package deliver_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"drover"
	"drover/internal/deliver"
	"drover/internal/format"
	"drover/internal/ledger"
	"drover/internal/proof"
)

// perTenant gives each tenant a lane of its own.
func perTenant(t drover.Tenant) string { return string(t.ID) }

// slow takes its time for every batch.
type slow struct {
	*siem
	each time.Duration
}

func (s slow) Deliver(ctx context.Context, b drover.Batch) (drover.Taken, error) {
	select {
	case <-time.After(s.each):
	case <-ctx.Done():
		return drover.Taken{}, ctx.Err()
	}
	return s.siem.Deliver(ctx, b)
}

func TestASlowSinkDoesNotDelayTheOthers(t *testing.T) {
	// took runs twenty minutes beside a sink that needs so long for each record.
	took := func(each time.Duration) (worst time.Duration) {
		story(t, 1, func(w *world) {
			quick := newSIEM()
			var sent time.Time
			quick.fail = func(b drover.Batch) (drover.Taken, error) {
				worst = max(worst, time.Since(sent))
				return drover.Taken{N: len(b.Records)}, nil
			}
			w.begin(deliver.Destination{ID: "slow", Sink: slow{newSIEM(), each}, MaxRecords: 1}, deliver.Destination{ID: "quick", Sink: quick})
			w.pass(5 * time.Second)
			for range 20 {
				quick.mu.Lock()
				sent = time.Now()
				quick.mu.Unlock()
				w.commit(0, 3)
				w.pass(time.Minute)
			}
			quick.whole(t, 0, 60)
			if each > 0 && w.owed("slow") == 0 {
				w.Error("the slow sink is not slow")
			}
		})
		return worst
	}
	alone, beside := took(0), took(30*time.Second)
	if beside > alone+alone/10 {
		t.Errorf("%s beside a slow sink, %s beside a quick one", beside, alone)
	}
	proof.Ran(t, "D02", "beside a sink that needs 30 s for each record the other's longest delay is %s, beside a quick one %s", beside, alone)
}

func TestALongBacklogDoesNotKeepOtherLanesWaiting(t *testing.T) {
	story(t, 12, func(w *world) {
		s := newSIEM()
		s.lane = perTenant
		for n := range 10 {
			w.commit(n, 300)
		}
		w.begin(deliver.Destination{ID: "s", Sink: slow{s, 300 * time.Millisecond}, Lanes: 2})
		w.pass(10 * time.Second)
		var worst time.Duration
		for range 6 {
			for n := 10; n < 12; n++ {
				w.commit(n, 1)
				begin := time.Now()
				want := w.n[feed(n)]
				for s.arrived(n) < want && time.Since(begin) < time.Minute {
					w.pass(100 * time.Millisecond)
				}
				worst = max(worst, time.Since(begin))
			}
		}
		if w.owed("s") == 0 {
			w.Fatal("the backlog is gone; nothing was shown")
		}
		// One second in which it waits for company, then a turn of the ten others.
		if most := time.Second + 12*300*time.Millisecond/2 + 400*time.Millisecond; worst > most {
			w.Errorf("a lane with one record waited %s, want at most %s", worst, most)
		}
		w.pass(5 * time.Minute)
		for n := range 12 {
			s.whole(t, n, w.n[feed(n)])
		}
		proof.Ran(t, "L03", "ten lanes with 30 batches each, two at a time, 300ms a batch: a lane with one record waited at most %s, a second of it for company", worst)
	})
}

// arrived counts the first arrivals of a tenant.
func (s *siem) arrived(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seqs[string(id(n))])
}

func TestLanesThatWaitForADeadSinkHoldNoBodies(t *testing.T) {
	const tenants, rows, size = 50, 5, 100_000
	story(t, tenants, func(w *world) {
		s := newSIEM()
		s.lane = perTenant
		down := true
		s.fail = func(b drover.Batch) (drover.Taken, error) {
			if down {
				return drover.Taken{N: 1}, passing()
			}
			return drover.Taken{N: len(b.Records)}, nil
		}
		for n := range tenants {
			w.commitSize(n, rows, size)
		}
		before := heap()
		w.begin(deliver.Destination{ID: "s", Sink: s, MaxBytes: 2 * rows * size})
		w.pass(3 * time.Second)
		held := heap() - before
		if s.arrived(tenants-1) == 0 {
			w.Fatal("not every lane has tried")
		}
		if most := int64(tenants*rows*size) / 4; held > most {
			w.Errorf("%d bytes are held between tries, of %d that wait", held, tenants*rows*size)
		}
		s.mu.Lock()
		down = false
		s.mu.Unlock()
		w.pass(5 * time.Minute)
		for n := range tenants {
			s.whole(t, n, rows)
		}
		if s.repeats() != 0 {
			w.Errorf("%d repeats", s.repeats())
		}
		proof.Ran(t, "I18", "%d lanes wait for a dead sink with %d MB: %.1f MB are held", tenants, tenants*rows*size/1_000_000, float64(held)/1e6)
	})
}

// heap is how much memory is in use.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools hold survives one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// commitSize adds revisions of a size.
func (w *world) commitSize(n, count, size int) {
	w.Helper()
	f := feed(n)
	noise := make([]byte, size/2)
	rng := rand.NewChaCha8([32]byte{byte(n)})
	var revs []drover.Revision
	for range count {
		w.n[f]++
		_, _ = rng.Read(noise) // never fails
		raw := fmt.Appendf(nil, `{"id":"a%d","x":"%x"}`, w.n[f], noise)
		at := drover.Instant(w.n[f])
		revs = append(revs, drover.Revision{AlertID: fmt.Sprint("a", w.n[f]), Changed: at, Created: at, Sum: sha256.Sum256(raw), Raw: raw})
	}
	if _, err := w.store.Commit(context.Background(), ledger.Commit{Feed: f, Epoch: w.epochs[f], Whole: drover.NoInstant, Revisions: revs}); err != nil {
		w.Fatal(err)
	}
}

func TestATenantThatMovesTakesItsRecordsAlong(t *testing.T) {
	for name, tt := range map[string]struct{ keyed, restart bool }{
		"append, running":          {false, false},
		"append, in a new process": {false, true},
		"keyed, running":           {true, false},
		"keyed, in a new process":  {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, 1, func(w *world) {
				s := newSIEM()
				down, late, foreign, attempts := true, 0, 0, 0
				s.fail = func(b drover.Batch) (drover.Taken, error) {
					for i := range b.Records {
						if b.Records[i].Seq > 20 {
							if late++; b.Lane != "new" {
								foreign++
							}
						}
					}
					if down {
						attempts++
						s.take(&b.Records[0]) // and the answer is lost
						return drover.Taken{}, passing()
					}
					return drover.Taken{N: len(b.Records)}, nil
				}
				dest := deliver.Destination{ID: "s", Sink: lanesOf{s}, Lanes: 3}
				if tt.keyed {
					dest.Sink = askingLanes{lanesOf{s}}
				}
				w.commit(0, 20)
				w.begin(dest)
				w.pass(10 * time.Second)
				// A batch is under way at the old place; now it is another's.
				x, err := w.store.Tenant(context.Background(), id(0))
				if err != nil {
					w.Fatal(err)
				}
				x.Customer = "new"
				if err := w.store.UpdateTenant(context.Background(), x); err != nil {
					w.Fatal(err)
				}
				w.pass(10 * time.Second)
				w.commit(0, 15)
				if tt.restart {
					w.stop()
				}
				s.mu.Lock()
				down = false
				s.mu.Unlock()
				if tt.restart {
					w.begin(dest)
				}
				w.pass(5 * time.Minute)
				w.commit(0, 15)
				w.pass(time.Minute)
				s.whole(w.T, 0, 50)
				owed := w.owed("s")
				w.stop()
				untold := attempts
				if tt.keyed {
					untold = 0
				}
				if foreign > 0 || late < 30 || s.repeats() > untold || owed != 0 {
					w.Errorf("%d of %d later records went to the old place, %d repeats of %d without an answer, %d are owed", foreign, late, s.repeats(), untold, owed)
				}
				proof.Ran(t, "D16", "a tenant became another customer's with a batch under way, %s: %d of %d later records went to the old place", name, foreign, late)
			})
		})
	}
}

// lanesOf is a siem with a lane for each customer.
type lanesOf struct{ *siem }

func (lanesOf) Lane(t drover.Tenant) string { return string(t.Customer) }

type askingLanes struct{ lanesOf }

func (a askingLanes) Taken(ctx context.Context, b drover.Batch) (drover.Taken, error) {
	return asking{a.siem}.Taken(ctx, b)
}

func TestASinkIsItsNameWhateverItsAddress(t *testing.T) {
	story(t, 2, func(w *world) {
		old, other := newSIEM(), newSIEM()
		old.fail = func(drover.Batch) (drover.Taken, error) { return drover.Taken{}, passing() }
		w.commit(0, 30)
		w.commit(1, 5)
		w.begin(deliver.Destination{ID: "soc", Sink: old}, deliver.Destination{ID: "other", Sink: other})
		w.pass(30 * time.Second)
		w.stop()
		// Taken out of the config with 35 pending, for a while.
		w.begin(deliver.Destination{ID: "other", Sink: other})
		w.commit(0, 10)
		w.pass(30 * time.Second)
		w.stop()
		// Back, at another address; and one that is new begins with now.
		moved, fresh := newSIEM(), newSIEM()
		moved.lane = perTenant
		w.beginAt(map[drover.SinkID]bool{"fresh": true}, deliver.Destination{ID: "soc", Sink: moved}, deliver.Destination{ID: "other", Sink: other}, deliver.Destination{ID: "fresh", Sink: fresh})
		w.pass(30 * time.Second)
		w.commit(0, 4)
		w.pass(30 * time.Second)
		moved.whole(t, 0, 44)
		moved.whole(t, 1, 5)
		other.whole(t, 0, 44)
		fresh.whole(t, 0, 4)
		orphaned := w.owed("soc") + w.owed("other") + w.owed("fresh")
		if orphaned != 0 || moved.repeats()+other.repeats()+fresh.repeats() != 0 {
			w.Errorf("%d orphaned, repeats %d %d %d", orphaned, moved.repeats(), other.repeats(), fresh.repeats())
		}
		proof.Ran(t, "D17", "sink removed with 35 pending, back at another address, one added: orphaned deliveries %d", orphaned)
	})
}

// TestOrderAndCountsHoldAtASinkThatDoesWhatItLikes deals any mix of answers to
// many tenants, stops and starts, and counts what the sink was sent.
func TestOrderAndCountsHoldAtASinkThatDoesWhatItLikes(t *testing.T) {
	sent, stops, back, lost, extra, unexplained := 0, 0, 0, 0, 0, 0
	for seed := range uint64(2) {
		for _, keyed := range []bool{false, true} {
			story(t, 3, func(w *world) {
				rng, its := rand.New(rand.NewPCG(seed, 9)), rand.New(rand.NewPCG(seed, 8))
				s := newSIEM()
				s.lane = func(t drover.Tenant) string { return string(t.ID[len(t.ID)-1:]) }
				calm := false
				answered := make(map[string]bool) // the ledger was told that it is there
				untold := make(map[string]int)    // taken, and the answer was lost
				refused := make(map[string]bool)
				last := make(map[drover.TenantID]uint64)
				s.fail = func(b drover.Batch) (drover.Taken, error) {
					sent += len(b.Records)
					for i := range b.Records {
						r := &b.Records[i]
						if answered[r.EventID] {
							extra++
						}
						if r.Seq <= last[r.Tenant] && !refused[r.EventID] && untold[r.EventID] == 0 {
							back++
						}
					}
					n := len(b.Records)
					if !calm {
						n = its.IntN(n + 1)
					}
					taken := drover.Taken{N: n}
					for i := range n {
						if r := &b.Records[i]; r.Seq%17 == 0 && r.Tenant == id(2) {
							taken.Refused = append(taken.Refused, drover.Refusal{Index: i, Reason: "code 13"})
							refused[r.EventID] = true
						}
						last[b.Records[i].Tenant] = b.Records[i].Seq
					}
					lose := !calm && its.IntN(4) == 0
					for i := range n {
						if r := &b.Records[i]; lose {
							if !refused[r.EventID] {
								s.take(r)
								untold[r.EventID]++
							}
						} else {
							answered[r.EventID] = true
						}
					}
					switch {
					case lose:
						return drover.Taken{}, passing()
					case n == len(b.Records):
						return taken, nil
					case its.IntN(3) == 0:
						return taken, &drover.Error{Op: "send", Kind: drover.Throttled, Wait: time.Duration(its.IntN(20)) * time.Second, Err: errors.New("429")}
					case its.IntN(4) == 0:
						return taken, &drover.Error{Op: "send", Kind: drover.Denied, Err: errors.New("403")}
					}
					return taken, passing()
				}
				var sink drover.Sink = s
				if keyed {
					sink = asking{s}
				}
				dest := deliver.Destination{ID: "s", Sink: sink, Lanes: 2, MaxRecords: 7}
				w.begin(dest)
				for range 40 {
					for n := range 3 {
						w.commit(n, rng.IntN(9))
					}
					w.pass(time.Duration(rng.IntN(40)) * time.Second)
					if rng.IntN(6) == 0 {
						w.stop()
						stops++
						w.begin(dest)
					}
				}
				s.mu.Lock()
				calm = true
				s.mu.Unlock()
				w.pass(time.Hour)
				w.stop()
				aside, err := w.store.SetAside(context.Background(), ledger.AsideFilter{Sink: "s"})
				if err != nil {
					w.Fatal(err)
				}
				for n := range 3 {
					want := w.n[feed(n)]
					for _, a := range aside {
						if a.Feed == feed(n) {
							want--
						}
					}
					lost += want - s.arrived(n)
				}
				if owed := w.owed("s"); owed != 0 || len(aside) != len(refused) {
					w.Errorf("seed %d: %d owed, set aside %d of %d", seed, owed, len(aside), len(refused))
				}
				explained := 0
				for _, n := range untold {
					explained += n
				}
				if keyed {
					explained = 0
				}
				unexplained += max(s.repeats()-explained, 0)
			})
		}
	}
	if back != 0 || lost != 0 || extra != 0 || unexplained != 0 {
		t.Errorf("%d out of order, lost %d, %d sent again though answered, %d repeats without a lost answer", back, lost, extra, unexplained)
	}
	proof.Ran(t, "D22", "%d records sent, %d stops: out of order %d, lost %d", sent, stops, back, lost)
	proof.Ran(t, "I5", "sent again though the answer was known: %d; repeats without a lost answer: %d", extra, unexplained)
}

func TestFiveSinksThatComeBackTogetherAreNotRunOver(t *testing.T) {
	const tenants = 5
	story(t, tenants, func(w *world) {
		var dests []deliver.Destination
		var sinks []*siem
		down := true
		inFlight, most, errs, sends := 0, 0, 0, 0
		for n := range 5 {
			s := newSIEM()
			s.lane = perTenant
			s.fail = func(b drover.Batch) (drover.Taken, error) {
				switch {
				case down:
					return drover.Taken{}, passing()
				case inFlight > 20: // what all of them together can bear
					errs++
					return drover.Taken{}, passing()
				}
				return drover.Taken{N: len(b.Records)}, nil
			}
			sinks = append(sinks, s)
			dests = append(dests, deliver.Destination{ID: drover.SinkID(fmt.Sprint("s", n)), Sink: counted{s, &inFlight, &most, &sends}})
		}
		w.begin(dests...)
		for range 3 {
			for n := range tenants {
				w.commit(n, 15)
			}
			w.pass(2 * time.Hour)
		}
		bubbleLock.Lock()
		sends, most, down = 0, 0, false
		bubbleLock.Unlock()
		w.pass(30 * time.Minute)
		w.stop()
		for _, s := range sinks {
			for n := range tenants {
				s.whole(t, n, w.n[feed(n)])
			}
		}
		rate := 100 * float64(errs) / float64(sends)
		if rate >= 5 {
			w.Errorf("%.1f %% of %d sends failed", rate, sends)
		}
		proof.Ran(t, "D21", "6 h outage of five sinks ends at once, %d lanes: %d in flight at most, %.1f %% of %d sends failed", 5*tenants, most, rate, sends)
	})
}

var bubbleLock sync.Mutex

// counted is a sink that takes half a second and counts who is in it.
type counted struct {
	*siem
	in, most, sends *int
}

func (c counted) Deliver(ctx context.Context, b drover.Batch) (drover.Taken, error) {
	bubbleLock.Lock()
	*c.in++
	*c.sends++
	*c.most = max(*c.most, *c.in)
	bubbleLock.Unlock()
	defer func() {
		bubbleLock.Lock()
		*c.in--
		bubbleLock.Unlock()
	}()
	time.Sleep(500 * time.Millisecond)
	bubbleLock.Lock()
	defer bubbleLock.Unlock()
	return c.siem.Deliver(ctx, b)
}

func TestAFormatThatFailsOnARevisionCostsThatRevisionOnly(t *testing.T) {
	story(t, 1, func(w *world) {
		s := newSIEM()
		w.commit(0, 40)
		w.begin(deliver.Destination{ID: "s", Sink: s, Format: picky{}})
		w.pass(time.Minute)
		aside, err := w.store.SetAside(context.Background(), ledger.AsideFilter{Sink: "s"})
		if err != nil {
			w.Fatal(err)
		}
		unencodable := 0
		for _, a := range aside {
			if a.Reason == "unencodable" && !strings.Contains(a.Detail, "a1") {
				unencodable++
			}
		}
		if unencodable != 8 || w.owed("s") != 0 {
			w.Errorf("set aside %d of 8, %d owed", unencodable, w.owed("s"))
		}
		s.whole(t, 0, 32)
		proof.Ran(t, "D04", "a format that fails or panics on every fifth: set aside %d of 8, the %d others arrived", unencodable, s.arrived(0))
	})
}

// picky fails on every fifth revision, and panics on every tenth.
type picky struct{ format.JSON }

func (p picky) Encode(b []byte, r *drover.Revision, c format.Context) ([]byte, error) {
	switch {
	case r.Seq%10 == 0:
		panic("no")
	case r.Seq%5 == 0:
		return append(b, "torn"...), errors.New("it does not fit")
	}
	return p.JSON.Encode(b, r, c)
}
