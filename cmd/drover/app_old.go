package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"drover"
	"drover/internal/registration"
)

// removeOld takes away what drover made of the app and does not use any more.
func (k knownApp) removeOld(ctx context.Context, out io.Writer, now time.Time) error {
	secrets, err := k.oldSecrets()
	if err != nil {
		return err
	}
	used := inUse(k.certs, now)
	if used == nil && k.config.Secret == nil {
		return usageError{errors.New("no credential of the config is valid now: nothing is removed")}
	}
	certs, keep := k.oldCertificates(used)
	if len(certs)+len(secrets) == 0 {
		say(out, "there is nothing to remove")
		return nil
	}
	if len(certs) > 0 {
		if _, err := k.graph.AddCertificate(ctx, k.app.AppID, nil, "", certs); err != nil {
			return err
		}
		if err := k.removed(certs, k.pairs.keep(ctx, keep)); err != nil {
			return err
		}
	}
	for _, id := range secrets {
		if err := k.graph.RemoveSecret(ctx, k.app.AppID, id); err != nil {
			return err
		}
		if err := k.removed([]string{id}, nil); err != nil {
			return err
		}
	}
	say(out, "removed from the app: %s", strings.Join(append(certs, secrets...), ", "))
	return nil
}

// removed writes down that credentials are gone.
func (k *knownApp) removed(ids []string, err error) error {
	k.record.Credentials = slices.DeleteFunc(k.record.Credentials, func(id string) bool { return slices.Contains(ids, id) })
	return errors.Join(err, writeRecord(k.files.record, k.record))
}

// oldCertificates lists drover's certificates but the one in use and those that
// begin later, and which are kept. Without one in use, all are in doubt.
func (k knownApp) oldCertificates(used *x509.Certificate) (drop []string, keep []*x509.Certificate) {
	if used == nil {
		return nil, k.certs
	}
	for _, cert := range k.certs {
		if !cert.NotBefore.Before(used.NotBefore) {
			keep = append(keep, cert)
		}
	}
	for _, x := range k.app.Keys {
		if slices.Contains(k.record.Credentials, x.ID) && !slices.ContainsFunc(keep, x.Is) {
			drop = append(drop, x.ID)
		}
	}
	return drop, keep
}

// oldSecrets lists drover's client secrets that are none of the config's, as far
// as their first three characters tell: the directory shows no more of them.
func (k knownApp) oldSecrets() (drop []string, err error) {
	var hints []string
	for _, s := range k.config.Secrets() {
		v, err := s.Ref.Read()
		if err != nil {
			return nil, denied("read the client secrets of the config", "which of the app's secrets is in use cannot be told before", err)
		}
		hint := string(v.Bytes()[:min(3, len(v.Bytes()))])
		if !slices.ContainsFunc(k.app.Passwords, func(p registration.Password) bool { return p.Hint == hint }) {
			return nil, &drover.Error{Op: "tell old client secrets", Kind: drover.Refused, Err: fmt.Errorf("a secret of the config is none of the app's"), Hint: "see: drover app check"}
		}
		hints = append(hints, hint)
	}
	for _, p := range k.app.Passwords {
		if slices.Contains(k.record.Credentials, p.ID) && !slices.Contains(hints, p.Hint) {
			drop = append(drop, p.ID)
		}
	}
	return drop, nil
}
