package auditing

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/audit"
	"drover/internal/collect"
	"drover/internal/deliver"
	"drover/internal/format"
	"drover/internal/lab"
	"drover/internal/lab/estate"
	"drover/internal/ledger"
	"drover/internal/ledger/sqlite"
	"drover/internal/ledger/sqlite/sqlitetest"
	"drover/internal/revision"
	"drover/internal/rig/memnet"
	"drover/internal/rig/reading"
	"drover/internal/sink/file"
)

// epoch is when every story begins.
var epoch = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

// The sinks: one that is read back, one that is not.
const (
	archive = drover.SinkID("archive")
	soc     = drover.SinkID("soc")
)

// setting is what a story is set in, and what is put in the product's way.
type setting struct {
	stories  []estate.Options
	pageSize int
	start    time.Duration // before the story begins, from when on rows are owed; 60 days if 0
	source   func(w *world, s drover.Source) drover.Source
	sink     func(w *world, id drover.SinkID, s drover.Sink) drover.Sink
	audited  func(w *world, s audit.Store) audit.Store
	fileSize int64 // at which a file is put away
	unrouted func(t drover.Tenant, s drover.SinkID) bool
	doer     func(d audit.Doer) audit.Doer // of the audit
}

// world is one story.
type world struct {
	*testing.T
	setting
	dir    string
	net    *memnet.Network
	lab    *lab.Lab
	store  ledger.Store
	reader *reading.Reader
	files  *file.Sink
	col    *collect.Collector

	dropped atomic.Int64 // what a plant has done
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// now is the cloud's clock, which is ours.
func (w *world) now() time.Time { return time.Now() }

func (w *world) tenant(n int) string { return w.lab.Customers()[n].Tenant }

func (w *world) feed(n int) drover.Feed {
	return drover.Feed{Tenant: drover.TenantID(w.tenant(n)), Source: drover.GraphAlerts}
}

// pass lets virtual time go by.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// story tells f in virtual time.
func story(t *testing.T, s setting, f func(w *world)) {
	t.Helper()
	if s.start == 0 {
		s.start = 60 * 24 * time.Hour
	}
	if s.pageSize == 0 {
		s.pageSize = 25
	}
	dir := t.TempDir()
	if ram, err := os.MkdirTemp("/dev/shm", "drover-audit-"); err == nil { // fsync costs nothing there
		t.Cleanup(func() { _ = os.RemoveAll(ram) })
		dir = ram
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(epoch))
		w := &world{T: t, setting: s, dir: dir, net: memnet.New()}
		end := w.begin()
		f(w)
		end()
		w.must(w.lab.Close())
		w.must(w.net.Close())
	})
}

// begin makes the cloud, the ledger and the product; end ends the product.
func (w *world) begin() (end func()) {
	ctx := context.Background()
	var err error
	w.lab, err = lab.New(lab.Options{Seed: 7, Clock: w.now, Customers: len(w.stories), Story: func(i int) estate.Options { return w.stories[i] }})
	w.must(err)
	go func() {
		if err := w.lab.Serve(w.net); err != nil && !strings.Contains(err.Error(), "closed") {
			w.Errorf("the cloud ended: %v", err)
		}
	}()
	w.store = sqlitetest.Open(w.T, w.dir, sqlite.Options{Place: "audit"})
	for i, c := range w.lab.Customers() {
		t := reading.Tenant(c, reading.Told(w.stories[i]), drover.InstantOf(w.now().Add(-w.start)))
		t.State = drover.Active
		w.must(w.store.AddTenant(ctx, t))
	}
	w.reader, err = reading.New(reading.Options{Lab: w.lab, Network: w.net, PageSize: w.pageSize})
	w.must(err)
	read := w.reader.Sources
	if w.source != nil {
		for i := range read {
			read[i] = w.source(w, read[i])
		}
	}
	w.files, err = file.New(file.Options{Root: filepath.Join(w.dir, "out"), Path: "{tenant}.ndjson", MaxBytes: w.fileSize, Now: w.now})
	w.must(err)
	var dests []deliver.Destination
	for id, s := range map[drover.SinkID]drover.Sink{archive: w.files, soc: hole{}} {
		if w.sink != nil {
			s = w.sink(w, id, s)
		}
		dests = append(dests, deliver.Destination{ID: id, Sink: s, Format: format.JSON{}, FromAll: true})
	}
	del, err := deliver.New(deliver.Options{Store: w.store, Sinks: dests, Routes: routes{w}, Seed: 2})
	w.must(err)
	w.col, err = collect.New(collect.Options{Store: w.store, Sources: read, Compare: revision.Comparer{}, Seed: 1, Interval: time.Minute, Notify: func(e collect.Event) {
		if e.What == "commit" {
			del.Hint(e.Feed, e.N)
		}
		if e.Err != nil && drover.KindOf(e.Err) == drover.Broken {
			w.Errorf("a promise of our own is broken: %v", e.Err)
		}
	}})
	w.must(err)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 2)
	go func() { done <- w.col.Run(ctx) }()
	go func() { done <- del.Run(ctx) }()
	return func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				w.Errorf("the product ended with: %v", err)
			}
		}
		w.reader.Close()
		w.must(w.files.Close())
		w.must(w.store.Close())
	}
}

// hole is a sink that takes everything and shows nothing.
type hole struct{}

