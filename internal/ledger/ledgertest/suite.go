// Package ledgertest is the suite that every ledger passes, untouched. Each
// test is a promise of ledger.Store.
package ledgertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"drover"
	"drover/internal/ledger"
)

// Opener opens the store that lies in dir, making it if there is none. The
// clock gives the store its ages. The suite closes what it opens.
type Opener func(t testing.TB, dir string, clock func() time.Time) ledger.Store

// now is when the suite's stories begin.
var now = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

const (
	idA = drover.TenantID("00000000-0000-4000-8000-00000000000a")
	idB = drover.TenantID("00000000-0000-4000-8000-00000000000b")
)

// Tenant makes a tenant for tests.
func Tenant(id drover.TenantID, name string) drover.Tenant {
	return drover.Tenant{ID: id, Name: name, Customer: drover.CustomerID(name), Cloud: "worldwide", App: "default", State: drover.Active,
		Sources: []drover.SourceID{drover.GraphAlerts}, Start: drover.InstantOf(now), Added: drover.InstantOf(now)}
}

// FeedOf is the tenant's feed of Graph alerts.
func FeedOf(id drover.TenantID) drover.Feed {
	return drover.Feed{Tenant: id, Source: drover.GraphAlerts}
}

// Revision makes the n-th revision of a story; its body is unlike any other.
func Revision(n int) drover.Revision {
	raw := fmt.Appendf(nil, `{"id":"alert-%d","text":"%032x","n":%d}`, n, sha256.Sum256(fmt.Append(nil, n)), n)
	at := drover.InstantOf(now).Add(time.Duration(n) * time.Second)
	return drover.Revision{AlertID: fmt.Sprintf("alert-%d", n), Changed: at, Created: at, Severity: "high", Status: "new", Sum: sha256.Sum256(raw), Raw: raw}
}

// Revisions makes revisions from first to last.
func Revisions(first, last int) (revs []drover.Revision) {
	for n := first; n <= last; n++ {
		revs = append(revs, Revision(n))
	}
	return revs
}

type rig struct {
	testing.TB
	open  Opener
	dir   string
	clock time.Time
	ledger.Store
}

func newRig(t *testing.T, open Opener) *rig {
	r := &rig{TB: t, open: open, dir: t.TempDir(), clock: now}
	r.Store = open(t, r.dir, func() time.Time { return r.clock })
	t.Cleanup(func() {
		if r.Store != nil {
			if err := r.Store.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
	})
	return r
}

func (r *rig) reopen() {
	r.Helper()
	r.must(r.Store.Close())
	r.Store = r.open(r.TB, r.dir, func() time.Time { return r.clock })
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) ctx() context.Context { return context.Background() }

func (r *rig) add(id drover.TenantID, name string) drover.Feed {
	r.Helper()
	r.must(r.AddTenant(r.ctx(), Tenant(id, name)))
	return FeedOf(id)
}

func (r *rig) take(f drover.Feed) ledger.FeedState {
	r.Helper()
	st, err := r.Take(r.ctx(), f)
	r.must(err)
	return st
}

func (r *rig) commit(f drover.Feed, e drover.Epoch, revs []drover.Revision) ledger.Committed {
	r.Helper()
	out, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e, Revisions: revs, Whole: drover.NoInstant})
	r.must(err)
	return out
}

// all reads every revision of a feed in pages of different sizes.
func (r *rig) all(f drover.Feed) (out []drover.Revision) {
	r.Helper()
	for seq, rows := uint64(0), 1; ; rows = rows%150 + 37 {
		revs, err := r.After(r.ctx(), f, seq, rows, 1<<20)
		r.must(err)
		if len(revs) == 0 {
			return out
		}
		out = append(out, revs...)
		seq = revs[len(revs)-1].Seq
	}
}

