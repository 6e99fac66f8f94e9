package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/ledger"
)

// sourcesOf checks sources that were typed.
func sourcesOf(typed []string) (out []drover.SourceID, err error) {
	for _, s := range typed {
		if !slices.Contains(allSources, drover.SourceID(s)) {
			return nil, unknownSource(drover.SourceID(s))
		}
		out = append(out, drover.SourceID(s))
	}
	return out, nil
}

// inviting is what the command line says.
type inviteOptions struct {
	new     admin.NewTenant
	sources []string
	any     bool
	asJSON  bool
	life    string
}

func newTenantInvite() *cobra.Command {
	var o inviteOptions
	c := &cobra.Command{
		Use: "invite NAME|ID", Short: "Make a link by which a customer's admin connects a tenant",
		Long: `invite makes a link to your own page. Whoever you send it to sees who asks for
what, signs in, and an admin consents; a running drover does the rest. It is good
for 72 hours, works until an admin has consented by it, and is printed once: send
it to the customer as you would send a password.

A tenant that is known is invited by its name. A new one is invited by its ID and
a --name, or, if you do not know the ID, by a name and --any: then whoever signs
in names the tenant, and nothing is read until you have compared its ID and typed:
drover invitation confirm. That is asked for, too, when the app had the consent
before, or drover has read the tenant before.

The page must be set up: listen: {invitations: …} and mssp: in drover.yaml, and its
address with /callback behind it among the app's redirect URIs: drover app create
registers it, and drover app check names it where it is missing.`,
		Example: "  drover tenant invite contoso\n  drover tenant invite 3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60 --name contoso --source graph.alerts,mde.alerts\n  drover tenant invite contoso --any --for 24h",
		Args:    oneArg("a tenant's name or ID"),
		RunE:    func(c *cobra.Command, args []string) error { return o.run(c, args[0]) },
	}
	f := c.Flags()
	f.BoolVar(&o.any, "any", false, "invite a new tenant whose ID is not known")
	f.StringVar(&o.life, "for", "72h", "how long the link is good for, up to 7d")
	f.StringVar(&o.new.Name, "name", "", "short name of a new tenant, a-z 0-9 and -")
	f.StringVar(&o.new.Customer, "customer", "", "the new tenant's customer (default: the tenant's name)")
	f.StringVar(&o.new.Cloud, "cloud", "", "cloud of a new tenant (default: the app's)")
	f.StringVar(&o.new.App, "app", "", "app that reads a new tenant (default: default)")
	f.StringVar(&o.new.Region, "region", "", "region of a new tenant's data")
	f.StringVar(&o.new.Start, "start", "", "where a new tenant begins: now, an instant, or an age such as 24h or 30d (default: the config's)")
	f.StringSliceVar(&o.sources, "source", nil, "sources of a new tenant: "+sourceNames()+" (default graph.alerts)")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	return c
}

// lifeOf reads how long a link is good for.
func lifeOf(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		s = n + "h"
		d, err := time.ParseDuration(s)
		if err == nil {
			return 24 * d, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, usageError{fmt.Errorf("%q is no length of time; write 72h or 3d", s)}
	}
	return d, nil
}

func (o *inviteOptions) run(c *cobra.Command, who string) error {
	cfg, err := load(c)
	if err != nil {
		return err
	}
	life, err := lifeOf(o.life)
	if err != nil {
		return err
	}
	if o.new.Sources, err = sourcesOf(o.sources); err != nil {
		return err
	}
	var got admin.Invited
	err = withOperator(c, func(api admin.API) error {
		order := admin.InviteOrder{For: life, Any: o.any}
		list, err := api.Tenants(c.Context())
		if err != nil {
			return err
		}
		id, noID := drover.ParseTenantID(who)
		known := slices.ContainsFunc(list, func(t admin.TenantStatus) bool { return t.ID == id || strings.EqualFold(t.Name, who) })
		switch {
		case known && (o.any || o.changed(c)):
			return usageError{&drover.Error{Op: "invite", Kind: drover.Refused, Hint: "to invite it as it is: drover tenant invite " + who + "; to change it: drover tenant apply", Err: fmt.Errorf("the tenant %s is there already: --any and what describes a new tenant are not for it", who)}}
		case known:
			order.Tenant = who
		default:
			order.New = o.new
			if noID == nil {
				order.New.ID = string(id)
			} else if order.New.Name == "" {
				order.New.Name = strings.ToLower(who)
			}
			if noID == nil && o.any {
				return usageError{errors.New("--any is for a tenant whose ID is not known; leave it out")}
			}
			if order.New.App == "" {
				order.New.App = "default"
			}
			if order.New.Cloud == "" {
				order.New.Cloud = cfg.Apps[order.New.App].Cloud
			}
		}
		got, err = api.Invite(c.Context(), order)
		return err
	})
	if err != nil {
		return err
	}
	if o.asJSON {
		return printJSON(c.OutOrStdout(), got)
	}
	return printInvited(c.OutOrStdout(), c.ErrOrStderr(), got)
}

