package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"drover"
	"drover/internal/admin"
)

// printCheckDetails prints all that is known of tenants, one after another.
func printCheckDetails(w io.Writer, list []admin.TenantCheck) error {
	p := &paragraphs{w: w}
	for i, c := range list {
		if i > 0 {
			p.line("")
		}
		title := fmt.Sprintf("%s (%s), %s", clean(c.Name), c.Tenant, c.State)
		if c.State != drover.Removed {
			title += ", cloud " + clean(c.Cloud) + ", app " + clean(c.App)
		}
		p.line(title)
		for _, f := range c.Findings {
			p.finding(f)
			if c.Policy != nil && f.Code == fmt.Sprintf("AADSTS%d", c.Policy.Code) {
				p.policy(c.Policy)
			}
			for _, k := range c.Tokens {
				if f.OK && k.Source == f.Source && strings.HasSuffix(f.What, " token") {
					p.claims(k)
				}
			}
			for _, k := range c.Feeds {
				if k.Source == f.Source && f.What == string(k.Source) && k.Through.Known() {
					p.say("      ", fmt.Sprintf("read up to %s; %d revisions in the ledger", short(k.Through), k.Revisions))
				}
			}
		}
		if c.State != drover.Removed && !c.Running {
			p.line("nobody reads now: drover run does")
		}
	}
	return p.err
}

// finding prints one result, with cause, remedy, who, and where.
func (p *paragraphs) finding(f admin.Finding) {
	mark := "ok    "
	switch {
	case !f.OK:
		mark = "FAIL  "
	case f.Warn:
		mark = "WARN  "
	}
	p.say(mark, f.What+": "+f.Says)
	if !f.OK || f.Warn {
		p.remedy(f)
	}
}

func (p *paragraphs) remedy(f admin.Finding) {
	for _, r := range [][2]string{{"cause", f.Cause}, {"do", f.Hint}, {"who", f.Who}} {
		if r[1] != "" {
			p.say(fmt.Sprintf("      %-6s ", r[0]+":"), r[1])
		}
	}
	if f.Link != "" {
		p.line("      at:    " + clean(f.Link)) // never broken
	}
}

// claims prints what a token says of itself.
func (p *paragraphs) claims(k admin.TokenCheck) {
	row := func(name, value string) {
		if value != "" {
			p.line(fmt.Sprintf("      %-6s %s", name, clean(value)))
		}
	}
	row("tid", k.Tenant)
	row("aud", strings.Join(k.Audience, ", "))
	row("iss", k.Issuer)
	by := ""
	if k.Proof != "" {
		by = ", proved by " + k.Proof
	}
	if k.AppID != "" {
		row("app", k.AppID+by)
	}
	row("oid", k.Object)
	kind := "roles"
	if k.Delegated {
		kind = "scp"
	}
	row(kind, strings.Join(k.Roles, ", "))
	if k.Expires != nil {
		row("exp", k.Expires.UTC().Format("2006-01-02 15:04:05Z"))
	}
	row("uti", k.ID)
}

// policy prints what the customer's admin finds a refusal by.
func (p *paragraphs) policy(r *admin.PolicyRefusal) {
	p.say("      ", fmt.Sprintf("the refusal of %s in the customer's sign-in logs:", r.At.Format("2006-01-02 15:04:05Z")))
	for _, row := range [][2]string{{"correlation ID", r.Correlation}, {"request ID", r.Trace}, {"policies", strings.Join(r.Policies, ", ")}, {"seen from", strings.Join(r.Addresses, ", ")}} {
		if row[1] != "" {
			p.line(fmt.Sprintf("      %-15s %s", row[0], clean(row[1])))
		}
	}
}

