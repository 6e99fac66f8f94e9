package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/entra"
	"drover/internal/siemconf"
)

func newSIEMConfig() *cobra.Command {
	c := &cobra.Command{Use: "siem-config", Short: "Write the files that a SIEM's own connector is set up with", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
		Long: `siem-config writes what the last step of Microsoft's procedure for security
providers fills in by hand: client ID, secret, refresh token, URLs and field
mapping for a connector of the customer's or of your own that reads the SIEM API.
That API is deprecated: each file names the modern way first.`}
	for product, short := range map[siemconf.Product]string{
		siemconf.ArcSight: "Files of ArcSight's FlexConnector REST",
		siemconf.Splunk:   "Inputs of Splunk's add-ons, the present one and REST API Modular Input",
		siemconf.Generic:  "All values as JSON, for a client of your own",
	} {
		c.AddCommand(newSIEMConfigFor(product, short))
	}
	return c
}

// siemConfig is what the command line says.
type siemConfig struct {
	product                             siemconf.Product
	tenant, cloud, app, region          string
	secret, refresh, issued             string
	apiURL                              string
	v                                   siemconf.Values
	dir, zip                            string
	withSecrets, stdout, terminal, json bool
	force                               bool
}

// onTerminal is the flag that lets secrets onto a terminal.
const onTerminal = "show-secrets-on-terminal"

func newSIEMConfigFor(product siemconf.Product, short string) *cobra.Command {
	o := siemConfig{product: product}
	c := &cobra.Command{Use: string(product), Short: short, Args: noArgs,
		Long: short + `.

Files are written with mode 0600 into a new directory with mode 0700. Secrets are
placeholders unless --with-secrets is given: then the client secret is that of
the app in the config, or of --secret. A refresh token that drover keeps in its
ledger is never given out: give one by --refresh-token.`,
		Example: "  drover siem-config " + string(product) + " --tenant contoso --with-secrets --refresh-token token.txt",
		RunE:    func(c *cobra.Command, _ []string) error { return o.run(c) }}
	f := c.Flags()
	f.StringVar(&o.tenant, "tenant", "", "the tenant, by name or ID; an ID may be one that drover does not read")
	f.StringVar(&o.cloud, "cloud", "", "cloud of the tenant (default: the tenant's, else worldwide)")
	f.StringVar(&o.app, "app", "", "app of the config whose ID and secret are written (default: the tenant's, else default)")
	f.StringVar(&o.region, "region", "", "region of its data: eu, us, uk (default: the tenant's)")
	f.StringVar(&o.v.ClientID, "client-id", "", "another app's client ID, instead of --app's; its secret comes by --secret")
	f.StringVar(&o.apiURL, "api-url", "", "the API: https://HOST, to which /api/alerts is added, or with a path of its own (default: the region's)")
	f.StringVar(&o.v.TokenURL, "token-url", "", "token endpoint (default: the cloud's, of the tenant, v1)")
	f.StringVar(&o.v.SignInURL, "sign-in-url", "", "sign-in endpoint (default: beside the token endpoint)")
	f.StringVar(&o.v.Resource, "resource", "", "audience of the tokens (default: the cloud's)")
	f.StringVar(&o.v.RedirectURI, "redirect-uri", "https://localhost:44300/wdatpconnector", "redirect URI, byte for byte as it is registered with the app")
	f.DurationVar(&o.v.Interval, "interval", 5*minute, "time between two polls")
	f.BoolVar(&o.withSecrets, "with-secrets", false, "write the client secret, and the refresh token if one is given; else placeholders")
	f.StringVar(&o.secret, "secret", "", "client secret, from a file, or - for standard input")
	f.StringVar(&o.refresh, "refresh-token", "", "refresh token of the customer's sign-in, from a file, or - for standard input")
	f.StringVar(&o.issued, "issued", "", "day on which the refresh token was issued, such as 2026-03-02")
	f.StringVar(&o.dir, "dir", "", "directory to make for the files (default: siem-"+string(product)+"-NAME here)")
	f.StringVar(&o.zip, "zip", "", "write one zip file; without --dir that alone")
	f.BoolVar(&o.stdout, "stdout", false, "print the files instead")
	f.BoolVar(&o.terminal, onTerminal, false, "print secrets even to a terminal")
	f.BoolVar(&o.force, "force", false, "replace files that are there")
	f.BoolVar(&o.json, "json", false, "print JSON: what was written; with --stdout the files themselves")
	o.v.ClientIDKey, o.v.ArrayRoot = "client_id", "/"
	switch product {
	case siemconf.ArcSight:
		f.StringVar(&o.v.ClientIDKey, "client-id-key", o.v.ClientIDKey, "how the file spells its first key: client_id or client_ID; which one is read is not documented")
		f.StringVar(&o.v.ArrayRoot, "array-root", o.v.ArrayRoot, "where the parser finds the rows; of a bare array that is not documented")
	case siemconf.Splunk:
		f.StringVar(&o.v.CABundle, "ca-bundle", "", "PEM file of authorities on the Splunk machine; without one the REST input does not verify TLS")
		f.StringVar(&o.v.Modern.Account, "account", "", "account of Splunk Add-on for Microsoft Security (default: drover_APP)")
	}
	_ = c.MarkFlagRequired("tenant") // the flag is there
	return c
}

func (o *siemConfig) run(c *cobra.Command) error {
	if err := o.checkFlags(isTerminal(c.OutOrStdout())); err != nil {
		return usageError{err}
	}
	a, err := loadApp(c)
	if err != nil {
		return err
	}
	t, err := o.findTenant(c, a)
	if err != nil {
		return err
	}
	if err := o.fill(a, t); err != nil {
		return err
	}
	if err := o.readSecrets(c, a, t); err != nil {
		return err
	}
	o.v.Generated = time.Now()
	files, err := siemconf.Files(o.product, o.v)
	if err != nil {
		return usageError{err}
	}
	return o.put(c, files)
}

