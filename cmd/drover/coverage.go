package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/coverage"
)

// coverageReport is what --json prints.
type coverageReport struct {
	Days       int               `json:"days"`
	Everywhere []coverage.Outage `json:"silent_everywhere"`
	Tenants    []coverage.Tenant `json:"tenants"`
	Failed     []coverageFailure `json:"failed"`
	NotShown   []string          `json:"not_shown"`
}

// coverageFailure is a tenant of which nothing could be told.
type coverageFailure struct {
	Tenant string `json:"tenant"`
	Says   string `json:"says"`
	Hint   string `json:"hint,omitempty"`
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
when nothing wrong was found but something could not be asked.`,
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

// coverageAtOnce is how many tenants are asked at once: waiting for APIs takes
// most of the time.
const coverageAtOnce = 4

// coverTenants asks for the tenants that are named, or for all if none is. One
// tenant's failure is told and ends no other's.
func coverTenants(ctx context.Context, api admin.API, named []string, days int, progress io.Writer) (coverageReport, error) {
	r := coverageReport{Days: days, Tenants: []coverage.Tenant{}, Failed: []coverageFailure{}, NotShown: coverage.NotShown()}
	fresh := len(named) > 0
	if !fresh {
		list, err := api.Tenants(ctx)
		if err != nil {
			return r, err
		}
		for _, t := range list {
			if t.State != drover.Removed {
				named = append(named, t.Name)
			}
		}
	}
	found, errs := make([]coverage.Tenant, len(named)), make([]error, len(named))
	show := isTerminal(progress)
	var mu sync.Mutex
	var wg sync.WaitGroup
	done, turn := 0, make(chan struct{}, coverageAtOnce)
	for i, name := range named {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			found[i], errs[i] = api.Coverage(ctx, admin.CoverageQuery{Tenant: name, Days: days, Fresh: fresh})
			mu.Lock()
			defer mu.Unlock()
			if done++; show && len(named) > 1 {
				_, _ = fmt.Fprintf(progress, "\r%d of %d tenants", done, len(named))
			}
		})
	}
	wg.Wait()
	if show && len(named) > 1 {
		_, _ = fmt.Fprint(progress, clearLine)
	}
	if err := ctx.Err(); err != nil {
		return r, err
	}
	if len(named) == 1 && errs[0] != nil {
		return r, errs[0]
	}
	for i, err := range errs {
		if err != nil {
			r.Failed = append(r.Failed, coverageFailure{named[i], err.Error(), admin.Hint(err)})
			continue
		}
		r.Tenants = append(r.Tenants, found[i])
	}
	r.Everywhere = coverage.Everywhere(r.Tenants)
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
