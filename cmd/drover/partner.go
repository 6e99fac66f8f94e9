package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/gdap"
)

func newPartner() *cobra.Command {
	c := &cobra.Command{Use: "partner", Short: "Connect all customers of a Microsoft partner at once, and see how they stand", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(newPartnerConnect(), newPartnerCustomers(), newPartnerStatus(), newPartnerForget())
	return c
}

// partnered is a drover whose config names the partner.
func partnered(c *cobra.Command) (*app, error) {
	cfg, err := load(c)
	if err != nil {
		return nil, err
	}
	if cfg.Partner == nil {
		return nil, usageError{&drover.Error{Op: "find the partner", Kind: drover.Refused, Err: errors.New("the config has no section named partner"), Hint: "name your tenant and the onboarding app there; see docs/partner.md"}}
	}
	return newApp(cfg, discard(), nil)
}

func newPartnerCustomers() *cobra.Command {
	var asJSON, seen bool
	c := &cobra.Command{
		Use: "customers", Short: "List the partner's customers: relationships, roles, ends, and who is not connected", Args: noArgs,
		Long: `customers lists who is a customer of the partner, with the roles and the end of its
relationships, and whether it is connected. With a sign-in that is kept it asks
Microsoft now; without one it shows what the last drover partner connect has seen.

A relationship that ends within 30 days is marked, unless it extends itself. What is
read with the app's own permissions goes on without a relationship; only nothing can
be granted any more. Nobody is removed by a list, whatever it says.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := partnered(c); err != nil {
				return err
			}
			return withOperator(c, func(api admin.API) error {
				s, err := api.Partner(c.Context(), !seen)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), s)
				}
				return printPartnerCustomers(c.OutOrStdout(), s)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&seen, "seen", false, "show what was seen last, and ask nobody")
	return c
}

// state says how a customer stands with drover.
func partnerState(c admin.PartnerCustomer) string {
	switch {
	case c.State == drover.Removed:
		return "removed"
	case c.State != "" && !c.Gone.IsZero():
		return "connected, no customer since " + c.Gone.UTC().Format(time.DateOnly)
	case c.Unproven != "":
		return "read with the sign-in, unproven"
	case c.State != "":
		return "connected"
	case c.Standing != gdap.Related:
		return "-"
	case c.New:
		return "new, not connected"
	}
	return "not connected"
}

func endText(end time.Time, extends bool) string {
	switch {
	case end.IsZero():
		return "-"
	case extends:
		return end.UTC().Format(time.DateOnly) + ", extends itself"
	}
	return end.UTC().Format(time.DateOnly)
}

func printPartnerCustomers(w io.Writer, s admin.PartnerStatus) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "CUSTOMER\tTENANT\tRELATIONSHIP\tENDS\tIN DROVER\tROLES")
	var warns []string
	for _, c := range s.Customers {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", clean(orText(c.Short, c.Name)), c.Tenant, c.Standing, endText(c.End, c.Extends), partnerState(c), clean(strings.Join(c.Roles, ", ")))
		if c.Warns != "" {
			warns = append(warns, c.Warns)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, x := range warns {
		_, _ = fmt.Fprintf(w, "warning: %s\n", clean(x))
	}
	if s.Unproven != "" {
		_, _ = fmt.Fprintln(w, s.Unproven)
	}
	for _, n := range s.Notes {
		_, _ = fmt.Fprintf(w, "note: %s\n", clean(n))
	}
	return printPartnerSeen(w, s)
}

func printPartnerSeen(w io.Writer, s admin.PartnerStatus) error {
	var err error
	switch {
	case s.Seen.IsZero():
		_, err = fmt.Fprintln(w, "The customers have not been listed yet: drover partner connect --dry-run")
	case !s.Kept:
		_, err = fmt.Fprintf(w, "As seen on %s; no sign-in is kept, so drover does not look by itself.\n", s.Seen.UTC().Format("2006-01-02 15:04Z"))
	default:
		_, err = fmt.Fprintf(w, "As seen on %s.\n", s.Seen.UTC().Format("2006-01-02 15:04Z"))
	}
	return err
}

func newPartnerStatus() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "status", Short: "How the partner's sign-in and its customers stand, in a few lines", Args: noArgs,
		Long: `status says whether a sign-in of the partner's is kept and works, how many customers
are connected, who is new, who is no customer any more, and which relationships end
within 30 days. It asks nobody. It exits with 1 when the sign-in fails, for all
customers at once.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := partnered(c); err != nil {
				return err
			}
			return withOperator(c, func(api admin.API) error {
				s, err := api.Partner(c.Context(), false)
				if err != nil {
					return err
				}
				if asJSON {
					err = printJSON(c.OutOrStdout(), s)
				} else {
					err = printPartnerStatus(c.OutOrStdout(), s)
				}
				if err == nil && s.Incident != nil {
					err = errFinding
				}
				return err
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printPartnerStatus(w io.Writer, s admin.PartnerStatus) error {
	kept := "no sign-in is kept; reading needs none"
	if len(s.Delegated) > 0 {
		kept = "no sign-in is kept, and tenants are to be read with it: drover partner connect --keep"
	}
	if s.Kept {
		kept = "a sign-in is kept, renewed last on " + s.KeptSince.UTC().Format("2006-01-02 15:04Z")
	}
	_, _ = fmt.Fprintf(w, "partner %s: %s\n", s.Tenant, kept)
	if s.Account != "" {
		_, _ = fmt.Fprintf(w, "account: %s\n", clean(s.Account))
	}
	related, connected := 0, 0
	var fresh, gone, warns []string
	for _, c := range s.Customers {
		name := orText(c.Short, c.Name)
		if c.Standing == gdap.Related {
			related++
			if c.State != "" && c.State != drover.Removed {
				connected++
			} else if c.New {
				fresh = append(fresh, name)
			}
		}
		if !c.Gone.IsZero() && c.State != "" && c.State != drover.Removed {
			gone = append(gone, name)
		}
		if c.Warns != "" {
			warns = append(warns, c.Warns)
		}
	}
	if len(s.Delegated) > 0 {
		_, _ = fmt.Fprintf(w, "read with the sign-in: %s\n%s\n", clean(strings.Join(s.Delegated, ", ")), s.Unproven)
	}
	_, _ = fmt.Fprintf(w, "customers with an active relationship: %d, connected: %d\n", related, connected)
	for _, x := range []struct {
		what string
		list []string
	}{{"new, not connected", fresh}, {"connected, and no customer of the partner any more", gone}} {
		if len(x.list) > 0 {
			_, _ = fmt.Fprintf(w, "%s: %s\n", x.what, clean(strings.Join(x.list, ", ")))
		}
	}
	for _, x := range warns {
		_, _ = fmt.Fprintf(w, "warning: %s\n", clean(x))
	}
	if s.Incident != nil {
		_, _ = fmt.Fprintf(w, "FAIL  since %s, for all customers at once: %s\n      hint: %s\n", s.Incident.Since.UTC().Format("2006-01-02 15:04Z"), clean(s.Incident.Says), clean(s.Incident.Hint))
	}
	return printPartnerSeen(w, s)
}

func newPartnerForget() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "forget", Short: "Destroy the partner's sign-in that is kept", Args: noArgs,
		Long: `forget destroys the refresh token that drover partner connect --keep has sealed. What
was granted in the customers stays, and they are read on with the app's own
permissions. New customers are not announced any more. To end the sign-in at
Microsoft too, revoke the account's sessions in the Entra admin center.

Tenants that are read with the sign-in (drover partner connect --delegated) are read
no longer without it, so while there are any it is kept, unless --yes is given.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := partnered(c); err != nil {
				return err
			}
			return withOperator(c, func(api admin.API) error {
				s, err := api.Partner(c.Context(), false)
				if err != nil {
					return err
				}
				if n := len(s.Delegated); n > 0 && s.Kept && !yes {
					return usageError{&drover.Error{Op: "forget the partner's sign-in", Kind: drover.Refused, Err: fmt.Errorf("%d tenants are read with it, and would not be any more: %s", n, clean(strings.Join(s.Delegated, ", "))),
						Hint: "give them an app that reads (drover partner connect, then drover tenant apply); if it is meant all the same, add --yes"}}
				}
				was, err := api.ForgetPartner(c.Context())
				if err != nil {
					return err
				}
				text := "the partner's sign-in is destroyed; all tenants are read on"
				switch n := len(s.Delegated); {
				case !was:
					text = "no sign-in of the partner's was kept"
				case n > 0:
					text = fmt.Sprintf("the partner's sign-in is destroyed; %d tenants are not read any more: %s", n, clean(strings.Join(s.Delegated, ", ")))
				}
				_, err = fmt.Fprintln(c.OutOrStdout(), text)
				return err
			})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "also while tenants are read with it")
	return c
}

// printPartnerBrief is the partner's part of drover status.
func printPartnerBrief(w io.Writer, p *admin.PartnerBrief) {
	if p == nil {
		return
	}
	_, _ = fmt.Fprintf(w, "\npartner: %d customers, %d not connected; see: drover partner status\n", p.Customers, p.NotConnected)
	if len(p.New) > 0 {
		_, _ = fmt.Fprintf(w, "new customers of the partner: %s\n", clean(strings.Join(p.New, ", ")))
	}
	if len(p.Gone) > 0 {
		_, _ = fmt.Fprintf(w, "read, and no customers of the partner any more: %s\n", clean(strings.Join(p.Gone, ", ")))
	}
	if p.Incident != nil {
		_, _ = fmt.Fprintf(w, "the partner's sign-in fails since %s, for all customers at once: %s\nhint: %s\n", p.Incident.Since.UTC().Format("2006-01-02 15:04Z"), clean(p.Incident.Says), clean(p.Incident.Hint))
	}
}
