// Package gdap says what a partner's delegated admin relationships mean: who is
// its customer, with which roles, and until when. It makes no calls.
//
// It promises (reference partner-gdap §3, §6):
//
//   - Relationships are the truth; other lists only give names.
//   - A list that failed or is empty takes nobody away.
//   - A state that is not known is no active one.
package gdap

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"drover"
)

// Roles that matter here, by their template IDs (reference partner-gdap §2).
const (
	GlobalAdministrator         = "62e90394-69f5-4237-9190-012177145e10"
	PrivilegedRoleAdministrator = "e8611ab8-c189-46e8-94e1-60213ab1f814"
	ApplicationAdministrator    = "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3"
	CloudAppAdministrator       = "158c047a-c907-4556-b7ef-446551a6b5f7"
	SecurityReader              = "5d6b6bb7-de71-4623-b4af-96380a352509"
	globalReader                = "f2ef992c-3afb-46b9-b7cf-a126ee74c451"
	securityAdministrator       = "194ae4cb-b126-40b2-bd5b-6091b380977d"
	securityOperator            = "5f2222b1-57c3-48ba-8ad5-d4759f1fde6f"
)

var roleNames = map[string]string{GlobalAdministrator: "Global Administrator", PrivilegedRoleAdministrator: "Privileged Role Administrator", ApplicationAdministrator: "Application Administrator",
	CloudAppAdministrator: "Cloud Application Administrator", SecurityReader: "Security Reader", globalReader: "Global Reader", securityAdministrator: "Security Administrator", securityOperator: "Security Operator"}

// RoleName is what the portal calls a role; its ID if that is not known here.
func RoleName(id string) string { return cmp.Or(roleNames[strings.ToLower(id)], id) }

// Active is the one status in which a relationship lets us in.
const Active = "active"

// Relationship is one delegated admin relationship, as Graph shows it.
type Relationship struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Status    string    `json:"status"` // as Graph says it; there may be words that nobody has documented
	Roles     []string  `json:"roles"`  // template IDs
	Activated time.Time `json:"activated,omitzero"`
	End       time.Time `json:"end,omitzero"` // zero: not said
	Extends   bool      `json:"auto_extend"`  // the end moves by itself, on its day
	// Held are the roles of it that our account holds through its groups; nil and
	// HeldKnown false: that could not be seen.
	Held      []string `json:"held,omitempty"`
	HeldKnown bool     `json:"held_known"`
}

// Customer is one customer of the partner.
type Customer struct {
	Tenant        drover.TenantID `json:"tenant"`
	Name          string          `json:"name"` // as the newest list calls it
	Domain        string          `json:"domain,omitempty"`
	Lists         []string        `json:"lists"` // that name it
	Relationships []Relationship  `json:"relationships"`
}

// Standing is how a customer stands with the partner.
type Standing string

// The standings.
const (
	Related    Standing = "active"       // there is an active relationship
	Pending    Standing = "pending"      // one that the customer has not approved, or that is not active yet
	Expired    Standing = "expired"      // the last one has ended
	Terminated Standing = "terminated"   // the last one was ended by somebody
	Unrelated  Standing = "no agreement" // only other lists name it
)

// Standing says it, by the relationships alone.
func (c Customer) Standing() Standing {
	best := Unrelated
	rank := []Standing{Unrelated, Terminated, Expired, Pending, Related}
	for _, r := range c.Relationships {
		if s := r.standing(); slices.Index(rank, s) > slices.Index(rank, best) {
			best = s
		}
	}
	return best
}

func (r Relationship) standing() Standing {
	switch r.Status {
	case Active:
		return Related
	case "expired", "expiring":
		return Expired
	case "terminated", "terminating", "terminationRequested":
		return Terminated
	}
	return Pending // created, approvalPending, approved, activating, and what is not known
}

// ActiveOnes are the relationships that let us in.
func (c Customer) ActiveOnes() (out []Relationship) {
	for _, r := range c.Relationships {
		if r.Status == Active {
			out = append(out, r)
		}
	}
	return out
}

// Roles are those that the active relationships hold.
func (c Customer) Roles() (roles []string) {
	for _, r := range c.ActiveOnes() {
		roles = append(roles, r.Roles...)
	}
	return distinct(roles)
}

// Held are those of them that our account holds; known false if that could not
// be seen of every active relationship.
func (c Customer) Held() (roles []string, known bool) {
	known = true
	for _, r := range c.ActiveOnes() {
		roles, known = append(roles, r.Held...), known && r.HeldKnown
	}
	return distinct(roles), known
}

// Lacks names the roles without which our app's permissions cannot be granted,
// of those that are held: one that may manage apps, and for permissions of Graph
// the one that alone may give those (reference partner-gdap §4b).
func Lacks(held []string, graph bool) (names []string) {
	has := func(one ...string) bool {
		return slices.ContainsFunc(held, func(r string) bool { return r == GlobalAdministrator || slices.Contains(one, r) })
	}
	if !has(CloudAppAdministrator, ApplicationAdministrator) {
		names = append(names, RoleName(CloudAppAdministrator))
	}
	if graph && !has(PrivilegedRoleAdministrator) {
		names = append(names, RoleName(PrivilegedRoleAdministrator))
	}
	return names
}

// LacksReading names the role without which Defender shows our account nothing,
// of those that are held (reference partner-gdap §2).
func LacksReading(held []string) (names []string) {
	reads := []string{SecurityReader, globalReader, securityAdministrator, securityOperator, GlobalAdministrator}
	if !slices.ContainsFunc(held, func(r string) bool { return slices.Contains(reads, r) }) {
		names = append(names, RoleName(SecurityReader))
	}
	return names
}

// End is the latest end of the active relationships, zero if none is said;
// extends, that it will move by itself.
func (c Customer) End() (at time.Time, extends bool) {
	for _, r := range c.ActiveOnes() {
		if r.End.After(at) {
			at, extends = r.End, r.Extends
		}
	}
	return at, extends
}

// WarnDays are the days before the end of the last active relationship at which
// it is spoken of.
var WarnDays = []int{30, 7, 0}

// moves is how long after its end a relationship that extends itself may show the
// old one: it moves in the course of that day (reference partner-gdap §3).
const moves = 24 * time.Hour

// Ends is when the customer's last active relationship ends, if somebody must
// see to that. One that extends itself is only spoken of when a list of after
// its end, seen at that time, still shows the old one.
func (c Customer) Ends(seen time.Time) (at time.Time, ok bool) {
	at, extends := c.End()
	return at, !at.IsZero() && (!extends || seen.After(at.Add(moves)))
}

// Age is how long ago the newest active relationship was activated; ok false if
// that is not said.
func (c Customer) Age(now time.Time) (d time.Duration, ok bool) {
	for _, r := range c.ActiveOnes() {
		if since := now.Sub(r.Activated); !r.Activated.IsZero() && (!ok || since < d) {
			d, ok = since, true
		}
	}
	return d, ok
}

func distinct(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
