package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"drover"
	"drover/internal/ledger"
)

// Listing is what can be done with many tenants at once, and with what is kept
// of one.
type Listing interface {
	// ApplyTenants makes the tenants what the list says. If anything is wrong
	// with it, nothing is changed and Wrong says what. Each tenant is one
	// transaction; one that fails ends no other.
	ApplyTenants(ctx context.Context, o ApplyOrder) (Applied, error)
	// ImportTenants adds tenants one by one; a row that is refused ends no
	// other.
	ImportTenants(ctx context.Context, o ImportOrder) ([]TenantResult, error)
	// HoldTenant keeps everything of a tenant, and the tenant, until
	// ReleaseTenant.
	HoldTenant(ctx context.Context, idOrName, why string) error
	ReleaseTenant(ctx context.Context, idOrName, why string) error
	// MoveTenant puts a customer's new tenant under the customer of the old one.
	MoveTenant(ctx context.Context, from, to string) (TenantResult, error)
	// Erasures lists what remains of tenants that were removed, the oldest
	// first.
	Erasures(ctx context.Context) ([]ErasureStatus, error)
}

// ErasureStatus is the record of a tenant that was removed.
type ErasureStatus struct {
	ID          drover.TenantID   `json:"id"`
	Name        string            `json:"name"`
	Customer    drover.CustomerID `json:"customer"`
	At          drover.Instant    `json:"at"` // by the local clock
	Incarnation string            `json:"incarnation"`
	Host        string            `json:"host,omitempty"`
	// Counts of its whole life, by sink ("": what was ledgered) and by what was
	// counted.
	Counts map[drover.SinkID]map[string]int64 `json:"counts"`
}

// ApplyOrder is a list of all tenants that there are to be. What a tenant
// leaves out stays as it is.
type ApplyOrder struct {
	Tenants []NewTenant `json:"tenants"`
	DryRun  bool        `json:"dry_run,omitempty"`
	// Prune removes tenants that are not in the list; those of which something
	// is owed are paused and removed by a later call.
	Prune bool `json:"prune,omitempty"`
}

// ImportOrder is a list of new tenants.
type ImportOrder struct {
	Tenants []NewTenant `json:"tenants"`
	DryRun  bool        `json:"dry_run,omitempty"`
}

// What became of a tenant of a list, or would.
const (
	Added     = "added"
	Changed   = "changed"
	Unchanged = "unchanged"
	Surplus   = "surplus" // not in the list, and left alone
	Removed   = "removed"
	Leaving   = "leaving" // paused; sinks have still to take some of it
	Failed    = "failed"
	Exists    = "exists"
	Refused   = "refused"
)

// TenantResult is what became of one tenant.
type TenantResult struct {
	Row     int                      `json:"row"` // index in the list, -1 if it is not in it
	ID      drover.TenantID          `json:"id"`
	Name    string                   `json:"name"`
	What    string                   `json:"result"`
	Why     string                   `json:"why,omitempty"`     // of failed, refused
	Changes []MemberChange           `json:"changes,omitempty"` // of changed; of exists, what differs
	Notes   []string                 `json:"notes,omitempty"`
	Owed    map[drover.SinkID]uint64 `json:"owed,omitempty"` // of leaving
}

// Applied says what ApplyTenants did, or would.
type Applied struct {
	Wrong   []Wrong        `json:"wrong,omitempty"`
	Tenants []TenantResult `json:"tenants"` // of the list in its order, then those that are not in it by name
}

// step is what is to be done with one tenant of a list.
type step struct {
	was *drover.Tenant // nil: it is new
	t   drover.Tenant
}

// plan is what a list comes to.
type plan struct {
	steps   []step
	surplus []drover.Tenant
	holder  map[string]drover.TenantID // who has a name now
	wrong   []Wrong
}

