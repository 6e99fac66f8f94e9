package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
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
	"drover/internal/deliver"
	"drover/internal/lab"
	"drover/internal/lab/estate"
	"drover/internal/lab/splunk"
	"drover/internal/ledger"
	"drover/internal/ledger/sqlite"
	"drover/internal/oracle"
	"drover/internal/rig/memnet"
	"drover/internal/rig/reading"
	"drover/internal/vault"
)

// Tokens of the pretend Splunks.
const (
	hecToken = "11111111-2222-3333-4444-555555555555"
	ackToken = "66666666-7777-8888-9999-000000000000"
)

// epoch is when every run begins. A bubble begins in the year 2000.
var epoch = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

// world is one run: the cloud, the receivers, the product, and what is noted.
type world struct {
	*testing.T
	seed uint64
	plan plan
	dir  string
	key  string
	net  *memnet.Network
	lab  *lab.Lab
	hec  *splunk.Receiver
	ack  *splunk.Receiver
	p    *product

	log     *os.File     // what the product logs
	calm    atomic.Bool  // faults have ended
	ahead   atomic.Int64 // the cloud's clock, ahead of ours
	cursors *cursorBook
	seen    *sightings
	quiet   map[newest]bool // the newest states some time before the end
	span    time.Duration
	aside   []ledger.Aside // at the end
	ended   []string       // processes that did not end well

	// What a test may put in the product's way.
	source func(drover.Source) drover.Source
	sink   func(drover.SinkID, drover.Sink) drover.Sink
	store  func(collect.Store) collect.Store
	out    func(deliver.Store) deliver.Store
	hiccup func(what string) error
	notify func(collect.Event)
}

// newest is a state that an alert has.
type newest struct {
	tenant, source, id string
	rev                int
}

// sightings count what the engines told, and the kinds of errors they met.
type sightings struct {
	mu    sync.Mutex
	what  map[string]int
	kinds map[drover.Kind]int
	last  map[string]error
	purse []string // tokens that the product was given
	rng   *rand.Rand
}

// enoughTokens are remembered and searched for.
const enoughTokens = 3

func (s *sightings) token(t string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.purse) < enoughTokens && !slices.Contains(s.purse, t) {
		s.purse = append(s.purse, t)
	}
}

// mayFail fails some calls to the ledger before they reach it, while faults
// are dealt.
func (w *world) mayFail(what string) error {
	if w.hiccup != nil {
		return w.hiccup(what)
	}
	if w.plan.hiccups == 0 || w.calm.Load() {
		return nil
	}
	w.seen.mu.Lock()
	defer w.seen.mu.Unlock()
	if w.seen.rng.Float64() >= w.plan.hiccups {
		return nil
	}
	w.seen.what["ledger.hiccup"]++
	return &drover.Error{Op: what, Kind: drover.Transient, Err: errBusy}
}

var errBusy = errors.New("the ledger is busy")

