package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/entra"
)

// consentAsks is how many tenants are asked about at once; how fast token
// requests follow each other is entra's to say.
const consentAsks = 8

// consentRow is what a tenant has agreed to of what is wanted.
type consentRow struct {
	Tenant   drover.TenantID   `json:"tenant"`
	Name     string            `json:"name"`
	Customer drover.CustomerID `json:"customer"`
	// Standing is granted, lacks (some or all), unknown (it cannot be told) or
	// signed in (it is read with somebody's sign-in, and the app has no
	// permissions of its own).
	Standing string            `json:"standing"`
	Lacks    []drover.SourceID `json:"lacks,omitempty"`
	Needs    []string          `json:"needs,omitempty"` // permissions, one for each of Lacks
	Carries  []string          `json:"carries"`         // roles of the app's own tokens
	Untold   []drover.SourceID `json:"untold,omitempty"`
	Says     string            `json:"says,omitempty"`
	Hint     string            `json:"hint,omitempty"`
}

// What a tenant's standing may be.
const (
	consentGranted = "granted"
	consentLacks   = "lacks"
	consentUnknown = "unknown"
	consentPerson  = "signed in"
)

// consentOptions is what the command line says.
type consentOptions struct {
	sources, tenants []string
	asJSON           bool
}

func (o *consentOptions) flags(c *cobra.Command) {
	c.Flags().StringSliceVar(&o.sources, "source", nil, "a source that you want to switch on, besides those of each tenant: "+sourceNames())
	c.Flags().StringSliceVar(&o.tenants, "tenant", nil, "only these tenants, by name or ID")
	c.Flags().BoolVar(&o.asJSON, "json", false, "print JSON")
}

