package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/audit"
)

// auditFlags is what the command line says.
type auditFlags struct {
	tenants, sinks []string
	all            bool
	from, to       string
	json, html     string
	wait           time.Duration
}

func newAudit() *cobra.Command {
	var f auditFlags
	c := &cobra.Command{Use: "audit (--tenant NAME|ID … | --all) --from INSTANT [--to INSTANT]", Short: "Show that a window is complete, row by row", Args: noArgs,
		Long: `audit reads a window from Microsoft once more, by another route than the
collector's, and accounts for every row: in the ledger, at each sink, or with a
reason. It ends with one of three verdicts:

  agree         exit code 0: every row is accounted for
  differ        exit code 1: something is missing or wrong, and nothing explains it
  cannot tell   exit code 3: something could not be read

INSTANT is such as 2026-03-02T08:00:00Z, a day, now, or an age such as 24h or 30d.
The reports hold IDs, times and counts, and no alert's text. See docs/audit.md.`,
		Example: `  drover audit --tenant contoso --from 7d --html contoso.html
  drover audit --all --from 2026-03-01 --to 2026-04-01 --json march.json`,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) }}
	c.Flags().StringArrayVar(&f.tenants, "tenant", nil, "a tenant, by name or ID; may be given more than once")
	c.Flags().BoolVar(&f.all, "all", false, "all tenants")
	c.Flags().StringVar(&f.from, "from", "", "where the window begins")
	c.Flags().StringVar(&f.to, "to", "now", "where it ends")
	c.Flags().StringArrayVar(&f.sinks, "sink", nil, "a sink; without it, all")
	c.Flags().StringVar(&f.json, "json", "", "write the report as JSON to this file, - for standard output")
	c.Flags().StringVar(&f.html, "html", "", "write it as one page of HTML to this file")
	c.Flags().DurationVar(&f.wait, "wait", 0, "how long to wait before the ledger is looked at again (default: half a minute more than the collector's interval)")
	c.AddCommand(newAuditVerify())
	return c
}

func (f *auditFlags) order() (o admin.AuditOrder, err error) {
	if f.all == (len(f.tenants) > 0) {
		return o, usageError{errors.New("say which tenants: --tenant NAME, once or more, or --all; see: drover audit --help")}
	}
	if f.from == "" {
		return o, usageError{errors.New("say where the window begins: --from 2026-03-02, or --from 7d; see: drover audit --help")}
	}
	o = admin.AuditOrder{ID: rand.Text(), Tenants: f.tenants, Wait: f.wait}
	for _, s := range f.sinks {
		o.Sinks = append(o.Sinks, drover.SinkID(s))
	}
	now := time.Now()
	if o.From, err = admin.ParseStart(f.from, now); err != nil {
		return o, usageError{fmt.Errorf("--from: %w", err)}
	}
	if o.To, err = admin.ParseStart(f.to, now); err != nil {
		return o, usageError{fmt.Errorf("--to: %w", err)}
	}
	if o.To = min(o.To, drover.InstantOf(now)); o.From >= o.To {
		return o, usageError{errors.New("the window ends before it begins")}
	}
	return o, nil
}

func (f *auditFlags) run(c *cobra.Command) error {
	o, err := f.order()
	if err != nil {
		return err
	}
	api, done, err := operator(c)
	if err != nil {
		return unsure(err)
	}
	text, err := watchAudit(c.Context(), c.ErrOrStderr(), api, o)
	if err = errors.Join(err, done()); err != nil {
		return unsure(err)
	}
	report, err := audit.Verify(text)
	if err != nil {
		return err
	}
	if err := f.write(c.OutOrStdout(), text, report); err != nil {
		return err
	}
	switch report.Verdict {
	case audit.Agree:
		return nil
	case audit.Differ:
		return errFinding
	}
	return errUnsure
}

