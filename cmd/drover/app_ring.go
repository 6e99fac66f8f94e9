package main

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/config"
	"drover/internal/entra"
	"drover/internal/ledger"
	"drover/internal/registration"
)

// appRing keeps the keys of apps' certificates sealed in the ledger, by the
// master key itself: one text of PEM blocks for each app. It is admin.AppKeys.
type appRing app

// appKeyKind is the kind of such a credential.
const appKeyKind = "app_keys"

// maxAppKeys is how many keys of one app are kept, so that none is overlooked
// (entra looks at sixteen).
const maxAppKeys = 8

// key names an app's text: by its client ID, bound to its cloud and authority.
func (r *appRing) key(ref admin.AppRef) (ledger.CredentialKey, error) {
	c, ok := r.clouds[ref.Cloud]
	if !ok || !drover.IsGUID(ref.ClientID) {
		return ledger.CredentialKey{}, &drover.Error{Op: "find the app's key", Kind: drover.Refused, Err: fmt.Errorf("there is no app %q in a cloud %q", ref.ClientID, ref.Cloud), Hint: "define both in the config"}
	}
	return ledger.CredentialKey{App: strings.ToLower(ref.ClientID), Kind: appKeyKind, Cloud: c.Name, Authority: c.Authority}, nil
}

// load returns an app's text; empty if there is none.
func (r *appRing) load(ctx context.Context, ref admin.AppRef) (c ledger.Credential, err error) {
	k, err := r.key(ref)
	if err != nil {
		return c, err
	}
	if r.store == nil {
		return c, denied("open the app's key", "it is sealed in the ledger: ask drover status, or drover tenant check", errors.New("the ledger is not open here"))
	}
	c, err = r.store.Credential(ctx, k)
	if errors.Is(err, ledger.ErrNotFound) {
		return ledger.Credential{CredentialKey: k}, nil
	}
	if err != nil {
		err = denied("open the app's key", "it was sealed with another key, or for another cloud; if that is not to be mended, make a new one: drover app rotate", err)
	}
	return c, err
}

// change replaces an app's text, also while somebody else does.
func (r *appRing) change(ctx context.Context, ref admin.AppRef, to func(text []byte) ([]byte, error)) error {
	for {
		c, err := r.load(ctx, ref)
		if err != nil {
			return err
		}
		text, err := to(c.Secret.Bytes())
		if err != nil {
			return err
		}
		c.Secret, c.Previous, c.Expires = drover.NewSecret(text), drover.Secret{}, drover.NoInstant
		for _, cert := range certificatesIn(text) {
			c.Expires = max(c.Expires, drover.InstantOf(cert.NotAfter))
		}
		if _, err = r.store.PutCredential(ctx, c, c.Version); !errors.Is(err, ledger.ErrConflict) {
			return err
		}
	}
}

// AppCertificates implements admin.AppKeys.
func (r *appRing) AppCertificates(ctx context.Context, ref admin.AppRef) (string, error) {
	c, err := r.load(ctx, ref)
	return pemOf(certificatesIn(c.Secret.Bytes())), err
}

// AddAppKey implements admin.AppKeys.
func (r *appRing) AddAppKey(ctx context.Context, ref admin.AppRef, text drover.Secret) error {
	return r.change(ctx, ref, func(have []byte) ([]byte, error) {
		all := append(bytes.Clone(have), text.Bytes()...)
		if bytes.Count(all, []byte("BEGIN PRIVATE KEY")) > maxAppKeys {
			return nil, &drover.Error{Op: "seal the app's key", Kind: drover.Refused, Err: fmt.Errorf("there are %d keys of this app already", maxAppKeys), Hint: "take away those that are not used: drover app rotate --remove-old"}
		}
		return all, nil
	})
}

// KeepAppKeys implements admin.AppKeys.
func (r *appRing) KeepAppKeys(ctx context.Context, ref admin.AppRef, certificates string) error {
	return r.change(ctx, ref, func(have []byte) ([]byte, error) {
		certs, keys := pairsOf(have, certificatesIn([]byte(certificates)))
		return append(certs, keys...), nil
	})
}

// ProveApp implements admin.AppKeys.
func (r *appRing) ProveApp(ctx context.Context, ref admin.AppRef, objectID string) (proof drover.Secret, err error) {
	c, err := r.load(ctx, ref)
	if err != nil {
		return proof, err
	}
	now := time.Now()
	used := inUse(certificatesIn(c.Secret.Bytes()), now)
	if used == nil || !drover.IsGUID(objectID) {
		return proof, nil
	}
	key, ok := keyIn(c.Secret.Bytes(), used)
	if !ok {
		return proof, nil
	}
	return registration.Prove(objectID, used, key, now)
}

