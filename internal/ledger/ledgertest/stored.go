package ledgertest

import (
	"errors"
	"slices"
	"time"

	"drover"
	"drover/internal/ledger"
)

func storedAt(r *rig) {
	f := r.add(idA, "contoso")
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s", FromAll: true}}))
	e := r.take(f).Epoch
	var want []ledger.Stored
	next := 1
	for i, n := range []int{1, 200, 64, 3} {
		r.clock = now.Add(time.Duration(i) * 7 * time.Minute)
		r.commit(f, e, Revisions(next, next+n-1))
		want = append(want, ledger.Stored{First: uint64(next), Last: uint64(next + n - 1), At: drover.InstantOf(r.clock)})
		next += n
	}
	ask := func(seq uint64, rows int) []ledger.Stored {
		r.Helper()
		got, err := r.Stored(r.ctx(), f, seq, rows)
		r.must(err)
		return got
	}
	r.reopen()
	if got := ask(0, 1000); !slices.Equal(got, want) {
		r.Errorf("got %+v, want %+v", got, want)
	}
	for seq := range uint64(next - 1) {
		for _, rows := range []int{1, 50, 300} {
			got, at := ask(seq, rows), seq+1
			for i, run := range got {
				in := slices.IndexFunc(want, func(w ledger.Stored) bool { return w.First <= run.First && run.Last <= w.Last })
				if in < 0 || want[in].At != run.At || i > 0 && run.First != at || i == 0 && (run.First > at || run.Last < at) {
					r.Fatalf("behind %d: %+v", seq, got)
				}
				at = run.Last + 1
			}
			if at < min(seq+uint64(rows)+1, uint64(next)) {
				r.Fatalf("behind %d, %d rows: %+v", seq, rows, got)
			}
		}
	}
	if got := ask(uint64(next-1), 10); len(got) != 0 {
		r.Errorf("behind the head: %+v", got)
	}
	if _, err := r.Stored(r.ctx(), FeedOf(idB), 0, 1); !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("of no tenant: %v", err)
	}
	r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "s", Done: []drover.Range{{Feed: f, First: 1, Last: uint64(next - 1)}}, Taken: next - 1}))
	_, err := r.Prune(r.ctx(), ledger.PruneOrder{Now: drover.InstantOf(now.AddDate(0, 0, 100)), Bodies: 90 * 24 * time.Hour})
	r.must(err)
	if got := ask(0, 10); len(got) != 0 {
		r.Errorf("bodies that are gone: %+v", got)
	}
}
