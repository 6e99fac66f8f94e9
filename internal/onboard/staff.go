package onboard

import (
	"context"
	"errors"

	"drover"
)

// Staff has somebody sign in at a directory by browser or by code, and returns
// what the sign-in brought. No consent is asked for, and nothing is kept or
// checked: of the Service only Entra's sign-ins, Show and Listen are used.
func (s *Service) Staff(ctx context.Context, home drover.Tenant, way Way) (drover.Person, drover.Secret, error) {
	in, err := s.signIn(ctx, Order{Tenant: home, Way: way})
	if err != nil {
		in.reply(page{Title: "This sign-in has ended", Text: "Look at the terminal for the reason."})
		if e, ok := errors.AsType[*drover.Error](err); ok && e.Op == op {
			named := *e
			named.Op = "sign in"
			err = &named
		}
		return drover.Person{}, drover.Secret{}, err
	}
	in.reply(page{Title: "You have signed in", Text: "Close this page and go back to the terminal."})
	s.Show(Step{What: StepSignedIn, Who: in.who.Name})
	return in.who, in.refresh, nil
}
