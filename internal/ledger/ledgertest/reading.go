package ledgertest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"drover"
	"drover/internal/ledger"
)

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

func rewind(r *rig) {
	f := r.add(idA, "contoso")
	e := r.take(f).Epoch
	at := drover.InstantOf(now)
	_, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e, Whole: at, Cursor: &drover.Cursor{Source: f.Source, Version: 1, Through: at}})
	r.must(err)
	r.must(r.Rewind(r.ctx(), f, at.Add(-time.Hour), "a row was missing"))
	if _, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e, Revisions: Revisions(1, 1), Whole: drover.NoInstant}); !errors.Is(err, ledger.ErrMoved) {
		r.Errorf("the reader of before the rewind: %v", err)
	}
	r.must(r.Rewind(r.ctx(), f, at, "forward is no rewind"))
	if st := r.take(f); st.Cursor.Through != at.Add(-time.Hour) || st.Whole != at.Add(-time.Hour) {
		r.Errorf("after the rewinds: through %s, whole %s", st.Cursor.Through, st.Whole)
	}
	book, err := r.Logbook(r.ctx())
	r.must(err)
	i := slices.IndexFunc(book, func(e ledger.Entry) bool { return e.What == "rewound" })
	if i < 0 || book[i].Feed != f || !strings.Contains(book[i].Detail, "a row was missing") {
		r.Errorf("logbook: %+v", book)
	}
}

func pages(r *rig) {
	f := r.add(idA, "contoso")
	revs := Revisions(1, 40)
	for i := range revs {
		if i%7 == 3 {
			revs[i].Raw = bytes.Repeat([]byte{byte(i)}, 300<<10)
			revs[i].Sum = sha256.Sum256(revs[i].Raw)
		}
	}
	r.commit(f, r.take(f).Epoch, revs)
	for range 2 {
		for _, limit := range []struct{ rows, bytes int }{{1, 0}, {5, 1 << 30}, {1000, 200 << 10}, {1000, 1 << 30}, {0, 0}} {
			n := 0
			for seq := uint64(0); ; {
				got, err := r.After(r.ctx(), f, seq, limit.rows, limit.bytes)
				r.must(err)
				size := 0
				for i := range got {
					size += len(got[i].Raw)
					if got[i].Seq != seq+uint64(i)+1 || got[i].Sum != sha256.Sum256(got[i].Raw) {
						r.Fatalf("revision %d in the place of %d, or altered", got[i].Seq, seq+uint64(i)+1)
					}
				}
				if len(got) > max(1, limit.rows) || len(got) > 1 && size > limit.bytes {
					r.Errorf("%d rows of %d bytes, asked for %d of %d", len(got), size, limit.rows, limit.bytes)
				}
				if len(got) == 0 {
					break
				}
				n += len(got)
				seq = got[len(got)-1].Seq
			}
			if n != len(revs) {
				r.Errorf("%d revisions in pages of %+v", n, limit)
			}
		}
		r.reopen()
	}
}

// storm lets writers of every kind meet: 64 at once.
func storm(r *rig) {
	r.must(r.Sinks(r.ctx(), []ledger.SinkPlace{{Sink: "s", FromAll: true}}))
	const feeds = 32
	var (
		wg              sync.WaitGroup
		calls, failures atomic.Int64
	)
	for i := range feeds {
		f := r.add(drover.TenantID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i)), fmt.Sprintf("t%d", i))
		e := r.take(f).Epoch
		note := func(what string, err error) {
			calls.Add(1)
			if err != nil {
				failures.Add(1)
				r.Errorf("%s: %v", what, err)
			}
		}
		wg.Go(func() {
			for n := range 10 {
				_, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e, Revisions: Revisions(n*10+1, n*10+10), Whole: drover.NoInstant})
				note("commit", err)
			}
		})
		wg.Go(func() {
			lane := string(f.Tenant)
			for seq := uint64(0); seq < 100 && failures.Load() == 0; {
				revs, err := r.After(r.ctx(), f, seq, 7, 1<<20)
				note("read", err)
				if len(revs) == 0 {
					note("ready", r.Ready(r.ctx()))
					continue
				}
				done := []drover.Range{{Feed: f, First: seq + 1, Last: revs[len(revs)-1].Seq}}
				note("claim", r.Claim(r.ctx(), ledger.Attempt{Sink: "s", Lane: lane, Ranges: done}))
				note("settle", r.Settle(r.ctx(), ledger.Settle{Sink: "s", Lane: lane, Done: done, Taken: len(revs), Close: true}))
				seq = done[0].Last
			}
		})
	}
	wg.Wait()
	places, err := r.Places(r.ctx(), "s")
	r.must(err)
	for _, p := range places {
		if p.Seq != 100 || p.Head != 100 {
			r.Errorf("place %+v", p)
		}
	}
	r.sound()
	r.ran("S19", "%d writers at once, %d calls: failures surfaced %d", 2*feeds, calls.Load(), failures.Load())
}