// write writes what was asked for, and the summary unless standard output is
// taken.
func (f *auditFlags) write(out io.Writer, text []byte, r *audit.Report) error {
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, text, "", "  "); err != nil {
		return err
	}
	pretty.WriteByte('\n')
	if f.html != "" {
		var page bytes.Buffer
		if err := r.HTML(&page); err != nil {
			return err
		}
		if err := os.WriteFile(f.html, page.Bytes(), 0o600); err != nil {
			return denied("write the report", "name another file with --html", err)
		}
	}
	switch f.json {
	case "":
	case "-":
		_, err := out.Write(pretty.Bytes())
		return err
	default:
		if err := os.WriteFile(f.json, pretty.Bytes(), 0o600); err != nil {
			return denied("write the report", "name another file with --json", err)
		}
	}
	return printAudit(out, r)
}

// shownFindings bounds how many unexplained differences are printed.
const shownFindings = 20

func printAudit(w io.Writer, r *audit.Report) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s: %s to %s, ledger %s/%s\n", r.Verdict, short(r.Window.From), short(r.Window.To), r.Ledger.ID, r.Ledger.Incarnation)
	for _, f := range r.Feeds {
		fmt.Fprintf(&b, "\n%s %s: %s\n", f.Name, f.Source, f.Verdict)
		for _, why := range f.CannotTell {
			fmt.Fprintf(&b, "  %s\n", clean(why))
		}
		fmt.Fprintf(&b, "  %d rows at Microsoft: %d as they are in the ledger, %d differences explained, %d unexplained; %d states in the ledger\n",
			f.Counts.API, f.Counts.Same+f.Counts.SameMeaning+f.Counts.KeyOnly, f.Explained(), f.Unexplained(), f.Counts.Ledger)
		for _, s := range f.Sinks {
			fmt.Fprintf(&b, "  sink %s: %d of %d delivered, %d pending, %d not routed, %d set aside, %d in a gap, %d from before it began, %d unexplained\n", s.Sink, s.Delivered, s.Rows, s.Pending, s.NotRouted, s.SetAside, s.Gap, s.NotOwed, s.Lost)
		}
		shown := 0
		for _, d := range f.Differences {
			if d.Why != audit.Unexplained {
				continue
			}
			if shown++; shown > shownFindings {
				fmt.Fprintf(&b, "  … and more: see --json or --html\n")
				break
			}
			fmt.Fprintf(&b, "  unexplained: %d × %s at %s %s: %s %s: %s\n", d.N, d.What, d.Where, d.Sink, clean(d.AlertID), short(d.Changed), clean(d.Detail))
		}
	}
	fmt.Fprintf(&b, "\nsha256 %s\n", r.SHA256)
	_, err := w.Write(b.Bytes())
	return err
}

// How often an audit is asked how it goes.
const (
	watchEvery = time.Second      // to be shown on a terminal
	tellEvery  = 30 * time.Second // to be told line by line elsewhere, after the first time
)

// watchAudit has an audit made, and tells how it goes.
func watchAudit(ctx context.Context, w io.Writer, api admin.API, o admin.AuditOrder) (json.RawMessage, error) {
	type result struct {
		text json.RawMessage
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := api.Audit(ctx, o)
		done <- result{text, err}
	}()
	terminal, told := isTerminal(w), ""
	next := time.NewTimer(watchEvery)
	defer next.Stop()
	for {
		select {
		case r := <-done:
			if terminal {
				_, _ = io.WriteString(w, clearLine)
			}
			return r.text, r.err
		case <-next.C:
			line, err := api.AuditProgress(ctx, o.ID)
			switch {
			case err != nil || line == told || line == "":
			case terminal:
				_, _ = fmt.Fprintf(w, "%s%s", clearLine, clean(line))
			default:
				_, _ = fmt.Fprintln(w, clean(line))
			}
			if told = line; terminal {
				next.Reset(watchEvery)
			} else {
				next.Reset(tellEvery)
			}
		}
	}
}

func newAuditVerify() *cobra.Command {
	return &cobra.Command{Use: "verify FILE", Short: "Check that a report in JSON is as it was made", Args: oneArg("a report's file"), RunE: func(c *cobra.Command, args []string) error {
		text, err := os.ReadFile(args[0])
		if err != nil {
			return usageError{err}
		}
		r, err := audit.Verify(text)
		if errors.Is(err, audit.ErrChanged) {
			if _, err := fmt.Fprintln(c.OutOrStdout(), clean(err.Error())); err != nil {
				return err
			}
			return errFinding
		}
		if err != nil {
			return usageError{err}
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "the report is as it was made: %s, sha256 %s\n", r.Verdict, r.SHA256)
		return err
	}}
}

