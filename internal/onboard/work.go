package onboard

import (
	"context"
	"errors"
	"slices"
	"time"

	"drover"
	"drover/internal/coverage"
	"drover/internal/ledger"
)

// Pauses of what goes on behind invitations.
const (
	tendEvery  = 30 * time.Second // all of them are looked through
	probeStale = 5 * time.Minute  // a consent that should have shown long ago
	checkFor   = 24 * time.Hour   // after it was settled, a result is still looked for

	rememberFor = 90 * 24 * time.Hour // who answered an invitation of which nothing came
)

// Run goes on with what was begun, until ctx ends: after a start with
// everything that is open.
func (d *Desk) Run(ctx context.Context) error {
	d.mu.Lock()
	d.life = ctx
	d.mu.Unlock()
	defer d.wg.Wait()
	for {
		if err := d.tend(ctx); err != nil && ctx.Err() == nil {
			if drover.KindOf(err) == drover.Broken {
				return err
			}
			d.Log.Warn("look through the invitations", "err", err)
		}
		d.mu.Lock()
		if d.changed == nil {
			d.changed = make(chan struct{})
		}
		d.mu.Unlock()
		select {
		case <-time.After(tendEvery):
		case <-ctx.Done():
			return nil
		}
	}
}

// tend starts what is to be done with any invitation.
func (d *Desk) tend(ctx context.Context) error {
	list, err := d.Store.Invitations(ctx, ledger.InvitationFilter{})
	if err != nil {
		return err
	}
	now := time.Now()
	for _, i := range list {
		if i.State.Over() && i.State != ledger.InviteDone && i.Who != (drover.Person{}) && drover.InstantOf(now.Add(-rememberFor)) > i.Settled {
			i.Who, i.Link, i.Session = drover.Person{}, drover.Hash{}, drover.Hash{}
			if _, err := d.put(ctx, i); err != nil && !errors.Is(err, ledger.ErrConflict) {
				return err
			}
			continue
		}
		ended := !i.State.Over() && i.State != ledger.InviteWaiting && drover.InstantOf(now) >= i.Ends
		settled := i.State == ledger.InviteDone && drover.InstantOf(now.Add(-checkFor)) > i.Settled
		if ended || Busy(&i) && !settled || i.State == ledger.InviteSignedIn && i.Asked.Known() {
			d.work(i.ID)
		}
	}
	return nil
}

// work goes on with an invitation behind the pages, once at a time.
func (d *Desk) work(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.working == nil {
		d.working = make(map[string]bool)
	}
	if d.life == nil || d.life.Err() != nil {
		return // Run begins with it
	}
	if _, busy := d.working[id]; busy {
		d.working[id] = true // it looks again before it ends
		return
	}
	d.working[id] = false
	ctx := d.life
	d.wg.Go(func() {
		for again := true; again; {
			d.advance(ctx, id)
			d.mu.Lock()
			if again = d.working[id] && ctx.Err() == nil; again {
				d.working[id] = false
			} else {
				delete(d.working, id)
			}
			d.mu.Unlock()
		}
	})
}

// looks is what is remembered between two looks at one invitation.
type looks struct {
	seen  int           // in a row that have shown a consent
	pause time.Duration // until the next
}

// more is a pause that grows.
func (l *looks) more(longest time.Duration) time.Duration {
	l.pause = min(max(2*l.pause, probeFirst), longest)
	return l.pause
}

