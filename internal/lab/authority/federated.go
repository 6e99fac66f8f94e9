package authority

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// federated checks a token of another issuer as the app's credential (reference
// entra-oauth §4): issuer, subject and audience must be those of one of the
// app's federated credentials, letter by letter, and a new one is not known at
// once.
func (s *Server) federated(q *request, a assertion) *refusal {
	d := s.opt.Directory
	bad := func(code int, format string, args ...any) *refusal {
		return &refusal{status: 401, code: code, word: "invalid_client", text: fmt.Sprintf(format, args...)}
	}
	if a.claims.Scp != "" || a.claims.Upn != "" {
		return bad(700229, "Only app-only tokens can be used as Federated Identity Credentials for AAD issuer.")
	}
	var known []federated
	for _, f := range q.app.record.federated {
		if d.knows(f.made) {
			known = append(known, f)
		}
	}
	has := func(match func(federated) bool) bool { return slices.ContainsFunc(known, match) }
	issued := func(f federated) bool { return f.Issuer == a.claims.Iss }
	const look = " Check your federated identity credential Subject, Audience and Issuer against the presented assertion."
	switch {
	case !has(issued):
		return bad(700211, "No matching federated identity record found for presented assertion issuer '%s'."+look, a.claims.Iss)
	case !has(func(f federated) bool { return issued(f) && f.Subject == a.claims.Sub }):
		if has(func(f federated) bool { return issued(f) && strings.EqualFold(f.Subject, a.claims.Sub) }) {
			return bad(7002138, "No matching federated identity record found for presented assertion subject '%s'. The subject matches with case-insensitive comparison, but not with case-sensitive comparison.", a.claims.Sub)
		}
		return bad(700213, "No matching federated identity record found for presented assertion subject '%s'."+look, a.claims.Sub)
	case !has(func(f federated) bool {
		return issued(f) && f.Subject == a.claims.Sub && slices.Contains(a.audiences(), f.Audiences[0])
	}):
		return bad(70021, "No matching federated identity record found for presented assertion."+look)
	}
	now := d.now()
	from, ok1 := seconds(a.claims.Nbf)
	to, ok2 := seconds(a.claims.Exp)
	if !ok1 {
		from = to
	}
	if !ok2 || now.Before(from.Add(-5*time.Minute)) || now.After(to) {
		return bad(700024, "Client assertion is not within its valid time range. Current time: %s, expiry time of assertion %s.", now.UTC().Format("2006-01-02T15:04:05.0000000Z"), to.UTC().Format("2006-01-02T15:04:05.0000000Z"))
	}
	key := d.keyOf(a.claims.Iss, a.header.Kid, s.host(q.r))
	sum := sha256.Sum256([]byte(a.signed))
	switch {
	case a.header.Alg != "RS256":
		return bad(50027, "JWT token is invalid or malformed: alg.")
	case key == nil:
		return bad(700027, "Client assertion failed signature validation. [Reason - The key was not found.]")
	case rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], a.sig) != nil:
		return bad(700027, "Client assertion failed signature validation. [Reason - The key was found, but use of the key to verify the signature failed.]")
	}
	return nil
}

// audiences lists aud: a string, or an array of them.
func (a assertion) audiences() (list []string) {
	var one string
	if json.Unmarshal(a.claims.Audience, &one) == nil {
		return []string{one}
	}
	_ = json.Unmarshal(a.claims.Audience, &list)
	return list
}