// printChecks prints a table of tenants, and below it what is not well: what is
// said of several tenants once.
func printChecks(w io.Writer, list []admin.TenantCheck) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "no tenants; add one: drover tenant add TENANT-ID --name …")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "TENANT\tSTATE\tTOKENS\tFEEDS\tREAD\tGAPS\tCLOCK\tENDS\t")
	count := make(map[string]int)
	for _, c := range list {
		mark := checkMark(c)
		count[mark]++
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", clean(c.Name), c.State, tokensColumn(c), feedsColumn(c), readColumn(c), gapsOf(c), clockColumn(c), endsColumn(c, time.Now()), mark)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	p := &paragraphs{w: w}
	for _, g := range grouped(list) {
		p.line("")
		mark := "FAIL  "
		if g.OK {
			mark = "WARN  "
		}
		names := g.names
		more := ""
		if len(names) > maxNames {
			more = fmt.Sprintf(" and %d more (--json lists them)", len(names)-maxNames)
			names = names[:maxNames]
		}
		p.say(mark, strings.Join(names, ", ")+more)
		p.say("      ", g.What+": "+g.Says)
		p.remedy(g.Finding)
	}
	p.line("")
	var sum []string
	for _, m := range []string{"ok", "WARN", "FAIL"} {
		if count[m] > 0 {
			sum = append(sum, fmt.Sprintf("%d %s", count[m], m))
		}
	}
	p.line(fmt.Sprintf("%d tenants: %s. One in full: drover tenant check NAME", len(list), strings.Join(sum, ", ")))
	if !list[0].Running {
		p.line("nobody reads now: drover run does")
	}
	return p.err
}

// maxNames is how many tenants a paragraph lists.
const maxNames = 30

// group is a finding, and the tenants of which it is said.
type group struct {
	admin.Finding
	names []string
}

// grouped puts findings together that say the same of several tenants, what
// fails before what warns, what is said of most first.
func grouped(list []admin.TenantCheck) (out []group) {
	for _, c := range list {
		for _, f := range c.Findings {
			if f.OK && !f.Warn {
				continue
			}
			f.Hint = strings.ReplaceAll(f.Hint, "drover tenant check "+c.Name+" ", "drover tenant check NAME ")
			i := slices.IndexFunc(out, func(g group) bool {
				return g.What == f.What && g.OK == f.OK && g.Says == f.Says && g.Hint == f.Hint && g.Cause == f.Cause
			})
			if i < 0 {
				out = append(out, group{f, []string{c.Name}})
				continue
			}
			if out[i].names = append(out[i].names, c.Name); out[i].Link != f.Link {
				out[i].Link = "" // each has its own
			}
		}
	}
	slices.SortStableFunc(out, func(a, b group) int {
		if a.OK != b.OK {
			if a.OK {
				return 1
			}
			return -1
		}
		return len(b.names) - len(a.names)
	})
	return out
}

func checkMark(c admin.TenantCheck) string {
	mark := "ok"
	for _, f := range c.Findings {
		switch {
		case !f.OK:
			return "FAIL"
		case f.Warn:
			mark = "WARN"
		}
	}
	return mark
}

func tokensColumn(c admin.TenantCheck) string {
	if len(c.Tokens) == 0 {
		for _, f := range c.Findings {
			if !f.OK && f.Code != "" {
				return clean(f.Code)
			}
		}
	}
	return fmt.Sprintf("%d of %d", len(c.Tokens), len(c.Feeds))
}

func feedsColumn(c admin.TenantCheck) string {
	n := 0
	for _, f := range c.Feeds {
		if f.Answers {
			n++
		}
	}
	return fmt.Sprintf("%d of %d", n, len(c.Feeds))
}

// readColumn is how long ago the feed that is furthest behind was read whole.
func readColumn(c admin.TenantCheck) string {
	most := time.Duration(0)
	for _, f := range c.Feeds {
		if f.Behind == nil {
			return "never"
		}
		most = max(most, *f.Behind)
	}
	return ago(most) + " ago"
}

func gapsOf(c admin.TenantCheck) (n int) {
	for _, f := range c.Feeds {
		n += f.OpenGaps
	}
	return n
}

// clockColumn is the clock that is furthest from ours.
func clockColumn(c admin.TenantCheck) string {
	most := c.EntraAhead
	for _, f := range c.Feeds {
		if f.ClockAhead != nil && (most == nil || f.ClockAhead.Abs() > most.Abs()) {
			most = f.ClockAhead
		}
	}
	if most == nil {
		return "-"
	}
	return fmt.Sprintf("%+ds", int64(most.Round(time.Second)/time.Second))
}

// endsColumn is in how many days the app's credential ends.
func endsColumn(c admin.TenantCheck, now time.Time) string {
	switch {
	case c.Ends == nil:
		return "-"
	case !now.Before(*c.Ends):
		return "ended"
	}
	return fmt.Sprintf("%dd", c.Ends.Sub(now)/(24*time.Hour))
}
