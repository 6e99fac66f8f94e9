package defender

import (
	"net/http"
	"slices"
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

// What a 401 or 403 may say that is no tenant's fault. No Refusal carries it.
const (
	wrongAudience Reason = "wrong audience" // the token is for another API
	badToken      Reason = "bad token"      // and not accepted here
)

// Texts by which the API tells causes of a refusal apart (reference
// graph-security §10).
var (
	rolesTexts      = []string{"missing application roles", "required roles"}
	noDefenderTexts = []string{"not provisioned", "account mode is inactive", "license", "not onboarded"}
	audienceTexts   = []string{"authorization payload", "audience"}
)

// reasonOf classifies an answer by its status, code and words, "" if its status
// is none of a refusal.
func reasonOf(status int, code, message string) Reason {
	message = strings.ToLower(message)
	says := func(texts []string) bool {
		return slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(message, t) })
	}
	switch {
	case status != http.StatusForbidden && status != http.StatusUnauthorized:
		return ""
	case says(noDefenderTexts), code == "DisabledFeature":
		return NoDefender
	case says(rolesTexts):
		return MissingRole
	case says(audienceTexts):
		return wrongAudience
	case code == "InvalidAuthenticationToken", code == "insufficient_claims", status == http.StatusUnauthorized:
		return badToken
	}
	return EitherOne
}

// because adds a reason that lies with the tenant to the error of an answer.
func (r Reason) because(err error) error {
	switch r {
	case MissingRole, NoDefender, EitherOne:
		return &Refusal{r, err}
	}
	return err
}
