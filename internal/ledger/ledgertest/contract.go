package ledgertest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"drover"
	"drover/internal/ledger"
)

func updated(r *rig) {
	f := r.add(idA, "contoso")
	r.add(idB, "fabrikam")
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s"}}))
	r.commit(f, r.take(f).Epoch, Revisions(1, 3))
	r.must(r.SetTenantState(r.ctx(), idA, drover.Paused))
	t := Tenant(idA, "contoso-north")
	t.Sources, t.Added, t.State = []drover.SourceID{drover.SIEMDetections}, t.Added.Add(time.Hour), drover.Active
	r.must(r.UpdateTenant(r.ctx(), t))
	r.reopen()
	got, err := r.Tenant(r.ctx(), idA)
	r.must(err)
	if got.Name != "contoso-north" || !slices.Equal(got.Sources, t.Sources) || got.Added != drover.InstantOf(now) || got.State != drover.Paused {
		r.Errorf("changed to %+v", got)
	}
	p, err := r.Place(r.ctx(), "s", drover.Feed{Tenant: idA, Source: drover.SIEMDetections})
	r.must(err)
	if p.Seq != 0 {
		r.Errorf("in a new source a sink begins at %d", p.Seq)
	}
	if revs := r.all(f); len(revs) != 3 {
		r.Errorf("a source that was left out has %d revisions", len(revs))
	}
	t.Name = "fabrikam"
	if err := r.UpdateTenant(r.ctx(), t); !errors.Is(err, ledger.ErrConflict) {
		r.Errorf("the name of another: %v", err)
	}
}

func generations(r *rig) {
	last, err := r.Generation(r.ctx())
	r.must(err)
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s"}}))
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"added", func() error { return r.AddTenant(r.ctx(), Tenant(idA, "contoso")) }},
		{"added", func() error { return r.AddTenant(r.ctx(), Tenant(idB, "adatum")) }},
		{"changed", func() error { return r.UpdateTenant(r.ctx(), Tenant(idA, "woodgrove")) }},
		{"paused", func() error { return r.SetTenantState(r.ctx(), idA, drover.Paused) }},
		{"removed", func() error { return r.RemoveTenant(r.ctx(), idA) }},
	} {
		r.must(step.do())
		g, err := r.Generation(r.ctx())
		r.must(err)
		if g <= last {
			r.Errorf("%s: the generation is %d, and was %d", step.what, g, last)
		}
		last = g
	}
	list, err := r.ListTenants(r.ctx())
	r.must(err)
	if len(list) != 2 || list[0].Name != "adatum" || list[1].ID != idA || list[1].State != drover.Removed {
		r.Errorf("tenants: %+v", list)
	}
	if _, err := r.Commit(r.ctx(), ledger.Commit{Feed: FeedOf(idA), Epoch: 1, Revisions: Revisions(1, 1), Whole: drover.NoInstant}); err == nil {
		r.Error("a removed tenant's reader stored something")
	}
}

func versions(r *rig) {
	r.add(idA, "contoso")
	k := ledger.CredentialKey{Tenant: idA, App: "app", Kind: "refresh_token", Cloud: "worldwide", Authority: "https://login.example"}
	put := func(version uint64) (uint64, error) {
		return r.PutCredential(r.ctx(), ledger.Credential{CredentialKey: k, Secret: drover.NewSecret("s"), Expires: drover.InstantOf(now).Add(time.Hour)}, version)
	}
	first, err := put(0)
	r.must(err)
	c, err := r.Credential(r.ctx(), k)
	r.must(err)
	if c.Version != first || c.Stored != drover.InstantOf(now) || c.Expires != drover.InstantOf(now).Add(time.Hour) {
		r.Errorf("stored as version %d at %s, until %s", c.Version, c.Stored, c.Expires)
	}
	r.must(r.DropCredential(r.ctx(), k))
	if err := r.DropCredential(r.ctx(), k); !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("dropped twice: %v", err)
	}
	if _, err := put(first); !errors.Is(err, ledger.ErrConflict) {
		r.Errorf("a save by whoever read the one that was dropped: %v", err)
	}
	again, err := put(0)
	r.must(err)
	if again <= first {
		r.Errorf("version %d comes after %d", again, first)
	}
	if _, err := put(first); !errors.Is(err, ledger.ErrConflict) {
		r.Errorf("a save by whoever read the former one: %v", err)
	}
	k.Authority = "https://login.elsewhere.example"
	if _, err := r.Credential(r.ctx(), k); err == nil {
		r.Error("opened for another authority")
	}
}

