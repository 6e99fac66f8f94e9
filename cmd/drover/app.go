package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/config"
	"drover/internal/entra"
	"drover/internal/registration"
)

const appHelp = `app looks after the registration of the application with which customers' tenants
are read, in the MSSP's own tenant. An admin of the MSSP signs in for it, in a
browser or by a code; manual asks nobody. NAME is the app's name under apps: in the
config (default: default).

  drover app create --home mssp.example    register it; prints the lines for the config
  drover app manual --home mssp.example    or: the portal's steps, to do it by hand
  drover app check                         what ends, and what others have put on it
  drover app rotate                        a new credential beside the one in use`

func newAppCommand() *cobra.Command {
	c := &cobra.Command{Use: "app", Short: "Register the MSSP's application, look after it, or print how to do it by hand", Long: appHelp, Args: noArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(newAppCreate(), newAppShow(), newAppCheck(), newAppRotate(), newAppManual())
	return c
}

// appOptions are what the commands have in common. Name is that of the app in
// the config.
type appOptions struct {
	name, home, cloud, signInWith string
	homeID                        string // of home, as the sign-in tells it
	browser, device, noOpen       bool
	keyFile                       string // where a certificate's key is kept if not sealed
	inFiles                       bool   // it is, by the config or by keyFile
	unconfigured                  bool   // there is no config yet
}

func (o *appOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.home, "home", "", "the MSSP's own tenant, in which the app is registered: ID or domain")
	f.StringVar(&o.cloud, "cloud", "", "cloud of that tenant (default: as the config says, else "+entra.DefaultCloud+")")
	f.StringVar(&o.signInWith, "sign-in-with", graphTools, "application ID with which the admin signs in: a public client with http://localhost, such as Microsoft Graph Command Line Tools")
	f.BoolVar(&o.browser, "browser", false, "sign in with a browser on this machine (the default where there is one)")
	f.BoolVar(&o.device, "device", false, "sign in anywhere, with a code that is typed there (the default elsewhere)")
	f.BoolVar(&o.noOpen, "no-open", false, "do not open a browser, only print the address")
	c.MarkFlagsMutuallyExclusive("browser", "device")
}

// appName is the optional argument: an app's name in the config.
var appName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// begin reads the argument and the config; one that does not exist yet is like
// an empty one.
func (o *appOptions) begin(c *cobra.Command, args []string) (*app, error) {
	if len(args) > 1 {
		return nil, usageError{fmt.Errorf("%s takes one name; see: %s --help", c.CommandPath(), c.CommandPath())}
	}
	o.name = "default"
	if len(args) == 1 {
		o.name = args[0]
	}
	if !appName.MatchString(o.name) {
		return nil, usageError{fmt.Errorf("%q is no name for an app: small letters, digits and hyphens", o.name)}
	}
	cfg, err := load(c)
	if errors.Is(err, os.ErrNotExist) || noConfig(c) {
		path, _ := c.Flags().GetString("config")
		cfg, err = config.Parse(path, []byte("{}"))
		o.unconfigured = true
	}
	if err != nil {
		return nil, err
	}
	a, err := newApp(cfg, discard(), nil)
	if err != nil {
		return nil, err
	}
	if have, ok := cfg.Apps[o.name]; ok {
		o.cloud = cmp.Or(o.cloud, have.Cloud)
	}
	if o.cloud = cmp.Or(o.cloud, entra.DefaultCloud); a.clouds[o.cloud].Graph == "" {
		return nil, usageError{fmt.Errorf("there is no cloud %q with a Graph; known are %s", o.cloud, strings.Join(a.clouds.Names(), ", "))}
	}
	return a, nil
}

func noConfig(c *cobra.Command) bool {
	path, _ := c.Flags().GetString("config")
	_, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist)
}

