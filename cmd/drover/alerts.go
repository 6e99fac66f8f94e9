package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
)

func newAlerts() *cobra.Command {
	c := &cobra.Command{Use: "alerts", Short: "Look for alerts in the ledger", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(newAlertsList(), newAlertsShow(), newAlertsDiff())
	return c
}

func newAlertsList() *cobra.Command {
	var q admin.AlertQuery
	var customer, source, since, until, asOf string
	var asJSON bool
	c := &cobra.Command{Use: "list", Short: "List alerts, the newest change first", Args: noArgs,
		Long: `list prints the newest state of each alert that the ledger holds, the newest
change first; --all prints every state. Times are an instant such as
2026-03-02T08:00:00Z, a day, or an age such as 24h or 30d.

--text opens the stored bodies of the range that --since and --until name, so
name a short one: everything else is answered from the index as far as it can be.
--as-of shows the state as the ledger knew it at that instant, by the time at
which rows were stored.

Bodies that the retention has thrown away, and those of removed tenants, cannot
be shown.`,
		Example: `  drover alerts list --tenant contoso --since 24h --severity high
  drover alerts list --since 7d --text mimikatz --json | jq .alert_id
  drover alerts list --tenant contoso --as-of 2026-03-02T08:00:00Z`,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			q.Customer, q.Source = drover.CustomerID(customer), drover.SourceID(source)
			for _, t := range []struct {
				flag, text string
				to         *drover.Instant
			}{{"since", since, &q.Since}, {"until", until, &q.Until}, {"as-of", asOf, &q.AsOf}} {
				if *t.to, err = moment(t.flag, t.text); err != nil {
					return err
				}
			}
			if q.Limit < 0 {
				return usageError{errors.New("--limit is a number of alerts, 0 for all")}
			}
			if !asJSON && q.Limit == 0 {
				q.Limit = maxTable
			}
			return withOperator(c, func(api admin.API) error {
				end, err := listAlerts(c, api, q, asJSON)
				if err != nil {
					return err
				}
				return sayEnd(c.ErrOrStderr(), end, q.Limit)
			})
		}}
	f := c.Flags()
	f.StringVar(&q.Tenant, "tenant", "", "of this tenant, by name or ID")
	f.StringVar(&customer, "customer", "", "of this customer")
	f.StringVar(&source, "source", "", "from this source, such as graph.alerts")
	f.StringVar(&since, "since", "", "changed at this time or later")
	f.StringVar(&until, "until", "", "changed before this time")
	f.StringSliceVar(&q.Severity, "severity", nil, "of this severity, or one of several: high,medium")
	f.StringSliceVar(&q.Status, "status", nil, "of this status, or one of several")
	f.StringVar(&q.Text, "text", "", "with this text in the alert, in upper or lower case")
	f.StringVar(&q.ID, "id", "", "with this ID, as the source spells it")
	f.BoolVar(&q.All, "all", false, "every state, not only the newest of each alert")
	f.IntVar(&q.Limit, "limit", 100, "at most so many; 0: all with --json, 10,000 in a table")
	f.StringVar(&asOf, "as-of", "", "as the ledger knew it at this time")
	f.BoolVar(&asJSON, "json", false, "print NDJSON")
	return c
}

// maxTable bounds a table, which is laid out as a whole.
const maxTable = 10_000

// moment reads a point in time of a flag; none is NoInstant.
func moment(flag, text string) (drover.Instant, error) {
	if text == "" {
		return drover.NoInstant, nil
	}
	at, err := admin.ParseStart(text, time.Now())
	if err != nil {
		return at, usageError{fmt.Errorf("--%s: %w", flag, err)}
	}
	return at, nil
}

// listAlerts prints what is found as it comes.
func listAlerts(c *cobra.Command, api admin.API, q admin.AlertQuery, asJSON bool) (admin.AlertsEnd, error) {
	if asJSON {
		e := json.NewEncoder(c.OutOrStdout())
		e.SetEscapeHTML(false)
		return api.Alerts(c.Context(), q, func(a admin.AlertLine) error { return e.Encode(a) })
	}
	t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	n := 0
	end, err := api.Alerts(c.Context(), q, func(a admin.AlertLine) error {
		if n++; n == 1 {
			_, _ = fmt.Fprintln(t, "CHANGED\tTENANT\tSEVERITY\tSTATUS\tID\tTITLE")
		}
		_, err := fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", short(a.Changed), a.Name, cell(a.Severity), cell(a.Status), cell(a.AlertID), cell(a.Title))
		return err
	})
	if err == nil && n == 0 {
		_, err = fmt.Fprintln(t, "nothing found")
	}
	return end, errors.Join(err, t.Flush())
}

// cell is text of an alert in a table: on one line, and nothing that moves the
// cursor.
func cell(s string) string {
	if s = strings.Join(strings.Fields(clean(s)), " "); s == "" {
		return "-"
	}
	return s
}

// sayEnd says what a list left out, beside it.
func sayEnd(w io.Writer, end admin.AlertsEnd, limit int) error {
	if end.More {
		if _, err := fmt.Fprintf(w, "there is more: these are the newest %d; narrow the search, or raise --limit\n", limit); err != nil {
			return err
		}
	}
	if end.Gone > 0 {
		if _, err := fmt.Fprintf(w, "%d more cannot be shown or searched: their bodies have been thrown away\n", end.Gone); err != nil {
			return err
		}
	}
	return nil
}

// refFlags are the flags that name an alert beside its ID.
func refFlags(c *cobra.Command, ref *admin.AlertRef, source *string) {
	c.Flags().StringVar(&ref.Tenant, "tenant", "", "of this tenant, by name or ID")
	c.Flags().StringVar(source, "source", "", "from this source, such as graph.alerts")
}

