package sqlite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"drover"
	"drover/internal/ledger"
	"drover/internal/vault"
)

// rewrapRows is how many values of a kind a transaction seals anew; other
// commits stand between two of them. Only tests change it.
var rewrapRows = 100

// These select what is sealed by another master key than the one whose header
// is given. A seal begins with its version and its key's ID (package vault).
// Every place where the master key seals is named here; a test looks for
// others.
const (
	olderKeys = `SELECT id, wrapped FROM tenants WHERE wrapped IS NOT NULL AND substr(wrapped, 1, 9) <> ? ORDER BY id LIMIT ?`
	olderOwn  = `SELECT app, kind, sealed FROM credentials WHERE tenant = '' AND substr(sealed, 1, 9) <> ? ORDER BY app, kind LIMIT ?`
)

// Rewrap seals anew what older master keys have sealed; see ledger.Sealing.
//
// Whatever is sealed is sealed inside of the writer's transactions, which come
// one after the other, so that behind the last one nothing older can follow.
func (s *Store) Rewrap(ctx context.Context, a ledger.Authorities) (sealed int, err error) {
	for done := false; !done; {
		if err := ctx.Err(); err != nil {
			return sealed, err
		}
		var n int
		err := s.w.do(rewrapRows*128, func(tx *tx) error {
			var keys int
			keys, err := s.rewrapKeys(tx)
			if err != nil {
				return err
			}
			n, err = s.rewrapCredentials(tx, a)
			n += keys
			if err == nil && n > 0 {
				s.enter(tx, "rewrapped", drover.Feed{}, fmt.Sprintf("%d seals by the master key %s", n, s.opt.Vault.KeyID()))
			}
			return err
		})
		if err != nil {
			return sealed, fmt.Errorf("seal with the new master key: %w", err)
		}
		sealed, done = sealed+n, n == 0
	}
	return sealed, s.forget(ctx)
}

// forgetTries and forgetPause are how often and how far apart the log is
// emptied while a reader is in the way; no reader outlives a page of an answer.
const (
	forgetTries = 20
	forgetPause = 250 * time.Millisecond
)

// forget empties the log of what older keys have sealed.
func (s *Store) forget(ctx context.Context) error {
	for try := 1; ; try++ {
		err := s.w.doThen(func(tx *tx) error {
			tx.exec(`UPDATE meta SET v = CAST(CAST(v AS INTEGER) + 1 AS TEXT) WHERE k = 'ready'`)
			return tx.err
		}, func(ctx context.Context, w *writer) error { return w.emptyLog(ctx, s.state) })
		if !errors.Is(err, errReaders) || try == forgetTries {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(forgetPause):
		}
	}
}

func (s *Store) rewrapKeys(tx *tx) (int, error) {
	wrapped := make(map[drover.TenantID][]byte)
	var id drover.TenantID
	var old []byte
	for rows := tx.query(olderKeys, s.opt.Vault.Header(), rewrapRows); rows.next(&id, &old); old = nil {
		wrapped[id] = old
	}
	for _, id := range slices.Sorted(maps.Keys(wrapped)) {
		binding := vault.DataKeyBinding(keyBinding(s.identity.ID, id))
		fresh, err := s.reseal(wrapped[id], binding)
		if err != nil {
			return 0, &drover.Error{Op: "open a data key", Tenant: id, Kind: drover.Denied, Err: err,
				Hint: "nothing is lost that could be read before, and both keys stay; put the master key back that it was sealed with, or remove the tenant, and rotate again"}
		}
		// Of one length, so that it is written over the old one in its place.
		tx.exec(`UPDATE tenants SET wrapped = ? WHERE id = ?`, fresh, string(id))
	}
	return len(wrapped), tx.err
}

func (s *Store) rewrapCredentials(tx *tx, a ledger.Authorities) (int, error) {
	type credential struct {
		app, kind string
		sealed    []byte
	}
	var list []credential
	var c credential
	for rows := tx.query(olderOwn, s.opt.Vault.Header(), rewrapRows); rows.next(&c.app, &c.kind, &c.sealed); c.sealed = nil {
		list = append(list, c)
	}
	for _, c := range list {
		binding, err := s.bindingOf(a, ledger.CredentialKey{App: c.app, Kind: c.kind}, func(binding string) error {
			plain, err := s.opt.Vault.Open(c.sealed, binding)
			clear(plain)
			return err
		})
		if err != nil {
			return 0, &drover.Error{Op: "open the credential " + c.kind + " of the app " + c.app, Kind: drover.Denied, Err: err,
				Hint: "it is bound to its cloud and sign-in host: put the cloud back that it was issued in (clouds: in the config), or the master key, and rotate again; both keys stay until then"}
		}
		fresh, err := s.reseal(c.sealed, binding)
		if err != nil {
			return 0, err
		}
		tx.exec(`UPDATE credentials SET sealed = ? WHERE tenant = '' AND app = ? AND kind = ?`, fresh, c.app, c.kind)
	}
	return len(list), tx.err
}

