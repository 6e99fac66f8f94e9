package collect_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/collect"
	"drover/internal/ledger"
	"drover/internal/ledger/sqlite"
	"drover/internal/proof"
	"drover/internal/revision"
	"drover/internal/vault"
)

// api is a pretend source: rows that become visible over time, and what goes
// wrong when they are read.
type api struct {
	mu      sync.Mutex
	rows    map[drover.TenantID][]row
	fail    func(t drover.TenantID, span drover.Span) error
	skipped func(t drover.TenantID, span drover.Span) []drover.Skipped
	asked   map[drover.TenantID][]time.Time
	spans   []drover.Span
	served  int // rows
	page    int
	overlap int  // rows with which a page begins that ended the one before
	again   int  // rows of a later page that come again
	noDate  bool // answers do not tell the time
	absent  []string
	// stuckAt is a place at which a pass fails every other time and reads
	// nothing the times between.
	stuckAt drover.Instant
}

type row struct {
	id               string
	changed, visible time.Time
	body             func(read int) string // what a read shows; nil: made from the rest
	tenant           string
}

func newAPI() *api {
	return &api{rows: make(map[drover.TenantID][]row), asked: make(map[drover.TenantID][]time.Time), page: 50, stuckAt: drover.NoInstant}
}

func (a *api) add(t drover.TenantID, rows ...row) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rows[t] = append(a.rows[t], rows...)
}

// times counts how often a tenant was read.
func (a *api) times(n int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked[tenantID(n)])
}

func (a *api) ID() drover.SourceID      { return drover.GraphAlerts }
func (a *api) Version() int             { return 1 }
func (a *api) Retention() time.Duration { return 180 * 24 * time.Hour }

func (a *api) Read(t drover.Tenant, span drover.Span) drover.Pass {
	return &pass{a: a, t: t.ID, span: span}
}

type pass struct {
	a    *api
	t    drover.TenantID
	span drover.Span
	at   int
	got  []drover.Row
	read bool

	stuck bool
	back  int
}

func (p *pass) Next(context.Context) (drover.Page, error) {
	p.a.mu.Lock()
	defer p.a.mu.Unlock()
	now := time.Now()
	p.a.asked[p.t] = append(p.a.asked[p.t], now)
	p.a.spans = append(p.a.spans, p.span)
	if p.a.fail != nil {
		if err := p.a.fail(p.t, p.span); err != nil {
			return drover.Page{}, err
		}
	}
	if !p.read {
		p.read = true
		for _, r := range p.a.rows[p.t] {
			at := drover.InstantOf(r.changed)
			if r.visible.After(now) || !p.span.Contains(at) {
				continue
			}
			body := fmt.Sprintf(`{"id":%q,"lastUpdateDateTime":%q,"n":1}`, r.id, at)
			if r.body != nil {
				body = r.body(len(p.a.spans))
			}
			p.got = append(p.got, drover.Row{Raw: []byte(body), Sum: sha256.Sum256([]byte(body)), ID: r.id, Changed: at, Created: at, TenantID: r.tenant})
		}
		slices.SortStableFunc(p.got, func(a, b drover.Row) int { return int(min(max(a.Changed-b.Changed, -1), 1)) })
	}
	if s := p.a.stuckAt; s.Known() && p.at < len(p.got) && p.span.Contains(s) && p.got[p.at].Changed >= s {
		if p.stuck = !p.stuck; p.stuck {
			return drover.Page{}, transient()
		}
		return drover.Page{Server: drover.InstantOf(now), Through: p.span.From}, nil
	}
	n := min(p.a.page, len(p.got)-p.at)
	p.a.served += n
	out := drover.Page{Rows: p.got[p.at : p.at+n], Server: drover.InstantOf(now), Through: p.span.From}
	p.at += n
	if n > 0 {
		out.Through = out.Rows[n-1].Changed
	}
	if p.a.overlap > 0 && p.at < len(p.got) {
		p.back = (p.back + 1) % 2 // the same page twice, if all of it overlaps
		p.at -= min(p.a.overlap, n-1+p.back)
	}
	if p.at == len(p.got) {
		out.Done, out.Through = true, drover.InstantOf(now)
		if !p.span.Open() {
			out.Through = p.span.To
		}
	}
	out.Absent = p.a.absent
	if p.at > n {
		out.Again = p.a.again
	}
	if p.a.noDate {
		out.Server = drover.NoInstant
		if out.Done && p.span.Open() {
			out.Through = p.span.From
			if len(p.got) > 0 {
				out.Through = p.got[len(p.got)-1].Changed
			}
		}
	}
	if p.a.skipped != nil {
		out.Skipped = p.a.skipped(p.t, p.span)
	}
	return out, nil
}

// world is a ledger, a collector and a pretend source in virtual time.
type world struct {
	*testing.T
	api    *api
	store  ledger.Store
	every  time.Duration // the interval, a minute if 0
	most   int           // requests a minute that a feed is allowed, 0: no bound
	back   int           // cursors that went back
	at     map[drover.Feed]drover.Instant
	keys   func() error // what a look-up of keys fails with; nil: nothing
	mu     sync.Mutex
	events []collect.Event
	cancel context.CancelFunc
	done   chan error
}

func tenantID(n int) drover.TenantID {
	return drover.TenantID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n))
}

