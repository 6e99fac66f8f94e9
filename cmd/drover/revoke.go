package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/config"
	"drover/internal/entra"
)

// withdrawal is one thing to withdraw.
type withdrawal struct {
	What string `json:"what"` // what is given up by it
	// Who can do it: us (whoever runs drover), mssp (an admin of the MSSP's own
	// directory), customer (an admin of the customer's directory).
	Who     string   `json:"who"`
	Where   string   `json:"where,omitempty"` // a page to open
	Do      []string `json:"do"`              // commands, or what to click
	Because string   `json:"because"`         // what it ends, and from when on
}

// revocation is what there is to withdraw of one tenant.
type revocation struct {
	Tenant   drover.TenantID    `json:"tenant"`
	Name     string             `json:"name"`
	Customer drover.CustomerID  `json:"customer"`
	Cloud    string             `json:"cloud"`
	App      string             `json:"app"`
	ClientID string             `json:"client_id,omitempty"`
	State    drover.TenantState `json:"state"`
	Withdraw []withdrawal       `json:"withdraw"`
}

// appRevocation is what there is to withdraw of one app registration.
type appRevocation struct {
	App      string       `json:"app"`
	Cloud    string       `json:"cloud"`
	ClientID string       `json:"client_id"`
	Withdraw []withdrawal `json:"withdraw"`
}

// revocations is the whole list.
type revocations struct {
	Apps    []appRevocation `json:"apps"`
	Tenants []revocation    `json:"tenants"`
}

func newRevoke() *cobra.Command {
	var all, asJSON bool
	c := &cobra.Command{Use: "revoke NAME|ID | --all", Short: "List what to withdraw, per tenant and cloud, and where, after a theft",
		Long: `revoke lists what must be withdrawn when drover's machine, its master key or an
app's credential may be in other hands: the credentials of each app registration,
and for each tenant its consent and its sign-ins, with the pages to open and the
commands to type. It says what whoever runs drover can do, what needs an admin of
your own directory (mssp), and what only the customer's admin can.

It changes nothing itself. A stolen ledger alone needs none of it: without the
master key nothing in it can be opened.`,
		Example: "  drover revoke --all\n  drover revoke contoso --json",
		Args: func(c *cobra.Command, args []string) error {
			if all == (len(args) == 1) || len(args) > 1 {
				return usageError{errors.New("revoke wants a tenant's name or ID, or --all; see: drover revoke --help")}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			a, err := loadApp(c)
			if err != nil {
				return err
			}
			return withOperator(c, func(api admin.API) error {
				var tenants []admin.TenantStatus
				if all {
					tenants, err = api.Tenants(c.Context())
				} else {
					var t admin.TenantStatus
					t, err = api.Tenant(c.Context(), args[0])
					tenants = []admin.TenantStatus{t}
				}
				if err != nil {
					return err
				}
				credentials, err := api.SealedCredentials(c.Context())
				if err != nil {
					return err
				}
				out, err := a.revocations(tenants, credentials, all)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), out)
				}
				return out.text(c.OutOrStdout())
			})
		}}
	c.Flags().BoolVar(&all, "all", false, "of every tenant and every app")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// revocations puts the list together: of every app, or of those that the tenants
// use.
func (a *app) revocations(tenants []admin.TenantStatus, credentials []admin.CredentialStatus, all bool) (out revocations, err error) {
	out.Apps, out.Tenants = []appRevocation{}, []revocation{}
	for _, name := range a.cfg.AppNames() {
		if all || slices.ContainsFunc(tenants, func(t admin.TenantStatus) bool { return t.App == name }) {
			r, err := a.revokeApp(a.cfg.Apps[name], credentials)
			if err != nil {
				return out, err
			}
			out.Apps = append(out.Apps, r)
		}
	}
	for _, t := range tenants {
		r, err := a.revokeTenant(t, credentials)
		if err != nil {
			return out, err
		}
		out.Tenants = append(out.Tenants, r)
	}
	return out, nil
}

