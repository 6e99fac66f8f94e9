package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	"drover/internal/sink/file"
	"drover/internal/sink/splunk"
	"drover/internal/sink/stdout"
	"drover/internal/vault"
)

// app is the program put together from its config: the one place that knows
// everybody.
type app struct {
	cfg    *config.Config
	log    *slog.Logger
	clouds entra.Clouds
	tokens *entra.Tokens
	https  map[string]*httpx.Client // by cloud
	store  ledger.Store
	dial   dialer
	ends   ends
	// partner is the MSSP's standing as one; nil: it has none.
	partner *partnerDesk
	// receivers are the clients of sinks that are reached by HTTP.
	receivers map[drover.SinkID]*httpx.Client
	meter     meter
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
	a.tokens = a.newTokens(0)
	if cfg.Partner != nil {
		a.partner = newPartnerDesk(a, *cfg.Partner)
	}
	return a, nil
}

// newTokens builds what gets tokens, with a time between two calls of an app; 0
// is the usual one.
func (a *app) newTokens(spacing time.Duration) *entra.Tokens {
	return entra.New(entra.Options{HTTP: func(c entra.Cloud) entra.Doer { return a.https[c.Name] }, Clouds: a.clouds, Apps: a.apps(), Refresh: (*refreshStore)(a), Spacing: spacing})
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
		out[name] = entraApp(name, c)
	}
	return out
}

func entraApp(name string, c config.App) entra.App {
	e := entra.App{Name: name, ClientID: c.ClientID}
	switch {
	case c.Certificate != nil:
		e.Certificate = func() (*entra.Certificate, error) { return certificateOf(c) }
	case c.Secret != nil:
		e.Secret = func() (drover.Secret, error) {
			s, _, err := secretOf(c)
			return s, err
		}
	}
	return e
}

