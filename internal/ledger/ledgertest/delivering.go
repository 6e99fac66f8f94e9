package ledgertest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"time"

	"drover"
	"drover/internal/ledger"
)

func places(r *rig) {
	f := r.add(idA, "contoso")
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s", FromAll: true}}))
	r.commit(f, r.take(f).Epoch, Revisions(1, 10))
	settle := func(first, last uint64) {
		r.Helper()
		r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "s", Lane: "l", Done: []drover.Range{{Feed: f, First: first, Last: last}}, Taken: int(last - first + 1)}))
	}
	want := func(seq uint64, beyond ...uint64) {
		r.Helper()
		p, err := r.Place(r.ctx(), "s", f)
		r.must(err)
		if p.Seq != seq || !slices.Equal(p.Beyond, beyond) || p.Head != 10 {
			r.Errorf("place %+v, want %d %v", p, seq, beyond)
		}
	}
	want(0)
	settle(3, 4)
	want(0, 3, 4)
	settle(1, 1)
	want(1, 3, 4)
	settle(3, 3) // again: nothing
	want(1, 3, 4)
	r.reopen()
	want(1, 3, 4)
	settle(2, 2)
	want(4)
	settle(5, 10)
	want(10)
	if err := r.Settle(r.ctx(), ledger.Settle{Sink: "s", Done: []drover.Range{{Feed: f, First: 11, Last: 11}}}); drover.KindOf(err) != drover.Broken {
		r.Errorf("beyond the head: %v", err)
	}
	if _, err := r.Places(r.ctx(), "unknown"); drover.KindOf(err) != drover.Broken || !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("places of a sink that nobody named: %v", err)
	}
}

func newSink(r *rig) {
	f := r.add(idA, "contoso")
	r.commit(f, r.take(f).Epoch, Revisions(1, 5))
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "head"}, {Sink: "all", FromAll: true}}))
	r.commit(f, r.take(f).Epoch, Revisions(6, 7))
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "head"}, {Sink: "all", FromAll: true}})) // again: nothing moves
	for sink, want := range map[drover.SinkID]uint64{"head": 5, "all": 0} {
		p, err := r.Place(r.ctx(), sink, f)
		r.must(err)
		if p.Seq != want || p.Start != want {
			r.Errorf("sink %s begins at %d, owed from %d on, want %d", sink, p.Seq, p.Start, want)
		}
	}
	r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "head", Done: []drover.Range{{Feed: f, First: 6, Last: 7}}, Taken: 2}))
	p, err := r.Place(r.ctx(), "head", f)
	r.must(err)
	if p.Seq != 7 || p.Start != 5 {
		r.Errorf("a place that moved: at %d, owed from %d on", p.Seq, p.Start)
	}
}

func newTenant(r *rig) {
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s"}}))
	f := r.add(idA, "contoso")
	p, err := r.Place(r.ctx(), "s", f)
	r.must(err)
	if p.Seq != 0 {
		r.Errorf("begins at %d", p.Seq)
	}
}

func attempts(r *rig) {
	f := r.add(idA, "contoso")
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s"}}))
	r.commit(f, r.take(f).Epoch, Revisions(1, 9))
	a := ledger.Attempt{Sink: "s", Lane: "l", Generation: 7, At: drover.InstantOf(now), Ranges: []drover.Range{{Feed: f, First: 1, Last: 4}, {Feed: f, First: 6, Last: 6}}}
	r.must(r.Claim(r.ctx(), a))
	if err := r.Claim(r.ctx(), a); !errors.Is(err, ledger.ErrConflict) {
		r.Errorf("a second attempt in a lane: %v", err)
	}
	r.reopen()
	got, err := r.Attempts(r.ctx(), "s")
	r.must(err)
	if len(got) != 1 || !slices.Equal(got[0].Ranges, a.Ranges) || got[0].Generation != 7 || got[0].Lane != "l" {
		r.Fatalf("attempts: %+v", got)
	}
	r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "s", Lane: "l", Done: a.Ranges, Mark: []byte("mark"), Close: true}))
	if got, _ := r.Attempts(r.ctx(), "s"); len(got) != 0 {
		r.Errorf("still there: %+v", got)
	}
	mark, err := r.Mark(r.ctx(), "s", "l")
	r.must(err)
	if string(mark) != "mark" {
		r.Errorf("mark %q", mark)
	}
	if _, err := r.Mark(r.ctx(), "s", "other"); !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("mark of another lane: %v", err)
	}
}

