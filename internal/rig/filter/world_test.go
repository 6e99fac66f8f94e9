package filter

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/collect"
	"drover/internal/config"
	"drover/internal/deliver"
	"drover/internal/format"
	"drover/internal/lab"
	"drover/internal/lab/estate"
	"drover/internal/ledger"
	"drover/internal/ledger/sqlite"
	"drover/internal/oracle"
	"drover/internal/revision"
	"drover/internal/rig/memnet"
	"drover/internal/rig/reading"
	"drover/internal/sink/file"
	"drover/internal/vault"
)

// epoch is when every story begins. A bubble begins in the year 2000.
var epoch = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

// long is a story in which what a secondary source tells alone is due, which is
// after 48 hours; short one in which nothing of that is.
const (
	long  = 54 * time.Hour
	short = 5 * time.Hour
	calm  = 30 * time.Minute // nothing changes by hand: the newest states are read, and have settled
)

// outlet is a sink: what the config says of it.
type outlet struct {
	id        drover.SinkID
	revisions revision.Choice
	sources   []string // as the oracle is told
}

// The last one is given what two sources tell; what the second tells alone goes
// to the others.
var outlets = []outlet{
	{"all", revision.All, []string{oracle.Primary}},
	{"no-touches", revision.NoTouches, []string{oracle.Primary}},
	{"created", revision.Created, []string{oracle.Primary}},
	{"settled", revision.Settled, []string{oracle.Primary}},
	{"both", revision.All, []string{oracle.Primary, "mde.alerts"}},
}

// routes are those of the config for the outlets.
var routes = config.Routes{
	{Sources: []drover.SourceID{drover.MDEAlerts}, Customers: []string{"contoso"}, Sinks: []drover.SinkID{"both"}},
	{Sinks: []drover.SinkID{"all", "no-touches", "created", "settled", "both"}},
}

// world is one story.
type world struct {
	*testing.T
	dir, key string
	net      *memnet.Network
	lab      *lab.Lab
	truth    *os.File
	store    ledger.Store
	stop     func()
	span     time.Duration
	sources  [][]drover.SourceID // of each tenant

	// What a test may put in the product's way.
	revisions map[drover.SinkID]revision.Choice
	routes    deliver.Routes
	sink      func(drover.SinkID, drover.Sink) drover.Sink
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) tenant(n int) string { return w.lab.Customers()[n].Tenant }

// story is what was told: its files, and which sources the run read of each
// tenant.
type story struct {
	dir   string
	reads map[string][]string
}

// play tells a story in virtual time. set may put something in the product's
// way.
func play(t *testing.T, span time.Duration, set func(w *world)) *story {
	t.Helper()
	dir, reads := ram(t), make(map[string][]string)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(epoch))
		w := &world{T: t, dir: dir, key: filepath.Join(dir, "keys", "k"), net: memnet.New(), span: span, routes: routes,
			sources: [][]drover.SourceID{{drover.GraphAlerts, drover.GraphIncidents, drover.MDEAlerts}, {drover.MDEAlerts, drover.SIEMDetections}}}
		set(w)
		w.must(vault.Create(w.key))
		w.build()
		w.begin()
		w.tell()
		w.stop()
		w.lab.End()
		for i, list := range w.sources {
			for _, s := range list {
				reads[w.tenant(i)] = append(reads[w.tenant(i)], string(s))
			}
		}
		w.open()
		var export bytes.Buffer
		w.must(ledger.Export(context.Background(), w.store, nil, &export))
		w.must(w.store.Close())
		w.must(os.WriteFile(filepath.Join(dir, "export.ndjson"), export.Bytes(), 0o600))
		w.must(w.lab.Close())
		w.must(w.net.Close())
		_ = w.truth.Close()
	})
	return &story{dir, reads}
}

// build makes the cloud, and the ledger with its tenants.
func (w *world) build() {
	var err error
	w.truth, err = os.Create(filepath.Join(w.dir, "truth.ndjson"))
	w.must(err)
	w.lab, err = lab.New(lab.Options{Seed: 11, Clock: time.Now, Customers: len(w.sources), Truth: w.truth, Story: func(i int) estate.Options {
		return estate.Options{PerMinute: 0.6 / w.span.Hours(), Horizon: w.span * 9 / 10, Updates: 2, Shuffle: i == 0 && w.span == short, Incidents: i == 0, MDE: true, SIEM: i == 1, Reprocess: true}
	}})
	w.must(err)
	go func() {
		if err := w.lab.Serve(w.net); err != nil && !strings.Contains(err.Error(), "closed") {
			w.Errorf("the cloud ended: %v", err)
		}
	}()
	w.open()
	for i, c := range w.lab.Customers() {
		w.must(w.store.AddTenant(context.Background(), reading.Tenant(c, w.sources[i], drover.InstantOf(epoch.Add(-24*time.Hour)))))
	}
	w.must(w.store.Close())
}

