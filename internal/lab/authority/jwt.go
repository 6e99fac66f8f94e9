package authority

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
)

func randomText(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

func newGUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return guid(b)
}

// guid writes 16 bytes as Microsoft writes IDs.
func guid(b []byte) string {
	s := hex.EncodeToString(b)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

func part(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// sign makes a JWT with RS256.
func (d *Directory) sign(claims map[string]any) (string, error) {
	text := part(map[string]string{"typ": "JWT", "alg": "RS256", "kid": d.kid, "x5t": d.kid}) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, d.key, crypto.SHA256, sum[:])
	return text + "." + base64.RawURLEncoding.EncodeToString(sig), err
}

// Claims are what the APIs look at in an access token.
type Claims struct {
	TenantID string   `json:"tid"`
	Audience string   `json:"aud"` // Verify puts the URI for the GUID of version 2
	AppID    string   `json:"appid"`
	Azp      string   `json:"azp"` // version 2's appid; Verify copies it
	Roles    []string `json:"roles"`
	Scope    string   `json:"scp"`
	User     string   `json:"upn"` // "" in a token of the app itself
	Issuer   string   `json:"iss"`
	Expires  int64    `json:"exp"`
	Before   int64    `json:"nbf"`
	AMR      []string `json:"amr"`
}

var errToken = errors.New("Access token validation failure.")

// signed reports whether a token's signature is ours. A token that was found so
// is remembered: it comes with every request, and RSA is slow.
func (d *Directory) signed(raw, text string, sig []byte) bool {
	d.mu.Lock()
	known := d.verified[raw]
	d.mu.Unlock()
	if known {
		return true
	}
	sum := sha256.Sum256([]byte(text))
	if rsa.VerifyPKCS1v15(&d.key.PublicKey, crypto.SHA256, sum[:], sig) != nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.verified) >= maxVerified {
		clear(d.verified)
	}
	d.verified[raw] = true
	return true
}

// maxVerified bounds the tokens that are remembered.
const maxVerified = 10_000

// Verify checks an access token's signature and times.
func (d *Directory) Verify(raw string) (Claims, error) {
	var c Claims
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		if opaque, ok := strings.CutPrefix(raw, "opaque!"); ok {
			return d.Verify(strings.ReplaceAll(opaque, "!", "."))
		}
		return c, errors.New("CompactToken parsing failed.")
	}
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return c, errToken
	}
	if !d.signed(raw, parts[0]+"."+parts[1], sig) {
		return c, errToken
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(body, &c) != nil {
		return c, errToken
	}
	if c.AppID == "" {
		c.AppID = c.Azp
	}
	for uri, id := range resourceIDs {
		if c.Audience == id {
			c.Audience = uri
		}
	}
	now := d.clockTime().Unix()
	if now >= c.Expires {
		return c, errors.New("Lifetime validation failed, the token is expired.")
	}
	if now < c.Before-300 {
		return c, errToken
	}
	return c, nil
}
