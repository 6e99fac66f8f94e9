package enrol

import (
	"context"
	"errors"
	"slices"
	"time"

	"drover"
	"drover/internal/gdap"
)

// Pauses between two looks at something that spreads through Entra (reference
// partner-gdap §4c: everything from a minute to two days has been seen).
const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

const (
	// sure is how many looks in a row must show the app's permissions: while they
	// spread, one server has them and the next has not.
	sure = 2
	// young is the age of a relationship up to which it may not let in yet.
	young = time.Hour
	// doubts is how often a refusal is asked about again, with a new token, where
	// nothing has changed just now, and where something has.
	doubts, freshDoubts = 2, 6
	// stubborn is how often a consent that is said to exist may show no effect
	// before it is made anew.
	stubborn = 3
)

// errNotYet is what was not there when the patience ended.
var errNotYet = errors.New("it does not show yet")

// one is a customer on its way.
type one struct {
	s   *Service
	c   Candidate
	res Result
	// patience is for each thing that Entra has to spread.
	patience time.Duration

	dir       Directory
	fresh     bool // something was changed just now
	consented bool // Partner Center was asked to
	existed   bool // and said that it exists
	renewed   bool
	rounds    int
	held      []string // scopes that a new consent keeps
	lacking   []string // values of roles that no API there has
}

// one begins a customer's way.
func (s *Service) one(c Candidate, patience time.Duration) *one {
	return &one{s: s, c: c, res: s.result(c), patience: patience}
}

func (o *one) did(what string) { o.res.Did, o.fresh = append(o.res.Did, what), true }

// enrol does the whole of it for one customer.
func (o *one) enrol(ctx context.Context) Result {
	if r, done := o.stands(ctx); done {
		if r.Outcome == Already {
			return o.add(ctx, Already)
		}
		return r
	}
	if f := o.s.foreseen(o.c); f != ToGrant {
		return o.res.is(f, nil)
	}
	steps := []func(context.Context) error{o.enter, o.grant, o.shows}
	if o.s.Delegated {
		steps = []func(context.Context) error{o.enter, o.shows}
	}
	for _, do := range steps {
		if err := do(ctx); err != nil {
			out := outcome(err)
			if out == NotYet && o.dir == nil && (o.renewed || !o.fresh) {
				out = NotLetIn // a consent that is there and shows nothing: a guest, or a missing group
			}
			return o.res.is(out, o.ours(err))
		}
	}
	if o.lacking != nil {
		r := o.res.is(NotProvisioned, nil)
		r.Says = "the customer's tenant has no role " + o.lacking[0]
		return r
	}
	return o.add(ctx, Granted)
}

// stands says how the customer stands before anything is done; done if nothing is
// to be.
func (o *one) stands(ctx context.Context) (r Result, done bool) {
	if o.c.State == drover.Removed {
		return o.res.is(Left, nil), true
	}
	has := false
	err := o.until(ctx, func(ctx context.Context) (_ bool, err error) {
		has, err = o.has(ctx)
		return err == nil, err
	})
	switch {
	case err != nil && o.s.Delegated:
		return o.res.is(outcome(err), err), true
	case err != nil:
		return o.res.is(o.s.reader(err), err), true
	case has:
		return o.res.is(Already, nil), true
	}
	return o.res, false
}

// has reports whether the reading app's own tokens carry everything that is
// wanted and to be had; of a delegated run, whether the account's do.
func (o *one) has(ctx context.Context) (bool, error) {
	if o.s.Delegated {
		return o.lets(ctx)
	}
	for _, w := range o.s.Wants {
		values := slices.DeleteFunc(slices.Clone(w.Values), func(v string) bool { return slices.Contains(o.lacking, v) })
		if len(values) == 0 {
			continue
		}
		roles, known, err := o.s.Roles(ctx, o.c.Tenant, w.Source)
		o.s.heard(err)
		if err != nil {
			if !w.Graph && codes[code(err)] == NotProvisioned && o.dir == nil {
				return false, nil // it may be made known
			}
			return false, err
		}
		if !known || slices.ContainsFunc(values, func(v string) bool { return !slices.Contains(roles, v) }) {
			return false, nil
		}
	}
	return true, nil
}

