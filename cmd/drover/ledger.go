package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/ledger"
	"drover/internal/ledger/sqlite"
)

func newLedger() *cobra.Command {
	c := &cobra.Command{Use: "ledger", Short: "Check, prune, adopt and export the ledger", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	adopt := &cobra.Command{Use: "adopt", Short: "Make a ledger that was moved or copied here at home here", Args: noArgs,
		Long: `adopt gives a ledger that was last used on another machine or path a new
incarnation, so that nothing outside is compared with its old sequence numbers.
Make sure that nothing runs on the old one any more. Type it, too, when you have
put an older copy of the ledger back, wherever that is: see docs/ledger.md.`,
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := loadApp(c)
			if err != nil {
				return err
			}
			v, err := a.openVault(c.Context())
			if err != nil {
				return err
			}
			if err := sqlite.Adopt(c.Context(), a.ledgerOptions(v)); err != nil {
				return hintLedger(a.cfg, err)
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), "the ledger is at home here, under a new incarnation")
			return err
		}}
	export := &cobra.Command{Use: "export", Short: "Print what the ledger holds, without bodies, as NDJSON", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error {
		return withStore(c, func(a *app) error { return ledger.Export(c.Context(), a.store, a.cfg.SinkIDs(), c.OutOrStdout()) })
	}}
	chk := &cobra.Command{Use: "check", Short: "Read the whole ledger and name what is damaged", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error {
		return withStore(c, func(a *app) error {
			found, err := a.store.Check(c.Context())
			for _, f := range found {
				if _, werr := fmt.Fprintln(c.OutOrStdout(), clean(f)); werr != nil {
					return werr
				}
			}
			if err == nil && len(found) > 0 {
				return errFinding
			}
			if err == nil {
				_, err = fmt.Fprintln(c.OutOrStdout(), "the ledger is sound")
			}
			return err
		})
	}}
	c.AddCommand(adopt, export, chk, newPrune())
	return c
}

// withStore runs f with the ledger open in this process.
func withStore(c *cobra.Command, f func(*app) error) error {
	a, err := loadApp(c)
	if err != nil {
		return err
	}
	if err := a.openLedger(c.Context()); err != nil {
		return err
	}
	return errors.Join(f(a), a.closeLedger())
}

func newPrune() *cobra.Command {
	var confirm, asJSON bool
	c := &cobra.Command{Use: "prune", Short: "Throw away now what may go", Args: noArgs,
		Long: `prune throws away bodies that are older than the retention and that every sink
has taken, keys that no source can show again, and what a sink has held back for
longer than it may. drover run does the same by itself, every hour.

What would drop more than three times the busiest day at once is a sign of a
wrong clock or a wrong retention: prune stops, says how much it is, and exits
with 1. Once you have looked, prune --confirm goes on.`,
		RunE: func(c *cobra.Command, _ []string) error {
			return withOperator(c, func(api admin.API) error {
				out, err := pruneAll(c.Context(), api, confirm)
				if err != nil {
					return err
				}
				if asJSON {
					err = printJSON(c.OutOrStdout(), out)
				} else {
					_, err = fmt.Fprintf(c.OutOrStdout(), "threw away %d bodies and %d keys\n", out.Bodies, out.Keys)
				}
				for _, g := range out.Gaps {
					if err == nil && !asJSON {
						_, err = fmt.Fprintf(c.OutOrStdout(), "sink %s held back too much of %s/%s: gap %d is open there\n", g.Sink, g.Tenant, g.Source, g.ID)
					}
				}
				if err == nil && out.Asks != "" && !asJSON {
					_, err = fmt.Fprintf(c.OutOrStdout(), "stopped: %s: drover ledger prune --confirm\n", clean(out.Asks))
				}
				if err == nil && out.Asks != "" {
					err = errFinding
				}
				return err
			})
		}}
	c.Flags().BoolVar(&confirm, "confirm", false, "go on where it stopped and asked")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// pruneAll goes on slice by slice until nothing is left that may go.
func pruneAll(ctx context.Context, api admin.API, confirmed bool) (all admin.PruneStatus, err error) {
	for {
		out, err := api.Prune(ctx, confirmed)
		all.Bodies, all.Keys, all.Asks = all.Bodies+out.Bodies, all.Keys+out.Keys, out.Asks
		all.Gaps = append(all.Gaps, out.Gaps...)
		if err != nil || !out.More || out.Asks != "" || ctx.Err() != nil {
			return all, errors.Join(err, ctx.Err())
		}
	}
}

// errNeverRead: nothing says what time it is at Microsoft.
var errNeverRead = errors.New("no feed has been read whole yet, so nothing says what time it is at Microsoft")

// pruneOnce throws away a slice of what may go, by the time that Microsoft's
// answers carry: never by the local clock alone.
func (a *app) pruneOnce(ctx context.Context, confirmed bool) (ledger.Pruned, error) {
	feeds, err := a.store.Feeds(ctx)
	if err != nil {
		return ledger.Pruned{}, err
	}
	now := drover.NoInstant
	for _, f := range feeds {
		now = max(now, f.Whole)
	}
	if !now.Known() {
		return ledger.Pruned{}, &drover.Error{Op: "prune", Kind: drover.Transient, Err: errNeverRead}
	}
	return a.store.Prune(ctx, ledger.PruneOrder{Now: min(now, nowInstant()), Bodies: a.cfg.Ledger.Bodies, Hold: a.cfg.Ledger.Hold, HoldSize: a.holdSize(), Confirmed: confirmed})
}
