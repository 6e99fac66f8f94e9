package pull

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
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
	"drover/internal/lab"
	"drover/internal/lab/estate"
	"drover/internal/ledger"
	"drover/internal/ledger/sqlite"
	"drover/internal/oracle"
	"drover/internal/revision"
	"drover/internal/rig/memnet"
	"drover/internal/rig/reading"
	"drover/internal/vault"
)

// epoch is when every story begins. A bubble begins in the year 2000.
var epoch = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

// setting is what a story is set in.
type setting struct {
	stories   []estate.Options // one a tenant
	seed      uint64
	at        time.Time     // our clock when it begins; epoch if zero
	ahead     time.Duration // the cloud's clock, ahead of ours
	start     time.Duration // before the story begins, from when on rows are owed; 60 days if 0
	interval  time.Duration // a minute if 0
	pageSize  int
	allowance int // requests a minute, 0: no bound
	// source is what the tenants are read by, Graph's alerts if "". Those with
	// a story of detections are read by these as well.
	source drover.SourceID
}

// of is the setting for another source: what it needs is in every story.
func (s setting) of(source drover.SourceID) setting {
	s.source, s.stories = source, slices.Clone(s.stories)
	for i := range s.stories {
		o := &s.stories[i]
		o.Incidents = o.Incidents || source == drover.GraphIncidents
		o.MDE = o.MDE || source == drover.MDEAlerts
		o.SIEM = o.SIEM || source == drover.SIEMDetections
	}
	return s
}

var every = []drover.SourceID{drover.GraphAlerts, drover.GraphIncidents, drover.MDEAlerts, drover.SIEMDetections}

// same is n tenants with the same kind of story.
func same(n int, o estate.Options) (list []estate.Options) {
	for range n {
		list = append(list, o)
	}
	return list
}

// world is one story: the cloud, the product, and what is noted.
type world struct {
	*testing.T
	setting
	dir, key string
	net      *memnet.Network
	lab      *lab.Lab
	truth    *os.File
	p        *product

	mu      sync.Mutex
	events  map[string]int // of the collector, by what happened
	said    map[string]int // the same by feed
	cursors map[drover.Feed]drover.Instant
	back    int // cursors that went back
	commits int

	// dies says whether the process dies instead of a commit, the n-th from 1.
	dies func(n int) bool
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// now is the cloud's clock.
func (w *world) now() time.Time { return time.Now().Add(w.ahead) }

// tenant is the ID of the n-th tenant.
func (w *world) tenant(n int) string { return w.lab.Customers()[n].Tenant }

// pass lets virtual time go by.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// ram is a directory in memory where there is one: fsync costs nothing there.
func ram(t *testing.T) string {
	if dir, err := os.MkdirTemp("/dev/shm", "drover-pull-"); err == nil {
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

// story tells f in virtual time and has the oracle judge it.
func story(t *testing.T, s setting, f func(w *world)) (v *verdict) {
	t.Helper()
	if s.interval == 0 {
		s.interval = time.Minute
	}
	if s.at.IsZero() {
		s.at = epoch
	}
	if s.source == "" {
		s.source = drover.GraphAlerts
	}
	if s.start == 0 {
		s.start = 60 * 24 * time.Hour
	}
	dir := ram(t)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(s.at))
		w := &world{T: t, setting: s, dir: dir, key: filepath.Join(dir, "keys", "k"), net: memnet.New(), events: make(map[string]int), said: make(map[string]int), cursors: make(map[drover.Feed]drover.Instant)}
		w.must(vault.Create(w.key))
		w.build()
		w.begin()
		f(w)
		v = w.judge()
		w.must(w.lab.Close())
		w.must(w.net.Close())
		_ = w.truth.Close()
	})
	if v == nil {
		t.FailNow()
	}
	return v
}

// build makes the cloud, and the ledger with its tenants.
func (w *world) build() {
	var err error
	w.truth, err = os.Create(filepath.Join(w.dir, "truth.ndjson"))
	w.must(err)
	w.lab, err = lab.New(lab.Options{Seed: w.seed, Clock: w.now, Customers: len(w.stories), Story: func(i int) estate.Options { return w.stories[i] }, Truth: w.truth})
	w.must(err)
	go func() {
		if err := w.lab.Serve(w.net); err != nil && !strings.Contains(err.Error(), "closed") {
			w.Errorf("the cloud ended: %v", err)
		}
	}()
	store := w.open()
	for i, c := range w.lab.Customers() {
		sources := []drover.SourceID{w.source}
		if w.stories[i].SIEM && w.source != drover.SIEMDetections {
			sources = append(sources, drover.SIEMDetections)
		}
		w.must(store.AddTenant(context.Background(), reading.Tenant(c, sources, drover.InstantOf(w.now().Add(-w.start)))))
	}
	w.must(store.Close())
}

