package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/entra"
	"drover/internal/registration"
)

// Bounds of a credential's life in days. Two years are what Graph gives a secret
// that names no end.
const (
	usualDays = 365
	mostDays  = 730
)

// createFlags are what an app is made with.
type createFlags struct {
	appOptions
	permissionFlags
	modelFlags
	credential, issuer, subject, tokenAudience string
	days                                       int
	single, another                            bool
	pairs                                      appPairs // of the certificate, once the app is there
}

func newAppCreate() *cobra.Command {
	var o createFlags
	c := &cobra.Command{
		Use: "create [NAME]", Short: "Register the application through Microsoft Graph",
		Long: `create signs an admin of the MSSP in and registers the application in the MSSP's
own tenant: multi-tenant, with redirect URIs, with permissions to read and none
beyond, and with one credential. NAME is the app's name in the config (default:
default). It prints the lines of the config to add.

A certificate's key is made here and never leaves this machine: it is sealed in the
ledger, or with --key-file written into a file for its owner alone. A secret is
written beside the config and is never printed. With --customer the app is for
that customer alone.`,
		Example: "  drover app create --home mssp.example\n  drover app create contoso --home mssp.example --customer Contoso --credential secret --days 180",
		RunE: func(c *cobra.Command, args []string) error {
			a, err := o.begin(c, args)
			if err != nil {
				return err
			}
			return o.run(c, a)
		},
	}
	o.appOptions.flags(c)
	o.permissionFlags.flags(c)
	o.modelFlags.flags(c)
	f := c.Flags()
	o.keyFlag(c)
	f.StringVar(&o.credential, "credential", "certificate", "how the app proves itself: certificate, secret or federated")
	f.IntVar(&o.days, "days", usualDays, "how long the certificate or secret is good")
	f.StringVar(&o.issuer, "issuer", "", "federated: issuer of the tokens that are trusted")
	f.StringVar(&o.subject, "subject", "", "federated: their subject, exactly")
	f.StringVar(&o.tokenAudience, "token-audience", "", "federated: their audience (default: the cloud's, such as "+entra.BuiltIn()[entra.DefaultCloud].TokenExchange+")")
	f.BoolVar(&o.single, "single-tenant", false, "only the MSSP's own tenant may use it")
	f.BoolVar(&o.another, "another", false, "make one though there is one of that name")
	return c
}

// check refuses what cannot be made before anybody signs in.
func (o *createFlags) check(c *cobra.Command, a *app) (plan registration.Plan, f appFiles, err error) {
	if have, ok := a.cfg.Apps[o.name]; ok {
		return plan, f, usageError{fmt.Errorf("the config has an app %s already (%s); name another one, or see: drover app rotate", o.name, have.ClientID)}
	}
	if o.days < 1 || o.days > mostDays {
		return plan, f, usageError{fmt.Errorf("--days must be 1 to %d", mostDays)}
	}
	if !slices.Contains([]string{"certificate", "secret", "federated"}, o.credential) {
		return plan, f, usageError{fmt.Errorf("--credential is certificate, secret or federated, not %q", o.credential)}
	}
	if o.credential == "federated" && (o.issuer == "" || o.subject == "") {
		return plan, f, usageError{errors.New("a federated credential wants --issuer and --subject")}
	}
	if o.tokenAudience = cmp.Or(o.tokenAudience, a.clouds[o.cloud].TokenExchange); o.credential == "federated" && o.tokenAudience == "" {
		return plan, f, usageError{fmt.Errorf("the audience of federated tokens is not known in the cloud %s: name it by --token-audience", o.cloud)}
	}
	if o.keyFile != "" && o.credential != "certificate" {
		return plan, f, usageError{errors.New("--key-file is for a certificate")}
	}
	if !o.single {
		o.withPage(a.cfg)
	}
	plan = registration.Plan{Name: o.displayName(o.home), Audience: registration.ManyTenants, Redirects: o.redirects}
	if o.single {
		plan.Audience = registration.OneTenant
	}
	if plan.Permissions, err = o.list(); err != nil {
		return plan, f, err
	}
	if f, err = o.files(c, a.cfg); err != nil {
		return plan, f, err
	}
	if o.credential == "certificate" && !o.inFiles {
		if o.unconfigured {
			return plan, f, usageError{&drover.Error{Op: "keep the app's key", Kind: drover.Refused, Err: errors.New("there is no config, which says in which ledger the key is sealed"), Hint: "begin with a file of examples/, or keep the key in a file: --key-file FILE"}}
		}
		// That it can be sealed is known before anybody signs in.
		if err := withOperator(c, func(admin.API) error { return nil }); err != nil {
			return plan, f, err
		}
	}
	return plan, f, absent(f.cert, f.key, f.secret, f.record)
}