// story runs f in virtual time, with tenants and a collector that reads every
// minute.
func story(t *testing.T, tenants int, f func(w *world)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		key := filepath.Join(dir, "keys", "k")
		if err := vault.Create(key); err != nil {
			t.Fatal(err)
		}
		v, err := vault.Open(vault.Source{File: key})
		if err != nil {
			t.Fatal(err)
		}
		store, err := sqlite.Open(t.Context(), sqlite.Options{Dir: filepath.Join(dir, "ledger"), Vault: v, Place: "test"})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{T: t, api: newAPI(), store: store, at: make(map[drover.Feed]drover.Instant)}
		for n := range tenants {
			if err := store.AddTenant(t.Context(), drover.Tenant{ID: tenantID(n), Name: fmt.Sprintf("t%d", n), Customer: "c", App: "app", Sources: []drover.SourceID{drover.GraphAlerts}, Start: drover.InstantOf(time.Now().Add(-48 * time.Hour))}); err != nil {
				t.Fatal(err)
			}
		}
		f(w)
		w.stop()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (w *world) begin() { w.beginWith(w.api) }

func (w *world) beginWith(source drover.Source) {
	c, err := collect.New(collect.Options{Store: hurt{w.store, w}, Allowance: func(drover.Tenant, drover.SourceID) int { return w.most }, Sources: []drover.Source{source}, Compare: revision.Comparer{}, Seed: 1, Interval: w.every, TenantCheck: 30 * time.Second, Notify: func(e collect.Event) {
		w.mu.Lock()
		w.events = append(w.events, e)
		w.mu.Unlock()
	}})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel, w.done = cancel, make(chan error, 1)
	go func() { w.done <- c.Run(ctx) }()
}

// hurt is a ledger that fails now and then.
type hurt struct {
	ledger.Store
	w *world
}

func (h hurt) Keys(ctx context.Context, f drover.Feed, span drover.Span, unknown bool) ([]ledger.Key, error) {
	if h.w.keys != nil {
		if err := h.w.keys(); err != nil {
			return nil, err
		}
	}
	return h.Store.Keys(ctx, f, span, unknown)
}

func (h hurt) Commit(ctx context.Context, c ledger.Commit) (ledger.Committed, error) {
	done, err := h.Store.Commit(ctx, c)
	if err == nil && c.Cursor != nil {
		h.w.mu.Lock()
		if old, ok := h.w.at[c.Feed]; ok && c.Cursor.Through < old {
			h.w.back++
		}
		h.w.at[c.Feed] = c.Cursor.Through
		h.w.mu.Unlock()
	}
	return done, err
}

func (w *world) stop() {
	if w.cancel == nil {
		return
	}
	w.cancel()
	if err := <-w.done; err != nil {
		w.Errorf("collect ended: %v", err)
	}
	w.cancel = nil
}

// pass lets virtual time go by.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) ledgered(n int) (ids []string) {
	w.Helper()
	for r, err := range w.store.Revisions(context.Background(), drover.Feed{Tenant: tenantID(n), Source: drover.GraphAlerts}, 1) {
		if err != nil {
			w.Fatal(err)
		}
		ids = append(ids, fmt.Sprintf("%s/%d", r.AlertID, r.Ordinal))
	}
	return ids
}

func (w *world) count(what string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.What == what {
			n += max(e.N, 1)
		}
	}
	return n
}

func (w *world) state(n int) ledger.FeedState {
	w.Helper()
	feeds, err := w.store.Feeds(context.Background())
	if err != nil {
		w.Fatal(err)
	}
	for _, f := range feeds {
		if f.Feed.Tenant == tenantID(n) {
			return f
		}
	}
	w.Fatal("no such feed")
	return ledger.FeedState{}
}

func at(id string, changed time.Time) row { return row{id: id, changed: changed, visible: changed} }

func transient() error {
	return &drover.Error{Op: "read", Kind: drover.Transient, Err: errors.New("500")}
}

func TestEveryRowIsLedgeredOnceHoweverOftenItIsRead(t *testing.T) {
	story(t, 2, func(w *world) {
		now := time.Now()
		for n := range 120 {
			w.api.add(tenantID(n%2), at(fmt.Sprint("a", n), now.Add(time.Duration(n-60)*time.Minute)))
		}
		w.begin()
		w.pass(3 * time.Hour)
		for n := range 2 {
			if got := w.ledgered(n); len(got) != 60 {
				t.Errorf("tenant %d: %d revisions, want 60", n, len(got))
			}
		}
	})
}

func TestARowThatShowsLateIsFoundByTheOverlapOrASweep(t *testing.T) {
	lates := []time.Duration{0, 5 * time.Minute, 100 * time.Minute, 40 * time.Hour, 6 * 24 * time.Hour}
	var after []time.Duration // it could be seen
	story(t, 1, func(w *world) {
		now := time.Now()
		visible := make(map[string]time.Time)
		for i, late := range lates {
			id := fmt.Sprint("late", i)
			visible[id] = now.Add(time.Minute + late)
			w.api.add(tenantID(0), row{id: id, changed: now.Add(time.Minute), visible: visible[id]})
		}
		w.every = 10 * time.Minute
		w.begin()
		for range 8 * 24 {
			w.pass(time.Hour)
			for _, id := range w.ledgered(0) {
				if at, ok := visible[strings.TrimSuffix(id, "/0")]; ok {
					after = append(after, time.Since(at).Truncate(time.Hour))
					delete(visible, strings.TrimSuffix(id, "/0"))
				}
			}
		}
		if len(visible) > 0 {
			t.Errorf("not found: %v", visible)
		}
		// The one that was 5 minutes late showed before its time had been read
		// over: that is not late.
		if n := w.count("late"); n != 3 {
			t.Errorf("%d counted late, want 3", n)
		}
	})
	slices.Sort(after)
	proof.Ran(t, "P09", "lost %d of %d rows up to 6 days late; found after p50 %s, at most %s", len(lates)-len(after), len(lates), after[len(after)/2], after[len(after)-1])
}