// borrowed: a reader uses its buffer for the next page.
func borrowed(r *rig) {
	f := r.add(idA, "contoso")
	revs := Revisions(1, 70)
	r.commit(f, r.take(f).Epoch, revs)
	for i := range revs {
		clear(revs[i].Raw)
	}
	for range 2 {
		for _, rev := range r.all(f) {
			if sha256.Sum256(rev.Raw) != rev.Sum {
				r.Fatalf("revision %d changed with the buffer it came in", rev.Seq)
			}
		}
		r.reopen()
	}
}

// lent: a sink keeps its batch while the ledger goes on.
func lent(r *rig) {
	f := r.add(idA, "contoso")
	e := r.take(f).Epoch
	r.commit(f, e, Revisions(1, 100))
	kept := r.all(f)
	for n := 101; n < 1000; n += 100 {
		r.commit(f, e, Revisions(n, n+99))
		r.all(f)
	}
	for i := range kept {
		if want := Revision(i + 1); !bytes.Equal(kept[i].Raw, want.Raw) || kept[i].AlertID != want.AlertID {
			r.Fatalf("revision %d was changed after it was read", i+1)
		}
	}
}

func parked(r *rig) {
	f := r.add(idA, "contoso")
	e := r.take(f).Epoch
	for _, why := range []string{"403 Forbidden", "not the API", ""} {
		_, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e, Whole: drover.NoInstant, Parked: &why})
		r.must(err)
		_, err = r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e, Whole: drover.InstantOf(now)}) // says nothing of it
		r.must(err)
		st, err := r.Feeds(r.ctx())
		r.must(err)
		if len(st) != 1 || st[0].Parked != why {
			r.Errorf("parked: %+v, want %q", st, why)
		}
	}
}

func looking(r *rig) {
	f := r.add(idA, "contoso")
	e := r.take(f).Epoch
	at := drover.InstantOf(now)
	_, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e, Revisions: Revisions(1, 2), Whole: at, Cursor: &drover.Cursor{Source: f.Source, Version: 3, Through: at},
		Open: []drover.Gap{{Span: drover.Span{From: at, To: at.Add(time.Second)}, Cause: "test", Tries: 2}}})
	r.must(err)
	list, err := r.Feeds(r.ctx())
	r.must(err)
	if len(list) != 1 || list[0].Feed != f || list[0].Epoch != e || list[0].Head != 2 || list[0].Whole != at || list[0].Cursor != (drover.Cursor{Source: f.Source, Version: 3, Through: at}) || len(list[0].Gaps) != 1 {
		r.Fatalf("feeds: %+v", list)
	}
	g := list[0].Gaps[0]
	g.Span.To, g.Tries, g.Cause = g.Span.From.Add(time.Millisecond), 3, "narrower"
	_, err = r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e, Whole: drover.NoInstant, Update: []drover.Gap{g}})
	r.must(err)
	got := r.take(f)
	if len(got.Gaps) != 1 || got.Gaps[0].ID != g.ID || got.Gaps[0].Span != g.Span || got.Gaps[0].Tries != 3 || got.Gaps[0].Cause != "narrower" || got.Gaps[0].State != drover.GapOpen {
		r.Errorf("gaps: %+v", got.Gaps)
	}
	if got.Whole != at {
		r.Errorf("a commit that says nothing of it left whole at %s", got.Whole)
	}
}

