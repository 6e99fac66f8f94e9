package authority

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
	"time"
)

// codeLife is how long an authorization code lives.
const codeLife = 10 * time.Minute

// code is an authorization code.
type code struct {
	client, tenant, user, redirect, challenge, method string
	resource                                          string // of v1's authorize request
	scope                                             string // of v2's
	nonce                                             string
	issued                                            time.Time
	used                                              bool
	mfa                                               bool
	family                                            int // of the refresh tokens that it gave
}

// redeemCode redeems an authorization code.
func (s *Server) redeemCode(q *request) (map[string]any, *refusal) {
	d := s.opt.Directory
	c := d.codes[q.form.Get("code")]
	switch {
	case q.form.Get("code") == "":
		return nil, missing("code")
	case c == nil || c.client != q.app.ClientID:
		return nil, &refusal{status: 400, code: 70000, word: "invalid_grant", text: "Provided grant is invalid or malformed."}
	case c.used:
		if d.ReplayEndsTokens && c.family != 0 {
			d.revokeLocked(func(r *refresh) bool { return r.family == c.family })
		}
		return nil, &refusal{status: 400, code: 54005, word: "invalid_grant", text: "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token."}
	case d.now().Sub(c.issued) > codeLife:
		return nil, &refusal{status: 400, code: 70008, word: "invalid_grant", text: "The provided authorization code or refresh token has expired due to inactivity."}
	case q.t != nil && q.t.ID != c.tenant:
		return nil, &refusal{status: 400, code: 700005, word: "invalid_grant", text: "The provided authorization code is intended to use against other tenant, thus rejected."}
	case q.form.Get("redirect_uri") == "":
		return nil, missing("redirect_uri")
	case q.form.Get("redirect_uri") != c.redirect:
		return nil, &refusal{status: 400, code: 500112, word: "invalid_client", text: "The reply address '" + q.form.Get("redirect_uri") + "' does not match the reply address '" + c.redirect + "' provided when requesting Authorization code."}
	case !verified(c, q.form.Get("code_verifier")):
		c.used = c.used || d.WrongVerifierEnds
		return nil, &refusal{status: 400, code: 501481, word: "invalid_grant", text: "The Code_Verifier does not match the code_challenge supplied in the authorization request."}
	}
	if e := s.sameTarget(q, c); e != nil {
		return nil, e
	}
	if e := s.admit(q, d.tenants[c.tenant], c.user, c.mfa); e != nil {
		return nil, e
	}
	c.used = true
	g := grantee{t: d.tenants[c.tenant], user: c.user, nonce: c.nonce, mfa: c.mfa}
	if q.offline {
		d.families++
		c.family = d.families
		g.refresh = d.newRefresh(refresh{client: c.client, tenant: c.tenant, user: c.user, audience: q.audience, mfa: c.mfa, family: c.family})
	}
	return s.issue(q, g)
}

// sameTarget fills in what the sign-in asked for, and refuses another resource.
func (s *Server) sameTarget(q *request, c *code) *refusal {
	asked := c.resource
	if q.v2 {
		was := &request{app: q.app, v2: true}
		uri, e := s.scopes(was, c.scope, "authorization_code")
		if e != nil {
			return e
		}
		asked = uri
		if asked == "" && was.openid { // only who signs in: the token beside it is Graph's
			asked = graphURL
		}
		q.offline, q.openid = q.offline || was.offline, q.openid || was.openid
		if q.audience == "" {
			q.scopes, q.all = was.scopes, was.all
		}
	}
	aud, ok := s.opt.Resource(asked)
	switch {
	case q.audience == "" && !ok:
		return missing(q.parameter())
	case q.audience == "":
		q.audience = aud
	case ok && q.audience != aud:
		return &refusal{status: 400, code: 70000, word: "invalid_grant", text: "Provided grant is invalid or malformed: it is for another resource."}
	}
	return nil
}

// verified checks PKCE. Without a method the challenge is plain.
func verified(c *code, verifier string) bool {
	switch {
	case c.challenge == "":
		return true
	case c.method == "S256":
		sum := sha256.Sum256([]byte(verifier))
		return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(c.challenge)) == 1
	default:
		return subtle.ConstantTimeCompare([]byte(verifier), []byte(c.challenge)) == 1
	}
}

// registered reports whether a redirect URI is one of the app's: byte for byte,
// but for the port where the host is the machine itself.
func (a *App) registered(uri string) bool {
	if slices.Contains(a.RedirectURIs, uri) {
		return true
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" || u.Hostname() != "localhost" && u.Hostname() != "127.0.0.1" || u.User != nil || u.Fragment != "" {
		return false
	}
	rest := strings.TrimSuffix(u.Path, "/")
	return slices.ContainsFunc(a.RedirectURIs, func(have string) bool {
		h, err := url.Parse(have)
		return err == nil && h.Scheme == "http" && h.Hostname() == u.Hostname() && strings.TrimSuffix(h.Path, "/") == rest && h.RawQuery == u.RawQuery
	})
}