func TestAStretchThatCannotBeReadBecomesAGapAndTheTailGoesOn(t *testing.T) {
	lost, narrow := 0, time.Duration(0)
	story(t, 1, func(w *world) {
		now := time.Now()
		bad := drover.InstantOf(now.Add(30 * time.Minute))
		var healed atomic.Bool
		w.api.fail = func(_ drover.TenantID, s drover.Span) error {
			if s.Contains(bad) && time.Now().After(now.Add(31*time.Minute)) && !healed.Load() {
				return transient()
			}
			return nil
		}
		for n := range 120 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n)*time.Minute)))
		}
		w.api.add(tenantID(0), row{id: "in the gap", changed: now.Add(30*time.Minute + time.Microsecond), visible: now.Add(35 * time.Minute)})
		w.begin()
		w.pass(2*time.Hour + 30*time.Minute)
		if gaps := w.state(0).Gaps; len(gaps) != 1 || gaps[0].Span.To.Sub(gaps[0].Span.From) > 2*time.Second || !gaps[0].Span.Contains(bad) {
			t.Errorf("open gaps: %v, want one narrow one around %s", gaps, bad)
		} else {
			narrow = gaps[0].Span.To.Sub(gaps[0].Span.From)
		}
		got := w.ledgered(0)
		if !slices.Contains(got, "a119/0") {
			t.Error("the tail did not go on behind the gap")
		}
		if missing := 120 - len(got); missing > 1 {
			t.Errorf("%d rows beside the gap are missing", missing)
		}
		healed.Store(true)
		w.pass(12 * time.Hour)
		if gaps := w.state(0).Gaps; len(gaps) != 0 {
			t.Errorf("still open when it could be read again: %v", gaps)
		}
		if lost = 121 - len(w.ledgered(0)); lost != 0 {
			t.Errorf("%d of 121 revisions are missing at the end", lost)
		}
	})
	proof.Ran(t, "P26", "lost %d of 121 around a place that failed for two hours; the gap was narrowed to %s, and closed", lost, narrow.Round(time.Millisecond))
}

func TestASweepGoesOnBehindWhatCannotBeReadAgain(t *testing.T) {
	story(t, 1, func(w *world) {
		now := time.Now()
		bad := drover.InstantOf(now.Add(30 * time.Minute))
		var healed atomic.Bool
		w.api.fail = func(_ drover.TenantID, s drover.Span) error {
			if s.Contains(bad) && time.Since(now) > 80*time.Minute && !healed.Load() {
				return transient()
			}
			return nil
		}
		for n := range 20 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n)*time.Minute)))
		}
		for i, late := range []time.Duration{20 * time.Minute, 90 * time.Minute, 30 * time.Hour, 60 * time.Hour} {
			w.api.add(tenantID(0), row{id: fmt.Sprint("late", i), changed: now.Add(35 * time.Minute), visible: now.Add(35*time.Minute + late)})
		}
		w.every = 10 * time.Minute
		w.begin()
		w.pass(5 * 24 * time.Hour)
		if got := w.ledgered(0); len(got) != 24 {
			t.Errorf("%d of 24 revisions while the place is bad: %v", len(got), got)
		}
		if gaps := w.state(0).Gaps; len(gaps) != 1 || !gaps[0].Span.Contains(bad) || gaps[0].Span.To.Sub(gaps[0].Span.From) > 2*time.Second {
			t.Errorf("open gaps: %v, want one narrow one around %s", gaps, bad)
		}
		healed.Store(true)
		w.pass(24 * time.Hour)
		if gaps := w.state(0).Gaps; len(gaps) != 0 {
			t.Errorf("still open when it could be read again: %v", gaps)
		}
	})
}

func TestAPlaceThatIsThrottledForEverHoldsNobody(t *testing.T) {
	story(t, 1, func(w *world) {
		now := time.Now()
		bad := drover.InstantOf(now.Add(30 * time.Minute))
		early, until := 0, time.Time{}
		w.api.fail = func(_ drover.TenantID, s drover.Span) error {
			if time.Now().Before(until) {
				early++
			}
			if s.Contains(bad) && time.Since(now) > 31*time.Minute {
				until = time.Now().Add(5 * time.Minute)
				return &drover.Error{Op: "read", Kind: drover.Throttled, Wait: 5 * time.Minute, Err: errors.New("503")}
			}
			return nil
		}
		for n := range 180 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n)*time.Minute)))
		}
		w.begin()
		w.pass(6 * time.Hour)
		if got := w.ledgered(0); !slices.Contains(got, "a179/0") {
			t.Errorf("the tail is held: %d revisions", len(got))
		}
		if early > 0 {
			t.Errorf("%d requests before the time", early)
		}
	})
}