// advance takes steps until there is none to take.
func (d *Desk) advance(ctx context.Context, id string) {
	var l looks
	for ctx.Err() == nil {
		d.mu.Lock()
		if d.changed == nil {
			d.changed = make(chan struct{})
		}
		changed := d.changed
		d.mu.Unlock()
		i, err := d.one(ctx, ledger.InvitationFilter{ID: id})
		if err != nil {
			return // gone; or Run tries again
		}
		next, pause := d.step(ctx, i, &l)
		if !same(&next, &i) {
			if _, err := d.put(ctx, next); err != nil && !errors.Is(err, ledger.ErrConflict) {
				d.Log.Error("keep how an invitation goes", "invitation", id, "err", err)
				return
			}
			if next.State != i.State {
				l = looks{}
				d.Log.Info("an invitation has come on", "invitation", id, "state", next.State, "why", next.Why, "tenant", next.Tenant(), "person", next.Who.Name, "person_id", next.Who.ID)
			}
			continue
		}
		if pause < 0 {
			return
		}
		select {
		case <-time.After(pause):
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// same reports whether a step has changed nothing.
func same(a, b *ledger.Invitation) bool {
	return a.State == b.State && a.Why == b.Why && a.Looked == b.Looked && a.Before == b.Before && slices.Equal(a.Results, b.Results) && (a.Results == nil) == (b.Results == nil)
}

// step returns how an invitation stands after one look, and when the next is
// due; negative: not by itself.
func (d *Desk) step(ctx context.Context, i ledger.Invitation, l *looks) (ledger.Invitation, time.Duration) {
	now := time.Now()
	switch i.State {
	case ledger.InviteOpen, ledger.InviteOpened, ledger.InviteSignedIn, ledger.InviteConsented:
		if drover.InstantOf(now) >= i.Ends {
			if i.State == ledger.InviteConsented {
				i.Why = WhyNotShown
			}
			i.State, i.Settled = ledger.InviteExpired, drover.InstantOf(now)
			return i, -1
		}
	}
	switch {
	case i.State == ledger.InviteSignedIn && !i.Looked:
		return d.look(ctx, i, l)
	case i.State == ledger.InviteSignedIn && i.Asked.Known() && drover.InstantOf(now.Add(-defaultPatience)) < i.Asked:
		// Whoever agrees may do so in another browser: the consent shows, and the
		// person who signed in is of the tenant.
		if shows, err := d.shows(ctx, &i); err == nil && shows {
			i.State, i.Consented = ledger.InviteConsented, drover.InstantOf(now)
			return i, 0
		}
		return i, probeUnasked
	case i.State == ledger.InviteConsented:
		return d.spread(ctx, i, l)
	case i.State == ledger.InviteDone && i.Results == nil:
		return d.try(ctx, i, l)
	}
	return i, -1
}

// look finds out whether the tenant had consented before.
func (d *Desk) look(ctx context.Context, i ledger.Invitation, l *looks) (ledger.Invitation, time.Duration) {
	shows, err := d.shows(ctx, &i)
	switch {
	case err != nil:
		return d.troubled(i, l, err)
	case !shows:
		i.Looked, i.Why = true, ""
	case i.Purpose == ledger.Reconsent:
		i.Looked, i.Before, i.Why = true, true, ""
		return d.settled(i), 0
	default:
		i.Looked, i.Before = true, true
		i.State, i.Why = ledger.InviteWaiting, WhyBefore
	}
	return i, 0
}

// shows reports whether tokens show what is asked for.
func (d *Desk) shows(ctx context.Context, i *ledger.Invitation) (bool, error) {
	if i.Purpose == ledger.Reconsent {
		lacks, err := d.Entra.Lacks(ctx, tenantOf(i), i.Lacks)
		return len(lacks) == 0, err
	}
	_, granted, err := d.Entra.Consented(ctx, tenantOf(i))
	return granted, err
}

// troubled waits for what passes. What does not is the MSSP's to mend, and is
// said once.
func (d *Desk) troubled(i ledger.Invitation, l *looks, err error) (ledger.Invitation, time.Duration) {
	if drover.KindOf(err) == drover.Denied {
		if word := d.Word(err); i.Why != word {
			d.Log.Error("an invitation cannot go on", "invitation", i.ID, "tenant", i.Tenant(), "err", err, "hint", drover.HintOf(err))
			i.Why = word
		}
	}
	return i, max(l.more(probeStale), drover.WaitOf(err))
}

// spread waits until a consent shows everywhere, and keeps the tenant.
func (d *Desk) spread(ctx context.Context, i ledger.Invitation, l *looks) (ledger.Invitation, time.Duration) {
	shows, err := d.shows(ctx, &i)
	late := drover.InstantOf(time.Now().Add(-defaultPatience)) > i.Consented
	switch {
	case err != nil:
		return d.troubled(i, l, err)
	case !shows && late && i.Purpose == ledger.Reconsent:
		return d.settled(i), 0 // what came of it, the results say
	case !shows && late:
		l.seen, i.Why = 0, WhyNotShown
		return i, l.more(probeStale)
	case !shows:
		l.seen = 0
		return i, l.more(probeLast)
	}
	if l.seen++; l.seen < sure {
		return i, probeFirst
	}
	i.Why = ""
	if i.Purpose == ledger.Reconsent {
		return d.settled(i), 0
	}
	standing, err := d.Known(ctx, i.Who.Tenant)
	if err != nil {
		return d.troubled(i, l, err)
	}
	switch {
	case i.Wanted.ID == "":
		i.Why = WhyUnnamed
	case standing == Read:
		i.Why = WhyRead
	case standing == Left:
		i.Why = WhyLeft
	}
	if i.Why == "" {
		err := d.Keep(ctx, i)
		if err == nil {
			return d.settled(i), 0
		}
		if !errors.Is(err, ledger.ErrConflict) {
			return d.troubled(i, l, err)
		}
		i.Why = WhyName
	}
	i.State = ledger.InviteWaiting
	return i, 0
}

func (d *Desk) settled(i ledger.Invitation) ledger.Invitation {
	i.State, i.Settled = ledger.InviteDone, drover.InstantOf(time.Now())
	return i
}

// try makes the test calls, and writes down what came of them.
func (d *Desk) try(ctx context.Context, i ledger.Invitation, l *looks) (ledger.Invitation, time.Duration) {
	t := tenantOf(&i)
	if i.Purpose == ledger.Reconsent {
		lacks, err := d.Entra.Lacks(ctx, t, i.Lacks)
		if err != nil {
			return d.troubled(i, l, err)
		}
		i.Results = make([]ledger.InvitedSource, 0, len(i.Lacks))
		for _, s := range i.Lacks {
			out := ledger.InvitedSource{Source: s, Outcome: string(Works)}
			if slices.Contains(lacks, s) {
				out.Outcome = string(RoleMissing)
			}
			i.Results = append(i.Results, out)
		}
		return i, -1
	}
	o := Order{Tenant: t}
	if d.Order != nil {
		o = d.Order(t)
	}
	s := Service{Check: func(ctx context.Context, t drover.Tenant) ([]coverage.Source, error) { return d.Check(ctx, t) }}
	list, err := s.check(ctx, o, !i.Before)
	if err != nil {
		return d.troubled(i, l, err)
	}
	i.Results = make([]ledger.InvitedSource, 0, len(list))
	for _, x := range list {
		i.Results = append(i.Results, ledger.InvitedSource{Source: x.Source, Outcome: string(x.Outcome), Do: x.Do})
	}
	return i, -1
}
