package ledger

import (
	"context"

	"drover"
)

// MaxInvitation is how long a link may open something (reference faults T14),
// in days.
const MaxInvitation = 7

// Invitation asks somebody of a customer's, by a link, to sign in and to
// consent. The link's token is nowhere; its hash is.
type Invitation struct {
	ID      string      // to name it; it opens nothing
	Version uint64      // as it was read; 0: it is new
	Link    drover.Hash // of the link's token; zero: it opens nothing any more
	Purpose InvitationPurpose
	State   InvitationState
	Why     string // a fixed word: why the last try ended, or what an operator is to look at

	// Wanted is the tenant that is asked for; without an ID whoever signs in
	// names it. Start is where it is to begin, in the operator's words.
	Wanted drover.Tenant
	Start  string
	// Lacks are the sources of which a permission is asked for; of Reconsent.
	Lacks []drover.SourceID

	// Times are of the local clock; NoInstant: not yet.
	Made, Ends, Changed         drover.Instant
	Opened, SignedIn, Consented drover.Instant
	Asked                       drover.Instant // the consent page was opened
	Settled                     drover.Instant

	Session drover.Hash   // of the browser that goes on with it; zero: none
	Who     drover.Person // who signed in, by a checked ID token
	Looked  bool          // whether the tenant had consented before has been looked at
	Before  bool          // it had
	Results []InvitedSource
}

// InvitationPurpose is what an invitation is for.
type InvitationPurpose string

// The purposes.
const (
	Connect   InvitationPurpose = "connect"    // a tenant that is not read yet
	Reconsent InvitationPurpose = "re-consent" // one that is, for a permission that it lacks
)

// InvitationState is the life of an invitation.
type InvitationState string

// The states of an invitation. Up to InviteSignedIn the link may be opened
// again, in any browser; the one that signs in last goes on with it.
const (
	InviteOpen      InvitationState = "open"
	InviteOpened    InvitationState = "opened"    // somebody has begun to sign in
	InviteSignedIn  InvitationState = "signed in" // and has; an admin is to consent
	InviteConsented InvitationState = "consented" // an admin says so; tokens do not show it yet
	InviteWaiting   InvitationState = "waiting"   // for an operator
	InviteDone      InvitationState = "done"      // the tenant is read, or has its permission
	InviteRefused   InvitationState = "refused"   // by an operator
	InviteExpired   InvitationState = "expired"
	InviteWithdrawn InvitationState = "withdrawn" // by an operator, or with its tenant
)

// Over reports whether nothing more comes of it.
func (s InvitationState) Over() bool {
	return s == InviteDone || s == InviteRefused || s == InviteExpired || s == InviteWithdrawn
}

// Tenant is whom it is about as far as that is known: who was named, else who
// signed in.
func (i *Invitation) Tenant() drover.TenantID {
	if i.Wanted.ID != "" {
		return i.Wanted.ID
	}
	return i.Who.Tenant
}

// InvitedSource is how a source stood when an invitation had been answered.
type InvitedSource struct {
	Source  drover.SourceID `json:"source"`
	Outcome string          `json:"outcome"` // a fixed word
	Do      string          `json:"do,omitempty"`
}

// InvitationFilter narrows Invitations; zero members do not filter.
type InvitationFilter struct {
	ID      string
	Link    drover.Hash
	Session drover.Hash
	Tenant  drover.TenantID // named or signed in
	State   InvitationState
}

// Inviting keeps invitations. Removing a tenant withdraws those that name it or
// were answered by it, and destroys in them who signed in.
type Inviting interface {
	// PutInvitation stores a new one (Version 0) or changes one that is still in
	// the version that was read, and returns the new version. ErrConflict: it
	// was changed since, or its ID, link or session is another's; ErrNotFound:
	// it is not there.
	PutInvitation(ctx context.Context, i Invitation) (uint64, error)
	// Invitations lists them, the oldest first.
	Invitations(ctx context.Context, f InvitationFilter) ([]Invitation, error)
}