// lets reports whether the customer lets the partner's account in with every scope.
func (o *one) lets(ctx context.Context) (bool, error) {
	_, scopes, err := o.s.Partner.Enter(ctx, o.c.Tenant)
	switch {
	case err == nil:
		return o.carries(scopes), nil
	case asksConsent[code(err)], o.s.foreseen(o.c) != ToGrant && drover.KindOf(err) == drover.Denied && o.s.Partner.Wide(ctx) == nil:
		return false, nil // what the lists say, says it better
	}
	return false, o.denied(ctx, err)
}

// carries reports whether scopes are all that are needed, and remembers those that
// a consent that is made anew must not take away.
func (o *one) carries(scopes []string) bool {
	o.held = slices.DeleteFunc(slices.Clone(scopes), func(v string) bool { return !slices.Contains(o.s.Keeps, v) })
	return !slices.ContainsFunc(o.s.Scopes, func(w string) bool { return !slices.Contains(scopes, w) })
}

// ours leaves out what says no more than the outcome.
func (o *one) ours(err error) error {
	if errors.Is(err, errNotYet) {
		return nil
	}
	return err
}

// add makes the tenant known.
func (o *one) add(ctx context.Context, as Outcome) Result {
	if o.c.State == "" {
		if err := o.s.Add(ctx, o.c); err != nil {
			return o.res.is(NotAdded, err)
		}
		o.res.Added = true
	}
	return o.res.is(as, nil)
}

// until makes calls again and again, with growing pauses, until they have done it
// or the patience ends. An error that passes is waited for.
func (o *one) until(ctx context.Context, do func(context.Context) (done bool, err error)) error {
	end := time.Now().Add(o.patience)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		var done bool
		err := o.s.step(ctx, func(ctx context.Context) (err error) {
			done, err = do(ctx)
			return err
		})
		wait := pause
		switch kind := drover.KindOf(err); {
		case done && err == nil:
			return nil
		case err == nil:
		case errors.Is(err, errStopped), ctx.Err() != nil:
			return err
		case kind == drover.Throttled:
			wait = max(wait, drover.WaitOf(err))
		case kind != drover.Transient:
			return err
		}
		if time.Now().Add(wait).After(end) {
			if err == nil {
				err = errNotYet
			}
			return err
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
	}
}

// enter gets into the customer's directory, and has the onboarding app consented
// there if need be. Each try is with a new token.
func (o *one) enter(ctx context.Context) error {
	return o.until(ctx, func(ctx context.Context) (bool, error) {
		dir, scopes, err := o.s.Partner.Enter(ctx, o.c.Tenant)
		o.rounds++
		switch {
		case err == nil && o.carries(scopes):
			o.dir = dir
			return true, nil
		case err == nil:
			return false, o.consent(ctx, true)
		case asksConsent[code(err)]:
			return false, o.consent(ctx, false)
		}
		return false, o.denied(ctx, err)
	})
}

