package onboard

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"drover"
	"drover/internal/coverage"
	"drover/internal/ledger"
)

// Desk brings invitations to their end: what a page asks for, and what goes on
// behind it. What has happened is in the ledger after every step, so a process
// that starts again goes on with it; a sign-in that was under way is begun anew.
//
// It promises (reference faults T06, T14, T17):
//
//   - A link may be opened again and by others until an admin has consented;
//     the browser that signs in last goes on with it, all others end.
//   - A tenant is kept by itself only if the invitation named it, somebody of it
//     has signed in, the app did not have its consent before, and drover has
//     never read it. Else it waits for an operator.
type Desk struct {
	Store ledger.Inviting
	Entra InvitingEntra
	// Redirect is where a sign-in and a consent lead back to.
	Redirect string
	// Known says how a tenant stands in the ledger.
	Known func(ctx context.Context, id drover.TenantID) (Standing, error)
	// Keep adds the tenant that has answered, or has it read with the app's own
	// permissions from now on. It may be called again. ErrConflict: its name is
	// another's.
	Keep func(ctx context.Context, i ledger.Invitation) error
	// Check makes a test call to each source, with new tokens.
	Check func(ctx context.Context, t drover.Tenant) ([]coverage.Source, error)
	// Order adds to an order what an admin of the MSSP is told by.
	Order func(t drover.Tenant) Order
	// Word turns why a try has ended into a fixed word.
	Word func(error) string
	Log  *slog.Logger

	mu      sync.Mutex
	pending map[drover.Hash]*pending // by browser session
	working map[string]bool          // by invitation; true: it was called for again
	changed chan struct{}            // closed and replaced when one is
	wg      sync.WaitGroup
	life    context.Context // of Run; nil before
}

// InvitingEntra is what invitations need of the identity provider. A sign-in in
// a tenant without an ID is in that of whoever signs in.
type InvitingEntra interface {
	Entra
	// Lacks lists those of the sources that the app's own tokens do not read,
	// asked for anew.
	Lacks(ctx context.Context, t drover.Tenant, sources []drover.SourceID) ([]drover.SourceID, error)
}

// Standing is how a tenant stands in the ledger.
type Standing int

// The standings.
const (
	Stranger Standing = iota // it is not there
	Unread                   // it is there, and has never been read
	Read                     // it has been read
	Left                     // it was removed
)

// What an operator is to look at before a tenant is read.
const (
	WhyUnnamed  = "unnamed"          // the invitation names no tenant
	WhyBefore   = "consented_before" // the app had the consent before
	WhyRead     = "read_before"      // drover reads or has read it
	WhyLeft     = "was_removed"
	WhyName     = "name_taken"
	WhyNotShown = "not_shown" // an admin consented, and tokens never showed it
)

// Errors of what a page asks for.
var (
	// ErrSpent: the invitation opens nothing any more, or not to this browser.
	ErrSpent = errors.New("the invitation has been used, or has ended")
	// ErrForeign: what came back belongs to no sign-in of this browser.
	ErrForeign = errors.New("the answer belongs to another sign-in")
	// ErrStale: the sign-in is too long ago to go on with.
	ErrStale = errors.New("the sign-in was too long ago")
)

// Times of an invitation.
const (
	signInLife  = time.Hour       // from the sign-in to the consent
	pendingLife = time.Hour       // of a page at Entra that was opened
	maxPending  = 10_000          // at once, in memory
	reply       = 6 * time.Second // how long a page waits for what goes on behind it
)

// pending is a page at Entra that a browser was sent to; one of both.
type pending struct {
	sign SignIn
	ask  AdminConsent
	at   time.Time
}

func (p *pending) mine(q url.Values) bool {
	if p.sign != nil {
		return p.sign.Mine(q)
	}
	return p.ask.Mine(q)
}

// Takes reports whether a link may still be opened, by anybody who has it.
func Takes(i *ledger.Invitation, now time.Time) bool {
	switch i.State {
	case ledger.InviteOpen, ledger.InviteOpened, ledger.InviteSignedIn:
		return drover.InstantOf(now) < i.Ends
	}
	return false
}

// Find returns the invitation of a link; it changes nothing. ErrNotFound.
func (d *Desk) Find(ctx context.Context, link drover.Hash) (ledger.Invitation, error) {
	return d.one(ctx, ledger.InvitationFilter{Link: link})
}

