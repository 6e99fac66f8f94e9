package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/ledger"
)

// asked is what has been asked of a tenant, and what came of it.
type asked struct {
	consentRow
	Times     int                     `json:"times_asked"`
	First     drover.Instant          `json:"first_asked"`
	Last      drover.Instant          `json:"last_asked"`
	Ends      drover.Instant          `json:"link_good_until"`
	Opened    drover.Instant          `json:"opened"`
	SignedIn  drover.Instant          `json:"signed_in"`
	Consented drover.Instant          `json:"consented"`
	By        *admin.InvitedPerson    `json:"by,omitempty"`
	State     ledger.InvitationState  `json:"invitation_state,omitempty"`
	Fruitless bool                    `json:"fruitless,omitempty"` // an admin has consented, and the permission did not come
	Overdue   bool                    `json:"overdue,omitempty"`
	last      *admin.InvitationStatus // nil: never asked
}

// follow puts what tenants lack beside what they were asked for.
func follow(rows []consentRow, list []admin.InvitationStatus, after time.Duration) []asked {
	out := make([]asked, 0, len(rows))
	now := drover.InstantOf(time.Now())
	for _, r := range rows {
		x := asked{consentRow: r, First: drover.NoInstant, Last: drover.NoInstant, Ends: drover.NoInstant, Opened: drover.NoInstant, SignedIn: drover.NoInstant, Consented: drover.NoInstant}
		for i := range list {
			v := &list[i]
			if v.Purpose != ledger.Reconsent || v.Tenant != r.Tenant || v.Settled.Known() && v.State == ledger.InviteDone && settledFor(v, r.Lacks) {
				continue
			}
			if x.Times++; x.Times == 1 {
				x.First = v.Made
			}
			x.last, x.Last, x.Ends, x.State, x.By = v, v.Made, v.Ends, v.State, v.Person
			x.Opened, x.SignedIn, x.Consented = v.Opened, v.SignedIn, v.Consented
		}
		if x.last != nil && r.Standing == consentLacks {
			x.Fruitless = x.last.State == ledger.InviteDone
			x.Overdue = !x.Fruitless && x.First.Add(after) <= now
		}
		out = append(out, x)
	}
	return out
}

// settledFor reports whether an invitation that is done was about something else
// than what a tenant lacks now.
func settledFor(v *admin.InvitationStatus, lacks []drover.SourceID) bool {
	return len(lacks) > 0 && !slices.ContainsFunc(v.Lacks, func(s drover.SourceID) bool { return slices.Contains(lacks, s) })
}

// askedAlready says why a tenant is not asked again now, "" if it is.
func (x *asked) askedAlready(after time.Duration) string {
	switch v := x.last; {
	case v == nil:
		return ""
	case x.Fruitless:
		return "its admin has consented on " + short(v.Settled) + ", and the permission did not come: is it in the app's registration? Then --again"
	case v.State == ledger.InviteConsented || v.State == ledger.InviteSignedIn:
		return "somebody has signed in and goes on: " + string(v.State)
	case v.State.Over():
		return ""
	case v.Made.Add(after) > drover.InstantOf(time.Now()):
		return "asked on " + short(v.Made) + "; a reminder is due on " + short(v.Made.Add(after))
	}
	return ""
}

// sent is what consent send prints.
type sent struct {
	Asked    []string          `json:"asked"`    // names of tenants that have a first link
	Reminded []string          `json:"reminded"` // and of those that have another one
	Skipped  map[string]string `json:"skipped"`  // why, by name
	Failed   map[string]string `json:"failed"`
	File     string            `json:"file"`
}

func newConsentSend() *cobra.Command {
	var o consentOptions
	var out, life, remind string
	var again bool
	c := &cobra.Command{Use: "send --out FILE", Short: "Make a link for each tenant that lacks a permission", Args: noArgs,
		Long: `send makes a link for each tenant that lacks a permission, and writes them to a CSV
file that only you can read, one line a tenant, for a mail merge: drover sends no
mail, since it has no addresses and your customers expect yours. It remembers whom it
has asked: typed again, it makes new links for those whose last one is older than
--remind-after or has expired, and leaves the others alone. A new link ends the one
before. Each link is in the file before the next one is made.`,
		Example: "  drover consent send --source mde.alerts --out links.csv\n  drover consent send --source mde.alerts --out reminders.csv --remind-after 5d",
		RunE: func(c *cobra.Command, _ []string) error {
			good, err := lifeOf(life)
			if err != nil {
				return err
			}
			after, err := lifeOf(remind)
			if err != nil {
				return err
			}
			if out == "" {
				return usageError{&drover.Error{Op: "make links", Kind: drover.Refused, Hint: "--out links.csv", Err: errors.New("where they are to be written must be said")}}
			}
			rows, err := o.assess(c)
			if err != nil {
				return err
			}
			s := sent{File: out, Asked: []string{}, Reminded: []string{}, Skipped: map[string]string{}, Failed: map[string]string{}}
			err = withOperator(c, func(api admin.API) error {
				list, err := api.Invitations(c.Context())
				if err != nil {
					return err
				}
				return s.send(c, api, follow(rows, list, after), good, after, again)
			})
			if o.asJSON {
				err = errors.Join(err, printJSON(c.OutOrStdout(), s))
			} else {
				err = errors.Join(err, s.print(c.OutOrStdout()))
			}
			if err == nil && len(s.Failed) > 0 {
				err = errFinding
			}
			return err
		}}
	o.flags(c)
	f := c.Flags()
	f.StringVar(&out, "out", "", "CSV file to write; it must not be there yet")
	f.StringVar(&life, "for", "7d", "how long a link is good for, up to 7d")
	f.StringVar(&remind, "remind-after", "7d", "ask those again whose last link is older than that")
	f.BoolVar(&again, "again", false, "make a new link for every tenant that lacks something, whenever it was asked")
	return c
}