func newAlertsShow() *cobra.Command {
	var ref admin.AlertRef
	var source string
	var raw, asJSON bool
	c := &cobra.Command{Use: "show ID", Short: "Show one alert: its fields, its history, and where it was delivered", Args: oneArg("an alert's ID"),
		Long: `show prints the newest state of an alert, or the one of --revision, with every
state that the ledger knows, oldest first, what changed in each, and what became
of the shown one at every sink. --raw prints the row exactly as it was received.`,
		RunE: func(c *cobra.Command, args []string) error {
			ref.ID, ref.Source = args[0], drover.SourceID(source)
			return withOperator(c, func(api admin.API) error {
				if raw {
					b, err := api.AlertBody(c.Context(), ref)
					if err != nil {
						return err
					}
					_, err = c.OutOrStdout().Write(append(b.Raw, '\n'))
					return err
				}
				s, err := api.Alert(c.Context(), ref)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), s)
				}
				return printStory(c.OutOrStdout(), s)
			})
		}}
	refFlags(c, &ref, &source)
	c.Flags().IntVar(&ref.Revision, "revision", 0, "which state, by its number in the history (default: the newest)")
	c.Flags().BoolVar(&raw, "raw", false, "print the row as it was received, and nothing else")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.MarkFlagsMutuallyExclusive("raw", "json")
	return c
}

func printStory(w io.Writer, s admin.AlertStory) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			_, _ = fmt.Fprintf(t, "%s\t%s\n", name, cell(value))
		}
	}
	row("alert", s.AlertID)
	row("title", s.Title)
	row("tenant", s.Name+" ("+string(s.Tenant)+")")
	row("customer", string(s.Customer))
	row("source", string(s.Source))
	row("revision", fmt.Sprintf("%d of %d", s.Shown.N, s.History[len(s.History)-1].N))
	row("event ID", s.Shown.EventID)
	if s.Shown.Gone {
		row("body", "thrown away by the retention")
	}
	if len(s.Fields) > 0 {
		_, _ = fmt.Fprintln(t, "\nFIELD\tVALUE")
		for _, f := range s.Fields {
			_, _ = fmt.Fprintf(t, "%s\t%s\n", cell(f.Name), cell(f.Value))
		}
	}
	_, _ = fmt.Fprintln(t, "\nREVISION\tCHANGED\tSTORED\tSEVERITY\tSTATUS\tBYTES\tMARKS\tWHAT CHANGED")
	for _, h := range s.History {
		if h.Gone {
			_, _ = fmt.Fprintf(t, "%d\t%s\t-\t-\t-\t-\t-\tnot known: its body has been thrown away\n", h.N, short(h.Changed))
			continue
		}
		_, _ = fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", h.N, short(h.Changed), short(h.Stored), cell(h.Severity), cell(h.Status), h.Size, cell(strings.Join(h.Flags, " ")), cell(strings.Join(h.Changes, " ")))
	}
	if s.More {
		_, _ = fmt.Fprintln(t, "older states are left out")
	}
	if len(s.Sinks) > 0 {
		_, _ = fmt.Fprintln(t, "\nSINK\tDELIVERY")
	}
	for _, a := range s.Sinks {
		why := ""
		if a.Why != "" {
			why = ": " + a.Why
		}
		_, _ = fmt.Fprintf(t, "%s\t%s%s\n", a.Sink, a.State, clean(why))
	}
	return t.Flush()
}

func newAlertsDiff() *cobra.Command {
	var ref admin.AlertRef
	var source string
	var asJSON bool
	c := &cobra.Command{Use: "diff ID [REVISION] [REVISION]", Short: "Show what changed between two states of an alert",
		Long: `diff prints each member that differs between two states of an alert, with its old
and its new value. Revisions are numbered as drover alerts show numbers them.
Without numbers the last two are compared; with one, that one and the one before.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 3 {
				return usageError{fmt.Errorf("%s wants an alert's ID and at most two revisions; see: %s --help", c.CommandPath(), c.CommandPath())}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			ref.ID, ref.Source = args[0], drover.SourceID(source)
			var revs []int
			for _, a := range args[1:] {
				n, err := strconv.Atoi(a)
				if err != nil || n < 1 {
					return usageError{fmt.Errorf("%q is no revision; they are numbered from 1, see: drover alerts show ID", a)}
				}
				revs = append(revs, n)
			}
			from, to := 0, 0
			switch len(revs) {
			case 1:
				to = revs[0]
			case 2:
				from, to = revs[0], revs[1]
			}
			return withOperator(c, func(api admin.API) error {
				d, err := api.AlertDiff(c.Context(), ref, from, to)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), d)
				}
				return printDiff(c.OutOrStdout(), d)
			})
		}}
	refFlags(c, &ref, &source)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printDiff(w io.Writer, d admin.AlertDiff) error {
	if _, err := fmt.Fprintf(w, "revision %d (changed %s) and revision %d (changed %s)\n", d.From.N, short(d.From.Changed), d.To.N, short(d.To.Changed)); err != nil {
		return err
	}
	if len(d.Changes) == 0 {
		_, err := fmt.Fprintln(w, "they mean the same")
		return err
	}
	value := func(s string) string {
		if s == "" {
			return "(none)"
		}
		return cell(s)
	}
	for _, c := range d.Changes {
		if _, err := fmt.Fprintf(w, "%s\n  - %s\n  + %s\n", cell(c.Path), value(c.Before), value(c.After)); err != nil {
			return err
		}
	}
	if d.More {
		_, err := fmt.Fprintln(w, "there are more changes than are shown")
		return err
	}
	return nil
}