// revokeApp lists what proves who the app is.
func (a *app) revokeApp(c config.App, credentials []admin.CredentialStatus) (appRevocation, error) {
	cloud, err := a.clouds.Of(drover.Tenant{Cloud: c.Cloud})
	if err != nil {
		return appRevocation{}, err
	}
	r := appRevocation{App: c.Name, Cloud: c.Cloud, ClientID: c.ClientID, Withdraw: []withdrawal{}}
	portal := cloud.AdminCenter
	const because = "no new token for any customer is given to whoever has the old one; tokens that were given before are good until they end, after 60 to 90 minutes as a rule"
	switch {
	case c.Federated != nil:
		r.Withdraw = append(r.Withdraw, withdrawal{"the federated credential, whose tokens come from " + c.Federated.TokenFile, "mssp", portal,
			[]string{"App registrations, the application, Certificates & secrets, Federated credentials: delete it, and make one for another subject"}, because})
	case c.ManagedIdentity != nil:
		r.Withdraw = append(r.Withdraw, withdrawal{"the trust in the managed identity " + c.ManagedIdentity.ClientID, "mssp", portal,
			[]string{"App registrations, the application, Certificates & secrets, Federated credentials: delete it; take the identity from the machine, and give a new machine another one"}, because})
	case c.Certificate != nil:
		where := "in " + c.Certificate.KeyFile
		if c.Certificate.Sealed {
			where = "sealed in the ledger"
		}
		r.Withdraw = append(r.Withdraw, withdrawal{"the certificate's key " + where, "mssp", portal,
			[]string{"drover app rotate " + c.Name, "then, an hour later: drover app rotate " + c.Name + " --remove-old; or at once, which stops reading until the new one is valid: App registrations, the application, Certificates & secrets, delete the old certificate"}, because})
	case c.Secret != nil:
		r.Withdraw = append(r.Withdraw, withdrawal{"the client secret in " + tokenName(c.Secret) + " (and next_secret, if there is one)", "mssp", portal,
			[]string{"drover app rotate " + c.Name, "then: App registrations, the application, Certificates & secrets, delete the old secret"}, because})
	}
	for _, s := range credentials {
		if s.Tenant == "" && s.App == c.Name && s.Kind != appKeyKind {
			r.Withdraw = append(r.Withdraw, withdrawal{"the MSSP's own " + words(s.Kind), "mssp", portal,
				[]string{"Users: open the user who signed in, choose Revoke sessions, and reset the password", "or: POST " + cloud.Graph + "/v1.0/users/USER/revokeSignInSessions", "then sign in again"}, "no new token is given for it"})
		}
	}
	return r, nil
}

