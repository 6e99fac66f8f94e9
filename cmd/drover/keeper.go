package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"drover"
	"drover/internal/config"
	"drover/internal/httpx"
	"drover/internal/keyring"
	"drover/internal/keyvault"
	"drover/internal/vault"
)

// keeper is the place where the config says that the master key is kept.
func (a *app) keeper() (vault.Keeper, error) {
	if a.keys != nil {
		return a.keys, nil
	}
	src := vault.Source{File: a.cfg.Vault.KeyFile, Env: a.cfg.Vault.KeyEnv, Credential: a.cfg.Vault.KeyCredential}
	switch {
	case a.cfg.Vault.KeyKeyring != "":
		src.Keeper = keyring.New(a.cfg.Vault.KeyKeyring)
	case a.cfg.Vault.KeyVault != nil:
		k, err := a.keyVault(a.cfg.Vault.KeyVault)
		if err != nil {
			return nil, err
		}
		src.Keeper = k
	}
	k, err := src.Place()
	if err == nil {
		a.keys = k
	}
	return k, err
}

// maxVaultAnswer bounds answers of a Key Vault and of sign-ins to it.
const maxVaultAnswer = 1 << 20

// keyVault reaches a Key Vault: it alone with its tokens, the sign-in host alone
// with the proof of who drover is. A vault may have a private endpoint.
func (a *app) keyVault(c *config.KeyVault) (*keyvault.Keeper, error) {
	cloud, err := a.clouds.Of(drover.Tenant{Cloud: c.Cloud})
	if err != nil {
		return nil, err
	}
	opt := a.microsoft(cloud)
	opt.Purpose, opt.AllowPrivate = "the Key Vault", true
	client, err := httpx.New(opt)
	if err != nil {
		return nil, err
	}
	at := keyvault.Authority{Host: cloud.Authority, Tenant: c.Tenant, HTTP: a.https[cloud.Name].HTTPClient(cloud.Authority, maxVaultAnswer)}
	var sign azcore.TokenCredential
	switch c.SignIn {
	case config.ByCertificate:
		cert, key, rerr := c.Certificate.Read()
		if rerr != nil {
			return nil, &drover.Error{Op: "sign in to the Key Vault", Kind: drover.Denied, Err: rerr, Hint: cmp.Or(drover.HintOf(rerr), "name the certificate by which drover signs in to it, and its key, under vault: key_vault: certificate; a path is relative to the config file")}
		}
		sign, err = keyvault.Certificate(at, c.ClientID, cert, key)
	case config.ByWorkloadIdentity:
		sign, err = keyvault.WorkloadIdentity(at, c.ClientID)
	default:
		sign, err = keyvault.ManagedIdentity(c.ClientID)
	}
	if err != nil {
		return nil, err
	}
	return keyvault.New(keyvault.Options{URL: c.URL, Key: c.Key, Version: c.Version, Algorithm: c.Algorithm, File: c.File, Resource: c.Resource, Credential: sign, HTTP: client.HTTPClient(c.URL, maxVaultAnswer)})
}

// readKey reads the master key from where the config says. Every error is
// errSealed, with the way out.
func (a *app) readKey(ctx context.Context) (*vault.Vault, error) {
	k, err := a.keeper()
	var v *vault.Vault
	if err == nil {
		v, err = vault.OpenFrom(ctx, k)
	}
	if err == nil {
		a.vault = v
		return v, nil
	}
	return nil, a.sealedBy(err)
}

// sealedBy is errSealed for a reason.
func (a *app) sealedBy(err error) error {
	src := a.cfg.Vault
	out := &drover.Error{Op: "open the master key", Kind: drover.Denied, Hint: drover.HintOf(err)}
	var why *drover.Error
	if errors.As(err, &why) && (why.Kind == drover.Transient || why.Kind == drover.Throttled) {
		out.Kind, out.Wait = why.Kind, why.Wait
	}
	switch {
	case out.Hint != "":
	case src.KeyEnv != "":
		out.Hint = "set " + src.KeyEnv + " to the key and start drover again; a file or a systemd credential is better"
	case src.KeyCredential != "":
		out.Hint = "set LoadCredential=" + src.KeyCredential + ":/path/of/the/key in the unit and start it again"
	case src.KeyVault != nil:
		out.Hint = "put the wrapped key back at " + src.KeyVault.File + " from where it is kept; a drover that runs goes on by itself within " + sealedEvery.String()
	default:
		out.Hint = "put the key back at " + src.KeyFile + " from where it is kept apart from the ledger; a drover that runs goes on by itself within " + sealedEvery.String()
	}
	out.Err = fmt.Errorf("%w: %w", errSealed, err)
	return out
}

// openVault reads the master key; one that does not exist is made together with
// a new ledger, never for an old one.
func (a *app) openVault(ctx context.Context) (*vault.Vault, error) {
	v, err := a.readKey(ctx)
	if !errors.Is(err, vault.ErrNoKey) {
		return v, err
	}
	if _, noLedger := os.Stat(filepath.Join(a.cfg.Ledger.Dir, "ledger.db")); !errors.Is(noLedger, os.ErrNotExist) {
		return nil, err
	}
	if a.keys.ReadOnly() != "" {
		return nil, err
	}
	if err := a.createKey(ctx); err != nil {
		return nil, err
	}
	return a.readKey(ctx)
}

// createKey makes the first master key at the place that the config names.
func (a *app) createKey(ctx context.Context) error {
	k, err := a.keeper()
	if err != nil {
		return a.sealedBy(err)
	}
	file := a.cfg.Vault.KeyFile
	if file != "" {
		err = vault.Create(file)
	} else {
		err = vault.CreateAt(ctx, k)
	}
	if err == nil {
		return nil
	}
	hint := drover.HintOf(err)
	switch {
	case hint != "":
	case errors.Is(err, vault.ErrThere):
		hint = "to let another key follow it, type: drover vault rotate"
	case file != "":
		hint = "name another file under vault: key_file:"
	case k.ReadOnly() != "":
		hint = "make a key in a file, and give it to whoever sets it there: drover vault create FILE"
	}
	return denied("make the master key", hint, err)
}
