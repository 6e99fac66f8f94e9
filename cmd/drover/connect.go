package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/coverage"
	"drover/internal/entra"
	"drover/internal/onboard"
)

// legacyRedirect is the redirect of Microsoft's instructions for MSSPs; its host
// does not resolve (reference mssp-onboarding §2).
const legacyRedirect = "https://SiemMsspConnector"

const opConnect = "connect the tenant"

// connecting is what the command line says.
type connecting struct {
	new                           admin.NewTenant
	sources                       []string
	browser, device, paste, agree bool
	v1, noOpen, yes, asJSON       bool
	redirect, home                string
}

func newTenantConnect() *cobra.Command {
	var o connecting
	c := &cobra.Command{
		Use: "connect NAME|ID", Short: "Connect a customer: sign in, consent, try each source",
		Long: `connect has somebody of the customer's sign in, and makes sure by that sign-in
that it is the tenant that was named. Without a flag an admin then consents to
the app's own permissions, in the same browser. With --browser, --device or
--paste alone, the tenant is read with the sign-in itself: its refresh token is
sealed. --admin-consent with one of them chooses how the admin signs in.

Then each source is tried: what works, what does not, and what to do. A tenant
that is not there yet is added if its ID and a --name are given. It exits with 1
when a source does not work.

Addresses and codes are printed for you alone: who opens them signs in for you.`,
		Example: "  drover tenant connect contoso\n  drover tenant connect 3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60 --name contoso --source graph.alerts,mde.alerts\n  drover tenant connect contoso --admin-consent --device",
		Args:    oneArg("a tenant's name or ID"),
		RunE:    func(c *cobra.Command, args []string) error { return o.run(c, args[0]) },
	}
	f := c.Flags()
	f.BoolVar(&o.browser, "browser", false, "sign in with a browser on this machine")
	f.BoolVar(&o.device, "device", false, "sign in anywhere, with a code that is typed there")
	f.BoolVar(&o.paste, "paste", false, "sign in anywhere, and paste the address that the browser is led to")
	f.BoolVar(&o.agree, "admin-consent", false, "read with the app's own permissions, to which an admin consents (the default)")
	f.BoolVar(&o.v1, "v1", false, "use the v1 endpoints, as older app registrations need it")
	f.StringVar(&o.redirect, "redirect", legacyRedirect, "redirect URI for --paste, as it is registered")
	f.StringVar(&o.home, "home-tenant", "", "your own tenant's ID, to be shown where a customer must enter it (default: home_tenant of the app)")
	f.BoolVar(&o.noOpen, "no-open", false, "do not open a browser, only print the address")
	f.BoolVar(&o.yes, "yes", false, "do not ask whether a tenant that consented before is the right one")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	f.StringVar(&o.new.Name, "name", "", "short name of a new tenant, a-z 0-9 and -")
	f.StringVar(&o.new.Customer, "customer", "", "the new tenant's customer (default: the tenant's name)")
	f.StringVar(&o.new.Cloud, "cloud", "", "cloud of a new tenant (default: the app's)")
	f.StringVar(&o.new.App, "app", "", "app that reads a new tenant (default: default)")
	f.StringVar(&o.new.Region, "region", "", "region of a new tenant's data")
	f.StringVar(&o.new.Start, "start", "", "where a new tenant begins: now, an instant, or an age such as 24h or 30d (default: the config's)")
	f.StringSliceVar(&o.sources, "source", nil, "sources of a new tenant: "+sourceNames()+" (default graph.alerts); of a known one those to try")
	c.MarkFlagsMutuallyExclusive("browser", "device", "paste")
	return c
}

