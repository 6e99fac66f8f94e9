// Package admin is what an operator can ask of drover: who is read, how it
// goes, what is missing. The same calls work on a ledger that nobody has open
// (Local) and on a running process, over a Unix socket in the ledger's
// directory that only its owner may open (Serve, Dial).
package admin

import (
	"context"
	"encoding/json"
	"time"

	"drover"
)

// API is what can be asked.
type API interface {
	Backfilling
	Listing
	Vaulting
	AppKeys
	Inviting
	Partnering
	AddTenant(ctx context.Context, t NewTenant) (drover.Tenant, error)
	Tenants(ctx context.Context) ([]TenantStatus, error)
	Tenant(ctx context.Context, idOrName string) (TenantStatus, error)
	// CheckTenants tells of tenants one by one, in no order and never two at
	// once, until each returns an error. What is wrong with one is told of it and
	// ends no other's check.
	CheckTenants(ctx context.Context, q CheckQuery, each func(Checked) error) error
	// Coverage tells of tenants one by one, in no order and never two at once,
	// and last of two or more together, until each returns an error. One tenant's failure is told and ends no
	// other's, unless it is the only one.
	Coverage(ctx context.Context, q CoverageQuery, each func(Covered) error) error
	// SealTenant replaces the delegated credential that a tenant is read with;
	// an empty one ends it: the tenant is read with the app's own permissions.
	SealTenant(ctx context.Context, idOrName string, refresh drover.Secret) error
	PauseTenant(ctx context.Context, idOrName string) error
	ResumeTenant(ctx context.Context, idOrName string) error
	// RemoveTenant stops reading a tenant, and removes it once its sinks have
	// taken what they are owed, or at once if discard is set. It does not wait:
	// it is called again while something is owed.
	RemoveTenant(ctx context.Context, idOrName string, discard bool) (Removal, error)
	Status(ctx context.Context) (Status, error)
	AcknowledgeGap(ctx context.Context, id int64, why string) error
	// Prune throws away a slice of what may go; it is called again while there
	// is More. Confirmed goes on where it would stop and ask.
	Prune(ctx context.Context, confirmed bool) (PruneStatus, error)
	Alerts
	// Volume counts what each choice of revisions would have sent.
	Volume(ctx context.Context, q VolumeQuery) ([]VolumeStatus, error)
	// Audit compares a window with what the APIs show. It takes as long as it
	// takes; the report's form is internal/audit's. AuditProgress tells how the
	// one with that ID goes.
	Audit(ctx context.Context, o AuditOrder) (json.RawMessage, error)
	AuditProgress(ctx context.Context, id string) (string, error)
}

// AuditOrder says what is to be audited.
type AuditOrder struct {
	ID      string          `json:"id"`      // chosen by who asks
	Tenants []string        `json:"tenants"` // IDs or names; none: all that are not removed
	Sinks   []drover.SinkID `json:"sinks,omitempty"`
	From    drover.Instant  `json:"from"`
	To      drover.Instant  `json:"to"`
	// Wait is how long to wait between two looks at the ledger; 0: as long as the
	// collector needs for two polls.
	Wait time.Duration `json:"wait_ns,omitempty"`
}

// NewTenant is what an operator says of a new tenant.
type NewTenant struct {
	ID       string             `json:"id"`
	Name     string             `json:"name"`
	Customer string             `json:"customer"`
	Cloud    string             `json:"cloud"`
	App      string             `json:"app"`
	Region   string             `json:"region"`
	Regions  []string           `json:"regions"` // of ledgers that may keep its alerts; none: any
	Sources  []drover.SourceID  `json:"sources"`
	State    drover.TenantState `json:"state,omitempty"`
	// Start is "now", an instant (RFC 3339) or an age ("24h", "30d"): rows
	// that changed before it are not owed.
	Start string `json:"start"`
	// RefreshToken is a delegated credential, if the tenant is read by one.
	// It is sent over the socket and sealed in the ledger; it is never shown.
	RefreshToken string `json:"refresh_token,omitempty"`
}

// Removal is how far the removal of a tenant is.
type Removal struct {
	Name    string `json:"name"`
	Removed bool   `json:"removed"` // its key and credentials are destroyed
	// Owed is how many revisions each sink has still to take, if it was not
	// removed for that reason.
	Owed    map[drover.SinkID]uint64 `json:"owed,omitempty"`
	Running bool                     `json:"running"` // somebody delivers
}

// FeedStatus is how one feed goes.
type FeedStatus struct {
	Source    drover.SourceID `json:"source"`
	Through   drover.Instant  `json:"through"`   // everything below is in the ledger or in a gap
	LastWhole drover.Instant  `json:"last_read"` // by the server's clock
	Revisions uint64          `json:"revisions"`
	Parked    string          `json:"parked,omitempty"`
	OpenGaps  int             `json:"open_gaps"`
	// ClockAhead is how far the API's clock is ahead of ours, by its last
	// answer; nil while nobody reads.
	ClockAhead *time.Duration `json:"clock_ahead_ns,omitempty"`
	Secondary  bool           `json:"secondary,omitempty"` // tells alerts that the primary source tells
	Watch      *FeedWatch     `json:"watch,omitempty"`     // of a running process
}

