package entra

import (
	"encoding/json"
	"net/netip"
	"regexp"
	"slices"

	"drover"
)

// Told is what an answer says beside its code that helps an admin to find the
// sign-in and the rule that refused it. Each part has a form of its own; no other
// text of an answer is kept.
type Told struct {
	Trace       string       `json:"trace_id,omitempty"`       // GUID
	Correlation string       `json:"correlation_id,omitempty"` // GUID
	Policies    []string     `json:"policies,omitempty"`       // IDs of Conditional Access policies
	Addresses   []netip.Addr `json:"addresses,omitempty"`      // from which Entra saw the request come
}

var (
	guid      = regexp.MustCompile(`(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`)
	traceText = regexp.MustCompile(`(?i)\btrace id:\s*([0-9a-f-]{36})`)
	corrText  = regexp.MustCompile(`(?i)\bcorrelation id:\s*([0-9a-f-]{36})`)
	// fromAddress is an address that the text names as such. Which texts do is
	// written nowhere.
	fromAddress = regexp.MustCompile(`(?i)\bip(?: ?v[46])?(?: ?address)?:?\s+'?([0-9a-f.:]{3,45})'?`)
)

// maxTold bounds a list.
const maxTold = 8

// told reads what else an answer says.
func (a answer) told() (t Told) {
	description := text(a.Description)
	id := func(raw json.RawMessage, in *regexp.Regexp) string {
		if s := text(raw); drover.IsGUID(s) {
			return s
		}
		if m := in.FindStringSubmatch(description); m != nil && drover.IsGUID(m[1]) {
			return m[1]
		}
		return ""
	}
	t.Trace, t.Correlation = id(a.Trace, traceText), id(a.Correlation, corrText)
	t.Policies = policiesOf(a.Claims)
	for _, m := range fromAddress.FindAllStringSubmatch(description, maxTold) {
		if at, err := netip.ParseAddr(m[1]); err == nil && !slices.Contains(t.Addresses, at) {
			t.Addresses = append(t.Addresses, at)
		}
	}
	return t
}

// policiesOf reads the IDs of the policies that claims name: JSON, as such or in
// a string (reference entra-oauth §8).
func policiesOf(raw json.RawMessage) (list []string) {
	if s := text(raw); s != "" {
		raw = json.RawMessage(s)
	}
	var claims struct {
		Access struct {
			Policies struct {
				Values []string `json:"values"`
			} `json:"capolids"`
		} `json:"access_token"`
	}
	if json.Unmarshal(raw, &claims) != nil {
		return nil
	}
	for _, v := range claims.Access.Policies.Values {
		if id := guid.FindString(v); id == v && len(list) < maxTold {
			list = append(list, id)
		}
	}
	return list
}