func (s *sightings) note(who, what string, n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.what[who+"."+what] += max(n, 1)
	if err != nil && what == "failed" {
		s.kinds[drover.KindOf(err)]++
		s.last[who] = err
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// now is the cloud's clock.
func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

// ram is a directory in memory where there is one: fsync costs nothing there.
// With DROVER_KEEP it is one below that, and stays.
func ram(t *testing.T) string {
	if keep := os.Getenv("DROVER_KEEP"); keep != "" {
		dir := filepath.Join(keep, strings.ReplaceAll(t.Name(), "/", "-"))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	if dir, err := os.MkdirTemp("/dev/shm", "drover-sim-"); err == nil {
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

// run plays f in virtual time, with a plan, and has the run judged.
func run(t *testing.T, seed uint64, p plan, f func(w *world)) (v *verdict) {
	t.Helper()
	dir, start := ram(t), time.Now()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(epoch))
		w := &world{T: t, seed: seed, plan: p, dir: dir, key: filepath.Join(dir, "keys", "k"), net: memnet.New(), cursors: newCursorBook(),
			seen: &sightings{what: make(map[string]int), kinds: make(map[drover.Kind]int), last: make(map[string]error), rng: rand.New(rand.NewPCG(seed, 103))}, quiet: make(map[newest]bool)}
		w.ahead.Store(int64(p.ahead))
		w.must(vault.Create(w.key))
		w.build()
		begun := time.Now()
		f(w)
		w.span = time.Since(begun)
		v = w.judge()
		w.must(w.lab.Close())
		w.must(w.net.Close())
	})
	if v != nil {
		v.wall = time.Since(start)
	}
	return v
}

// build makes the cloud and the ledger with its tenants.
func (w *world) build() {
	create := func(name string) *os.File {
		f, err := os.Create(filepath.Join(w.dir, name))
		w.must(err)
		w.Cleanup(func() { _ = f.Close() })
		return f
	}
	w.log = create("drover.log")
	var err error
	w.hec, err = splunk.New(splunk.Options{Tokens: []splunk.Token{{Name: "t", Value: hecToken}}, Log: create("soc.ndjson"), Now: w.now})
	w.must(err)
	w.ack, err = splunk.New(splunk.Options{Tokens: []splunk.Token{{Name: "t", Value: ackToken, UseACK: true}}, Log: create("soc-ack.ndjson"), AckDelay: 3 * time.Second, Now: w.now})
	w.must(err)
	w.lab, err = lab.New(lab.Options{Seed: w.seed, Clock: w.now, Customers: len(w.plan.stories), Story: func(i int) estate.Options { return w.plan.stories[i] }, Truth: create("truth.ndjson"),
		Splunk: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			s := w.hec
			if strings.HasPrefix(r.Host, "splunk-ack.") {
				s = w.ack
			}
			defer func() {
				if p := recover(); p != nil { // the receiver does not count what meets an outage
					if slices.ContainsFunc(s.Faults(), func(f splunk.Fault) bool { return f.Kind == "outage" }) {
						w.seen.note("sink", "outage", 1, nil)
					}
					panic(p)
				}
			}()
			s.ServeHTTP(rw, r)
		})})
	w.must(err)
	go func() {
		if err := w.lab.Serve(w.net); err != nil && !strings.Contains(err.Error(), "closed") {
			w.Errorf("the cloud ended: %v", err)
		}
	}()
	v, err := vault.Open(vault.Source{File: w.key})
	w.must(err)
	store, err := sqlite.Open(context.Background(), sqlite.Options{Dir: filepath.Join(w.dir, "ledger"), Vault: v, Place: "sim"})
	w.must(err)
	for i, c := range w.lab.Customers() {
		w.must(store.AddTenant(context.Background(), reading.Tenant(c, reading.Told(w.plan.stories[i]), drover.InstantOf(w.now().Add(-60*24*time.Hour)))))
	}
	w.must(store.Close())
}

// tenant is the ID of the n-th tenant.
func (w *world) tenant(n int) string { return w.lab.Customers()[n].Tenant }

// pass lets virtual time go by.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// restart ends the process and begins another one.
func (w *world) restart(dead bool, away time.Duration) {
	w.p.stop(dead)
	time.Sleep(away)
	w.begin()
}

// remember notes which states are the newest now. What is still the newest at
// the end is owed: there was time to read it.
func (w *world) remember() {
	clear(w.quiet)
	w.lab.Estate().Newest(w.now(), func(tenant, source string, r *estate.Row) {
		w.quiet[newest{tenant, source, r.ID, r.Rev}] = true
	})
}

// verdict is what the oracle says, and what it cannot see.
type verdict struct {
	*oracle.Verdict
	seed     uint64
	wall     time.Duration
	span     time.Duration
	back     []string // cursors that went back
	commits  int
	noted    int
	dealt    map[string]int // faults by kind, of cloud and receivers
	kinds    map[drover.Kind]int
	what     map[string]int
	pending  []string // what had not got well when the run ended
	astray   []string // what the counts of a sink do not account for
	leaks    []oracle.Finding
	crossed  []oracle.Finding // marks of tenants in the files of others
	searched int              // secrets that were looked for
	walls    int              // marks of tenants that were looked for in the files of others
	told     told
	asides   map[string]int // by reason
	newest   []string
	lab      *lab.Lab
}

