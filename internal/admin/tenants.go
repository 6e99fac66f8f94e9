package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"drover"
	"drover/internal/ledger"
)

// Wrong is one thing that is wrong with a member of a wanted tenant.
type Wrong struct {
	Row  int    `json:"row"` // index in the list, -1: the list as a whole
	Key  string `json:"key"` // as in tenants.yaml; "": all of it
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"`
}

// Error is the text with the way out.
func (w Wrong) Error() string {
	if w.Hint == "" {
		return w.Text
	}
	return w.Text + "; " + w.Hint
}

// regions are those of APIs that have a host for each.
var regions = []string{"eu", "us", "uk", "au", "swa", "ina", "aea"}

// noRegion is how a list says that a tenant has no region.
const noRegion = "none"

// wanted makes a tenant what n says and lists what is wrong with that. was is
// the tenant as it is, nil for a new one. What n leaves out stays as it is.
func (l *Local) wanted(n NewTenant, was *drover.Tenant, now time.Time) (t drover.Tenant, wrong []Wrong) {
	say := func(key, hint string, err error) {
		if err != nil {
			wrong = append(wrong, Wrong{Key: key, Text: err.Error(), Hint: hint})
		}
	}
	if was != nil && was.State == drover.Removed {
		say("id", "take it out of the list; if it is to be read again, with a new consent: drover tenant add "+string(was.ID), errors.New("this tenant was removed"))
		return *was, wrong
	}
	id, err := drover.ParseTenantID(n.ID)
	say("id", "", err)
	if was != nil {
		t = *was
		n.Name = orDefault(n.Name, was.Name)
	} else {
		t = drover.Tenant{ID: id, Customer: drover.CustomerID(n.Name), Cloud: "worldwide", App: "default", State: drover.Active, Sources: []drover.SourceID{drover.GraphAlerts}, Added: drover.InstantOf(now)}
		t.Start, err = ParseStart(orDefault(n.Start, orDefault(l.DefaultStart, "now")), now)
		say("start", "", err)
	}
	_, err = drover.ParseCustomerID(n.Name)
	say("name", "give a short name such as contoso", err)
	t.Name = n.Name
	if n.Customer != "" {
		_, err = drover.ParseCustomerID(n.Customer)
		say("customer", "", err)
		t.Customer = drover.CustomerID(n.Customer)
	}
	t.Cloud, t.App, t.State = orDefault(n.Cloud, t.Cloud), orDefault(n.App, t.App), drover.TenantState(orDefault(string(n.State), string(t.State)))
	say("cloud", "define it under clouds: in the config, or use a built-in one", oneOf("cloud", t.Cloud, l.Clouds))
	say("app", "define it under apps: in the config", oneOf("app", t.App, l.Apps))
	if t.State != drover.Active && t.State != drover.Paused {
		say("state", "write active or paused", fmt.Errorf("there is no state %q", t.State))
	}
	switch {
	case n.Region == noRegion:
		t.Region = ""
	case n.Region != "":
		t.Region = strings.ToLower(n.Region)
		say("region", "", oneOf("region", t.Region, regions))
	}
	if n.Regions != nil {
		t.Regions = slices.Clone(n.Regions)
	}
	say("regions", "keep it in a ledger of its region, with a drover.yaml of its own, whose ledger: region: says it before the ledger is made", l.mayKeep(t))
	if len(n.Sources) > 0 && !sameSet(n.Sources, t.Sources) {
		t.Sources = slices.Clone(n.Sources)
	}
	if wrong == nil && l.Serves != nil { // else it would be said of a cloud that is wrong
		for _, s := range t.Sources {
			if err := l.Serves(t, s); err != nil {
				say("sources", drover.HintOf(err), fmt.Errorf("it cannot be read by %s: %w", s, err))
			}
		}
	}
	if was != nil {
		l.fixed(n, was, say)
	}
	return t, wrong
}

