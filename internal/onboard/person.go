package onboard

import (
	"context"

	"drover"
)

// Person has somebody sign in as the order says, and does no more: for what is
// not the connecting of one tenant. done shows the waiting browser what became of
// it; it must be called, once. The secret is a refresh token.
func (s *Service) Person(ctx context.Context, o Order) (who drover.Person, refresh drover.Secret, done func(ok bool), err error) {
	o.Delegated = true
	in, err := s.signIn(ctx, o)
	if err != nil {
		in.reply(page{Title: "This sign-in has ended", Text: "Look at the terminal for the reason."})
		return drover.Person{}, drover.Secret{}, func(bool) {}, err
	}
	return in.who, in.refresh, func(ok bool) {
		if !ok {
			in.reply(page{Title: "This sign-in was not taken", Text: "Nothing was kept. Look at the terminal for the reason."})
			return
		}
		in.reply(page{Title: "You have signed in", Text: "Close this page and go back to the terminal."})
	}, nil
}