// Session returns the invitation that a browser goes on with. ErrNotFound.
func (d *Desk) Session(ctx context.Context, session drover.Hash) (ledger.Invitation, error) {
	return d.one(ctx, ledger.InvitationFilter{Session: session})
}

func (d *Desk) one(ctx context.Context, f ledger.InvitationFilter) (ledger.Invitation, error) {
	if f.Link == (drover.Hash{}) && f.Session == (drover.Hash{}) && f.ID == "" {
		return ledger.Invitation{}, ledger.ErrNotFound
	}
	list, err := d.Store.Invitations(ctx, f)
	if err == nil && len(list) != 1 {
		err = ledger.ErrNotFound
	}
	if err != nil {
		return ledger.Invitation{}, err
	}
	return list[0], nil
}

// Begin starts a sign-in by an invitation in a browser, and returns the page that
// it is to open. Who was at it before goes on with it no more. ErrSpent.
func (d *Desk) Begin(ctx context.Context, i ledger.Invitation, session drover.Hash) (page string, err error) {
	for range 3 {
		if !Takes(&i, time.Now()) {
			return "", ErrSpent
		}
		sign, err := d.Entra.SignIn(i.Wanted, "", false, d.Redirect)
		if err != nil {
			return "", err
		}
		old := i.Session
		i.State, i.Session, i.Why, i.Who, i.Looked, i.Before = ledger.InviteOpened, session, "", drover.Person{}, false, false
		i.Opened, i.SignedIn, i.Asked, i.Consented = drover.InstantOf(time.Now()), drover.NoInstant, drover.NoInstant, drover.NoInstant
		i, err = d.put(ctx, i)
		if errors.Is(err, ledger.ErrConflict) {
			if i, err = d.one(ctx, ledger.InvitationFilter{ID: i.ID}); err == nil {
				continue
			}
		}
		if err != nil {
			return "", err
		}
		d.expect(old, session, &pending{sign: sign, at: time.Now()})
		return sign.URL(), nil
	}
	return "", ErrSpent
}

// expect notes what a browser was sent to, in place of what the one before was.
func (d *Desk) expect(old, session drover.Hash, p *pending) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pending == nil {
		d.pending = make(map[drover.Hash]*pending)
	}
	delete(d.pending, old)
	if len(d.pending) >= maxPending {
		for k, v := range d.pending {
			if len(d.pending) >= maxPending || time.Since(v.at) > pendingLife {
				delete(d.pending, k)
			}
		}
	}
	d.pending[session] = p
}

// take returns what a browser was sent to if an answer is to it; once.
func (d *Desk) take(session drover.Hash, q url.Values) *pending {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.pending[session]
	if p == nil || time.Since(p.at) > pendingLife || !p.mine(q) {
		return nil
	}
	delete(d.pending, session)
	return p
}

// Answer takes what a browser brought back from Entra. ErrNotFound: the browser
// is not at an invitation; ErrForeign: the answer is not to what it was sent to,
// and has changed nothing. Anything else that went wrong is in the invitation.
func (d *Desk) Answer(ctx context.Context, session drover.Hash, q url.Values) error {
	i, err := d.Session(ctx, session)
	if err != nil {
		return err
	}
	p := d.take(session, q)
	switch {
	case p == nil:
		return ErrForeign
	case p.sign != nil:
		err = d.signedIn(ctx, i, p.sign, q)
	default:
		err = d.agreed(ctx, i, p.ask, q)
	}
	if errors.Is(err, ledger.ErrConflict) {
		return nil // another browser, or an operator, was faster; the page says what holds
	}
	if err == nil {
		d.wait(ctx, i.ID)
	}
	return err
}