// consent has the onboarding app consented through Partner Center, once. A
// consent that is there and does too little is made anew, once.
func (o *one) consent(ctx context.Context, tooLittle bool) error {
	switch {
	case !o.consented:
	case o.existed && !o.renewed && (tooLittle || o.rounds > stubborn):
		if err := o.s.Partner.Withdraw(ctx, o.c.Tenant); err != nil {
			return o.denied(ctx, err)
		}
		o.renewed = true
	default:
		return nil // it spreads
	}
	all := slices.Clone(o.s.Scopes)
	for _, v := range o.held {
		if !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	made, err := o.s.Partner.Consent(ctx, o.c.Tenant, all)
	if err != nil {
		return o.denied(ctx, err)
	}
	o.consented, o.existed = true, !made
	if made {
		o.did("consented the onboarding app")
	}
	return nil
}

// denied sorts a refusal: one of all the partner's ends the run, one that a new
// relationship may meet is none yet, any other is this customer's.
func (o *one) denied(ctx context.Context, err error) error {
	e, ok := errors.AsType[*drover.Error](err)
	if !ok || e.Kind != drover.Denied {
		return err
	}
	out := codes[e.Code]
	age, known := o.c.Age(time.Now())
	switch {
	case e.Code == gdap.CodeNoMFA:
		o.s.stop(err)
		return errStopped
	case known && age < young && (out == NotLetIn || out == RoleMissing || out == NotListed):
		return nil
	case out == TenantGone, out == WrongToken, out == NotLetIn && e.Code != "invalid_grant", e.Code == gdap.CodeForbidden, e.Code == gdap.CodeNoCustomer:
		return err
	}
	if wide := o.s.Partner.Wide(ctx); wide != nil {
		o.s.stop(wide)
		return errStopped
	}
	return err
}

// doubt asks about a refusal of Graph's again, with a new token: what was
// consented just now shows to one server and not to the next.
func (o *one) doubt(ctx context.Context, n *int, err error) error {
	switch {
	case drover.KindOf(err) != drover.Denied:
		return err
	case unseen[code(err)]:
		return nil // until the patience ends
	}
	most := doubts
	if age, known := o.c.Age(time.Now()); o.fresh || known && age < young {
		most = freshDoubts
	}
	if *n++; *n > most {
		return o.denied(ctx, err)
	}
	if dir, _, err := o.s.Partner.Enter(ctx, o.c.Tenant); err == nil {
		o.dir = dir
	}
	return nil
}

// unseen are what a server says that has not heard of something yet.
var unseen = map[string]bool{"Request_ResourceNotFound": true, "graph 404": true, "NoBackingApplicationObject": true}

// principal finds an app's service principal, or makes it and waits until it
// shows.
func (o *one) principal(ctx context.Context, app, made string) (id string, roles map[string]string, err error) {
	doubted, asked := 0, false
	err = o.until(ctx, func(ctx context.Context) (there bool, err error) {
		id, roles, there, err = o.dir.Principal(ctx, app)
		if err == nil && !there && !asked {
			if err = o.dir.Make(ctx, app); err == nil {
				asked = true
				o.did(made)
				id, roles, there, err = o.dir.Principal(ctx, app)
			}
		}
		if err != nil {
			return false, o.doubt(ctx, &doubted, err)
		}
		return there, nil
	})
	return id, roles, err
}

// grant grants the reading app what it lacks, and reads it back.
func (o *one) grant(ctx context.Context) error {
	id, _, err := o.principal(ctx, o.s.Reader, "made the reading app known")
	if err != nil {
		return err
	}
	for _, w := range o.s.Wants {
		api, roles, err := o.principal(ctx, w.API, "made the API known")
		if e, ok := errors.AsType[*drover.Error](err); ok && e.Kind == drover.Denied && !w.Graph && codes[e.Code] != RoleMissing {
			o.lacking = append(o.lacking, w.Values...) // the others are granted all the same
			continue
		}
		if err != nil {
			return err
		}
		if err := o.grantOf(ctx, id, api, w, roles); err != nil {
			return err
		}
	}
	return nil
}

func (o *one) grantOf(ctx context.Context, id, api string, w Want, roles map[string]string) error {
	doubted, done := 0, make(map[string]bool)
	return o.until(ctx, func(ctx context.Context) (bool, error) {
		have, err := o.dir.Granted(ctx, id)
		if err != nil {
			return false, o.doubt(ctx, &doubted, err)
		}
		all := true
		for _, v := range w.Values {
			r := gdap.Role{API: api, ID: roles[v]}
			switch {
			case r.ID == "":
				if !slices.Contains(o.lacking, v) {
					o.lacking = append(o.lacking, v)
				}
				continue
			case slices.Contains(have, r):
				continue
			}
			all = false
			if err := o.dir.Grant(ctx, id, r); err != nil {
				return false, o.doubt(ctx, &doubted, err)
			}
			if !done[v] {
				done[v] = true
				o.did("granted " + v)
			}
		}
		return all, nil
	})
}

// shows waits until the app's own tokens carry what was granted.
func (o *one) shows(ctx context.Context) error {
	seen := 0
	return o.until(ctx, func(ctx context.Context) (bool, error) {
		has, err := o.has(ctx)
		if seen++; !has {
			seen = 0
		}
		return seen >= sure, err
	})
}