func (o *connecting) run(c *cobra.Command, who string) error {
	a, err := loadApp(c)
	if err != nil {
		return err
	}
	order, err := o.order(c, a, who)
	if err != nil {
		return err
	}
	if order.Way == onboard.Device && !shownTo(c.ErrOrStderr()) {
		return usageError{&drover.Error{Op: "sign in by code", Kind: drover.Refused, Hint: "run it on a terminal", Err: errors.New("the code would be written where others may read it")}}
	}
	s := onboard.Service{Entra: signIns{a.tokens}, Input: c.InOrStdin(), Show: o.show(c),
		Keep: func(ctx context.Context, t drover.Tenant, refresh drover.Secret) error {
			return o.keep(c, order.Known, t, refresh)
		},
		Check:   func(ctx context.Context, t drover.Tenant) ([]coverage.Source, error) { return tryTenant(c, t) },
		Confirm: o.confirm(c, order.Tenant)}
	res, err := s.Connect(c.Context(), order)
	if err != nil {
		return err
	}
	if o.asJSON {
		err = printJSON(c.OutOrStdout(), res)
	} else {
		err = printConnected(c.OutOrStdout(), res)
	}
	if err == nil && !res.OK() {
		err = errFinding
	}
	return err
}

// shownTo reports whether a code may be shown there. Tests replace it.
var shownTo = isTerminal

// order puts together who is to be connected, and how.
func (o *connecting) order(c *cobra.Command, a *app, who string) (onboard.Order, error) {
	order := onboard.Order{Way: onboard.Browser, V1: o.v1, Redirect: o.redirect, Home: o.home}
	switch {
	case o.device:
		order.Way = onboard.Device
	case o.paste:
		order.Way = onboard.Paste
	}
	order.Delegated = !o.agree && (o.browser || o.device || o.paste)
	var wanted []drover.SourceID
	for _, s := range o.sources {
		if !slices.Contains(allSources, drover.SourceID(s)) {
			return order, unknownSource(drover.SourceID(s))
		}
		wanted = append(wanted, drover.SourceID(s))
	}
	err := withOperator(c, func(api admin.API) error {
		list, err := api.Tenants(c.Context())
		if err != nil {
			return err
		}
		order.Tenant, order.Known, err = o.tenant(a, list, who, wanted)
		return err
	})
	if err != nil {
		return order, err
	}
	t := order.Tenant
	for _, s := range t.Sources {
		if err := a.serves(t, s); err != nil {
			return order, err
		}
	}
	app, ok := a.cfg.Apps[t.App]
	if !ok {
		return order, usageError{fmt.Errorf("there is no app named %q; define it under apps: in the config", t.App)}
	}
	if !order.Delegated && app.Proof() == "" {
		return order, usageError{fmt.Errorf("the app %s has no secret, certificate, federated or managed_identity, so it has no permissions of its own: sign in by --browser, --device or --paste", t.App)}
	}
	order.ClientID = app.ClientID
	if order.Home == "" {
		order.Home = app.HomeTenant
	}
	cloud, err := a.clouds.Of(t)
	order.Portal = cloud.Portal()
	return order, err
}

