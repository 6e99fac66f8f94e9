package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"drover/internal/admin"
)

func newTenantMove() *cobra.Command {
	return &cobra.Command{Use: "move OLD NEW", Short: "Put a customer's new tenant under the customer of the old one",
		Long: `move is for a customer that moves to another directory. Add the new tenant first;
move puts it under the old one's customer, so that both are routed and filed as one
customer's. Nothing else changes: both are read, each from its own place, until the
old one is paused or removed.`,
		Example: "  drover tenant add 4d9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f61 --name contoso-new\n  drover tenant move contoso contoso-new",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usageError{fmt.Errorf("%s wants the old tenant and the new one; see: %s --help", c.CommandPath(), c.CommandPath())}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return withOperator(c, func(api admin.API) error {
				r, err := api.MoveTenant(c.Context(), args[0], args[1])
				if err != nil {
					return err
				}
				if r.What == admin.Unchanged {
					_, err = fmt.Fprintf(c.OutOrStdout(), "%s and %s are of one customer already\n", clean(args[0]), clean(r.Name))
					return err
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "~ %s (%s) changed\n", clean(r.Name), r.ID)
				printChanges(c.OutOrStdout(), r)
				return err
			})
		}}
}
