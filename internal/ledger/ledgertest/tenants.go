package ledgertest

import (
	"errors"
	"maps"
	"slices"
	"time"

	"drover"
	"drover/internal/ledger"
)

func credentials(r *rig) {
	r.add(idA, "contoso")
	k := ledger.CredentialKey{Tenant: idA, App: "app", Kind: "refresh_token", Cloud: "worldwide", Authority: "https://login.example"}
	v, err := r.PutCredential(r.ctx(), ledger.Credential{CredentialKey: k, Secret: drover.NewSecret("one"), Expires: drover.NoInstant}, 0)
	r.must(err)
	if _, err := r.PutCredential(r.ctx(), ledger.Credential{CredentialKey: k, Secret: drover.NewSecret("stale")}, 0); !errors.Is(err, ledger.ErrConflict) {
		r.Errorf("a stale save: %v", err)
	}
	_, err = r.PutCredential(r.ctx(), ledger.Credential{CredentialKey: k, Secret: drover.NewSecret("two"), Previous: drover.NewSecret("one"), Expires: drover.NoInstant}, v)
	r.must(err)
	r.reopen()
	c, err := r.Credential(r.ctx(), k)
	r.must(err)
	if c.Secret.Reveal() != "two" || c.Previous.Reveal() != "one" || c.Version != 2 {
		r.Errorf("credential version %d", c.Version)
	}
	other := k
	other.Cloud = "gcc-high"
	if _, err := r.Credential(r.ctx(), other); err == nil {
		r.Error("opened for another cloud")
	}
	app := ledger.CredentialKey{App: "app", Kind: "client_secret"}
	_, err = r.PutCredential(r.ctx(), ledger.Credential{CredentialKey: app, Secret: drover.NewSecret("s")}, 0)
	r.must(err)
	r.must(r.DropCredential(r.ctx(), app))
	if _, err := r.Credential(r.ctx(), app); !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("a dropped one: %v", err)
	}
}

func removal(r *rig) {
	f := r.add(idA, "contoso")
	g := r.add(idB, "fabrikam")
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s"}}))
	for _, x := range []drover.Feed{f, g} {
		r.commit(x, r.take(x).Epoch, Revisions(1, 70))
	}
	k := ledger.CredentialKey{Tenant: idA, App: "app", Kind: "refresh_token"}
	_, err := r.PutCredential(r.ctx(), ledger.Credential{CredentialKey: k, Secret: drover.NewSecret("one")}, 0)
	r.must(err)
	r.must(r.RemoveTenant(r.ctx(), idA))
	for range 2 {
		if revs, err := r.After(r.ctx(), f, 0, 10, 1<<20); !errors.Is(err, ledger.ErrNotFound) {
			r.Errorf("bodies of a removed tenant: %d, %v", len(revs), err)
		}
		if _, err := r.Credential(r.ctx(), k); !errors.Is(err, ledger.ErrNotFound) {
			r.Errorf("credential of a removed tenant: %v", err)
		}
		if got := r.all(g); len(got) != 70 {
			r.Errorf("the other tenant has %d", len(got))
		}
		r.reopen()
	}
	r.must(r.AddTenant(r.ctx(), Tenant(idA, "contoso")))
	if _, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: r.take(f).Epoch, Revisions: Revisions(100, 101), Whole: drover.NoInstant}); err != nil {
		r.Errorf("a tenant that came back: %v", err)
	}
}

func drained(r *rig) {
	f := r.add(idA, "contoso")
	g := r.add(idB, "fabrikam")
	both := []ledger.SinkPlace{{Sink: "s"}, {Sink: "t"}}
	r.must(r.Sinks(r.ctx(), both))
	for _, x := range []drover.Feed{f, g} {
		r.commit(x, r.take(x).Epoch, Revisions(1, 10))
	}
	k := ledger.CredentialKey{Tenant: idA, App: "app", Kind: "refresh_token"}
	_, err := r.PutCredential(r.ctx(), ledger.Credential{CredentialKey: k, Secret: drover.NewSecret("one")}, 0)
	r.must(err)
	r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "s", Done: []drover.Range{{Feed: f, First: 1, Last: 2}, {Feed: f, First: 5, Last: 5}}, Taken: 3}))
	refused := func(want map[drover.SinkID]uint64) {
		r.Helper()
		owed, err := r.RemoveDrained(r.ctx(), idA)
		r.must(err)
		if !maps.Equal(owed, want) {
			r.Errorf("owed %v, want %v", owed, want)
		}
		if t, err := r.Tenant(r.ctx(), idA); err != nil || t.State == drover.Removed || len(r.all(f)) != 10 {
			r.Errorf("it is gone: %v %v", t.State, err)
		}
		if _, err := r.Credential(r.ctx(), k); err != nil {
			r.Errorf("its credential is gone: %v", err)
		}
		if got := r.counted(idA, "s"); got["discarded"] != 0 {
			r.Errorf("counted: %v", got)
		}
	}
	refused(map[drover.SinkID]uint64{"s": 7, "t": 10})
	r.must(r.Sinks(r.ctx(), both[:1])) // a sink that is not in use holds nobody back
	refused(map[drover.SinkID]uint64{"s": 7})
	r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "s", Done: []drover.Range{{Feed: f, First: 3, Last: 10}}, Taken: 7}))
	owed, err := r.RemoveDrained(r.ctx(), idA)
	r.must(err)
	if len(owed) != 0 {
		r.Errorf("owed of a drained tenant: %v", owed)
	}
	for range 2 {
		if _, err := r.After(r.ctx(), f, 0, 10, 1<<20); !errors.Is(err, ledger.ErrNotFound) {
			r.Errorf("bodies of a removed tenant: %v", err)
		}
		if _, err := r.Credential(r.ctx(), k); !errors.Is(err, ledger.ErrNotFound) {
			r.Errorf("credential of a removed tenant: %v", err)
		}
		if got := r.counted(idA, "s"); got["discarded"] != 0 || got["taken"] != 10 {
			r.Errorf("counted: %v", got)
		}
		if got := r.all(g); len(got) != 10 {
			r.Errorf("the other tenant has %d", len(got))
		}
		r.reopen()
	}
	if owed, err := r.RemoveDrained(r.ctx(), idA); err != nil || len(owed) != 0 { // again: nothing
		r.Errorf("a second time: %v %v", owed, err)
	}
	if _, err := r.RemoveDrained(r.ctx(), "00000000-0000-4000-8000-0000000000ff"); !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("of nobody: %v", err)
	}
	r.sound()
}

