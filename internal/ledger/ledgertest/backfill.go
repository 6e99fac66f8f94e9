package ledgertest

import (
	"errors"
	"slices"

	"drover"
	"drover/internal/ledger"
)

func backfills(r *rig) {
	f, other := r.add(idA, "contoso"), r.add(idB, "fabrikam")
	day := func(n int) drover.Instant { return drover.InstantOf(now.AddDate(0, 0, n)) }
	span := drover.Span{From: day(-30), To: day(-1)}
	before, err := r.Generation(r.ctx())
	r.must(err)
	asked, err := r.AddBackfill(r.ctx(), f, span)
	r.must(err)
	if asked.State != ledger.BackfillOpen || asked.First || asked.At != span.From || asked.Span != span || asked.Asked != drover.InstantOf(now) {
		r.Errorf("added %+v", asked)
	}
	if after, err := r.Generation(r.ctx()); err != nil || after <= before {
		r.Errorf("nobody notices a new backfill: %v", err)
	}
	if again, err := r.AddBackfill(r.ctx(), f, span); err != nil || again.ID != asked.ID {
		r.Errorf("the same span again is %d, not %d: %v", again.ID, asked.ID, err)
	}
	if _, err := r.AddBackfill(r.ctx(), drover.Feed{Tenant: idA, Source: drover.MDEAlerts}, span); !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("a feed that is not there: %v", err)
	}
	st := r.take(f)
	if len(st.Backfills) != 1 || st.Backfills[0] != asked {
		r.Errorf("the reader is told of %+v", st.Backfills)
	}

	// How far it has come moves with the rows, or not at all.
	step := ledger.Backfill{ID: asked.ID, At: day(-20), State: ledger.BackfillOpen, Pages: 2, Rows: 7, Found: 3}
	if _, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: st.Epoch - 1, Whole: drover.NoInstant, Revisions: Revisions(1, 3), Backfills: []ledger.Backfill{step}}); !errors.Is(err, ledger.ErrMoved) {
		r.Errorf("a reader that was replaced: %v", err)
	}
	done, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: st.Epoch, Whole: drover.NoInstant, Revisions: Revisions(1, 3),
		Backfills: []ledger.Backfill{step, {Span: drover.Span{From: day(-60), To: day(-30)}}}})
	r.must(err)
	if len(done.Backfills) != 2 || done.Backfills[0].At != day(-20) || done.Backfills[0].Pages != 2 || done.Backfills[0].Rows != 7 || done.Backfills[0].Found != 3 || !done.Backfills[1].First {
		r.Fatalf("stored %+v", done.Backfills)
	}
	step.At = day(-25) // older than what is stored: nothing goes back
	done, err = r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: st.Epoch, Whole: drover.NoInstant, Backfills: []ledger.Backfill{step}})
	r.must(err)
	if b := done.Backfills[0]; b.At != day(-20) || b.Rows != 14 {
		r.Errorf("moved to %s, %d rows", b.At, b.Rows)
	}
	r.reopen()
	st = r.take(f)
	if len(st.Backfills) != 2 || st.Backfills[0].Left() != (drover.Span{From: day(-20), To: day(-1)}) || !st.Backfills[1].First {
		r.Errorf("after a restart: %+v", st.Backfills)
	}

	// One that was cancelled is not gone on with, whoever holds it.
	r.must(r.CancelBackfill(r.ctx(), asked.ID))
	if err := r.CancelBackfill(r.ctx(), asked.ID); !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("cancelled twice: %v", err)
	}
	step.At = day(-10)
	done, err = r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: st.Epoch, Whole: drover.NoInstant, Backfills: []ledger.Backfill{step}})
	r.must(err)
	if b := done.Backfills[0]; b.State != ledger.BackfillCancelled || b.At != day(-20) {
		r.Errorf("after it was cancelled: %+v", b)
	}
	first := st.Backfills[1]
	first.At, first.State = first.Span.To, ledger.BackfillDone
	done, err = r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: st.Epoch, Whole: drover.NoInstant, Backfills: []ledger.Backfill{first}})
	r.must(err)
	if done.Backfills[0].State != ledger.BackfillDone || len(r.take(f).Backfills) != 0 {
		r.Errorf("done: %+v", done.Backfills[0])
	}
	all, err := r.Backfills(r.ctx(), ledger.BackfillFilter{Feed: drover.Feed{Tenant: idA}})
	r.must(err)
	if len(all) != 2 || all[0].State != ledger.BackfillCancelled || all[1].State != ledger.BackfillDone {
		r.Errorf("listed %+v", all)
	}
	if list, err := r.Backfills(r.ctx(), ledger.BackfillFilter{Feed: other}); err != nil || len(list) != 0 {
		r.Errorf("of another tenant: %+v, %v", list, err)
	}
	book, err := r.Logbook(r.ctx())
	r.must(err)
	var what []string
	for _, e := range book {
		if e.Feed == f {
			what = append(what, e.What)
		}
	}
	if !slices.Equal(what, []string{"backfill", "backfill", "backfill_cancelled", "backfilled"}) {
		r.Errorf("the logbook has %v", what)
	}

	// A removed tenant's past is not read.
	if _, err := r.AddBackfill(r.ctx(), other, span); err != nil {
		r.Error(err)
	}
	r.must(r.RemoveTenant(r.ctx(), idB))
	if list, err := r.Backfills(r.ctx(), ledger.BackfillFilter{State: ledger.BackfillOpen}); err != nil || len(list) != 0 {
		r.Errorf("open after the tenant was removed: %+v, %v", list, err)
	}
	r.sound()
}
