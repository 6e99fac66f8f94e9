package main

import (
	"encoding/json"
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
	"drover/internal/config"
)

const tenantHelp = `A tenant is a Microsoft directory of a customer's, which drover reads. It has a short
NAME, and its ID is Microsoft's.

  drover tenant connect NAME|ID    somebody signs in, an admin consents, each source is tried
  drover tenant invite NAME|ID     the same by a link, where you do not sit together
  drover tenant check NAME|ID      what is wrong, who must do what, and where
  drover tenant apply -f FILE      the tenants as a file`

func newTenant() *cobra.Command {
	c := &cobra.Command{Use: "tenant", Short: "Connect, invite, check, pause and remove tenants", Long: tenantHelp, Args: noArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(newTenantAdd(), newTenantConnect(), newTenantInvite(), newTenantList(), newTenantShow(), newTenantCheck(), newTenantVolume(), newTenantCoverage(),
		tenantVerb("pause", "Stop reading a tenant; what is in the ledger is delivered", "paused", admin.API.PauseTenant),
		tenantVerb("resume", "Read a paused tenant again, from where it was", "read again", admin.API.ResumeTenant), newTenantRemove(),
		newTenantExport(), newTenantApply(), newTenantImport(), newTenantHold(), newTenantLeavePage(), newTenantMove())
	return c
}

func newTenantAdd() *cobra.Command {
	var n admin.NewTenant
	var sources []string
	var refresh string
	c := &cobra.Command{
		Use: "add TENANT-ID", Short: "Add a tenant",
		Long: `add makes a tenant known. It is read from now on by a running drover, or by the
next one. The customer's admin must have consented to the app; check that with:
drover tenant check.`,
		Example: "  drover tenant add 3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60 --name contoso --start 24h",
		Args:    oneArg("a tenant ID"),
		RunE: func(c *cobra.Command, args []string) error {
			n.ID = args[0]
			for _, s := range sources {
				n.Sources = append(n.Sources, drover.SourceID(s))
			}
			for _, s := range n.Sources {
				if !slices.Contains(allSources, s) {
					return unknownSource(s)
				}
			}
			if refresh != "" {
				token, err := readSecret(c.InOrStdin(), refresh)
				if err != nil {
					return err
				}
				n.RefreshToken = token.Reveal()
			}
			return withOperator(c, func(api admin.API) error {
				t, err := api.AddTenant(c.Context(), n)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "added %s (%s), read from %s on\n", t.Name, t.ID, t.Start)
				return err
			})
		},
	}
	f := c.Flags()
	f.StringVar(&n.Name, "name", "", "short name, a-z 0-9 and - (default: the customer's)")
	f.StringVar(&n.Customer, "customer", "", "the customer's short name (default: the tenant's)")
	f.StringVar(&n.Cloud, "cloud", "", "cloud of the tenant (default worldwide)")
	f.StringVar(&n.App, "app", "", "app that reads it (default: default)")
	f.StringVar(&n.Region, "region", "", "region of its data, for sources with regional hosts: eu, us, uk; Defender for Endpoint also au, swa, ina, aea")
	f.StringSliceVar(&n.Regions, "regions", nil, "regions of ledgers in which its alerts may be kept (default: any)")
	f.StringSliceVar(&sources, "source", nil, "sources to read: "+sourceNames()+" (default graph.alerts)")
	f.StringVar(&n.Start, "start", "", "where to begin: now, an instant, or an age such as 24h or 30d (default: the config's)")
	f.StringVar(&refresh, "refresh-token", "", "read with a delegated refresh token, from a file, or - for standard input")
	return c
}

// readSecret reads a secret from a file or standard input, never from the
// command line.
func readSecret(in io.Reader, from string) (drover.Secret, error) {
	if from != "-" {
		return config.SecretRef{File: from}.Read()
	}
	b, err := io.ReadAll(io.LimitReader(in, 64<<10))
	if err != nil {
		return drover.Secret{}, err
	}
	s := strings.TrimRight(string(b), "\r\n")
	if s == "" {
		return drover.Secret{}, errors.New("nothing came on standard input")
	}
	return drover.NewSecret(s), nil
}