// certificateOf returns an app's certificate to use now.
func certificateOf(c config.App) (*entra.Certificate, error) {
	cert, key, err := c.Certificate.Read()
	if err != nil {
		return nil, err
	}
	return entra.ParseCertificate(cert, key.Bytes(), time.Now())
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
	v, err := openVault(a.cfg)
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

func openVault(cfg *config.Config) (*vault.Vault, error) {
	if file := cfg.Vault.KeyFile; file != "" {
		_, noKey := os.Lstat(file)
		_, noLedger := os.Stat(filepath.Join(cfg.Ledger.Dir, "ledger.db"))
		if errors.Is(noKey, os.ErrNotExist) && errors.Is(noLedger, os.ErrNotExist) {
			if err := vault.Create(file); err != nil {
				return nil, denied("make the master key", "name another file under vault: key_file:", err)
			}
		}
	}
	return readKey(cfg)
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

// refreshStore keeps delegated refresh tokens in the ledger.
type refreshStore app

func (r *refreshStore) key(t drover.Tenant) ledger.CredentialKey {
	c := r.clouds[t.Cloud]
	return ledger.CredentialKey{Tenant: t.ID, App: t.App, Kind: "refresh_token", Cloud: c.Name, Authority: c.Authority}
}

// Load implements entra.RefreshStore.
func (r *refreshStore) Load(ctx context.Context, t drover.Tenant) (entra.Refresh, bool, error) {
	if r.store == nil {
		return entra.Refresh{}, false, nil
	}
	c, err := r.store.Credential(ctx, r.key(t))
	if errors.Is(err, ledger.ErrNotFound) {
		return entra.Refresh{}, false, nil
	}
	return entra.Refresh{Token: c.Secret, Previous: c.Previous, Version: c.Version}, err == nil, err
}

// Save implements entra.RefreshStore.
func (r *refreshStore) Save(ctx context.Context, t drover.Tenant, v entra.Refresh) error {
	_, err := r.store.PutCredential(ctx, ledger.Credential{CredentialKey: r.key(t), Secret: v.Token, Previous: v.Previous, Expires: drover.NoInstant}, v.Version)
	if errors.Is(err, ledger.ErrConflict) {
		return entra.ErrConflict
	}
	return err
}

// seal replaces what is there by the token of a new sign-in, also while the one
// before is being renewed; an empty one destroys it.
func (r *refreshStore) seal(ctx context.Context, t drover.Tenant, token drover.Secret) error {
	defer r.tokens.Drop(t.ID)
	if token.Empty() {
		if err := r.store.DropCredential(ctx, r.key(t)); !errors.Is(err, ledger.ErrNotFound) {
			return err
		}
		return nil
	}
	for {
		old, _, err := r.Load(ctx, t)
		if err != nil {
			return err
		}
		if err = r.Save(ctx, t, entra.Refresh{Token: token, Version: old.Version}); !errors.Is(err, entra.ErrConflict) {
			return err
		}
	}
}

// local is the operator's view of an open ledger.
func (a *app) local() *admin.Local {
	l := &admin.Local{
		Store: a.store, Clouds: a.clouds.Names(), Apps: slices.Sorted(maps.Keys(a.cfg.Apps)), Sinks: a.cfg.SinkIDs(), DefaultStart: a.cfg.Collect.Start,
		Check:     a.checkTenant,
		Serves:    a.serves,
		Forget:    a.tokens.Drop,
		PruneOnce: a.pruneOnce,
		Ends:      a.ending,
		Revisions: a.revisions(),
		Routed:    a.cfg.Routes.Routed,
		AuditWith: a.auditAlone,
		Allowance: a.allowance,
		SealRefreshToken: func(ctx context.Context, t drover.Tenant, token drover.Secret) error {
			return (*refreshStore)(a).seal(ctx, t, token)
		},
		Cover: a.cover,
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
	cfg, err := load(c)
	if err != nil {
		return nil, nil, err
	}
	a, err := newApp(cfg, discard(), nil)
	if err != nil {
		return nil, nil, err
	}
	err = a.openLedger(c.Context())
	// A process that runs has its key, whatever has become of the file.
	if (errors.Is(err, ledger.ErrLocked) || errors.Is(err, errSealed)) && admin.Answers(cfg.Ledger.Dir) {
		return admin.Dial(cfg.Ledger.Dir), func() error { return nil }, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return a.local(), a.store.Close, nil
}

// checkTenant gets a token and reads the newest minute of each feed.
func (a *app) checkTenant(ctx context.Context, t drover.Tenant) (out []admin.Finding) {
	if t.State == drover.Removed {
		return a.checkGone(ctx, t)
	}
	a.tokens.Forget(t.ID)
	if c, ok := a.cfg.Apps[t.App]; ok {
		out = append(out, a.checkApp(c)...)
	}
	now := drover.NoInstant
	for _, s := range a.sources() {
		if !slices.Contains(t.Sources, s.ID()) {
			continue
		}
		if err := a.serves(t, s.ID()); err != nil {
			out = append(out, admin.Finding{What: string(s.ID()), Says: err.Error(), Hint: admin.Hint(err)})
			continue
		}
		if _, err := a.tokens.Token(ctx, t, s.ID()); err != nil {
			out = append(out, admin.Finding{What: string(s.ID()) + " token", Says: err.Error(), Hint: admin.Hint(err)})
			continue
		}
		out = append(out, admin.Finding{What: string(s.ID()) + " token", OK: true, Says: "Entra gave a token that fits"})
		if now == drover.NoInstant {
			now = nowInstant()
		}
		if _, err := s.Read(t, drover.Span{From: now.Add(-minute), To: now}).Next(ctx); err != nil {
			out = append(out, admin.Finding{What: string(s.ID()), Says: err.Error(), Hint: admin.Hint(err)})
			continue
		}
		out = append(out, admin.Finding{What: string(s.ID()), OK: true, Says: "the API answers"})
	}
	return out
}

// discard is the log of commands that speak for themselves.
func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