func (w *world) open() ledger.Store {
	w.Helper()
	v, err := vault.Open(vault.Source{File: w.key})
	w.must(err)
	store, err := sqlite.Open(context.Background(), sqlite.Options{Dir: filepath.Join(w.dir, "ledger"), Vault: v, Place: "pull"})
	w.must(err)
	return store
}

// product is one process, as far as it reads.
type product struct {
	w      *world
	store  ledger.Store
	dead   atomic.Bool
	reader *reading.Reader
	col    *collect.Collector
	cancel context.CancelFunc
	done   chan error
}

// begin starts a process.
func (w *world) begin() {
	w.Helper()
	p := &product{w: w, store: w.open(), done: make(chan error, 1)}
	w.p = p
	var err error
	p.reader, err = reading.New(reading.Options{Lab: w.lab, Network: w.net, PageSize: w.pageSize})
	w.must(err)
	p.col, err = collect.New(collect.Options{Store: watched{p.store, p}, Sources: p.reader.Sources,
		Compare: revision.Comparer{}, Seed: w.seed + 1, Interval: w.interval, Notify: w.note,
		Allowance: func(drover.Tenant, drover.SourceID) int { return w.allowance }})
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() { p.done <- p.col.Run(ctx) }()
}

func (w *world) note(e collect.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events[e.What] += max(e.N, 1)
	w.said[e.What+" "+string(e.Feed.Tenant)] += max(e.N, 1)
	if e.Err != nil && drover.KindOf(e.Err) == drover.Broken {
		w.Errorf("a promise of our own is broken: %v", e.Err)
	}
}

func (w *world) count(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events[what]
}

// of is count for the n-th tenant.
func (w *world) of(n int, what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.said[what+" "+w.tenant(n)]
}

// end ends the process, in good order unless it is dead.
func (w *world) end() {
	w.Helper()
	p := w.p
	p.cancel()
	if err := <-p.done; err != nil && !errors.Is(err, errDead) {
		w.Errorf("the process ended with: %v", err)
	}
	p.reader.Close()
	w.must(p.store.Close())
	w.lab.Truth().Event("mark", "kind", "kill")
	w.p = nil
}

// feed is what the ledger knows of the n-th tenant's first source.
func (w *world) feed(n int) ledger.FeedState {
	w.Helper()
	feeds, err := w.p.store.Feeds(context.Background())
	w.must(err)
	for _, f := range feeds {
		if string(f.Feed.Tenant) == w.tenant(n) && f.Feed.Source == w.source {
			return f
		}
	}
	w.Fatal("no such feed")
	return ledger.FeedState{}
}

// revisions calls f with what the ledger holds of the n-th tenant's first
// source.
func (w *world) revisions(n int, f func(drover.Revision)) {
	w.Helper()
	for r, err := range w.p.store.Revisions(context.Background(), drover.Feed{Tenant: drover.TenantID(w.tenant(n)), Source: w.source}, 1) {
		w.must(err)
		f(r)
	}
}

// has reports whether the ledger holds an alert of the n-th tenant.
func (w *world) has(n int, id string) (there bool) {
	w.revisions(n, func(r drover.Revision) { there = there || r.AlertID == id })
	return there
}

// put gives the n-th tenant an alert that changed at a time.
func (w *world) put(n int, id string, changed time.Time) {
	w.lab.Estate().Put(w.tenant(n), estate.Graph, estate.Row{ID: id, Created: changed, Changed: changed, Visible: changed})
}

// errDead is what a killed process gets from its ledger.
var errDead = errors.New("the process is dead")

// watched is the ledger as one process has it.
type watched struct {
	ledger.Store
	p *product
}

func (s watched) Take(ctx context.Context, f drover.Feed) (ledger.FeedState, error) {
	if s.p.dead.Load() {
		return ledger.FeedState{}, errDead
	}
	return s.Store.Take(ctx, f)
}

func (s watched) Flush(ctx context.Context, whole map[drover.Feed]drover.Instant) error {
	if s.p.dead.Load() {
		return errDead
	}
	return s.Store.Flush(ctx, whole)
}