// reseal seals a value with the newest key.
func (s *Store) reseal(sealed []byte, binding string) ([]byte, error) {
	plain, err := s.opt.Vault.Open(sealed, binding)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	return s.opt.Vault.Seal(plain, binding)
}

// bindingOf finds the cloud and authority that a credential is bound to.
func (s *Store) bindingOf(a ledger.Authorities, k ledger.CredentialKey, open func(binding string) error) (string, error) {
	err := vault.ErrTampered // also of a config without clouds
	for _, k.Cloud = range slices.Sorted(maps.Keys(a)) {
		k.Authority = a[k.Cloud]
		binding := s.credentialBinding(k)
		if err = open(binding); !errors.Is(err, vault.ErrTampered) {
			return binding, err
		}
	}
	return "", err
}

// Seals opens everything that is sealed; see ledger.Sealing.
func (s *Store) Seals(ctx context.Context, a ledger.Authorities) (out ledger.Seals, err error) {
	out.Keys = make(map[string]int)
	keys := make(map[drover.TenantID]*vault.DataKey)
	type credential struct {
		ledger.SealedCredential
		sealed []byte
	}
	var credentials []credential
	err = s.read(ctx, func(tx *tx) error {
		var id drover.TenantID
		var wrapped []byte
		for rows := tx.query(`SELECT id, wrapped FROM tenants WHERE wrapped IS NOT NULL ORDER BY name`); rows.next(&id, &wrapped); wrapped = nil {
			count(out.Keys, s.opt.Vault, wrapped)
			k, err := s.opt.Vault.Unwrap(wrapped, keyBinding(s.identity.ID, id))
			if err != nil {
				out.Bad = append(out.Bad, ledger.BadSeal{Tenant: id, Err: err})
				continue
			}
			keys[id] = k
			out.DataKeys++
		}
		var c credential
		for rows := tx.query(`SELECT tenant, app, kind, sealed FROM credentials ORDER BY tenant, app, kind`); rows.next(&c.Tenant, &c.App, &c.Kind, &c.sealed); c.sealed = nil {
			credentials = append(credentials, c)
		}
		return tx.err
	})
	if err != nil {
		return out, err
	}
	for i := range credentials {
		c := &credentials[i]
		open := func(binding string) error {
			plain, err := s.opt.Vault.Open(c.sealed, binding)
			clear(plain)
			return err
		}
		if c.Tenant == "" {
			count(out.Keys, s.opt.Vault, c.sealed)
		} else {
			k := keys[c.Tenant]
			if k == nil {
				continue // its key does not open, which was said
			}
			open = func(binding string) error {
				plain, err := k.Open(nil, c.sealed, []byte(binding))
				clear(plain)
				return err
			}
		}
		if _, err := s.bindingOf(a, ledger.CredentialKey{Tenant: c.Tenant, App: c.App, Kind: c.Kind}, open); err != nil {
			out.Bad = append(out.Bad, ledger.BadSeal{Tenant: c.Tenant, Credential: c.Kind, Err: err})
			continue
		}
		out.Credentials++
	}
	return out, nil
}

// count notes which master key has sealed a value.
func count(keys map[string]int, v *vault.Vault, sealed []byte) {
	if id, err := v.KeyIDOf(sealed); err == nil {
		keys[id]++
	}
}

// SealedCredentials lists the credentials; see ledger.Sealing.
func (s *Store) SealedCredentials(ctx context.Context) (out []ledger.SealedCredential, err error) {
	err = s.read(ctx, func(tx *tx) error {
		var c ledger.SealedCredential
		for rows := tx.query(`SELECT tenant, app, kind, stored, expires FROM credentials ORDER BY tenant, app, kind`); rows.next(&c.Tenant, &c.App, &c.Kind, &c.Stored, &c.Expires); {
			out = append(out, c)
		}
		return tx.err
	})
	return out, err
}