// Run runs the suite.
func Run(t *testing.T, open Opener) {
	for name, test := range map[string]func(*rig){
		"what was committed is read back as it was, after a restart too":        readBack,
		"sequence numbers have no hole and no repeat":                           gapless,
		"a commit with an old epoch changes nothing":                            fenced,
		"many feeds committing at once lose nothing":                            together,
		"cursor, gaps and rows move in one step":                                oneStep,
		"a cursor does not go back":                                             honestCursor,
		"a key is found by its time, and one without a time too":                keys,
		"the newest revision of an alert is found, and a late one is not it":    newest,
		"a place moves over the unbroken run only":                              places,
		"a new sink begins at the head or at all that is kept":                  newSink,
		"a new tenant begins at nothing for every sink":                         newTenant,
		"an attempt is there until it is settled, and there is only one":        attempts,
		"what is set aside again is counted, not stored twice":                  asides,
		"gaps that continue each other are one, and can be closed":              gaps,
		"credentials are compared before they are swapped, and bound":           credentials,
		"a removed tenant's bodies and credentials are gone":                    removal,
		"a body goes when every sink has it and its age has passed":             prune,
		"a sink that holds back too much gets a gap, and the place moves":       hold,
		"a prune that would drop too much at once asks":                         pruneAsks,
		"names and IDs of tenants are unique":                                   unique,
		"flushing keeps when feeds were last read whole":                        flush,
		"daily counts add up":                                                   counts,
		"two takers: the second one wins, and every row is there once (S21/22)": takers,
		"check finds nothing wrong with a sound ledger":                         check,
	} {
		t.Run(name, func(t *testing.T) { test(newRig(t, open)) })
	}
}

func readBack(r *rig) {
	f := r.add(idA, "contoso")
	e := r.take(f).Epoch
	want := Revisions(1, 200)
	want[3].Flags, want[3].Previous, want[3].Changes = drover.Late|drover.Touch, 2, []string{"status", "evidence"}
	want[4].Changed = drover.NoInstant
	want[5].Raw = bytes.Repeat([]byte("x\x00\xff"), 100_000)
	want[5].Sum = sha256.Sum256(want[5].Raw)
	r.commit(f, e, slices.Clone(want[:90]))
	r.commit(f, e, slices.Clone(want[90:]))
	for range 2 {
		got := r.all(f)
		if len(got) != len(want) {
			r.Fatalf("%d revisions, want %d", len(got), len(want))
		}
		for i := range want {
			w := want[i]
			w.Feed, w.Seq = f, uint64(i+1)
			g := got[i]
			if !bytes.Equal(g.Raw, w.Raw) || g.Sum != w.Sum || g.AlertID != w.AlertID || g.Changed != w.Changed || g.Flags != w.Flags || g.Previous != w.Previous ||
				!slices.Equal(g.Changes, w.Changes) || g.Seq != w.Seq || g.Feed != w.Feed || g.Created != w.Created || g.Severity != w.Severity || g.Status != w.Status || g.EventID(0) != w.EventID(0) {
				r.Errorf("revision %d differs", i+1)
			}
		}
		one, err := r.Body(r.ctx(), f, 77)
		r.must(err)
		if !bytes.Equal(one.Raw, want[76].Raw) {
			r.Error("Body(77) differs")
		}
		r.reopen()
	}
	if _, err := r.Body(r.ctx(), f, 201); !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("Body beyond the head: %v", err)
	}
}

func gapless(r *rig) {
	f := r.add(idA, "contoso")
	e := r.take(f).Epoch
	n := 0
	for _, size := range []int{1, 64, 65, 3, 128} {
		out := r.commit(f, e, Revisions(n+1, n+size))
		if out.First != uint64(n+1) || out.Last != uint64(n+size) {
			r.Errorf("got %d to %d", out.First, out.Last)
		}
		n += size
		if n == 133 {
			r.reopen()
			e = r.take(f).Epoch
		}
	}
	for i, rev := range r.all(f) {
		if rev.Seq != uint64(i+1) {
			r.Fatalf("revision %d has number %d", i+1, rev.Seq)
		}
	}
	// A key that is there already is an error of the caller, and changes nothing.
	if _, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e, Revisions: Revisions(5, 5), Whole: drover.NoInstant}); drover.KindOf(err) != drover.Broken {
		r.Errorf("a key stored twice: %v", err)
	}
}

func fenced(r *rig) {
	f := r.add(idA, "contoso")
	old := r.take(f).Epoch
	newer := r.take(f).Epoch
	if _, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: old, Revisions: Revisions(1, 3), Whole: drover.NoInstant}); !errors.Is(err, ledger.ErrMoved) {
		r.Errorf("old epoch: %v", err)
	}
	if got := r.all(f); len(got) != 0 {
		r.Errorf("%d revisions of an old epoch", len(got))
	}
	r.commit(f, newer, Revisions(1, 1))
}

