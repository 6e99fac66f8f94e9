package authority

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// applications answers what lies at /applications.
func (q *call) applications(appID, objectID, below string) {
	if appID == "" && objectID == "" {
		switch q.r.Method {
		case http.MethodGet:
			q.listApps()
		case http.MethodPost:
			q.createApp()
		default:
			q.wrongMethod()
		}
		return
	}
	a := q.findApp(appID, objectID)
	// An app may always roll its own keys (reference mssp-onboarding §8).
	rolls := a != nil && q.who.User == "" && strings.EqualFold(q.who.AppID, a.ClientID) && (below == "addKey" || below == "removeKey")
	need := mayWrite
	if q.r.Method == http.MethodGet {
		need = mayRead
	}
	if !rolls && !q.holds(need, a != nil && slices.Contains(a.record.owners, q.who.User)) {
		q.denied()
		return
	}
	if a == nil {
		q.absent(appID + objectID)
		return
	}
	method, segment, _ := strings.Cut(below, "/")
	switch at := q.r.Method + " " + method; {
	case at == "GET ":
		q.one(http.StatusOK, "applications", q.showApp(a, strings.Contains(q.r.URL.Query().Get("$select"), "keyCredentials")))
	case at == "PATCH ":
		q.changeApp(a)
	case at == "DELETE ":
		delete(q.d.apps, strings.ToLower(a.ClientID))
		q.w.WriteHeader(http.StatusNoContent)
	case at == "POST addPassword":
		q.addPassword(a)
	case at == "POST removePassword":
		q.removePassword(a)
	case at == "POST addKey":
		q.addKey(a)
	case at == "POST removeKey":
		q.removeKey(a)
	case method == "federatedIdentityCredentials":
		q.federatedCredentials(a, segment)
	case method == "owners":
		q.owners(a, segment)
	default:
		q.wrongMethod()
	}
}

// findApp finds an app of the caller's tenant; nil also where this request is
// answered by a server that has not heard of it.
func (q *call) findApp(appID, objectID string) *App {
	for _, a := range q.d.apps {
		if (strings.EqualFold(a.ClientID, appID) || strings.EqualFold(a.record.objectID, objectID)) && q.seesApp(a) {
			return a
		}
	}
	return nil
}

func (q *call) seesApp(a *App) bool {
	return a.HomeTenant == q.t.ID && q.d.knows(a.record.made)
}

func (q *call) listApps() {
	if !q.holds(mayRead, false) {
		q.denied()
		return
	}
	property, value, ok := q.filter()
	if !ok {
		return
	}
	var out []map[string]any
	for _, a := range q.d.apps {
		if q.seesApp(a) && (property == "" || property == "appId" && strings.EqualFold(a.ClientID, value) || property == "displayName" && strings.EqualFold(a.record.name, value)) {
			out = append(out, q.showApp(a, false))
		}
	}
	slices.SortFunc(out, func(a, b map[string]any) int { return strings.Compare(fmt.Sprint(a["id"]), fmt.Sprint(b["id"])) })
	q.list("applications", out)
}

// Bodies of applications.
type (
	redirects struct {
		URIs []string `json:"redirectUris"`
	}
	appBody struct {
		Name      *string          `json:"displayName"`
		Audience  *string          `json:"signInAudience"`
		Web       *redirects       `json:"web"`
		Public    *redirects       `json:"publicClient"`
		URIs      *[]string        `json:"identifierUris"`
		Required  *[]required      `json:"requiredResourceAccess"`
		Keys      *[]keyBody       `json:"keyCredentials"`
		Passwords *[]passwordShown `json:"passwordCredentials"`
	}
	keyBody struct {
		Identifier *string `json:"customKeyIdentifier"`
		Name       *string `json:"displayName"`
		End        *string `json:"endDateTime"`
		Start      *string `json:"startDateTime"`
		Key        *string `json:"key"`
		ID         string  `json:"keyId"`
		Type       string  `json:"type"`
		Usage      string  `json:"usage"`
	}
	passwordShown struct {
		Name   string    `json:"displayName"`
		End    time.Time `json:"endDateTime"`
		Start  time.Time `json:"startDateTime"`
		Hint   string    `json:"hint"`
		ID     string    `json:"keyId"`
		Secret *string   `json:"secretText"`
		Custom *string   `json:"customKeyIdentifier"`
	}
)

