package signin

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"slices"
	"sync"
	"time"

	"drover"
	"drover/internal/expiry"
)

const (
	day = 24 * time.Hour
	// Life is how long a refresh token lives unused (reference entra-oauth §5).
	Life = 90 * day

	// An unused token is renewed at this age, each tenant's at its own: so that
	// hundreds that were connected on one day are not renewed in one minute. With
	// the time between two looks it stays below a week.
	renewFrom = 5 * day
	renewOver = 36 * time.Hour

	firstLook = 2 * time.Minute // when reading has begun, which renews most
	lookEvery = time.Hour
	// apart is the time between two renewals; less if many are due.
	apart = 10 * time.Second
	// deniedAgain is when a refusal is asked about again, so that a remedy is
	// noticed.
	deniedAgain = 6 * time.Hour
)

// Renewer redeems a tenant's refresh token and returns once what came for it is
// on disk. Its errors are *drover.Error.
type Renewer interface {
	Renew(ctx context.Context, t drover.Tenant) error
}

// Keeper renews the tokens that nobody reads by. Safe for concurrent use.
type Keeper struct {
	store  *Store
	tokens Renewer
	log    *slog.Logger
	first  time.Duration

	mu      sync.Mutex
	trouble map[drover.TenantID]trouble
	said    map[string]string // by whom it concerns
}

// trouble is why a token could not be renewed.
type trouble struct {
	err   error
	again time.Time
	of    drover.Instant // the token's date then; one with another date is another story
}

// Options of a Keeper. Store, Tokens and Log are required.
type Options struct {
	Store  *Store
	Tokens Renewer
	Log    *slog.Logger
	First  time.Duration // from its start to its first look; 0: two minutes
}

// NewKeeper builds one; it starts nothing.
func NewKeeper(opt Options) *Keeper {
	if opt.First <= 0 {
		opt.First = firstLook
	}
	return &Keeper{store: opt.Store, tokens: opt.Tokens, log: opt.Log, first: opt.First, trouble: make(map[drover.TenantID]trouble), said: make(map[string]string)}
}

// Run renews what is due until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	wait := k.first
	for rest(ctx, wait) {
		if err := k.look(ctx); err != nil && ctx.Err() == nil {
			if drover.KindOf(err) == drover.Broken {
				return err
			}
			k.log.Warn("look for sign-ins to renew", "err", err)
		}
		wait = lookEvery
	}
	return nil
}

// held is a tenant with its token.
type held struct {
	drover.Tenant
	at drover.Instant
}

// look renews what is due, the oldest first.
func (k *Keeper) look(ctx context.Context) error {
	list, err := k.tenants(ctx)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(h held) bool { return !k.due(h, time.Now()) })
	slices.SortStableFunc(list, func(a, b held) int { return int(max(min(int64(a.at)-int64(b.at), 1), -1)) })
	for i, h := range list {
		if i > 0 && !rest(ctx, min(apart, lookEvery/time.Duration(len(list)))) {
			return nil
		}
		r, ok, err := k.store.Load(ctx, h.Tenant) // it may have been renewed, replaced or ended since
		h.at = r.At
		if err == nil && (!ok || !k.due(h, time.Now())) {
			continue
		}
		if err == nil {
			err = k.tokens.Renew(ctx, h.Tenant)
		}
		if ctx.Err() != nil {
			return nil
		}
		k.note(h, err)
	}
	return nil
}

// tenants lists those that have a token and are not removed. One that cannot be
// opened is noted, and no other's matter.
func (k *Keeper) tenants(ctx context.Context) (out []held, err error) {
	l := k.store.Ledger()
	if l == nil {
		return nil, nil
	}
	all, err := l.ListTenants(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range all {
		if t.State == drover.Removed {
			continue
		}
		r, ok, err := k.store.Load(ctx, t)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			k.note(held{t, r.At}, err)
		case ok:
			out = append(out, held{t, r.At})
		}
	}
	return out, nil
}

