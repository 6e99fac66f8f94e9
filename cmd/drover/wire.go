package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/collect"
	"drover/internal/config"
	"drover/internal/defender"
	"drover/internal/deliver"
	"drover/internal/entra"
	"drover/internal/format"
	"drover/internal/httpx"
	"drover/internal/ledger"
	"drover/internal/ledger/sqlite"
	"drover/internal/revision"
	"drover/internal/signin"
	"drover/internal/sink/file"
	"drover/internal/sink/splunk"
	"drover/internal/sink/stdout"
	"drover/internal/vault"
)

// app is the program put together from its config: the one place that knows
// everybody.
type app struct {
	cfg     *config.Config
	log     *slog.Logger
	clouds  entra.Clouds
	tokens  *entra.Tokens
	https   map[string]*httpx.Client // by cloud
	store   ledger.Store
	signIns *signin.Store  // by which tenants are read delegated
	keeping *signin.Keeper // of those that nobody reads by
	partner *partnerDesk   // the MSSP's standing as one; nil: it has none
	keys    vault.Keeper   // see keeper
	vault   *vault.Vault   // what was read there
	turn    sync.Mutex     // one master key follows at a time
	signing sync.Mutex     // the ledger is opened for one app's assertion at a time
	dial    dialer
	ends    ends
	// receivers are the clients of sinks that are reached by HTTP.
	receivers map[drover.SinkID]*httpx.Client
	meter     meter
	since     time.Time           // when it began to read, zero if it does not
	steady    bool                // feeds are read at the interval, whatever happens; only the benchmark wants that
	heard     func(collect.Event) // of what happens to feeds; only the benchmark has one
}

// dialer replaces the way to an address; only the demo and tests have one.
type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// load reads the config that the command line names.
func load(c *cobra.Command) (*config.Config, error) {
	path, err := c.Flags().GetString("config")
	if err != nil {
		return nil, err
	}
	cfg, err := config.Load(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, usageError{&drover.Error{Op: "read the config", Kind: drover.Refused, Err: fmt.Errorf("there is no %s", path), Hint: "name one with --config, or begin with a file of examples/"}}
	}
	return cfg, err
}

// loadApp puts the program together from the config that the command line names,
// for a command that speaks for itself.
func loadApp(c *cobra.Command) (*app, error) {
	cfg, err := load(c)
	if err != nil {
		return nil, err
	}
	return newApp(cfg, discard(), nil)
}

// logger writes what the config asks for to standard error.
func logger(cfg *config.Config) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.Log.Level)) // one of four words, checked by config
	opt := &slog.HandlerOptions{Level: level}
	if cfg.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, opt))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opt))
}

// newApp puts together what needs no ledger.
func newApp(cfg *config.Config, log *slog.Logger, dial dialer) (*app, error) {
	a := &app{cfg: cfg, log: log, https: make(map[string]*httpx.Client), dial: dial, receivers: make(map[drover.SinkID]*httpx.Client)}
	var custom []entra.Cloud
	for _, c := range cfg.Clouds {
		custom = append(custom, entra.Cloud{Name: c.Name, Authority: c.Authority, Graph: c.Graph, GraphResource: c.GraphResource, SIEM: c.SIEM.Map(), SIEMResource: c.SIEMResource,
			MDE: c.MDE, MDERegions: c.MDERegions.Map(), MDEResource: c.MDEResource, AllowPrivate: c.AllowPrivate, CAFile: c.CAFile})
	}
	var err error
	if a.clouds, err = entra.NewClouds(custom...); err != nil {
		return nil, err
	}
	for name, c := range a.clouds {
		if a.https[name], err = httpx.New(a.microsoft(c)); err != nil {
			return nil, fmt.Errorf("cloud %s: %w", name, err)
		}
	}
	a.signIns = a.newSignIns()
	a.tokens = a.newTokens(0)
	a.keeping = signin.NewKeeper(signin.Options{Store: a.signIns, Tokens: a.tokens, Log: log})
	if cfg.Partner != nil {
		a.partner = newPartnerDesk(a, *cfg.Partner)
	}
	return a, nil
}

// newTokens builds what gets tokens, with a time between two calls of an app; 0
// is the usual one.
func (a *app) newTokens(spacing time.Duration) *entra.Tokens {
	return entra.New(entra.Options{HTTP: func(c entra.Cloud) entra.Doer { return a.https[c.Name] }, Clouds: a.clouds, Apps: a.apps(), Refresh: a.signIns, Spacing: spacing})
}