// unsure says that it could not be told, for what may be otherwise another time.
func unsure(err error) error {
	var usage usageError
	if kind := drover.KindOf(err); errors.As(err, &usage) || kind == drover.Refused || kind == drover.Broken {
		return err
	}
	return unsureError{err}
}

// paces keep audits to our share of what Microsoft allows, and to what the
// collector leaves of it if there is one.
func (a *app) paces(beside bool) *audit.Paces {
	p := &audit.Paces{Allowed: func(t drover.Tenant, s drover.SourceID) (minute, hour int) { return a.allowance(t, s), a.hourly(t, s) }}
	if beside {
		p.Used = a.meter.used
	}
	return p
}

// auditor is the audit of this process: sinks are read back by shelves.
func (a *app) auditor(sinks []audit.Sink, paces *audit.Paces, whole func() map[drover.Feed]drover.Instant, wait time.Duration, says func(string)) *audit.Auditor {
	return audit.New(audit.Options{Paces: paces, Store: a.store, Tokens: a.tokens, Compare: a.compare(), Routes: a.cfg.Routes, Sinks: sinks, Whole: whole, Wait: wait, Version: version, Progress: says,
		HTTP: func(t drover.Tenant) (audit.Doer, error) {
			c, err := a.clouds.Of(t)
			return a.https[c.Name], err
		},
		Host: func(t drover.Tenant, s drover.SourceID) (string, error) {
			c, err := a.clouds.Of(t)
			if err != nil {
				return "", err
			}
			return c.Host(s, t.Region)
		}})
}

// auditSink is a sink as the audit sees it.
func auditSink(id drover.SinkID, s drover.Sink) audit.Sink {
	out := audit.Sink{ID: id, Lane: s.Lane}
	out.Shelf, _ = s.(audit.Shelf)
	return out
}

// unreadable is a sink that cannot be opened here.
type unreadable struct{ err error }

func (u unreadable) ReadBack(context.Context, drover.Tenant, drover.SourceID, []byte, func([]byte) error) (bool, error) {
	return false, u.err
}

// auditAlone audits while nothing runs: nothing is waited for.
func (a *app) auditAlone(ctx context.Context, o admin.AuditOrder, tenants []drover.TenantID, says func(string)) (json.RawMessage, error) {
	var sinks []audit.Sink
	for _, id := range a.cfg.SinkIDs() {
		s, err := a.sink(a.cfg.Sinks[id])
		if err != nil {
			sinks = append(sinks, audit.Sink{ID: id, Lane: func(drover.Tenant) string { return "" }, Shelf: unreadable{err}})
			continue
		}
		defer func() { _ = s.Close() }()
		sinks = append(sinks, auditSink(id, s))
	}
	return audited(ctx, a.auditor(sinks, a.paces(false), nil, o.Wait, says), o, tenants)
}

// auditBeside returns the audit of a process that reads and delivers.
func (a *app) auditBeside(sinks []audit.Sink, whole func() map[drover.Feed]drover.Instant) func(context.Context, admin.AuditOrder, []drover.TenantID, func(string)) (json.RawMessage, error) {
	paces := a.paces(true)
	return func(ctx context.Context, o admin.AuditOrder, tenants []drover.TenantID, says func(string)) (json.RawMessage, error) {
		wait := o.Wait
		if wait == 0 {
			wait = a.cfg.Collect.Interval + minute/2
		}
		return audited(ctx, a.auditor(sinks, paces, whole, wait, says), o, tenants)
	}
}

func audited(ctx context.Context, a *audit.Auditor, o admin.AuditOrder, tenants []drover.TenantID) (json.RawMessage, error) {
	r, err := a.Run(ctx, audit.Order{Tenants: tenants, Sinks: o.Sinks, From: o.From, To: o.To})
	if err != nil {
		return nil, err
	}
	return json.Marshal(r)
}