func together(r *rig) {
	const feeds, commits = 24, 12
	var wg sync.WaitGroup
	for i := range feeds {
		id := drover.TenantID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i))
		f := r.add(id, fmt.Sprintf("t%d", i))
		e := r.take(f).Epoch
		wg.Go(func() {
			for n := range commits {
				if _, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e, Revisions: Revisions(n*7+1, n*7+7), Whole: drover.NoInstant}); err != nil {
					r.Errorf("commit: %v", err)
				}
				if n == 5 && i%4 == 0 { // a stale one among them takes nobody along
					_, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e - 1, Revisions: Revisions(1000, 1001), Whole: drover.NoInstant})
					if !errors.Is(err, ledger.ErrMoved) {
						r.Errorf("stale commit: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	for i := range feeds {
		f := FeedOf(drover.TenantID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i)))
		if got := r.all(f); len(got) != commits*7 {
			r.Errorf("feed %d has %d revisions, want %d", i, len(got), commits*7)
		}
	}
}

func oneStep(r *rig) {
	f := r.add(idA, "contoso")
	e := r.take(f).Epoch
	at := drover.InstantOf(now)
	out, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e, Revisions: Revisions(1, 2), Whole: at.Add(time.Minute),
		Cursor: &drover.Cursor{Source: f.Source, Version: 1, Through: at.Add(time.Minute)},
		Open:   []drover.Gap{{Span: drover.Span{From: at, To: at.Add(time.Second)}, Cause: "test"}}})
	r.must(err)
	if len(out.Gaps) != 1 || out.Gaps[0].ID == 0 {
		r.Fatalf("gaps: %+v", out.Gaps)
	}
	// A commit that fails for its rows moves neither cursor nor gap.
	if _, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e, Revisions: Revisions(3, 3), Whole: drover.NoInstant,
		Cursor: &drover.Cursor{Source: f.Source, Version: 1, Through: at}}); drover.KindOf(err) != drover.Broken {
		r.Errorf("a cursor that goes back: %v", err)
	}
	r.reopen()
	st := r.take(f)
	if st.Cursor.Through != at.Add(time.Minute) || st.Whole != at.Add(time.Minute) || st.Head != 2 || len(st.Gaps) != 1 {
		r.Errorf("state: %+v", st)
	}
}

func honestCursor(r *rig) {
	f := r.add(idA, "contoso")
	e := r.take(f).Epoch
	at := drover.InstantOf(now)
	set := func(i drover.Instant) error {
		_, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e, Whole: drover.NoInstant, Cursor: &drover.Cursor{Source: f.Source, Version: 1, Through: i}})
		return err
	}
	r.must(set(at))
	r.must(set(at))
	if err := set(at - 1); drover.KindOf(err) != drover.Broken {
		r.Errorf("back by one step: %v", err)
	}
	r.must(r.Rewind(r.ctx(), f, at.Add(-time.Hour), "test"))
	if st := r.take(f); st.Cursor.Through != at.Add(-time.Hour) {
		r.Errorf("after a rewind: %s", st.Cursor.Through)
	}
}

func keys(r *rig) {
	f := r.add(idA, "contoso")
	e := r.take(f).Epoch
	revs := Revisions(1, 50)
	revs[10].Changed = revs[9].Changed
	revs[20].Changed = drover.NoInstant
	r.commit(f, e, slices.Clone(revs))
	got, err := r.Keys(r.ctx(), f, drover.Span{From: revs[9].Changed, To: revs[12].Changed}, false)
	r.must(err)
	if len(got) != 3 { // 9, 10 (same time), 11
		r.Errorf("%d keys in the span", len(got))
	}
	for _, k := range got {
		if !slices.ContainsFunc(revs, func(v drover.Revision) bool {
			return ledger.AlertHash(v.AlertID) == k.Alert && v.Sum == k.Sum && v.Changed == k.Changed
		}) {
			r.Errorf("key %+v is of no revision", k)
		}
	}
	got, err = r.Keys(r.ctx(), f, drover.Span{From: 0, To: 0}, true)
	r.must(err)
	if len(got) != 1 || got[0].Seq != 21 {
		r.Errorf("keys without a time: %+v", got)
	}
	got, err = r.Keys(r.ctx(), f, drover.Span{From: revs[40].Changed, To: drover.NoInstant}, false)
	r.must(err)
	if len(got) != 10 {
		r.Errorf("%d keys in an open span", len(got))
	}
}