// revokeTenant lists what leads into one tenant.
func (a *app) revokeTenant(t admin.TenantStatus, credentials []admin.CredentialStatus) (revocation, error) {
	cloud, err := a.clouds.Of(drover.Tenant{ID: t.ID, Cloud: t.Cloud})
	if err != nil {
		return revocation{}, err
	}
	r := revocation{Tenant: t.ID, Name: t.Name, Customer: t.Customer, Cloud: t.Cloud, App: t.App, State: t.State, Withdraw: []withdrawal{}}
	add := func(w withdrawal) { r.Withdraw = append(r.Withdraw, w) }
	if t.State != drover.Removed {
		add(withdrawal{"what drover itself holds", "us", "", []string{"drover tenant pause " + t.Name, "to destroy its data key and credentials for good: drover tenant remove " + t.Name + " --discard --yes"},
			"drover asks for nothing any more; whoever has a copy of the ledger and its key still can"})
	}
	for _, s := range credentials {
		if s.Tenant != t.ID {
			continue
		}
		add(withdrawal{"the " + words(s.Kind) + " of a person who signed in, stored " + short(s.Stored), "customer", cloud.AdminCenter,
			[]string{"Users, in the directory " + string(t.ID) + ": open the user who signed in, choose Revoke sessions; if the password may be known, reset it", "or: POST " + cloud.Graph + "/v1.0/users/USER/revokeSignInSessions (an admin of the directory in which the user is: the customer's, or yours for a guest)", "then connect anew: drover tenant connect " + t.Name},
			"the stored token and all that were renewed from it are refused from then on; deleting the application below ends it too"})
	}
	c, ok := a.appOf(drover.Tenant{ID: t.ID, App: t.App})
	if t.App == drover.PartnerApp {
		add(withdrawal{"the kept sign-in of the partner, by which this tenant is read", "mssp", cloud.AdminCenter,
			[]string{"Users, in your own directory: open the partner's account, choose Revoke sessions, and reset its password", "drover partner forget --yes", "sign in again: drover partner connect"},
			"it opens every customer of the partner; no new token is given for it"})
	}
	if !ok {
		add(withdrawal{"the consent to the app " + t.App, "customer", cloud.AdminCenter, []string{"the config has no app " + t.App + ": put it back under apps: to have its client_id here"}, "nothing is known of it here"})
		return r, nil
	}
	r.ClientID = c.ClientID
	reads := []string{}
	for _, s := range t.Sources {
		if w := entra.Wants(s); len(w) > 0 && !slices.Contains(reads, w[0]) { // the others are more than it
			reads = append(reads, w[0])
		}
	}
	what := "the consent of the tenant to the app"
	if len(reads) > 0 {
		what += " (" + strings.Join(reads, ", ") + ")"
	}
	add(withdrawal{what, "customer", cloud.AdminCenter,
		[]string{"Enterprise applications, in the directory " + string(t.ID) + ", Application ID " + c.ClientID + ": under Properties, Delete", "or: DELETE " + cloud.Graph + "/v1.0/servicePrincipals(appId='" + c.ClientID + "')", "or: az ad sp delete --id " + c.ClientID, "the same as a page for the customer's admin: drover tenant leave-page " + t.Name},
		"nobody gets a token for this tenant with the app, whatever credential they have; it is only needed when the app's credentials above cannot be replaced in time, and a new consent follows"})
	if slices.Contains(t.Sources, drover.SIEMDetections) {
		add(withdrawal{"the entry of the app among the tenant's MSSPs", "customer", cloud.Portal() + "/?tid=" + string(t.ID), []string{"Settings, Endpoints, Managed security service provider: remove " + c.ClientID}, "the SIEM API answers the app no more"})
	}
	return r, nil
}

// words is a kind of credential as a person says it.
func words(kind string) string { return strings.ReplaceAll(kind, "_", " ") }

var revokers = map[string]string{"us": "you, here", "mssp": "an admin of your own directory", "customer": "only an admin of the customer's directory"}

func (r revocations) text(w io.Writer) error {
	var b strings.Builder
	list := func(all []withdrawal) {
		if len(all) == 0 {
			b.WriteString("  nothing\n")
		}
		for _, x := range all {
			fmt.Fprintf(&b, "  %s\n    who: %s\n", x.What, revokers[x.Who])
			if x.Where != "" {
				fmt.Fprintf(&b, "    where: %s\n", x.Where)
			}
			for _, d := range x.Do {
				fmt.Fprintf(&b, "    - %s\n", d)
			}
			fmt.Fprintf(&b, "    then: %s\n", x.Because)
		}
	}
	b.WriteString("This is a list; nothing was changed. Begin with the apps: that ends access to every customer at once.\n")
	for _, a := range r.Apps {
		fmt.Fprintf(&b, "\napp %s, client ID %s, cloud %s\n", a.App, a.ClientID, a.Cloud)
		list(a.Withdraw)
	}
	for _, t := range r.Tenants {
		fmt.Fprintf(&b, "\ntenant %s (%s), customer %s, cloud %s, app %s, %s\n", t.Name, t.Tenant, t.Customer, t.Cloud, t.App, t.State)
		list(t.Withdraw)
	}
	b.WriteString("\nIf the master key may be known: drover vault rotate. Data keys stay the same, so that whoever has an older copy of the ledger with its key can still read what is in that copy.\n")
	_, err := io.WriteString(w, clean(b.String()))
	return err
}
