package entra

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"drover"
)

// Certificate signs client assertions.
type Certificate struct {
	key   *rsa.PrivateKey
	thumb string // base64url of the SHA-256 of the DER certificate
	Until time.Time
}

// ParseCertificate reads a PEM certificate and its RSA key.
func ParseCertificate(certPEM, keyPEM []byte) (*Certificate, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("read the app's certificate: %w", err)
	}
	key, ok := pair.PrivateKey.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("the app's certificate must have an RSA key: Entra takes no other")
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("read the app's certificate: %w", err)
	}
	sum := sha256.Sum256(pair.Certificate[0])
	return &Certificate{key: key, thumb: base64.RawURLEncoding.EncodeToString(sum[:]), Until: leaf.NotAfter}, nil
}

// Assertion lifetimes: backdated for clocks that differ a little, and short.
const (
	assertionBack = 2 * time.Minute
	assertionLife = 8 * time.Minute
)

// assertion makes a signed client assertion for a token endpoint (reference
// entra-oauth §4: PS256 with x5t#S256, base64url without padding).
func (c *Certificate) assertion(clientID, audience string, now time.Time) (drover.Secret, error) {
	header := map[string]string{"alg": "PS256", "typ": "JWT", "x5t#S256": c.thumb}
	claims := map[string]any{"aud": audience, "iss": clientID, "sub": clientID, "jti": newGUID(),
		"nbf": now.Add(-assertionBack).Unix(), "iat": now.Unix(), "exp": now.Add(assertionLife).Unix()}
	h, err := json.Marshal(header)
	if err != nil {
		return drover.Secret{}, err
	}
	p, err := json.Marshal(claims)
	if err != nil {
		return drover.Secret{}, err
	}
	signed := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(p)
	sum := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPSS(rand.Reader, c.key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	if err != nil {
		return drover.Secret{}, fmt.Errorf("sign the client assertion: %w", err)
	}
	return drover.NewSecret(signed + "." + base64.RawURLEncoding.EncodeToString(sig)), nil
}

func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// CheckSecret refuses what is obviously not a client secret: its ID.
func CheckSecret(s drover.Secret) error {
	if drover.IsGUID(s.Bytes()) {
		return errors.New("this is the secret's ID, not its value: the value is shown once, when the secret is made")
	}
	if s.Empty() {
		return errors.New("the secret is empty")
	}
	return nil
}
