package onboard

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/url"
	"time"

	"drover"
)

// signedIn is a person who has signed in, and the browser page that waits for
// what becomes of it.
type signedIn struct {
	who     drover.Person
	refresh drover.Secret
	answer  *Answer
}

func (in *signedIn) reply(p page) {
	if in != nil && in.answer != nil {
		in.answer.reply(p)
	}
}

// signIn has a person sign in by the way that was chosen.
func (s *Service) signIn(ctx context.Context, o Order) (*signedIn, error) {
	var source drover.SourceID
	if o.Delegated {
		source = o.Tenant.Primary()
		if source == "" && len(o.Tenant.Sources) > 0 {
			source = o.Tenant.Sources[0]
		}
	}
	switch o.Way {
	case Device:
		return s.byDevice(ctx, o, source)
	case Paste:
		return s.byPaste(ctx, o, source)
	}
	return s.byBrowser(ctx, o, source)
}

func (s *Service) byBrowser(ctx context.Context, o Order, source drover.SourceID) (*signedIn, error) {
	back, err := s.listen()
	if err != nil {
		return nil, err
	}
	defer back.Close()
	sign, err := s.Entra.SignIn(o.Tenant, source, o.V1, back.Redirect())
	if err != nil {
		return nil, err
	}
	back.Expect(sign.Mine)
	s.Show(Step{What: StepSignIn, URL: sign.URL(), Time: time.Now().Add(callbackLife)})
	a, err := back.Wait(ctx)
	if err != nil {
		return nil, stop(o, "begin again; where no browser can reach this machine, sign in by code: --device", err)
	}
	in := &signedIn{answer: a}
	in.who, in.refresh, err = sign.Finish(ctx, a.Values)
	return in, err
}

func (s *Service) byDevice(ctx context.Context, o Order, source drover.SourceID) (*signedIn, error) {
	sign, err := s.Entra.Device(ctx, o.Tenant, source, o.V1)
	if err != nil {
		return nil, err
	}
	s.Show(Step{What: StepDevice, URL: sign.Address(), Code: sign.UserCode(), Time: sign.Until()})
	in := new(signedIn)
	in.who, in.refresh, err = sign.Wait(ctx)
	return in, err
}

// maxPasted bounds one pasted line, and all of them: a whole history may come.
const (
	maxPastedLine = 64 << 10
	maxPasted     = 4 << 20
)

func (s *Service) byPaste(ctx context.Context, o Order, source drover.SourceID) (*signedIn, error) {
	sign, err := s.Entra.SignIn(o.Tenant, source, o.V1, o.Redirect)
	if err != nil {
		return nil, err
	}
	s.Show(Step{What: StepPaste, URL: sign.URL(), Time: time.Now().Add(pasteLife)})
	ctx, cancel := context.WithTimeoutCause(ctx, pasteLife, errors.New("nothing of this sign-in was pasted in time"))
	defer cancel()
	found := make(chan url.Values, 1)
	go func() {
		defer close(found)
		in := bufio.NewReaderSize(io.LimitReader(s.Input, maxPasted), maxPastedLine)
		for ctx.Err() == nil {
			line, err := in.ReadSlice('\n') // a longer line is read in pieces, of which none is an address
			if answer, ok := sign.Pasted(string(line)); ok {
				found <- answer
				return
			}
			if len(line) > 1 {
				s.Show(Step{What: StepForeign})
			}
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				return
			}
		}
	}()
	select {
	case answer, ok := <-found:
		if !ok {
			return nil, stop(o, "paste the address that the browser shows after this sign-in, whole", errors.New("nothing that was pasted belongs to this sign-in"))
		}
		in := new(signedIn)
		in.who, in.refresh, err = sign.Finish(ctx, answer)
		return in, err
	case <-ctx.Done():
		return nil, stop(o, "begin again", context.Cause(ctx))
	}
}

// pasteLife is how long a pasted address is waited for: a code ends about then
// (reference entra-oauth §2).
const pasteLife = 10 * time.Minute