func (d *Desk) signedIn(ctx context.Context, i ledger.Invitation, sign SignIn, q url.Values) error {
	if i.State != ledger.InviteOpened || !Takes(&i, time.Now()) {
		return ErrForeign
	}
	who, _, err := sign.Finish(ctx, q)
	switch {
	case err == nil && i.Wanted.ID != "" && who.Tenant != i.Wanted.ID, err == nil && who.Tenant == "":
		err = errors.New("whoever signed in is of another tenant")
		i.Why = "wrong_tenant"
	case err != nil:
		i.Why = d.Word(err)
	default:
		i.State, i.Why, i.Who, i.SignedIn, i.Looked = ledger.InviteSignedIn, "", who, drover.InstantOf(time.Now()), false
	}
	if err != nil {
		d.Log.Warn("a sign-in by an invitation has failed", "invitation", i.ID, "wanted", i.Wanted.ID, "err", err)
	}
	i, err = d.put(ctx, i)
	if err == nil && i.State == ledger.InviteSignedIn {
		d.Log.Info("somebody has signed in by an invitation", "invitation", i.ID, "tenant", i.Who.Tenant, "person", i.Who.Name, "person_id", i.Who.ID)
		d.work(i.ID)
	}
	return err
}

// Consent returns the page on which an admin consents. ErrSpent: it is not the
// time for that; ErrStale: who signed in must do so again.
func (d *Desk) Consent(ctx context.Context, session drover.Hash) (page string, err error) {
	i, err := d.Session(ctx, session)
	switch {
	case err != nil:
		return "", err
	case i.State != ledger.InviteSignedIn || !i.Looked || !Takes(&i, time.Now()):
		return "", ErrSpent
	case drover.InstantOf(time.Now().Add(-signInLife)) > i.SignedIn:
		return "", ErrStale
	}
	ask, err := d.Entra.AdminConsent(tenantOf(&i), d.Redirect, false)
	if err != nil {
		return "", err
	}
	i.Asked, i.Why = drover.InstantOf(time.Now()), ""
	if _, err := d.put(ctx, i); err != nil {
		return "", err
	}
	d.expect(drover.Hash{}, session, &pending{ask: ask, at: time.Now()})
	d.work(i.ID)
	return ask.URL(), nil
}

// agreed takes what came back from the consent's page: a hint, and no more.
func (d *Desk) agreed(ctx context.Context, i ledger.Invitation, ask AdminConsent, q url.Values) error {
	switch i.State {
	case ledger.InviteSignedIn:
	case ledger.InviteConsented, ledger.InviteDone, ledger.InviteWaiting:
		return nil // tokens showed the consent before the browser was back
	default:
		return ErrForeign
	}
	if err := ask.Finish(q); err != nil {
		i.Why = d.Word(err)
		d.Log.Warn("a consent by an invitation has failed", "invitation", i.ID, "tenant", i.Who.Tenant, "err", err)
	} else {
		i.State, i.Why, i.Consented = ledger.InviteConsented, "", drover.InstantOf(time.Now())
	}
	i, err := d.put(ctx, i)
	if err == nil {
		d.work(i.ID)
	}
	return err
}

// tenantOf is the tenant that has answered, as it is wanted.
func tenantOf(i *ledger.Invitation) drover.Tenant {
	t := i.Wanted
	t.ID = i.Who.Tenant
	return t
}

// put stores an invitation, and wakes who waits for it.
func (d *Desk) put(ctx context.Context, i ledger.Invitation) (ledger.Invitation, error) {
	v, err := d.Store.PutInvitation(ctx, i)
	if err != nil {
		return i, err
	}
	i.Version = v
	d.Wake()
	return i, nil
}

// Wake has pages look again.
func (d *Desk) Wake() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changed != nil {
		close(d.changed)
	}
	d.changed = make(chan struct{})
}

// Resume goes on with an invitation that somebody else has changed.
func (d *Desk) Resume(id string) {
	d.Wake()
	d.work(id)
}

// wait waits a little until what goes on behind a page has come to something.
func (d *Desk) wait(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, reply)
	defer cancel()
	for ctx.Err() == nil {
		d.mu.Lock()
		if d.changed == nil {
			d.changed = make(chan struct{})
		}
		changed := d.changed
		d.mu.Unlock()
		if i, err := d.one(ctx, ledger.InvitationFilter{ID: id}); err != nil || !Busy(&i) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// Busy reports whether something goes on by itself, which a page waits for.
func Busy(i *ledger.Invitation) bool {
	switch i.State {
	case ledger.InviteSignedIn:
		return !i.Looked
	case ledger.InviteConsented:
		return true
	case ledger.InviteDone:
		return i.Results == nil
	}
	return false
}
