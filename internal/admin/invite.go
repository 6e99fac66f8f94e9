package admin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"drover"
	"drover/internal/ledger"
)

// Inviting is what can be done with invitations.
type Inviting interface {
	// Invite makes one. Its link is in the answer, and nowhere else. An earlier
	// one for the same tenant and purpose that nobody has signed in by ends.
	Invite(ctx context.Context, o InviteOrder) (Invited, error)
	// Invitations lists them, the oldest first.
	Invitations(ctx context.Context) ([]InvitationStatus, error)
	// ConfirmInvitation has a tenant read that waits for an operator. The
	// operator names its ID.
	ConfirmInvitation(ctx context.Context, c InviteConfirm) (InvitationStatus, error)
	// EndInvitation refuses one that waits, or withdraws one that is open.
	EndInvitation(ctx context.Context, id, why string) (InvitationStatus, error)
}

// InviteOrder says who is to be invited to what.
type InviteOrder struct {
	// Tenant is the name or ID of one that is known. Of any other, New says what
	// it is to be; with Any its ID is left out, and whoever signs in names it.
	Tenant string    `json:"tenant,omitempty"`
	New    NewTenant `json:"new"`
	Any    bool      `json:"any,omitempty"`
	// Lacks are the sources of which a known tenant is to give a permission; none:
	// it is to be connected.
	Lacks []drover.SourceID `json:"lacks,omitempty"`
	For   time.Duration     `json:"for_ns"`
}

// Invited is a new invitation with its link.
type Invited struct {
	InvitationStatus
	Link string `json:"link"` // opens it once; it is for the customer's admin alone
}

// InviteConfirm is an operator's word that a tenant is the right one.
type InviteConfirm struct {
	ID     string `json:"id"`
	Tenant string `json:"tenant"`         // the tenant ID, as the customer says it
	Name   string `json:"name,omitempty"` // in place of the one that was ordered
}

// InvitationStatus is how an invitation goes. Instants that are not known have
// not come.
type InvitationStatus struct {
	ID        string                   `json:"id"`
	Purpose   ledger.InvitationPurpose `json:"purpose"`
	State     ledger.InvitationState   `json:"state"`
	Why       string                   `json:"why,omitempty"`
	Name      string                   `json:"name"`
	Customer  drover.CustomerID        `json:"customer"`
	Tenant    drover.TenantID          `json:"tenant,omitempty"` // that was named
	Sources   []drover.SourceID        `json:"sources"`
	Lacks     []drover.SourceID        `json:"lacks,omitempty"`
	Made      drover.Instant           `json:"made"`
	Ends      drover.Instant           `json:"ends"`
	Opened    drover.Instant           `json:"opened"`
	SignedIn  drover.Instant           `json:"signed_in"`
	Consented drover.Instant           `json:"consented"`
	Settled   drover.Instant           `json:"settled"`
	Person    *InvitedPerson           `json:"person,omitempty"`
	Before    bool                     `json:"consented_before,omitempty"`
	Results   []ledger.InvitedSource   `json:"results,omitempty"`
}

// InvitedPerson is who signed in, by a checked ID token.
type InvitedPerson struct {
	Tenant drover.TenantID `json:"tenant"`
	ID     string          `json:"id,omitempty"`
	Name   string          `json:"name"` // to read; it proves nothing
}

// How long a link is good for.
const (
	DefaultInvitation = 72 * time.Hour
	minInvitation     = 5 * time.Minute
	maxInvitation     = ledger.MaxInvitation * 24 * time.Hour
)

// LinkHash is what the ledger holds of a link's token, which has 130 bits.
func LinkHash(token string) drover.Hash {
	return sha256.Sum256([]byte("drover invitation link\x00" + token))
}

const opInvite = "invite"

// Invite is Inviting.Invite.
func (l *Local) Invite(ctx context.Context, o InviteOrder) (Invited, error) {
	if l.InvitePage == "" {
		return Invited{}, usage(opInvite, "say in drover.yaml where customers find it: listen: {invitations: {url: https://<your domain>/SiemMsspConnector}}, and restart drover run", errors.New("there is no page for invitations"))
	}
	if o.For == 0 {
		o.For = DefaultInvitation
	}
	if o.For < minInvitation || o.For > maxInvitation {
		return Invited{}, usage(opInvite, "see: drover tenant invite --help", fmt.Errorf("a link is good for 5 minutes to %d days, not for %s", ledger.MaxInvitation, o.For))
	}
	now := time.Now()
	i := ledger.Invitation{ID: strings.ToLower(rand.Text()[:10]), Purpose: ledger.Connect, State: ledger.InviteOpen, Made: drover.InstantOf(now), Ends: drover.InstantOf(now.Add(o.For)),
		Opened: drover.NoInstant, SignedIn: drover.NoInstant, Asked: drover.NoInstant, Consented: drover.NoInstant, Settled: drover.NoInstant}
	if err := l.invited(ctx, o, &i, now); err != nil {
		return Invited{}, err
	}
	if l.Consents != nil {
		if err := l.Consents(i.Wanted.App); err != nil {
			return Invited{}, usage(opInvite, "connect it by a sign-in: drover tenant connect --device", err)
		}
	}
	token := rand.Text()
	i.Link = LinkHash(token)
	if err := l.endEarlier(ctx, &i); err != nil {
		return Invited{}, err
	}
	if _, err := l.Store.PutInvitation(ctx, i); err != nil {
		return Invited{}, err
	}
	return Invited{invitationStatus(&i), l.InvitePage + "/" + token}, nil
}