// judge ends the process and the truth log, and asks the oracle.
func (w *world) judge() *verdict {
	out := &verdict{seed: w.seed, span: w.span, back: w.cursors.back, commits: w.cursors.commits, noted: w.cursors.noted, kinds: w.seen.kinds, what: w.seen.what, dealt: maps.Clone(w.lab.Faults().Hits()), lab: w.lab}
	for _, r := range []*splunk.Receiver{w.hec, w.ack} {
		for k, n := range r.Counters().Faults {
			out.dealt["sink:"+k] += int(n)
		}
	}
	if w.p != nil {
		// What came in the very last moment is still on its way to the sinks.
		for range 30 {
			if len(w.unwell()) == 0 {
				break
			}
			w.pass(10 * time.Second)
		}
		out.pending, out.astray, w.aside = w.unwell(), w.unaccounted(), w.setAside()
		w.p.stop(false)
	}
	out.pending = append(out.pending, w.ended...)
	w.lab.Estate().Newest(w.now(), func(tenant, source string, r *estate.Row) {
		if n := (newest{tenant, source, r.ID, r.Rev}); w.quiet[n] {
			w.lab.Truth().Event("newest", "tenant", tenant, "source", source, "id", r.ID, "rev", r.Rev)
			out.newest = append(out.newest, fmt.Sprint(n))
		}
	})
	slices.Sort(out.newest)
	w.lab.Truth().Event("end")
	w.must(w.hec.Settle())
	w.must(w.ack.Settle())
	w.export(filepath.Join(w.dir, "export.ndjson"))
	files, err := oracle.Glob(filepath.Join(w.dir, "out", "*.ndjson"))
	w.must(err)
	for i := range files { // a file is one tenant's
		files[i] = files[i].Bound(strings.TrimSuffix(filepath.Base(files[i].Name), ".ndjson"))
	}
	var routed []string
	for i, c := range w.lab.Customers() {
		if i != w.plan.unrouted {
			routed = append(routed, c.Tenant)
		}
	}
	in := func(name string) []oracle.Log { return oracle.Files(filepath.Join(w.dir, name)) }
	out.Verdict, err = oracle.Judge(oracle.Input{Truth: in("truth.ndjson"), Sinks: []oracle.Place{
		{Name: "ledger", Kind: oracle.KindLedger, Logs: in("export.ndjson")},
		{Name: string(sinkFile), Kind: oracle.KindFile, Logs: files, TakesAll: true},
		{Name: string(sinkHEC), Kind: oracle.KindHEC, Logs: in("soc.ndjson"), TakesAll: true, Tenants: routed},
		{Name: string(sinkAck), Kind: oracle.KindHEC, Logs: in("soc-ack.ndjson"), TakesAll: w.plan.refusals == 0},
	}})
	w.must(err)
	w.secrets(out, files)
	out.told = w.listen(filepath.Join(w.dir, "truth.ndjson"))
	return out
}

// unwell lists what should have got well by itself when faults have ended.
func (w *world) unwell() (list []string) {
	ctx := context.Background()
	feeds, err := w.p.store.Feeds(ctx)
	w.must(err)
	for _, f := range feeds {
		if f.Parked != "" {
			list = append(list, fmt.Sprintf("%s is parked: %s", f.Feed, f.Parked))
		}
		for _, g := range f.Gaps {
			if g.Span.From.Time().After(w.now()) {
				continue // of a day on which the cloud's clock was ahead: it is read when its time comes
			}
			list = append(list, fmt.Sprintf("%s has an open gap %s: %s", f.Feed, g.Span, g.Cause))
		}
	}
	for _, s := range sinkIDs {
		places, err := w.p.store.Places(ctx, s)
		w.must(err)
		for _, p := range places {
			if p.Seq != p.Head {
				list = append(list, fmt.Sprintf("sink %s is at %d of %d of %s", s, p.Seq, p.Head, p.Feed))
			}
		}
		attempts, err := w.p.store.Attempts(ctx, s)
		w.must(err)
		if len(attempts) > 0 {
			list = append(list, fmt.Sprintf("sink %s has %d attempts under way", s, len(attempts)))
		}
	}
	return list
}