func (s watched) Commit(ctx context.Context, c ledger.Commit) (ledger.Committed, error) {
	w := s.p.w
	w.mu.Lock()
	w.commits++
	dies := w.dies != nil && w.dies(w.commits)
	w.mu.Unlock()
	if dies {
		s.p.dead.Store(true)
		w.lab.Truth().Event("mark", "kind", "kill")
		s.p.cancel()
	}
	if s.p.dead.Load() {
		return ledger.Committed{}, errDead
	}
	done, err := s.Store.Commit(ctx, c)
	if err == nil && c.Cursor != nil {
		w.mu.Lock()
		if at, ok := w.cursors[c.Feed]; ok && c.Cursor.Through < at {
			w.back++
		}
		w.cursors[c.Feed] = c.Cursor.Through
		w.mu.Unlock()
	}
	return done, err
}

// verdict is what the oracle says, and what it cannot see.
type verdict struct {
	*oracle.Verdict
	back     int
	requests map[string]int // by tenant, to the APIs
	tail     map[string]int // rows of those without an upper bound
	open     []string       // gaps that are open, feeds that are parked
}

// lost counts lost revisions in the ledger.
func (v *verdict) lost() int { return v.Sum("ledger").Lost }

// twice counts keys that are in the ledger more than once.
func (v *verdict) twice() int { return v.Sum("ledger").Repeated }

// well fails the test for everything that breaks a promise or has not got
// well.
func (v *verdict) well(t *testing.T) {
	t.Helper()
	for _, f := range v.Findings {
		t.Errorf("%s: %d of %s, such as %+v", f.Fault, f.Count, f.Customer, f.Examples[0])
	}
	for _, s := range v.open {
		t.Error(s)
	}
	if v.back > 0 {
		t.Errorf("%d cursors went back", v.back)
	}
	if v.Shown() == 0 {
		t.Error("nothing was shown: nothing was tried")
	}
}

// newest is a state that an alert has.
type newest struct {
	tenant, source, id string
	rev                int
}

// newest lists the states that alerts have now.
func (w *world) newest() map[newest]bool {
	m := make(map[newest]bool)
	w.lab.Estate().Newest(w.now(), func(tenant, source string, r *estate.Row) { m[newest{tenant, source, r.ID, r.Rev}] = true })
	return m
}

// read are the sources that tenants are read by.
func (w *world) read() []string {
	list := []string{string(w.source)}
	for i := range w.stories {
		if w.stories[i].SIEM && w.source != drover.SIEMDetections {
			return append(list, string(drover.SIEMDetections))
		}
	}
	return list
}

// judge ends the process and the truth log, and asks the oracle.
func (w *world) judge() *verdict {
	w.Helper()
	// A state that shows at the very end is on its way: owed is what there was
	// time to read.
	quiet := w.newest()
	w.pass(3 * w.interval)
	out := &verdict{back: w.back, requests: make(map[string]int), tail: make(map[string]int)}
	feeds, err := w.p.store.Feeds(context.Background())
	w.must(err)
	for _, f := range feeds {
		if f.Parked != "" {
			out.open = append(out.open, fmt.Sprintf("%s is parked: %s", f.Feed, f.Parked))
		}
		for _, g := range f.Gaps {
			out.open = append(out.open, fmt.Sprintf("%s has an open gap %s: %s", f.Feed, g.Span, g.Cause))
		}
		for _, b := range f.Backfills {
			out.open = append(out.open, fmt.Sprintf("%s has not read its history: %+v", f.Feed, b))
		}
	}
	w.end()
	for n := range w.newest() {
		if quiet[n] {
			w.lab.Truth().Event("newest", "tenant", n.tenant, "source", n.source, "id", n.id, "rev", n.rev)
		}
	}
	w.lab.Truth().Event("end")
	store := w.open()
	var export bytes.Buffer
	w.must(ledger.Export(context.Background(), store, nil, &export))
	w.must(store.Close())
	path := filepath.Join(w.dir, "export.ndjson")
	w.must(os.WriteFile(path, export.Bytes(), 0o600))
	out.Verdict, err = oracle.Judge(oracle.Input{Truth: oracle.Files(w.truth.Name()), Sources: w.read(), Sinks: []oracle.Place{{Name: "ledger", Kind: oracle.KindLedger, Logs: oracle.Files(path)}}})
	w.must(err)
	raw, err := os.ReadFile(w.truth.Name())
	w.must(err)
	for line := range bytes.Lines(raw) {
		if !bytes.Contains(line, []byte(`"t":"request"`)) || bytes.Contains(line, []byte(`"source":"token"`)) {
			continue
		}
		for _, c := range w.lab.Customers() {
			if bytes.Contains(line, []byte(c.Tenant)) {
				out.requests[c.Tenant]++
				var of struct{ Rows int }
				w.must(json.Unmarshal(line, &of))
				if !bytes.Contains(line, []byte("%20lt%20")) {
					out.tail[c.Tenant] += of.Rows
				}
				break
			}
		}
	}
	return out
}
