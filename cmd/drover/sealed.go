package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"drover"
	"drover/internal/config"
	"drover/internal/vault"
)

// errSealed: the master key is not to be had, so nothing in the ledger can be
// opened and nothing may be sealed.
var errSealed = errors.New("sealed: no key")

// sealedEvery is how often a sealed drover looks for its key.
const sealedEvery = 30 * time.Second

// readKey reads the master key from where the config says. Every error is
// errSealed, with the way out.
func readKey(cfg *config.Config) (*vault.Vault, error) {
	src := vault.Source{File: cfg.Vault.KeyFile, Env: cfg.Vault.KeyEnv, Credential: cfg.Vault.KeyCredential}
	v, err := vault.Open(src)
	if err == nil {
		return v, nil
	}
	hint := "put the key back at " + src.File + " from where it is kept apart from the ledger; a drover that runs goes on by itself within " + sealedEvery.String()
	switch {
	case src.Env != "":
		hint = "set " + src.Env + " to the key and start drover again; a file or a systemd credential is better"
	case src.Credential != "":
		hint = "set LoadCredential=" + src.Credential + ":/path/of/the/key in the unit and start it again"
	}
	return nil, denied("open the master key", hint, fmt.Errorf("%w: %w", errSealed, err))
}

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
		if !pause(ctx, sealedEvery) {
			return nil
		}
		v, err := readKey(a.cfg)
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