func TestTheSameIDTwiceIsTwoAlerts(t *testing.T) {
	const tenants, alerts = 3, 20
	ids, revisions := make(map[string]bool), 0
	story(t, tenants, func(w *world) {
		now := time.Now()
		for n := range tenants {
			for i := range alerts {
				// In another incident after a merge: the same alert, a new state.
				for incident := range 2 {
					at := now.Add(time.Duration(i-100+50*incident) * time.Second)
					w.api.add(tenantID(n), row{id: fmt.Sprint("da", i), changed: at, visible: now, body: func(int) string {
						return fmt.Sprintf(`{"id":"da%d","incidentId":"%d","lastUpdateDateTime":%q}`, i, incident, drover.InstantOf(at))
					}})
				}
			}
		}
		w.begin()
		w.pass(10 * time.Minute)
		for n := range tenants {
			for r, err := range w.store.Revisions(context.Background(), drover.Feed{Tenant: tenantID(n), Source: drover.GraphAlerts}, 1) {
				if err != nil {
					t.Fatal(err)
				}
				ids[r.EventID(0)] = true
				revisions++
				r.Feed.Source = drover.SIEMDetections // what the other source would call it
				ids[r.EventID(0)] = true
				revisions++
			}
		}
	})
	if want := tenants * alerts * 2 * 2; revisions != want || len(ids) != want {
		t.Errorf("%d revisions with %d event IDs, want %d", revisions, len(ids), want)
	}
	proof.Ran(t, "P35", "collisions %d of %d revisions with IDs that two tenants, two sources or two incidents share", revisions-len(ids), revisions)
}

func TestPagesThatOverlapAreLedgeredOnce(t *testing.T) {
	const page = 10
	keys, most, served := 0, 0, 0
	for m := range page + 1 {
		story(t, 1, func(w *world) {
			w.api.page, w.api.overlap = page, m
			now := time.Now()
			for n := range 60 {
				w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n/3-200)*time.Minute)))
			}
			w.begin()
			w.pass(20 * time.Minute)
			times := make(map[string]int)
			for _, id := range w.ledgered(0) {
				times[id]++
				most = max(most, times[id])
			}
			if len(times) != 60 || most != 1 {
				t.Errorf("pages that overlap by %d: %d keys, one of them %d times", m, len(times), most)
			}
			w.api.mu.Lock()
			served += w.api.served
			w.api.mu.Unlock()
			keys += len(times)
		})
	}
	proof.Ran(t, "P06", "revisions per key %d, of %d keys in %d rows that were served: the same page twice, pages overlapping by 0 to %d rows", most, keys, served, page)
}

func TestASourceThatGoesBackInTimeIsReadAgainWhenItReturns(t *testing.T) {
	story(t, 1, func(w *world) {
		now := time.Now()
		for n := range 300 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n)*time.Minute)))
		}
		w.begin()
		w.pass(100 * time.Minute)
		// Restored from an older state: the last hour is gone, for an hour; then
		// all is back, and what happened meanwhile as well.
		w.api.mu.Lock()
		all := w.api.rows[tenantID(0)]
		w.api.rows[tenantID(0)] = all[:40:40]
		w.api.mu.Unlock()
		w.pass(time.Hour)
		w.api.mu.Lock()
		w.api.rows[tenantID(0)] = all
		w.api.mu.Unlock()
		w.pass(8 * time.Hour)
		got := w.ledgered(0)
		w.mu.Lock()
		back := w.back
		w.mu.Unlock()
		if len(got) != 300 || back > 0 {
			t.Errorf("%d of 300 revisions, %d cursors went back", len(got), back)
		}
		proof.Ran(t, "P37", "cursors that went back %d; lost %d of 300 after an hour in which the source was an hour older", back, 300-len(got))
	})
}

func TestAFirstReadThatIsInterruptedGoesOnWhereItWas(t *testing.T) {
	story(t, 1, func(w *world) {
		const rows, page = 6000, 50
		now := time.Now()
		for n := range rows {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(-47*time.Hour).Add(time.Duration(n)*time.Second*25)))
		}
		w.api.page = page
		starts, waste := 0, 0
		var held int
		w.keys = func() error { // a process that ends in the middle
			if held++; held%25 == 0 {
				starts++
				w.cancel()
			}
			return nil
		}
		for range 3 {
			w.begin()
			w.pass(time.Second * 5)
			if err := <-w.done; err != nil {
				t.Error(err)
			}
		}
		w.keys, w.cancel = nil, nil
		w.begin()
		w.pass(5 * time.Minute)
		got := w.ledgered(0)
		w.api.mu.Lock()
		served := w.api.served
		w.api.mu.Unlock()
		// The overlap of each start, and of each poll afterwards, holds 36 rows.
		waste = served - rows
		if most := (starts + 6) * (page + 36); len(got) != rows || waste > most || starts != 3 {
			t.Errorf("%d revisions; %d rows read again over %d starts, want at most %d", len(got), waste, starts, most)
		}
		proof.Ran(t, "P38", "lost %d of %d rows of a first read that was interrupted %d times; rows read again %d, a slice is %d and the overlap 36", rows-len(got), rows, starts, waste, page)
	})
}

func TestAPageThatTheLedgerDidNotTakeIsReadAgain(t *testing.T) {
	story(t, 1, func(w *world) {
		now, looked := time.Now(), 0
		w.keys = func() error {
			if looked++; looked%3 == 0 && looked < 12 {
				return errors.New("the disk is busy")
			}
			return nil
		}
		for n := range 400 { // older than the overlap
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n-450)*time.Minute)))
		}
		w.begin()
		w.pass(5 * time.Minute)
		if got := w.ledgered(0); len(got) != 400 || looked < 12 {
			t.Errorf("%d of 400 revisions after %d look-ups", len(got), looked)
		}
	})
}