// checkFlags refuses what contradicts itself, and secrets on a terminal.
func (o *siemConfig) checkFlags(terminal bool) error {
	switch {
	case !o.withSecrets && (o.secret != "" || o.refresh != ""):
		return errors.New("secrets are written only with --with-secrets")
	case o.secret == "-" && o.refresh == "-":
		return errors.New("only one secret can come on standard input")
	case o.stdout && (o.dir != "" || o.zip != ""):
		return errors.New("--stdout is instead of --dir and --zip")
	case o.stdout && o.withSecrets && terminal && !o.terminal:
		return fmt.Errorf("standard output is a terminal, which keeps what it shows: write to a file, or add --%s", onTerminal)
	}
	if o.issued != "" {
		day, err := time.Parse(time.DateOnly, o.issued)
		if err != nil || day.After(time.Now()) {
			return fmt.Errorf("%q is no day in the past such as 2026-03-02", o.issued)
		}
		o.v.Issued = day
	}
	return nil
}

// findTenant looks the tenant up where there is a ledger. An ID that is not
// there is taken as it is: the files may be for a customer whom drover does not
// read. No ledger is made for the question.
func (o *siemConfig) findTenant(c *cobra.Command, a *app) (t drover.Tenant, err error) {
	id, notID := drover.ParseTenantID(o.tenant)
	t = drover.Tenant{ID: id}
	if _, err := os.Stat(filepath.Join(a.cfg.Ledger.Dir, "ledger.db")); err == nil || notID != nil {
		err := withOperator(c, func(api admin.API) error {
			s, err := api.Tenant(c.Context(), o.tenant)
			if err != nil && drover.KindOf(err) == drover.Refused && notID == nil {
				return nil
			}
			if s.State == drover.Removed {
				return usageError{fmt.Errorf("the tenant %s has been removed", s.Name)}
			}
			if err == nil {
				t = drover.Tenant{ID: s.ID, Name: s.Name, Cloud: s.Cloud, App: s.App, Region: s.Region}
			}
			return err
		})
		if err != nil {
			return t, err
		}
	}
	t.Name = cmp.Or(t.Name, string(t.ID))
	t.Cloud = cmp.Or(o.cloud, t.Cloud, entra.DefaultCloud)
	t.App = cmp.Or(o.app, t.App, "default")
	t.Region = cmp.Or(o.region, t.Region)
	return t, nil
}

// fill completes the values from the config and the cloud's table.
func (o *siemConfig) fill(a *app, t drover.Tenant) error {
	v := &o.v
	v.Tenant, v.Name, v.Cloud = t.ID, t.Name, t.Cloud
	registered, known := a.cfg.Apps[t.App]
	if v.ClientID == "" {
		if !known {
			return usageError{fmt.Errorf("there is no app named %q in the config; known are: %s; or give --client-id", t.App, strings.Join(a.cfg.AppNames(), ", "))}
		}
		v.ClientID = registered.ClientID
	}
	cloud, err := a.clouds.Of(t)
	if err != nil {
		return usageError{err}
	}
	v.TokenURL = cmp.Or(v.TokenURL, cloud.Authority+"/"+string(t.ID)+"/oauth2/token")
	if v.SignInURL == "" {
		beside, ok := strings.CutSuffix(v.TokenURL, "/token")
		if !ok {
			return usageError{errors.New("the sign-in endpoint cannot be told from the token endpoint: give --sign-in-url")}
		}
		v.SignInURL = beside + "/authorize"
	}
	v.Resource = cmp.Or(v.Resource, cloud.Resource(drover.SIEMDetections))
	api := strings.TrimRight(o.apiURL, "/")
	if api == "" {
		if api, err = cloud.Host(drover.SIEMDetections, t.Region); err != nil {
			return &drover.Error{Op: "find the API", Tenant: t.ID, Kind: drover.Refused, Hint: cmp.Or(drover.HintOf(err), "or name it: --api-url"), Err: err}
		}
	}
	if _, rest, ok := strings.Cut(api, "://"); ok && !strings.Contains(rest, "/") {
		api += "/api/alerts"
	}
	v.AlertsURL = api
	account := cmp.Or(v.Modern.Account, "drover_"+t.App)
	v.Modern = siemconf.ModernFor(t.Cloud)
	v.Modern.Account = account
	return nil
}

// readSecrets reads what --with-secrets is to write. These connectors know no
// certificate.
func (o *siemConfig) readSecrets(c *cobra.Command, a *app, t drover.Tenant) (err error) {
	if !o.withSecrets {
		return nil
	}
	app := a.cfg.Apps[t.App]
	switch {
	case o.secret != "":
		o.v.Secret, err = readSecret(c.InOrStdin(), o.secret)
	case o.v.ClientID != app.ClientID:
		return usageError{errors.New("the config has no secret of this client ID: give --secret")}
	case len(app.Secrets()) == 0:
		return usageError{fmt.Errorf("the app %s has no client secret in the config, and this connector can use nothing else: give --secret", t.App)}
	default:
		o.v.Secret, _, err = secretOf(app)
	}
	if err != nil {
		return err
	}
	if err := entra.CheckSecret(o.v.Secret); err != nil {
		return usageError{err}
	}
	if o.refresh == "" {
		return nil
	}
	o.v.RefreshToken, err = readSecret(c.InOrStdin(), o.refresh)
	return err
}