// invited fills in the tenant that is meant.
func (l *Local) invited(ctx context.Context, o InviteOrder, i *ledger.Invitation, now time.Time) error {
	if o.Tenant != "" {
		t, err := l.find(ctx, opInvite, o.Tenant)
		switch {
		case err != nil:
			return err
		case t.State == drover.Removed:
			return usage(opInvite, "if it is to be read again: drover tenant add "+string(t.ID), fmt.Errorf("tenant %s was removed; its customer has left", t.Name))
		}
		i.Wanted = t
		if len(o.Lacks) > 0 {
			i.Purpose, i.Lacks = ledger.Reconsent, o.Lacks
		}
		return nil
	}
	n := o.New
	n.Name = strings.ToLower(orDefault(n.Name, n.Customer))
	if o.Any {
		n.ID = anyTenant
	}
	if !o.Any && n.ID == "" {
		return usage(opInvite, "give its ID and a --name; or, if you do not know the ID, --any", fmt.Errorf("there is no tenant %q", n.Name))
	}
	if n.Name == "" {
		return usage(opInvite, "give a new one a short name: --name contoso", fmt.Errorf("there is no tenant %s", n.ID))
	}
	t, wrong := l.wanted(n, nil, now)
	if len(wrong) > 0 {
		return usage(opInvite, wrong[0].Hint, errors.New(wrong[0].Text))
	}
	for _, who := range []string{string(t.ID), t.Name} {
		have, err := l.Store.FindTenant(ctx, who)
		if err == nil {
			return usage(opInvite, "see: drover tenant show "+have.Name, fmt.Errorf("the tenant %s (%s) is there already", have.Name, have.ID))
		}
		if !errors.Is(err, ledger.ErrNotFound) {
			return err
		}
	}
	i.Wanted, i.Start = t, n.Start
	if o.Any {
		i.Wanted.ID = ""
	}
	return nil
}

// anyTenant stands for an ID that is not known yet, while the rest is checked.
const anyTenant = "00000000-0000-0000-0000-000000000000"

// endEarlier withdraws what nobody has signed in by and is for the same.
func (l *Local) endEarlier(ctx context.Context, i *ledger.Invitation) error {
	list, err := l.Store.Invitations(ctx, ledger.InvitationFilter{})
	if err != nil {
		return err
	}
	for _, old := range list {
		if old.Purpose != i.Purpose || old.Wanted.Name != i.Wanted.Name || old.State != ledger.InviteOpen && old.State != ledger.InviteOpened {
			continue
		}
		old.State, old.Settled = ledger.InviteWithdrawn, i.Made
		if _, err := l.Store.PutInvitation(ctx, old); err != nil && !errors.Is(err, ledger.ErrConflict) {
			return err
		}
	}
	return nil
}

func invitationStatus(i *ledger.Invitation) InvitationStatus {
	s := InvitationStatus{ID: i.ID, Purpose: i.Purpose, State: i.State, Why: i.Why, Name: i.Wanted.Name, Customer: i.Wanted.Customer, Tenant: i.Wanted.ID, Sources: i.Wanted.Sources, Lacks: i.Lacks,
		Made: i.Made, Ends: i.Ends, Opened: i.Opened, SignedIn: i.SignedIn, Consented: i.Consented, Settled: i.Settled, Before: i.Before, Results: i.Results}
	if i.Who.Tenant != "" {
		s.Person = &InvitedPerson{Tenant: i.Who.Tenant, ID: i.Who.ID, Name: i.Who.Name}
	}
	if (i.State == ledger.InviteOpen || i.State == ledger.InviteOpened || i.State == ledger.InviteSignedIn) && drover.InstantOf(time.Now()) >= i.Ends {
		s.State = ledger.InviteExpired // nobody has written it down yet
	}
	return s
}

// Invitations is Inviting.Invitations.
func (l *Local) Invitations(ctx context.Context) ([]InvitationStatus, error) {
	list, err := l.Store.Invitations(ctx, ledger.InvitationFilter{})
	out := make([]InvitationStatus, 0, len(list))
	for i := range list {
		out = append(out, invitationStatus(&list[i]))
	}
	return out, err
}

// shownFor is how long a status tells of an invitation that has come to an end.
const shownFor = 7 * 24 * time.Hour