// TenantStatus is a tenant and its feeds.
type TenantStatus struct {
	ID       drover.TenantID    `json:"id"`
	Name     string             `json:"name"`
	Customer drover.CustomerID  `json:"customer"`
	Cloud    string             `json:"cloud"`
	App      string             `json:"app"`
	Region   string             `json:"region,omitempty"`
	Regions  []string           `json:"regions,omitempty"` // of ledgers that may keep its alerts; none: any
	Sources  []drover.SourceID  `json:"sources"`
	Held     *HoldStatus        `json:"held,omitempty"`
	Primary  drover.SourceID    `json:"primary,omitempty"` // tells its alerts; what other sources of alerts show goes only where a route names them
	State    drover.TenantState `json:"state"`
	Start    drover.Instant     `json:"start"`
	Added    drover.Instant     `json:"added"`
	SignIn   *SignInStatus      `json:"sign_in,omitempty"`  // by which it is read; nil: by the app's own permissions
	Unproven string             `json:"unproven,omitempty"` // why what it shows may not be all
	Feeds    []FeedStatus       `json:"feeds"`
}

// SignInStatus is how the sign-in stands by which a tenant is read.
type SignInStatus struct {
	Renewed drover.Instant `json:"renewed"` // when Entra last took or gave its refresh token, to a day
	Ends    time.Time      `json:"ends"`    // if it is not used again
	Trouble string         `json:"trouble,omitempty"`
	Hint    string         `json:"hint,omitempty"`
}

// HoldStatus is why nothing of a tenant is thrown away.
type HoldStatus struct {
	Why   string         `json:"why"`
	Since drover.Instant `json:"since"`
}

// SinkStatus is how far a sink has taken everything.
type SinkStatus struct {
	ID      drover.SinkID `json:"id"`
	Feeds   int           `json:"feeds"`
	Behind  uint64        `json:"behind"`            // revisions not yet taken, without those that wait
	Waiting []WaitStatus  `json:"waiting,omitempty"` // by what they wait for
	Aside   int64         `json:"set_aside"`         // records refused for good and not resolved
	Attempt int           `json:"in_flight"`         // batches under way
}

// GapStatus is an open gap.
type GapStatus struct {
	ID       int64           `json:"id"`
	Tenant   drover.TenantID `json:"tenant"`
	Source   drover.SourceID `json:"source"`
	Sink     drover.SinkID   `json:"sink,omitempty"`
	From     drover.Instant  `json:"from"`
	To       drover.Instant  `json:"to"`
	Provider string          `json:"provider,omitempty"`
	Cause    string          `json:"cause"`
	Tries    int             `json:"tries"`
}

// EndStatus is a credential or certificate that ends soon, or has ended.
type EndStatus struct {
	What  string    `json:"what"`
	Until time.Time `json:"until"`
	Ended bool      `json:"ended"`
	Says  string    `json:"says"`
	Hint  string    `json:"hint"`
}

// Status is the whole.
type Status struct {
	Ledger      string           `json:"ledger"`
	Incarnation string           `json:"incarnation"`
	Running     bool             `json:"running"` // a process is reading and delivering
	Uptime      time.Duration    `json:"uptime_ns,omitempty"`
	Tenants     []TenantStatus   `json:"tenants"`
	Sinks       []SinkStatus     `json:"sinks"`
	Gaps        []GapStatus      `json:"open_gaps"`
	Backfills   []BackfillStatus `json:"open_backfills"`
	Aside       map[string]int64 `json:"set_aside"` // by reason, at reading
	Ends        []EndStatus      `json:"ends_soon,omitempty"`
	// EntraAhead is how far Entra's clock is ahead of ours, by its last
	// answer; nil before any.
	EntraAhead *time.Duration `json:"entra_clock_ahead_ns,omitempty"`
	Silent     []SilentSource `json:"silent_sources,omitempty"`
	// Invitations are those that somebody has answered: that wait, go on, or were
	// done in the last week.
	Invitations []InvitationStatus `json:"invitations,omitempty"`
	Partner     *PartnerBrief      `json:"partner,omitempty"`
	Used        int64              `json:"ledger_bytes"`
}

// PruneStatus is what a prune did.
type PruneStatus struct {
	Bodies int64       `json:"bodies"` // revisions whose bodies are gone
	Keys   int64       `json:"keys"`   // keys that no source can show again
	Gaps   []GapStatus `json:"gaps,omitempty"`
	Asks   string      `json:"asks,omitempty"` // it stopped: why
	More   bool        `json:"more,omitempty"`
}
