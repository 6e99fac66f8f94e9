package ledgertest

import (
	"cmp"
	"slices"
	"time"

	"drover"
	"drover/internal/ledger"
)

// states walks the index of a feed to its end, in pages of so many rows.
func (r *rig) states(f drover.Feed, o ledger.StateOrder) (all []ledger.State) {
	r.Helper()
	for {
		page, err := r.States(r.ctx(), f, o)
		r.must(err)
		if len(page.States) > o.Rows {
			r.Fatalf("%d states in a page of %d rows", len(page.States), o.Rows)
		}
		all = append(all, page.States...)
		if !page.More {
			return all
		}
		o.Below = &page.Last
	}
}

func statesInOrder(r *rig) {
	f, other := r.add(idA, "contoso"), r.add(idB, "fabrikam")
	revs := Revisions(1, 60)
	for i := range revs {
		revs[i].AlertID = Revision(i % 7).AlertID // seven alerts with many states
		revs[i].Created = drover.InstantOf(now)
		if i%10 == 3 {
			revs[i].Changed = revs[i-1].Changed // many of one time
		}
	}
	revs[5].Changed, revs[50].Changed = drover.NoInstant, revs[2].Changed.Add(time.Microsecond) // a late one
	r.commit(f, r.take(f).Epoch, slices.Clone(revs))
	r.commit(other, r.take(other).Epoch, Revisions(1, 9))
	newest := make(map[drover.Hash]ledger.Key)
	var want []ledger.Key
	for i := range revs {
		k := ledger.Key{Changed: revs[i].Changed, Alert: ledger.AlertHash(revs[i].AlertID), Ordinal: revs[i].Ordinal, Sum: revs[i].Sum, Seq: uint64(i + 1), Created: revs[i].Created}
		want = append(want, k)
		if n, ok := newest[k.Alert]; !ok || k.Changed >= n.Changed {
			newest[k.Alert] = k
		}
	}
	slices.SortFunc(want, func(a, b ledger.Key) int {
		return -cmp.Or(cmp.Compare(a.Changed, b.Changed), slices.Compare(a.Alert[:], b.Alert[:]), cmp.Compare(a.Ordinal, b.Ordinal))
	})
	compare := func(what string, got []ledger.State, want []ledger.Key) {
		r.Helper()
		if len(got) != len(want) {
			r.Errorf("%s: %d states, want %d", what, len(got), len(want))
			return
		}
		for i := range want {
			if got[i].Key != want[i] || got[i].Newest != newest[want[i].Alert].Seq {
				r.Errorf("%s: state %d is %+v, want %+v, the newest %d", what, i, got[i], want[i], newest[want[i].Alert].Seq)
			}
		}
	}
	all := drover.Span{From: drover.NoInstant, To: drover.NoInstant}
	for _, rows := range []int{1, 7, 60, 1000} {
		compare("all", r.states(f, ledger.StateOrder{Span: all, Rows: rows}), want)
		alert := ledger.AlertHash(revs[5].AlertID)
		compare("one alert", r.states(f, ledger.StateOrder{Span: all, Rows: rows, Alert: &alert}), slices.DeleteFunc(slices.Clone(want), func(k ledger.Key) bool { return k.Alert != alert }))
		span := drover.Span{From: revs[10].Changed, To: revs[20].Changed}
		compare("a span", r.states(f, ledger.StateOrder{Span: span, Rows: rows}), slices.DeleteFunc(slices.Clone(want), func(k ledger.Key) bool { return !span.Contains(k.Changed) }))
	}
}

func headAt(r *rig) {
	f := r.add(idA, "contoso")
	e := r.take(f).Epoch
	at := func() uint64 {
		r.Helper()
		n, err := r.HeadAt(r.ctx(), f, drover.InstantOf(r.clock))
		r.must(err)
		return n
	}
	if n := at(); n != 0 {
		r.Errorf("an empty feed stood at %d", n)
	}
	stored := make(map[uint64]drover.Instant)
	for n := range 3 {
		r.clock = r.clock.Add(time.Hour)
		r.commit(f, e, Revisions(n*70+1, n*70+70))
		for i := n*70 + 1; i <= n*70+70; i++ {
			stored[uint64(i)] = drover.InstantOf(r.clock)
		}
	}
	for range 2 {
		for _, rev := range r.all(f) {
			if rev.Stored != stored[rev.Seq] {
				r.Errorf("revision %d says that it was stored at %s, want %s", rev.Seq, rev.Stored, stored[rev.Seq])
			}
		}
		end := r.clock
		for i, want := range []uint64{210, 140, 70, 0} {
			r.clock = end.Add(-time.Duration(i) * time.Hour)
			if n := at(); n != want {
				r.Errorf("%d hours ago it stood at %d, want %d", i, n, want)
			}
			r.clock = end.Add(-time.Duration(i)*time.Hour - time.Microsecond)
			if n := at(); n != max(want, 70)-70 {
				r.Errorf("just before %d hours ago it stood at %d", i, n)
			}
		}
		r.clock = end
		r.reopen()
	}
}

func asideOfOne(r *rig) {
	f, other := r.add(idA, "contoso"), r.add(idB, "fabrikam")
	r.commit(f, r.take(f).Epoch, Revisions(1, 5))
	r.commit(other, r.take(other).Epoch, Revisions(1, 5))
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s", FromAll: true}, {Sink: "late"}}))
	for _, x := range []drover.Feed{f, other} {
		r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "s", Lane: "l", Done: []drover.Range{{Feed: x, First: 1, Last: 5}}, Taken: 3,
			Aside: []ledger.Aside{{Feed: x, Reason: "refused", Seq: 2}, {Feed: x, Reason: "refused", Seq: 4}}}))
	}
	list, err := r.SetAside(r.ctx(), ledger.AsideFilter{Tenant: f.Tenant, Source: f.Source, First: 4, Last: 4})
	r.must(err)
	if len(list) != 1 || list[0].Feed != f || list[0].Seq != 4 {
		r.Errorf("set aside of one revision: %+v", list)
	}
	for sink, want := range map[drover.SinkID]uint64{"s": 0, "late": 5} {
		p, err := r.Place(r.ctx(), sink, f)
		r.must(err)
		if p.Start != want {
			r.Errorf("sink %s began at %d, want %d", sink, p.Start, want)
		}
	}
}
