package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"drover/internal/admin"
)

func newTenantCheck() *cobra.Command {
	var all, fresh, asJSON, mail bool
	c := &cobra.Command{
		Use: "check NAME|ID… | --all", Short: "Why a tenant is read or is not: token, permissions, each feed, clocks, lag, what ends",
		Long: `check gets a token for each source of a tenant, looks at what it carries, makes a
test call to each feed, and puts that beside what the ledger knows: how far each
feed has been read, its gaps, when the app's credential and the sign-in end. What is
wrong has its cause, what to do, and who must: us or the customer's admin. No token
is shown. It works beside a running drover, and without one.

--all checks every tenant that has not been removed, eight at a time, with the
tokens that a running drover has; --fresh gets new ones, as it is done where tenants
are named. Of a removed tenant it says whether a token can still be had.

--for-customer prints what the customer's admin must do, as a mail. The addresses
that a policy must allow are those of egress: in the config.

It exits with 4 when Microsoft refuses something and somebody must act, with 1 when
something else is wrong, and with 5 when what did not work may work later.`,
		Example: "  drover tenant check contoso\n  drover tenant check --all --json\n  drover tenant check contoso --for-customer > mail.txt",
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case all == (len(args) > 0):
				return usageError{errors.New("name tenants, or all of them by --all; see: drover tenant check --help")}
			case mail && (len(args) != 1 || asJSON):
				return usageError{errors.New("--for-customer writes one mail: name one tenant, without --json")}
			}
			a, err := loadApp(c)
			if err != nil {
				return err
			}
			return withOperator(c, func(api admin.API) error {
				list, err := checkTenants(c.Context(), api, admin.CheckQuery{Tenants: args, Fresh: fresh || !all}, c.ErrOrStderr())
				if err != nil {
					return err
				}
				w := c.OutOrStdout()
				switch {
				case mail:
					err = a.mailFor(w, c.ErrOrStderr(), list[0])
				case asJSON && len(args) == 1:
					err = printJSON(w, list[0])
				case asJSON:
					err = printJSON(w, map[string]any{"tenants": list})
				case all:
					err = printChecks(w, list)
				default:
					err = printCheckDetails(w, list)
				}
				if err != nil {
					return err
				}
				return checkOutcome(list)
			})
		},
	}
	f := c.Flags()
	f.BoolVar(&all, "all", false, "all tenants that have not been removed")
	f.BoolVar(&fresh, "fresh", false, "with --all: drop the tokens and refusals that a running drover has kept")
	f.BoolVar(&mail, "for-customer", false, "print what the customer's admin must do, as a mail")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// checkTenants checks those that are named, or all if none is, in their order.
func checkTenants(ctx context.Context, api admin.API, q admin.CheckQuery, progress io.Writer) ([]admin.TenantCheck, error) {
	show := isTerminal(progress)
	var found []admin.Checked
	err := api.CheckTenants(ctx, q, func(c admin.Checked) error {
		found = append(found, c)
		if show && c.Of > 1 {
			_, _ = fmt.Fprintf(progress, "\r%d of %d tenants", len(found), c.Of)
		}
		return nil
	})
	if show && len(found) > 1 {
		_, _ = fmt.Fprint(progress, clearLine)
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b admin.Checked) int { return a.Place - b.Place })
	list := make([]admin.TenantCheck, 0, len(found))
	for _, c := range found {
		list = append(list, c.Check)
	}
	return list, nil
}

// errRefused and errPassing end a check in which something was refused, or
// did not work now. It has been printed.
var (
	errRefused = errors.New("something is refused by Microsoft")
	errPassing = errors.New("something did not work now")
)

// checkOutcome is how the command ends: what weighs most counts.
func checkOutcome(list []admin.TenantCheck) (err error) {
	for _, c := range list {
		ok, o := c.Worst()
		switch {
		case ok:
		case o == admin.ByMicrosoft:
			return errRefused
		case o != admin.Later:
			err = errFinding
		case err == nil:
			err = errPassing
		}
	}
	return err
}
