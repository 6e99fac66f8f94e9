package main

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/entra"
)

// checkGone says for each source of a removed tenant whether Entra still gives
// a token that reads it.
func (a *app) checkGone(ctx context.Context, t drover.Tenant) (out []admin.Finding) {
	defer a.tokens.Drop(t.ID)
	for _, s := range t.Sources {
		a.tokens.Drop(t.ID) // a token of before says nothing
		_, err := a.tokens.Token(ctx, t, s)
		out = append(out, gone(t, s, err))
	}
	return out
}

// gone says what a token, or its refusal, tells of a consent that was to be
// withdrawn.
func gone(t drover.Tenant, s drover.SourceID, err error) admin.Finding {
	f := admin.Finding{What: string(s) + " token"}
	var no *entra.Refusal
	var unfit *entra.Unfit
	open, known := true, false
	if errors.As(err, &unfit) {
		open, known = unfit.Open(s)
	}
	switch {
	case err == nil:
		f.Says = "Entra still gives a token that reads it: the consent has not been withdrawn"
		f.Hint = "send the customer's admin the page: drover tenant leave-page " + t.Name + "; some minutes may pass until it shows"
	case errors.As(err, &no) && drover.KindOf(err) == drover.Denied && slices.Contains([]entra.Class{entra.NoPrincipal, entra.Consent, entra.TenantGone}, no.Class):
		f.OK, f.Says = true, "Entra gives no token: "+no.Error()
	case known && !open:
		f.OK, f.Warn, f.Says = true, true, "the permission has been revoked; the enterprise application is still there"
		f.Hint = "nothing can be read; to end it altogether, the customer's admin deletes the application: drover tenant leave-page " + t.Name
	default:
		f.Says, f.Hint = "it cannot be told whether the consent was withdrawn: "+err.Error(), admin.Hint(err)
	}
	return f
}

// listErasures shows what remains of removed tenants.
func listErasures(c *cobra.Command, api admin.API, asJSON bool) error {
	list, err := api.Erasures(c.Context())
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(c.OutOrStdout(), list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(c.OutOrStdout(), "no tenant has been removed")
		return err
	}
	t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "NAME\tCUSTOMER\tREMOVED\tBY\tREVISIONS\tSINK\tTAKEN\tDISCARDED\tTENANT")
	for _, e := range list {
		by := strings.TrimSuffix(e.Incarnation+" on "+e.Host, " on ")
		line := func(sink drover.SinkID) {
			_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%d\t%d\t%s\n", e.Name, e.Customer, short(e.At), clean(by), e.Counts[""]["revisions"], sink, e.Counts[sink]["taken"], e.Counts[sink]["discarded"], e.ID)
		}
		var sinks []drover.SinkID
		for s := range e.Counts {
			if s != "" {
				sinks = append(sinks, s)
			}
		}
		slices.Sort(sinks)
		for _, s := range sinks {
			line(s)
		}
		if len(sinks) == 0 {
			_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t-\t0\t0\t%s\n", e.Name, e.Customer, short(e.At), clean(by), e.Counts[""]["revisions"], e.ID)
		}
	}
	return t.Flush()
}

func newTenantLeavePage() *cobra.Command {
	var asHTML bool
	c := &cobra.Command{Use: "leave-page NAME|ID", Short: "Print a page for the customer's admin: how to withdraw the consent", Args: oneArg("a tenant's name or ID"),
		Long: `leave-page prints a page that a customer's admin can follow to end the access to the
tenant: by the Entra admin center, or by one call of Microsoft Graph. It works for a
tenant that has been removed, too. drover tenant check says whether it was done.`,
		Example: "  drover tenant leave-page contoso --html > contoso.html",
		RunE: func(c *cobra.Command, args []string) error {
			a, err := loadApp(c)
			if err != nil {
				return err
			}
			return withOperator(c, func(api admin.API) error {
				t, err := api.Tenant(c.Context(), args[0])
				if err != nil {
					return err
				}
				p, err := a.leavePage(t)
				if err != nil {
					return err
				}
				if asHTML {
					return leaveHTML.Execute(c.OutOrStdout(), p)
				}
				return p.text(c.OutOrStdout())
			})
		}}
	c.Flags().BoolVar(&asHTML, "html", false, "print HTML")
	return c
}

