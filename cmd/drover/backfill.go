package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/ledger"
)

func newBackfill() *cobra.Command {
	b := &backfill{}
	c := &cobra.Command{
		Use: "backfill --tenant NAME|ID --from …", Short: "Read a stretch of a tenant's past beside its tail",
		Long: `backfill reads what changed in a stretch of the past, oldest first, while what is
new goes on being read before it at every step. What the ledger holds already is
not delivered again; what is found is marked history and stands outside the
order. The stretch is kept in the ledger: after a stop it goes on where it was.

A running drover does it; else this command does, and the next drover run
delivers what was found. Without --from it goes on with what is open. Stopping
the command does not cancel: drover backfill cancel does.`,
		Example: "  drover backfill --tenant contoso --from 30d\n  drover backfill --tenant contoso --source graph.alerts --from 2026-01-01 --to 2026-02-01 --detach",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			b.out, b.err = c.OutOrStdout(), c.ErrOrStderr()
			return b.run(c)
		},
	}
	f := c.Flags()
	f.StringVar(&b.asked.Tenant, "tenant", "", "the tenant's name or ID")
	f.StringVar((*string)(&b.asked.Source), "source", "", "only this source (default: all that the tenant is read from)")
	f.StringVar(&b.asked.From, "from", "", "where it begins: an instant, a day, or an age such as 30d")
	f.StringVar(&b.asked.To, "to", "", "where it ends (default: now)")
	f.BoolVar(&b.asked.MayRepeat, "may-repeat", false, "allow what changed more than 180 days ago, though it may be delivered again")
	f.BoolVar(&b.detach, "detach", false, "do not wait; only for a running drover, or the next")
	f.BoolVar(&b.json, "json", false, "print JSON")
	c.AddCommand(newBackfillList(), newBackfillCancel())
	return c
}

// backfill is one call of the command.
type backfill struct {
	asked        admin.NewBackfill
	detach, json bool
	out, err     io.Writer
}

func (b *backfill) run(c *cobra.Command) (err error) {
	if b.asked.Tenant == "" {
		return usageError{errors.New("say which tenant: --tenant NAME|ID")}
	}
	a, err := loadApp(c)
	if err != nil {
		return err
	}
	a.log = logger(a.cfg)
	err = a.openLedger(c.Context())
	if errors.Is(err, ledger.ErrLocked) {
		if _, serr := os.Stat(filepath.Join(a.cfg.Ledger.Dir, admin.SocketName)); serr == nil {
			return b.ask(c.Context(), admin.Dial(a.cfg.Ledger.Dir))
		}
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.closeLedger()) }()
	if b.detach {
		return b.ask(c.Context(), a.local())
	}
	return b.here(c.Context(), a)
}

// here reads in this process, as none has the ledger open.
func (b *backfill) here(ctx context.Context, a *app) error {
	local := a.local()
	t, err := local.Tenant(ctx, b.asked.Tenant)
	if err != nil {
		return err
	}
	col, err := a.collector(func(o drover.Tenant) bool { return o.ID == t.ID }, nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	go func() {
		err := col.Run(ctx)
		if err != nil {
			cancel(err)
		}
		done <- err
	}()
	err = b.ask(ctx, local)
	cancel(nil)
	return errors.Join(err, <-done)
}

// ask stores the backfill, and shows how it goes until it is done.
func (b *backfill) ask(ctx context.Context, api admin.API) error {
	list, err := b.begin(ctx, api)
	if err != nil {
		return err
	}
	for wait := 200 * time.Millisecond; !b.detach && slices.ContainsFunc(list, isOpen); wait = min(2*wait, 2*time.Second) {
		if !pause(ctx, wait) {
			_, _ = fmt.Fprintln(b.err)
			return errors.Join(ctx.Err(), context.Cause(ctx))
		}
		if list, err = b.again(ctx, api, list); err != nil {
			return err
		}
		if err := b.parked(ctx, api, list); err != nil {
			return err
		}
		b.show(list)
	}
	if isTerminal(b.err) {
		_, _ = fmt.Fprint(b.err, clearLine)
	}
	if b.json {
		return printJSON(b.out, list)
	}
	return printBackfills(b.out, list)
}

// begin stores what was asked for; without a beginning it finds what is open.
func (b *backfill) begin(ctx context.Context, api admin.API) ([]admin.BackfillStatus, error) {
	if b.asked.From != "" || b.asked.To != "" {
		return api.Backfill(ctx, b.asked)
	}
	t, err := api.Tenant(ctx, b.asked.Tenant)
	if err != nil {
		return nil, err
	}
	list, err := api.Backfills(ctx)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(s admin.BackfillStatus) bool {
		return s.Tenant != t.ID || !isOpen(s) || b.asked.Source != "" && s.Source != b.asked.Source
	})
	if len(list) == 0 {
		return nil, usageError{&drover.Error{Op: "backfill", Kind: drover.Refused, Err: fmt.Errorf("nothing of %s is left to be read", t.Name), Hint: "say where it begins: --from 30d, or --from 2026-03-02"}}
	}
	return list, nil
}