func TestAGapThatGrowsWhileItIsReadIsNotClosedBeforeItsTime(t *testing.T) {
	story(t, 1, func(w *world) {
		now := time.Now()
		w.api.page = 1 // a gap takes many turns
		bad := func(m int) bool { return m > 30 && m <= 60 || m > 64 && m <= 95 }
		w.api.fail = func(_ drover.TenantID, s drover.Span) error {
			// The tail fails but for its newest minutes, twice.
			if from := s.From.Time(); s.Open() && bad(int(time.Since(now).Minutes())) && time.Since(from) > 3*time.Minute {
				return transient()
			}
			return nil
		}
		for n := range 150 {
			for k := range 3 {
				w.api.add(tenantID(0), row{id: fmt.Sprint("a", n, ".", k), changed: now.Add(time.Duration(n)*time.Minute + time.Duration(k)*time.Second), visible: now.Add(time.Duration(n)*time.Minute + time.Duration(k)*time.Second)})
			}
		}
		w.begin()
		w.pass(5 * time.Hour)
		if got := w.ledgered(0); len(got) != 450 {
			t.Errorf("%d of 450 revisions", len(got))
		}
		if w.count("gap_opened") == 0 {
			t.Error("no gap was opened: nothing was tried")
		}
		if gaps := w.state(0).Gaps; len(gaps) > 0 {
			t.Errorf("still open: %v", gaps)
		}
	})
}

func TestPagesThatDoNotLeadOnAreNoSuccess(t *testing.T) {
	story(t, 1, func(w *world) {
		now := time.Now()
		bad := drover.InstantOf(now.Add(30 * time.Minute))
		w.api.stuckAt = bad
		for n := range 180 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n)*time.Minute)))
		}
		w.begin()
		w.pass(4 * time.Hour)
		if got := w.ledgered(0); !slices.Contains(got, "a179/0") {
			t.Errorf("the tail is held: %d revisions", len(got))
		}
		if n := w.api.times(0); n > 4*60*3 {
			t.Errorf("%d requests in four hours", n)
		}
	})
}

func TestNoMinuteSeesMoreRequestsThanAreAllowed(t *testing.T) {
	story(t, 2, func(w *world) {
		w.most, w.api.page = 30, 5
		now := time.Now()
		for n := range 2000 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n-2400)*time.Minute)))
		}
		w.begin()
		w.pass(time.Hour)
		if got := w.ledgered(0); len(got) != 2000 {
			t.Errorf("%d of 2000 revisions in an hour", len(got))
		}
		w.api.mu.Lock()
		defer w.api.mu.Unlock()
		times := w.api.asked[tenantID(0)]
		for i, from := range times {
			n, _ := slices.BinarySearchFunc(times, from.Add(time.Minute), time.Time.Compare)
			if n-i > w.most {
				t.Fatalf("%d requests in the minute from %s", n-i, from)
			}
		}
		if n := len(w.api.asked[tenantID(1)]); n < 58 {
			t.Errorf("the other tenant was read %d times in an hour", n)
		}
	})
}

func TestAnOutageIsNoGapAndLosesNothing(t *testing.T) {
	story(t, 1, func(w *world) {
		now := time.Now()
		w.api.fail = func(drover.TenantID, drover.Span) error {
			if d := time.Since(now); d > 10*time.Minute && d < 6*time.Hour {
				return transient()
			}
			return nil
		}
		for n := range 500 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n)*time.Minute)))
		}
		w.begin()
		w.pass(10 * time.Hour)
		if got := w.ledgered(0); len(got) != 500 {
			t.Errorf("%d revisions, want 500", len(got))
		}
		if all, _ := w.store.Gaps(context.Background(), ledger.GapFilter{}); len(all) != 0 {
			t.Errorf("gaps: %v", all)
		}
	})
}

func TestAThrottledFeedWaitsAsToldAndTheOthersDoNot(t *testing.T) {
	early, others, told := 0, 0, 0
	story(t, 2, func(w *world) {
		now := time.Now()
		var until time.Time
		w.api.fail = func(id drover.TenantID, _ drover.Span) error {
			if id != tenantID(0) || time.Since(now) < 10*time.Minute {
				return nil
			}
			if time.Now().Before(until) {
				early++
			}
			until = time.Now().Add(7 * time.Minute)
			told++
			return &drover.Error{Op: "read", Kind: drover.Throttled, Wait: 7 * time.Minute, Err: errors.New("429")}
		}
		w.begin()
		w.pass(70 * time.Minute)
		w.api.mu.Lock()
		defer w.api.mu.Unlock()
		if early > 0 {
			t.Errorf("%d requests before the time", early)
		}
		if others = len(w.api.asked[tenantID(1)]); others < 65 {
			t.Errorf("the other tenant was read %d times in 70 minutes", others)
		}
	})
	proof.Ran(t, "P25", "requests before the time %d of %d that were told to wait; the other tenant was read %d times in 70 minutes", early, told, others)
}

