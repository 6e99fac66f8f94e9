package ledgertest

import (
	"errors"
	"slices"
	"time"

	"drover"
	"drover/internal/ledger"
)

func changedWhole(r *rig) {
	f := r.add(idA, "contoso")
	r.add(idB, "fabrikam")
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s"}}))
	r.commit(f, r.take(f).Epoch, Revisions(1, 3))
	was, err := r.Tenant(r.ctx(), idA)
	r.must(err)
	t := was
	t.Name, t.Customer, t.State, t.Added = "contoso-north", "contoso", drover.Paused, t.Added.Add(time.Hour)
	t.Regions, t.Sources = []string{"eu"}, []drover.SourceID{drover.GraphAlerts, drover.MDEAlerts}
	g1, _ := r.Generation(r.ctx())
	r.must(r.ChangeTenant(r.ctx(), was, t))
	if g2, _ := r.Generation(r.ctx()); g2 <= g1 {
		r.Error("the generation did not grow")
	}
	r.reopen()
	got, err := r.Tenant(r.ctx(), idA)
	r.must(err)
	if got.Name != t.Name || got.State != drover.Paused || got.Added != was.Added || !slices.Equal(got.Regions, t.Regions) || !slices.Equal(got.Sources, t.Sources) {
		r.Errorf("changed to %+v", got)
	}
	if p, err := r.Place(r.ctx(), "s", drover.Feed{Tenant: idA, Source: drover.MDEAlerts}); err != nil || p.Seq != 0 {
		r.Errorf("a new source: %+v, %v", p, err)
	}
	taken := got
	taken.Name = "fabrikam"
	for what, err := range map[string]error{
		"by who has not seen the last change": r.ChangeTenant(r.ctx(), was, t),
		"to the name of another":              r.ChangeTenant(r.ctx(), got, taken),
	} {
		if !errors.Is(err, ledger.ErrConflict) {
			r.Errorf("changed %s: %v", what, err)
		}
	}
	nobody := got
	nobody.ID = "00000000-0000-4000-8000-0000000000ff"
	if err := r.ChangeTenant(r.ctx(), nobody, nobody); !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("nobody is changed: %v", err)
	}
	r.must(r.RemoveTenant(r.ctx(), idA))
	gone, err := r.Tenant(r.ctx(), idA)
	r.must(err)
	if err := r.ChangeTenant(r.ctx(), gone, got); !errors.Is(err, ledger.ErrConflict) {
		r.Errorf("a removed one is changed: %v", err)
	}
	if now, _ := r.Tenant(r.ctx(), idA); now.State != drover.Removed {
		r.Errorf("it is %s again", now.State)
	}
	r.sound()
}

