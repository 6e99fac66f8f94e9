package ledgertest

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"drover"
	"drover/internal/ledger"
)

// model tells any story twice, to a store and to the plainest thing that could
// be one, and compares.
func model(t *testing.T, open Opener, ran Ran) {
	var told tally
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := flag.Set("rapid.checks", "25"); err != nil { // a few stories here, more on demand
			t.Fatal(err)
		}
	}
	dir, n := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		m := &modelled{T: rt, tb: t, open: open, dir: filepath.Join(dir, fmt.Sprint(n)), clock: now, sinks: make(map[drover.SinkID]*modelSink), tally: &told}
		if err := os.Mkdir(m.dir, 0o700); err != nil {
			rt.Fatal(err)
		}
		m.begin()
		defer m.end()
		rt.Repeat(map[string]func(*rapid.T){
			"commit":  m.commit,
			"stale":   m.stale,
			"again":   m.again,
			"back":    m.back,
			"take":    m.take,
			"settle":  m.settle,
			"sinks":   m.setSinks,
			"prune":   m.prune,
			"restart": m.restart,
			"":        m.compare,
		})
	})
	ran.ran(t, "I4", "%d stories, %d commits, %d keys committed again: stored twice %d, holes and repeats among the numbers %d", n, told.commits, told.again, told.twice, told.holes)
	ran.ran(t, "I8", "%d stories, %d cursors that would have gone back: accepted %d, regressions seen %d", n, told.back, told.backTaken, told.regressions)
	ran.ran(t, "I9", "%d stories, %d places looked at after every step: last number less taken, set aside, unrouted, passed over, discarded and pending %d", n, told.places, told.difference)
}

// tally counts what the stories showed.
type tally struct {
	commits, again, twice, holes int
	back, backTaken, regressions int
	places, difference           int
}

type modelFeed struct {
	drover.Feed
	epoch  drover.Epoch
	cursor drover.Instant
	revs   []drover.Revision // revs[i] has sequence number i+1
	gone   uint64            // bodies up to it may be gone
}

type modelSink struct {
	used  bool
	start map[drover.Feed]uint64          // where it began
	done  map[drover.Feed]map[uint64]bool // every number that the sink has behind it
}

// modelled is the story under way.
type modelled struct {
	*rapid.T
	tb    testing.TB
	open  Opener
	dir   string
	clock time.Time
	store ledger.Store
	feeds []*modelFeed
	sinks map[drover.SinkID]*modelSink
	next  int
	*tally
}

func (m *modelled) ctx() context.Context { return context.Background() }

func (m *modelled) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

func (m *modelled) begin() {
	m.store = m.open(m.tb, m.dir, func() time.Time { return m.clock })
	for i, id := range []drover.TenantID{idA, idB} {
		m.must(m.store.AddTenant(m.ctx(), Tenant(id, fmt.Sprint("t", i))))
		m.feeds = append(m.feeds, &modelFeed{Feed: FeedOf(id), cursor: drover.NoInstant})
	}
	for _, f := range m.feeds {
		m.takeFeed(f)
	}
}

func (m *modelled) end() {
	found, err := m.store.Check(m.ctx())
	if err != nil || len(found) > 0 {
		m.Errorf("check: %v, %v", found, err)
	}
	if err := m.store.Close(); err != nil {
		m.Errorf("close: %v", err)
	}
	_ = os.RemoveAll(m.dir)
}

func (m *modelled) feed(t *rapid.T) *modelFeed {
	return m.feeds[rapid.IntRange(0, len(m.feeds)-1).Draw(t, "feed")]
}

func (m *modelled) takeFeed(f *modelFeed) {
	st, err := m.store.Take(m.ctx(), f.Feed)
	m.must(err)
	if f.cursor.Known() && st.Cursor.Through < f.cursor {
		m.regressions++
	}
	if st.Epoch <= f.epoch || st.Head != uint64(len(f.revs)) || f.cursor.Known() && st.Cursor.Through != f.cursor {
		m.Fatalf("took %+v; the model has epoch %d, %d revisions, cursor %s", st, f.epoch, len(f.revs), f.cursor)
	}
	f.epoch = st.Epoch
}

func (m *modelled) take(t *rapid.T) { m.takeFeed(m.feed(t)) }

func (m *modelled) rows(t *rapid.T) (revs []drover.Revision) {
	for range rapid.IntRange(0, 90).Draw(t, "rows") {
		m.next++
		revs = append(revs, Revision(m.next))
	}
	return revs
}