// tenant finds the tenant that is meant, or makes what a new one would be.
func (o *connecting) tenant(a *app, list []admin.TenantStatus, who string, wanted []drover.SourceID) (t drover.Tenant, known bool, err error) {
	id, noID := drover.ParseTenantID(who)
	for _, s := range list {
		if s.ID != id && !strings.EqualFold(s.Name, who) {
			continue
		}
		if s.State == drover.Removed {
			return t, false, usageError{fmt.Errorf("tenant %s was removed; its customer has left", s.Name)}
		}
		for _, x := range [][2]string{{o.new.App, s.App}, {o.new.Cloud, s.Cloud}, {strings.ToLower(o.new.Name), s.Name}, {o.new.Region, s.Region}} {
			if x[0] != "" && x[0] != x[1] {
				return t, false, usageError{fmt.Errorf("tenant %s is there already, with %q in place of %q; see: drover tenant show %s", s.Name, x[1], x[0], s.Name)}
			}
		}
		t = drover.Tenant{ID: s.ID, Name: s.Name, Customer: s.Customer, Cloud: s.Cloud, App: s.App, Region: s.Region, State: s.State, Start: s.Start, Added: s.Added}
		for _, f := range s.Feeds {
			t.Sources = append(t.Sources, f.Source)
		}
		for _, w := range wanted {
			if !slices.Contains(t.Sources, w) {
				return t, false, usageError{fmt.Errorf("tenant %s is not read by %s", s.Name, w)}
			}
		}
		if len(wanted) > 0 {
			t.Sources = wanted
		}
		return t, true, nil
	}
	if noID != nil {
		return t, false, usageError{&drover.Error{Op: opConnect, Kind: drover.Refused, Hint: "see: drover tenant list; a new one needs its ID and a --name", Err: fmt.Errorf("there is no tenant %q", who)}}
	}
	if o.new.Name == "" {
		return t, false, usageError{&drover.Error{Op: opConnect, Kind: drover.Refused, Hint: "give a new one a short name: --name contoso", Err: fmt.Errorf("there is no tenant %s", id)}}
	}
	for _, name := range []string{o.new.Name, o.new.Customer} {
		if _, err := drover.ParseCustomerID(strings.ToLower(name)); err != nil && name != "" {
			return t, false, usageError{err}
		}
	}
	if _, err := admin.ParseStart(o.new.Start, time.Now()); err != nil {
		return t, false, usageError{err}
	}
	for _, s := range list {
		if strings.EqualFold(s.Name, o.new.Name) {
			return t, false, usageError{fmt.Errorf("the name %s is that of tenant %s already", s.Name, s.ID)}
		}
	}
	o.new.ID, o.new.Sources = string(id), wanted
	if len(wanted) == 0 {
		o.new.Sources = []drover.SourceID{drover.GraphAlerts}
	}
	if o.new.App == "" {
		o.new.App = "default"
	}
	if o.new.Cloud == "" {
		o.new.Cloud = a.cfg.Apps[o.new.App].Cloud
	}
	return drover.Tenant{ID: id, Name: strings.ToLower(o.new.Name), Cloud: o.new.Cloud, App: o.new.App, Region: o.new.Region, Sources: o.new.Sources, State: drover.Active}, false, nil
}

// keep adds a new tenant, or seals a known one's credential; with none, what it
// was read with before is destroyed.
func (o *connecting) keep(c *cobra.Command, known bool, t drover.Tenant, refresh drover.Secret) error {
	return withOperator(c, func(api admin.API) error {
		if known {
			return api.SealTenant(c.Context(), string(t.ID), refresh)
		}
		n := o.new
		n.RefreshToken = refresh.Reveal()
		_, err := api.AddTenant(c.Context(), n)
		return err
	})
}

// tryTenant makes a test call to each source that is wanted.
func tryTenant(c *cobra.Command, t drover.Tenant) (out []coverage.Source, err error) {
	err = withOperator(c, func(api admin.API) error {
		return api.Coverage(c.Context(), admin.CoverageQuery{Tenants: []string{string(t.ID)}, Days: 1, Fresh: true}, func(x admin.Covered) error {
			if x.Tenant == nil {
				return nil
			}
			for _, s := range x.Tenant.Sources {
				if slices.Contains(t.Sources, s.ID) {
					out = append(out, s)
				}
			}
			return nil
		})
	})
	return out, err
}

// signIns lets the service sign people in.
type signIns struct{ *entra.Tokens }

func (s signIns) SignIn(t drover.Tenant, source drover.SourceID, v1 bool, redirect string) (onboard.SignIn, error) {
	in, err := s.BeginSignIn(t, entra.SignInOptions{Source: source, V1: v1, Redirect: redirect})
	if err != nil {
		return nil, err
	}
	return in, nil
}

func (s signIns) Device(ctx context.Context, t drover.Tenant, source drover.SourceID, v1 bool) (onboard.DeviceSignIn, error) {
	in, err := s.BeginDevice(ctx, t, entra.SignInOptions{Source: source, V1: v1})
	if err != nil {
		return nil, err
	}
	return in, nil
}