func TestADeniedFeedIsParkedProbedRarelyAndHealsByItself(t *testing.T) {
	probes, lost, others := 0, 0, 0
	story(t, 2, func(w *world) {
		now := time.Now()
		var healed atomic.Bool
		w.api.fail = func(id drover.TenantID, _ drover.Span) error {
			if id == tenantID(0) && !healed.Load() && time.Since(now) > 5*time.Minute {
				return &drover.Error{Op: "read", Kind: drover.Denied, Hint: "consent may have been withdrawn", Err: errors.New("403")}
			}
			return nil
		}
		w.begin()
		w.pass(6 * time.Minute)
		before, beside := w.api.times(0), w.api.times(1)
		w.pass(6 * time.Hour)
		if probes = w.api.times(0) - before; probes > 14 {
			t.Errorf("%d probes in 6 hours", probes)
		}
		if others = w.api.times(1) - beside; others < 350 {
			t.Errorf("the other feed was read %d times in 6 hours", others)
		}
		if p := w.state(0).Parked; !strings.Contains(p, "consent") {
			t.Errorf("parked for %q", p)
		}
		w.api.add(tenantID(0), at("missed", time.Now().Add(-time.Hour)))
		healed.Store(true)
		w.pass(90 * time.Minute)
		if got := w.ledgered(0); len(got) != 1 || w.state(0).Parked != "" {
			t.Errorf("after it healed: %v, parked %q", got, w.state(0).Parked)
			lost++
		}
	})
	proof.Ran(t, "P33", "%d probes in 6 hours, the other feed read %d times; lost %d when it had healed", probes, others, lost)
}

func TestADeniedAppIsOneIncidentWithOneProbe(t *testing.T) {
	story(t, 30, func(w *world) {
		w.every = 2 * time.Minute
		now := time.Now()
		var healed atomic.Bool
		w.api.fail = func(drover.TenantID, drover.Span) error {
			if !healed.Load() && time.Since(now) > 10*time.Minute {
				return &drover.Error{Op: "read", Kind: drover.Denied, App: true, Err: errors.New("AADSTS7000222")}
			}
			return nil
		}
		w.begin()
		w.pass(12 * time.Minute)
		if n := w.count("incident"); n != 1 {
			t.Errorf("%d incidents", n)
		}
		asked := func() (n int) {
			for i := range 30 {
				n += w.api.times(i)
			}
			return n
		}
		before := asked()
		w.pass(3 * time.Hour)
		if n := asked() - before; n > 20 {
			t.Errorf("%d requests in 3 hours of one incident", n)
		}
		healed.Store(true)
		w.pass(70 * time.Minute)
		for n := range 30 {
			if w.state(n).Parked != "" {
				t.Errorf("tenant %d is still parked", n)
			}
		}
	})
}

func TestATenantsOwnTroubleDoesNotHoldTheOthersOfItsApp(t *testing.T) {
	denied := &drover.Error{Op: "read", Kind: drover.Denied, Err: errors.New("403")}
	t.Run("when it is the one that asks for all", func(t *testing.T) {
		story(t, 30, func(w *world) {
			now := time.Now()
			var stuck atomic.Pointer[drover.TenantID]
			w.api.fail = func(id drover.TenantID, _ drover.Span) error {
				if s := stuck.Load(); time.Since(now) > 10*time.Minute && (s == nil || *s == id) {
					return denied
				}
				return nil
			}
			w.begin()
			w.pass(3 * time.Hour)
			if n := w.count("incident"); n == 0 {
				t.Fatal("no incident")
			}
			// Whoever asked last stays denied when the others are not any more.
			var last drover.TenantID
			w.api.mu.Lock()
			for id, times := range w.api.asked {
				if last == "" || times[len(times)-1].After(w.api.asked[last][len(w.api.asked[last])-1]) {
					last = id
				}
			}
			w.api.mu.Unlock()
			stuck.Store(&last)
			w.pass(3 * time.Hour)
			held := 0
			for n := range 30 {
				if tenantID(n) != last && w.state(n).Parked != "" {
					held++
				}
			}
			if held > 0 {
				t.Errorf("%d of 29 tenants are held by the trouble of one", held)
			}
		})
	})
	t.Run("when it is one of many, and most are well", func(t *testing.T) {
		story(t, 60, func(w *world) {
			w.api.fail = func(id drover.TenantID, _ drover.Span) error {
				if id < tenantID(12) {
					return denied
				}
				return nil
			}
			w.begin()
			w.pass(time.Hour)
			if n := w.count("incident"); n > 0 {
				t.Errorf("%d incidents of an app that works", n)
			}
			for n := 12; n < 60; n++ {
				if times := w.api.times(n); times < 55 {
					t.Errorf("tenant %d was read %d times in an hour", n, times)
				}
			}
		})
	})
}

func TestAForeignRowIsSetAsideAndTheRestGoesOn(t *testing.T) {
	foreign, good, unnamed, put := 0, 0, 0, 0
	story(t, 1, func(w *world) {
		now := time.Now()
		mine, theirs := at("mine", now), at("theirs", now)
		mine.tenant, theirs.tenant = strings.ToUpper(string(tenantID(0))), string(tenantID(9))
		nobodys := at("nobody's", now)
		nobodys.tenant = "contoso"
		w.api.add(tenantID(0), mine, theirs, nobodys, at("of none", now))
		w.begin()
		w.pass(time.Hour)
		if got := w.ledgered(0); !slices.Equal(got, []string{"mine/0", "nobody's/0", "of none/0"}) {
			t.Errorf("ledgered %v", got)
		}
		for r, err := range w.store.Revisions(context.Background(), drover.Feed{Tenant: tenantID(0), Source: drover.GraphAlerts}, 1) {
			switch {
			case err != nil:
				t.Fatal(err)
			case r.AlertID == "theirs":
				foreign++
			case r.Flags.Has(drover.Unnamed):
				unnamed++
				good++
			default:
				good++
			}
		}
		aside, err := w.store.SetAside(context.Background(), ledger.AsideFilter{Reason: "foreign"})
		if err != nil || len(aside) != 1 || aside[0].Count != 1 {
			t.Errorf("set aside: %+v, %v", aside, err)
		}
		put = len(aside)
		if unnamed != 2 {
			t.Errorf("%d rows are marked as naming no tenant, want 2", unnamed)
		}
	})
	proof.Ran(t, "P36", "foreign rows ledgered %d, set aside %d of 1; beside it lost %d of 3; unnamed counted %d of 2", foreign, put, 3-good, unnamed)
}

