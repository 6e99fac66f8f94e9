package restore

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"drover"
	"drover/internal/collect"
	"drover/internal/deliver"
	"drover/internal/format"
	"drover/internal/httpx"
	"drover/internal/ledger"
	"drover/internal/revision"
	"drover/internal/rig/reading"
	"drover/internal/sink/file"
	"drover/internal/sink/splunk"
)

// The sinks of every run: one that can be asked, one that takes events, one
// that confirms what it has indexed.
const (
	sinkFile = drover.SinkID("archive")
	sinkHEC  = drover.SinkID("soc")
	sinkAck  = drover.SinkID("soc-ack")
)

var sinkIDs = []drover.SinkID{sinkFile, sinkHEC, sinkAck}

// product is one process of drover, put together as cmd/drover does.
type product struct {
	w         *world
	store     *mortalStore
	reader    *reading.Reader
	receivers *httpx.Client
	sinks     []drover.Sink
	cancel    context.CancelFunc
	done      chan error
}

// begin starts a process on the ledger that is there.
func (w *world) begin() {
	w.Helper()
	p := &product{w: w, store: &mortalStore{Store: w.open()}, done: make(chan error, 2)}
	w.p = p
	var err error
	p.reader, err = reading.New(reading.Options{Lab: w.lab, Network: w.net, PageSize: 50})
	w.must(err)
	p.receivers, err = httpx.New(httpx.Options{CAs: w.lab.CAPEM(), Dial: w.net.Dial, AllowPrivate: true})
	w.must(err)
	files, err := file.New(file.Options{Root: filepath.Join(w.dir, "out"), Path: "{tenant}.ndjson", MaxBytes: 200_000})
	w.must(err)
	hec := func(url, token string, ack bool) drover.Sink {
		s, err := splunk.New(splunk.Options{URL: url, HTTP: p.receivers, Ack: ack, Target: func(drover.Tenant) splunk.Target {
			return splunk.Target{Token: func() (drover.Secret, error) { return drover.NewSecret(token), nil }, TokenName: "t", Index: "main"}
		}})
		w.must(err)
		return s
	}
	p.sinks = []drover.Sink{files, hec("https://splunk.lab.test", hecToken, false), hec("https://splunk-ack.lab.test", ackToken, true)}
	var dests []deliver.Destination
	for i, s := range p.sinks {
		dests = append(dests, deliver.Destination{ID: sinkIDs[i], Sink: w.slow(s, &p.store.dead), Format: format.JSON{}, FromAll: true, Manifests: true, MaxAge: 2 * time.Second, MaxRecords: 20})
	}
	del, err := deliver.New(deliver.Options{Store: p.store, Sinks: dests, Routes: everywhere{}})
	w.must(err)
	col, err := collect.New(collect.Options{Store: p.store, Sources: p.reader.Sources, Compare: revision.Comparer{}, Seed: w.seed + 1, Interval: interval, Notify: func(e collect.Event) {
		if e.What == "commit" {
			del.Hint(e.Feed, e.N)
		}
	}})
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() { p.done <- col.Run(ctx) }()
	go func() { p.done <- del.Run(ctx) }()
}

// stop ends the process: in good order, or dead at once.
func (p *product) stop(dead bool) {
	p.w.Helper()
	p.w.lab.Truth().Event("mark", "kind", "kill")
	if dead {
		p.store.dead.Store(true)
	}
	p.cancel()
	for range 2 {
		if err := <-p.done; err != nil && !errors.Is(err, errDead) {
			p.w.Errorf("the process ended with: %v", err)
		}
	}
	p.reader.Close()
	p.receivers.Close()
	for _, s := range p.sinks {
		p.w.must(s.Close())
	}
	p.w.must(p.store.Store.Close())
	p.w.lab.Truth().Event("mark", "kind", "kill")
	p.w.p = nil
}

type everywhere struct{}

func (everywhere) Routed(drover.Tenant, drover.SourceID, drover.SinkID) bool { return true }
func (everywhere) Generation() uint64                                        { return 1 }

// errDead is what a killed process gets: nothing of what it still does counts.
var errDead = errors.New("the process is dead")

// mortalStore is the ledger as one process has it.
type mortalStore struct {
	ledger.Store
	dead atomic.Bool
}

func (m *mortalStore) Commit(ctx context.Context, c ledger.Commit) (ledger.Committed, error) {
	if m.dead.Load() {
		return ledger.Committed{}, errDead
	}
	return m.Store.Commit(ctx, c)
}

func (m *mortalStore) Flush(ctx context.Context, whole map[drover.Feed]drover.Instant) error {
	if m.dead.Load() {
		return errDead
	}
	return m.Store.Flush(ctx, whole)
}

func (m *mortalStore) Claim(ctx context.Context, a ledger.Attempt) error {
	if m.dead.Load() {
		return errDead
	}
	return m.Store.Claim(ctx, a)
}

func (m *mortalStore) Settle(ctx context.Context, s ledger.Settle) error {
	if m.dead.Load() {
		return errDead
	}
	return m.Store.Settle(ctx, s)
}

// slowSink takes its time before and after it sends, so that a copy or the end
// can fall between any two steps. Dead, it sends nothing more.
type slowSink struct {
	drover.Sink
	pause    func() time.Duration
	dead     *atomic.Bool
	underway *atomic.Int64
}

func (s slowSink) Deliver(ctx context.Context, b drover.Batch) (drover.Taken, error) {
	s.underway.Add(int64(len(b.Records)))
	defer s.underway.Add(-int64(len(b.Records)))
	time.Sleep(s.pause())
	if s.dead.Load() {
		return drover.Taken{}, errDead
	}
	t, err := s.Sink.Deliver(ctx, b)
	time.Sleep(s.pause())
	return t, err
}

// slowAsker is one that can be asked.
type slowAsker struct {
	slowSink
	drover.Asker
}

func (w *world) slow(s drover.Sink, dead *atomic.Bool) drover.Sink {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(w.seed, 7))
	m := slowSink{s, func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return time.Duration(r.Int64N(int64(longestSend)))
	}, dead, &w.underway}
	if a, ok := s.(drover.Asker); ok {
		return slowAsker{m, a}
	}
	return m
}