// nextAttempt: a batch is settled and the next one claimed in one step, or
// neither.
func nextAttempt(r *rig) {
	f := r.add(idA, "contoso")
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s", FromAll: true}}))
	r.commit(f, r.take(f).Epoch, Revisions(1, 20))
	run := func(first, last uint64) []drover.Range { return []drover.Range{{Feed: f, First: first, Last: last}} }
	r.must(r.Claim(r.ctx(), ledger.Attempt{Sink: "s", Lane: "l", Ranges: run(1, 5), At: drover.InstantOf(now)}))
	order := ledger.Settle{Sink: "s", Lane: "l", Done: run(1, 5), Taken: 5, Next: &ledger.Attempt{Ranges: run(6, 9), Generation: 7, At: drover.InstantOf(now)}}
	if err := r.Settle(r.ctx(), order); drover.KindOf(err) != drover.Broken {
		r.Errorf("two attempts of a lane: %v", err)
	}
	order.Close = true
	wrong := order
	wrong.Done = run(1, 50)
	if err := r.Settle(r.ctx(), wrong); drover.KindOf(err) != drover.Broken {
		r.Errorf("settled what is not there: %v", err)
	}
	open := func() drover.Range {
		r.Helper()
		list, err := r.Attempts(r.ctx(), "s")
		r.must(err)
		if len(list) != 1 || list[0].Lane != "l" || len(list[0].Ranges) != 1 {
			r.Fatalf("open attempts: %+v", list)
		}
		return list[0].Ranges[0]
	}
	if got := open(); got != run(1, 5)[0] {
		r.Errorf("after a settle that failed %+v is open", got)
	}
	r.must(r.Settle(r.ctx(), order))
	r.must(r.Settle(r.ctx(), order)) // its answer was lost, and it comes again
	r.reopen()
	if got := open(); got != run(6, 9)[0] {
		r.Errorf("the next attempt is %+v", got)
	}
	if p, err := r.Place(r.ctx(), "s", f); err != nil || p.Seq != 5 {
		r.Errorf("place %+v, %v", p, err)
	}
	if err := r.Claim(r.ctx(), ledger.Attempt{Sink: "s", Lane: "l", Ranges: run(6, 9)}); !errors.Is(err, ledger.ErrConflict) {
		r.Errorf("claimed beside the next attempt: %v", err)
	}
	r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "s", Lane: "l", Done: run(6, 9), Taken: 4, Close: true}))
	if list, err := r.Attempts(r.ctx(), "s"); err != nil || len(list) != 0 {
		r.Errorf("open attempts: %+v, %v", list, err)
	}
	r.sound()
}

func asides(r *rig) {
	f := r.add(idA, "contoso")
	e := r.take(f).Epoch
	a := ledger.Aside{Reason: "foreign", Detail: "names another tenant", Sum: sha256.Sum256([]byte("x")), Size: 1, Raw: []byte("x")}
	for range 3 {
		_, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e, Whole: drover.NoInstant, Aside: []ledger.Aside{a}})
		r.must(err)
	}
	got, err := r.SetAside(r.ctx(), ledger.AsideFilter{Tenant: idA, Reason: "foreign", Unresolved: true})
	r.must(err)
	if len(got) != 1 || got[0].Count != 3 || got[0].Sum != a.Sum {
		r.Errorf("set aside: %+v", got)
	}
	if got, _ := r.SetAside(r.ctx(), ledger.AsideFilter{Tenant: idB}); len(got) != 0 {
		r.Errorf("another tenant's: %+v", got)
	}
}

