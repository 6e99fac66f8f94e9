package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"drover"
	"drover/internal/coverage"
	"drover/internal/ledger"
	"drover/internal/revision"
)

// Local answers from an open ledger.
type Local struct {
	Store ledger.Store
	// AppKeys keeps apps' keys in the store; nil where nobody asks for them.
	AppKeys
	// Known says what the config allows; nil members allow everything.
	Clouds, Apps []string
	Sinks        []drover.SinkID
	// Revisions says what each sink is given, and Routed whether a tenant's
	// revisions from a source go to it; nil members mean all.
	Revisions map[drover.SinkID]revision.Choice
	Routed    func(t drover.Tenant, from drover.SourceID, to drover.SinkID) bool
	// DefaultStart is what a tenant begins with when none is said.
	DefaultStart string
	// Check asks for a tenant's tokens and makes a test call to each feed. s is
	// what the ledger knows of it. It may be nil.
	Check func(ctx context.Context, t drover.Tenant, s TenantStatus, fresh bool) TenantCheck
	// Serves says why a tenant's cloud does not have a source, nil if it does. It
	// may be nil.
	Serves func(t drover.Tenant, s drover.SourceID) error
	// SealRefreshToken stores a delegated credential in place of the one before,
	// or destroys that if it is empty. It may be nil.
	SealRefreshToken func(ctx context.Context, t drover.Tenant, token drover.Secret) error
	// SignIn says how a tenant's sign-in stands, nil if it has none. It may be
	// nil.
	SignIn func(ctx context.Context, t drover.Tenant) *SignInStatus
	// InvitePage is the public address of the page that links lead to, "" if
	// there is none. Consents says why an app has no permissions of its own that
	// could be consented to, and InvitationChanged is told what an operator did.
	// They may be nil.
	InvitePage        string
	Consents          func(app string) error
	InvitationChanged func(id string)
	// Forget drops what the process holds in memory of a tenant that has been
	// removed. It may be nil.
	Forget func(drover.TenantID)
	// PruneOnce throws away a slice of what may go. It may be nil.
	PruneOnce func(ctx context.Context, confirmed bool) (ledger.Pruned, error)
	// AuditWith audits tenants and tells how it goes. It may be nil.
	AuditWith func(ctx context.Context, o AuditOrder, tenants []drover.TenantID, says func(line string)) (json.RawMessage, error)
	// Whole tells when feeds were last read whole, where that is not in the
	// ledger yet. It may be nil.
	Whole func() map[drover.Feed]drover.Instant
	// Skew tells how far the APIs' clocks are ahead of ours, EntraSkew how far
	// Entra's is. They may be nil.
	Skew      func() map[drover.Feed]time.Duration
	EntraSkew func() (time.Duration, bool)
	// Ends lists what ends soon. It may be nil.
	Ends func() []EndStatus
	// Cover asks each feed of a tenant what its token carries and whether the
	// API answers; fresh: with new tokens. It may be nil.
	Cover func(ctx context.Context, t drover.Tenant, fresh bool) []coverage.Source
	// CheckKeys and RotateKey are CheckVault and RotateVault. They may be nil.
	CheckKeys func(ctx context.Context) ([]Finding, error)
	RotateKey func(ctx context.Context, keepOld bool) (KeyRotation, error)
	// Allowance is how many requests a minute a tenant's source may get; 0: not
	// known. It may be nil.
	Allowance func(t drover.Tenant, s drover.SourceID) int
	// Watch and SilentSources are what a running process has seen. Both may be nil.
	Watch         func() map[drover.Feed]FeedWatch
	SilentSources func() []SilentSource
	// Partners knows the MSSP's own standing as a partner; nil: it has none.
	Partners Partnering
	// Started is when the process began to read, zero if it does not.
	Started time.Time

	audits audits
}

var _ API = (*Local)(nil)

// usage returns an error about what was asked for.
func usage(op, hint string, err error) error {
	return &drover.Error{Op: op, Kind: drover.Refused, Hint: hint, Err: err}
}

