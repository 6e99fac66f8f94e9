package ledgertest

import (
	"strings"
	"time"

	"drover"
	"drover/internal/ledger"
)

func prune(r *rig) {
	f := r.add(idA, "contoso")
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s", FromAll: true}}))
	e := r.take(f).Epoch
	r.commit(f, e, Revisions(1, 128))
	order := ledger.PruneOrder{Now: drover.InstantOf(now.Add(100 * 24 * time.Hour)), Bodies: 90 * 24 * time.Hour}
	out, err := r.Prune(r.ctx(), order)
	r.must(err)
	if out.Bodies != 0 {
		r.Errorf("dropped %d bodies that are owed", out.Bodies)
	}
	r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "s", Done: []drover.Range{{Feed: f, First: 1, Last: 100}}, Taken: 100}))
	out, err = r.Prune(r.ctx(), order)
	r.must(err)
	if out.Bodies != 64 {
		r.Errorf("dropped %d bodies, want 64: whole blocks behind the place", out.Bodies)
	}
	if revs, err := r.After(r.ctx(), f, 100, 100, 1<<20); err != nil || len(revs) != 28 || revs[0].Seq != 101 {
		r.Errorf("what is owed: %d, %v", len(revs), err)
	}
	keys, err := r.Keys(r.ctx(), f, drover.Span{From: drover.InstantOf(now), To: drover.NoInstant}, false)
	r.must(err)
	if len(keys) != 128 {
		r.Errorf("%d keys after 100 days, want all", len(keys))
	}
	order.Now = drover.InstantOf(now.Add(200 * 24 * time.Hour))
	if _, err = r.Prune(r.ctx(), order); err != nil {
		r.Fatal(err)
	}
	if keys, _ := r.Keys(r.ctx(), f, drover.Span{From: drover.InstantOf(now), To: drover.NoInstant}, false); len(keys) != 0 {
		r.Errorf("%d keys after 200 days", len(keys))
	}
	// Numbers go on where they were.
	if out := r.commit(f, e, Revisions(500, 500)); out.First != 129 {
		r.Errorf("the next number is %d", out.First)
	}
}

func hold(r *rig) {
	f := r.add(idA, "contoso")
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "dead", FromAll: true}}))
	r.commit(f, r.take(f).Epoch, Revisions(1, 10))
	r.clock = now.Add(20 * 24 * time.Hour)
	r.commit(f, r.take(f).Epoch, Revisions(11, 20))
	out, err := r.Prune(r.ctx(), ledger.PruneOrder{Now: drover.InstantOf(now.Add(31 * 24 * time.Hour)), Hold: 30 * 24 * time.Hour})
	r.must(err)
	if len(out.Gaps) != 1 || out.Gaps[0].Sink != "dead" || out.Gaps[0].First != 1 || out.Gaps[0].Last != 10 {
		r.Errorf("gaps: %+v", out.Gaps)
	}
	p, err := r.Place(r.ctx(), "dead", f)
	r.must(err)
	if p.Seq != 10 {
		r.Errorf("place %d, want 10", p.Seq)
	}
}

func pruneAsks(r *rig) {
	f := r.add(idA, "contoso")
	e := r.take(f).Epoch
	for day := range 5 {
		r.clock = now.AddDate(0, 0, day)
		r.commit(f, e, Revisions(day*64+1, day*64+64))
	}
	order := ledger.PruneOrder{Now: drover.InstantOf(now.AddDate(1, 0, 0)), Bodies: 90 * 24 * time.Hour}
	out, err := r.Prune(r.ctx(), order)
	r.must(err)
	if out.Bodies+out.Keys != 0 || out.Asks == "" {
		r.Errorf("dropped %d bodies, %d keys, and asks %q", out.Bodies, out.Keys, out.Asks)
	}
	// Keys are asked about even where bodies stay for longer.
	order.Bodies *= 10
	if out, err = r.Prune(r.ctx(), order); err != nil || out.Keys != 0 || !strings.Contains(out.Asks, "keys") {
		r.Errorf("dropped %d keys and asks %q, %v", out.Keys, out.Asks, err)
	}
	order.Bodies /= 10
	order.Confirmed = true
	if out, err = r.Prune(r.ctx(), order); err != nil || out.Bodies != 320 || out.Keys != 320 {
		r.Errorf("confirmed: dropped %d bodies, %d keys, %v", out.Bodies, out.Keys, err)
	}
}

