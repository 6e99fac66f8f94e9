package entra

import (
	"context"
	"errors"
	"time"

	"drover"
)

// Renew redeems the tenant's refresh token, so that it lives on though nobody
// reads by it, and returns once what came for it is on disk. The access token
// is dropped. The sources are asked for in turn until one is given: what one of
// them is refused is no matter of the refresh token's. A refusal that Token has
// met is not asked for again before its time. Errors are as those of Token; nil
// if the tenant has no refresh token.
func (k *Tokens) Renew(ctx context.Context, t drover.Tenant) error {
	var refused error
	for _, s := range t.Sources {
		r, err := k.resolve(t, s)
		if err != nil {
			return err
		}
		err = k.renewIdle(ctx, r)
		if err == nil || drover.KindOf(err) != drover.Denied || ended(err) || ofApp(err) {
			return err
		}
		refused = err
	}
	return refused
}

// ofApp reports whether a refusal is of all tenants of the app.
func ofApp(err error) bool {
	e, ok := errors.AsType[*drover.Error](err)
	return ok && e.App
}

func (k *Tokens) renewIdle(ctx context.Context, r request) error {
	e, g := k.entry(r), k.gate(r)
	e.mu.Lock()
	_, err, _ := e.kept(g, r.app)
	e.mu.Unlock()
	if err != nil {
		return err
	}
	finger := r.app.fingerprint()
	wait, err := g.turn(r.tenant.ID, finger)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	k.wg.Go(func() { // as in renewed: what has been asked for is saved, though its caller gives up
		time.Sleep(wait)
		asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		_, _, err := k.redeem(asking, r)
		g.heard(r.tenant.ID, err, finger)
		done <- err
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return gaveUp(r.tenant, ctx.Err())
	}
}