// unaccounted lists where the daily counts of a sink do not add up to what the
// ledger holds (I9).
func (w *world) unaccounted() (list []string) {
	ctx := context.Background()
	for _, c := range w.lab.Customers() {
		id := drover.TenantID(c.Tenant)
		days, err := w.p.store.Counts(ctx, id)
		w.must(err)
		for _, s := range sinkIDs {
			places, err := w.p.store.Places(ctx, s)
			w.must(err)
			n := int64(0)
			for _, p := range places {
				if p.Feed.Tenant == id {
					n += int64(p.Head)
				}
			}
			for _, d := range days {
				if d.Sink == s && slices.Contains([]string{"taken", "set_aside", "unrouted", "passed_over", "discarded"}, d.What) {
					n -= d.N
				}
			}
			if n != 0 {
				list = append(list, fmt.Sprintf("sink %s: %d revisions of %s are not accounted for", s, n, c.Name))
			}
		}
	}
	return list
}

// export writes what the ledger holds.
func (w *world) export(path string) {
	v, err := vault.Open(vault.Source{File: w.key})
	w.must(err)
	store, err := sqlite.Open(context.Background(), sqlite.Options{Dir: filepath.Join(w.dir, "ledger"), Vault: v, Place: "sim"})
	w.must(err)
	var out bytes.Buffer
	w.must(ledger.Export(context.Background(), store, sinkIDs, &out))
	w.must(os.WriteFile(path, out.Bytes(), 0o600))
	w.must(store.Close())
}

// line is the result line of a run (reference faults-and-invariants, rules for
// the rigs, 4).
func (v *verdict) line() string {
	m := make(map[string]any)
	if err := json.Unmarshal([]byte(v.ResultLine()), &m); err != nil {
		return err.Error()
	}
	delete(m, "faults")
	kinds := make(map[string]int)
	for k, n := range v.kinds {
		kinds[k.String()] += n
	}
	maps.Copy(m, map[string]any{"rig": "sim", "seed": v.seed, "sim_h": v.span.Hours(), "wall_ms": v.wall.Milliseconds(), "cursor_regressions": len(v.back), "commits": v.commits, "dealt": v.dealt,
		"unwell": len(v.pending), "events": v.what, "kinds": kinds, "leaks": len(v.leaks), "early": v.told.early, "special": v.told.special, "asides": v.asides})
	b, err := json.Marshal(m)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// wrong lists everything that breaks a promise.
func (v *verdict) wrong() (list []string) {
	for _, f := range v.Findings {
		list = append(list, fmt.Sprintf("%s: %d at %s of %s, such as %+v", f.Fault, f.Count, f.Place, f.Customer, f.Examples[0]))
	}
	list = append(list, v.astray...)
	for _, f := range slices.Concat(v.leaks, v.crossed) {
		list = append(list, fmt.Sprintf("%s: %d in %s, such as %+v", f.Fault, f.Count, f.Place, f.Examples[0]))
	}
	for _, b := range v.back {
		list = append(list, "a cursor went back: "+b)
	}
	if v.told.early > 0 {
		list = append(list, fmt.Sprintf("%d requests came before the time that a Retry-After had said", v.told.early))
	}
	if n := v.kinds[drover.Broken]; n > 0 {
		list = append(list, fmt.Sprintf("%d errors say that a promise of our own is broken", n))
	}
	return append(list, v.pending...)
}
