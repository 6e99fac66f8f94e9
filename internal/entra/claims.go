package entra

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"drover"
)

// claims are what is looked at. A token is opaque to its client; one that
// cannot be read is used all the same, and no signature is checked (reference
// entra-oauth §7).
type claims struct {
	TID   string          `json:"tid"`
	Aud   json.RawMessage `json:"aud"`
	Iss   string          `json:"iss"`
	AppID string          `json:"appid"` // v1
	Azp   string          `json:"azp"`   // v2
	Roles []string        `json:"roles"`
	Scope string          `json:"scp"`
}

// Numbers of APIs, which are the audience of some tokens in place of a URL.
const (
	graphAppID = "00000003-0000-0000-c000-000000000000"
	mdeAppID   = "fc780465-2017-40d4-a0c5-307022471b92" // WindowsDefenderATP
)

func readClaims(token drover.Secret) (c claims, ok bool) {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return c, false
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	return c, err == nil && json.Unmarshal(b, &c) == nil
}

// audiences lists aud, which is a string or an array of them.
func (c claims) audiences() []string {
	var one string
	if json.Unmarshal(c.Aud, &one) == nil && one != "" {
		return []string{one}
	}
	var many []string
	_ = json.Unmarshal(c.Aud, &many)
	return many
}

// check refuses a token that is for somebody or something else, before any
// API sees it (reference faults T05).
func check(r request, token drover.Secret) error {
	c, ok := readClaims(token)
	if !ok {
		return nil
	}
	drop := func(hint, why string) error {
		return &drover.Error{Op: opToken, Tenant: r.tenant.ID, Kind: drover.Denied, Hint: hint, Err: &Unfit{c.permissions(), why}}
	}
	issuer := issuerTenant(c.Iss)
	switch {
	case c.TID != "" && !strings.EqualFold(c.TID, string(r.tenant.ID)), issuer != "" && !strings.EqualFold(issuer, string(r.tenant.ID)):
		return drop("check the tenant's ID and the cloud's authority; the token was dropped unused", "wrong tenant: the token is for another one")
	case !r.isAudience(c.audiences()):
		return drop("check the cloud's resource in the config; the token was dropped unused", "wrong audience: the token is for another API")
	case c.AppID != "" && !strings.EqualFold(c.AppID, r.app.ClientID), c.Azp != "" && !strings.EqualFold(c.Azp, r.app.ClientID):
		return drop("check the app's client_id in the config; the token was dropped unused", "wrong app: the token was issued to another one")
	}
	if open, known := c.permissions().Open(r.source); known && !open {
		return drop("consent is missing: the customer's admin must consent to "+Wants(r.source)[0]+"; some minutes may pass until it shows", "the token carries no permission that reads "+string(r.source))
	}
	return nil
}

// isAudience reports whether one of list is the API that was asked for; a token
// without an audience is taken.
func (r request) isAudience(list []string) bool {
	want := r.cloud.Resource(r.source)
	return len(list) == 0 || slices.ContainsFunc(list, func(aud string) bool {
		aud = strings.TrimSuffix(aud, "/")
		if strings.EqualFold(aud, want) {
			return true
		}
		number, public := "", BuiltIn()[DefaultCloud]
		switch r.source {
		case drover.GraphAlerts, drover.GraphIncidents:
			number = graphAppID
		case drover.MDEAlerts:
			number = mdeAppID
		default:
			return false
		}
		// A custom cloud may issue Microsoft's own audience.
		_, known := BuiltIn()[r.cloud.Name]
		return aud == number || !known && strings.EqualFold(aud, public.Resource(r.source))
	})
}

// issuerTenant is the tenant that an issuer's URL names, "" if none.
func issuerTenant(iss string) string {
	for part := range strings.SplitSeq(iss, "/") {
		if drover.IsGUID(part) {
			return part
		}
	}
	return ""
}