// microsoft is how a cloud's hosts are reached.
func (a *app) microsoft(c entra.Cloud) httpx.Options {
	opt := httpx.Options{Proxy: a.cfg.Proxy.Microsoft, AllowPrivate: c.AllowPrivate, Dial: a.dial}
	for _, f := range []string{a.cfg.CA.Microsoft, c.CAFile} {
		if f != "" {
			opt.CAFiles = append(opt.CAFiles, f)
		}
	}
	return opt
}

// apps turns the config's apps into entra's.
func (a *app) apps() map[string]entra.App {
	out := make(map[string]entra.App, len(a.cfg.Apps))
	for name, c := range a.cfg.Apps {
		out[name] = a.entraApp(name, c)
	}
	if p := a.cfg.Partner; p != nil {
		e := a.entraApp(drover.PartnerApp, p.App())
		e.Master = master{a}
		out[drover.PartnerApp] = e
	}
	return out
}

// appOf is the app of a tenant, which is the onboarding app where it is read with
// the partner's account.
func (a *app) appOf(t drover.Tenant) (c config.App, ok bool) {
	if t.App == drover.PartnerApp && a.cfg.Partner != nil {
		return a.cfg.Partner.App(), true
	}
	c, ok = a.cfg.Apps[t.App]
	return c, ok
}

// appNames are those that a tenant may have.
func (a *app) appNames() []string {
	list := a.cfg.AppNames()
	if a.cfg.Partner != nil {
		list = append(list, drover.PartnerApp)
	}
	return list
}

func (a *app) entraApp(name string, c config.App) entra.App {
	e := entra.App{Name: name, ClientID: c.ClientID}
	switch {
	case c.Federated != nil:
		e.Federated = entra.TokenFile{Read: c.Federated.Read, Audience: c.Federated.Audience}
	case c.ManagedIdentity != nil:
		e.Federated = entra.ManagedIdentity{ClientID: c.ManagedIdentity.ClientID}
	case c.Certificate != nil:
		e.Certificate = func() (*entra.Certificate, error) { return a.certificateOf(c) }
		if c.Certificate.Sealed {
			e.Signed = func(ctx context.Context, endpoint string) (drover.Secret, error) { return a.signed(ctx, c, endpoint) }
		}
	case c.Secret != nil:
		e.Secret = func() (drover.Secret, error) {
			s, _, err := secretOf(c)
			return s, err
		}
	}
	return e
}

// secretOf returns an app's client secret to use now, and when it ends.
func secretOf(c config.App) (drover.Secret, time.Time, error) {
	var list []entra.DatedSecret
	for _, s := range c.Secrets() {
		list = append(list, entra.DatedSecret{Read: s.Ref.Read, Until: s.Until})
	}
	return entra.Newest(time.Now(), list)
}

// openLedger opens the ledger and makes it known to the app. A master key that
// does not exist is made together with a new ledger, never for an old one.
func (a *app) openLedger(ctx context.Context) error {
	v, err := a.openVault(ctx)
	if err != nil {
		return err
	}
	return a.openWith(ctx, v)
}

func (a *app) openWith(ctx context.Context, v *vault.Vault) error {
	store, err := sqlite.Open(ctx, a.ledgerOptions(v))
	if err != nil {
		return hintLedger(a.cfg, err)
	}
	a.store = store
	return nil
}

func (a *app) ledgerOptions(v *vault.Vault) sqlite.Options {
	return sqlite.Options{Dir: a.cfg.Ledger.Dir, Vault: v, Limit: int64(a.cfg.Ledger.Limit), Region: a.cfg.Ledger.Region, AllowNetworkFS: a.cfg.Ledger.AllowNetworkFS}
}

// closeLedger waits for tokens that are on their way, since a refresh token that
// has been asked for must be kept, then closes the ledger.
func (a *app) closeLedger() error {
	a.tokens.Wait()
	return a.store.Close()
}

func denied(op, hint string, err error) error {
	return &drover.Error{Op: op, Kind: drover.Denied, Hint: hint, Err: err}
}