func unique(r *rig) {
	r.add(idA, "contoso")
	if err := r.AddTenant(r.ctx(), Tenant(idA, "other")); !errors.Is(err, ledger.ErrConflict) {
		r.Errorf("ID twice: %v", err)
	}
	if err := r.AddTenant(r.ctx(), Tenant(idB, "contoso")); !errors.Is(err, ledger.ErrConflict) {
		r.Errorf("name twice: %v", err)
	}
	g1, err := r.Generation(r.ctx())
	r.must(err)
	r.must(r.SetTenantState(r.ctx(), idA, drover.Paused))
	if g2, _ := r.Generation(r.ctx()); g2 <= g1 {
		r.Error("the generation did not grow")
	}
	t, err := r.FindTenant(r.ctx(), "CONTOSO")
	r.must(err)
	if t.ID != idA || t.State != drover.Paused {
		r.Errorf("found %+v", t)
	}
	if _, err := r.FindTenant(r.ctx(), "nobody"); !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("nobody: %v", err)
	}
}

func returns(r *rig) {
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s", FromAll: true}}))
	f := r.add(idA, "contoso")
	r.commit(f, r.take(f).Epoch, Revisions(1, 100))
	r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "s", Done: []drover.Range{{Feed: f, First: 1, Last: 30}, {Feed: f, First: 40, Last: 49}}, Taken: 40}))
	r.must(r.RemoveTenant(r.ctx(), idA))
	r.must(r.RemoveTenant(r.ctx(), idA)) // again: nothing
	if got := r.counted(idA, "s"); got["taken"] != 40 || got["discarded"] != 60 {
		r.Errorf("counted: %v", got)
	}
	r.must(r.AddTenant(r.ctx(), Tenant(idA, "contoso-again")))
	for n := range 2 {
		e := r.take(f).Epoch
		r.commit(f, e, Revisions(101+n, 101+n))
		got := r.all(f)
		if len(got) != n+1 || got[0].Seq != 101 || got[0].AlertID != "alert-101" {
			r.Errorf("%d revisions are shown", len(got))
		}
		if _, err := r.Body(r.ctx(), f, 100); !errors.Is(err, ledger.ErrNotFound) {
			r.Errorf("a body of the former life: %v", err)
		}
		// What was ledgered in the former life is still known: nothing twice.
		if _, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e, Revisions: Revisions(7, 7), Whole: drover.NoInstant}); drover.KindOf(err) != drover.Broken {
			r.Errorf("a key of the former life: %v", err)
		}
		r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s", FromAll: true}, {Sink: "new", FromAll: true}}))
		p, err := r.Place(r.ctx(), "new", f)
		r.must(err)
		if p.Seq != 100 {
			r.Errorf("a new sink begins at %d", p.Seq)
		}
		r.reopen()
	}
	// The blocks of the former life go with the next prune, young as they are.
	out, err := r.Prune(r.ctx(), ledger.PruneOrder{Now: drover.InstantOf(now), Bodies: 90 * 24 * time.Hour})
	r.must(err)
	if out.Bodies != 100 {
		r.Errorf("dropped %d", out.Bodies)
	}
	book, err := r.Logbook(r.ctx())
	r.must(err)
	if !slices.ContainsFunc(book, func(e ledger.Entry) bool { return e.What == "erased" && e.Feed.Tenant == idA && e.Detail == "contoso" }) {
		r.Errorf("logbook: %+v", book)
	}
	r.sound()
}