func TestAnAnswerOfForeignRowsOnlyParksTheFeed(t *testing.T) {
	story(t, 1, func(w *world) {
		theirs := at("theirs", time.Now())
		theirs.tenant = string(tenantID(9))
		w.api.add(tenantID(0), theirs)
		w.begin()
		w.pass(5 * time.Minute)
		if w.state(0).Parked == "" || len(w.ledgered(0)) != 0 {
			t.Errorf("parked %q, ledgered %v", w.state(0).Parked, w.ledgered(0))
		}
	})
}

// An answer of nothing but a foreign row parks the feed until the next probe,
// by which the row is set aside; one that came with rows known before does not.
func TestAForeignRowAloneBehindRowsThatComeAgainParksNobody(t *testing.T) {
	for again, parked := range map[int]bool{0: true, 1: false} {
		story(t, 1, func(w *world) {
			now := time.Now()
			mine, theirs, behind := at("mine", now), at("theirs", now.Add(time.Second)), at("behind", now.Add(2*time.Second))
			mine.tenant, theirs.tenant, behind.tenant = string(tenantID(0)), string(tenantID(9)), string(tenantID(0))
			w.api.page, w.api.again = 1, again
			w.api.add(tenantID(0), mine, theirs, behind)
			w.begin()
			w.pass(5 * time.Minute)
			if got := w.count("parked") > 0; got != parked {
				t.Errorf("%d rows come again: was parked %v", again, got)
			}
			if got := w.ledgered(0); w.state(0).Parked != "" || !slices.Contains(got, "behind/0") {
				t.Errorf("%d rows come again: parked %q, ledgered %v", again, w.state(0).Parked, got)
			}
		})
	}
}

func TestWithoutAServersClockSweepsGoByWhatHasBeenRead(t *testing.T) {
	story(t, 1, func(w *world) {
		w.api.noDate = true
		now := time.Now()
		for n := range 180 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n)*time.Minute)))
		}
		w.api.add(tenantID(0), row{id: "late", changed: now.Add(10 * time.Minute), visible: now.Add(50 * time.Minute)})
		w.begin()
		w.pass(3 * time.Hour)
		if got := w.ledgered(0); !slices.Contains(got, "late/0") {
			t.Errorf("%d rows, and not the late one", len(got))
		}
	})
}

func TestAProductThatIsNotLicensedIsToldOnceAndHoldsNothing(t *testing.T) {
	story(t, 1, func(w *world) {
		w.api.absent = []string{"Microsoft/MCAS"}
		w.api.add(tenantID(0), at("a", time.Now()))
		w.begin()
		w.pass(3 * time.Hour)
		if n, gaps := w.count("absent"), w.state(0).Gaps; n != 1 || len(gaps) > 0 || len(w.ledgered(0)) != 1 {
			t.Errorf("told %d times, gaps %v", n, gaps)
		}
	})
}

func TestBytesThatVaryWithoutMeaningMakeOneRevision(t *testing.T) {
	story(t, 1, func(w *world) {
		r := at("a", time.Now())
		r.body = func(read int) string {
			evidence := []string{`{"x":1,"lastIpAddress":"10.0.0.%d"}`, `{"y":2}`}
			if read%2 == 0 {
				slices.Reverse(evidence)
			}
			body := `{"id":"a","evidence":[` + strings.Join(evidence, ",") + `]}`
			return strings.Replace(body, "%d", fmt.Sprint(read), 1)
		}
		w.api.add(tenantID(0), r)
		w.begin()
		w.pass(10 * time.Hour)
		if got := w.ledgered(0); !slices.Equal(got, []string{"a/0"}) {
			t.Errorf("ledgered %v", got)
		}
	})
}

func TestContentThatChangesWithoutItsTimeIsTakenWhenTwoReadsAgree(t *testing.T) {
	stories, told := 0, 0
	for name, tt := range map[string]struct {
		body func(start time.Time, read int) string
		want []string
	}{
		"a stable change is one more revision": {
			func(start time.Time, _ int) string { return pick(time.Since(start) > 4*time.Minute, "B", "A") }, []string{"a/0", "a/1"}},
		"a return to an earlier state is a revision too": {
			func(start time.Time, _ int) string {
				m := time.Since(start)
				return pick(m > 4*time.Minute && m < 8*time.Minute, "B", "A")
			}, []string{"a/0", "a/1", "a/2"}},
		"two replicas that answer in turn make none": {
			func(_ time.Time, read int) string { return pick(read%2 == 0, "B", "A") }, []string{"a/0"}},
		"more states than three are not taken": {
			func(start time.Time, _ int) string { return fmt.Sprint(int(time.Since(start)/(3*time.Minute)) % 9) }, []string{"a/0", "a/1", "a/2"}},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, 1, func(w *world) {
				start, reads := time.Now(), 0
				r := at("a", start)
				r.body = func(int) string {
					reads++
					return fmt.Sprintf(`{"id":"a","status":%q}`, tt.body(start, reads))
				}
				w.api.add(tenantID(0), r)
				w.begin()
				w.pass(14 * time.Minute)
				stories++
				if got := w.ledgered(0); slices.Equal(got, tt.want) {
					told++
				} else {
					t.Errorf("ledgered %v, want %v", got, tt.want)
				}
			})
		})
	}
	proof.Ran(t, "P11", "of %d stories of content that changes without its time, %d gave one revision a real change, none for replicas that answer in turn, three at most", stories, told)
}