// changed reports whether flags for a new tenant were given.
func (o *inviteOptions) changed(c *cobra.Command) bool {
	return slices.ContainsFunc([]string{"name", "customer", "cloud", "app", "region", "start", "source"}, c.Flags().Changed)
}

// printInvited prints the link alone to standard output.
func printInvited(w, errs io.Writer, i admin.Invited) error {
	_, _ = fmt.Fprintf(errs, "Invitation %s for %s, good until %s. Send this link to the customer; it is not shown again:\n", i.ID, clean(i.Name), short(i.Ends))
	if i.Tenant == "" {
		_, _ = fmt.Fprintf(errs, "It names no tenant: when somebody has answered, compare the tenant ID with the customer and type: drover invitation confirm %s --tenant TENANT-ID\n", i.ID)
	}
	_, err := fmt.Fprintln(w, i.Link)
	return err
}

func newInvitation() *cobra.Command {
	c := &cobra.Command{Use: "invitation", Short: "List, confirm, refuse and withdraw invitations", Args: noArgs,
		Long: `invitation shows what has come of the links that drover tenant invite and drover
consent send have made, and lets an operator decide where one must: an invitation
that names no tenant, a tenant that had consented before, or one that drover has
read before waits until somebody has compared its ID with the customer.`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(newInvitationList(), newInvitationConfirm(), invitationEnd("refuse", "Refuse an invitation that waits for you", refuseHelp), invitationEnd("withdraw", "Make a link open nothing any more", withdrawHelp))
	return c
}

func newInvitationList() *cobra.Command {
	var asJSON, all bool
	c := &cobra.Command{Use: "list", Short: "List invitations, who has answered them, and what is to be done", Args: noArgs,
		Long: "list shows invitations that are under way, and with --all those that have ended.\nIt exits with 1 when one waits for an operator.",
		RunE: func(c *cobra.Command, _ []string) error {
			return withOperator(c, func(api admin.API) error {
				list, err := api.Invitations(c.Context())
				if err != nil {
					return err
				}
				if !all {
					list = slices.DeleteFunc(list, func(i admin.InvitationStatus) bool { return i.State.Over() })
				}
				if asJSON {
					err = printJSON(c.OutOrStdout(), list)
				} else {
					err = printInvitations(c.OutOrStdout(), list, "no invitation is under way")
				}
				if err == nil && slices.ContainsFunc(list, waits) {
					err = errFinding
				}
				return err
			})
		}}
	c.Flags().BoolVar(&all, "all", false, "those that have ended too")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func waits(i admin.InvitationStatus) bool { return i.State == ledger.InviteWaiting }

// whyWaits says what an operator is to look at.
var whyWaits = map[string]string{
	"unnamed":          "it names no tenant",
	"consented_before": "the tenant had consented to the app before",
	"read_before":      "drover reads or has read this tenant",
	"was_removed":      "this tenant was removed; its customer had left",
	"name_taken":       "its name is another tenant's: confirm with --name",
}

func printInvitations(w io.Writer, list []admin.InvitationStatus, none string) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, none)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "INVITATION\tNAME\tFOR\tSTATE\tGOOD UNTIL\tSIGNED IN\tTENANT")
	for _, i := range list {
		who, tenant := "-", i.Tenant
		if i.Person != nil {
			who, tenant = clean(i.Person.Name), i.Person.Tenant
		}
		if tenant == "" {
			tenant = "-"
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", i.ID, clean(i.Name), i.Purpose, i.State, short(i.Ends), who, tenant)
	}
	for _, i := range list {
		switch {
		case waits(i):
			why := whyWaits[i.Why]
			if why == "" {
				why = clean(i.Why)
			}
			_, _ = fmt.Fprintf(t, "\n%s waits for you: %s. Signed in: %s of tenant %s\nhint: ask the customer for their tenant ID by another way than the link, then: drover invitation confirm %s --tenant TENANT-ID; if it is not theirs: drover invitation refuse %s\n", i.ID, why, clean(i.Person.Name), i.Person.Tenant, i.ID, i.ID)
		case i.Why != "" && !i.State.Over():
			_, _ = fmt.Fprintf(t, "\n%s: the last try ended: %s\n", i.ID, clean(i.Why))
		}
	}
	return t.Flush()
}

