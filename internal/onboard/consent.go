package onboard

import (
	"context"
	"time"

	"drover"
)

// Pauses between two looks whether a consent shows.
const (
	probeUnasked = 10 * time.Second // nobody has come back yet
	probeFirst   = time.Second      // after an admin has
	probeLast    = 30 * time.Second
)

// sure is how many looks in a row must show a consent: while it spreads, one
// server has it and the next has not.
const sure = 2

// consented looks whether the app has the tenant's consent. What passes by
// itself is waited for: whoever has signed in need not do it again.
func (s *Service) consented(ctx context.Context, o Order) (granted bool, err error) {
	end := time.Now().Add(s.patience())
	for pause := probeFirst; ; pause = min(2*pause, probeLast) {
		_, granted, err = s.Entra.Consented(ctx, o.Tenant)
		wait := max(pause, drover.WaitOf(err))
		if err == nil || drover.KindOf(err) == drover.Denied || time.Now().Add(wait).After(end) {
			return granted, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return false, stop(o, "begin again", context.Cause(ctx))
		}
	}
}

// consent has an admin agree, and waits until tokens show it; granted false if
// that took too long. Whoever signed in by browser is led on in the same
// browser. What comes back can only end the attempt or hasten the next look.
func (s *Service) consent(ctx context.Context, o Order, in *signedIn) (granted bool, err error) {
	redirect := o.Redirect
	var back Callback
	if o.Way != Paste {
		if back, err = s.listen(); err != nil {
			return false, err
		}
		defer back.Close()
		redirect = back.Redirect()
	}
	ask, err := s.Entra.AdminConsent(o.Tenant, redirect, o.V1)
	if err != nil {
		return false, err
	}
	if back != nil {
		back.Expect(ask.Mine)
	}
	end := time.Now().Add(s.patience())
	s.Show(Step{What: StepConsent, URL: ask.URL(), Time: end})
	in.reply(page{Title: "You have signed in", Text: "Next, an admin of the organization agrees to what the app may read.", Link: ask.URL(), LinkText: "Continue to the permissions"})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan *Answer, 1)
	if back != nil {
		go func() {
			if a, err := back.Wait(ctx); err == nil {
				answers <- a
			}
		}()
	}
	pause, longest, seen := probeUnasked, probeUnasked, 0
	for time.Now().Before(end) {
		select {
		case a := <-answers:
			if err := ask.Finish(a.Values); err != nil {
				a.reply(page{Title: "Permission was not given", Text: "Nothing has changed. Look at the terminal for the reason."})
				return false, err
			}
			a.reply(page{Title: "Thank you", Text: "Close this page and go back to the terminal. It may take some minutes until the permission shows."})
			s.Show(Step{What: StepWait, Time: end})
			pause, longest = probeFirst, probeLast
			continue
		case <-time.After(pause):
		case <-ctx.Done():
			return false, stop(o, "begin again", context.Cause(ctx))
		}
		_, granted, err := s.Entra.Consented(ctx, o.Tenant)
		switch {
		case err != nil && drover.KindOf(err) == drover.Denied:
			return false, err
		case err != nil:
			pause = max(min(2*pause, longest), drover.WaitOf(err))
		case !granted:
			seen, pause = 0, min(2*pause, longest)
		default:
			if seen++; seen >= sure {
				return true, nil
			}
			pause = probeFirst
		}
	}
	return false, nil
}