// news lists the invitations that somebody has answered, those that wait for an
// operator first.
func (l *Local) news(ctx context.Context) (out []InvitationStatus, err error) {
	list, err := l.Invitations(ctx)
	since := drover.InstantOf(time.Now().Add(-shownFor))
	for _, i := range list {
		if i.Person != nil && (!i.State.Over() || i.State == ledger.InviteDone && i.Settled >= since) {
			out = append(out, i)
		}
	}
	slices.SortStableFunc(out, func(a, b InvitationStatus) int {
		rank := map[bool]int{true: 0, false: 1}
		return rank[a.State == ledger.InviteWaiting] - rank[b.State == ledger.InviteWaiting]
	})
	return out, err
}

func (l *Local) invitation(ctx context.Context, op, id string) (ledger.Invitation, error) {
	list, err := l.Store.Invitations(ctx, ledger.InvitationFilter{ID: strings.ToLower(id)})
	if err == nil && (id == "" || len(list) != 1) {
		err = usage(op, "see: drover invitation list", fmt.Errorf("there is no invitation %q", id))
	}
	if err != nil {
		return ledger.Invitation{}, err
	}
	return list[0], nil
}

// ConfirmInvitation is Inviting.ConfirmInvitation.
func (l *Local) ConfirmInvitation(ctx context.Context, c InviteConfirm) (InvitationStatus, error) {
	const op = "confirm the invitation"
	i, err := l.invitation(ctx, op, c.ID)
	if err != nil {
		return InvitationStatus{}, err
	}
	s := invitationStatus(&i)
	if i.State != ledger.InviteWaiting {
		return s, usage(op, "see: drover invitation list", fmt.Errorf("invitation %s does not wait for an operator: it is %s", i.ID, s.State))
	}
	id, err := drover.ParseTenantID(c.Tenant)
	if err != nil || id != i.Who.Tenant {
		return s, usage(op, "ask the customer for their tenant ID by another way than this link, and compare: who signed in is of "+string(i.Who.Tenant), errors.New("the tenant ID is not that of whoever signed in"))
	}
	i.Wanted.ID = id
	if c.Name != "" {
		name, err := drover.ParseCustomerID(strings.ToLower(c.Name))
		if err != nil {
			return s, usage(op, "", err)
		}
		if i.Wanted.Customer == drover.CustomerID(i.Wanted.Name) {
			i.Wanted.Customer = name
		}
		i.Wanted.Name = string(name)
	}
	if err := l.KeepInvited(ctx, i); errors.Is(err, ledger.ErrConflict) {
		return s, usage(op, "give it another: --name", fmt.Errorf("the name %s is another tenant's", i.Wanted.Name))
	} else if err != nil {
		return s, err
	}
	i.State, i.Why, i.Settled = ledger.InviteDone, "", drover.InstantOf(time.Now())
	return l.putInvitation(ctx, op, i)
}

// EndInvitation is Inviting.EndInvitation.
func (l *Local) EndInvitation(ctx context.Context, id, why string) (InvitationStatus, error) {
	const op = "end the invitation"
	i, err := l.invitation(ctx, op, id)
	if err != nil {
		return InvitationStatus{}, err
	}
	switch {
	case i.State.Over():
		return invitationStatus(&i), usage(op, "see: drover invitation list", fmt.Errorf("invitation %s is over: it is %s", i.ID, i.State))
	case i.State == ledger.InviteWaiting:
		i.State = ledger.InviteRefused
	default:
		i.State = ledger.InviteWithdrawn
	}
	i.Why, i.Settled = strings.TrimSpace(why), drover.InstantOf(time.Now())
	return l.putInvitation(ctx, op, i)
}

func (l *Local) putInvitation(ctx context.Context, op string, i ledger.Invitation) (InvitationStatus, error) {
	_, err := l.Store.PutInvitation(ctx, i)
	if errors.Is(err, ledger.ErrConflict) {
		return invitationStatus(&i), &drover.Error{Op: op, Kind: drover.Transient, Hint: "look again: drover invitation list", Err: errors.New("something has come of it just now")}
	}
	if err == nil && l.InvitationChanged != nil {
		l.InvitationChanged(i.ID)
	}
	return invitationStatus(&i), err
}

// KeepInvited has the tenant read whose admin has answered: it is added, or, if
// it is there, read with the app's own permissions. It may be called again.
// ErrConflict: its name is another's.
func (l *Local) KeepInvited(ctx context.Context, i ledger.Invitation) error {
	was, err := l.Store.Tenant(ctx, i.Who.Tenant)
	switch {
	case err == nil && was.State != drover.Removed:
		if l.SealRefreshToken == nil {
			return nil
		}
		return l.SealRefreshToken(ctx, was, drover.Secret{})
	case err != nil && !errors.Is(err, ledger.ErrNotFound):
		return err
	}
	now := time.Now()
	t := i.Wanted
	t.ID, t.State, t.Added = i.Who.Tenant, drover.Active, drover.InstantOf(now)
	if t.Start, err = ParseStart(orDefault(i.Start, orDefault(l.DefaultStart, "now")), now); err != nil {
		return usage(opInvite, "", err)
	}
	return l.Store.AddTenant(ctx, t)
}