// AddTenant checks and stores a new tenant.
func (l *Local) AddTenant(ctx context.Context, n NewTenant) (drover.Tenant, error) {
	const op = "add tenant"
	n.Name = strings.ToLower(orDefault(n.Name, n.Customer))
	t, wrong := l.wanted(n, nil, time.Now())
	if len(wrong) > 0 {
		return drover.Tenant{}, usage(op, wrong[0].Hint, errors.New(wrong[0].Text))
	}
	if err := l.Store.AddTenant(ctx, t); err != nil {
		if errors.Is(err, ledger.ErrConflict) {
			return drover.Tenant{}, usage(op, "see: drover tenant list", fmt.Errorf("a tenant with the ID %s or the name %s is already there", t.ID, t.Name))
		}
		return drover.Tenant{}, err
	}
	if n.RefreshToken != "" && l.SealRefreshToken != nil {
		if err := l.SealRefreshToken(ctx, t, drover.NewSecret(n.RefreshToken)); err != nil {
			return t, fmt.Errorf("the tenant was added, but its refresh token could not be stored: %w", err)
		}
	}
	return t, nil
}

func orDefault(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

func oneOf(what, got string, allowed []string) error {
	if allowed == nil {
		return nil
	}
	for _, a := range allowed {
		if a == got {
			return nil
		}
	}
	return fmt.Errorf("there is no %s named %q; known are: %s", what, got, strings.Join(allowed, ", "))
}

// ParseStart reads "now", an instant, or an age such as 90m, 24h or 30d.
func ParseStart(s string, now time.Time) (drover.Instant, error) {
	if s == "now" || s == "" {
		return drover.InstantOf(now), nil
	}
	if i, err := drover.ParseInstant(s); err == nil {
		return i, nil
	}
	if i, err := drover.ParseInstant(s + "T00:00:00Z"); err == nil {
		return i, nil
	}
	if n, ok := strings.CutSuffix(s, "d"); ok {
		if days, err := strconv.Atoi(n); err == nil && days >= 0 && days <= 3650 {
			return drover.InstantOf(now.AddDate(0, 0, -days)), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return drover.InstantOf(now.Add(-d)), nil
	}
	return drover.NoInstant, fmt.Errorf("%q is no starting point: say now, an instant such as 2026-03-02T08:00:00Z, or an age such as 24h or 30d", s)
}

func (l *Local) find(ctx context.Context, op, idOrName string) (drover.Tenant, error) {
	t, err := l.Store.FindTenant(ctx, idOrName)
	if errors.Is(err, ledger.ErrNotFound) {
		return t, usage(op, "see: drover tenant list", fmt.Errorf("there is no tenant %q", idOrName))
	}
	return t, err
}

// Tenants lists all tenants with their feeds.
func (l *Local) Tenants(ctx context.Context) ([]TenantStatus, error) {
	tenants, err := l.Store.ListTenants(ctx)
	if err != nil {
		return nil, err
	}
	feeds, err := l.Store.Feeds(ctx)
	if err != nil {
		return nil, err
	}
	var live map[drover.Feed]drover.Instant
	if l.Whole != nil {
		live = l.Whole()
	}
	var skew map[drover.Feed]time.Duration
	if l.Skew != nil {
		skew = l.Skew()
	}
	var seen map[drover.Feed]FeedWatch
	if l.Watch != nil {
		seen = l.Watch()
	}
	held, err := l.held(ctx)
	if err != nil {
		return nil, err
	}
	byTenant := make(map[drover.TenantID][]FeedStatus, len(tenants))
	for _, f := range feeds {
		if w, ok := live[f.Feed]; ok {
			f.Whole = max(f.Whole, w)
		}
		s := FeedStatus{Source: f.Feed.Source, Through: drover.NoInstant, LastWhole: f.Whole, Revisions: f.Head, Parked: f.Parked, OpenGaps: len(f.Gaps)}
		s.Through = f.Whole
		if f.Cursor.Source != "" {
			s.Through = max(f.Cursor.Through, f.Whole)
		}
		if d, ok := skew[f.Feed]; ok {
			s.ClockAhead = &d
		}
		if w, ok := seen[f.Feed]; ok {
			s.Watch = &w
		}
		byTenant[f.Feed.Tenant] = append(byTenant[f.Feed.Tenant], s)
	}
	out := make([]TenantStatus, 0, len(tenants))
	for _, t := range tenants {
		for i := range byTenant[t.ID] {
			byTenant[t.ID][i].Secondary = t.Secondary(byTenant[t.ID][i].Source)
		}
		var signIn *SignInStatus
		if l.SignIn != nil {
			signIn = l.SignIn(ctx, t)
		}
		out = append(out, TenantStatus{ID: t.ID, Name: t.Name, Customer: t.Customer, Cloud: t.Cloud, App: t.App, Region: t.Region, State: t.State, Start: t.Start, Added: t.Added,
			Regions: t.Regions, Sources: t.Sources, Held: held[t.ID], Primary: t.Primary(), SignIn: signIn, Unproven: t.Unproven(), Feeds: byTenant[t.ID]})
	}
	return out, nil
}

// Tenant returns one tenant.
func (l *Local) Tenant(ctx context.Context, idOrName string) (TenantStatus, error) {
	t, err := l.find(ctx, "show tenant", idOrName)
	if err != nil {
		return TenantStatus{}, err
	}
	all, err := l.Tenants(ctx)
	if err != nil {
		return TenantStatus{}, err
	}
	for _, s := range all {
		if s.ID == t.ID {
			return s, nil
		}
	}
	return TenantStatus{}, ledger.ErrNotFound
}

// PauseTenant stops reading a tenant; what is in the ledger is delivered.
func (l *Local) PauseTenant(ctx context.Context, idOrName string) error {
	return l.setState(ctx, "pause tenant", idOrName, drover.Paused)
}

// ResumeTenant reads a paused tenant again, from where it was.
func (l *Local) ResumeTenant(ctx context.Context, idOrName string) error {
	return l.setState(ctx, "resume tenant", idOrName, drover.Active)
}

func (l *Local) setState(ctx context.Context, op, idOrName string, s drover.TenantState) error {
	t, err := l.find(ctx, op, idOrName)
	if err != nil {
		return err
	}
	if t.State == drover.Removed {
		return usage(op, "add it again: drover tenant add", fmt.Errorf("tenant %s was removed", t.Name))
	}
	return l.Store.SetTenantState(ctx, t.ID, s)
}

// RemoveTenant destroys a tenant's data key and credentials, once nothing is
// owed of it or if what is owed shall be discarded. Until then it is paused.
func (l *Local) RemoveTenant(ctx context.Context, idOrName string, discard bool) (Removal, error) {
	t, err := l.find(ctx, "remove tenant", idOrName)
	if err != nil {
		return Removal{}, err
	}
	r := Removal{Name: t.Name, Running: !l.Started.IsZero()}
	held, err := l.held(ctx)
	switch {
	case err != nil:
		return r, err
	case held[t.ID] != nil: // before it is paused
		err = fmt.Errorf("%w: %s", ledger.ErrHeld, held[t.ID].Why)
	case discard || t.State == drover.Removed:
		err = l.Store.RemoveTenant(ctx, t.ID)
	default:
		if t.State == drover.Active {
			if err := l.Store.SetTenantState(ctx, t.ID, drover.Paused); err != nil {
				return r, err
			}
		}
		r.Owed, err = l.Store.RemoveDrained(ctx, t.ID)
	}
	if errors.Is(err, ledger.ErrHeld) {
		return r, usage("remove tenant "+t.Name, "it stays until it is released: drover tenant hold "+t.Name+" --release", err)
	}
	if err != nil || len(r.Owed) > 0 {
		return r, err
	}
	r.Removed = true
	if l.Forget != nil {
		l.Forget(t.ID)
	}
	return r, nil
}

// AcknowledgeGap takes note of a gap.
func (l *Local) AcknowledgeGap(ctx context.Context, id int64, why string) error {
	if strings.TrimSpace(why) == "" {
		return usage("acknowledge gap", "say why: --why \"…\"", errors.New("no reason given"))
	}
	err := l.Store.AcknowledgeGap(ctx, id, why)
	if errors.Is(err, ledger.ErrNotFound) {
		return usage("acknowledge gap", "see: drover status", fmt.Errorf("there is no open gap %d", id))
	}
	return err
}

// Prune throws away a slice of what may go.
func (l *Local) Prune(ctx context.Context, confirmed bool) (PruneStatus, error) {
	if l.PruneOnce == nil {
		return PruneStatus{}, errors.New("no prune is available here")
	}
	out, err := l.PruneOnce(ctx, confirmed)
	s := PruneStatus{Bodies: out.Bodies, Keys: out.Keys, Asks: out.Asks, More: out.More}
	for _, g := range out.Gaps {
		s.Gaps = append(s.Gaps, gapStatus(g))
	}
	return s, err
}

// Status puts everything together.
func (l *Local) Status(ctx context.Context) (Status, error) {
	id := l.Store.Identity()
	s := Status{Ledger: id.ID, Incarnation: id.Incarnation, Aside: make(map[string]int64)}
	if !l.Started.IsZero() {
		s.Running, s.Uptime = true, time.Since(l.Started)
	}
	var err error
	if s.Tenants, err = l.Tenants(ctx); err != nil {
		return s, err
	}
	if l.SilentSources != nil {
		s.Silent = l.SilentSources()
	}
	tenants, err := l.Store.ListTenants(ctx)
	if err != nil {
		return s, err
	}
	of := make(map[drover.TenantID]drover.Tenant, len(tenants))
	for _, t := range tenants {
		of[t.ID] = t
	}
	for _, sink := range l.Sinks {
		st, err := l.sink(ctx, sink, of)
		if err != nil {
			return s, err
		}
		s.Sinks = append(s.Sinks, st)
	}
	gaps, err := l.Store.Gaps(ctx, ledger.GapFilter{State: drover.GapOpen})
	if err != nil {
		return s, err
	}
	for _, g := range gaps {
		s.Gaps = append(s.Gaps, gapStatus(g))
	}
	if s.Backfills, err = l.backfills(ctx, ledger.BackfillFilter{State: ledger.BackfillOpen}); err != nil {
		return s, err
	}
	aside, err := l.Store.SetAside(ctx, ledger.AsideFilter{Unresolved: true})
	if err != nil {
		return s, err
	}
	for _, a := range aside {
		if a.Sink == "" {
			s.Aside[a.Reason] += a.Count
		}
	}
	if l.EntraSkew != nil {
		if d, ok := l.EntraSkew(); ok {
			s.EntraAhead = &d
		}
	}
	if l.Ends != nil {
		s.Ends = l.Ends()
	}
	if s.Invitations, err = l.news(ctx); err != nil {
		return s, err
	}
	if s.Partner, err = l.partnerBrief(ctx); err != nil {
		return s, err
	}
	space, err := l.Store.Space(ctx)
	s.Used = space.Used
	return s, err
}

func gapStatus(g drover.Gap) GapStatus {
	return GapStatus{ID: g.ID, Tenant: g.Feed.Tenant, Source: g.Feed.Source, Sink: g.Sink, From: g.Span.From, To: g.Span.To, Provider: g.Provider, Cause: g.Cause, Tries: g.Tries}
}

func (l *Local) sink(ctx context.Context, id drover.SinkID, tenants map[drover.TenantID]drover.Tenant) (SinkStatus, error) {
	s := SinkStatus{ID: id}
	places, err := l.Store.Places(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return s, nil // a sink of the config that no process has begun to serve has no places yet
	}
	if err != nil {
		return s, fmt.Errorf("read places of sink %s: %w", id, err)
	}
	s.Feeds = len(places)
	now := drover.InstantOf(time.Now())
	for _, p := range places {
		owed := p.Head - p.Seq - uint64(len(p.Beyond))
		s.Behind += owed
		why, wait := l.patience(tenants[p.Feed.Tenant], p.Feed.Source, id)
		if owed == 0 || wait == 0 {
			continue
		}
		if w, err := l.waiting(ctx, p, wait, now); err != nil {
			return s, err
		} else if w.Rows > 0 {
			s.wait(why, w)
		}
	}
	attempts, err := l.Store.Attempts(ctx, id)
	if err != nil {
		return s, err
	}
	s.Attempt = len(attempts)
	aside, err := l.Store.SetAside(ctx, ledger.AsideFilter{Sink: id, Unresolved: true})
	if err != nil {
		return s, err
	}
	for _, a := range aside {
		s.Aside += a.Count
	}
	return s, nil
}
