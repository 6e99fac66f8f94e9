package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/format"
	"drover/internal/httpx"
	"drover/internal/revision"
	"drover/internal/sink/stdout"
)

func newFetch() *cobra.Command {
	var tenant, since, source, form, cloud, app, region string
	var follow bool
	c := &cobra.Command{
		Use: "fetch", Short: "Print one tenant's alerts as NDJSON",
		Long: `fetch reads one tenant and prints one line per revision of an alert. It needs
the config for its apps and clouds, and no ledger: what it printed is remembered
only while it runs.`,
		Example: "  drover fetch --tenant 3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60 --since 24h | jq .alert.title",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := load(c)
			if err != nil {
				return err
			}
			id, err := drover.ParseTenantID(tenant)
			if err != nil {
				return usageError{err}
			}
			start, err := admin.ParseStart(since, time.Now())
			if err != nil {
				return usageError{err}
			}
			enc, err := format.New(form)
			if err != nil {
				return usageError{err}
			}
			a, err := newApp(cfg, discard(), nil)
			if err != nil {
				return err
			}
			t := drover.Tenant{ID: id, Name: string(id), Customer: drover.CustomerID("fetch"), Cloud: cloud, App: app, Region: region, State: drover.Active, Sources: []drover.SourceID{drover.SourceID(source)}, Start: start}
			for _, s := range a.sources() {
				if s.ID() == drover.SourceID(source) {
					f := &fetcher{t: t, src: s, enc: enc, out: stdout.New(c.OutOrStdout()), notes: c.ErrOrStderr(), every: cfg.Collect.Interval, overlap: cfg.Collect.Overlap, seen: make(map[state]printed)}
					return f.run(c.Context(), follow)
				}
			}
			return unknownSource(drover.SourceID(source))
		},
	}
	f := c.Flags()
	f.StringVar(&tenant, "tenant", "", "tenant ID (required)")
	f.StringVar(&since, "since", "24h", "where to begin: an instant, or an age such as 24h or 30d")
	f.StringVar(&source, "source", string(drover.GraphAlerts), "source to read: "+sourceNames())
	f.StringVar(&form, "format", "json", "json (one object with what drover knows, and the alert) or raw")
	f.StringVar(&cloud, "cloud", "worldwide", "cloud of the tenant")
	f.StringVar(&app, "app", "default", "app that reads it")
	f.StringVar(&region, "region", "", "region, for sources with regional hosts: eu, us, uk; Defender for Endpoint also au, swa, ina, aea")
	f.BoolVar(&follow, "follow", false, "go on reading until stopped")
	return c
}

// fetcher reads one feed without a ledger.
type fetcher struct {
	t              drover.Tenant
	src            drover.Source
	enc            format.Encoder
	out            *stdout.Sink
	notes          io.Writer
	every, overlap time.Duration
	seen           map[state]printed
	seq            uint64
}

// state is what tells one line that is printed from another.
type state struct {
	id      string
	changed drover.Instant
}

// printed is what a state looked like. The row is kept while it is young, to
// tell bytes that vary from content that changed without its time.
type printed struct {
	sum     drover.Hash
	ordinal uint8
	raw     []byte
}

// Pauses after errors that pass, and how often in a row they are borne.
const (
	fetchPause = 2 * time.Second
	fetchTries = 8
)

func (f *fetcher) run(ctx context.Context, follow bool) error {
	from := f.t.Start
	for {
		through, err := f.pass(ctx, drover.Span{From: from, To: drover.NoInstant})
		if err != nil {
			return err
		}
		if !follow {
			return nil
		}
		if through.Known() {
			from = max(f.t.Start, through.Add(-f.overlap))
			for k := range f.seen {
				if k.changed.Known() && k.changed < from.Add(-f.overlap) {
					delete(f.seen, k)
				}
			}
		}
		if !pause(ctx, f.every) {
			return nil
		}
	}
}

// needsAPerson reports whether an error that a service would wait out is, for
// somebody at a terminal, a fault of the config or of the network around.
func needsAPerson(err error) bool {
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	return certificate || errors.Is(err, httpx.ErrPrivate)
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// pass reads a span and prints what is new.
func (f *fetcher) pass(ctx context.Context, span drover.Span) (drover.Instant, error) {
	p := f.src.Read(f.t, span)
	for tries := 0; ; {
		page, err := p.Next(ctx)
		if err != nil {
			kind := drover.KindOf(err)
			tries++
			if ctx.Err() != nil || kind != drover.Transient && kind != drover.Throttled || tries > fetchTries || needsAPerson(err) {
				return drover.NoInstant, err
			}
			wait := max(drover.WaitOf(err), fetchPause)
			if isTerminal(f.notes) {
				_, _ = fmt.Fprintf(f.notes, "drover: %s; trying again in %s (%d of %d)\n", clean(err.Error()), wait.Round(time.Second), tries, fetchTries)
			}
			if !pause(ctx, wait) {
				return drover.NoInstant, err
			}
			continue
		}
		tries = 0
		if err := f.print(ctx, page.Rows); err != nil {
			return drover.NoInstant, err
		}
		if len(page.Skipped) > 0 {
			return page.Through, &drover.Error{Op: "fetch", Tenant: f.t.ID, Kind: drover.Transient, Err: errors.New("a part could not be read: " + page.Skipped[0].Cause)}
		}
		if page.Done {
			return page.Through, nil
		}
	}
}

func (f *fetcher) print(ctx context.Context, rows []drover.Row) error {
	var b drover.Batch
	for i := range rows {
		row := &rows[i]
		if row.Bad != "" {
			continue
		}
		if drover.IsGUID(row.TenantID) && !equalFold(row.TenantID, string(f.t.ID)) {
			return &drover.Error{Op: "fetch", Tenant: f.t.ID, Kind: drover.Denied, Err: errors.New("a row names another tenant; nothing more is printed")}
		}
		ordinal, fresh := f.fresh(row)
		if !fresh {
			continue
		}
		f.seq++
		rev := drover.Revision{Feed: drover.Feed{Tenant: f.t.ID, Source: f.src.ID()}, Seq: f.seq, AlertID: row.ID, Changed: row.Changed, Ordinal: ordinal, Created: row.Created, Severity: row.Severity, Status: row.Status, Sum: row.Sum, Raw: row.Raw}
		body, err := f.enc.Encode(nil, &rev, format.Context{Tenant: f.t})
		if err != nil {
			return err
		}
		b.Records = append(b.Records, drover.Record{EventID: rev.EventID(0), Body: body})
	}
	if len(b.Records) == 0 {
		return nil
	}
	_, err := f.out.Deliver(ctx, b)
	return err
}

// fresh reports whether a row is to be printed, and as which content of its
// change time.
func (f *fetcher) fresh(row *drover.Row) (ordinal uint8, ok bool) {
	k := state{row.ID, row.Changed}
	if old, again := f.seen[k]; again {
		if old.sum == row.Sum || old.raw == nil || old.ordinal == drover.MaxOrdinal || revision.Same(f.src.ID(), old.raw, row.Raw) {
			return 0, false
		}
		ordinal = old.ordinal + 1
	}
	now := printed{sum: row.Sum, ordinal: ordinal}
	if row.Changed > nowInstant().Add(-2*f.overlap) {
		now.raw = bytes.Clone(row.Raw)
	}
	f.seen[k] = now
	return ordinal, true
}

func equalFold(a, b string) bool {
	id, err := drover.ParseTenantID(a)
	return err == nil && string(id) == b
}
