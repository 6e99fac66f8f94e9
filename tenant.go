package drover

import (
	"fmt"
	"slices"
	"strings"
)

// TenantID is an Entra directory ID as a lower-case GUID. It is the key of a
// tenant everywhere; names are for people.
type TenantID string

// ParseTenantID takes a GUID in any case, with or without braces, and returns
// it in the one spelling that drover uses.
func ParseTenantID(s string) (TenantID, error) {
	id := strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(s), "{"), "}"))
	if !IsGUID(id) {
		return "", fmt.Errorf("%q is not a tenant ID: expected a GUID such as 3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60 (Entra admin center > Overview > Tenant ID)", clip(s, 80))
	}
	return TenantID(id), nil
}

// IsGUID reports whether s has the 8-4-4-4-12 form, in any case.
func IsGUID[T string | []byte](s T) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return false
			}
		}
	}
	return true
}

// CustomerID is the slug of a customer: lower-case letters, digits and
// dashes, fixed for life. Paths and indices are built from it, never from a
// display name.
type CustomerID string

// ParseCustomerID checks a slug: 1 to 63 of a–z, 0–9 and '-', not at the ends.
func ParseCustomerID(s string) (CustomerID, error) {
	bad := s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-'
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			bad = true
		}
	}
	if bad {
		return "", fmt.Errorf("%q cannot be a customer's short name: use 1 to 63 of a-z, 0-9 and '-', such as contoso or contoso-emea", clip(s, 80))
	}
	return CustomerID(s), nil
}

// Customer is who is watched, who pays and who reads the reports. One
// customer has one or more tenants.
type Customer struct {
	ID   CustomerID
	Name string
}

// PartnerApp is the app of a tenant that is read with the delegated token of the
// MSSP's own partner account. No app of the config has that name.
const PartnerApp = "partner"

// UnprovenPartner is why nobody can know that such a tenant shows everything
// (reference partner-gdap §2).
const UnprovenPartner = "unproven: read with the partner's account, and Defender may show it fewer alerts without an error; better: app-only, drover partner connect"

// Unproven says why what a tenant's APIs show may not be all that there is; "" if
// nothing speaks for that.
func (t Tenant) Unproven() string {
	if t.App == PartnerApp {
		return UnprovenPartner
	}
	return ""
}

// TenantState says what drover does with a tenant.
type TenantState string

// The states of a tenant. A new state is added only where the program acts
// differently.
const (
	Active  TenantState = "active"  // read and delivered
	Paused  TenantState = "paused"  // delivered, not read; an operator did it
	Removed TenantState = "removed" // neither; its data key is destroyed
)

// Tenant is one customer directory in one cloud.
type Tenant struct {
	ID       TenantID
	Name     string // the operator's name for it, unique, a slug like CustomerID
	Customer CustomerID
	Cloud    string // a key of the clouds table, "worldwide" by default
	App      string // which of the MSSP's app registrations reads it
	State    TenantState
	Sources  []SourceID // that are read; which of them tells alerts says Primary
	Region   string     // for sources with regional hosts: eu, us, uk
	Regions  []string   `json:",omitempty"` // of ledgers in which its alerts may be kept; none: any
	Start    Instant    // rows that changed before it are not owed
	Added    Instant
}

// tellers are the sources that tell alerts, those that tell more first. They
// tell the same alerts.
var tellers = [...]SourceID{GraphAlerts, MDEAlerts, SIEMDetections}

// Primary is the one source that tells a tenant's alerts, "" if none is read:
// an alert that shows in several is told once.
func (t *Tenant) Primary() SourceID {
	for _, s := range tellers {
		if slices.Contains(t.Sources, s) {
			return s
		}
	}
	return ""
}

// Secondary reports whether s tells alerts that the tenant's primary source
// tells. What such a source shows is read and kept, and goes only where a route
// names the source.
func (t *Tenant) Secondary(s SourceID) bool {
	p := t.Primary()
	return p != "" && p != s && slices.Contains(tellers[:], s)
}

// clip shortens s for an error message.
func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