// plan compares a list with what is there.
func (l *Local) plan(ctx context.Context, o ApplyOrder) (*plan, error) {
	tenants, err := l.Store.ListTenants(ctx)
	if err != nil {
		return nil, err
	}
	held, err := l.held(ctx)
	if err != nil {
		return nil, err
	}
	p := &plan{holder: make(map[string]drover.TenantID)}
	if o.Prune && len(o.Tenants) == 0 {
		p.wrong = append(p.wrong, Wrong{Row: -1, Text: "the list names no tenant, and everything would be removed", Hint: "is this the right file? Remove tenants one by one: drover tenant remove"})
		return p, nil
	}
	was, row := make(map[drover.TenantID]*drover.Tenant), make(map[drover.TenantID]int)
	for i := range tenants {
		was[tenants[i].ID], p.holder[tenants[i].Name] = &tenants[i], tenants[i].ID
	}
	now := time.Now()
	for i, n := range o.Tenants {
		id, _ := drover.ParseTenantID(n.ID)
		t, wrong := l.wanted(n, was[id], now)
		for _, w := range wrong {
			w.Row = i
			p.wrong = append(p.wrong, w)
		}
		if first, twice := row[id]; twice {
			p.wrong = append(p.wrong, Wrong{Row: i, Key: "id", Text: fmt.Sprintf("%s is entry %d already", id, first+1)})
		}
		row[id] = i
		p.steps = append(p.steps, step{was: was[id], t: t})
	}
	for _, t := range tenants {
		if _, in := row[t.ID]; in || t.State == drover.Removed {
			continue
		}
		p.surplus = append(p.surplus, t)
		if h := held[t.ID]; h != nil && o.Prune {
			p.wrong = append(p.wrong, Wrong{Row: -1, Text: fmt.Sprintf("%s is not in the list and is held: %s", t.Name, h.Why), Hint: "put it into the list, or release it: drover tenant hold " + t.Name + " --release"})
		}
	}
	p.names(was, row)
	return p, nil
}

// names refuses names that are another's and stay so.
func (p *plan) names(was map[drover.TenantID]*drover.Tenant, row map[drover.TenantID]int) {
	for i := range p.steps {
		t := p.steps[i].t
		other, taken := p.holder[t.Name]
		j, in := row[other]
		switch {
		case !taken || other == t.ID:
		case was[other].State == drover.Removed:
			p.wrong = append(p.wrong, Wrong{Row: i, Key: "name", Text: fmt.Sprintf("the name %s was that of the tenant %s, which was removed, and stays with what is kept of it", t.Name, other), Hint: "take another name"})
		case !in || p.steps[j].t.Name == t.Name:
			p.wrong = append(p.wrong, Wrong{Row: i, Key: "name", Text: fmt.Sprintf("the name %s is that of the tenant %s", t.Name, other),
				Hint: "an ID never changes: if a customer has moved to a new directory, list both with two names and one customer"})
		}
	}
	if len(p.wrong) > 0 {
		return
	}
	for i := range p.order(func(*step) {}) {
		p.wrong = append(p.wrong, Wrong{Row: i, Key: "name", Text: "tenants of the list exchange their names", Hint: "apply it with another name for one of them first"})
	}
}

// order gives each step in turn to do, one that takes a name after the one that
// frees it. It returns those that wait for each other.
func (p *plan) order(do func(*step)) (left map[int]bool) {
	holder, left := make(map[string]drover.TenantID, len(p.holder)), make(map[int]bool)
	for name, id := range p.holder {
		holder[name] = id
	}
	for i := range p.steps {
		left[i] = true
	}
	for moved := true; moved; {
		moved = false
		for i := range p.steps {
			s := &p.steps[i]
			if id, taken := holder[s.t.Name]; !left[i] || taken && id != s.t.ID {
				continue
			}
			do(s)
			if s.was != nil {
				delete(holder, s.was.Name)
			}
			holder[s.t.Name] = s.t.ID
			delete(left, i)
			moved = true
		}
	}
	return left
}