func (o *createFlags) run(c *cobra.Command, a *app) error {
	plan, files, err := o.check(c, a)
	if err != nil {
		return err
	}
	graph, err := o.graph(c, a)
	if err != nil {
		return err
	}
	if ids, err := graph.Named(c.Context(), plan.Name); err != nil {
		return err
	} else if len(ids) > 0 && !o.another {
		return &drover.Error{Op: "register the app", Kind: drover.Refused, Err: fmt.Errorf("there is one named %q: %s", plan.Name, strings.Join(ids, ", ")), Hint: "use that one, give another --name, or say --another"}
	}
	now := time.Now()
	until := now.AddDate(0, 0, o.days)
	if o.credential == "certificate" && o.inFiles {
		// The key is on disk before anybody knows the certificate.
		var certPEM, keyPEM []byte
		if plan.Certificate, certPEM, keyPEM, err = newCertificate(plan.Name, now.Add(-5*time.Minute), until); err != nil {
			return err
		}
		plan.KeyName = keyName(now)
		if err := errors.Join(writePrivate(files.key, keyPEM, true), writePrivate(files.cert, certPEM, true)); err != nil {
			return err
		}
	}
	made, err := graph.Create(c.Context(), plan)
	if made == nil {
		if plan.Certificate != nil && drover.KindOf(err) != drover.Transient { // else it may have been made
			err = errors.Join(err, os.Remove(files.key), os.Remove(files.cert))
		}
		return err
	}
	say(c.ErrOrStderr(), "registered %s, application ID %s", clean(plan.Name), made.AppID)
	r := registration.Record{Made: now.UTC().Truncate(time.Second), Home: o.home, Cloud: o.cloud, AppID: made.AppID, ObjectID: made.ObjectID, Name: plan.Name, Audience: plan.Audience, Redirects: plan.Redirects, Permissions: plan.Permissions}
	if werr := writeRecord(files.record, r); werr != nil || err != nil {
		return unfinished(made.AppID, errors.Join(err, werr))
	}
	if err := o.credit(c, graph, &r, files, until); err != nil {
		return unfinished(made.AppID, err)
	}
	if err := o.complete(c, graph, &r, files, plan.Certificate); err != nil {
		return unfinished(made.AppID, err)
	}
	o.tell(c.OutOrStdout(), a.clouds[o.cloud], r, files, until)
	return nil
}

// unfinished says what exists where not all of it could be made.
func unfinished(appID string, err error) error {
	return &drover.Error{Op: "finish the app", Kind: drover.KindOf(err), Err: err, Hint: cmp.Or(drover.HintOf(err), "the app "+appID+" exists: finish it by drover app rotate; or delete it in the portal, move its files away and begin again")}
}

// keyName is what a credential of drover's is called in the directory.
func keyName(now time.Time) string { return "drover " + now.UTC().Format("2006-01-02") }

// credit gives the app the credential that cannot come with it.
func (o *createFlags) credit(c *cobra.Command, graph *registration.Client, r *registration.Record, files appFiles, until time.Time) error {
	switch o.credential {
	case "certificate":
		if o.pairs = o.where(c, r.AppID, files); !o.inFiles {
			return o.seal(c.Context(), graph, r, until)
		}
	case "secret":
		s, id, err := graph.AddSecret(c.Context(), r.AppID, keyName(time.Now()), until)
		if err != nil {
			return err
		}
		r.Credentials = append(r.Credentials, id)
		return writePrivate(files.secret, append(s.Bytes(), '\n'), true)
	case "federated":
		f := registration.Federated{Name: "drover-" + o.name, Issuer: o.issuer, Subject: o.subject, Audiences: []string{o.tokenAudience}}
		r.Federated = append(r.Federated, f)
		return graph.Trust(c.Context(), r.AppID, f)
	}
	return nil
}

