package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/enrol"
	"drover/internal/entra"
	"drover/internal/gdap"
	"drover/internal/onboard"
	"drover/internal/partner"
	"drover/internal/registration"
)

const opPartnerConnect = "connect the partner's customers"

// bulk is what the command line of drover partner connect says.
type bulk struct {
	device, noOpen, dry, yes, keep, asJSON bool
	delegated                              bool // customers are read with the account itself
	only, except, sources                  []string
	start                                  string
	parallel                               int
	patience                               time.Duration
}

func newPartnerConnect() *cobra.Command {
	var o bulk
	c := &cobra.Command{
		Use: "connect", Short: "Sign in once as the partner, and connect all of its customers", Args: noArgs,
		Long: `connect has the partner's account sign in, with a second factor, lists its customers
by their delegated admin relationships, and shows how each stands. After a yes it
grants the app that reads its permissions in each customer that lacks them, waits
until the app's own token shows them, and adds the tenant. From then on reading is
with the app's own permissions: the sign-in is forgotten when the command ends,
unless --keep seals it, with which drover run announces new customers.

What is there is left alone, so the same command again does only what is missing,
also after a stop. It exits with 1 when a customer could not be connected, and with
4 when the partner's own sign-in fails, which ends it for all.

--delegated grants the app that reads nothing: the account itself reads, with the
sign-in, which is kept for that. That is unproven: Defender may show such an account
fewer alerts without an error. Tenants that are read already stay as they are.

Addresses and codes are printed for you alone: who opens them signs in for you.`,
		Example: "  drover partner connect --dry-run\n  drover partner connect --source graph.alerts,mde.alerts --except fabrikam\n  drover partner connect --only contoso --yes",
		RunE:    func(c *cobra.Command, _ []string) error { return o.run(c) },
	}
	f := c.Flags()
	f.BoolVar(&o.device, "device", false, "sign in anywhere, with a code that is typed there; many tenants forbid it")
	f.BoolVar(&o.noOpen, "no-open", false, "do not open a browser, only print the address")
	f.BoolVar(&o.dry, "dry-run", false, "only say how each customer stands and what would be done")
	f.BoolVar(&o.yes, "yes", false, "do not ask before anything is granted")
	f.BoolVar(&o.keep, "keep", false, "seal the sign-in in the ledger, so that drover run renews it and announces new customers")
	f.BoolVar(&o.delegated, "delegated", false, "read with the account's own rights, by the kept sign-in; unproven, alerts may be missing")
	f.StringSliceVar(&o.only, "only", nil, "these customers alone: short name, tenant ID or domain")
	f.StringSliceVar(&o.except, "except", nil, "all but these customers")
	f.StringSliceVar(&o.sources, "source", []string{string(drover.GraphAlerts)}, "what is to be read: graph.alerts, graph.incidents, mde.alerts")
	f.StringVar(&o.start, "start", "", "where new tenants begin: now, an instant, or an age such as 24h or 30d (default: the config's)")
	f.IntVar(&o.parallel, "parallel", 8, "customers for which calls are made at the same time, 1 to 32")
	f.DurationVar(&o.patience, "wait", 8*time.Minute, "how long each thing that Entra has to spread in a customer is waited for")
	f.BoolVar(&o.asJSON, "json", false, "print the result as JSON")
	return c
}

// wants are the permissions of the reading app, by API.
func (o *bulk) wants() (wants []enrol.Want, sources []drover.SourceID, err error) {
	perms, err := permissionFlags{sources: o.sources}.list()
	if err != nil {
		return nil, nil, err
	}
	by := make(map[string]*enrol.Want)
	for _, s := range o.sources {
		id := drover.SourceID(s)
		if entra.Wants(id) == nil {
			return nil, nil, usageError{&drover.Error{Op: opPartnerConnect, Kind: drover.Refused, Err: fmt.Errorf("%s cannot be granted: each customer's admin authorises us for it in the portal", id), Hint: "connect these tenants one by one: drover tenant connect"}}
		}
		if !slices.Contains(sources, id) {
			sources = append(sources, id)
		}
		api := map[bool]string{true: registration.Defender, false: registration.Graph}[id == drover.MDEAlerts]
		if by[api] == nil {
			by[api] = &enrol.Want{API: api, Source: id, Graph: api == registration.Graph}
		}
	}
	for _, p := range perms {
		by[p.API].Values = append(by[p.API].Values, p.Value)
	}
	for _, api := range []string{registration.Graph, registration.Defender} {
		if by[api] != nil {
			wants = append(wants, *by[api])
		}
	}
	return wants, sources, nil
}