func (m *modelled) commit(t *rapid.T) {
	f := m.feed(t)
	c := ledger.Commit{Feed: f.Feed, Epoch: f.epoch, Revisions: m.rows(t), Whole: drover.NoInstant}
	through := f.cursor
	if rapid.Bool().Draw(t, "with a cursor") {
		through = drover.InstantOf(now).Add(time.Duration(m.next) * time.Second)
		c.Cursor = &drover.Cursor{Source: f.Source, Version: 1, Through: through}
	}
	out, err := m.store.Commit(m.ctx(), c)
	m.must(err)
	m.commits++
	first := uint64(len(f.revs)) + 1
	f.revs, f.cursor = append(f.revs, c.Revisions...), through
	if out.First != first || out.Last != uint64(len(f.revs)) {
		m.Fatalf("committed %d to %d, the model %d to %d", out.First, out.Last, first, len(f.revs))
	}
}

// stale is refused and leaves nothing behind.
func (m *modelled) stale(t *rapid.T) {
	f := m.feed(t)
	if _, err := m.store.Commit(m.ctx(), ledger.Commit{Feed: f.Feed, Epoch: f.epoch - 1, Revisions: m.rows(t), Whole: drover.NoInstant}); !errors.Is(err, ledger.ErrMoved) {
		m.Fatalf("an old epoch: %v", err)
	}
}

// again is refused whole: a key is stored once, for as long as it is kept.
func (m *modelled) again(t *rapid.T) {
	f := m.feed(t)
	if len(f.revs) == 0 {
		t.Skip("nothing to repeat")
	}
	old := rapid.SampledFrom(f.revs).Draw(t, "old")
	if old.Changed < drover.InstantOf(m.clock).Add(-ledger.KeyRetention) {
		t.Skip("its key may be gone")
	}
	m.tally.again++
	if _, err := m.store.Commit(m.ctx(), ledger.Commit{Feed: f.Feed, Epoch: f.epoch, Revisions: append(m.rows(t), old), Whole: drover.NoInstant}); drover.KindOf(err) != drover.Broken {
		m.twice++
		m.Fatalf("a key for the second time: %v", err)
	}
}

// back is refused whole.
func (m *modelled) back(t *rapid.T) {
	f := m.feed(t)
	if !f.cursor.Known() {
		t.Skip("never read")
	}
	to := f.cursor - drover.Instant(rapid.Int64Range(1, 1e9).Draw(t, "by"))
	m.tally.back++
	if _, err := m.store.Commit(m.ctx(), ledger.Commit{Feed: f.Feed, Epoch: f.epoch, Revisions: m.rows(t), Whole: drover.NoInstant,
		Cursor: &drover.Cursor{Source: f.Source, Version: 1, Through: to}}); drover.KindOf(err) != drover.Broken {
		m.backTaken++
		m.Fatalf("a cursor that goes back: %v", err)
	}
}

func (m *modelled) sink(t *rapid.T) (drover.SinkID, *modelSink) {
	var used []drover.SinkID
	for id, s := range m.sinks {
		if s.used {
			used = append(used, id)
		}
	}
	if len(used) == 0 {
		t.Skip("no sink")
	}
	slices.Sort(used)
	id := rapid.SampledFrom(used).Draw(t, "sink")
	return id, m.sinks[id]
}

func (m *modelled) settle(t *rapid.T) {
	id, s := m.sink(t)
	o := ledger.Settle{Sink: id, Lane: "l"}
	for range rapid.IntRange(1, 4).Draw(t, "ranges") {
		f := m.feed(t)
		if len(f.revs) == 0 {
			continue
		}
		first := rapid.Uint64Range(1, uint64(len(f.revs))).Draw(t, "first")
		last := rapid.Uint64Range(first, min(first+100, uint64(len(f.revs)))).Draw(t, "last")
		o.Done = append(o.Done, drover.Range{Feed: f.Feed, First: first, Last: last})
		if rapid.Bool().Draw(t, "with a refusal") {
			o.Aside = append(o.Aside, ledger.Aside{Feed: f.Feed, Reason: "refused", Seq: first, EventID: fmt.Sprint(first)})
		}
		if rapid.Bool().Draw(t, "with some passed over") {
			o.Over = append(o.Over, drover.Range{Feed: f.Feed, First: rapid.Uint64Range(first, last).Draw(t, "passed over from"), Last: last})
		}
		for n := first; n <= last; n++ {
			s.done[f.Feed][n] = true
			o.Taken++
		}
	}
	m.must(m.store.Settle(m.ctx(), o))
}

