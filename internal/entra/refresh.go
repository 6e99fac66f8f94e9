package entra

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"drover"
	"drover/internal/fault"
)

// Refresh is a tenant's delegated refresh token as a RefreshStore keeps it.
type Refresh = drover.Refresh

// ErrConflict is what Save returns when the version has changed since Load.
var ErrConflict = drover.ErrRefreshChanged

// RefreshStore keeps refresh tokens. Both calls may block; both may be called twice.
type RefreshStore interface {
	// Load returns ok false if the tenant has none: then it is read with the
	// app's own permissions.
	Load(ctx context.Context, t drover.Tenant) (r Refresh, ok bool, err error)
	// Save replaces what Load returned with r.Version, and returns once r is
	// on disk with the time, which a later Load returns as At. ErrConflict: the
	// version has changed, nothing was saved.
	Save(ctx context.Context, t drover.Tenant, r Refresh) error
}

// renewal is the one place where a tenant's refresh token is redeemed, for
// whichever resource.
type renewal struct {
	busy    chan struct{} // holds one while somebody redeems
	unsaved *Refresh      // received, but the store did not take it
	tried   drover.Secret // the previous token that did not work either
}

// redeem gets an access token by the tenant's refresh token. What comes with
// it is saved before it is handed out (reference faults T03); ok is false if
// the tenant has no refresh token.
func (k *Tokens) redeem(ctx context.Context, r request) (g grant, ok bool, err error) {
	if k.opt.Refresh == nil {
		return grant{}, false, nil
	}
	w := k.renewal(r)
	select {
	case w.busy <- struct{}{}:
		defer func() { <-w.busy }()
	case <-ctx.Done():
		return grant{}, true, ctx.Err()
	}
	if w.unsaved != nil {
		switch err := k.opt.Refresh.Save(ctx, r.tenant, *w.unsaved); {
		case err == nil, errors.Is(err, ErrConflict):
			w.unsaved = nil
		default:
			return grant{}, true, notSaved(r, err)
		}
	}
	saved, ok, err := k.load(ctx, r)
	if err != nil || !ok {
		return grant{}, ok, err
	}
	used := saved.Token
	fault.At(fault.TokenAsk)
	g, err = k.ask(ctx, r, grantOf(used))
	fault.At(fault.TokenAnswered)
	if ended(err) {
		// Somebody else may have renewed it since; then theirs counts.
		again, there, loadErr := k.load(ctx, r)
		switch {
		case loadErr != nil || !there:
			return grant{}, true, errors.Join(loadErr, err)
		case again.Version != saved.Version && !again.Token.Equal(saved.Token):
			saved, used = again, again.Token
			g, err = k.ask(ctx, r, grantOf(used))
		}
	}
	if ended(err) && !saved.Previous.Empty() && !saved.Previous.Equal(used) && !saved.Previous.Equal(w.tried) {
		second, again := k.ask(ctx, r, grantOf(saved.Previous))
		switch {
		case again == nil:
			g, err, used = second, nil, saved.Previous
		case ended(again):
			w.tried = saved.Previous // once is enough
		}
	}
	if err != nil {
		return grant{}, true, err
	}
	next := Refresh{Token: g.refresh, Version: saved.Version}
	if next.Token.Empty() {
		next.Token = used // no new one: the old one stays good
	}
	if !next.Token.Equal(used) {
		next.Previous = used
	}
	if next.Token.Equal(saved.Token) && next.Previous.Equal(saved.Previous) && fresh(saved.At) {
		return g, true, nil
	}
	err = k.opt.Refresh.Save(ctx, r.tenant, next)
	fault.At(fault.TokenSaved)
	switch {
	case errors.Is(err, ErrConflict):
		// Somebody else renewed at the same time and was first; theirs stays,
		// and is read at the next renewal. Our access token works beside it.
	case err != nil:
		w.unsaved = &next
		return grant{}, true, notSaved(r, err)
	}
	return g, true, nil
}

// usedAgain is how old the note may be that says when a refresh token was last
// taken, if Entra gives no new one with it.
const usedAgain = 24 * time.Hour

// fresh reports whether that note need not be written anew. One of a clock that
// was ahead is.
func fresh(at drover.Instant) bool {
	age := drover.InstantOf(time.Now()).Sub(at)
	return age >= 0 && age < usedAgain
}

func (k *Tokens) load(ctx context.Context, r request) (Refresh, bool, error) {
	saved, ok, err := k.opt.Refresh.Load(ctx, r.tenant)
	if err != nil {
		return saved, ok, fmt.Errorf("load the refresh token: %w", err)
	}
	return saved, ok, nil
}

func grantOf(token drover.Secret) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token.Reveal()}}
}

func notSaved(r request, err error) error {
	return &drover.Error{Op: "save the new refresh token", Tenant: r.tenant.ID, Kind: drover.Transient, Err: err,
		Hint: "tokens of this tenant are held back until the ledger takes what Entra has sent"}
}

// ended reports whether the grant itself was refused: another refresh token
// may still work.
func ended(err error) bool {
	r, ok := errors.AsType[*Refusal](err)
	if !ok || drover.KindOf(err) != drover.Denied {
		return false
	}
	return r.Class == SignIn
}
