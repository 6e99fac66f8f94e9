package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
)

func newTenantHold() *cobra.Command {
	var why string
	var release bool
	c := &cobra.Command{Use: "hold NAME|ID", Short: "Keep everything of a tenant, whatever its age, and the tenant", Args: oneArg("a tenant's name or ID"),
		Long: `hold keeps every alert of a tenant in the ledger, whatever its age, and refuses to
remove the tenant, until it is released. It is read and delivered as before. What
sinks are given does not change. The reason is shown by list, show and status, and
both orders stay in the ledger's logbook.`,
		Example: "  drover tenant hold contoso --why \"litigation 2026-17\"\n  drover tenant hold contoso --release --why \"settled\"",
		RunE: func(c *cobra.Command, args []string) error {
			return withOperator(c, func(api admin.API) error {
				done, err := "is held", error(nil)
				if release {
					done, err = "is held no more", api.ReleaseTenant(c.Context(), args[0], why)
				} else {
					err = api.HoldTenant(c.Context(), args[0], why)
				}
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "%s %s\n", clean(args[0]), done)
				return err
			})
		}}
	c.Flags().StringVar(&why, "why", "", "the reason, which is kept")
	c.Flags().BoolVar(&release, "release", false, "end the hold")
	return c
}

// heldNote says that a tenant is held, "" if it is not.
func heldNote(s admin.TenantStatus) string {
	if s.Held == nil {
		return ""
	}
	return "held since " + short(s.Held.Since) + ": " + s.Held.Why
}

// noteOf is what is to be known of a tenant's feed.
func noteOf(s admin.TenantStatus, f *admin.FeedStatus) string {
	notes := []string{heldNote(s), f.Note()}
	if s.State != drover.Removed {
		notes = append(notes, s.Unproven)
	}
	return strings.Join(slices.DeleteFunc(notes, func(n string) bool { return n == "" }), "; ")
}
