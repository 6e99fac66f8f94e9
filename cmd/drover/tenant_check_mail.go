package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"drover"
	"drover/internal/admin"
	"drover/internal/entra"
)

// mailFor writes what the customer's admin must do, ready to be sent. Where there
// is nothing it says so on note.
func (a *app) mailFor(w, note io.Writer, c admin.TenantCheck) error {
	var asks []string
	t := drover.Tenant{ID: c.Tenant, Name: c.Name, Cloud: c.Cloud, App: c.App}
	for _, f := range c.Findings {
		if f.OK || f.Who != string(entra.Customer) {
			continue
		}
		ask := a.ask(t, f, c.Policy)
		if !slices.Contains(asks, ask) {
			asks = append(asks, ask)
		}
	}
	if asks == nil {
		_, err := fmt.Fprintf(note, "there is nothing that the admin of %s must do; see: drover tenant check %s\n", clean(c.Name), clean(c.Name))
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Subject: Microsoft Defender alerts of your directory %s cannot be read\n\n", c.Tenant)
	fmt.Fprintf(&b, "Hello,\n\nwe read the Microsoft Defender alerts of your directory %s\nwith the enterprise application %s. It only reads.\nSomething in your directory keeps us from it. Please:\n", c.Tenant, c.ClientID)
	for i, ask := range asks {
		fmt.Fprintf(&b, "\n%d. %s\n", i+1, strings.ReplaceAll(ask, "\n", "\n   "))
	}
	b.WriteString("\nWe notice by ourselves when it works. How to end our access at any time: ask us for\nthe page, or delete the enterprise application.\n")
	_, err := io.WriteString(w, clean(b.String()))
	return err
}

// ask is one thing that the customer's admin is asked for.
func (a *app) ask(t drover.Tenant, f admin.Finding, p *admin.PolicyRefusal) string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if p != nil && f.Code == fmt.Sprintf("AADSTS%d", p.Code) {
		a.askPolicy(t, p, add)
		return strings.Join(lines, "\n")
	}
	add("%s (%s).", upperFirst(f.Cause), f.What)
	if f.Code != "" {
		add("Microsoft answers %s.", f.Code)
	}
	switch {
	case f.Link != "" && f.Link == a.consentPage(t):
		add("As Privileged Role Administrator, open this page, and accept what it asks for:")
		add("  %s", f.Link)
		if s := reads(f); s != "" {
			add("It must list %s.", s)
		}
	case f.Source == drover.SIEMDetections:
		add("Open %s", f.Link)
		add("and go to %s.", a.authoriseLine(t))
	default:
		add("%s.", upperFirst(f.Hint))
		if f.Link != "" {
			add("Here: %s", f.Link)
		}
	}
	return strings.Join(lines, "\n")
}

// reads lists the permissions of the sources that a finding is about.
func reads(f admin.Finding) string {
	var list []string
	for _, s := range allSources {
		if w := entra.Wants(s); w != nil && strings.Contains(f.What, string(s)) && !slices.Contains(list, w[0]) {
			list = append(list, w[0])
		}
	}
	return strings.Join(list, ", ")
}

// askPolicy asks for a change of Conditional Access, with the line to paste.
func (a *app) askPolicy(t drover.Tenant, p *admin.PolicyRefusal, add func(string, ...any)) {
	app, _ := a.appOf(t)
	add("A Conditional Access policy of yours refuses us (AADSTS%d), last at %s.", p.Code, p.At.Format("2006-01-02 15:04:05Z"))
	if c, err := a.clouds.Of(t); err == nil {
		add("In %s, under Protection > Conditional Access > Policies, change the", c.AdminCenter)
		add("policy that refuses, in one of these ways:")
	}
	add("- Target resources, Exclude: the enterprise application %s", app.ClientID)
	switch {
	case len(a.cfg.Egress) > 0:
		add("- Network, Exclude: a named location with %s", strings.Join(a.cfg.Egress, ", "))
	case len(p.Addresses) > 0:
		add("- Network, Exclude: a named location with %s, from where Microsoft saw us come", strings.Join(p.Addresses, ", "))
	default:
		add("- Network, Exclude: a named location with our addresses; ask us for them")
	}
	if app.HomeTenant != "" {
		add("- where our staff signs in as your partner: Users, Exclude: Service provider users of the tenant %s", app.HomeTenant)
	}
	if len(p.Policies) > 0 {
		add("Microsoft names the policy: %s", strings.Join(p.Policies, ", "))
	}
	if p.Correlation != "" {
		add("In your sign-in logs (of service principals, or of users) the refusal has the")
		add("correlation ID %s, request ID %s.", p.Correlation, p.Trace)
	}
}

// upperFirst begins a sentence.
func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
