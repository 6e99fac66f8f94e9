package authority

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"drover/internal/lab/fault"
)

// graphURL is Graph's resource, and of a permission that names none.
const graphURL = "https://graph.microsoft.com"

// resourceIDs are the app IDs that stand in aud of version 2 tokens.
var resourceIDs = map[string]string{graphURL: "00000003-0000-0000-c000-000000000000", "https://graph.windows.net": "00000002-0000-0000-c000-000000000000",
	"https://api.securitycenter.microsoft.com": "fc780465-2017-40d4-a0c5-307022471b92", "https://api.security.microsoft.com": "8ee8fdad-f234-4243-8f3b-15c294843740", centerURL: centerID}

// grantee is whom a token is for, and what comes beside it.
type grantee struct {
	t       *Tenant
	user    string // "" = the app itself
	refresh string
	nonce   string
	mfa     bool // the sign-in had a second factor
}

// issue makes an access token and its envelope. The resource, not the endpoint,
// decides on the token's version (reference entra-oauth §1): 1 unless the
// switch says 2.
func (s *Server) issue(q *request, g grantee) (map[string]any, *refusal) {
	d := s.opt.Directory
	now := d.now()
	life := time.Duration(d.Life)
	if life == 0 {
		if life = 3599 * time.Second; d.rng.IntN(2) == 0 { // every sample has it; the text says 60 to 90 min
			life = time.Hour + time.Duration(d.rng.IntN(1801))*time.Second
		}
	}
	token, e := s.accessToken(q, g, now, life)
	if e != nil {
		return nil, e
	}
	sec := int(life.Seconds())
	out := map[string]any{"token_type": "Bearer", "access_token": token}
	if q.v2 {
		out["expires_in"], out["ext_expires_in"] = sec, sec
	} else { // v1 writes numbers as text
		out["expires_in"], out["ext_expires_in"], out["expires_on"], out["not_before"], out["resource"] =
			strconv.Itoa(sec), strconv.Itoa(sec), strconv.FormatInt(now.Add(life).Unix(), 10), strconv.FormatInt(now.Unix(), 10), q.audience
	}
	switch d.ExpiresIn {
	case "number":
		out["expires_in"] = sec
	case "text":
		out["expires_in"] = strconv.Itoa(sec)
	case "negative":
		out["expires_in"] = -sec
	case "absent":
		delete(out, "expires_in")
	}
	if g.user == "" {
		return out, nil
	}
	out["scope"] = strings.Join(s.scopesOf(q), " ")
	if q.v2 { // the full names
		named := s.scopesOf(q)
		for i, sc := range named {
			named[i] = q.audience + "/" + sc
		}
		if q.all { // stands there too: MSAL takes a scope that it misses for declined
			named = append(named, q.audience+"/.default")
		}
		out["scope"] = strings.Join(named, " ")
	}
	if g.refresh != "" {
		out["refresh_token"] = g.refresh
	}
	if q.openid {
		out["id_token"] = s.idToken(q, g, now, life)
	}
	if q.form.Get("client_info") == "1" { // MSAL asks for it and names its account by it
		out["client_info"] = part(map[string]string{"uid": objectID(d.homeOf(g), g.user), "utid": d.homeOf(g)})
	}
	return out, nil
}

// homeOf is the tenant ID of the grantee's own directory.
func (d *Directory) homeOf(g grantee) string {
	if t := d.home(g.user); t != nil {
		return t.ID
	}
	return g.t.ID
}

// scopesOf lists what a signed-in user's token holds.
func (s *Server) scopesOf(q *request) []string {
	if len(q.scopes) > 0 {
		return slices.Clone(q.scopes)
	}
	return s.scopesIn(q, q.t)
}

// granted picks the permissions of the resource that is asked for.
func (s *Server) granted(q *request, list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(p string) bool { return s.opt.Grants != nil && !s.opt.Grants(q.audience, p) })
}

func (s *Server) accessToken(q *request, g grantee, now time.Time, life time.Duration) (string, *refusal) {
	d := s.opt.Directory
	tid := g.t.ID
	if f, ok := q.faults[fault.TokenWrongTID]; ok {
		tid = f.Value
	}
	acr := "1"
	switch {
	case q.app.Public:
		acr = "0"
	case q.cert:
		acr = "2"
	}
	who := g.user
	if who == "" {
		who = q.app.ClientID
	}
	claims := map[string]any{"aud": q.audience, "iss": issuerV1(tid), "iat": now.Unix(), "nbf": now.Unix() - 5, "exp": now.Add(life).Unix(), "tid": tid,
		"appid": q.app.ClientID, "appidacr": acr, "oid": objectID(g.t.ID, who), "sub": objectID(g.t.ID, who+q.app.ClientID), "ver": "1.0", "uti": randomText(16)}
	if d.TokenV2 {
		claims["iss"], claims["ver"], claims["azp"], claims["azpacr"] = issuer(s.host(q.r), tid), "2.0", q.app.ClientID, acr
		delete(claims, "appid")
		delete(claims, "appidacr")
		if id := resourceIDs[q.audience]; id != "" {
			claims["aud"] = id
		}
	}
	if g.user == "" {
		claims["idtyp"] = "app"
		if _, no := q.faults[fault.TokenNoRoles]; !no && d.shown(g.t, q.app.ClientID) == Granted {
			if roles := s.granted(q, d.rolesOf(g.t, q.app)); len(roles) > 0 {
				claims["roles"] = roles
			}
		}
	} else {
		claims["scp"], claims["upn"], claims["unique_name"] = strings.Join(s.scopesOf(q), " "), g.user, g.user
		if !d.Partner.NoAMR {
			claims["amr"] = amr(g.mfa)
		}
	}
	for name, v := range d.TokenClaims {
		claims[name] = v
	}
	token, err := d.sign(claims)
	if err != nil {
		return "", &refusal{status: 500, code: 50000, word: "server_error", text: "There was an error issuing a token or an issue with our sign-in service."}
	}
	if _, ok := q.faults[fault.TokenOpaque]; ok {
		token = "opaque!" + strings.ReplaceAll(token, ".", "!")
	}
	return token, nil
}

// amr says how somebody signed in.
func amr(mfa bool) []string {
	if mfa {
		return []string{"pwd", "mfa"}
	}
	return []string{"pwd"}
}

// idToken says who signed in. That of v1 is not signed (reference
// mssp-onboarding §3.3).
func (s *Server) idToken(q *request, g grantee, now time.Time, life time.Duration) string {
	d := s.opt.Directory
	claims := map[string]any{"aud": q.app.ClientID, "iss": issuerV1(g.t.ID), "tid": g.t.ID, "oid": objectID(g.t.ID, g.user), "sub": objectID(g.t.ID, g.user+q.app.ClientID),
		"name": g.user, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(life).Unix(), "ver": "1.0"}
	if g.nonce != "" {
		claims["nonce"] = g.nonce
	}
	if !q.v2 {
		claims["upn"], claims["unique_name"] = g.user, g.user
		return part(map[string]string{"typ": "JWT", "alg": "none"}) + "." + part(claims) + "."
	}
	claims["iss"], claims["ver"], claims["preferred_username"] = issuer(s.host(q.r), g.t.ID), "2.0", g.user
	signed, err := d.sign(claims)
	if err != nil {
		return ""
	}
	return signed
}