// AssertApp implements admin.AppKeys.
func (r *appRing) AssertApp(ctx context.Context, ref admin.AppRef, endpoint string) (drover.Secret, error) {
	if at := r.clouds[ref.Cloud].Authority; at == "" || !strings.HasPrefix(endpoint, at+"/") || !strings.HasSuffix(endpoint, "/token") {
		return drover.Secret{}, &drover.Error{Op: "sign for the app", Kind: drover.Refused, Err: fmt.Errorf("%q is no token endpoint of the cloud %s", endpoint, ref.Cloud), Hint: "is another drover.yaml used here than by the running drover?"}
	}
	c, err := r.load(ctx, ref)
	if err != nil {
		return drover.Secret{}, err
	}
	if c.Secret.Empty() {
		return drover.Secret{}, noAppKey(ref.ClientID)
	}
	now := time.Now()
	cert, err := entra.ParseCertificate(c.Secret.Bytes(), c.Secret.Bytes(), now)
	if err != nil {
		return drover.Secret{}, err
	}
	return cert.Assertion(ref.ClientID, endpoint, now)
}

func noAppKey(app string) error {
	return denied("open the app's key", "make one: drover app rotate", errors.New("the ledger holds no key of app "+app))
}

// signed has an assertion of the app's made by whoever can open its sealed key:
// this process, if it has the ledger open, else the one that runs, else this one
// while it opens the ledger for a moment.
func (a *app) signed(ctx context.Context, c config.App, endpoint string) (assertion drover.Secret, err error) {
	ref := admin.AppRef{ClientID: c.ClientID, Cloud: c.Cloud}
	if a.store != nil {
		return (*appRing)(a).AssertApp(ctx, ref, endpoint)
	}
	a.signing.Lock()
	defer a.signing.Unlock()
	if _, err := os.Stat(filepath.Join(a.cfg.Ledger.Dir, "ledger.db")); errors.Is(err, os.ErrNotExist) {
		return assertion, noAppKey(c.Name)
	}
	b, err := newApp(a.cfg, discard(), a.dial)
	if err != nil {
		return assertion, err
	}
	api, done, err := b.operator(ctx)
	if err != nil {
		return assertion, err
	}
	defer func() { err = errors.Join(err, done()) }()
	return api.AssertApp(ctx, ref, endpoint)
}

// certificateOf returns an app's certificate to use now.
func (a *app) certificateOf(c config.App) (*entra.Certificate, error) {
	if !c.Certificate.Sealed {
		cert, key, err := c.Certificate.Read()
		if err != nil {
			return nil, err
		}
		return entra.ParseCertificate(cert, key.Bytes(), time.Now())
	}
	// It is a look into the ledger, which waits for nobody.
	have, err := (*appRing)(a).load(context.Background(), admin.AppRef{ClientID: c.ClientID, Cloud: c.Cloud})
	if err != nil {
		return nil, err
	}
	if have.Secret.Empty() {
		return nil, noAppKey(c.Name)
	}
	text := have.Secret.Bytes()
	return entra.ParseCertificate(text, text, time.Now())
}

// certificatesIn reads the certificates of a PEM text; what is none is passed
// over.
func certificatesIn(text []byte) (list []*x509.Certificate) {
	for b, rest := pem.Decode(text); b != nil; b, rest = pem.Decode(rest) {
		if b.Type != "CERTIFICATE" {
			continue
		}
		if c, err := x509.ParseCertificate(b.Bytes); err == nil {
			list = append(list, c)
		}
	}
	return list
}

func pemOf(certs []*x509.Certificate) string {
	var b strings.Builder
	for _, c := range certs {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return b.String()
}

// keyIn finds the key of a certificate among PEM blocks.
func keyIn(text []byte, cert *x509.Certificate) (*rsa.PrivateKey, bool) {
	for b, rest := pem.Decode(text); b != nil; b, rest = pem.Decode(rest) {
		if !strings.HasSuffix(b.Type, "KEY") {
			continue
		}
		pair, err := tls.X509KeyPair([]byte(pemOf([]*x509.Certificate{cert})), pem.EncodeToMemory(b))
		if key, ok := pair.PrivateKey.(*rsa.PrivateKey); err == nil && ok {
			return key, true
		}
	}
	return nil, false
}

// pairsOf takes certificates, and the keys that belong to them, out of PEM
// blocks.
func pairsOf(text []byte, keep []*x509.Certificate) (certs, keys []byte) {
	certs = []byte(pemOf(keep))
	for b, rest := pem.Decode(text); b != nil; b, rest = pem.Decode(rest) {
		if !strings.HasSuffix(b.Type, "KEY") {
			continue
		}
		one := pem.EncodeToMemory(b)
		for _, c := range keep {
			if _, err := tls.X509KeyPair([]byte(pemOf([]*x509.Certificate{c})), one); err == nil {
				keys = append(keys, one...)
			}
		}
	}
	return certs, keys
}

// inUse is the certificate that drover uses at a time: of the valid ones the one
// that began last, as entra.ParseCertificate has it.
func inUse(certs []*x509.Certificate, now time.Time) (best *x509.Certificate) {
	for _, c := range certs {
		if !now.Before(c.NotBefore) && now.Before(c.NotAfter) && (best == nil || c.NotBefore.After(best.NotBefore)) {
			best = c
		}
	}
	return best
}
