package authority

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
)

// assertionType is the only client_assertion_type.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// client checks the app's credential. A public client has none.
func (s *Server) client(q *request) *refusal {
	d := s.opt.Directory
	raw, sec := q.form.Get("client_assertion"), q.form.Get("client_secret")
	switch {
	case q.app.Public && (raw != "" || sec != ""):
		return &refusal{status: 401, code: 700025, word: "invalid_client", text: "Client is public so neither 'client_assertion' nor 'client_secret' should be presented."}
	case q.app.Public && q.form.Get("grant_type") != "client_credentials":
		return nil
	case raw != "" && q.form.Get("client_assertion_type") != assertionType:
		return missing("client_assertion_type")
	case raw != "":
		q.cert = true
		return s.assertion(q, raw)
	case sec == "" && q.form.Get("grant_type") == "client_credentials":
		return &refusal{status: 401, code: 7000216, word: "invalid_client", text: "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type."}
	case sec == "":
		return &refusal{status: 401, code: 7000218, word: "invalid_client", text: "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."}
	}
	sum := sha256.Sum256([]byte(sec))
	expired := false
	for _, have := range q.app.secrets {
		if !d.knows(have.made) {
			continue
		}
		if subtle.ConstantTimeCompare(have.hash[:], sum[:]) == 1 {
			if !d.now().After(have.end) {
				return nil
			}
			expired = true
		}
	}
	if expired {
		return &refusal{status: 401, code: 7000222, word: "invalid_client", text: "The provided client secret keys for app '" + q.app.ClientID + "' are expired."}
	}
	return &refusal{status: 401, code: 7000215, word: "invalid_client", text: "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '" + q.app.ClientID + "'."}
}

// assertion checks a client assertion (reference entra-oauth §4).
func (s *Server) assertion(q *request, raw string) *refusal {
	d := s.opt.Directory
	bad := func(code int, text string) *refusal {
		e := &refusal{status: 401, code: code, word: "invalid_client", text: text}
		if d.OldCodes {
			e.outer, e.code = 70002, 50012
		}
		return e
	}
	a, err := parseAssertion(raw)
	if err != nil {
		return bad(50027, "JWT token is invalid or malformed.")
	}
	if a.foreign(q.app) {
		return s.federated(q, a)
	}
	now := d.now()
	from, ok1 := seconds(a.claims.Nbf)
	to, ok2 := seconds(a.claims.Exp)
	if !ok1 {
		from = to
	}
	switch {
	case !ok2, now.Before(from.Add(-5 * time.Second)), now.After(to), d.AssertionMax > 0 && (!ok1 || to.Sub(from) > time.Duration(d.AssertionMax)):
		return bad(700024, "Client assertion is not within its valid time range. Current time: "+now.UTC().Format("2006-01-02T15:04:05.0000000Z")+", expiry time of assertion "+to.UTC().Format("2006-01-02T15:04:05.0000000Z")+".")
	case !strings.EqualFold(a.claims.Iss, q.app.ClientID) || !strings.EqualFold(a.claims.Sub, q.app.ClientID):
		return bad(700021, "Client assertion application identifier doesn't match 'client_id' parameter.")
	case !s.isAudience(q, a.claims.Aud):
		return bad(700023, "Client assertion audience claim does not match Realm issuer.")
	case d.RefuseRS256 && (a.header.Alg != "PS256" || a.header.X5t2 == ""):
		return bad(50027, "JWT token is invalid or malformed: alg.")
	}
	i := slices.IndexFunc(q.app.certs, func(c *x509.Certificate) bool {
		return a.names(c, d.StrictThumbprint) && d.knows(q.app.record.keys[thumbprint(c)].made)
	})
	if i < 0 {
		return bad(700027, "Client assertion failed signature validation. [Reason - The key was not found.]")
	}
	cert := q.app.certs[i]
	switch {
	case !a.signedBy(cert):
		return bad(700027, "Client assertion failed signature validation. [Reason - The key was found, but use of the key to verify the signature failed.]")
	case now.After(cert.NotAfter):
		return bad(700027, "Client assertion failed signature validation. [Reason - The key used is expired.]")
	}
	if d.RefuseReplay {
		for id, end := range d.jtis {
			if now.After(end) {
				delete(d.jtis, id)
			}
		}
		id := q.app.ClientID + " " + a.claims.Jti
		if _, again := d.jtis[id]; again || a.claims.Jti == "" {
			return bad(50013, "Assertion failed signature validation: it has been used before.")
		}
		d.jtis[id] = to
	}
	return nil
}