func newConsent() *cobra.Command {
	c := &cobra.Command{Use: "consent", Short: "See which tenants lack a permission, ask them for it, and follow what comes of it", Args: noArgs,
		Long: `consent is for the day on which all customers must agree to one thing more: a new
source needs a permission of its own, and each customer's admin gives it.

  drover consent plan --source mde.alerts      who lacks what
  drover consent send --source mde.alerts --out links.csv
                                               a link for each, for a mail merge
  drover consent status --source mde.alerts    who has been asked, has agreed, is overdue

Add the permission to the app's registration first: a consent gives what is there.
Which permissions a tenant has given is read from tokens that Entra gives the app
there and then, never guessed. When all have agreed, switch the source on: drover
tenant apply.`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(newConsentPlan(), newConsentSend(), newConsentStatus())
	return c
}

func newConsentPlan() *cobra.Command {
	var o consentOptions
	c := &cobra.Command{Use: "plan", Short: "Say which tenant lacks which permission", Args: noArgs,
		Long: `plan asks Entra for tokens of the app's own in every tenant that is not removed, and
says which permission they lack for the tenant's sources and those of --source. It
changes nothing. It exits with 1 when a tenant lacks something, and with 3 when none
does and of some it cannot be told.`,
		Example: "  drover consent plan --source mde.alerts",
		RunE: func(c *cobra.Command, _ []string) error {
			rows, err := o.assess(c)
			if err != nil {
				return err
			}
			if o.asJSON {
				err = printJSON(c.OutOrStdout(), rows)
			} else {
				err = printPlan(c.OutOrStdout(), rows)
			}
			return errors.Join(err, verdictOf(rows))
		}}
	o.flags(c)
	return c
}

// verdictOf is how a command about consents ends.
func verdictOf(rows []consentRow) error {
	has := func(standing string) bool {
		return slices.ContainsFunc(rows, func(r consentRow) bool { return r.Standing == standing })
	}
	switch {
	case has(consentLacks):
		return errFinding
	case has(consentUnknown):
		return errUnsure
	}
	return nil
}

// assess asks about every tenant that is meant, in the order of their names.
func (o *consentOptions) assess(c *cobra.Command) ([]consentRow, error) {
	extra, err := sourcesOf(o.sources)
	if err != nil {
		return nil, err
	}
	cfg, err := load(c)
	if err != nil {
		return nil, err
	}
	a, err := newApp(cfg, discard(), nil) // without a ledger, so with the app's own tokens only
	if err != nil {
		return nil, err
	}
	var list []admin.TenantStatus
	if err := withOperator(c, func(api admin.API) error {
		list, err = api.Tenants(c.Context())
		return err
	}); err != nil {
		return nil, err
	}
	for _, who := range o.tenants {
		if !slices.ContainsFunc(list, func(t admin.TenantStatus) bool { return isTenant(t, who) }) {
			return nil, usageError{fmt.Errorf("there is no tenant %q; see: drover tenant list", who)}
		}
	}
	list = slices.DeleteFunc(list, func(t admin.TenantStatus) bool {
		return t.State == drover.Removed || len(o.tenants) > 0 && !slices.ContainsFunc(o.tenants, func(who string) bool { return isTenant(t, who) })
	})
	rows := make([]consentRow, len(list))
	slots := make(chan struct{}, consentAsks)
	var wg sync.WaitGroup
	for i, t := range list {
		select {
		case slots <- struct{}{}:
		case <-c.Context().Done():
			wg.Wait()
			return nil, context.Cause(c.Context())
		}
		wg.Go(func() {
			defer func() { <-slots }()
			rows[i] = a.assessed(c.Context(), t, extra)
		})
	}
	wg.Wait()
	return rows, c.Context().Err()
}

func isTenant(t admin.TenantStatus, who string) bool {
	return strings.EqualFold(t.Name, who) || strings.EqualFold(string(t.ID), who)
}

// Tries of one tenant, while Entra slows us down or has a fault.
const (
	consentTries = 4
	consentPause = 2 * time.Second
)

// assessed asks about one tenant.
func (a *app) assessed(ctx context.Context, t admin.TenantStatus, extra []drover.SourceID) consentRow {
	r := consentRow{Tenant: t.ID, Name: t.Name, Customer: t.Customer, Standing: consentGranted}
	if err := a.consents(t.App); err != nil {
		r.Standing, r.Says = consentPerson, err.Error()
		return r
	}
	x := drover.Tenant{ID: t.ID, Name: t.Name, Cloud: t.Cloud, App: t.App, Region: t.Region, Sources: slices.Clone(t.Sources)}
	for _, s := range extra {
		if !slices.Contains(x.Sources, s) {
			x.Sources = append(x.Sources, s)
		}
	}
	for _, s := range x.Sources {
		if err := a.serves(x, s); err != nil {
			r.Standing, r.Says, r.Hint = consentUnknown, err.Error(), admin.Hint(err)
			return r
		}
	}
	var g entra.Grants
	var err error
	for try := 1; ; try++ {
		g, err = a.tokens.Grants(ctx, x, x.Sources)
		wait := max(consentPause, drover.WaitOf(err))
		if err == nil || drover.KindOf(err) == drover.Denied || try == consentTries {
			break
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	if err != nil {
		r.Standing, r.Says, r.Hint = consentUnknown, err.Error(), admin.Hint(err)
		return r
	}
	r.Lacks, r.Carries, r.Untold = g.Lacks, g.Roles, g.Untold
	for _, s := range g.Lacks {
		r.Needs = append(r.Needs, permissionOf(s))
	}
	switch {
	case len(r.Lacks) > 0 && !g.Known:
		r.Standing, r.Says = consentLacks, "the app is not in this tenant: nothing has been consented to, or it was taken back"
	case len(r.Lacks) > 0:
		r.Standing = consentLacks
	}
	return r
}

func printPlan(w io.Writer, rows []consentRow) error {
	n := make(map[string]int)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		if n[r.Standing]++; r.Standing == consentGranted {
			continue
		}
		if len(n) == 1 && n[r.Standing] == 1 || n["head"] == 0 {
			n["head"] = 1
			_, _ = fmt.Fprintln(t, "NAME\tSTANDING\tLACKS\tFOR\tTENANT")
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", clean(r.Name), r.Standing, orDash(strings.Join(r.Needs, ", ")), orDash(joined(r.Lacks)), r.Tenant)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range rows {
		if r.Standing == consentUnknown {
			_, _ = fmt.Fprintf(w, "\n%s: %s\n", clean(r.Name), clean(r.Says))
			if r.Hint != "" {
				_, _ = fmt.Fprintf(w, "hint: %s\n", clean(r.Hint))
			}
		}
	}
	if n["head"] > 0 {
		_, _ = fmt.Fprintln(w)
	}
	_, err := fmt.Fprintf(w, "%d tenants: %d have given everything, %d lack something, of %d it cannot be told\n", len(rows), n[consentGranted], n[consentLacks], n[consentUnknown])
	if err == nil && n[consentPerson] > 0 {
		_, err = fmt.Fprintf(w, "%d are read with somebody's sign-in by an app that has no permissions of its own\n", n[consentPerson])
	}
	return err
}

func joined(list []drover.SourceID) string {
	all := make([]string, 0, len(list))
	for _, s := range list {
		all = append(all, string(s))
	}
	return strings.Join(all, ", ")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
