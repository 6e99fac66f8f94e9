// Package coverage says what of a tenant's Defender products reaches drover:
// what is granted, what the APIs answer, which products have brought alerts and
// how long they usually pause. It asks nobody: it judges what others have read.
//
// It promises:
//
//   - Silence is measured up to where a feed has been read, never up to now:
//     that drover did not read is no silence of a product.
//   - Counting takes memory for the span and the products, not for the alerts.
//   - Where an API does not tell two causes apart, both are said.
package coverage

import (
	"time"

	"drover"
)

// Answer is what became of asking a source.
type Answer string

// The answers.
const (
	Open         Answer = "open"          // the API answers
	NotGranted   Answer = "not_granted"   // a permission or a consent is missing
	NotOnboarded Answer = "not_onboarded" // not licensed, or Defender was never set up there
	Ambiguous    Answer = "ambiguous"     // one of these two: the API does not say which
	Denied       Answer = "denied"        // refused for another reason; somebody must act
	Unasked      Answer = "unasked"       // it could not be asked now
)

// Source is one API of a tenant: what its token carries, what it answers, and
// what it has brought.
type Source struct {
	ID     drover.SourceID `json:"source"`
	Answer Answer          `json:"answer"`
	Says   string          `json:"says,omitempty"` // why, if it is not open
	Hint   string          `json:"hint,omitempty"`

	// Permissions are the roles or scopes of the access token; nil if there is
	// none or it cannot be read. Delegated: it is a signed-in user's.
	Permissions []string `json:"permissions,omitempty"`
	Delegated   bool     `json:"delegated,omitempty"`
	// Opens lists the sources that a token with these permissions can read,
	// Wants is the permission to ask for, "" if the API has none.
	Opens []drover.SourceID `json:"opens,omitempty"`
	Wants string            `json:"wants,omitempty"`

	// Absent and Failed are products that the API named, in its own words, as
	// not there for this tenant, or as not answering now.
	Absent []string `json:"absent,omitempty"`
	Failed []string `json:"failed,omitempty"`

	ReadUpTo drover.Instant `json:"read_up_to"`
	// Pruned: of the span that is counted, old bodies have been thrown away;
	// what is kept was counted.
	Pruned bool   `json:"pruned,omitempty"`
	Seen   []Seen `json:"seen"`
}

// Seen is what one source has brought of one product.
type Seen struct {
	Product string         `json:"product"`
	Name    string         `json:"name"`
	Alerts  int            `json:"alerts"` // new ones; of siem.detections: detections
	Newest  drover.Instant `json:"newest"` // when the newest of them was created
	// UsualGap is how long it usually takes to the next new alert; 0 if too few
	// came to tell. See usual.
	UsualGap time.Duration `json:"usual_gap_ns,omitempty"`
}

// Verdict is what is to be thought of a product.
type Verdict string

// The verdicts.
const (
	Covered      Verdict = "covered"
	Silent       Verdict = "silent"        // granted, and nothing new for longer than usual
	Ungranted    Verdict = "not granted"   // see the hint: which permission, and who consents
	Unlicensed   Verdict = "not onboarded" // not licensed or not onboarded: the API does not say which
	Refused      Verdict = "refused"       // not granted, not licensed or not onboarded: likewise
	Unread       Verdict = "not read"      // refused for a reason that is none of the product's
	Undetermined Verdict = "unknown"
)

// Line is the verdict on one product of a tenant.
type Line struct {
	Seen
	Verdict Verdict `json:"verdict"`
	// By is the source whose word it is, ReadUpTo how far that has been read.
	By       drover.SourceID `json:"source"`
	ReadUpTo drover.Instant  `json:"read_up_to"`
	// SilentFor is how long nothing new has come, up to where the source has
	// been read.
	SilentFor time.Duration `json:"silent_for_ns,omitempty"`
	Says      string        `json:"says,omitempty"`
	Hint      string        `json:"hint,omitempty"`
	// Everywhere: it is silent in all tenants that had it.
	Everywhere bool `json:"everywhere,omitempty"`
}

// Tenant is the coverage of one tenant.
type Tenant struct {
	ID       drover.TenantID    `json:"tenant"`
	Name     string             `json:"name"`
	Customer drover.CustomerID  `json:"customer"`
	Cloud    string             `json:"cloud"`
	State    drover.TenantState `json:"state"`
	Unproven string             `json:"unproven,omitempty"` // why what it shows may not be all
	From     drover.Instant     `json:"counted_from"`
	Sources  []Source           `json:"sources"`
	Products []Line             `json:"products"`
}