// send makes the links, each of which is on disk before the next one.
func (s *sent) send(c *cobra.Command, api admin.API, list []asked, good, after time.Duration, again bool) (err error) {
	var f *os.File
	var w *csv.Writer
	for i := range list {
		x := &list[i]
		switch why := x.askedAlready(after); {
		case x.Standing == consentUnknown:
			s.Failed[x.Name] = x.Says
			continue
		case x.Standing != consentLacks:
			continue
		case why != "" && !again:
			s.Skipped[x.Name] = why
			continue
		}
		if f == nil {
			if f, err = os.OpenFile(s.File, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
				return usageError{fmt.Errorf("write the links: %w", err)}
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			w = csv.NewWriter(f)
			_ = w.Write([]string{"name", "customer", "tenant", "permissions", "link", "good_until", "asked_before"})
		}
		v, err := api.Invite(c.Context(), admin.InviteOrder{Tenant: string(x.Tenant), Lacks: x.Lacks, For: good})
		if err != nil {
			if i == 0 || len(s.Asked)+len(s.Reminded) == 0 || c.Context().Err() != nil {
				w.Flush()
				if len(s.Asked)+len(s.Reminded) == 0 {
					_ = os.Remove(s.File) // nothing is in it
				}
				return err
			}
			s.Failed[x.Name] = err.Error()
			continue
		}
		_ = w.Write([]string{x.Name, string(x.Customer), string(x.Tenant), strings.Join(x.Needs, " "), v.Link, v.Ends.String(), fmt.Sprint(x.Times)})
		w.Flush()
		if err := errors.Join(w.Error(), f.Sync()); err != nil {
			return fmt.Errorf("write the link of %s: %w", x.Name, err)
		}
		if x.Times == 0 {
			s.Asked = append(s.Asked, x.Name)
		} else {
			s.Reminded = append(s.Reminded, x.Name)
		}
	}
	return nil
}

func (s *sent) print(w io.Writer) error {
	for _, list := range []map[string]string{s.Skipped, s.Failed} {
		for _, name := range sortedKeys(list) {
			_, _ = fmt.Fprintf(w, "%s: %s\n", clean(name), clean(list[name]))
		}
	}
	_, err := fmt.Fprintf(w, "asked %d, reminded %d, left alone %d, failed %d\n", len(s.Asked), len(s.Reminded), len(s.Skipped), len(s.Failed))
	if err == nil && len(s.Asked)+len(s.Reminded) > 0 {
		_, err = fmt.Fprintf(w, "the links are in %s; send each to its customer, then delete the file\n", s.File)
	}
	return err
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func newConsentStatus() *cobra.Command {
	var o consentOptions
	var remind string
	c := &cobra.Command{Use: "status", Short: "Say who has been asked, has agreed, and is overdue", Args: noArgs,
		Long: `status says for each tenant that lacks a permission, or was asked for one, when it was
asked, whether its link was opened, whether an admin has consented, and whether the
permission is there, which is read from a token. It exits with 1 while a tenant
lacks something.`,
		Example: "  drover consent status --source mde.alerts --json",
		RunE: func(c *cobra.Command, _ []string) error {
			after, err := lifeOf(remind)
			if err != nil {
				return err
			}
			rows, err := o.assess(c)
			if err != nil {
				return err
			}
			var list []admin.InvitationStatus
			if err := withOperator(c, func(api admin.API) error {
				list, err = api.Invitations(c.Context())
				return err
			}); err != nil {
				return err
			}
			all := follow(rows, list, after)
			if o.asJSON {
				err = printJSON(c.OutOrStdout(), all)
			} else {
				err = printFollowed(c.OutOrStdout(), all)
			}
			return errors.Join(err, verdictOf(rows))
		}}
	o.flags(c)
	c.Flags().StringVar(&remind, "remind-after", "7d", "from when on a tenant that was asked is overdue")
	return c
}

func printFollowed(w io.Writer, all []asked) error {
	var granted, asked, overdue, unasked, unknown int
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "NAME\tLACKS\tASKED\tTIMES\tOPENED\tCONSENTED\tBY\tNOW")
	shown := 0
	for _, x := range all {
		now := x.Standing
		switch {
		case x.Standing == consentUnknown:
			unknown++
		case x.Standing != consentLacks:
			granted++
		case x.Times == 0:
			unasked++
			now = "not asked"
		case x.Fruitless:
			asked++
			now = "consented, without the permission"
		case x.Overdue:
			overdue++
			now = "overdue"
		default:
			asked++
			now = string(x.State)
		}
		if x.Standing != consentLacks && x.Standing != consentUnknown && x.Times == 0 {
			continue
		}
		shown++
		by := "-"
		if x.By != nil {
			by = clean(x.By.Name)
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", clean(x.Name), orDash(strings.Join(x.Needs, ", ")), short(x.First), x.Times, short(x.Opened), short(x.Consented), by, now)
	}
	if shown > 0 {
		_, _ = fmt.Fprintln(t)
		if err := t.Flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%d tenants: %d have given everything, %d were asked, %d are overdue, %d were not asked, of %d it cannot be told\n", len(all), granted, asked, overdue, unasked, unknown)
	for _, x := range all {
		if x.Fruitless && err == nil {
			_, err = fmt.Fprintf(w, "hint: %s: an admin has consented, and %s is not in the token: add it to the app's registration, then drover consent send --again\n", clean(x.Name), strings.Join(x.Needs, ", "))
		}
	}
	return err
}