// seal gives the app a certificate whose key is in the ledger before anybody
// knows the certificate.
func (o *createFlags) seal(ctx context.Context, graph *registration.Client, r *registration.Record, until time.Time) error {
	now := time.Now()
	cert, certPEM, keyPEM, err := newCertificate(r.Name, now.Add(-5*time.Minute), until)
	if err != nil {
		return err
	}
	if _, err := o.pairs.addKey(ctx, keyPEM); err != nil {
		return err
	}
	id, err := graph.AddCertificate(ctx, r.AppID, cert, keyName(now), nil)
	if err != nil {
		return err
	}
	r.Credentials = append(r.Credentials, id)
	return o.pairs.addCertificate(ctx, certPEM)
}

// complete reads the app once more and writes down what drover made of it.
func (o *createFlags) complete(c *cobra.Command, graph *registration.Client, r *registration.Record, files appFiles, cert *x509.Certificate) error {
	a, err := graph.Await(c.Context(), r.AppID)
	if err != nil {
		return err
	}
	for _, k := range a.Keys {
		if cert != nil && k.Is(cert) {
			r.Credentials = append(r.Credentials, k.ID)
		}
	}
	for _, owner := range a.Owners {
		r.Owners = append(r.Owners, owner.ID)
	}
	return writeRecord(files.record, *r)
}

// tell prints the lines of the config, and what comes next.
func (o *createFlags) tell(w io.Writer, cloud entra.Cloud, r registration.Record, f appFiles, until time.Time) {
	say(w, "# add to drover.yaml:")
	say(w, "%s", appLines(o.name, r.AppID, o.cloud, o.credential, o.pairs, f, until))
	if o.credential == "federated" {
		say(w, "%s", o.federatedLine(cloud))
	}
	if o.homeID != "" {
		say(w, "    home_tenant: %s", o.homeID)
	}
	if o.single {
		return
	}
	say(w, "# each customer's admin (Privileged Role Administrator) agrees at:")
	say(w, "#   %s", consentLink(cloud, r.AppID, r.Redirects))
}

// consentLink is where a customer's admin agrees (reference entra-oauth §6).
func consentLink(cloud entra.Cloud, appID string, redirects []string) string {
	to := "http://localhost"
	if len(redirects) > 0 {
		to = redirects[0]
	}
	q := "client_id=" + appID + "&scope=" + url.QueryEscape(cloud.Resource(drover.GraphAlerts)+"/.default") + "&redirect_uri=" + url.QueryEscape(to)
	return cloud.Authority + "/CUSTOMER-TENANT-ID/v2.0/adminconsent?" + q
}

// federatedLine is the line of the config for a federated credential. Tokens
// that the cloud itself issues are those of a managed identity (reference
// entra-oauth §4).
func (o *createFlags) federatedLine(cloud entra.Cloud) string {
	if home, ours := strings.CutPrefix(o.issuer, cloud.Authority+"/"); ours && drover.IsGUID(strings.TrimSuffix(home, "/v2.0")) {
		return "    managed_identity: {client_id: CLIENT-ID-OF-THE-IDENTITY} # not its object ID, which is the subject"
	}
	audience := ""
	if o.tokenAudience != cloud.TokenExchange {
		audience = fmt.Sprintf(", audience: %q", o.tokenAudience)
	}
	return "    federated: {token_file: /var/run/secrets/azure/tokens/azure-identity-token" + audience + "} # or wherever the token is projected"
}

// appLines are the lines of the config for an app; what a federated one proves
// itself by comes behind them.
func appLines(name, appID, cloud, credential string, pairs appPairs, f appFiles, until time.Time) string {
	lines := []string{"apps:", "  " + name + ":", "    client_id: " + appID}
	if cloud != "worldwide" {
		lines = append(lines, "    cloud: "+cloud)
	}
	switch credential {
	case "certificate":
		lines = append(lines, "    "+pairs.line())
	case "secret":
		lines = append(lines, fmt.Sprintf("    secret: {file: %q}", f.secret), "    secret_until: "+until.UTC().Format(time.DateOnly))
	}
	return strings.Join(lines, "\n")
}