// withOperator runs f with the ledger, or the process that has it open.
func withOperator(c *cobra.Command, f func(admin.API) error) error {
	api, done, err := operator(c)
	if err != nil {
		return err
	}
	return errors.Join(f(api), done())
}

// printJSON is what --json prints.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func newTenantList() *cobra.Command {
	var asJSON, removed bool
	c := &cobra.Command{Use: "list", Short: "List tenants", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error {
		return withOperator(c, func(api admin.API) error {
			if removed {
				return listErasures(c, api, asJSON)
			}
			list, err := api.Tenants(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), list)
			}
			return printTenants(c.OutOrStdout(), list)
		})
	}}
	c.Flags().BoolVar(&removed, "removed", false, "what remains of tenants that were removed")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printTenants(w io.Writer, list []admin.TenantStatus) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "no tenants; add one: drover tenant add TENANT-ID --name …")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "NAME\tCUSTOMER\tSTATE\tSOURCE\tREVISIONS\tREAD UP TO\tGAPS\tTENANT\tNOTE")
	for _, s := range list {
		if len(s.Feeds) == 0 {
			_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t-\t-\t-\t-\t%s\t%s\n", s.Name, s.Customer, s.State, s.ID, clean(heldNote(s)))
		}
		for _, f := range s.Feeds {
			_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%d\t%s\t%s\n", s.Name, s.Customer, s.State, f.Source, f.Revisions, short(f.Through), f.OpenGaps, s.ID, clean(noteOf(s, &f)))
		}
	}
	return t.Flush()
}

// short renders an instant for a table.
func short(i drover.Instant) string {
	if !i.Known() {
		return "never"
	}
	return i.Time().Format("2006-01-02 15:04:05Z")
}

func newTenantShow() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "show NAME|ID", Short: "Show a tenant", Args: oneArg("a tenant's name or ID"), RunE: func(c *cobra.Command, args []string) error {
		return withOperator(c, func(api admin.API) error {
			s, err := api.Tenant(c.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), s)
			}
			t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, row := range [][2]string{{"tenant", string(s.ID)}, {"name", s.Name}, {"customer", string(s.Customer)}, {"state", string(s.State)}, {"cloud", s.Cloud}, {"app", s.App}, {"region", s.Region},
				{"may be kept in", strings.Join(s.Regions, ", ")}, {"held", clean(strings.TrimPrefix(heldNote(s), "held "))}, {"note", s.Unproven}, {"alerts from", string(s.Primary)}, {"owed from", short(s.Start)}, {"added", short(s.Added)}} {
				_, _ = fmt.Fprintf(t, "%s\t%s\n", row[0], row[1])
			}
			printSignIn(t, s.SignIn, time.Now())
			for _, f := range s.Feeds {
				_, _ = fmt.Fprintf(t, "%s\t%d revisions, read up to %s, last read whole %s, %d open gaps\n", f.Source, f.Revisions, short(f.Through), short(f.LastWhole), f.OpenGaps)
				if f.Secondary {
					_, _ = fmt.Fprintf(t, "\ttells what %s tells; goes where a route names it, or where that shows nothing\n", s.Primary)
				}
				if f.Parked != "" {
					_, _ = fmt.Fprintf(t, "\tnot read: %s\n", clean(f.Parked))
				}
			}
			return t.Flush()
		})
	}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// sayFindings prints a list of findings, and ends a command in which one is not
// well.
func sayFindings(w io.Writer, list []admin.Finding, asJSON bool) error {
	show := printFindings
	if asJSON {
		show = func(w io.Writer, list []admin.Finding) error { return printJSON(w, list) }
	}
	if err := show(w, list); err != nil {
		return err
	}
	if slices.ContainsFunc(list, func(f admin.Finding) bool { return !f.OK }) {
		return errFinding
	}
	return nil
}