// ApplyTenants is API.ApplyTenants.
func (l *Local) ApplyTenants(ctx context.Context, o ApplyOrder) (Applied, error) {
	p, err := l.plan(ctx, o)
	if err != nil {
		return Applied{}, err
	}
	if len(p.wrong) > 0 {
		return Applied{Wrong: p.wrong}, nil
	}
	results := make([]TenantResult, len(p.steps), len(p.steps)+len(p.surplus))
	row := make(map[*step]int, len(p.steps))
	for i := range p.steps {
		row[&p.steps[i]] = i
	}
	var stop error
	p.order(func(s *step) {
		r := l.result(s)
		r.Row = row[s]
		switch {
		case o.DryRun:
		case stop != nil:
			r.missed()
		default:
			if stop = l.carryOut(ctx, s, &r); stop != nil {
				r.missed()
			}
		}
		results[r.Row] = r
	})
	for _, t := range p.surplus {
		r := TenantResult{Row: -1, ID: t.ID, Name: t.Name, What: Surplus}
		switch {
		case o.Prune && o.DryRun:
			r.What = Removed
		case o.Prune && stop == nil:
			if stop = l.prune(ctx, &r); stop != nil {
				r.missed()
			}
		}
		results = append(results, r)
	}
	return Applied{Tenants: results}, stop
}

// result is what a step comes to if nothing goes wrong.
func (l *Local) result(s *step) TenantResult {
	r := TenantResult{ID: s.t.ID, Name: s.t.Name, What: Added}
	if s.was != nil {
		r.What, r.Changes = Changed, changes(*s.was, s.t)
		if r.Notes = l.notes(*s.was, s.t); len(r.Changes) == 0 {
			r.What = Unchanged
		}
	}
	return r
}

// carryOut does a step. The error ends everything: nothing more can be stored.
func (l *Local) carryOut(ctx context.Context, s *step, r *TenantResult) error {
	err := ctx.Err() // what was stored stays, and nothing more is begun
	switch {
	case err != nil:
		return err
	case r.What == Added:
		err = l.Store.AddTenant(ctx, s.t)
	case r.What == Changed:
		err = l.Store.ChangeTenant(ctx, *s.was, s.t)
	}
	return r.failed(ctx, err)
}

// missed notes that nothing more could be stored.
func (r *TenantResult) missed() {
	r.What, r.Why, r.Changes, r.Notes, r.Owed = Failed, "not reached: the ledger took nothing more", nil, nil, nil
}

// failed notes an error of this tenant alone.
func (r *TenantResult) failed(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ledger.ErrConflict):
		err = errors.New("somebody else changed it, or took its name, in the meantime; apply the list again")
	case ctx.Err() != nil || drover.KindOf(err) == drover.Broken || errors.Is(err, ledger.ErrFull):
		return err
	}
	r.What, r.Why, r.Changes, r.Notes = Failed, err.Error(), nil, nil
	return nil
}

// prune removes a tenant that is not in the list, or pauses it until its sinks
// have taken what they are owed.
func (l *Local) prune(ctx context.Context, r *TenantResult) error {
	out, err := l.RemoveTenant(ctx, string(r.ID), false)
	if r.What, r.Owed = Removed, out.Owed; len(out.Owed) > 0 {
		r.What = Leaving
	}
	return r.failed(ctx, err)
}

// ImportTenants is API.ImportTenants.
func (l *Local) ImportTenants(ctx context.Context, o ImportOrder) ([]TenantResult, error) {
	tenants, err := l.Store.ListTenants(ctx)
	if err != nil {
		return nil, err
	}
	was, holder := make(map[drover.TenantID]*drover.Tenant), make(map[string]drover.TenantID)
	for i := range tenants {
		was[tenants[i].ID], holder[tenants[i].Name] = &tenants[i], tenants[i].ID
	}
	out := make([]TenantResult, 0, len(o.Tenants))
	now := time.Now()
	for i, n := range o.Tenants {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		id, _ := drover.ParseTenantID(n.ID)
		t, wrong := l.wanted(n, was[id], now)
		r := TenantResult{Row: i, ID: id, Name: n.Name, What: Added}
		other, taken := holder[t.Name]
		switch {
		case len(wrong) > 0:
			r.What, r.Why = Refused, wrong[0].Error()
		case was[id] != nil:
			r.What, r.Changes = Exists, changes(*was[id], t)
		case taken:
			r.What, r.Why = Refused, fmt.Sprintf("the name %s is that of the tenant %s; take another one", t.Name, other)
		case !o.DryRun:
			if err := r.failed(ctx, l.Store.AddTenant(ctx, t)); err != nil {
				return out, err
			}
		}
		if r.What == Added {
			was[id], holder[t.Name] = &t, id
		}
		out = append(out, r)
	}
	return out, nil
}