// held shows that nothing of a held tenant goes, that everything of another one
// does in the same prune, and that after the release both are alike.
func held(r *rig) {
	f, g := r.add(idA, "contoso"), r.add(idB, "fabrikam")
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s", FromAll: true}}))
	for _, x := range []drover.Feed{f, g} {
		r.commit(x, r.take(x).Epoch, Revisions(1, 128))
		r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "s", Done: []drover.Range{{Feed: x, First: 1, Last: 128}}, Taken: 128}))
	}
	r.must(r.HoldTenant(r.ctx(), idA, "litigation"))
	r.must(r.HoldTenant(r.ctx(), idA, "litigation 2026-17"))
	r.reopen()
	list, err := r.Holds(r.ctx())
	r.must(err)
	if len(list) != 1 || list[0] != (ledger.Hold{Tenant: idA, Why: "litigation 2026-17", Since: drover.InstantOf(now)}) {
		r.Errorf("holds: %+v", list)
	}
	order := ledger.PruneOrder{Now: drover.InstantOf(now.AddDate(1, 0, 0)), Bodies: 90 * 24 * time.Hour, Confirmed: true}
	keysOf := func(x drover.Feed) int {
		keys, err := r.Keys(r.ctx(), x, drover.Span{From: drover.InstantOf(now), To: drover.NoInstant}, true)
		r.must(err)
		return len(keys)
	}
	pruneAll := func() (bodies, keys int64) {
		for more := true; more; {
			out, err := r.Prune(r.ctx(), order)
			r.must(err)
			bodies, keys, more = bodies+out.Bodies, keys+out.Keys, out.More
		}
		return bodies, keys
	}
	bodies, gone := pruneAll()
	if bodies != 128 || gone != 128 {
		r.Errorf("dropped %d bodies and %d keys, want 128 of the other tenant", bodies, gone)
	}
	kept, keys := len(r.all(f)), keysOf(f)
	if kept != 128 || keys != 128 || len(r.all(g)) != 0 || keysOf(g) != 0 {
		r.Errorf("of the held tenant %d bodies and %d keys are left, of the other %d and %d", kept, keys, len(r.all(g)), keysOf(g))
	}
	if _, err := r.Newest(r.ctx(), f, ledger.AlertHash("alert-3"), Revision(3).Created); err != nil {
		r.Errorf("the newest revision of a held alert: %v", err)
	}
	through := 0
	for _, remove := range []func() error{
		func() error { return r.RemoveTenant(r.ctx(), idA) },
		func() error { _, err := r.RemoveDrained(r.ctx(), idA); return err },
	} {
		if err := remove(); !errors.Is(err, ledger.ErrHeld) {
			through++
			r.Errorf("removed while held: %v", err)
		}
	}
	if t, err := r.Tenant(r.ctx(), idA); err != nil || t.State != drover.Active || len(r.all(f)) != 128 {
		r.Errorf("a removal that was refused left it %s, %v", t.State, err)
	}
	for what, err := range map[string]error{"held": r.HoldTenant(r.ctx(), "00000000-0000-4000-8000-0000000000ff", "x"), "released": r.ReleaseTenant(r.ctx(), idB, "x")} {
		if !errors.Is(err, ledger.ErrNotFound) {
			r.Errorf("nobody is %s: %v", what, err)
		}
	}
	r.ran("tenant.hold", "of a held tenant, a year on: bodies lost %d of 128, keys lost %d of 128, dropped of another in the same prune %d and %d; removals let through %d of 2", 128-kept, 128-keys, bodies, gone, through)
	r.must(r.ReleaseTenant(r.ctx(), idA, "settled"))
	if bodies, keys := pruneAll(); bodies != 128 || keys != 128 {
		r.Errorf("released: dropped %d bodies and %d keys", bodies, keys)
	}
	r.must(r.RemoveTenant(r.ctx(), idA))
	if err := r.HoldTenant(r.ctx(), idA, "too late"); !errors.Is(err, ledger.ErrConflict) {
		r.Errorf("a removed one is held: %v", err)
	}
	book, err := r.Logbook(r.ctx())
	r.must(err)
	var what []string
	for _, e := range book {
		if e.Feed.Tenant == idA {
			what = append(what, e.What+" "+e.Detail)
		}
	}
	if !slices.Equal(what, []string{"held litigation", "held litigation 2026-17", "released settled", "erased contoso"}) {
		r.Errorf("logbook: %v", what)
	}
	r.sound()
}

func erasures(r *rig) {
	f := r.add(idA, "contoso")
	r.add(idB, "fabrikam")
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s", FromAll: true}, {Sink: "t"}}))
	r.commit(f, r.take(f).Epoch, Revisions(1, 10))
	r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "s", Done: []drover.Range{{Feed: f, First: 1, Last: 7}}, Taken: 7}))
	if list, err := r.Erasures(r.ctx()); err != nil || len(list) != 0 {
		r.Errorf("before: %+v, %v", list, err)
	}
	r.clock = now.Add(time.Hour)
	r.must(r.RemoveTenant(r.ctx(), idA))
	r.must(r.RemoveTenant(r.ctx(), idA)) // again: nothing
	by := r.Identity().Incarnation
	r.reopen()
	r.must(r.AddTenant(r.ctx(), Tenant(idA, "contoso-again")))
	r.commit(f, r.take(f).Epoch, Revisions(11, 11))
	r.must(r.RemoveTenant(r.ctx(), idA))
	list, err := r.Erasures(r.ctx())
	r.must(err)
	if len(list) != 2 {
		r.Fatalf("%d records: %+v", len(list), list)
	}
	e := list[0]
	if e.Tenant != idA || e.Name != "contoso" || e.Customer != "contoso" || e.At != drover.InstantOf(r.clock) || e.Incarnation != by {
		r.Errorf("record: %+v", e)
	}
	for i, want := range []map[drover.SinkID]map[string]int64{{"": {"revisions": 10}, "s": {"taken": 7, "discarded": 3}, "t": {"discarded": 10}}, {"": {"revisions": 11}, "s": {"taken": 7, "discarded": 4}, "t": {"discarded": 11}}} {
		for sink, counts := range want {
			for what, n := range counts {
				if got := list[i].Counts[sink][what]; got != n {
					r.Errorf("record %d: %s %s %d, want %d", i, sink, what, got, n)
				}
			}
		}
	}
	if list[1].Name != "contoso-again" {
		r.Errorf("the second is of %s", list[1].Name)
	}
}