func keyOrder(r *rig) {
	f := r.add(idA, "contoso")
	e := r.take(f).Epoch
	revs := Revisions(1, 60)
	slices.Reverse(revs)
	for i := range revs {
		if i%20 == 7 {
			revs[i].Changed = drover.NoInstant
		}
		revs[i].Ordinal = uint8(i % 3)
	}
	r.commit(f, e, revs[:40])
	r.commit(f, e, revs[40:])
	keys, err := r.Keys(r.ctx(), f, drover.Span{From: drover.InstantOf(now), To: drover.NoInstant}, true)
	r.must(err)
	if len(keys) != 60 || !slices.IsSortedFunc(keys, func(a, b ledger.Key) int { return cmp.Compare(a.Changed, b.Changed) }) {
		r.Errorf("%d keys, in the order of time: no", len(keys))
	}
	for _, k := range keys {
		rev := revs[k.Seq-1]
		if k.Ordinal != rev.Ordinal || k.Created != rev.Created || k.Sum != rev.Sum || k.Alert != ledger.AlertHash(rev.AlertID) {
			r.Errorf("key %+v is not that of revision %d", k, k.Seq)
		}
	}
	if _, err := r.Newest(r.ctx(), f, ledger.AlertHash(revs[0].AlertID), revs[0].Created+1); !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("with another created time: %v", err)
	}
}

func bodyGone(r *rig) {
	f := r.add(idA, "contoso")
	r.commit(f, r.take(f).Epoch, Revisions(1, 10))
	out, err := r.Prune(r.ctx(), ledger.PruneOrder{Now: drover.InstantOf(now.AddDate(0, 0, 100)), Bodies: 90 * 24 * time.Hour})
	r.must(err)
	if out.Bodies != 10 || out.Keys != 0 {
		r.Fatalf("dropped %+v", out)
	}
	for range 2 {
		if _, err := r.Body(r.ctx(), f, 3); !errors.Is(err, ledger.ErrNotFound) {
			r.Errorf("a body that was thrown away: %v", err)
		}
		k, err := r.Newest(r.ctx(), f, ledger.AlertHash("alert-3"), Revision(3).Created)
		r.must(err)
		if k.Seq != 3 || k.Sum != Revision(3).Sum {
			r.Errorf("its key: %+v", k)
		}
		r.reopen()
	}
}

func heads(r *rig) {
	f, g := r.add(idA, "contoso"), r.add(idB, "fabrikam")
	hinted := func() bool {
		select {
		case <-r.Changed():
			return true
		default:
			return false
		}
	}
	for hinted() {
	}
	r.commit(f, r.take(f).Epoch, Revisions(1, 7))
	if !hinted() {
		r.Error("no hint after a commit with new revisions")
	}
	got, err := r.Heads(r.ctx())
	r.must(err)
	if len(got) != 2 || got[f] != 7 || got[g] != 0 {
		r.Errorf("heads: %v", got)
	}
}

func lanes(r *rig) {
	f := r.add(idA, "contoso")
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s", FromAll: true}, {Sink: "t", FromAll: true}}))
	r.commit(f, r.take(f).Epoch, Revisions(1, 9))
	part := []drover.Range{{Feed: f, First: 1, Last: 4}}
	for _, a := range []ledger.Attempt{{Sink: "s", Lane: "a", Ranges: part}, {Sink: "s", Lane: "b", Ranges: part}, {Sink: "t", Lane: "a", Ranges: part}} {
		r.must(r.Claim(r.ctx(), a))
	}
	half := []drover.Range{{Feed: f, First: 1, Last: 2}}
	r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "s", Lane: "a", Done: half, Taken: 2, Mark: []byte("two")}))
	r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "s", Lane: "b", Done: half, Taken: 2, Close: true})) // done already, and says nothing of a mark
	got, err := r.Attempts(r.ctx(), "s")
	r.must(err)
	if len(got) != 1 || got[0].Lane != "a" {
		r.Errorf("attempts: %+v", got)
	}
	if got, _ := r.Attempts(r.ctx(), "t"); len(got) != 1 {
		r.Errorf("attempts of the other sink: %+v", got)
	}
	r.must(r.Settle(r.ctx(), ledger.Settle{Sink: "s", Lane: "a", Done: part, Taken: 2, Close: true}))
	mark, err := r.Mark(r.ctx(), "s", "a")
	r.must(err)
	if string(mark) != "two" {
		r.Errorf("a settle without a mark left %q", mark)
	}
	if _, err := r.Mark(r.ctx(), "t", "a"); !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("mark of the other sink: %v", err)
	}
	r.must(r.Claim(r.ctx(), ledger.Attempt{Sink: "s", Lane: "a", Ranges: []drover.Range{{Feed: f, First: 5, Last: 9}}}))
}

