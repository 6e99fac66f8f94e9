package entra

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"drover"
)

// DatedSecret is a client secret that an app may use.
type DatedSecret struct {
	Read  func() (drover.Secret, error)
	Until time.Time // when it ends; zero: nobody has said
}

// Newest returns, of an app's secrets, the newest first, the one to use now,
// and when it ends: of those that can be read and have not ended the one that
// ends last; where a date is not said, the first. If all have ended one is
// returned all the same: a date is somebody's word, and Entra decides. An error
// says what is wrong with each.
func Newest(now time.Time, list []DatedSecret) (s drover.Secret, until time.Time, err error) {
	var best DatedSecret
	var faults []error
	for _, d := range list {
		v, err := d.Read()
		if err == nil {
			err = CheckSecret(v)
		}
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if best.Read == nil || best.ended(now) && !d.ended(now) || best.endsBefore(d) {
			best, s = d, v
		}
	}
	if best.Read == nil {
		return drover.Secret{}, time.Time{}, inOneLine(faults)
	}
	return s, best.Until, nil
}

func inOneLine(faults []error) (err error) {
	for _, f := range faults {
		if err == nil {
			err = f
			continue
		}
		err = fmt.Errorf("%w; and %w", err, f)
	}
	return err
}

func (d DatedSecret) ended(now time.Time) bool { return !d.Until.IsZero() && !now.Before(d.Until) }

// endsBefore reports whether both have dates, and d's is the earlier one.
func (d DatedSecret) endsBefore(other DatedSecret) bool {
	return !d.Until.IsZero() && !other.Until.IsZero() && d.Until.Before(other.Until)
}

// Certificate signs client assertions.
type Certificate struct {
	key   *rsa.PrivateKey
	thumb string    // base64url of the SHA-256 of the DER certificate
	from  time.Time // NotBefore
	Until time.Time // NotAfter, for warnings
}

// Thumbprint tells a certificate from its successor.
func (c *Certificate) Thumbprint() string { return c.thumb }

// maxBlocks bounds how many certificates, and how many keys, are looked at.
const maxBlocks = 16

// ParseCertificate reads PEM certificates and their RSA keys, which may stand
// in one file or in two, and returns the one to use at a time: of those that
// have a key and are valid then the one that began last; if none is, the one
// that ends last. Certificates without a key, such as those of the issuer, are
// passed over.
func ParseCertificate(certPEM, keyPEM []byte, now time.Time) (*Certificate, error) {
	certs, keys := blocks(certPEM, "CERTIFICATE"), blocks(keyPEM, "KEY")
	var best *Certificate
	why := errors.New("there is no PEM certificate with its private key in the files")
	for _, cert := range certs {
		for _, key := range keys {
			c, err := parsePair(cert, key)
			switch {
			case err != nil:
				why = err
			case best == nil || c.before(best, now):
				best = c
			}
		}
	}
	if best == nil {
		return nil, fmt.Errorf("read the app's certificate: %w", why)
	}
	return best, nil
}

// before reports whether c is to be used at a time rather than other.
func (c *Certificate) before(other *Certificate, now time.Time) bool {
	valid := func(c *Certificate) bool { return !now.Before(c.from) && now.Before(c.Until) }
	switch a, b := valid(c), valid(other); {
	case a != b:
		return a
	case a && !c.from.Equal(other.from):
		return c.from.After(other.from)
	}
	return c.Until.After(other.Until)
}

// blocks returns the PEM blocks of a kind, each encoded by itself.
func blocks(text []byte, kind string) (out [][]byte) {
	for len(out) < maxBlocks {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			break
		}
		if strings.HasSuffix(b.Type, kind) {
			out = append(out, pem.EncodeToMemory(b))
		}
	}
	return out
}

// parsePair reads one certificate and the key that belongs to it.
func parsePair(certPEM, keyPEM []byte) (*Certificate, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("it must have an RSA key: Entra takes no other")
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(pair.Certificate[0])
	return &Certificate{key: key, thumb: base64.RawURLEncoding.EncodeToString(sum[:]), from: leaf.NotBefore, Until: leaf.NotAfter}, nil
}
