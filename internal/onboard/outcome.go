package onboard

import (
	"fmt"

	"drover"
	"drover/internal/coverage"
)

// Outcome is how a source stands after a test call.
type Outcome string

// The outcomes.
const (
	Works          Outcome = "works"
	RoleMissing    Outcome = "role missing"  // the consent is there and lacks this API's permission
	NoLicence      Outcome = "no licence"    // Entra gives no token: the customer does not have the service
	NotOnboarded   Outcome = "not onboarded" // the API says so; that may be a licence too
	EitherOne      Outcome = "role missing or not onboarded"
	ConsentPending Outcome = "consent pending" // nobody has agreed, or it does not show yet
	NotAuthorised  Outcome = "not authorised in the portal"
	Refused        Outcome = "refused" // for another reason
	Unasked        Outcome = "could not be asked"
)

// Source is how a source stands, and what to do.
type Source struct {
	Source  drover.SourceID `json:"source"`
	Outcome Outcome         `json:"outcome"`
	Says    string          `json:"says,omitempty"` // why, if it does not work
	Do      string          `json:"do,omitempty"`
}

// outcomes says what the answers mean together: pending, that a consent may not
// show yet; partly, that it shows for another source. Then a source without any
// permission lacks its own.
func outcomes(o Order, answers []coverage.Source) (out []Source, pending, partly bool) {
	for _, a := range answers {
		partly = partly || len(a.Permissions) > 0
	}
	for _, a := range answers {
		s := outcome(o, a)
		if s.Outcome == ConsentPending {
			if pending = true; partly && a.Wants != "" {
				s = o.lacks(s, a)
			}
		}
		out = append(out, s)
	}
	return out, pending, partly
}

// lacks says what to do about a permission that is missing.
func (o Order) lacks(s Source, a coverage.Source) Source {
	s.Outcome = RoleMissing
	s.Do = fmt.Sprintf("add the permission %s to the app's registration, then have the customer's admin consent again", a.Wants)
	if o.Delegated {
		s.Do = fmt.Sprintf("add the delegated permission %s to the app's registration, consent again, and sign in with an account that has a role in the customer's Defender portal", a.Wants)
	}
	return s
}

// outcome says what the answer to a test call means for the one who connects.
func outcome(o Order, a coverage.Source) Source {
	s := Source{Source: a.ID, Says: a.Says, Do: a.Hint}
	siem := a.ID == drover.SIEMDetections // its tokens do not say what they may
	switch a.Answer {
	case coverage.Open:
		s.Outcome, s.Says, s.Do = Works, "", ""
	case coverage.NotGranted:
		switch {
		case len(a.Permissions) > 0:
			s = o.lacks(s, a)
		default:
			s.Outcome = ConsentPending
			s.Do = "have an admin of the customer's consent: drover tenant connect; after that some minutes may pass"
		}
	case coverage.NotOnboarded:
		s.Outcome = NotOnboarded
		s.Do = "have the customer open the Defender portal once and set Defender up, or leave this source out"
		if len(a.Permissions) == 0 && !siem { // no token was to be had
			s.Outcome = NoLicence
			s.Do = "the customer needs a licence for the service, or leave this source out"
		}
	case coverage.Ambiguous:
		s.Outcome = EitherOne
		if siem {
			s.Outcome, s.Do = NotAuthorised, o.authorise()
		}
	case coverage.Unasked:
		s.Outcome = Unasked
	default:
		s.Outcome = Refused
		if s.Do == "" && siem {
			s.Do = o.authorise()
		}
	}
	return s
}

// authorise says how an MSSP is authorised for the SIEM API in the customer's
// portal, which no program can do (reference mssp-onboarding §4).
func (o Order) authorise() string {
	home := o.Home
	if home == "" {
		home = "of your own directory, in which the app is registered"
	}
	return fmt.Sprintf("open %s/?tid=%s > Settings > Endpoints > APIs > SIEM > MSSP, enter the application ID %s and the tenant ID %s, and choose Authorize application; some minutes may pass", o.Portal, o.Tenant.ID, o.ClientID, home)
}