var audiences = []string{"AzureADMyOrg", "AzureADMultipleOrgs", "AzureADandPersonalMicrosoftAccount", "PersonalMicrosoftAccount"}

// wrong says what is wrong with a body, "" if nothing is.
func (b appBody) wrong() string {
	switch {
	case b.Name != nil && (*b.Name == "" || len(*b.Name) > 256):
		return "Property displayName is invalid."
	case b.Audience != nil && !slices.Contains(audiences, *b.Audience):
		return "Property signInAudience is invalid."
	case b.Passwords != nil && len(*b.Passwords) > 0:
		return "Property passwordCredentials cannot be set: use addPassword."
	case b.Web != nil && !every(b.Web.URIs, mayRedirect), b.Public != nil && !every(b.Public.URIs, mayRedirect):
		return "Property redirectUris is invalid: a URI must be https, or http on localhost, without a fragment."
	}
	return ""
}

func every(list []string, ok func(string) bool) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !ok(s) })
}

// createApp registers an application. Every member may; who did owns it.
func (q *call) createApp() {
	if !q.holds(append(slices.Clone(mayWrite), "Application.ReadWrite.OwnedBy"), true) {
		q.denied()
		return
	}
	var b appBody
	if !q.read(&b) {
		return
	}
	if b.Name == nil {
		q.bad("Property displayName is required.")
		return
	}
	if b.Audience == nil { // as the reference's sample answer has it
		b.Audience = &audiences[2]
	}
	now := q.d.Clock()
	a := &App{ClientID: newGUID(), HomeTenant: q.t.ID, record: record{objectID: newGUID(), created: now, made: q.d.born(), bare: true, keys: make(map[string]keyInfo), required: []required{}}}
	if q.who.User != "" {
		a.record.owners = []string{q.who.User}
	}
	if why := q.apply(a, b); why != "" {
		q.bad(why)
		return
	}
	q.d.apps[strings.ToLower(a.ClientID)] = a
	q.one(http.StatusCreated, "applications", q.showApp(a, true))
}

func (q *call) changeApp(a *App) {
	var b appBody
	if !q.read(&b) {
		return
	}
	if why := q.apply(a, b); why != "" {
		q.bad(why)
		return
	}
	q.w.WriteHeader(http.StatusNoContent)
}

// apply changes what a body names; it says what is wrong before it changes
// anything.
func (q *call) apply(a *App, b appBody) string {
	if why := b.wrong(); why != "" {
		return why
	}
	if b.Keys != nil {
		if why := q.replaceKeys(a, *b.Keys); why != "" {
			return why
		}
	}
	if b.Name != nil {
		a.record.name = *b.Name
	}
	if b.Audience != nil {
		a.record.audience, a.MultiTenant = *b.Audience, *b.Audience != audiences[0]
	}
	if b.Web != nil {
		a.RedirectURIs = append(slices.Clone(b.Web.URIs), a.record.public...)
	}
	if b.Public != nil {
		web := a.web()
		a.record.public = b.Public.URIs
		a.RedirectURIs = append(web, b.Public.URIs...)
	}
	if b.URIs != nil {
		a.record.uris = *b.URIs
	}
	if b.Required != nil {
		q.d.require(a, *b.Required)
	}
	return ""
}

// web lists the redirect URIs of the platform web.
func (a *App) web() []string {
	return slices.DeleteFunc(slices.Clone(a.RedirectURIs), func(u string) bool { return slices.Contains(a.record.public, u) })
}