// steady is a ledger whose tenants nobody changes: it is asked for them every
// two seconds by every sink.
type steady struct {
	ledger.Store
	generation uint64
}

func (s steady) Generation(context.Context) (uint64, error) { return s.generation, nil }

func (w *world) open() {
	w.Helper()
	v, err := vault.Open(vault.Source{File: w.key})
	w.must(err)
	store, err := sqlite.Open(context.Background(), sqlite.Options{Dir: filepath.Join(w.dir, "ledger"), Vault: v, Place: "filter"})
	w.must(err)
	generation, err := store.Generation(context.Background())
	w.must(err)
	w.store = steady{store, generation}
}

// begin starts a process, put together as cmd/drover does.
func (w *world) begin() {
	w.Helper()
	w.open()
	reader, err := reading.New(reading.Options{Lab: w.lab, Network: w.net})
	w.must(err)
	var dests []deliver.Destination
	var sinks []drover.Sink
	for _, o := range outlets {
		s, err := file.New(file.Options{Root: filepath.Join(w.dir, "out", string(o.id)), Path: "{tenant}.ndjson", MaxAge: 365 * 24 * time.Hour})
		w.must(err)
		sinks = append(sinks, s)
		var real drover.Sink = s
		if w.sink != nil {
			real = w.sink(o.id, s)
		}
		choice, ok := w.revisions[o.id]
		if !ok {
			choice = o.revisions
		}
		dests = append(dests, deliver.Destination{ID: o.id, Sink: real, Format: format.JSON{}, FromAll: true, Revisions: choice})
	}
	del, err := deliver.New(deliver.Options{Store: w.store, Sinks: dests, Routes: w.routes, Seed: 1, Scan: 10 * time.Minute})
	w.must(err)
	col, err := collect.New(collect.Options{Store: w.store, Compare: revision.Comparer{}, Seed: 2, Interval: 4 * time.Minute, Overlap: 5 * time.Minute, Sweeps: []collect.Sweep{{Depth: 48 * time.Hour, Every: 6 * time.Hour}}, TenantCheck: time.Minute,
		Sources: reader.Sources,
		Notify: func(e collect.Event) {
			if e.What == "commit" {
				del.Hint(e.Feed, e.N)
			}
		}})
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- col.Run(ctx) }()
	go func() { done <- del.Run(ctx) }()
	w.stop = func() {
		w.Helper()
		cancel()
		for range 2 {
			w.must(<-done)
		}
		reader.Close()
		for _, s := range sinks {
			w.must(s.Close())
		}
		w.must(w.store.Close())
		w.lab.Truth().Event("mark", "kind", "kill")
	}
}

// tell lets alerts be changed and touched by hand, some without rest, shows some
// in one source alone, and has the process started anew once.
func (w *world) tell() {
	rng, e := rand.New(rand.NewPCG(5, 5)), w.lab.Estate()
	// So long an ID makes an alert of Defender for Endpoint, the other one of
	// another product: of templates there is one for each length.
	name := func(kind string, n, length int) string {
		return fmt.Sprintf("da%s%0*d_1", kind, length-4-len(kind), n)
	}
	put := func(source, id string, changed, visible time.Time) {
		e.Put(w.tenant(0), source, estate.Row{ID: id, Created: time.Now(), Changed: changed, Visible: visible})
	}
	var busy []string
	for minute := range int(w.span / time.Minute) {
		if minute == int((w.span-calm)/time.Minute) {
			busy = nil
		}
		if minute%97 == 0 && minute < int(w.span/time.Minute)*9/10 {
			id := name("b", minute, 36)
			put(estate.Graph, id, time.Now(), time.Now())
			busy = append(busy[max(0, len(busy)-3):], id)
		}
		if minute < 240 && minute%20 == 10 { // in one source alone, or in the other much later
			id, now := name("m", minute, 40), time.Now()
			put(estate.MDE, id[2:], now, now)
			switch minute / 20 % 4 {
			case 1: // found by a sweep
				put(estate.Graph, id, now, now.Add(30*time.Hour))
			case 2:
				put(estate.Graph, id, now.Add(50*time.Hour), now.Add(50*time.Hour))
			}
		}
		e.See(w.tenant(0), estate.Graph, time.Now(), func(estate.View) {}) // a change is one of what is visible
		for i, id := range busy {
			if i == 0 && minute%7 == 0 || rng.IntN(40) == 0 {
				if rng.IntN(3) == 0 {
					e.Touch(w.tenant(0), id, time.Now())
				} else {
					e.Change(w.tenant(0), id, time.Now(), false)
				}
			}
		}
		if minute == int(w.span/time.Minute)/2 {
			w.stop()
			time.Sleep(2 * time.Minute)
			w.begin()
		}
		time.Sleep(time.Minute)
	}
	synctest.Wait()
}