// due reports whether a token is to be renewed at a time. One that a clock
// which was ahead has dated is.
func (k *Keeper) due(h held, now time.Time) bool {
	if now.Before(k.current(h).again) {
		return false
	}
	age := drover.InstantOf(now).Sub(h.at)
	return age < -lookEvery || age >= renewAt(h.ID)
}

// current is the trouble with the token that is there, zero if there is none.
func (k *Keeper) current(h held) trouble {
	k.mu.Lock()
	defer k.mu.Unlock()
	if x, ok := k.trouble[h.ID]; ok && x.of == h.at {
		return x
	}
	return trouble{}
}

// renewAt is the age at which a tenant's token is renewed.
func renewAt(id drover.TenantID) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return renewFrom + time.Duration(float64(h.Sum32())/(1<<32)*float64(renewOver))
}

// note remembers what came of a renewal, and says what is new of it. What
// concerns an app is said once, not for each of its tenants.
func (k *Keeper) note(t held, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	whom := "tenant " + string(t.ID)
	if err == nil {
		if _, was := k.trouble[t.ID]; was {
			k.log.Info("the sign-in is renewed again", "tenant", t.ID, "name", t.Name)
		}
		delete(k.trouble, t.ID)
		delete(k.said, whom)
		delete(k.said, "app "+t.App)
		return
	}
	now := trouble{err: err, of: t.at}
	say := k.log.Warn
	if drover.KindOf(err) == drover.Denied {
		now.again = time.Now().Add(deniedAgain)
		say = k.log.Error
	}
	k.trouble[t.ID] = now
	text := err.Error()
	if e, ok := errors.AsType[*drover.Error](err); ok && e.App {
		whom, text = "app "+t.App, drover.KindOf(err).String()
	}
	if k.said[whom] == text {
		return
	}
	k.said[whom] = text
	say("the sign-in could not be renewed", "tenant", t.ID, "name", t.Name, "err", err, "hint", hint(t.Tenant, err))
}

// Status is how a sign-in stands.
type Status struct {
	Renewed drover.Instant
	Ends    time.Time // if it is never used again
	Trouble error     // why it could not be renewed when that was last tried; nil: it could
	Hint    string    // what to do, if there is trouble
}

// Of returns how a tenant's sign-in stands; ok is false if it has none, err is
// not nil if it cannot be opened.
func (k *Keeper) Of(ctx context.Context, t drover.Tenant) (s Status, ok bool, err error) {
	r, ok, err := k.store.Load(ctx, t)
	if err != nil || !ok || t.State == drover.Removed {
		return s, false, err
	}
	return k.status(held{t, r.At}), true, nil
}

func (k *Keeper) status(h held) Status {
	s := Status{Renewed: h.at, Ends: h.at.Time().Add(Life), Trouble: k.current(h).err}
	if s.Trouble != nil {
		s.Hint = hint(h.Tenant, s.Trouble)
	}
	return s
}

// Items lists when the sign-ins end if they are never used again, and Refused
// those that Entra does not take any more.
func (k *Keeper) Items(ctx context.Context) (items []expiry.Item, refused map[drover.TenantID]Status, err error) {
	list, err := k.tenants(ctx)
	if err != nil {
		return nil, nil, err
	}
	refused = make(map[drover.TenantID]Status)
	for _, h := range list {
		s := k.status(h)
		if drover.KindOf(s.Trouble) == drover.Denied {
			refused[h.ID] = s
		}
		items = append(items, expiry.Item{What: "the sign-in by which tenant " + h.Name + " is read", ID: h.at.String(), Until: s.Ends, Days: expiry.SignIn, Alarm: expiry.SignInAlarm,
			Hint: "a running drover renews it every week, whatever the tenant's state, and could not; " + hint(h.Tenant, s.Trouble)})
	}
	return items, refused, nil
}

// hint says what to do about a sign-in that is not renewed.
func hint(t drover.Tenant, err error) string {
	do := "see why: drover tenant check " + t.Name + "; if it has ended, sign in again: drover tenant connect " + t.Name + " --browser (or --device)"
	if h := drover.HintOf(err); h != "" {
		do = h + "; " + do
	}
	return do
}

// rest waits; false if ctx ends first.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