// check refuses what cannot be done before anybody signs in.
func (o *bulk) check(c *cobra.Command, a *app) error {
	if o.parallel < 1 || o.parallel > 32 {
		return usageError{errors.New("--parallel must be 1 to 32")}
	}
	if o.patience < 10*time.Second || o.patience > 2*time.Hour {
		return usageError{errors.New("--wait must be 10s to 2h")}
	}
	if _, err := admin.ParseStart(o.start, time.Now()); err != nil {
		return usageError{err}
	}
	reader := a.cfg.Apps[a.partner.cfg.Reader]
	if !o.delegated && reader.Secret == nil && reader.Certificate == nil {
		return usageError{fmt.Errorf("the app %s has neither secret nor certificate, so it has no permissions of its own that could be granted", reader.Name)}
	}
	if o.device && !shownTo(c.ErrOrStderr()) {
		return usageError{&drover.Error{Op: "sign in by code", Kind: drover.Refused, Hint: "run it on a terminal", Err: errors.New("the code would be written where others may read it")}}
	}
	return nil
}

// partnerReport is what the command prints as JSON.
type partnerReport struct {
	Partner   drover.TenantID `json:"partner"`
	Account   string          `json:"account"`
	DryRun    bool            `json:"dry_run"`
	Notes     []string        `json:"notes,omitempty"`
	Unproven  string          `json:"unproven,omitempty"` // why what is read may not be all, of a delegated run
	Customers []enrol.Result  `json:"customers"`
	// Ended is why the run ended for all before it was over.
	Ended string `json:"ended,omitempty"`
}

func (o *bulk) run(c *cobra.Command) error {
	a, err := partnered(c)
	if err != nil {
		return err
	}
	if err := o.check(c, a); err != nil {
		return err
	}
	wants, sources, err := o.wants()
	if err != nil {
		return err
	}
	var scopes []string
	if o.delegated {
		if scopes, err = o.scopes(sources); err != nil {
			return err
		}
	}
	var known []admin.TenantStatus
	if err := withOperator(c, func(api admin.API) (err error) {
		known, err = api.Tenants(c.Context())
		return err
	}); err != nil {
		return err
	}
	p := a.partner.entra(nil)
	who, err := o.signIn(c, a, p)
	if err != nil {
		return err
	}
	client := a.partner.client(p)
	say(c.ErrOrStderr(), "Listing the customers.")
	customers, notes, err := enrol.List(c.Context(), client)
	if err != nil {
		return err
	}
	list, err := o.choose(candidates(customers, known))
	if err != nil {
		return err
	}
	byAccount := readByAccount(known)
	if o.delegated {
		var stay []string
		list, stay = undelegated(list, byAccount)
		notes = append(notes, stay...)
	}
	rep := partnerReport{Partner: who.Tenant, Account: who.Name, DryRun: o.dry, Notes: notes}
	s := o.service(c, a, p, client, wants, sources)
	values := scopes
	if o.delegated {
		rep.Unproven = drover.UnprovenPartner
		s.Delegated, s.Scopes, s.Wants = true, scopes, nil
	} else {
		for _, w := range wants {
			values = append(values, w.Values...)
		}
	}
	rep.Customers, err = s.Survey(c.Context(), list)
	if err != nil || o.dry {
		return errors.Join(err, o.end(c, rep, err))
	}
	if err := o.agree(c, rep.Customers, values, byAccount); err != nil {
		return err
	}
	if o.delegated { // before anybody is to be read with it
		o.keep = true
		if err := o.remember(c, p, who, customers); err != nil {
			return err
		}
	}
	rep.Customers, err = s.Enrol(c.Context(), list)
	if !o.delegated {
		moved, failed := o.move(c, a, rep.Customers, byAccount)
		rep.Notes, err = append(rep.Notes, moved...), errors.Join(err, failed)
	}
	if kept := o.remember(c, p, who, customers); kept != nil {
		err = errors.Join(err, kept)
	}
	return errors.Join(err, o.end(c, rep, err))
}

