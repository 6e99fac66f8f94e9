package ledgertest

import (
	"errors"
	"slices"
	"time"

	"drover"
	"drover/internal/ledger"
)

func vouching(r *rig) {
	f, other := r.add(idA, "contoso"), r.add(idB, "fabrikam")
	r.commit(f, r.take(f).Epoch, Revisions(1, 40))
	r.commit(other, r.take(other).Epoch, Revisions(1, 5))
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s", FromAll: true}, {Sink: "t", FromAll: true}}))
	run := func(first, last uint64) []drover.Range { return []drover.Range{{Feed: f, First: first, Last: last}} }
	if _, err := r.Vouched(r.ctx(), "s", f); !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("nobody vouches yet: %v", err)
	}
	// What is behind the sink, or beyond its place, when it begins is not vouched for.
	r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "s", Lane: "l", Done: append(run(1, 4), run(8, 9)...), Taken: 6}))
	r.must(r.Vouch(r.ctx(), "s"))
	at := func(seq uint64, missed ...drover.Range) {
		r.Helper()
		v, err := r.Vouched(r.ctx(), "s", f)
		r.must(err)
		if v.Seq != seq || !slices.Equal(v.Missed, missed) {
			r.Errorf("vouched up to %d but for %v, want %d but for %v", v.Seq, v.Missed, seq, missed)
		}
	}
	at(4, run(8, 9)...)
	settle := func(o ledger.Settle) {
		r.Helper()
		o.Sink, o.Lane = "s", "l"
		r.must(r.Settle(r.ctx(), o))
	}
	settle(ledger.Settle{Done: run(5, 14), Taken: 6, Unrouted: 2, Passed: run(6, 7), Elsewhere: run(13, 13), Aside: []ledger.Aside{{Feed: f, Reason: "refused", Seq: 11}}})
	at(4, append(append(run(6, 9), run(11, 11)...), run(13, 13)...)...)
	// Said again of what was done before, it changes nothing.
	settle(ledger.Settle{Done: run(5, 5), Passed: run(5, 5), Unrouted: 1})
	at(4, append(append(run(6, 9), run(11, 11)...), run(13, 13)...)...)
	settle(ledger.Settle{Manifests: []ledger.Manifest{{Feed: f, First: 5, Last: 12}}, Close: true})
	at(12, run(13, 13)...)
	settle(ledger.Settle{Manifests: []ledger.Manifest{{Feed: f, First: 5, Last: 9}}})
	at(12, run(13, 13)...)
	r.must(r.Vouch(r.ctx(), "s")) // once more
	r.reopen()
	at(12, run(13, 13)...)
	// What a bound takes away is missed, but for what the sink had beyond its place.
	settle(ledger.Settle{Done: run(20, 21), Taken: 2})
	r.clock = r.clock.Add(60 * 24 * time.Hour)
	_, err := r.Prune(r.ctx(), ledger.PruneOrder{Now: drover.InstantOf(r.clock), Bodies: 24 * time.Hour, Hold: 24 * time.Hour, Confirmed: true})
	r.must(err)
	at(12, append(append(run(13, 13), run(15, 19)...), run(22, 40)...)...)
	if v, err := r.Vouched(r.ctx(), "s", other); err != nil || v.Seq != 0 {
		r.Errorf("another feed: %+v, %v", v, err)
	}
	if _, err := r.Vouched(r.ctx(), "t", f); !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("another sink: %v", err)
	}
	r.must(r.RemoveTenant(r.ctx(), idA))
	at(40)
	r.sound()
}

func manifestAttempt(r *rig) {
	f := r.add(idA, "contoso")
	r.commit(f, r.take(f).Epoch, Revisions(1, 9))
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s", FromAll: true}}))
	r.must(r.Vouch(r.ctx(), "s"))
	r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "s", Lane: "l", Done: []drover.Range{{Feed: f, First: 1, Last: 9}}, Taken: 9}))
	want := []ledger.Manifest{{Feed: f, First: 1, Last: 4, EventID: "one", At: drover.InstantOf(now), Record: []byte(`{"a":"<\"ü>"}`)}, {Feed: f, First: 5, Last: 9, EventID: "two", Record: []byte("{}")}}
	r.must(r.Claim(r.ctx(), ledger.Attempt{Sink: "s", Lane: "l", At: drover.InstantOf(now), Manifests: want}))
	r.reopen()
	list, err := r.Attempts(r.ctx(), "s")
	r.must(err)
	same := func(a, b ledger.Manifest) bool {
		return a.Feed == b.Feed && a.First == b.First && a.Last == b.Last && a.EventID == b.EventID && a.At == b.At && string(a.Record) == string(b.Record)
	}
	if len(list) != 1 || len(list[0].Ranges) != 0 || !slices.EqualFunc(list[0].Manifests, want, same) {
		r.Fatalf("attempts: %+v", list)
	}
	r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "s", Lane: "l", Manifests: list[0].Manifests, Close: true}))
	v, err := r.Vouched(r.ctx(), "s", f)
	if r.must(err); v.Seq != 9 {
		r.Errorf("vouched up to %d", v.Seq)
	}
	if list, err = r.Attempts(r.ctx(), "s"); err != nil || len(list) != 0 {
		r.Errorf("attempts: %+v, %v", list, err)
	}
}