func (hole) Lane(drover.Tenant) string { return "all" }
func (hole) Deliver(_ context.Context, b drover.Batch) (drover.Taken, error) {
	return drover.Taken{N: len(b.Records)}, nil
}
func (hole) Check(context.Context) (string, error) { return "nothing is promised", nil }
func (hole) Close() error                          { return nil }

// routes lead everywhere, unless the story says otherwise.
type routes struct{ w *world }

func (r routes) Routed(t drover.Tenant, _ drover.SourceID, s drover.SinkID) bool {
	return r.w.unrouted == nil || !r.w.unrouted(t, s)
}
func (routes) Generation() uint64 { return 1 }

// audit audits all tenants from some time before the story's begin up to now,
// and checks what holds for every report.
func (w *world) audit(back time.Duration) *audit.Report {
	w.Helper()
	r := w.auditQuietly(epoch.Add(-back), w.now())
	for _, f := range r.Feeds {
		if f.Counts.API == 0 {
			w.Errorf("%s of %s: the API showed nothing: nothing was compared", f.Source, f.Name)
		}
	}
	return r
}

func (w *world) auditQuietly(from, to time.Time) *audit.Report {
	w.Helper()
	var store audit.Store = w.store
	if w.audited != nil {
		store = w.audited(w, store)
	}
	var doer audit.Doer = w.reader.HTTP
	if w.doer != nil {
		doer = w.doer(doer)
	}
	a := audit.New(audit.Options{Store: store, HTTP: func(drover.Tenant) (audit.Doer, error) { return doer, nil }, Tokens: w.reader.Tokens, Host: w.reader.Host, Compare: revision.Comparer{}, Routes: routes{w},
		Sinks: []audit.Sink{{ID: archive, Lane: w.files.Lane, Shelf: w.files}, {ID: soc, Lane: hole{}.Lane}}, Whole: w.col.Whole, Wait: 90 * time.Second, Version: "test"})
	o := audit.Order{From: drover.InstantOf(from), To: drover.InstantOf(to)}
	for i := range w.stories {
		o.Tenants = append(o.Tenants, drover.TenantID(w.tenant(i)))
	}
	r, err := a.Run(context.Background(), o)
	w.must(err)
	text, err := json.Marshal(r)
	w.must(err)
	if _, err := audit.Verify(text); err != nil {
		w.Errorf("a report that was just made: %v", err)
	}
	var page bytes.Buffer
	w.must(r.HTML(&page))
	if keep := os.Getenv("DROVER_KEEP"); keep != "" {
		name := filepath.Join(keep, strings.ReplaceAll(w.Name(), "/", "-"))
		w.must(os.WriteFile(name+".html", page.Bytes(), 0o600))
		w.must(os.WriteFile(name+".json", text, 0o600))
	}
	return r
}

// prune throws away what may go.
func (w *world) prune(o ledger.PruneOrder) {
	w.Helper()
	o.Now, o.Confirmed = drover.InstantOf(w.now()), true
	out, err := w.store.Prune(context.Background(), o)
	w.must(err)
	if out.Bodies == 0 && len(out.Gaps) == 0 {
		w.Error("nothing was pruned")
	}
	w.pass(time.Minute)
}

// gaps counts open gaps of the n-th tenant.
func (w *world) gaps(n int) int {
	w.Helper()
	gaps, err := w.store.Gaps(context.Background(), ledger.GapFilter{Tenant: drover.TenantID(w.tenant(n)), State: drover.GapOpen})
	w.must(err)
	return len(gaps)
}

// alert is the ID of one of the first tenant's alerts.
func (w *world) alert(n int) string {
	w.Helper()
	rev, err := w.store.Body(context.Background(), w.feed(0), uint64(n+1))
	w.must(err)
	return rev.AlertID
}

// count counts differences of a kind and explanation; "" counts all.
func count(r *audit.Report, what, where, why string) (n int) {
	for _, f := range r.Feeds {
		for _, d := range f.Differences {
			if (what == "" || d.What == what) && (where == "" || d.Where == where) && (why == "" || d.Why == why) {
				n += d.N
			}
		}
	}
	return n
}

// summary says what a report comes to, for a failing test.
func summary(r *audit.Report) string {
	kinds := make(map[string]int)
	var list []string
	for _, f := range r.Feeds {
		list = append(list, fmt.Sprintf("%s/%s: %s %v %+v", f.Name, f.Source, f.Verdict, f.CannotTell, f.Counts))
		for _, s := range f.Sinks {
			list = append(list, fmt.Sprintf("  %+v", *s))
		}
		for _, d := range f.Differences {
			if kinds[d.What+d.Where+d.Why]++; kinds[d.What+d.Where+d.Why] <= 3 {
				list = append(list, fmt.Sprintf("  %s at %s: %s: %+v", d.What, d.Where, d.Why, d))
			}
		}
	}
	return strings.Join(list, "\n")
}

// lines reads a tenant's file.
func (w *world) lines(n int) []string {
	w.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, "out", w.tenant(n)+".ndjson"))
	w.must(err)
	return strings.SplitAfter(strings.TrimSuffix(string(b), "\n"), "\n")
}

// write replaces a tenant's file.
func (w *world) write(n int, lines []string) {
	w.Helper()
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], "\n")
	}
	w.must(os.WriteFile(filepath.Join(w.dir, "out", w.tenant(n)+".ndjson"), []byte(strings.Join(lines, "\n")+"\n"), 0o600))
}