// fixed refuses what a tenant keeps for life.
func (l *Local) fixed(n NewTenant, was *drover.Tenant, say func(key, hint string, err error)) {
	if n.Cloud != "" && n.Cloud != was.Cloud {
		say("cloud", "if it was wrong from the first, drover tenant remove "+was.Name+", then add the tenant again", fmt.Errorf("the cloud of a tenant cannot change; it is %s", was.Cloud))
	}
	at, err := drover.ParseInstant(n.Start)
	if err != nil {
		at, err = drover.ParseInstant(n.Start + "T00:00:00Z")
	}
	if err == nil && at != was.Start { // now, and an age, say where a new tenant begins
		say("start", "leave start out, or read the past: drover backfill --tenant "+was.Name+" --from "+n.Start, fmt.Errorf("where a tenant began cannot change; it is %s", was.Start))
	}
}

// mayKeep says why a tenant's alerts must not be kept in this ledger.
func (l *Local) mayKeep(t drover.Tenant) error {
	if len(t.Regions) == 0 || slices.Contains(t.Regions, l.Store.Identity().Region) {
		return nil
	}
	bound := "is bound to no region"
	if r := l.Store.Identity().Region; r != "" {
		bound = "is bound to the region " + r
	}
	return fmt.Errorf("its alerts may be kept in %s only, and this ledger %s", strings.Join(t.Regions, ", "), bound)
}

func sameSet[T comparable](a, b []T) bool {
	in := func(b []T) func(T) bool { return func(x T) bool { return !slices.Contains(b, x) } }
	return len(a) == len(b) && !slices.ContainsFunc(a, in(b)) && !slices.ContainsFunc(b, in(a))
}

// MemberChange is a member of a tenant that becomes another.
type MemberChange struct {
	Member string `json:"member"`
	Old    string `json:"old"`
	New    string `json:"new"`
}

// changes lists what differs between two states of a tenant, by the keys of
// tenants.yaml.
func changes(was, t drover.Tenant) (out []MemberChange) {
	add := func(member, old, now string) {
		if old != now {
			out = append(out, MemberChange{member, orDefault(old, noRegion), orDefault(now, noRegion)})
		}
	}
	add("name", was.Name, t.Name)
	add("customer", string(was.Customer), string(t.Customer))
	add("cloud", was.Cloud, t.Cloud)
	add("app", was.App, t.App)
	add("region", was.Region, t.Region)
	if !sameSet(was.Regions, t.Regions) {
		add("regions", strings.Join(was.Regions, ", "), strings.Join(t.Regions, ", "))
	}
	if !sameSet(was.Sources, t.Sources) {
		add("sources", named(was.Sources), named(t.Sources))
	}
	add("state", string(was.State), string(t.State))
	return out
}

func named(list []drover.SourceID) string {
	var all []string
	for _, s := range list {
		all = append(all, string(s))
	}
	return strings.Join(all, ", ")
}

// notes says what follows from a change beside what changes.
func (l *Local) notes(was, t drover.Tenant) (out []string) {
	if a, b := was.Primary(), t.Primary(); a != b {
		out = append(out, fmt.Sprintf("its alerts are told by %s, no longer by %s", orDefault(string(b), "nobody"), orDefault(string(a), "nobody")))
	}
	switch {
	case was.App == t.App:
	case t.App == drover.PartnerApp:
		out = append(out, t.Unproven(), "the onboarding app must have been granted what reads it: drover partner connect --delegated")
	default:
		out = append(out, fmt.Sprintf("the customer must have consented to the app %s; a sign-in that was stored for %s does not count for it", t.App, was.App))
	}
	for _, s := range t.Sources {
		if l.Routed == nil || !slices.Contains(was.Sources, s) {
			continue
		}
		for _, sink := range l.Sinks {
			switch before, after := l.Routed(was, s, sink), l.Routed(t, s, sink); {
			case before && !after:
				out = append(out, fmt.Sprintf("by the routes, %s goes to the sink %s no longer", s, sink))
			case after && !before:
				out = append(out, fmt.Sprintf("by the routes, %s goes to the sink %s from now on", s, sink))
			}
		}
	}
	return out
}