func check(r *rig) {
	f := r.add(idA, "contoso")
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s", FromAll: true}}))
	r.commit(f, r.take(f).Epoch, Revisions(1, 200))
	found, err := r.Check(r.ctx())
	r.must(err)
	if len(found) > 0 {
		r.Errorf("found: %v", found)
	}
	r.must(r.Ready(r.ctx()))
	space, err := r.Space(r.ctx())
	r.must(err)
	if space.Used <= 0 || space.Free <= 0 {
		r.Errorf("space: %+v", space)
	}
}

func timeless(r *rig) {
	f := r.add(idA, "contoso")
	revs := Revisions(1, 3)
	for i := range revs {
		revs[i].Changed = drover.NoInstant
	}
	revs[2].Created = drover.NoInstant
	r.commit(f, r.take(f).Epoch, revs)
	order := ledger.PruneOrder{Bodies: 24 * time.Hour}
	for _, at := range []struct{ days, want int }{{179, 3}, {181, 1}, {1000, 1}} {
		order.Now = drover.InstantOf(now.AddDate(0, 0, at.days))
		_, err := r.Prune(r.ctx(), order)
		r.must(err)
		got, err := r.Keys(r.ctx(), f, drover.Span{}, true)
		r.must(err)
		if len(got) != at.want {
			r.Errorf("%d keys after %d days, want %d", len(got), at.days, at.want)
		}
	}
}

func holdSize(r *rig) {
	f, g := r.add(idA, "contoso"), r.add(idB, "fabrikam")
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "dead", FromAll: true}, {Sink: "well", FromAll: true}}))
	e, d := r.take(f).Epoch, r.take(g).Epoch
	for n := range 5 {
		r.commit(f, e, Revisions(n*64+1, n*64+64))
		r.commit(g, d, Revisions(n*64+1, n*64+64))
	}
	for _, x := range []drover.Feed{f, g} {
		r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "well", Done: []drover.Range{{Feed: x, First: 1, Last: 320}}, Taken: 320}))
	}
	out, err := r.Prune(r.ctx(), ledger.PruneOrder{Now: drover.InstantOf(now), HoldSize: 1 << 40})
	r.must(err)
	if len(out.Gaps) != 0 {
		r.Errorf("gaps below the bound: %+v", out.Gaps)
	}
	out, err = r.Prune(r.ctx(), ledger.PruneOrder{Now: drover.InstantOf(now), HoldSize: 30_000})
	r.must(err)
	var over uint64
	for _, gap := range out.Gaps {
		if gap.Sink != "dead" || gap.First != 1 || gap.Last%64 != 0 || !gap.Span.Contains(Revision(1).Changed) {
			r.Errorf("gap %+v", gap)
		}
		over += gap.Last
	}
	if len(out.Gaps) != 2 || over == 0 || over == 640 {
		r.Errorf("%d gaps over %d of 640 rows", len(out.Gaps), over)
	}
	if got := r.counted(idA, "dead")["discarded"] + r.counted(idB, "dead")["discarded"]; got != int64(over) {
		r.Errorf("discarded %d, the gaps say %d", got, over)
	}
	// Once more, tighter: the gaps grow, no new ones.
	out, err = r.Prune(r.ctx(), ledger.PruneOrder{Now: drover.InstantOf(now), HoldSize: 1})
	r.must(err)
	list, err := r.Gaps(r.ctx(), ledger.GapFilter{Sink: "dead", State: drover.GapOpen})
	r.must(err)
	if len(list) != 2 || list[0].Last != 320 || list[1].Last != 320 || len(out.Gaps) != 2 {
		r.Errorf("gaps: %+v", list)
	}
	r.sound()
}

func pruneSlices(r *rig) {
	f := r.add(idA, "contoso")
	e := r.take(f).Epoch
	for n := range 6 {
		r.commit(f, e, Revisions(n*64+1, n*64+64))
	}
	order := ledger.PruneOrder{Now: drover.InstantOf(now.AddDate(0, 0, 300)), Bodies: 90 * 24 * time.Hour, Slice: 100}
	var bodies, keys int64
	for more := true; more; {
		out, err := r.Prune(r.ctx(), order)
		r.must(err)
		if out.Bodies > 128 || out.Keys > 128 {
			r.Errorf("a slice dropped %d bodies and %d keys", out.Bodies, out.Keys)
		}
		bodies, keys, more = bodies+out.Bodies, keys+out.Keys, out.More
		r.sound()
		r.reopen()
	}
	if bodies != 384 || keys != 384 {
		r.Errorf("dropped %d bodies and %d keys, want 384", bodies, keys)
	}
}