var domainOrID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*$`)

// graph signs the admin in at the home tenant and returns Graph.
func (o *appOptions) graph(c *cobra.Command, a *app) (*registration.Client, error) {
	o.home = cmp.Or(o.home, a.cfg.Apps[o.name].HomeTenant)
	if o.home == "" {
		return nil, usageError{errors.New("name the tenant in which the app is registered, the MSSP's own: --home ID or domain, or home_tenant: of the app")}
	}
	if !domainOrID.MatchString(o.home) {
		return nil, usageError{fmt.Errorf("%q is neither a tenant ID nor a domain", o.home)}
	}
	cloud := a.clouds[o.cloud]
	token, err := graphSignIn(c.Context(), signInRequest{tokens: a.tokens, cloud: cloud, home: o.home, clientID: o.signInWith, device: o.device || !o.browser && !browserHere(), noOpen: o.noOpen, say: c.ErrOrStderr()})
	if err != nil {
		return nil, err
	}
	// A domain names a directory; what the customers enter is its ID.
	if d, ok := entra.Describe(token); ok && drover.IsGUID(d.TID) {
		o.homeID = strings.ToLower(d.TID)
	}
	return registration.New(registration.Options{HTTP: a.https[o.cloud], Graph: cloud.Graph, Token: token}), nil
}

// appFiles are where an app's credential and its record are.
type appFiles struct{ cert, key, secret, record string }

// files are those that the config names, else those beside it.
func (o *appOptions) files(c *cobra.Command, cfg *config.Config) (f appFiles, err error) {
	path, err := c.Flags().GetString("config")
	if err != nil {
		return f, err
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return f, err
	}
	base := filepath.Join(dir, "apps", o.name)
	f = appFiles{cert: base + ".pem", key: base + ".key", secret: base + ".secret", record: base + ".json"}
	have := cfg.Apps[o.name].Certificate
	if have != nil && !have.Sealed {
		f.cert, f.key, o.inFiles = have.File, have.KeyFile, true
	}
	if o.keyFile != "" {
		if f.key, err = filepath.Abs(o.keyFile); err != nil {
			return f, err
		}
		f.cert, o.inFiles = strings.TrimSuffix(f.key, ".key")+".pem", true
	}
	return f, nil
}

// where is the place of an app's certificates.
func (o *appOptions) where(c *cobra.Command, appID string, f appFiles) appPairs {
	if o.inFiles {
		return filePairs{f.cert, f.key}
	}
	return sealedPairs{c, admin.AppRef{ClientID: appID, Cloud: o.cloud}}
}

// keyFlag is the choice of files.
func (o *appOptions) keyFlag(c *cobra.Command) {
	c.Flags().StringVar(&o.keyFile, "key-file", "", "keep the certificate's key in this file, and the certificate beside it (.pem), in place of the ledger")
}

// permissionFlags are the sources that are to be read, and more permissions.
type permissionFlags struct{ sources, more []string }

func (p *permissionFlags) flags(c *cobra.Command) {
	c.Flags().StringSliceVar(&p.sources, "source", []string{string(drover.GraphAlerts)}, "what is to be read: "+strings.Join(names(allSources), ", "))
	c.Flags().StringSliceVar(&p.more, "role", nil, "one more permission: its value for Microsoft Graph, or defender/VALUE")
}

func names(list []drover.SourceID) (out []string) {
	for _, s := range list {
		out = append(out, string(s))
	}
	return out
}

// list is what the app asks for: for each source the first permission that opens
// it. The SIEM API has none: the customer's portal lists the app (reference
// mssp-onboarding §4). But a sign-in for it is refused (AADSTS650057) unless the
// registration names the API whose audience its tokens have (§2): by the least
// permission there is, a signed-in user's own profile.
func (p permissionFlags) list() (out []registration.Permission, err error) {
	add := func(api, value string) {
		if one := (registration.Permission{API: api, Value: value}); !slices.Contains(out, one) {
			out = append(out, one)
		}
	}
	for _, s := range p.sources {
		id := drover.SourceID(s)
		if !slices.Contains(allSources, id) {
			return nil, unknownSource(id)
		}
		if id == drover.SIEMDetections {
			out = append(out, registration.Permission{API: registration.OldGraph, Value: "User.Read", Scope: true})
		}
		if wants := entra.Wants(id); wants != nil {
			add(map[bool]string{true: registration.Defender, false: registration.Graph}[id == drover.MDEAlerts], wants[0])
		}
	}
	for _, r := range p.more {
		if value, ok := strings.CutPrefix(r, "defender/"); ok {
			add(registration.Defender, value)
		} else {
			add(registration.Graph, r)
		}
	}
	return out, registration.OnlyRead(out)
}

// seedRedirect is the redirect URI of the vendor's manual since 2018; its page
// for user sign-ins sends people there.
const seedRedirect = "https://SiemMsspConnector"

// modelFlags say whose app it is.
type modelFlags struct {
	customer, display string
	redirects         []string
}

func (m *modelFlags) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&m.customer, "customer", "", "one app for this customer alone, as the manual has it; without it one for all customers")
	f.StringVar(&m.display, "name", "", `name in the directory (default "<customer or home> SIEM MSSP Connector")`)
	f.StringSliceVar(&m.redirects, "redirect", []string{"http://localhost", seedRedirect}, "redirect URIs, where consent and sign-ins lead; that of the page for invitations (listen: invitations: url) comes besides")
}

// withPage adds where the page for invitations leads back to, if there is one:
// the app must have it, or no link of drover tenant invite works.
func (m *modelFlags) withPage(cfg *config.Config) {
	if page := cfg.Listen.Invitations; page.URL != "" && !slices.Contains(m.redirects, page.Redirect()) {
		m.redirects = append(slices.Clone(m.redirects), page.Redirect())
	}
}

// displayName follows the manual's pattern.
func (m modelFlags) displayName(home string) string {
	return cmp.Or(m.display, cmp.Or(m.customer, home, "MSSP")+" SIEM MSSP Connector")
}

// say prints lines, and keeps the first error.
func say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }

// graphSignIn signs an admin in to Graph and returns a delegated token that may
// register applications. Tests put another in its place.
var graphSignIn func(context.Context, signInRequest) (drover.Secret, error) = signInToGraph