// held lists why tenants are held.
func (l *Local) held(ctx context.Context) (map[drover.TenantID]*HoldStatus, error) {
	list, err := l.Store.Holds(ctx)
	out := make(map[drover.TenantID]*HoldStatus, len(list))
	for _, h := range list {
		out[h.Tenant] = &HoldStatus{h.Why, h.Since}
	}
	return out, err
}

// HoldTenant keeps everything of a tenant, until it is released.
func (l *Local) HoldTenant(ctx context.Context, idOrName, why string) error {
	const op = "hold tenant"
	if strings.TrimSpace(why) == "" {
		return usage(op, "say why: --why \"…\"", errors.New("no reason given"))
	}
	t, err := l.find(ctx, op, idOrName)
	if err != nil {
		return err
	}
	err = l.Store.HoldTenant(ctx, t.ID, why)
	if errors.Is(err, ledger.ErrConflict) {
		return usage(op, "", fmt.Errorf("tenant %s was removed: nothing of it is left to be held", t.Name))
	}
	return err
}

// ReleaseTenant ends a hold.
func (l *Local) ReleaseTenant(ctx context.Context, idOrName, why string) error {
	const op = "release tenant"
	t, err := l.find(ctx, op, idOrName)
	if err != nil {
		return err
	}
	err = l.Store.ReleaseTenant(ctx, t.ID, why)
	if errors.Is(err, ledger.ErrNotFound) {
		return usage(op, "see: drover tenant list", fmt.Errorf("tenant %s is not held", t.Name))
	}
	return err
}

// Erasures lists what remains of tenants that were removed.
func (l *Local) Erasures(ctx context.Context) ([]ErasureStatus, error) {
	list, err := l.Store.Erasures(ctx)
	out := make([]ErasureStatus, 0, len(list))
	for _, e := range list {
		out = append(out, ErasureStatus{ID: e.Tenant, Name: e.Name, Customer: e.Customer, At: e.At, Incarnation: e.Incarnation, Host: e.Host, Counts: e.Counts})
	}
	return out, err
}

// MoveTenant joins an old and a new tenant under the old one's customer.
func (l *Local) MoveTenant(ctx context.Context, from, to string) (TenantResult, error) {
	const op = "move tenant"
	old, err := l.find(ctx, op, from)
	if err != nil {
		return TenantResult{}, err
	}
	was, err := l.Store.FindTenant(ctx, to)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return TenantResult{}, usage(op, "add the new directory first: drover tenant add TENANT-ID --name … --customer "+string(old.Customer), fmt.Errorf("there is no tenant %q", to))
	case err != nil:
		return TenantResult{}, err
	case was.ID == old.ID:
		return TenantResult{}, usage(op, "name the old one, then the new one", errors.New("this is one tenant"))
	case was.State == drover.Removed:
		return TenantResult{}, usage(op, "if it is to be read again, with a new consent: drover tenant add "+string(was.ID)+" --customer "+string(old.Customer), fmt.Errorf("tenant %s was removed", was.Name))
	}
	t := was
	t.Customer = old.Customer
	r := TenantResult{Row: -1, ID: t.ID, Name: t.Name, What: Unchanged, Changes: changes(was, t), Notes: l.notes(was, t)}
	if len(r.Changes) == 0 {
		return r, nil
	}
	r.What = Changed
	if err = l.Store.ChangeTenant(ctx, was, t); errors.Is(err, ledger.ErrConflict) {
		err = &drover.Error{Op: op, Tenant: t.ID, Kind: drover.Transient, Hint: "type the same again", Err: err}
	}
	return r, err
}
