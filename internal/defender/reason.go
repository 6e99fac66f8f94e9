package defender

import (
	"net/http"
	"strings"
)

// Reason is why an API refuses a tenant, as far as its answers tell causes
// apart (reference graph-security §10, mde-api §7).
type Reason string

// The reasons.
const (
	MissingRole Reason = "missing role"  // the app has no permission there
	NoDefender  Reason = "no Defender"   // not licensed or never set up
	EitherOne   Reason = "either of two" // 403, and nothing says which of the two
)

// Refusal is the cause inside of the *drover.Error of such a refusal.
type Refusal struct {
	Reason Reason
	err    error
}

// Error is that of the answer.
func (r *Refusal) Error() string { return r.err.Error() }

// Unwrap returns it.
func (r *Refusal) Unwrap() error { return r.err }

// because adds the reason to the error of an answer, if it tells one. The
// message is only looked into.
func because(status int, code, message string, err error) error {
	says := func(texts ...string) bool {
		m := strings.ToLower(message)
		for _, t := range texts {
			if strings.Contains(m, t) {
				return true
			}
		}
		return false
	}
	switch {
	case status != http.StatusForbidden && status != http.StatusUnauthorized:
		return err
	case says(noDefenderTexts...), says("not onboarded"), code == "DisabledFeature":
		return &Refusal{NoDefender, err}
	case says(rolesTexts...):
		return &Refusal{MissingRole, err}
	case says("authorization payload", "audience"), code == "InvalidAuthenticationToken", code == "insufficient_claims", status == http.StatusUnauthorized:
		return err // of the token, not of the tenant
	}
	return &Refusal{EitherOne, err}
}
