package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"drover"
	"drover/internal/collect"
	"drover/internal/defender"
	"drover/internal/deliver"
	"drover/internal/entra"
	"drover/internal/format"
	"drover/internal/httpx"
	"drover/internal/ledger/sqlite"
	"drover/internal/revision"
	"drover/internal/rig/reading"
	"drover/internal/sink/file"
	"drover/internal/sink/splunk"
	"drover/internal/vault"
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
	store     *watched
	reader    *reading.Reader
	receivers *httpx.Client
	col       *collect.Collector
	del       *deliver.Deliverer
	sinks     []drover.Sink
	cancel    context.CancelFunc
	done      chan error
}

// begin starts a process.
func (w *world) begin() {
	w.Helper()
	v, err := vault.Open(vault.Source{File: w.key})
	w.must(err)
	raw, err := sqlite.Open(context.Background(), sqlite.Options{Dir: filepath.Join(w.dir, "ledger"), Vault: v, Place: "sim"})
	w.must(err)
	p := &product{w: w, store: &watched{Store: raw, book: w.cursors, hiccup: w.mayFail}, done: make(chan error, 2)}
	p.store.generation, err = raw.Generation(context.Background())
	w.must(err)
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.p = p
	p.reader, err = reading.New(reading.Options{Lab: w.lab, Network: w.net, PageSize: w.plan.pageSize, Purse: func(t *entra.Tokens) defender.Tokens { return purse{t, w} }})
	w.must(err)
	receivers, err := httpx.New(httpx.Options{CAs: w.lab.CAPEM(), Dial: w.net.Dial, AllowPrivate: true})
	w.must(err)
	p.receivers = receivers
	sources := p.reader.Sources
	if w.source != nil {
		for i := range sources {
			sources[i] = w.source(sources[i])
		}
	}
	files, err := file.New(file.Options{Root: filepath.Join(w.dir, "out"), Path: "{tenant}.ndjson"})
	w.must(err)
	hec := func(url, token string, ack bool) drover.Sink {
		s, err := splunk.New(splunk.Options{URL: url, HTTP: receivers, Ack: ack, Target: func(drover.Tenant) splunk.Target {
			return splunk.Target{Token: func() (drover.Secret, error) { return drover.NewSecret(token), nil }, TokenName: "t", Index: "main"}
		}})
		w.must(err)
		return s
	}
	p.sinks = []drover.Sink{files, hec("https://splunk.lab.test", hecToken, false), hec("https://splunk-ack.lab.test", ackToken, true)}
	var dests []deliver.Destination
	for i, s := range p.sinks {
		if sinkIDs[i] == sinkAck && w.plan.refusals > 0 {
			s = picky{s, w.plan.refusals}
		}
		if w.sink != nil {
			s = w.sink(sinkIDs[i], s)
		}
		dests = append(dests, deliver.Destination{ID: sinkIDs[i], Sink: live(s, &p.store.dead), Format: format.JSON{}, FromAll: true, MaxAge: 2 * time.Second})
	}
	var store deliver.Store = p.store
	if w.out != nil {
		store = w.out(p.store)
	}
	p.del, err = deliver.New(deliver.Options{Store: store, Sinks: dests, Routes: routes{w}, Seed: w.seed + 2, Log: log, Notify: func(e deliver.Event) { w.seen.note(string(e.Sink), e.What, e.N, e.Err) }})
	w.must(err)
	var collects collect.Store = p.store
	if w.store != nil {
		collects = w.store(p.store)
	}
	p.col, err = collect.New(collect.Options{Store: collects, Sources: sources, Compare: revision.Comparer{}, Seed: w.seed + 1, Log: log, Interval: w.plan.interval, Overlap: w.plan.overlap, Notify: func(e collect.Event) {
		w.seen.note("collect", e.What, e.N, e.Err)
		if e.What == "commit" {
			p.del.Hint(e.Feed, e.N)
		}
		if w.notify != nil {
			w.notify(e)
		}
	}})
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() { p.done <- p.col.Run(ctx) }()
	go func() { p.done <- p.del.Run(ctx) }()
}

// live wraps a sink so that it dies with its process.
func live(s drover.Sink, dead *atomic.Bool) drover.Sink {
	m := mortal{s, dead}
	if a, ok := s.(drover.Asker); ok {
		return mortalAsker{m, a}
	}
	return m
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
			p.w.ended = append(p.w.ended, fmt.Sprintf("the process ended with: %v", err))
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

// routes lead from every tenant to every sink, save from one to one.
type routes struct{ w *world }

func (r routes) Routed(t drover.Tenant, _ drover.SourceID, s drover.SinkID) bool {
	return s != sinkHEC || r.w.plan.unrouted < 0 || string(t.ID) != r.w.tenant(r.w.plan.unrouted)
}

func (routes) Generation() uint64 { return 1 }

// purse remembers some of the tokens that are handed out: they must not be
// found anywhere afterwards.
type purse struct {
	*entra.Tokens
	w *world
}

func (p purse) Token(ctx context.Context, t drover.Tenant, s drover.SourceID) (drover.Secret, error) {
	token, err := p.Tokens.Token(ctx, t, s)
	if err == nil {
		p.w.seen.token(token.Reveal())
	}
	return token, err
}