func isOpen(s admin.BackfillStatus) bool { return s.State == ledger.BackfillOpen }

// again asks how those of list go.
func (b *backfill) again(ctx context.Context, api admin.API, list []admin.BackfillStatus) ([]admin.BackfillStatus, error) {
	all, err := api.Backfills(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(s admin.BackfillStatus) bool {
		return !slices.ContainsFunc(list, func(old admin.BackfillStatus) bool { return old.ID == s.ID })
	}), nil
}

// parked ends waiting for a feed that is not read: somebody must act first.
func (b *backfill) parked(ctx context.Context, api admin.API, list []admin.BackfillStatus) error {
	t, err := api.Tenant(ctx, b.asked.Tenant)
	if err != nil {
		return err
	}
	for _, f := range t.Feeds {
		if f.Parked != "" && slices.ContainsFunc(list, func(s admin.BackfillStatus) bool { return isOpen(s) && s.Source == f.Source }) {
			return denied("backfill "+t.Name, "then it goes on by itself in a running drover; see: drover tenant check "+t.Name, fmt.Errorf("%s is not read: %s", f.Source, f.Parked))
		}
	}
	return nil
}

// show prints a line of progress: over itself on a terminal.
func (b *backfill) show(list []admin.BackfillStatus) {
	for _, s := range list {
		if !isOpen(s) {
			continue
		}
		line := fmt.Sprintf("%s %s: %.0f %%, %d rows, %d new, %s", s.Name, s.Source, 100*s.Done(), s.Rows, s.Found, left(s))
		if isTerminal(b.err) {
			_, _ = fmt.Fprint(b.err, clearLine+clean(line))
		} else {
			_, _ = fmt.Fprintln(b.err, clean(line))
		}
		return
	}
}

// left says in words what is left to do.
func left(s admin.BackfillStatus) string {
	switch {
	case !isOpen(s):
		return string(s.State)
	case s.RequestsLeft < 0:
		return "how long it takes cannot be told yet"
	}
	return fmt.Sprintf("about %d requests and %s left", s.RequestsLeft, time.Duration(s.SecondsLeft)*time.Second)
}

func printBackfills(w io.Writer, list []admin.BackfillStatus) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "no backfills; ask for one: drover backfill --tenant … --from 30d")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "ID\tTENANT\tSOURCE\tFROM\tTO\tREAD UP TO\tROWS\tNEW\tWHY\tSTATE")
	for _, s := range list {
		why := "asked for"
		if s.First {
			why = "first read"
		}
		_, _ = fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\n", s.ID, clean(s.Name), s.Source, short(s.From), short(s.To), short(s.At), s.Rows, s.Found, why, left(s))
	}
	return t.Flush()
}

func newBackfillList() *cobra.Command {
	var asJSON, all bool
	c := &cobra.Command{Use: "list", Short: "What of the past is being read", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error {
		return withOperator(c, func(api admin.API) error {
			list, err := api.Backfills(c.Context())
			if err != nil {
				return err
			}
			if !all {
				list = slices.DeleteFunc(list, func(s admin.BackfillStatus) bool { return !isOpen(s) })
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), list)
			}
			return printBackfills(c.OutOrStdout(), list)
		})
	}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&all, "all", false, "those that are done or cancelled, too")
	return c
}

func newBackfillCancel() *cobra.Command {
	return &cobra.Command{Use: "cancel ID", Short: "End a backfill; what it found stays", Args: oneArg("a backfill's ID"), RunE: func(c *cobra.Command, args []string) error {
		var id int64
		if _, err := fmt.Sscan(args[0], &id); err != nil {
			return usageError{fmt.Errorf("%q is no backfill's ID; see: drover backfill list", args[0])}
		}
		return withOperator(c, func(api admin.API) error {
			if err := api.CancelBackfill(c.Context(), id); err != nil {
				return err
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "backfill %d is cancelled\n", id)
			return err
		})
	}}
}
