package entra

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"drover"
)

// Described is what an access token says of itself, for a person who looks for
// what is wrong. The token is not in it; nothing of it has been verified
// (reference entra-oauth §7).
type Described struct {
	TID, Issuer string
	Audience    []string
	AppID       string // our client ID
	Proof       string // how the app proved itself: public, secret, certificate; "" if it does not say
	Object      string // of the service principal, or of the user
	Permissions
	Version string
	ID      string // names the token in Microsoft's logs
	Expires time.Time
}

// maxClaim bounds one claim that is shown, in bytes.
const maxClaim = 256

// Describe reads a token; ok is false if it cannot be read, which says nothing of
// whether it works.
func Describe(token drover.Secret) (d Described, ok bool) {
	c, ok := readClaims(token)
	if !ok {
		return d, false
	}
	var more struct {
		OID     string  `json:"oid"`
		Version string  `json:"ver"`
		UTI     string  `json:"uti"`
		Exp     float64 `json:"exp"`
		Proof   string  `json:"appidacr"` // v1
		Azp     string  `json:"azpacr"`   // v2
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(strings.Split(token.Reveal(), ".")[1], "="))
	if err == nil {
		_ = json.Unmarshal(b, &more) // what has another form is not shown
	}
	d = Described{TID: short(c.TID), Issuer: short(c.Iss), Audience: c.audiences(), AppID: short(c.AppID + c.Azp), Object: short(more.OID), Permissions: c.permissions(), Version: short(more.Version), ID: short(more.UTI)}
	d.Proof = map[string]string{"0": "public", "1": "secret", "2": "certificate"}[more.Proof+more.Azp]
	for i := range d.Audience {
		d.Audience[i] = short(d.Audience[i])
	}
	if more.Exp > 0 && more.Exp < 1e11 {
		d.Expires = time.Unix(int64(more.Exp), 0).UTC()
	}
	return d, true
}

// short cuts a claim to what can be shown.
func short(s string) string {
	if len(s) > maxClaim {
		s = s[:maxClaim]
	}
	return strings.ToValidUTF8(s, "�")
}
