package ledgertest

import (
	"errors"
	"sync"

	"drover"
	"drover/internal/ledger"
)

// holes lets two commits of one feed meet, every third of them one that is
// taken back after it had its numbers, while somebody reads behind them.
func holes(r *rig) {
	const pairs = 150
	f := r.add(idA, "contoso")
	e := r.take(f).Epoch
	r.commit(f, e, Revisions(1, 1)) // what the ones that fail bring again
	var (
		reader  sync.WaitGroup
		stop    = make(chan struct{})
		seen    uint64
		skipped int
	)
	look := func() {
		revs, err := r.After(r.ctx(), f, seen, 1000, 1<<20)
		if err != nil {
			r.Errorf("read: %v", err)
		}
		for i := range revs {
			if revs[i].Seq != seen+1 {
				skipped++
				r.Errorf("%d is followed by %d", seen, revs[i].Seq)
			}
			seen = revs[i].Seq
		}
	}
	reader.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				look()
			}
		}
	})
	want, takenBack := uint64(1), 0
	for n := range pairs {
		var both sync.WaitGroup
		for side := range 2 {
			revs := Revisions(10*(2*n+side)+10, 10*(2*n+side)+10+side)
			fails := n%3 == 0 && side == 1
			if fails {
				revs = append(revs, Revision(1))
				takenBack++
			} else {
				want += uint64(len(revs))
			}
			both.Go(func() {
				_, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e, Revisions: revs, Whole: drover.NoInstant})
				if fails != (drover.KindOf(err) == drover.Broken && err != nil) {
					r.Errorf("commit, to fail %t: %v", fails, err)
				}
			})
		}
		both.Wait()
	}
	close(stop)
	reader.Wait()
	look()
	if seen != want {
		r.Errorf("read up to %d of %d", seen, want)
	}
	r.sound()
	r.ran("S21", "%d pairs of commits on one feed at once, %d taken back after they had numbers, %d revisions: holes read over %d", pairs, takenBack, want, skipped)
}

// replaced lets readers take a feed from each other, one after the other and
// all at once.
func replaced(r *rig) {
	f := r.add(idA, "contoso")
	old, accepted, next := 0, 0, 1
	for range 60 {
		first := r.take(f)
		second := r.take(f)
		old++
		if _, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: first.Epoch, Revisions: Revisions(next, next+1), Whole: drover.NoInstant}); !errors.Is(err, ledger.ErrMoved) {
			accepted++
			r.Errorf("between its page and its commit it was replaced: %v", err)
		}
		r.commit(f, second.Epoch, Revisions(next, next))
		next++
	}
	type stored struct {
		epoch drover.Epoch
		first uint64
	}
	var (
		mu      sync.Mutex
		wg      sync.WaitGroup
		list    []stored
		calls   int
		takeAll = func(n int) {
			for i := range 25 {
				st, err := r.Take(r.ctx(), f)
				if err != nil {
					r.Errorf("take: %v", err)
					return
				}
				at := 1_000_000 + 1000*n + 10*i
				out, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: st.Epoch, Revisions: Revisions(at, at+n), Whole: drover.NoInstant})
				mu.Lock()
				calls += 2
				if err == nil {
					list = append(list, stored{st.Epoch, out.First})
				} else if !errors.Is(err, ledger.ErrMoved) {
					r.Errorf("commit: %v", err)
				}
				mu.Unlock()
			}
		}
	)
	for n := range 4 {
		wg.Go(func() { takeAll(n) })
	}
	wg.Wait()
	// In the order of their numbers the commits must be in that of their epochs.
	disorder := 0
	for i := range list {
		for k := range list {
			if list[i].first < list[k].first && list[i].epoch > list[k].epoch {
				disorder++
			}
		}
	}
	if disorder > 0 || len(list) == 0 {
		r.Errorf("%d of %d commits stand behind one of a newer epoch", disorder, len(list))
	}
	r.sound()
	r.ran("S22", "%d commits of a reader that had been replaced: accepted %d", old, accepted)
	r.ran("I10", "4 holders at once, %d takes and commits, %d stored: one of an older epoch behind one of a newer %d", calls, len(list), disorder)
}