func (m *modelled) setSinks(t *rapid.T) {
	var list []ledger.SinkPlace
	for _, id := range []drover.SinkID{"a", "b", "c"} {
		use := rapid.Bool().Draw(t, "use "+string(id))
		s := m.sinks[id]
		if !use {
			if s != nil {
				s.used = false
			}
			continue
		}
		p := ledger.SinkPlace{Sink: id, FromAll: rapid.Bool().Draw(t, "from all")}
		list = append(list, p)
		fresh := s == nil
		if fresh {
			s = &modelSink{done: make(map[drover.Feed]map[uint64]bool), start: make(map[drover.Feed]uint64)}
			m.sinks[id] = s
		}
		s.used = true
		for _, f := range m.feeds {
			over := f.gone // what is gone cannot be owed
			if fresh {
				s.done[f.Feed] = make(map[uint64]bool)
				if !p.FromAll {
					over = uint64(len(f.revs))
				}
				s.start[f.Feed] = over
			}
			for n := uint64(1); n <= over; n++ {
				s.done[f.Feed][n] = true
			}
		}
	}
	m.must(m.store.Sinks(m.ctx(), list))
}

// prune drops what is old; how much of it is the store's affair, but only the
// oldest, and nothing that is owed or young.
func (m *modelled) prune(t *rapid.T) {
	m.clock = m.clock.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "days")) * 24 * time.Hour)
	_, err := m.store.Prune(m.ctx(), ledger.PruneOrder{Now: drover.InstantOf(m.clock), Bodies: 30 * 24 * time.Hour, Slice: rapid.IntRange(1, 300).Draw(t, "slice"), Confirmed: true})
	m.must(err)
	for _, f := range m.feeds {
		revs, err := m.store.After(m.ctx(), f.Feed, 0, 1, 0)
		m.must(err)
		first := uint64(len(f.revs)) + 1
		if len(revs) > 0 {
			first = revs[0].Seq
		}
		for id, s := range m.sinks {
			for n := f.gone + 1; s.used && n < first; n++ {
				if !s.done[f.Feed][n] {
					m.Fatalf("revision %d of %s is gone, and owed to %s", n, f.Feed, id)
				}
			}
		}
		f.gone = first - 1
	}
}

func (m *modelled) restart(*rapid.T) {
	m.must(m.store.Close())
	m.store = m.open(m.tb, m.dir, func() time.Time { return m.clock })
}

// compare looks at everything.
func (m *modelled) compare(*rapid.T) {
	for _, f := range m.feeds {
		next := f.gone + 1
		for r, err := range m.store.Revisions(m.ctx(), f.Feed, next) {
			m.must(err)
			if r.Seq != next || next > uint64(len(f.revs)) || r.EventID(0) != f.revs[next-1].EventID(0) || !bytes.Equal(r.Raw, f.revs[next-1].Raw) {
				m.Fatalf("revision %d of %s differs, or is in the place of %d", r.Seq, f.Feed, next)
			}
			next++
		}
		if next != uint64(len(f.revs))+1 {
			m.holes++
			m.Fatalf("feed %s ends before %d, the model has %d", f.Feed, next, len(f.revs))
		}
	}
	for id, s := range m.sinks {
		if !s.used {
			continue
		}
		places, err := m.store.Places(m.ctx(), id)
		m.must(err)
		for _, p := range places {
			m.conserved(id, s, p)
			done := s.done[p.Feed]
			var want ledger.Place
			for done[want.Seq+1] {
				want.Seq++
			}
			for n := range done {
				if n > want.Seq {
					want.Beyond = append(want.Beyond, n)
				}
			}
			slices.Sort(want.Beyond)
			if p.Seq != want.Seq || !slices.Equal(p.Beyond, want.Beyond) {
				m.Fatalf("sink %s stands at %d %v in %s, the model at %d %v", id, p.Seq, p.Beyond, p.Feed, want.Seq, want.Beyond)
			}
		}
	}
}

// conserved adds up what became of every number at a sink (reference
// faults-and-invariants I9).
func (m *modelled) conserved(id drover.SinkID, s *modelSink, p ledger.Place) {
	list, err := m.store.Counts(m.ctx(), p.Feed.Tenant)
	m.must(err)
	var counted uint64
	for _, c := range list {
		switch c.What {
		case "taken", "set_aside", "unrouted", "passed_over", "discarded":
			if c.Sink == id && c.Source == p.Feed.Source {
				counted += uint64(c.N)
			}
		}
	}
	pending := p.Head - p.Seq - uint64(len(p.Beyond))
	m.places++
	if whole := s.start[p.Feed] + counted + pending; whole != p.Head {
		m.difference += int(max(whole, p.Head) - min(whole, p.Head))
		m.Fatalf("sink %s, feed %s: the last number is %d, and %d are accounted for", id, p.Feed, p.Head, whole)
	}
}