func newest(r *rig) {
	f := r.add(idA, "contoso")
	e := r.take(f).Epoch
	first, second := Revision(1), Revision(1)
	second.Changed, second.Raw = first.Changed.Add(time.Hour), []byte("second")
	r.commit(f, e, []drover.Revision{second})
	r.commit(f, e, []drover.Revision{first}) // late
	k, err := r.Newest(r.ctx(), f, ledger.AlertHash("alert-1"), first.Created)
	r.must(err)
	if k.Changed != second.Changed || k.Seq != 1 {
		r.Errorf("newest: %+v", k)
	}
	if _, err := r.Newest(r.ctx(), f, ledger.AlertHash("alert-2"), first.Created); !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("unknown alert: %v", err)
	}
}

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
	if _, err := r.Places(r.ctx(), "unknown"); drover.KindOf(err) != drover.Broken {
		r.Errorf("an absent place: %v", err)
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
		if p.Seq != want {
			r.Errorf("sink %s begins at %d, want %d", sink, p.Seq, want)
		}
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

func gaps(r *rig) {
	f := r.add(idA, "contoso")
	e := r.take(f).Epoch
	at := drover.InstantOf(now)
	open := func(from, to time.Duration, provider string) drover.Gap {
		r.Helper()
		out, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e, Whole: drover.NoInstant,
			Open: []drover.Gap{{Span: drover.Span{From: at.Add(from), To: at.Add(to)}, Provider: provider, Cause: "test"}}})
		r.must(err)
		return out.Gaps[0]
	}
	a := open(0, time.Minute, "vendor")
	if b := open(time.Minute, 2*time.Minute, "vendor"); b.ID != a.ID || b.Span.To != at.Add(2*time.Minute) {
		r.Errorf("a gap that continues another is %+v", b)
	}
	other := open(0, time.Minute, "")
	if again := open(time.Minute, 2*time.Minute, ""); other.ID == a.ID || again.ID == other.ID {
		r.Error("a gap of no provider was joined to another")
	} else {
		r.must(r.AcknowledgeGap(r.ctx(), again.ID, "known"))
	}
	a.Span.To, a.State = at.Add(2*time.Minute), drover.GapClosed
	_, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e, Whole: drover.NoInstant, Update: []drover.Gap{a}})
	r.must(err)
	r.must(r.AcknowledgeGap(r.ctx(), other.ID, "known"))
	if err := r.AcknowledgeGap(r.ctx(), other.ID, "again"); !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("acknowledged twice: %v", err)
	}
	list, err := r.Gaps(r.ctx(), ledger.GapFilter{State: drover.GapOpen})
	r.must(err)
	if len(list) != 0 {
		r.Errorf("still open: %+v", list)
	}
	if all, _ := r.Gaps(r.ctx(), ledger.GapFilter{Tenant: idA}); len(all) != 3 {
		r.Errorf("all: %+v", all)
	}
}

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
	if out.Bodies != 0 || out.Asks == "" {
		r.Errorf("dropped %d and asks %q", out.Bodies, out.Asks)
	}
	order.Confirmed = true
	if out, err = r.Prune(r.ctx(), order); err != nil || out.Bodies != 320 {
		r.Errorf("confirmed: dropped %d, %v", out.Bodies, err)
	}
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

func flush(r *rig) {
	f := r.add(idA, "contoso")
	at := drover.InstantOf(now)
	r.must(r.Flush(r.ctx(), map[drover.Feed]drover.Instant{f: at, FeedOf(idB): at}))
	r.must(r.Flush(r.ctx(), map[drover.Feed]drover.Instant{f: at - 5}))
	r.reopen()
	if st := r.take(f); st.Whole != at {
		r.Errorf("whole %s, want %s", st.Whole, at)
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

func takers(r *rig) {
	f := r.add(idA, "contoso")
	var mu sync.Mutex
	next := 1
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 25 {
				st, err := r.Take(r.ctx(), f)
				if err != nil {
					r.Errorf("take: %v", err)
					return
				}
				mu.Lock()
				n := next
				mu.Unlock()
				out, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: st.Epoch, Revisions: Revisions(n, n+2), Whole: drover.NoInstant})
				switch {
				case err == nil:
					mu.Lock()
					next = max(next, int(out.Last)+1)
					mu.Unlock()
				case errors.Is(err, ledger.ErrMoved), drover.KindOf(err) == drover.Broken:
					// Overtaken, or the rows were stored by another taker.
				default:
					r.Errorf("commit: %v", err)
				}
			}
		})
	}
	wg.Wait()
	seen := make(map[string]bool)
	for i, rev := range r.all(f) {
		if rev.Seq != uint64(i+1) || seen[rev.EventID(0)] {
			r.Fatalf("revision %d: number %d, seen before: %t", i+1, rev.Seq, seen[rev.EventID(0)])
		}
		seen[rev.EventID(0)] = true
	}
	if len(seen) == 0 {
		r.Error("nobody committed anything")
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