// signIn has the account sign in, and takes it only with a second factor.
func (o *bulk) signIn(c *cobra.Command, a *app, p *entra.Partner) (drover.Person, error) {
	order := onboard.Order{Tenant: drover.Tenant{ID: drover.TenantID(a.partner.cfg.Tenant)}, Way: onboard.Browser}
	if o.device {
		order.Way = onboard.Device
	}
	w := c.ErrOrStderr()
	s := onboard.Service{Entra: partnerSignIns{p}, Show: func(x onboard.Step) {
		until := x.Time.Local().Format("15:04")
		switch x.What {
		case onboard.StepSignIn:
			_, _ = fmt.Fprintf(w, "Sign in with the partner's account, with a second factor, by %s, in a browser on this machine:\n\n  %s\n\n", until, clean(x.URL))
			if !o.noOpen && isTerminal(w) {
				openBrowser(x.URL)
			}
		case onboard.StepDevice:
			_, _ = fmt.Fprintf(w, "Sign in with the partner's account, with a second factor, by %s: open\n\n  %s\n\nand type the code %s\n\n", until, clean(x.URL), clean(x.Code))
		}
	}}
	who, refresh, done, err := s.Person(c.Context(), order)
	if err == nil {
		err = p.Adopt(c.Context(), who, refresh)
	}
	done(err == nil)
	if err == nil {
		say(w, "Signed in: %s", clean(who.Name))
	}
	return who, err
}

// candidates are the customers with what the ledger knows of them.
func candidates(customers []gdap.Customer, known []admin.TenantStatus) (list []enrol.Candidate) {
	taken := make(map[string]bool)
	of := make(map[drover.TenantID]admin.TenantStatus)
	for _, t := range known {
		taken[t.Name], of[t.ID] = true, t
	}
	var fresh []gdap.Customer
	for _, c := range customers {
		if _, there := of[c.Tenant]; !there {
			fresh = append(fresh, c)
		}
	}
	names := gdap.Names(fresh, taken)
	for _, c := range customers {
		x := enrol.Candidate{Customer: c, Short: names[c.Tenant]}
		if t, there := of[c.Tenant]; there {
			x.Short, x.State = t.Name, t.State
		}
		list = append(list, x)
	}
	return list
}

// choose keeps those that --only and --except leave. A name that fits nobody is
// refused.
func (o *bulk) choose(list []enrol.Candidate) ([]enrol.Candidate, error) {
	fits := func(name string, c enrol.Candidate) bool {
		return strings.EqualFold(name, c.Short) || strings.EqualFold(name, string(c.Tenant)) || strings.EqualFold(name, c.Domain) || strings.EqualFold(name, c.Name)
	}
	for _, name := range slices.Concat(o.only, o.except) {
		if !slices.ContainsFunc(list, func(c enrol.Candidate) bool { return fits(name, c) }) {
			return nil, usageError{&drover.Error{Op: opPartnerConnect, Kind: drover.Refused, Hint: "see: drover partner connect --dry-run", Err: fmt.Errorf("the partner has no customer %q", name)}}
		}
	}
	return slices.DeleteFunc(list, func(c enrol.Candidate) bool {
		is := func(name string) bool { return fits(name, c) }
		return len(o.only) > 0 && !slices.ContainsFunc(o.only, is) || slices.ContainsFunc(o.except, is)
	}), nil
}

