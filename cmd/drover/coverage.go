package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"drover/internal/admin"
	"drover/internal/coverage"
)

// coverageReport is what --json prints.
type coverageReport struct {
	Days       int                     `json:"days"`
	Everywhere []coverage.Outage       `json:"silent_everywhere"`
	Together   []coverage.Seen         `json:"together,omitempty"` // of several tenants, by product
	Tenants    []coverage.Tenant       `json:"tenants"`
	Failed     []admin.CoverageFailure `json:"failed"`
	NotShown   []string                `json:"not_shown"`
}

func newTenantCoverage() *cobra.Command {
	var all, asJSON bool
	var days int
	c := &cobra.Command{
		Use: "coverage [NAME|ID…]", Short: "Which Defender products of a tenant reach drover, and which do not",
		Long: `coverage gets a token for each feed of a tenant, makes a test call, and counts in
the ledger what each Defender product has brought. For each product it says
whether it is granted, licensed and onboarded as far as the APIs tell, when its
newest alert was created, and whether it has been silent for longer than usual.

It exits with 1 when a feed is refused or a product has gone silent, and with 3
when nothing wrong was found but something could not be asked, or a tenant is read
with the partner's account, which may be shown fewer alerts without an error.`,
		Example: "  drover tenant coverage contoso\n  drover tenant coverage --all --days 90 --json",
		RunE: func(c *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return usageError{errors.New("name tenants, or all of them by --all; see: drover tenant coverage --help")}
			}
			if days < 1 || days > admin.MaxCoverageDays {
				return usageError{fmt.Errorf("--days must be 1 to %d, for longer nothing is kept", admin.MaxCoverageDays)}
			}
			return withOperator(c, func(api admin.API) error {
				r, err := coverTenants(c.Context(), api, args, days, c.ErrOrStderr())
				if err != nil {
					return err
				}
				if asJSON {
					err = printJSON(c.OutOrStdout(), r)
				} else {
					err = printCoverage(c.OutOrStdout(), r)
				}
				if err == nil {
					err = r.outcome()
				}
				return err
			})
		},
	}
	f := c.Flags()
	f.BoolVar(&all, "all", false, "all tenants that have not been removed")
	f.IntVar(&days, "days", 30, "how many days back alerts are counted")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// coverTenants asks for the tenants that are named, or for all if none is. One
// tenant's failure is told and ends no other's.
func coverTenants(ctx context.Context, api admin.API, named []string, days int, progress io.Writer) (coverageReport, error) {
	r := coverageReport{Days: days, Tenants: []coverage.Tenant{}, Failed: []admin.CoverageFailure{}, NotShown: coverage.NotShown()}
	show, done := isTerminal(progress), 0
	var found []admin.Covered
	err := api.Coverage(ctx, admin.CoverageQuery{Tenants: named, Days: days, Fresh: len(named) > 0}, func(c admin.Covered) error {
		if c.Place == c.Of {
			r.Together = c.Together
			return nil
		}
		found = append(found, c)
		if done++; show && c.Of > 1 {
			_, _ = fmt.Fprintf(progress, "\r%d of %d tenants", done, c.Of)
		}
		return nil
	})
	if show && done > 1 {
		_, _ = fmt.Fprint(progress, clearLine)
	}
	if err != nil {
		return r, err
	}
	slices.SortFunc(found, func(a, b admin.Covered) int { return a.Place - b.Place })
	for _, c := range found {
		switch {
		case c.Failed != nil:
			r.Failed = append(r.Failed, *c.Failed)
		case c.Tenant != nil:
			r.Tenants = append(r.Tenants, *c.Tenant)
		}
	}
	r.Everywhere = coverage.Everywhere(r.Tenants, r.Together)
	return r, nil
}

// outcome is how the command ends.
func (r *coverageReport) outcome() error {
	unsure := len(r.Failed) > 0
	for i := range r.Tenants {
		if r.Tenants[i].Wrong() {
			return errFinding
		}
		unsure = unsure || r.Tenants[i].Unsure()
	}
	if unsure {
		return errUnsure
	}
	return nil
}
