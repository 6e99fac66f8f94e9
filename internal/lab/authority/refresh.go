package authority

import (
	"crypto/sha256"
	"slices"
	"strings"
	"time"
)

// refresh is a refresh token that was given out.
type refresh struct {
	client, tenant, user string
	audience             string // of the first grant
	used                 time.Time
	spent, revoked       bool
	mfa                  bool // the sign-in had a second factor
	family               int
}

// idleLife is how long a refresh token lives unused.
const idleLife = 90 * 24 * time.Hour

// GiveRefreshToken makes a refresh token as a sign-in would have. The user
// becomes one of the tenant's.
func (d *Directory) GiveRefreshToken(tenant, client, user string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.tenants[tenant]; t != nil {
		if _, member := t.users[user]; !member {
			t.users[user] = false
		}
	}
	d.families++
	return d.newRefresh(refresh{client: client, tenant: tenant, user: user, family: d.families})
}

func (d *Directory) newRefresh(r refresh) string {
	raw := "0.AX" + randomText(40)
	r.used = d.now()
	d.refresh[sha256.Sum256([]byte(raw))] = &r
	return raw
}

// KeepRefreshTokens remembers which refresh tokens there are and how each of
// them stands; back brings that again, as often as it is called. A test can so
// ask what Entra would have answered at an earlier moment.
func (d *Directory) KeepRefreshTokens() (back func()) {
	copied := func(m map[[32]byte]*refresh) map[[32]byte]*refresh {
		out := make(map[[32]byte]*refresh, len(m))
		for k, r := range m {
			one := *r
			out[k] = &one
		}
		return out
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := copied(d.refresh)
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.refresh = copied(kept)
	}
}

// RevokeRefreshTokens ends all refresh tokens that were signed in for at a
// tenant.
func (d *Directory) RevokeRefreshTokens(tenant string) {
	d.revoke(func(r *refresh) bool { return r.tenant == tenant })
}

// RevokeUser ends all refresh tokens of a user, as the user's home tenant can.
func (d *Directory) RevokeUser(user string) {
	d.revoke(func(r *refresh) bool { return r.user == user })
}

func (d *Directory) revoke(which func(*refresh) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.revokeLocked(which)
}

func (d *Directory) revokeLocked(which func(*refresh) bool) {
	for _, r := range d.refresh {
		if which(r) {
			r.revoked = true
		}
	}
}

// admit checks what holds for every user's grant: membership, consent, policy,
// and whether the app runs in a loop.
func (s *Server) admit(q *request, t *Tenant, user string, mfa bool) *refusal {
	d := s.opt.Directory
	if d.partnered(user, t) {
		return s.delegated(q, t, user, mfa)
	}
	if _, member := t.users[user]; !member {
		return &refusal{status: 400, code: 50020, word: "invalid_grant", text: "User account '" + user + "' does not exist in tenant '" + t.Domain + "' and cannot access the application in that tenant."}
	}
	if d.shown(t, q.app.ClientID) < Delegated {
		return notConsented(q.app.ClientID)
	}
	for _, sc := range q.scopes {
		if !slices.Contains(q.app.scopes(), sc) {
			return notConsented(q.app.ClientID)
		}
	}
	if t.policy != 0 && !(mfa && secondFactor(t.policy)) {
		return policy(t.policy)
	}
	if d.LoopAfter > 0 && d.count(strings.Join([]string{q.app.ClientID, t.ID, user, q.audience}, " "), 5*time.Minute) > d.LoopAfter {
		return &refusal{status: 400, code: 50196, word: "invalid_grant", text: "The server terminated an operation because it encountered a client request loop."}
	}
	return nil
}

// stale says why a refresh token is not taken any more.
func (d *Directory) stale(r *refresh) *refusal {
	idle := time.Duration(d.RefreshIdle)
	if idle == 0 {
		idle = idleLife
	}
	switch {
	case r.revoked, r.spent && d.ReuseKillsFamily:
		return &refusal{status: 400, code: 50173, word: "invalid_grant", text: "The provided grant has expired due to it being revoked, a fresh auth token is needed.", sub: "bad_token"}
	case d.now().Sub(r.used) > idle && d.OldExpiry:
		return &refusal{status: 400, outer: 70002, code: 70008, word: "invalid_grant", text: "The refresh token has expired due to inactivity.", sub: "bad_token"}
	case d.now().Sub(r.used) > idle:
		return &refusal{status: 400, code: 700082, word: "invalid_grant", text: "The refresh token has expired due to inactivity. The token was issued on " + r.used.UTC().Format(time.RFC3339) + " and was inactive for " + idle.String() + ".", sub: "bad_token"}
	case r.spent && d.OldRefreshDies:
		return &refusal{status: 400, code: 70000, word: "invalid_grant", text: "Provided grant is invalid or malformed: it has been used.", sub: "bad_token"}
	}
	return nil
}

func notConsented(client string) *refusal {
	return &refusal{status: 400, code: 65001, word: "invalid_grant", text: "The user or administrator has not consented to use the application with ID '" + client + "'. Send an interactive authorization request for this user and resource.", sub: "consent_required"}
}

// redeemRefresh redeems a refresh token. It is bound to user and app, not to
// tenant or resource. The old one stays good unless a switch says otherwise
// (reference entra-oauth §5).
func (s *Server) redeemRefresh(q *request) (map[string]any, *refusal) {
	d := s.opt.Directory
	r := d.refresh[sha256.Sum256([]byte(q.form.Get("refresh_token")))]
	switch {
	case q.form.Get("refresh_token") == "":
		return nil, missing("refresh_token")
	case r == nil || r.client != q.app.ClientID:
		return nil, &refusal{status: 400, code: 70000, word: "invalid_grant", text: "Provided grant is invalid or malformed.", sub: "bad_token"}
	}
	if e := d.stale(r); e != nil {
		if r.spent && d.ReuseKillsFamily {
			d.revokeLocked(func(other *refresh) bool { return other.family == r.family })
		}
		return nil, e
	}
	t := q.t
	if t == nil {
		t = d.tenants[r.tenant]
	}
	if q.audience == "" {
		q.audience = r.audience
	}
	if q.audience == "" {
		return nil, missing(q.parameter())
	}
	if e := s.admit(q, t, r.user, r.mfa); e != nil {
		return nil, e
	}
	g := grantee{t: t, user: r.user, mfa: r.mfa}
	if !d.NoNewRefresh {
		r.spent = true
		g.refresh = d.newRefresh(*r)
		d.refresh[sha256.Sum256([]byte(g.refresh))].spent = false
	}
	r.used = d.now()
	return s.issue(q, g)
}
