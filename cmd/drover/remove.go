package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
)

func newTenantRemove() *cobra.Command {
	var yes, discard bool
	c := &cobra.Command{Use: "remove NAME|ID", Short: "Remove a tenant and destroy its data key", Args: oneArg("a tenant's name or ID"),
		Long: `remove stops reading a tenant, waits until its sinks have taken what they are
owed, and then destroys its data key and credentials: every alert of it in the
ledger, and in every backup of the ledger that is made from then on, is
unreadable. Daily counts and a record of the erasure stay.

It waits for as long as a running drover delivers; Ctrl-C leaves the tenant
paused, and the same command goes on from there. With --discard nothing is
waited for: what sinks had not taken is thrown away and counted.`,
		RunE: func(c *cobra.Command, args []string) error {
			if !yes {
				return usageError{&drover.Error{Op: "remove tenant " + args[0], Kind: drover.Refused, Err: errors.New("this cannot be undone"), Hint: "if that is meant, add --yes"}}
			}
			return withOperator(c, func(api admin.API) error {
				return removeTenant(c.Context(), api, args[0], discard, c.OutOrStdout(), c.ErrOrStderr())
			})
		}}
	c.Flags().BoolVar(&yes, "yes", false, "do it")
	c.Flags().BoolVar(&discard, "discard", false, "throw away what sinks have not taken yet")
	return c
}

// removeEvery is how often is looked whether a tenant has drained.
const removeEvery = time.Second

// removeTenant asks until the tenant is removed, as long as somebody delivers.
func removeTenant(ctx context.Context, api admin.API, name string, discard bool, out, progress io.Writer) error {
	said := ""
	for {
		r, err := api.RemoveTenant(ctx, name, discard)
		switch {
		case err != nil:
			return err
		case r.Removed:
			_, err := fmt.Fprintf(out, "%[1]s is removed; its key is destroyed\nthe customer's consent ends at the customer: drover tenant leave-page %[1]s says how; whether it did: drover tenant check %[1]s\n", clean(r.Name))
			return err
		case !r.Running:
			return stillOwed(r, "nobody delivers now")
		}
		if text := owedIn(r.Owed); text != said {
			said = text
			if _, err := fmt.Fprintf(progress, "%s is not read any more; waiting until it has been delivered: %s\n", clean(r.Name), text); err != nil {
				return err
			}
		}
		if !pause(ctx, removeEvery) {
			return stillOwed(r, "stopped")
		}
	}
}

// stillOwed is why a tenant is there yet.
func stillOwed(r admin.Removal, why string) error {
	return &drover.Error{Op: "remove tenant " + r.Name, Kind: drover.Transient, Err: fmt.Errorf("%s, and sinks have still to take some of it: %s", why, owedIn(r.Owed)),
		Hint: "it is paused and not removed: let drover run deliver it and type the same again, or throw it away with --discard, or keep the tenant: drover tenant resume " + r.Name}
}

// owedIn says how many revisions each sink has still to take.
func owedIn(owed map[drover.SinkID]uint64) string {
	var parts []string
	for _, id := range slices.Sorted(maps.Keys(owed)) {
		parts = append(parts, fmt.Sprintf("%s %d", id, owed[id]))
	}
	return strings.Join(parts, ", ")
}
