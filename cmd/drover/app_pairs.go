package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/registration"
)

// appPairs is where an app's certificates are with their keys: sealed in the
// ledger, or in two files.
type appPairs interface {
	// certificates lists those that are used, or will be.
	certificates(ctx context.Context) ([]*x509.Certificate, error)
	// addKey puts a key on disk, and undo takes it away again. Alone it does
	// nothing: a key is used with its certificate.
	addKey(ctx context.Context, keyPEM []byte) (undo func() error, err error)
	// addCertificate has the certificate used with its key, from when it begins.
	addCertificate(ctx context.Context, certPEM []byte) error
	// keep destroys all but these.
	keep(ctx context.Context, certs []*x509.Certificate) error
	// prove signs that we hold the certificate in use; ok is false if there is none.
	prove(ctx context.Context, objectID string, now time.Time) (proof drover.Secret, ok bool)
	// line is the config's.
	line() string
}

// filePairs are two PEM files.
type filePairs struct{ cert, key string }

func (f filePairs) certificates(context.Context) ([]*x509.Certificate, error) {
	return readCertificates(f.cert)
}

func (f filePairs) addKey(_ context.Context, keyPEM []byte) (undo func() error, err error) {
	before, err := os.ReadFile(f.key)
	none := errors.Is(err, os.ErrNotExist)
	if err != nil && !none {
		return nil, err
	}
	undo = func() error {
		if none {
			return os.Remove(f.key)
		}
		return writePrivate(f.key, before, true)
	}
	return undo, appendPrivate(f.key, keyPEM)
}

func (f filePairs) addCertificate(_ context.Context, certPEM []byte) error {
	return appendPrivate(f.cert, certPEM)
}

func (f filePairs) keep(_ context.Context, certs []*x509.Certificate) error {
	text, err := os.ReadFile(f.key)
	if err != nil {
		return err
	}
	some, keys := pairsOf(text, certs)
	if f.cert == f.key {
		return writePrivate(f.key, append(some, keys...), true)
	}
	return errors.Join(writePrivate(f.cert, some, true), writePrivate(f.key, keys, true))
}

func (f filePairs) prove(ctx context.Context, objectID string, now time.Time) (proof drover.Secret, ok bool) {
	certs, err := f.certificates(ctx)
	used := inUse(certs, now)
	if err != nil || used == nil {
		return proof, false
	}
	text, err := os.ReadFile(f.key)
	if err != nil {
		return proof, false
	}
	key, ok := keyIn(text, used)
	if !ok {
		return proof, false
	}
	proof, err = registration.Prove(objectID, used, key, now)
	return proof, err == nil
}

func (f filePairs) line() string {
	return fmt.Sprintf("certificate: {file: %q, key_file: %q}", f.cert, f.key)
}

// sealedPairs are kept by the ledger, or by the drover that has it open.
type sealedPairs struct {
	c   *cobra.Command
	ref admin.AppRef
}

func (s sealedPairs) certificates(ctx context.Context) (certs []*x509.Certificate, err error) {
	err = withOperator(s.c, func(api admin.API) error {
		text, err := api.AppCertificates(ctx, s.ref)
		certs = certificatesIn([]byte(text))
		return err
	})
	return certs, err
}

func (s sealedPairs) addKey(ctx context.Context, keyPEM []byte) (undo func() error, err error) {
	before, err := s.certificates(ctx)
	if err != nil {
		return nil, err
	}
	// A key that has no certificate goes with it; none of those is used.
	return func() error { return s.keep(ctx, before) }, s.addCertificate(ctx, keyPEM)
}

func (s sealedPairs) addCertificate(ctx context.Context, text []byte) error {
	return withOperator(s.c, func(api admin.API) error { return api.AddAppKey(ctx, s.ref, drover.NewSecret(text)) })
}

func (s sealedPairs) keep(ctx context.Context, certs []*x509.Certificate) error {
	return withOperator(s.c, func(api admin.API) error { return api.KeepAppKeys(ctx, s.ref, pemOf(certs)) })
}

func (s sealedPairs) prove(ctx context.Context, objectID string, _ time.Time) (proof drover.Secret, ok bool) {
	err := withOperator(s.c, func(api admin.API) (err error) {
		proof, err = api.ProveApp(ctx, s.ref, objectID)
		return err
	})
	return proof, err == nil && !proof.Empty()
}

func (sealedPairs) line() string { return "certificate: {sealed: true}" }