func pick(c bool, a, b string) string {
	if c {
		return a
	}
	return b
}

func TestAMissingProviderIsAGapOfItsOwnThatClosesItself(t *testing.T) {
	waited, lost := 0, 0
	story(t, 1, func(w *world) {
		now := time.Now()
		var back atomic.Bool
		w.api.skipped = func(_ drover.TenantID, s drover.Span) []drover.Skipped {
			if back.Load() {
				return nil
			}
			to := s.To
			if s.Open() {
				to = drover.InstantOf(time.Now())
			}
			return []drover.Skipped{{Span: drover.Span{From: s.From, To: to}, Provider: "Microsoft/MDI", Cause: "did not answer"}}
		}
		for n := range 60 {
			w.api.add(tenantID(0), at(fmt.Sprint("a", n), now.Add(time.Duration(n)*time.Minute)))
		}
		w.begin()
		w.pass(time.Hour)
		if gaps := w.state(0).Gaps; len(gaps) != 1 || gaps[0].Provider != "Microsoft/MDI" {
			t.Errorf("gaps: %v", gaps)
		}
		// The last two may not have been read yet: two intervals.
		if waited = 58 - min(len(w.ledgered(0)), 58); waited > 0 {
			t.Errorf("the others' rows waited: %d", waited)
		}
		w.api.add(tenantID(0), at("the provider's", now.Add(30*time.Minute)))
		back.Store(true)
		w.pass(8 * time.Hour)
		if gaps := w.state(0).Gaps; len(gaps) != 0 {
			t.Errorf("still open: %v", gaps)
		}
		if lost = 61 - len(w.ledgered(0)); lost != 0 {
			t.Errorf("%d of 61 are missing", lost)
		}
	})
	proof.Ran(t, "P18", "lost %d of 61 after the provider returned; rows that waited more than two intervals for it %d", lost, waited)
}

func TestWhatTheAPIHasForgottenIsRecordedAsAGap(t *testing.T) {
	recorded := 0
	story(t, 1, func(w *world) {
		w.begin()
		w.pass(time.Hour)
		w.stop()
		w.pass(200 * 24 * time.Hour)
		w.begin()
		w.pass(time.Hour)
		gaps := w.state(0).Gaps
		if recorded = len(gaps); recorded != 1 {
			t.Fatalf("gaps: %v", gaps)
		}
		if d := gaps[0].Span.To.Sub(gaps[0].Span.From); d < 19*24*time.Hour || d > 21*24*time.Hour {
			t.Errorf("the gap is %s long, want about 20 days", d)
		}
	})
	proof.Ran(t, "P34", "gaps recorded %d of 1", recorded)
}

func TestEmptyReadsWriteNothingAndAreRememberedOverAStop(t *testing.T) {
	story(t, 1, func(w *world) {
		w.begin()
		w.pass(5 * time.Minute)
		if st := w.state(0); st.Whole.Known() {
			t.Errorf("an empty read was written: %s", st.Whole)
		}
		w.stop()
		if st := w.state(0); !st.Whole.Known() || time.Since(st.Whole.Time()) > 2*time.Minute {
			t.Errorf("whole %s", st.Whole)
		}
	})
}

func TestAPausedTenantIsNotReadAndCatchesUp(t *testing.T) {
	story(t, 1, func(w *world) {
		ctx := context.Background()
		w.begin()
		w.pass(5 * time.Minute)
		if err := w.store.SetTenantState(ctx, tenantID(0), drover.Paused); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute)
		before := w.api.times(0)
		w.api.add(tenantID(0), at("while paused", time.Now()))
		w.pass(time.Hour)
		if n := w.api.times(0); n != before {
			t.Errorf("read %d times while paused", n-before)
		}
		if err := w.store.SetTenantState(ctx, tenantID(0), drover.Active); err != nil {
			t.Fatal(err)
		}
		w.pass(5 * time.Minute)
		if got := w.ledgered(0); len(got) != 1 {
			t.Errorf("ledgered %v", got)
		}
	})
}

func TestAStartWithManyTenantsIsSpread(t *testing.T) {
	most := 0
	story(t, 200, func(w *world) {
		start := time.Now()
		w.begin()
		w.pass(10 * time.Second)
		perSecond := make(map[int]int)
		w.api.mu.Lock()
		defer w.api.mu.Unlock()
		for _, times := range w.api.asked {
			perSecond[int(times[0].Sub(start).Seconds())]++
		}
		for s, n := range perSecond {
			most = max(most, n)
			if n > 60 {
				t.Errorf("%d tenants were first read in second %d", n, s)
			}
		}
		if len(w.api.asked) < 150 {
			t.Errorf("only %d tenants were read in 10 s", len(w.api.asked))
		}
	})
	proof.Ran(t, "L02", "200 tenants, at most %d first reads in a second", most)
}