// leavePage is what a customer's admin must know.
type leavePage struct {
	Tenant   drover.TenantID
	Client   string // ID of the app
	Reads    string // the permissions that it asked for
	Sections []leaveSection
}

// leaveSection is a heading with steps to take, or with things to know.
type leaveSection struct {
	Head  string
	Steps bool
	Lines []string
}

func (a *app) leavePage(t admin.TenantStatus) (*leavePage, error) {
	app, ok := a.appOf(drover.Tenant{App: t.App})
	if !ok {
		return nil, usageError{fmt.Errorf("the config has no app %s, by which %s was read; put it back under apps: to have its client_id", t.App, t.Name)}
	}
	c, err := a.clouds.Of(drover.Tenant{ID: t.ID, Cloud: t.Cloud})
	if err != nil {
		return nil, err
	}
	portal := c.AdminCenter
	p := &leavePage{Tenant: t.ID, Client: app.ClientID}
	var reads []string
	for _, s := range t.Sources {
		if w := entra.Wants(s); len(w) > 0 && !slices.Contains(reads, w[0]) {
			reads = append(reads, w[0])
		}
	}
	p.Reads = strings.Join(reads, ", ")
	p.Sections = []leaveSection{
		{"In the Entra admin center", true, []string{
			"Open " + portal + " as Cloud Application Administrator or Application Administrator of the directory " + string(t.ID) + ".",
			"Go to Enterprise applications > All applications, take every filter away, and search for " + app.ClientID + ".",
			"Open the application, and see under Properties that its Application ID is " + app.ClientID + ".",
			"Under Properties, choose Delete. (To take away its permissions and keep the entry: under Permissions, Admin consent, revoke each of them.)",
		}},
		{"Or by one call of Microsoft Graph", true, []string{
			"Sign in to the directory " + string(t.ID) + " with the permission Application.ReadWrite.All.",
			"Send: DELETE " + c.Graph + "/v1.0/servicePrincipals(appId='" + app.ClientID + "')",
			"The answer is 204. If it is 404, the application is not in your directory any more.",
		}},
		{"What happens then", false, []string{
			"No new token is given from then on, or after some minutes. One that was given before is good until it ends, after 60 to 90 minutes as a rule.",
			"A deleted application can be restored from Deleted applications for 30 days; delete it there too if it must not be.",
			"The sign-in logs (Service principal sign-ins) show whether anything was tried since, and that it failed.",
		}},
	}
	return p, nil
}

const leaveTitle = "How to end our access to your alerts"

// About is what the page is about.
func (p *leavePage) About() string {
	s := "We read the Microsoft Defender alerts of your directory " + string(p.Tenant) + " with the application " + p.Client + "."
	if p.Reads != "" {
		s += " It was given: " + p.Reads + "."
	}
	return s + " You can end this yourself, at any time, without asking us."
}

func (p *leavePage) text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s\n", leaveTitle, p.About())
	for _, s := range p.Sections {
		fmt.Fprintf(&b, "\n%s\n\n", s.Head)
		for i, l := range s.Lines {
			mark := "-"
			if s.Steps {
				mark = fmt.Sprintf("%d.", i+1)
			}
			fmt.Fprintf(&b, "%s %s\n", mark, l)
		}
	}
	_, err := io.WriteString(w, clean(b.String()))
	return err
}

var leaveHTML = template.Must(template.New("leave").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>` + leaveTitle + `</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:46em;margin:2em auto;padding:0 1em}</style></head>
<body><h1>` + leaveTitle + `</h1>
<p>{{.About}}</p>
{{range .Sections}}<h2>{{.Head}}</h2>
{{if .Steps}}<ol>{{range .Lines}}<li>{{.}}</li>{{end}}</ol>{{else}}<ul>{{range .Lines}}<li>{{.}}</li>{{end}}</ul>{{end}}
{{end}}</body></html>
`))
