package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"drover"
	"drover/internal/vault"
)

// errSealed: the master key is not to be had, so nothing in the ledger can be
// opened and nothing may be sealed.
var errSealed = errors.New("sealed: no key")

// sealedEvery is how often a sealed drover looks for its key.
const sealedEvery = 30 * time.Second

// errUnsealed ends the waiting.
var errUnsealed = errors.New("the key is there")

// unseal opens the ledger. While the key of one that exists is not to be had,
// or is another's, it waits for it: health says so, and nothing is read,
// delivered or written. ok is false if it ends without the ledger.
func (a *app) unseal(ctx context.Context) (ok bool, err error) {
	if err = a.openLedger(ctx); !sealed(err) {
		return err == nil, err
	}
	var why atomic.Pointer[error]
	why.Store(&err)
	waited := a.together(ctx, map[string]func(context.Context) error{
		"health": func(ctx context.Context) error {
			return a.health(ctx, func(context.Context) error { return *why.Load() }, nil)
		},
		"key": func(waiting context.Context) error {
			return a.waitForKey(waiting, &why, func(v *vault.Vault) error { return a.openWith(ctx, v) })
		},
	})
	switch {
	case errors.Is(waited, errUnsealed):
		return true, nil
	case a.store != nil: // stopped at the very moment
		waited = errors.Join(waited, a.store.Close())
	}
	return false, waited
}

// waitForKey looks for the key until the ledger opens with it, and returns
// errUnsealed then. why begins as the reason and follows it.
func (a *app) waitForKey(ctx context.Context, why *atomic.Pointer[error], open func(*vault.Vault) error) error {
	said := ""
	for {
		err := *why.Load()
		if text := err.Error(); text != said {
			a.log.Error("nothing is read and nothing is delivered", "err", text, "hint", drover.HintOf(err))
			said = text
		}
		if !pause(ctx, max(sealedEvery, drover.WaitOf(err))) {
			return nil
		}
		v, err := a.readKey(ctx)
		if err == nil {
			err = open(v)
		}
		switch {
		case err == nil:
			return errUnsealed
		case !sealed(err):
			return err
		}
		why.Store(&err)
	}
}

// sealed reports whether an error is the lack of the right key.
func sealed(err error) bool { return errors.Is(err, errSealed) || errors.Is(err, vault.ErrWrongKey) }