func counts(r *rig) {
	f := r.add(idA, "contoso")
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s", FromAll: true}}))
	e := r.take(f).Epoch
	revs := Revisions(1, 10)
	revs[0].Flags, revs[1].Severity = drover.Late, "low"
	r.commit(f, e, revs)
	r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "s", Done: []drover.Range{{Feed: f, First: 1, Last: 6}}, Taken: 5,
		Aside: []ledger.Aside{{Feed: f, Sink: "s", Reason: "refused", Seq: 3, EventID: "e"}}}))
	list, err := r.Counts(r.ctx(), idA)
	r.must(err)
	got := make(map[string]int64)
	for _, c := range list {
		got[c.What] += c.N
	}
	for what, want := range map[string]int64{"revisions": 10, "late": 1, "taken": 5, "set_aside": 1} {
		if got[what] != want {
			r.Errorf("%s: %d, want %d", what, got[what], want)
		}
	}
}

func conservation(r *rig) {
	f, g := r.add(idA, "contoso"), r.add(idB, "fabrikam")
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s", FromAll: true}}))
	r.commit(f, r.take(f).Epoch, Revisions(1, 20))
	r.commit(g, r.take(g).Epoch, Revisions(1, 5))
	mixed := ledger.Settle{Sink: "s", Lane: "l", Taken: 6, Unrouted: 3, Passed: []drover.Range{{Feed: f, First: 8, Last: 10}},
		Done: []drover.Range{{Feed: f, First: 4, Last: 10}, {Feed: g, First: 1, Last: 3}}, Aside: []ledger.Aside{{Feed: f, Reason: "refused", Seq: 5, EventID: "e"}}}
	r.must(r.Settle(r.ctx(), mixed))
	r.must(r.Settle(r.ctx(), mixed)) // its answer was lost, and it comes again
	r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "s", Done: []drover.Range{{Feed: f, First: 1, Last: 6}, {Feed: f, First: 20, Last: 20}}, Discarded: 4}))
	for id, want := range map[drover.TenantID]map[string]int64{
		idA: {"taken": 3, "unrouted": 3, "set_aside": 1, "discarded": 4},
		idB: {"taken": 3},
	} {
		if got := r.counted(id, "s"); !maps.Equal(got, want) {
			r.Errorf("tenant %s: %v, want %v", id, got, want)
		}
	}
	over := ledger.Settle{Sink: "s", Lane: "l", Taken: 1, Done: []drover.Range{{Feed: f, First: 11, Last: 14}, {Feed: g, First: 4, Last: 5}},
		Over: []drover.Range{{Feed: f, First: 10, Last: 12}, {Feed: g, First: 4, Last: 5}}, Passed: []drover.Range{{Feed: f, First: 12, Last: 13}}}
	r.must(r.Settle(r.ctx(), over))
	r.must(r.Settle(r.ctx(), over))
	for id, want := range map[drover.TenantID]map[string]int64{
		idA: {"taken": 4, "unrouted": 4, "set_aside": 1, "discarded": 4, "passed_over": 2}, // each number counts once, as what is said first
		idB: {"taken": 3, "passed_over": 2},
	} {
		if got := r.counted(id, "s"); !maps.Equal(got, want) {
			r.Errorf("tenant %s, with some passed over: %v, want %v", id, got, want)
		}
	}
	p, err := r.Place(r.ctx(), "s", f)
	r.must(err)
	if p.Seq != 14 || !slices.Equal(p.Beyond, []uint64{20}) {
		r.Errorf("place %+v", p)
	}
	if err := r.Settle(r.ctx(), ledger.Settle{Sink: "s", Aside: []ledger.Aside{{Feed: f, Reason: "refused", Seq: 16}}}); drover.KindOf(err) != drover.Broken {
		r.Errorf("set aside and not done: %v", err)
	}
	r.sound()
}

