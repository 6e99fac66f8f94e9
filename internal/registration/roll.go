package registration

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // x5t is SHA-1 by definition
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"drover"
)

// proofAudience is the audience of a proof: Azure AD Graph, whoever is asked.
const proofAudience = "00000002-0000-0000-c000-000000000000"

// A proof lives for ten minutes at most; it is backdated for clocks that differ
// a little.
const (
	proofBack = time.Minute
	proofLife = 8 * time.Minute
)

// AddProven registers one more certificate with the proof that the caller holds
// one that is registered and valid (addKey): nothing that is there is touched.
// Denied or Refused means that Graph does not take the proof and that nothing
// has changed; AddCertificate may still do it.
func (c *Client) AddProven(ctx context.Context, a *Application, cert *x509.Certificate, name string, proof drover.Secret) (keyID string, err error) {
	const op = "register the certificate"
	var out struct {
		ID string `json:"keyId"`
	}
	in := map[string]any{"keyCredential": keyEntry(cert, name), "passwordCredential": nil, "proof": proof.Reveal()}
	if err := c.settled(ctx, func() error {
		return c.call(ctx, op, http.MethodPost, byAppID(a.AppID)+"/addKey", in, &out)
	}); err != nil {
		return "", err
	}
	if strings.TrimSpace(out.ID) == "" {
		return "", &drover.Error{Op: op, Kind: drover.Transient, Err: errors.New("the answer holds no key ID"), Hint: "look at the app's certificates: drover app show"}
	}
	return out.ID, nil
}

// Prove makes a JWT that says who holds a registered key (reference
// mssp-onboarding §8). It is good for minutes, for the application with that
// object ID.
func Prove(objectID string, old *x509.Certificate, key *rsa.PrivateKey, now time.Time) (drover.Secret, error) {
	thumb := sha1.Sum(old.Raw) //nolint:gosec // x5t is SHA-1 by definition
	header, err := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "x5t": base64.RawURLEncoding.EncodeToString(thumb[:]), "kid": strings.ToUpper(hex.EncodeToString(thumb[:]))})
	if err != nil {
		return drover.Secret{}, err
	}
	claims, err := json.Marshal(map[string]any{"aud": proofAudience, "iss": objectID, "nbf": now.Add(-proofBack).Unix(), "exp": now.Add(proofLife).Unix()})
	if err != nil {
		return drover.Secret{}, err
	}
	text := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(claims)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		return drover.Secret{}, err
	}
	return drover.NewSecret(text + "." + base64.RawURLEncoding.EncodeToString(sig)), nil
}