func settleWhole(r *rig) {
	f, g := r.add(idA, "contoso"), r.add(idB, "fabrikam")
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s", FromAll: true}}))
	for _, x := range []drover.Feed{f, g} {
		r.commit(x, r.take(x).Epoch, Revisions(1, 9))
	}
	r.must(r.Claim(r.ctx(), ledger.Attempt{Sink: "s", Lane: "l", Ranges: []drover.Range{{Feed: f, First: 1, Last: 9}}}))
	err := r.Settle(r.ctx(), ledger.Settle{Sink: "s", Lane: "l", Close: true, Mark: []byte("m"), Taken: 19, Done: []drover.Range{{Feed: f, First: 1, Last: 9}, {Feed: g, First: 1, Last: 10}},
		Aside: []ledger.Aside{{Feed: f, Reason: "refused", Seq: 3}}})
	if drover.KindOf(err) != drover.Broken {
		r.Errorf("beyond the head: %v", err)
	}
	places, err := r.Places(r.ctx(), "s")
	r.must(err)
	for _, p := range places {
		if p.Seq != 0 || len(p.Beyond) != 0 {
			r.Errorf("place %+v", p)
		}
	}
	if got, _ := r.Attempts(r.ctx(), "s"); len(got) != 1 {
		r.Errorf("attempts: %+v", got)
	}
	if _, err := r.Mark(r.ctx(), "s", "l"); !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("mark: %v", err)
	}
	if got, _ := r.SetAside(r.ctx(), ledger.AsideFilter{}); len(got) != 0 {
		r.Errorf("set aside: %+v", got)
	}
	if got := r.counted(idA, "s"); len(got) != 0 {
		r.Errorf("counted: %v", got)
	}
	r.sound()
}

func logbook(r *rig) {
	f := r.add(idA, "contoso")
	e := r.take(f).Epoch
	at := drover.InstantOf(now)
	out, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e, Whole: drover.NoInstant, Open: []drover.Gap{{Span: drover.Span{From: at, To: at.Add(time.Hour)}, Cause: "forgotten"}},
		Aside: []ledger.Aside{{Reason: "foreign", Sum: sha256.Sum256([]byte("x")), Size: 1, Raw: []byte("x")}}})
	r.must(err)
	r.must(r.AcknowledgeGap(r.ctx(), out.Gaps[0].ID, "the customer knows"))
	list, err := r.SetAside(r.ctx(), ledger.AsideFilter{})
	r.must(err)
	r.must(r.ResolveAside(r.ctx(), list[0].ID, "looked at"))
	r.must(r.Rewind(r.ctx(), f, at, "test"))
	r.must(r.RemoveTenant(r.ctx(), idA))
	r.reopen()
	book, err := r.Logbook(r.ctx())
	r.must(err)
	var what []string
	for _, e := range book {
		what = append(what, e.What)
		if e.At != at {
			r.Errorf("%s at %s", e.What, e.At)
		}
	}
	if !slices.Equal(what, []string{"created", "acknowledged", "resolved", "rewound", "erased"}) {
		r.Errorf("logbook: %v", what)
	}
}

func identity(r *rig) {
	id := r.Identity()
	for name, s := range map[string]string{"ID": id.ID, "incarnation": id.Incarnation} {
		if b, err := hex.DecodeString(s); err != nil || len(b) != map[string]int{"ID": 16, "incarnation": 8}[name] {
			r.Errorf("%s is %q", name, s)
		}
	}
	f := r.add(idA, "contoso")
	e := r.take(f).Epoch
	r.reopen()
	if got := r.Identity(); got != id {
		r.Errorf("after a restart it is %+v, was %+v", got, id)
	}
	s := r.Store
	r.must(s.Close())
	r.must(s.Close())
	if _, err := s.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e, Revisions: Revisions(1, 1), Whole: drover.NoInstant}); err == nil {
		r.Error("a commit was answered by a closed ledger")
	}
	if err := s.Ready(r.ctx()); err == nil {
		r.Error("a closed ledger says that it is ready")
	}
	r.Store = r.open(r.TB, r.dir, func() time.Time { return r.clock })
	if got := r.all(f); len(got) != 0 {
		r.Errorf("%d revisions were stored by a closed ledger", len(got))
	}
}

