package collect_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/collect"
	"drover/internal/ledger"
	"drover/internal/ledger/sqlite"
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
	served  int           // rows
	past    int           // rows of reads that do not reach up to now
	latency time.Duration // of every answer
	behind  time.Duration // how far the server's clock is behind ours
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

func (a *api) ID() drover.SourceID { return drover.GraphAlerts }

func (a *api) Version() int { return 1 }

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
	time.Sleep(p.a.latency)
	p.a.mu.Lock()
	defer p.a.mu.Unlock()
	now := time.Now().Add(-p.a.behind)
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
	if !p.span.Open() && now.Sub(p.span.To.Time()) >= 30*time.Minute {
		p.a.past += n
	}
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
	product func(s drover.SourceID, alertID string, row []byte) string
	*testing.T
	api       *api
	store     ledger.Store
	every     time.Duration // the interval, a minute if 0
	adapts    bool          // the interval follows what happens
	most      int           // requests a minute that a feed is allowed, 0: no bound
	perHour   int           // requests an hour
	back      int           // cursors that went back
	at        map[drover.Feed]drover.Instant
	committed func(ledger.Commit) // is told what was stored; may be nil
	keys      func() error        // what a look-up of keys fails with; nil: nothing
	mu        sync.Mutex
	events    []collect.Event
	cancel    context.CancelFunc
	done      chan error

	collector *collect.Collector
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
	c, err := collect.New(collect.Options{Store: hurt{w.store, w}, Allowance: func(drover.Tenant, drover.SourceID) int { return w.most }, Hourly: func(drover.Tenant, drover.SourceID) int { return w.perHour }, Sources: []drover.Source{source}, Compare: revision.Comparer{}, Product: w.product, Seed: 1, Interval: w.every, Steady: !w.adapts, TenantCheck: 30 * time.Second, Notify: func(e collect.Event) {
		w.mu.Lock()
		w.events = append(w.events, e)
		w.mu.Unlock()
	}})
	if err != nil {
		w.Fatal(err)
	}
	w.collector = c
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
	if err == nil && h.w.committed != nil {
		h.w.committed(c)
	}
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