func printFindings(w io.Writer, list []admin.Finding) error {
	for _, f := range list {
		mark := "ok  "
		switch {
		case !f.OK:
			mark = "FAIL"
		case f.Warn:
			mark = "WARN"
		}
		if _, err := fmt.Fprintf(w, "%s  %s: %s\n", mark, f.What, clean(f.Says)); err != nil {
			return err
		}
		if f.Hint != "" && (f.Warn || !f.OK) {
			if _, err := fmt.Fprintf(w, "      hint: %s\n", clean(f.Hint)); err != nil {
				return err
			}
		}
	}
	return nil
}

// tenantVerb is a command that does one thing to one tenant.
func tenantVerb(verb, what, done string, do func(admin.API, ctxType, string) error) *cobra.Command {
	return &cobra.Command{Use: verb + " NAME|ID", Short: what, Args: oneArg("a tenant's name or ID"), RunE: func(c *cobra.Command, args []string) error {
		return withOperator(c, func(api admin.API) error {
			if err := do(api, c.Context(), args[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s is %s\n", clean(args[0]), done)
			return err
		})
	}}
}

func newStatus() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "status", Short: "How everything goes: tenants, sinks, gaps", Args: noArgs,
		Long: `status says how far every tenant has been read and every sink has been served,
what is missing (open gaps) and what was set aside. It exits with 1 when a feed
is parked, a gap is open, a source is silent in all tenants at once, or the partner's
sign-in fails.`,
		RunE: func(c *cobra.Command, _ []string) error {
			return withOperator(c, func(api admin.API) error {
				s, err := api.Status(c.Context())
				if err != nil {
					return err
				}
				if asJSON {
					err = printJSON(c.OutOrStdout(), s)
				} else {
					err = printStatus(c.OutOrStdout(), s)
				}
				if err == nil && !healthy(s) {
					err = errFinding
				}
				return err
			})
		}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func healthy(s admin.Status) bool {
	for _, t := range s.Tenants {
		for _, f := range t.Feeds {
			if f.Parked != "" && t.State == drover.Active {
				return false
			}
		}
	}
	return len(s.Gaps) == 0 && len(s.Silent) == 0 && (s.Partner == nil || s.Partner.Incident == nil)
}

func printStatus(w io.Writer, s admin.Status) error {
	state := "nobody reads now"
	if s.Running {
		state = "running for " + s.Uptime.Truncate(1e9).String()
	}
	_, _ = fmt.Fprintf(w, "ledger %s, incarnation %s, %d bytes: %s\n\n", s.Ledger, s.Incarnation, s.Used, state)
	if err := printTenants(w, s.Tenants); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(s.Sinks) > 0 {
		_, _ = fmt.Fprintln(t, "\nSINK\tFEEDS\tBEHIND\tWAITING\tIN FLIGHT\tSET ASIDE")
		for _, k := range s.Sinks {
			_, _ = fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\n", k.ID, k.Feeds, k.Behind, k.Owed()-k.Behind, k.Attempt, k.Aside)
		}
		for _, k := range s.Sinks {
			printWaiting(t, k)
		}
	}
	if len(s.Gaps) > 0 {
		_, _ = fmt.Fprintln(t, "\nGAP\tTENANT\tSOURCE\tSINK\tFROM\tTO\tTRIES\tCAUSE")
		for _, g := range s.Gaps {
			_, _ = fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", g.ID, g.Tenant, g.Source, g.Sink, short(g.From), short(g.To), g.Tries, clean(strings.TrimSpace(g.Provider+" "+g.Cause)))
		}
	}
	for _, x := range s.Silent {
		_, _ = fmt.Fprintf(t, "\nsilent in all %d tenants since %s: %s\n", x.Tenants, short(x.Since), clean(strings.TrimSpace(string(x.Source)+" "+x.Product)))
	}
	for i, b := range s.Backfills {
		if i == 0 {
			_, _ = fmt.Fprintln(t, "\nHISTORY\tTENANT\tSOURCE\tTO\tREAD UP TO\tROWS\tLEFT")
		}
		_, _ = fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%d\t%s\n", b.ID, clean(b.Name), b.Source, short(b.To), short(b.At), b.Rows, left(b))
	}
	printPartnerBrief(t, s.Partner)
	printClocks(t, s)
	for _, e := range s.Ends {
		_, _ = fmt.Fprintf(t, "\n%s\nhint: %s\n", clean(e.Says), clean(e.Hint))
	}
	if len(s.Invitations) > 0 {
		_, _ = fmt.Fprintln(t)
		_ = t.Flush()
		if err := printInvitations(w, s.Invitations, ""); err != nil {
			return err
		}
	}
	for reason, n := range s.Aside {
		_, _ = fmt.Fprintf(t, "\nset aside at reading: %d %s\n", n, reason)
	}
	return t.Flush()
}

// printWaiting says what waits at a sink on purpose, and until when.
func printWaiting(w io.Writer, k admin.SinkStatus) {
	why := map[string]string{admin.WaitPrimary: "wait for the tenants' primary source to show the same alerts", admin.WaitRest: "wait for their alerts to come to rest"}
	for _, x := range k.Waiting {
		_, _ = fmt.Fprintf(w, "\nsink %s: %d rows %s: the first until %s, all until %s. Nothing is to be done.\n", k.ID, x.Rows, why[x.For], short(x.Next), short(x.Until))
	}
}

// farApart is how far clocks may differ before something is to be done: tokens
// and certificates are judged by ours.
const farApart = 2 * minute

// printClocks says how far Microsoft's clocks are from ours: of the feeds the
// one that differs most.
func printClocks(w io.Writer, s admin.Status) {
	var most *time.Duration
	var of string
	for _, t := range s.Tenants {
		for _, f := range t.Feeds {
			if f.ClockAhead != nil && (most == nil || f.ClockAhead.Abs() > most.Abs()) {
				most, of = f.ClockAhead, t.Name+" "+string(f.Source)
			}
		}
	}
	far := false
	say := func(whose string, d *time.Duration) {
		if d == nil {
			return
		}
		_, _ = fmt.Fprintf(w, "\nclock of %s: %s ours", whose, ahead(*d))
		far = far || d.Abs() > farApart
	}
	say("the APIs (at most, "+of+")", most)
	say("Entra", s.EntraAhead)
	if most != nil || s.EntraAhead != nil {
		_, _ = fmt.Fprintln(w)
	}
	if far {
		_, _ = fmt.Fprintln(w, "hint: set this machine's clock by NTP: tokens and certificates are judged by it")
	}
}

// ahead puts a difference of clocks in words, in whole seconds.
func ahead(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d > 0:
		return d.String() + " ahead of"
	case d < 0:
		return d.Abs().String() + " behind"
	}
	return "as"
}

func newGap() *cobra.Command {
	c := &cobra.Command{Use: "gap", Short: "Take note of gaps", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	var why string
	ack := &cobra.Command{Use: "acknowledge ID", Short: "Take note of an open gap, with a reason", Args: oneArg("a gap's ID"), RunE: func(c *cobra.Command, args []string) error {
		var id int64
		if _, err := fmt.Sscan(args[0], &id); err != nil {
			return usageError{fmt.Errorf("%q is no gap ID; see: drover status", args[0])}
		}
		return withOperator(c, func(api admin.API) error { return api.AcknowledgeGap(c.Context(), id, why) })
	}}
	ack.Flags().StringVar(&why, "why", "", "the reason, which is kept")
	c.AddCommand(ack)
	return c
}
