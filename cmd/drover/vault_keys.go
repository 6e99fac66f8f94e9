package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"drover"
	"drover/internal/admin"
	"drover/internal/keyvault"
	"drover/internal/ledger"
	"drover/internal/vault"
)

// authorities are the sign-in hosts of all clouds, to which credentials are
// bound.
func (a *app) authorities() ledger.Authorities {
	out := make(ledger.Authorities, len(a.clouds))
	for name, c := range a.clouds {
		out[name] = c.Authority
	}
	return out
}

// rotateKey lets a new master key follow the one in use.
func (a *app) rotateKey(ctx context.Context, keepOld bool) (admin.KeyRotation, error) {
	const op = "rotate the master key"
	a.turn.Lock()
	defer a.turn.Unlock()
	k, err := a.keeper()
	if err != nil {
		return admin.KeyRotation{}, err
	}
	seals := 0
	r, err := vault.Rotate(ctx, k, a.vault, keepOld, func(ctx context.Context) (err error) {
		seals, err = a.store.Rewrap(ctx, a.authorities())
		return err
	})
	out := admin.KeyRotation{Place: k.String(), New: r.New, Old: r.Old, Seals: seals, Resumed: r.Resumed, OldKept: r.Kept, WhyKept: r.Why}
	if err == nil {
		a.log.Info("a new master key seals", "key", r.New, "follows", strings.Join(r.Old, ","), "seals", seals)
		return out, nil
	}
	hint := drover.HintOf(err)
	switch {
	case hint != "":
	case errors.Is(err, vault.ErrOneKey):
		hint = k.ReadOnly() + "; put a second key behind the first there (drover vault create --append FILE), start drover with both, and type this again"
	case errors.Is(err, vault.ErrOtherKeys):
		hint = "the keys were exchanged after drover had read them: put those back that are in use, or stop drover, and look at drover vault show"
	default:
		hint = "nothing is lost: both keys can be read until the end; type drover vault rotate again"
	}
	kind := drover.Denied
	if de := (*drover.Error)(nil); errors.As(err, &de) {
		kind = de.Kind
	}
	return out, &drover.Error{Op: op, Kind: kind, Hint: hint, Err: err}
}

// checkKeys reads the master key anew and opens everything that is sealed.
func (a *app) checkKeys(ctx context.Context) (list []admin.Finding, err error) {
	good := func(what, format string, args ...any) {
		list = append(list, admin.Finding{What: what, OK: true, Says: fmt.Sprintf(format, args...)})
	}
	warn := func(what, hint, format string, args ...any) {
		list = append(list, admin.Finding{What: what, OK: true, Warn: true, Says: fmt.Sprintf(format, args...), Hint: hint})
	}
	bad := func(what, hint, says string) {
		list = append(list, admin.Finding{What: what, Says: says, Hint: hint})
	}
	k, err := a.keeper()
	if err != nil {
		return nil, err
	}
	switch again, err := vault.OpenFrom(ctx, k); {
	case errors.Is(err, vault.ErrTaken):
		good("source", "%s, read at the start", k)
	case err != nil:
		sealed := a.sealedBy(err)
		bad("source", drover.HintOf(sealed), "the next start would find no key: "+err.Error())
	case again.KeyID() != a.vault.KeyID() || !slices.Equal(again.KeyIDs(), a.vault.KeyIDs()):
		bad("source", "put the keys back that are in use, or start drover anew if they were exchanged on purpose",
			fmt.Sprintf("%s holds the keys %s, and in use are %s", k, strings.Join(again.KeyIDs(), ", "), strings.Join(a.vault.KeyIDs(), ", ")))
	default:
		good("source", "%s", k)
	}
	ids := a.vault.KeyIDs()
	good("key", "%s seals", a.vault.KeyID())
	if older := ids[:len(ids)-1]; len(older) > 0 {
		hint := "type drover vault rotate: it seals anew what is left and takes the old key away"
		if why := k.ReadOnly(); why != "" {
			hint = "type drover vault rotate, so that nothing needs it any more; then take its line away, which begins with drover-key-1:" + older[0] + ": " + why
		}
		warn("key", hint, "%s can still be read", strings.Join(older, ", "))
	}
	if err := a.checkSeals(ctx, good, warn, bad); err != nil {
		return nil, err
	}
	if why := a.cfg.KeyBesideLedger(); why != "" {
		warn("place", "keep the key in another directory that is copied and backed up apart, and name it under vault: key_file:", "%s", why)
	}
	if why := openToOthers(a.cfg.Ledger.Dir); why != "" {
		warn("place", "type: chmod 700 "+a.cfg.Ledger.Dir, "%s", why)
	}
	if kv, ok := k.(*keyvault.Keeper); ok {
		checkWrapping(ctx, kv, good, warn)
	}
	return list, nil
}

// checkSeals opens everything that is sealed.
func (a *app) checkSeals(ctx context.Context, good func(what, format string, args ...any), warn func(what, hint, format string, args ...any), bad func(what, hint, says string)) error {
	seals, err := a.store.Seals(ctx, a.authorities())
	if err != nil {
		return err
	}
	names := make(map[drover.TenantID]string)
	tenants, err := a.store.ListTenants(ctx)
	if err != nil {
		return err
	}
	for _, t := range tenants {
		names[t.ID] = t.Name
	}
	good("data keys", "%d open", seals.DataKeys)
	good("credentials", "%d open", seals.Credentials)
	for _, b := range seals.Bad {
		what, hint := "data key of "+names[b.Tenant], "its alerts cannot be read; put back the master key that sealed it, or remove the tenant: drover tenant remove"
		switch {
		case b.Credential != "" && b.Tenant == "":
			what, hint = "credential "+b.Credential, "sign in again; it is bound to its cloud and sign-in host: was the cloud changed under clouds:?"
		case b.Credential != "":
			what, hint = b.Credential+" of "+names[b.Tenant], "sign in again: drover tenant connect; it is bound to its cloud and sign-in host: was the cloud changed under clouds:?"
		}
		bad(what, hint, b.Err.Error())
	}
	older := 0
	for id, n := range seals.Keys {
		if id != a.vault.KeyID() {
			older += n
		}
	}
	if older > 0 {
		warn("older key", "type drover vault rotate, which goes on where it was", "%d seals are still of an older key", older)
	}
	return nil
}

// checkWrapping compares the version that wraps with the newest.
func checkWrapping(ctx context.Context, kv *keyvault.Keeper, good func(what, format string, args ...any), warn func(what, hint, format string, args ...any)) {
	list, err := kv.Wrappings()
	if err != nil || len(list) == 0 {
		return // said already
	}
	have := list[len(list)-1].Version
	newest, err := kv.Newest(ctx)
	switch {
	case err != nil:
		warn("key vault", drover.HintOf(err), "whether there is a newer version than %s could not be told: %v", have, err)
	case newest != have:
		warn("key vault", "type drover vault rotate before the old version is disabled", "version %s wraps, and %s is the newest", have, newest)
	default:
		good("key vault", "version %s wraps, the newest", have)
	}
}