func (s signIns) AdminConsent(t drover.Tenant, redirect string, v1 bool) (onboard.AdminConsent, error) {
	p, err := s.BeginConsent(t, redirect, v1)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// confirm asks on the terminal whether the tenant is the right one.
func (o *connecting) confirm(c *cobra.Command, t drover.Tenant) func(context.Context, drover.Person) error {
	return func(_ context.Context, who drover.Person) error {
		if o.yes {
			return nil
		}
		w := c.ErrOrStderr()
		if !isTerminal(w) || o.paste {
			return &drover.Error{Op: opConnect, Tenant: t.ID, Kind: drover.Denied, Hint: "if it is the right one, type the command again with --yes", Err: errors.New("this tenant consented to the app before, and is not known here")}
		}
		_, _ = fmt.Fprintf(w, "The tenant %s consented to this app before. Is it %s, and is %s of that customer? [y/N] ", t.ID, clean(t.Name), clean(who.Name))
		line, err := bufio.NewReader(io.LimitReader(c.InOrStdin(), 64)).ReadString('\n')
		if s := strings.ToLower(strings.TrimSpace(line)); err == nil && (s == "y" || s == "yes") {
			return nil
		}
		return &drover.Error{Op: opConnect, Tenant: t.ID, Kind: drover.Denied, Hint: "nothing was kept", Err: errors.New("the operator did not confirm it")}
	}
}

// show tells the person at the terminal what to do next.
func (o *connecting) show(c *cobra.Command) func(onboard.Step) {
	w := c.ErrOrStderr()
	open := func(url string) {
		if !o.noOpen && isTerminal(w) {
			openBrowser(url)
		}
	}
	return func(s onboard.Step) {
		until := s.Time.Local().Format("15:04")
		switch s.What {
		case onboard.StepSignIn:
			_, _ = fmt.Fprintf(w, "Sign in with an account of the customer's, by %s, in a browser on this machine:\n\n  %s\n\n", until, clean(s.URL))
			open(s.URL)
		case onboard.StepDevice:
			_, _ = fmt.Fprintf(w, "Sign in with an account of the customer's, by %s: open\n\n  %s\n\nand type the code %s\n\n", until, clean(s.URL), clean(s.Code))
		case onboard.StepPaste:
			_, _ = fmt.Fprintf(w, "Open this address, sign in with an account of the customer's, and paste the address that the browser is led to\n(it shows an error there; that is meant), by %s:\n\n  %s\n\n", until, clean(s.URL))
		case onboard.StepForeign:
			_, _ = fmt.Fprintln(w, "That does not belong to this sign-in. Paste the address that the browser shows after it, whole.")
		case onboard.StepSignedIn:
			_, _ = fmt.Fprintf(w, "Signed in: %s\n", clean(s.Who))
		case onboard.StepConsent:
			_, _ = fmt.Fprintf(w, "An admin of the customer's agrees here, by %s:\n\n  %s\n\n", until, clean(s.URL))
		case onboard.StepWait:
			_, _ = fmt.Fprintf(w, "An admin has answered. Waiting until Entra shows it, until %s at most.\n", until)
		case onboard.StepCheck:
			_, _ = fmt.Fprintln(w, "Trying each source.")
		}
	}
}

// openBrowser opens a page if the desktop has a way to.
func openBrowser(url string) {
	for _, name := range []string{"xdg-open", "open"} {
		if path, err := exec.LookPath(name); err == nil {
			cmd := exec.Command(path, url)
			if cmd.Start() == nil {
				go func() { _ = cmd.Wait() }()
			}
			return
		}
	}
}

func printConnected(w io.Writer, r onboard.Result) error {
	how := "read with the app's own permissions"
	if r.Delegated {
		how = "read with this sign-in"
	}
	_, _ = fmt.Fprintf(w, "%s (%s): %s signed in; %s\n", clean(r.Name), r.Tenant, clean(r.SignedIn), how)
	for _, s := range r.Sources {
		if s.Outcome == onboard.Works {
			_, _ = fmt.Fprintf(w, "ok    %s: works\n", s.Source)
			continue
		}
		_, _ = fmt.Fprintf(w, "FAIL  %s: %s\n", s.Source, s.Outcome)
		if s.Says != "" {
			_, _ = fmt.Fprintf(w, "      %s\n", clean(s.Says))
		}
		if s.Do != "" {
			_, _ = fmt.Fprintf(w, "      hint: %s\n", clean(s.Do))
		}
	}
	return nil
}