func absent(r *rig) {
	r.add(idA, "contoso")
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s"}}))
	nobody := FeedOf(idB)
	unread := drover.Feed{Tenant: idA, Source: drover.SIEMDetections}
	key := ledger.CredentialKey{Tenant: idA, App: "app", Kind: "refresh_token"}
	for what, do := range map[string]func() error{
		"take":                func() error { _, err := r.Take(r.ctx(), nobody); return err },
		"take another source": func() error { _, err := r.Take(r.ctx(), unread); return err },
		"commit":              func() error { _, err := r.Commit(r.ctx(), ledger.Commit{Feed: nobody}); return err },
		"keys":                func() error { _, err := r.Keys(r.ctx(), nobody, drover.Span{}, true); return err },
		"newest":              func() error { _, err := r.Newest(r.ctx(), nobody, drover.Hash{}, 0); return err },
		"body":                func() error { _, err := r.Body(r.ctx(), nobody, 1); return err },
		"after":               func() error { _, err := r.After(r.ctx(), nobody, 0, 1, 1); return err },
		"rewind":              func() error { return r.Rewind(r.ctx(), nobody, 0, "test") },
		"place":               func() error { _, err := r.Place(r.ctx(), "s", nobody); return err },
		"tenant":              func() error { _, err := r.Tenant(r.ctx(), idB); return err },
		"update":              func() error { return r.UpdateTenant(r.ctx(), Tenant(idB, "nobody")) },
		"state":               func() error { return r.SetTenantState(r.ctx(), idB, drover.Paused) },
		"remove":              func() error { return r.RemoveTenant(r.ctx(), idB) },
		"credential":          func() error { _, err := r.Credential(r.ctx(), key); return err },
		"credential of nobody": func() error {
			_, err := r.PutCredential(r.ctx(), ledger.Credential{CredentialKey: ledger.CredentialKey{Tenant: idB}}, 0)
			return err
		},
		"acknowledge":          func() error { return r.AcknowledgeGap(r.ctx(), 99, "test") },
		"resolve":              func() error { return r.ResolveAside(r.ctx(), 99, "test") },
		"revisions of no feed": func() error { return first(r, nobody) },
		"settle a feed of none": func() error {
			return r.Settle(r.ctx(), ledger.Settle{Sink: "s", Done: []drover.Range{{Feed: nobody, First: 1, Last: 1}}})
		},
	} {
		if err := do(); !errors.Is(err, ledger.ErrNotFound) {
			r.Errorf("%s: %v", what, err)
		}
	}
}

// first is the first error of a walk.
func first(r *rig, f drover.Feed) error {
	for _, err := range r.Revisions(r.ctx(), f, 1) {
		return err
	}
	return nil
}

func unnamedCounts(r *rig) {
	f := r.add(idA, "contoso")
	revs := Revisions(1, 6)
	revs[0].Flags, revs[1].Flags, revs[2].Flags = drover.Touch, drover.Touch|drover.Late, drover.Unnamed
	_, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: r.take(f).Epoch, Revisions: revs, Whole: drover.NoInstant, Unnamed: 1})
	r.must(err)
	got := r.counted(idA, "")
	for what, want := range map[string]int64{"revisions": 6, "touches": 2, "late": 1, "unnamed": 1} {
		if got[what] != want {
			r.Errorf("%s: %d, want %d", what, got[what], want)
		}
	}
	all, err := r.Counts(r.ctx(), "")
	r.must(err)
	if len(all) == 0 || all[0].Day != now.Format("2006-01-02") {
		r.Errorf("counts of all: %+v", all)
	}
}