// hintLedger adds the way out to an error of opening the ledger.
func hintLedger(cfg *config.Config, err error) error {
	switch {
	case errors.Is(err, ledger.ErrLocked):
		return &drover.Error{Op: "open the ledger", Kind: drover.Transient, Err: err, Hint: "another drover has it open; stop that one first, or use its commands: drover status, drover tenant …"}
	case errors.Is(err, ledger.ErrElsewhere):
		return &drover.Error{Op: "open the ledger", Kind: drover.Denied, Err: err, Hint: "if it was moved here on purpose and nothing runs there any more, type: drover ledger adopt"}
	case errors.Is(err, os.ErrPermission):
		return &drover.Error{Op: "open the ledger", Kind: drover.Denied, Err: err, Hint: "the user that runs drover must own " + cfg.Ledger.Dir}
	}
	return err
}

// sources builds the readers of the APIs.
func (a *app) sources() []drover.Source {
	opt := func(s drover.SourceID) defender.Options {
		return defender.Options{Tokens: a.tokens, PageSize: a.cfg.Collect.PageSize,
			HTTP: func(t drover.Tenant) (defender.Doer, error) { return a.doer(t, s) },
			Host: func(t drover.Tenant) (string, error) {
				c, err := a.clouds.Of(t)
				if err != nil {
					return "", err
				}
				return c.Host(s, t.Region)
			}}
	}
	return []drover.Source{defender.NewGraphAlerts(opt(drover.GraphAlerts)), defender.NewGraphIncidents(opt(drover.GraphIncidents)),
		defender.NewMDEAlerts(opt(drover.MDEAlerts)), defender.NewSIEMDetections(opt(drover.SIEMDetections))}
}

// doer makes a source's requests for a tenant, and counts them where the API's
// limits are known.
func (a *app) doer(t drover.Tenant, s drover.SourceID) (defender.Doer, error) {
	c, err := a.clouds.Of(t)
	if a.allowance(t, s) == 0 {
		return a.https[c.Name], err
	}
	return counting{a.https[c.Name], &a.meter, drover.Feed{Tenant: t.ID, Source: s}}, err
}

// allSources are the sources that a tenant can be read by.
var allSources = []drover.SourceID{drover.GraphAlerts, drover.GraphIncidents, drover.MDEAlerts, drover.SIEMDetections}

// sourceNames lists them for a person.
func sourceNames() string {
	known := make([]string, 0, len(allSources))
	for _, a := range allSources {
		known = append(known, string(a))
	}
	return strings.Join(known, ", ")
}

// unknownSource is the error of a source that does not exist.
func unknownSource(s drover.SourceID) error {
	return usageError{fmt.Errorf("there is no source %q; known are: %s", s, sourceNames())}
}

// serves says why a tenant's cloud does not have a source.
func (a *app) serves(t drover.Tenant, s drover.SourceID) error {
	if t.App == drover.PartnerApp {
		if err := a.partner.serves(t, s); err != nil {
			return err
		}
	}
	c, err := a.clouds.Of(t)
	if err == nil {
		_, err = c.Host(s, t.Region)
	}
	return err
}

// compare is how revisions are told apart.
func (a *app) compare() revision.Comparer { return revision.Comparer{} }

// destinations builds the sinks.
func (a *app) destinations() (out []deliver.Destination, err error) {
	for _, id := range a.cfg.SinkIDs() {
		c := a.cfg.Sinks[id]
		enc, err := format.New(c.Format)
		if err != nil {
			return out, err
		}
		s, err := a.sink(c)
		if err != nil {
			return out, denied("open sink "+string(id), "", err)
		}
		out = append(out, deliver.Destination{ID: id, Sink: s, Format: enc, MaxRecords: c.Batch.MaxRecords, MaxBytes: int(c.Batch.MaxBytes), MaxAge: c.Batch.MaxAge, Lanes: c.Lanes, FromAll: c.From == "all", Revisions: revision.Choice(c.Revisions), Manifests: c.Manifests})
	}
	return out, nil
}

func (a *app) sink(c config.Sink) (drover.Sink, error) {
	switch c.Type {
	case config.TypeFile:
		return file.New(file.Options{Root: c.File.Root, Path: c.File.Path, Sink: c.ID, MaxBytes: int64(c.File.Rotate.MaxBytes), MaxAge: c.File.Rotate.MaxAge})
	case config.TypeStdout:
		return stdout.New(os.Stdout), nil
	case config.TypeSplunkHEC:
		return a.splunk(c)
	}
	return nil, fmt.Errorf("there is no sink of type %q", c.Type)
}