// isAudience reports whether aud is this tenant's token endpoint: by GUID or
// domain, of either version, at this host or at Microsoft's own.
func (s *Server) isAudience(q *request, aud string) bool {
	if s.opt.Directory.StrictAudience {
		return aud == "https://"+s.host(q.r)+q.r.URL.Path
	}
	host, path, ok := strings.Cut(strings.TrimPrefix(aud, "https://"), "/")
	segment, rest, _ := strings.Cut(path, "/")
	t := s.opt.Directory.find(segment)
	return ok && strings.HasPrefix(aud, "https://") && (host == s.host(q.r) || host == "login.microsoftonline.com") && (rest == "oauth2/v2.0/token" || rest == "oauth2/token") &&
		(segment == q.segment || t != nil && t == q.t)
}

// assertion is a client assertion, taken apart.
type assertion struct {
	header struct {
		Alg  string `json:"alg"`
		X5t  string `json:"x5t"`
		X5t2 string `json:"x5t#S256"`
		Kid  string `json:"kid"`
	}
	claims struct {
		Aud string `json:"-"` // of one's own assertion: one string
		Scp string `json:"scp"`
		Upn string `json:"upn"`

		Audience json.RawMessage `json:"aud"`
		Iss      string          `json:"iss"`
		Sub      string          `json:"sub"`
		Jti      string          `json:"jti"`
		Nbf      json.RawMessage `json:"nbf"`
		Exp      json.RawMessage `json:"exp"`
	}
	signed string
	sig    []byte
}

// foreign reports whether somebody else than the app has issued it.
func (a assertion) foreign(app *App) bool {
	return strings.HasPrefix(a.claims.Iss, "https://") && !strings.EqualFold(a.claims.Iss, app.ClientID)
}

// parseAssertion reads a compact JWS. Parts are base64url without padding.
func parseAssertion(raw string) (a assertion, err error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return a, errors.New("not three parts")
	}
	for i, dest := range []any{&a.header, &a.claims} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			return a, err
		}
		if err := json.Unmarshal(b, dest); err != nil {
			return a, err
		}
	}
	_ = json.Unmarshal(a.claims.Audience, &a.claims.Aud)
	a.signed = parts[0] + "." + parts[1]
	a.sig, err = base64.RawURLEncoding.DecodeString(parts[2])
	return a, err
}

// names reports whether the header names a certificate. The SHA-256 thumbprint
// wins if both are there.
func (a assertion) names(c *x509.Certificate, strict bool) bool {
	if a.header.X5t2 != "" {
		sum := sha256.Sum256(c.Raw)
		return bytes.Equal(thumb(a.header.X5t2, strict), sum[:])
	}
	sum := sha1.Sum(c.Raw) //nolint:gosec // x5t is SHA-1 by definition
	return bytes.Equal(thumb(a.header.X5t, strict), sum[:])
}

func (a assertion) signedBy(c *x509.Certificate) bool {
	key, ok := c.PublicKey.(*rsa.PublicKey)
	sum := sha256.Sum256([]byte(a.signed))
	switch {
	case !ok:
		return false
	case a.header.Alg == "PS256":
		return rsa.VerifyPSS(key, crypto.SHA256, sum[:], a.sig, nil) == nil
	case a.header.Alg == "RS256":
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], a.sig) == nil
	}
	return false
}

// seconds reads a time claim, a number or, as some libraries send, a string.
func seconds(raw json.RawMessage) (time.Time, bool) {
	var n json.Number
	if json.Unmarshal([]byte(strings.Trim(string(raw), `"`)), &n) != nil {
		return time.Time{}, false
	}
	f, err := n.Float64()
	return time.Unix(int64(f), 0), err == nil
}

// thumb decodes a thumbprint in base64url, or in the standard alphabet as MSAL
// Go sends it (reference entra-oauth §4).
func thumb(s string, strict bool) []byte {
	forms := []*base64.Encoding{base64.RawURLEncoding, base64.StdEncoding, base64.RawStdEncoding}
	if strict {
		forms = forms[:1]
	}
	for _, enc := range forms {
		if b, err := enc.DecodeString(s); err == nil {
			return b
		}
	}
	return nil
}