func newInvitationConfirm() *cobra.Command {
	var o admin.InviteConfirm
	var asJSON bool
	c := &cobra.Command{Use: "confirm INVITATION --tenant TENANT-ID", Short: "Have the tenant read that has answered an invitation", Args: oneArg("an invitation's ID"),
		Long: `confirm takes the tenant ID as the customer has told it to you, by another way than
the link, and has the tenant read if it is that of whoever signed in.`,
		Example: "  drover invitation confirm 4k7q2m5x3a --tenant 3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60",
		RunE: func(c *cobra.Command, args []string) error {
			o.ID = args[0]
			if o.Tenant == "" {
				return usageError{&drover.Error{Op: "confirm the invitation", Kind: drover.Refused, Hint: "--tenant, with the tenant ID as the customer has told it to you", Err: errors.New("which tenant it is must be said")}}
			}
			return withOperator(c, func(api admin.API) error {
				i, err := api.ConfirmInvitation(c.Context(), o)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), i)
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "%s (%s) is read from now on; see what works: drover tenant check %s\n", clean(i.Name), i.Tenant, clean(i.Name))
				return err
			})
		}}
	c.Flags().StringVar(&o.Tenant, "tenant", "", "the tenant ID, as the customer says it")
	c.Flags().StringVar(&o.Name, "name", "", "short name of the tenant, in place of the one that was ordered")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

const (
	refuseHelp = `refuse ends an invitation that waits for you: whoever answered it is not the
customer. Nothing of that tenant is read. A consent that its admin has given stays
until that admin takes it back; the page that the link opens says how.`
	withdrawHelp = `withdraw ends an invitation before an admin has consented by it: its link opens
nothing any more. One that waits for you is refused: drover invitation refuse.`
)

// invitationEnd is a command that ends an invitation.
func invitationEnd(verb, what, help string) *cobra.Command {
	var why string
	c := &cobra.Command{Use: verb + " INVITATION", Short: what, Long: help, Args: oneArg("an invitation's ID"), RunE: func(c *cobra.Command, args []string) error {
		return withOperator(c, func(api admin.API) error {
			list, err := api.Invitations(c.Context())
			if err != nil {
				return err
			}
			for _, i := range list {
				if i.ID == strings.ToLower(args[0]) && waits(i) != (verb == "refuse") && !i.State.Over() {
					return usageError{&drover.Error{Op: verb + " the invitation", Kind: drover.Refused, Hint: "see: drover invitation list", Err: fmt.Errorf("it is %s: one that waits for you is refused, any other is withdrawn", i.State)}}
				}
			}
			i, err := api.EndInvitation(c.Context(), args[0], why)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "invitation %s of %s is %s\n", i.ID, clean(i.Name), i.State)
			if err == nil && verb == "refuse" {
				_, err = fmt.Fprintln(c.OutOrStdout(), "nothing is read; that tenant's consent to the app stays until its admin takes it back")
			}
			return err
		})
	}}
	c.Flags().StringVar(&why, "why", "", "the reason, which is kept")
	return c
}