func (a *app) splunk(c config.Sink) (drover.Sink, error) {
	h := c.SplunkHEC
	opt := httpx.Options{Proxy: a.cfg.Proxy.Sinks, AllowPrivate: true, Dial: a.dial}
	for _, f := range []string{a.cfg.CA.Sinks, h.CAFile} {
		if f != "" {
			opt.CAFiles = append(opt.CAFiles, f)
		}
	}
	client, err := httpx.New(opt)
	if err != nil {
		return nil, err
	}
	a.receivers[c.ID] = client
	return splunk.New(splunk.Options{URL: h.URL, HTTP: client, Ack: h.Ack, MaxBytes: int(c.Batch.MaxBytes), Target: func(t drover.Tenant) splunk.Target {
		own := h.For(t)
		return splunk.Target{Token: own.Token.Read, TokenName: tokenName(own.Token), Index: own.Index, Host: own.Host, Source: own.Source, Sourcetype: own.Sourcetype}
	}})
}

// tokenName tells tokens apart by where they are kept, never by what they are.
// Two files of one name in two directories are two tokens.
func tokenName(r *config.SecretRef) string {
	switch {
	case r.Env != "":
		return "env:" + r.Env
	case r.Credential != "":
		return "credential:" + r.Credential
	}
	return r.File
}

// newSignIns builds what keeps delegated refresh tokens in the ledger.
func (a *app) newSignIns() *signin.Store {
	return &signin.Store{
		Ledger: func() signin.Ledger {
			if a.store == nil {
				return nil
			}
			return a.store
		},
		Cloud: func(t drover.Tenant) (name, authority string) {
			c := a.clouds[t.Cloud]
			return c.Name, c.Authority
		},
	}
}

// seal stores the refresh token of a new sign-in, or destroys what is there.
func (a *app) seal(ctx context.Context, t drover.Tenant, token drover.Secret) error {
	if t.App == drover.PartnerApp && !token.Empty() {
		return usageError{&drover.Error{Op: "keep the sign-in", Tenant: t.ID, Kind: drover.Refused, Hint: "give the tenant another app first", Err: errors.New("it is read with the partner's account, and needs no sign-in of its own")}}
	}
	defer a.tokens.Drop(t.ID)
	return a.signIns.Seal(ctx, t, token)
}

// local is the operator's view of an open ledger.
func (a *app) local() *admin.Local {
	l := &admin.Local{
		Store: a.store, Clouds: a.clouds.Names(), Apps: a.appNames(), Sinks: a.cfg.SinkIDs(), DefaultStart: a.cfg.Collect.Start,
		Check:            a.checkTenant,
		Serves:           a.serves,
		Forget:           a.tokens.Drop,
		PruneOnce:        a.pruneOnce,
		Ends:             a.ending,
		Revisions:        a.revisions(),
		Routed:           a.cfg.Routes.Routed,
		AuditWith:        a.auditAlone,
		Allowance:        a.allowance,
		SealRefreshToken: a.seal,
		SignIn:           a.signIn,
		Cover:            a.cover,
		InvitePage:       a.cfg.Listen.Invitations.URL,
		Consents:         a.consents,
		AppKeys:          (*appRing)(a),
		CheckKeys:        a.checkKeys,
		RotateKey:        a.rotateKey,
	}
	if a.partner != nil {
		l.Partners = a.partner
	}
	return l
}

// revisions says what each sink is given.
func (a *app) revisions() map[drover.SinkID]revision.Choice {
	out := make(map[drover.SinkID]revision.Choice)
	for id, s := range a.cfg.Sinks {
		out[id] = revision.Choice(s.Revisions)
	}
	return out
}

// operator opens the ledger, or asks the process that has it open. close must
// be called.
func operator(c *cobra.Command) (api admin.API, done func() error, err error) {
	a, err := loadApp(c)
	if err != nil {
		return nil, nil, err
	}
	return a.operator(c.Context())
}

func (a *app) operator(ctx context.Context) (api admin.API, done func() error, err error) {
	running := func() error { return nil }
	// A process that runs has its key: no keyring and no Key Vault is asked once
	// more.
	if admin.Answers(a.cfg.Ledger.Dir) {
		return admin.Dial(a.cfg.Ledger.Dir), running, nil
	}
	err = a.openLedger(ctx)
	// It may have begun to answer only now.
	if (errors.Is(err, ledger.ErrLocked) || errors.Is(err, errSealed)) && admin.Answers(a.cfg.Ledger.Dir) {
		return admin.Dial(a.cfg.Ledger.Dir), running, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return a.local(), a.closeLedger, nil
}

// discard is the log of commands that speak for themselves.
func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