func refused(r *rig) {
	f := r.add(idA, "contoso")
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s", FromAll: true}}))
	revs := Revisions(1, 10)
	r.commit(f, r.take(f).Epoch, slices.Clone(revs))
	r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "s", Done: []drover.Range{{Feed: f, First: 1, Last: 10}}, Taken: 9,
		Aside: []ledger.Aside{{Feed: f, Sink: "s", Reason: "refused", Detail: "too long", Seq: 3, EventID: "e", Sum: revs[2].Sum}}}))
	out, err := r.Prune(r.ctx(), ledger.PruneOrder{Now: drover.InstantOf(now.AddDate(0, 0, 100)), Bodies: 90 * 24 * time.Hour})
	r.must(err)
	if out.Bodies != 10 {
		r.Errorf("dropped %d bodies", out.Bodies)
	}
	list, err := r.SetAside(r.ctx(), ledger.AsideFilter{Sink: "s", Unresolved: true})
	r.must(err)
	if len(list) != 1 || list[0].Raw != nil {
		r.Fatalf("set aside: %+v", list)
	}
	r.reopen()
	a, err := r.AsideBody(r.ctx(), list[0].ID)
	r.must(err)
	if !bytes.Equal(a.Raw, revs[2].Raw) || a.Seq != 3 || a.EventID != "e" {
		r.Errorf("set aside %d: %d bytes", a.Seq, len(a.Raw))
	}
	r.must(r.ResolveAside(r.ctx(), a.ID, "sent by hand"))
	if err := r.ResolveAside(r.ctx(), a.ID, "again"); !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("resolved twice: %v", err)
	}
	if list, _ := r.SetAside(r.ctx(), ledger.AsideFilter{Unresolved: true}); len(list) != 0 {
		r.Errorf("still there: %+v", list)
	}
	if _, err := r.AsideBody(r.ctx(), 999); !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("nothing set aside: %v", err)
	}
	r.must(r.RemoveTenant(r.ctx(), idA))
	if _, err := r.AsideBody(r.ctx(), a.ID); !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("of a removed tenant: %v", err)
	}
}

func comesBack(r *rig) {
	f := r.add(idA, "contoso")
	both := []ledger.SinkPlace{{Sink: "s", FromAll: true}, {Sink: "t", FromAll: true}}
	r.must(r.Sinks(r.ctx(), both))
	e := r.take(f).Epoch
	r.commit(f, e, Revisions(1, 10))
	r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "s", Done: []drover.Range{{Feed: f, First: 1, Last: 4}, {Feed: f, First: 7, Last: 7}}, Taken: 5}))
	r.must(r.Sinks(r.ctx(), both[1:]))
	r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "t", Done: []drover.Range{{Feed: f, First: 1, Last: 10}}, Taken: 10}))
	out, err := r.Prune(r.ctx(), ledger.PruneOrder{Now: drover.InstantOf(now.AddDate(0, 0, 100)), Bodies: 90 * 24 * time.Hour})
	r.must(err)
	if out.Bodies != 10 {
		r.Fatalf("dropped %d; a sink that is not in use holds nothing back", out.Bodies)
	}
	r.commit(f, e, Revisions(11, 12))
	r.must(r.Sinks(r.ctx(), append(both, ledger.SinkPlace{Sink: "new", FromAll: true})))
	for sink, want := range map[drover.SinkID]uint64{"s": 10, "t": 10, "new": 10} {
		p, err := r.Place(r.ctx(), sink, f)
		r.must(err)
		if p.Seq != want || len(p.Beyond) != 0 {
			r.Errorf("sink %s stands at %d %v, want %d", sink, p.Seq, p.Beyond, want)
		}
	}
	list, err := r.Gaps(r.ctx(), ledger.GapFilter{Sink: "s"})
	r.must(err)
	if len(list) != 1 || list[0].First != 5 || list[0].Last != 10 {
		r.Errorf("gaps: %+v", list)
	}
	if got := r.counted(idA, "s"); got["discarded"] != 5 {
		r.Errorf("counted: %v", got)
	}
	r.sound()
}
