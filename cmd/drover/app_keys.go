package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"time"

	"drover/internal/registration"
)

// keyBits of a new certificate: Entra takes RSA of 2048 and more.
const keyBits = 3072

// newCertificate makes a key and a certificate signed with it that is good from
// a time on.
func newCertificate(name string, from, until time.Time) (cert *x509.Certificate, certPEM, keyPEM []byte, err error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, nil, err
	}
	like := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: from.UTC().Truncate(time.Second), NotAfter: until.UTC().Truncate(time.Second), KeyUsage: x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, like, like, key.Public(), key)
	if err != nil {
		return nil, nil, nil, err
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		return nil, nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, nil, err
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// readCertificates reads the certificates of a PEM file; none if there is no
// such file.
func readCertificates(path string) (list []*x509.Certificate, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the app's certificate: %w", err)
	}
	for b, rest := pem.Decode(text); b != nil; b, rest = pem.Decode(rest) {
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read the app's certificate: %w", err)
		}
		list = append(list, c)
	}
	return list, nil
}

// absent refuses to write over what is there: it may be the only copy.
func absent(paths ...string) error {
	for _, p := range paths {
		if _, err := os.Lstat(p); !errors.Is(err, os.ErrNotExist) {
			return usageError{fmt.Errorf("%s is there already; move it away, or choose another name for the app", p)}
		}
	}
	return nil
}

// appendPrivate puts more behind what a file holds.
func appendPrivate(path string, data []byte) error {
	have, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if n := len(have); n > 0 && have[n-1] != '\n' {
		have = append(have, '\n')
	}
	return writePrivate(path, append(have, data...), true)
}

// readRecord reads what drover made of an app; ok false if it made none.
func readRecord(path string) (r registration.Record, ok bool, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return r, false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return r, false, fmt.Errorf("read the app's record %s: %w", path, err)
	}
	return r, true, nil
}

func writeRecord(path string, r registration.Record) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return writePrivate(path, append(text, '\n'), true)
}
