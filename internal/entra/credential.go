package entra

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"drover"
)

// App is one of the MSSP's app registrations. Secret, Certificate and Federated
// are called for every token, so that a credential that is replaced while drover
// runs is used at once. An app with none of them is a public client; it can only
// redeem refresh tokens.
type App struct {
	Name     string
	ClientID string
	// Secret returns the client secret; nil if a certificate is used.
	// Where one secret takes over from another it is Newest of both.
	Secret func() (drover.Secret, error)
	// Certificate returns the certificate; nil if a secret is used.
	Certificate func() (*Certificate, error)
	// Signed returns a client assertion for a token endpoint that is made where the
	// certificate's key is, which may be another process; nil if Certificate gives
	// the key itself. It may block until ctx ends.
	Signed func(ctx context.Context, endpoint string) (drover.Secret, error)
	// Master is the sign-in by which the app's tenants are read, in place of the
	// app's own permissions and of a sign-in of each; nil: none.
	Master Master
	// Federated gives tokens of another issuer that the registration trusts; nil
	// if a secret or certificate is used.
	Federated Asserter
}

// assertionType is that of every client assertion.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// authenticate adds the app's credential to the form of a token request to an
// endpoint of the cloud.
func (a App) authenticate(ctx context.Context, form url.Values, cloud Cloud, endpoint string, now time.Time, delegated bool) error {
	switch {
	case a.Federated != nil:
		assertion, err := a.Federated.Assert(ctx, cloud.TokenExchange)
		if err != nil {
			return err
		}
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", assertion.Reveal())
	case a.Signed != nil:
		assertion, err := a.Signed(ctx, endpoint)
		if err != nil {
			return err
		}
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", assertion.Reveal())
	case a.Certificate != nil:
		cert, err := a.Certificate()
		if err != nil {
			return err
		}
		assertion, err := cert.Assertion(a.ClientID, endpoint, now)
		if err != nil {
			return err
		}
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", assertion.Reveal())
	case a.Secret != nil:
		s, err := a.Secret()
		if err != nil {
			return err
		}
		if err := CheckSecret(s); err != nil {
			return err
		}
		form.Set("client_secret", s.Reveal())
	case !delegated:
		return errors.New("the app has nothing to prove itself by: no secret, no certificate, no federated token")
	}
	return nil
}

// fingerprint tells one credential from the next; zero if it cannot be read.
func (a App) fingerprint() (sum [sha256.Size]byte) {
	switch {
	case a.Federated != nil:
		return a.Federated.Fingerprint()
	case a.Certificate != nil:
		if c, err := a.Certificate(); err == nil {
			return sha256.Sum256([]byte(c.thumb))
		}
	case a.Secret != nil:
		if s, err := a.Secret(); err == nil {
			return sha256.Sum256(s.Bytes())
		}
	}
	return sum
}

// CheckSecret refuses at entry what is obviously no client secret: nothing, or
// its ID, which the portal shows beside it for ever while it shows the value
// once.
func CheckSecret(s drover.Secret) error {
	switch {
	case s.Empty():
		return errors.New("the client secret is empty")
	case drover.IsGUID(s.Bytes()):
		return errors.New("this is the secret's ID, not its value: the value is shown once, when the secret is made; make a new one and copy its value")
	}
	for _, c := range s.Bytes() {
		if c <= ' ' || c == 0x7f {
			return errors.New("the client secret holds a blank or a line end: copy its value alone")
		}
	}
	return nil
}

// Assertions are backdated for clocks that differ a little, and short.
const (
	assertionBack = 2 * time.Minute
	assertionLife = 8 * time.Minute // from now; ten from nbf
)

// Assertion makes a signed client assertion for a token endpoint (reference
// entra-oauth §4: PS256 with x5t#S256, base64url without padding). It is good
// for eight minutes.
func (c *Certificate) Assertion(clientID, audience string, now time.Time) (drover.Secret, error) {
	h, err := json.Marshal(map[string]string{"alg": "PS256", "typ": "JWT", "x5t#S256": c.thumb})
	if err != nil {
		return drover.Secret{}, err
	}
	p, err := json.Marshal(map[string]any{
		"aud": audience, "iss": clientID, "sub": clientID, "jti": newGUID(),
		"nbf": now.Add(-assertionBack).Unix(), "iat": now.Add(-assertionBack).Unix(), "exp": now.Add(assertionLife).Unix(),
	})
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

// newGUID returns a random GUID, version 4.
func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