// parseKey reads a certificate of a body.
func (q *call) parseKey(b keyBody) (*x509.Certificate, string) {
	if b.Type != "AsymmetricX509Cert" || b.Usage != "Verify" {
		return nil, "The value for the property \"usage\" or \"type\" in one of your credentials is invalid."
	}
	if b.Key == nil {
		return nil, "A key credential has no key."
	}
	der, err := base64.StdEncoding.DecodeString(*b.Key)
	if err != nil {
		return nil, "Key credential value is invalid."
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, "Key credential value is invalid certificate."
	}
	if b.End != nil {
		if end, err := time.Parse(time.RFC3339, *b.End); err != nil || end.After(c.NotAfter) {
			return nil, "Key credential end date is invalid."
		}
	}
	return c, ""
}

// replaceKeys sets all certificates: what is not named is gone. One that is there
// may be named by its keyId alone.
func (q *call) replaceKeys(a *App, list []keyBody) string {
	var certs []*x509.Certificate
	keys := make(map[string]keyInfo)
	for _, b := range list {
		if i := slices.IndexFunc(a.certs, func(c *x509.Certificate) bool { return b.ID != "" && a.record.keys[thumbprint(c)].id == b.ID }); i >= 0 {
			certs = append(certs, a.certs[i])
			keys[thumbprint(a.certs[i])] = a.record.keys[thumbprint(a.certs[i])]
			continue
		}
		c, why := q.parseKey(b)
		if why != "" {
			return why
		}
		certs = append(certs, c)
		keys[thumbprint(c)] = q.newKey(b)
	}
	a.certs, a.record.keys = certs, keys
	return ""
}

func (q *call) newKey(b keyBody) keyInfo {
	k := keyInfo{id: newGUID(), made: q.d.born()}
	if b.Name != nil {
		k.name = *b.Name
	}
	return k
}

// showApp is an application; with the bytes of certificates only where one
// object is asked for them.
func (q *call) showApp(a *App, keys bool) map[string]any {
	certs, secrets := []map[string]any{}, []map[string]any{}
	for _, c := range a.certs {
		certs = append(certs, q.showKey(a, c, keys))
	}
	for _, s := range a.secrets {
		secrets = append(secrets, map[string]any{"displayName": s.name, "hint": s.hint, "keyId": s.keyID, "startDateTime": stampOf(s.start), "endDateTime": stampOf(s.end), "secretText": nil, "customKeyIdentifier": nil})
	}
	return map[string]any{"id": a.record.objectID, "appId": a.ClientID, "displayName": a.record.name, "signInAudience": a.record.audience, "createdDateTime": stampOf(a.record.created),
		"publisherDomain": q.t.Domain, "identifierUris": orEmpty(a.record.uris), "web": map[string]any{"redirectUris": orEmpty(a.web())}, "publicClient": map[string]any{"redirectUris": orEmpty(a.record.public)},
		"spa": map[string]any{"redirectUris": []string{}}, "requiredResourceAccess": orEmpty(a.record.required), "keyCredentials": certs, "passwordCredentials": secrets}
}

func (q *call) showKey(a *App, c *x509.Certificate, key bool) map[string]any {
	k := a.record.keys[thumbprint(c)]
	if k.id == "" { // put in by hand
		sum := sha256.Sum256(c.Raw)
		k.id = guid(sum[:16])
		a.record.keys[thumbprint(c)] = k
	}
	sum := sha1.Sum(c.Raw) //nolint:gosec // that is what it holds
	v := map[string]any{"keyId": k.id, "displayName": k.name, "type": "AsymmetricX509Cert", "usage": "Verify", "startDateTime": stampOf(c.NotBefore), "endDateTime": stampOf(c.NotAfter),
		"customKeyIdentifier": base64.StdEncoding.EncodeToString(sum[:]), "key": nil}
	if key {
		v["key"] = base64.StdEncoding.EncodeToString(c.Raw)
	}
	return v
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