// service grants, and adds what was proved.
func (o *bulk) service(c *cobra.Command, a *app, p *entra.Partner, client *partner.Client, wants []enrol.Want, sources []drover.SourceID) *enrol.Service {
	var one sync.Mutex // the ledger is opened by one at a time
	reads := a.partner.cfg.Reader
	if o.delegated {
		reads = drover.PartnerApp
	}
	s := a.partner.service(p, client, wants, func(_ context.Context, x enrol.Candidate) error {
		one.Lock()
		defer one.Unlock()
		return withOperator(c, func(api admin.API) error {
			_, err := api.AddTenant(c.Context(), admin.NewTenant{ID: string(x.Tenant), Name: x.Short, Customer: x.Short, Cloud: a.partner.cfg.Cloud, App: reads, Sources: sources, Start: o.start})
			return err
		})
	})
	s.Parallel, s.Patience = o.parallel, o.patience
	w := c.ErrOrStderr()
	s.Show = func(r enrol.Result, done, of int) {
		if isTerminal(w) {
			_, _ = fmt.Fprintf(w, "\r\x1b[K%d of %d: %s %s", done, of, clean(r.Name), r.Outcome)
			if done == of {
				_, _ = fmt.Fprintln(w)
			}
		}
	}
	return s
}

// agree shows the plan, and asks.
func (o *bulk) agree(c *cobra.Command, list []enrol.Result, values []string, byAccount map[drover.TenantID]string) error {
	grant, add, move := 0, 0, 0
	for _, r := range list {
		if !o.delegated && byAccount[r.Tenant] != "" && (r.Outcome == enrol.ToGrant || r.Outcome == enrol.Already) {
			move++
		}
		switch {
		case r.Outcome == enrol.ToGrant:
			grant++
		case r.Outcome == enrol.Already && r.State == "":
			add++
		}
	}
	w := c.ErrOrStderr()
	if grant+add+move == 0 || o.yes {
		return nil
	}
	if err := printEnrolled(w, list, true); err != nil {
		return err
	}
	if o.delegated {
		_, _ = fmt.Fprintln(w, drover.UnprovenPartner)
	}
	stop := func(hint, why string) error {
		return &drover.Error{Op: opPartnerConnect, Kind: drover.Refused, Hint: hint, Err: errors.New(why)}
	}
	if !shownTo(w) {
		return usageError{stop("look at the plan above; if it is meant, type the command again with --yes", "nobody can be asked here, and nothing was granted")}
	}
	also := ""
	if move > 0 {
		also = fmt.Sprintf(", %d of them no longer with the partner's account", move)
	}
	_, _ = fmt.Fprintf(w, "\nGrant %s in %d customers, and read %d more from now on%s? [y/N] ", strings.Join(values, ", "), grant, grant+add, also)
	line, err := bufio.NewReader(io.LimitReader(c.InOrStdin(), 64)).ReadString('\n')
	if s := strings.ToLower(strings.TrimSpace(line)); err == nil && (s == "y" || s == "yes") {
		return nil
	}
	return usageError{stop("nothing was granted", "the operator did not agree")}
}

// remember keeps who was seen and, if that was asked for, the sign-in.
func (o *bulk) remember(c *cobra.Command, p *entra.Partner, who drover.Person, customers []gdap.Customer) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), time.Minute) // also of a run that was stopped
	defer cancel()
	now := time.Now().UTC()
	k := admin.PartnerKeep{Seen: gdap.Seen{At: now, Partner: who.Tenant, Account: who.Name, Planned: now, Customers: customers}}
	if o.keep && c.Context().Err() == nil {
		token, err := p.Kept(ctx)
		if err != nil {
			return fmt.Errorf("keep the sign-in: %w", err)
		}
		k.RefreshToken = token.Reveal()
	}
	api, done, err := operator(c)
	if err != nil {
		return err
	}
	return errors.Join(api.KeepPartner(ctx, k), done())
}

// end prints what became of each, and says by the exit code whether that is all.
// why is what ended the run for all.
func (o *bulk) end(c *cobra.Command, rep partnerReport, why error) error {
	if why != nil {
		rep.Ended = why.Error()
	}
	w := c.OutOrStdout()
	var err error
	if o.asJSON {
		err = printJSON(w, rep)
	} else {
		err = printEnrolled(w, rep.Customers, o.dry)
		if rep.Unproven != "" {
			_, _ = fmt.Fprintln(w, rep.Unproven)
		}
		for _, n := range rep.Notes {
			_, _ = fmt.Fprintf(w, "note: %s\n", clean(n))
		}
	}
	if err != nil || why != nil {
		return err
	}
	for _, r := range rep.Customers {
		if !r.OK() && !(o.dry && r.Outcome == enrol.ToGrant) {
			return errFinding
		}
	}
	return nil
}
