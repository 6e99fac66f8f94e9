package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/audit"
	"drover/internal/collect"
	"drover/internal/defender"
	"drover/internal/deliver"
	"drover/internal/entra"
)

const minute = time.Minute

func nowInstant() drover.Instant { return drover.InstantOf(time.Now()) }

func newRun() *cobra.Command {
	return &cobra.Command{
		Use: "run", Short: "Read all tenants and deliver to all sinks, for ever",
		Long: `run reads every active tenant of the ledger and delivers to every sink of the
config, until it is stopped (Ctrl-C or SIGTERM) or a promise of its own is
broken. While it runs, the other commands (status, tenant …) talk to it.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := load(c)
			if err != nil {
				return err
			}
			log := logger(cfg)
			for _, w := range cfg.Warnings() {
				log.Warn(w.Error())
			}
			a, err := newApp(cfg, log, nil)
			if err != nil {
				return err
			}
			return a.run(c.Context())
		},
	}
}

// run lives until ctx ends or something of ours breaks.
func (a *app) run(ctx context.Context) (err error) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(25) // what flows through lies in memory that is used again; little is left to collect
	}
	if ok, err := a.unseal(ctx); !ok {
		return err
	}
	defer func() { err = errors.Join(err, a.closeLedger()) }()
	dests, err := a.destinations()
	defer func() {
		for _, d := range dests {
			_ = d.Sink.Close()
		}
	}()
	if err != nil {
		return err
	}
	del, err := deliver.New(deliver.Options{Store: a.store, Sinks: dests, Routes: a.cfg.Routes, Log: a.log})
	if err != nil {
		return err
	}
	col, err := a.collector(nil, func(e collect.Event) {
		if e.What == "commit" {
			del.Hint(e.Feed, e.N)
		}
		if a.heard != nil {
			a.heard(e)
		}
	})
	if err != nil {
		return err
	}
	if a.partner != nil {
		a.partner.readers = func() { col.Mended(drover.PartnerApp) }
	}
	sock, err := admin.Listen(a.cfg.Ledger.Dir)
	if err != nil {
		return err
	}
	local := a.local()
	a.since = time.Now()
	local.Started, local.Whole, local.Skew, local.EntraSkew = a.since, col.Whole, col.Skew, a.tokens.Skew
	var shelves []audit.Sink
	for _, d := range dests {
		shelves = append(shelves, auditSink(d.ID, d.Sink))
	}
	local.AuditWith = a.auditBeside(shelves, col.Whole)
	watching(local, col)
	parts := map[string]func(context.Context) error{
		"collect":  col.Run,
		"deliver":  del.Run,
		"admin":    func(ctx context.Context) error { return admin.Serve(ctx, sock, local) },
		"health":   func(ctx context.Context) error { return a.health(ctx, a.ready, metrics(col)) },
		"prune":    a.prune,
		"ends":     a.sayEnds,
		"sign-ins": a.keeping.Run,
		"partner":  a.partner.watch,
	}
	if err := a.inviting(local, parts); err != nil {
		_ = sock.Close()
		return err
	}
	a.log.Info("drover runs", "version", version, "ledger", a.store.Identity().ID, "incarnation", a.store.Identity().Incarnation, "sinks", len(dests))
	return a.together(ctx, parts)
}

// together runs parts until ctx ends or one of them fails, which ends all.
func (a *app) together(ctx context.Context, parts map[string]func(context.Context) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	for name, part := range parts {
		wg.Go(func() {
			if err := part(ctx); err != nil && ctx.Err() == nil {
				stop(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// microsofts are the clouds whose limits are known.
var microsofts = entra.BuiltIn()

// allowance is our share of what Microsoft allows a minute, and hourly of what
// it allows an hour.
func (a *app) allowance(t drover.Tenant, s drover.SourceID) int {
	minute, _ := defender.Limits(s)
	return a.share(t, minute)
}

func (a *app) hourly(t drover.Tenant, s drover.SourceID) int {
	_, hour := defender.Limits(s)
	return a.share(t, hour)
}

// share is what of a limit is ours. What a cloud of somebody's own allows is not
// known; 0 means no bound.
func (a *app) share(t drover.Tenant, limit int64) int {
	c, err := a.clouds.Of(t)
	if err != nil || limit == 0 {
		return 0
	}
	if _, ok := microsofts[c.Name]; !ok {
		return 0
	}
	return int(max(a.cfg.Collect.Share.Of(limit), 1))
}

// ready says why the ledger takes nothing, nil if it does.
func (a *app) ready(ctx context.Context) error {
	if err := a.store.Ready(ctx); err != nil {
		return errors.New("the ledger takes no commit")
	}
	return nil
}

// health answers /live, /ready and, where there are any, /metrics.
func (a *app) health(ctx context.Context, ready func(context.Context) error, metrics http.HandlerFunc) error {
	if a.cfg.Listen.Health == "none" {
		<-ctx.Done()
		return nil
	}
	l, err := net.Listen("tcp", a.cfg.Listen.Health)
	if err != nil {
		return denied("listen for health", "set listen: health: to a free address, or to none", err)
	}
	srv := &http.Server{Handler: healthAnswers(ready, metrics), ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func healthAnswers(ready func(context.Context) error, metrics http.HandlerFunc) http.Handler {
	mux := http.NewServeMux()
	if metrics != nil {
		mux.HandleFunc("GET /metrics", metrics)
	}
	mux.HandleFunc("GET /live", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "alive\n") })
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {
		if err := ready(r.Context()); err != nil {
			text := err.Error()
			if hint := drover.HintOf(err); hint != "" {
				text += "\nhint: " + hint
			}
			http.Error(w, clean(text), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ready\n")
	})
	return mux
}

// Pruning works in small steps beside everything else.
const (
	pruneEvery = time.Hour
	pruneMore  = 10 * time.Second
)

// prune throws away, now and then, what may go.
func (a *app) prune(ctx context.Context) error {
	wait := pruneMore
	for {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
		wait = pruneEvery
		out, err := a.pruneOnce(ctx, false)
		switch {
		case errors.Is(err, errNeverRead):
		case err != nil:
			if drover.KindOf(err) == drover.Broken {
				return err
			}
			a.log.Warn("prune", "err", err)
		case out.Asks != "":
			a.log.Error("nothing is thrown away: "+out.Asks, "hint", "type: drover ledger prune --confirm")
		case out.More:
			wait = pruneMore
		}
		for _, g := range out.Gaps {
			a.log.Error("a sink held back too much; a gap is open there", "sink", g.Sink, "feed", g.Feed, "revisions", g.Last-g.First+1)
		}
	}
}

func (a *app) holdSize() int64 {
	if a.cfg.Ledger.Limit == 0 {
		return 0
	}
	return a.cfg.Ledger.HoldShare.Of(int64(a.cfg.Ledger.Limit))
}

// isTerminal reports whether w is a terminal that shows progress.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
