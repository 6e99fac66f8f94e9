package authority

import (
	"crypto/sha256"
	"crypto/x509"
	"net/http"
	"slices"
	"strings"
	"time"
)

// addPassword makes a secret; this answer alone holds it.
func (q *call) addPassword(a *App) {
	var b struct {
		Credential struct {
			Name  string     `json:"displayName"`
			Start *time.Time `json:"startDateTime"`
			End   *time.Time `json:"endDateTime"`
		} `json:"passwordCredential"`
	}
	if !q.read(&b) {
		return
	}
	now := q.d.Clock()
	s := secret{keyID: newGUID(), name: b.Credential.Name, start: now, end: now.AddDate(2, 0, 0), made: q.d.born()}
	if b.Credential.Start != nil {
		s.start = *b.Credential.Start
	}
	if b.Credential.End != nil {
		s.end = *b.Credential.End
	}
	if !s.end.After(s.start) || s.end.After(now.AddDate(100, 0, 0)) {
		q.bad("The value of endDateTime is invalid.")
		return
	}
	// Three of them are shown ever after; that two of an app begin alike is rare, and
	// does not happen here.
	value := randomText(3)[:3] + "8Q~" + randomText(25)
	for slices.ContainsFunc(a.secrets, func(s secret) bool { return s.hint == value[:3] }) {
		value = randomText(3)[:3] + value[3:]
	}
	s.hash, s.hint = sha256.Sum256([]byte(value)), value[:3]
	a.secrets = append(a.secrets, s)
	q.one(http.StatusOK, "microsoft.graph.passwordCredential", map[string]any{"keyId": s.keyID, "displayName": s.name, "hint": s.hint, "secretText": value, "startDateTime": stampOf(s.start), "endDateTime": stampOf(s.end), "customKeyIdentifier": nil})
}

func (q *call) removePassword(a *App) {
	var b struct {
		ID string `json:"keyId"`
	}
	if !q.read(&b) {
		return
	}
	n := len(a.secrets)
	a.secrets = slices.DeleteFunc(a.secrets, func(s secret) bool { return s.keyID == b.ID })
	if len(a.secrets) == n {
		q.bad("No credentials found to be removed.")
		return
	}
	q.w.WriteHeader(http.StatusNoContent)
}

// proven checks that the caller holds a key that is registered and valid
// (reference mssp-onboarding §8).
func (q *call) proven(a *App, raw string) bool {
	p, err := parseAssertion(raw)
	now := q.d.now()
	if err == nil {
		from, ok1 := seconds(p.claims.Nbf)
		to, ok2 := seconds(p.claims.Exp)
		if ok1 && ok2 && !now.Before(from.Add(-5*time.Minute)) && !now.After(to) && to.Sub(from) <= 10*time.Minute && p.claims.Aud == resourceIDs["https://graph.windows.net"] && strings.EqualFold(p.claims.Iss, a.record.objectID) {
			if slices.ContainsFunc(a.certs, func(c *x509.Certificate) bool { return !now.After(c.NotAfter) && p.signedBy(c) }) {
				return true
			}
		}
	}
	// What people meet who send a wrong proof.
	q.fail(http.StatusUnauthorized, "Authentication_MissingOrMalformed", "Access Token missing or malformed.")
	return false
}

// addKey adds one certificate to those that are there.
func (q *call) addKey(a *App) {
	var b struct {
		Key      keyBody        `json:"keyCredential"`
		Password *passwordShown `json:"passwordCredential"`
		Proof    string         `json:"proof"`
	}
	if !q.read(&b) || !q.proven(a, b.Proof) {
		return
	}
	c, why := q.parseKey(b.Key)
	if why != "" {
		q.bad(why)
		return
	}
	a.certs = append(a.certs, c)
	a.record.keys[thumbprint(c)] = q.newKey(b.Key)
	q.one(http.StatusOK, "microsoft.graph.keyCredential", q.showKey(a, c, false))
}

func (q *call) removeKey(a *App) {
	var b struct {
		ID    string `json:"keyId"`
		Proof string `json:"proof"`
	}
	if !q.read(&b) || !q.proven(a, b.Proof) {
		return
	}
	n := len(a.certs)
	a.certs = slices.DeleteFunc(a.certs, func(c *x509.Certificate) bool { return a.record.keys[thumbprint(c)].id == b.ID })
	if len(a.certs) == n {
		q.bad("No credentials found to be removed.")
		return
	}
	q.w.WriteHeader(http.StatusNoContent)
}

// maxFederated bounds the federated credentials of an app.
const maxFederated = 20

// federatedCredentials lists, adds and removes trusts in other issuers.
func (q *call) federatedCredentials(a *App, id string) {
	list := a.record.federated
	switch {
	case q.r.Method == http.MethodGet && id == "":
		var out []map[string]any
		for _, f := range list {
			out = append(out, showFederated(f))
		}
		q.list("federatedIdentityCredentials", out)
	case q.r.Method == http.MethodDelete && id != "":
		a.record.federated = slices.DeleteFunc(list, func(f federated) bool { return f.ID == id })
		if len(a.record.federated) == len(list) {
			q.absent(id)
			return
		}
		q.w.WriteHeader(http.StatusNoContent)
	case q.r.Method == http.MethodPost && id == "":
		var f federated
		if !q.read(&f) {
			return
		}
		switch {
		case len(list) >= maxFederated:
			q.bad("FederatedIdentityCredential: No more than 20 allowed.")
		case f.Name == "" || len(f.Name) > 120 || f.Issuer == "" || len(f.Issuer) > 600 || f.Subject == "" || len(f.Subject) > 600 || len(f.Audiences) != 1:
			q.bad("FederatedIdentityCredential has a value that is missing or too long.")
		case slices.ContainsFunc(list, func(o federated) bool {
			return o.Name == f.Name || o.Issuer == f.Issuer && o.Subject == f.Subject
		}):
			q.fail(http.StatusConflict, "Request_MultipleObjectsWithSameKeyValue", "FederatedIdentityCredential with the same name, or issuer and subject, already exists.")
		default:
			f.ID, f.made = newGUID(), q.d.born()
			a.record.federated = append(list, f)
			q.one(http.StatusCreated, "federatedIdentityCredentials", showFederated(f))
		}
	default:
		q.wrongMethod()
	}
}

func showFederated(f federated) map[string]any {
	return map[string]any{"id": f.ID, "name": f.Name, "issuer": f.Issuer, "subject": f.Subject, "audiences": f.Audiences, "description": f.Description}
}

// owners lists who owns an app, and adds one of the tenant's users.
func (q *call) owners(a *App, segment string) {
	switch {
	case q.r.Method == http.MethodGet && segment == "":
		var out []map[string]any
		for _, u := range a.record.owners {
			out = append(out, map[string]any{"@odata.type": "#microsoft.graph.user", "id": objectID(q.t.ID, u), "userPrincipalName": u, "displayName": u})
		}
		q.list("directoryObjects", out)
	case q.r.Method == http.MethodPost && segment == "$ref":
		var b struct {
			ID string `json:"@odata.id"`
		}
		if !q.read(&b) {
			return
		}
		for _, u := range q.t.names() {
			if strings.HasSuffix(b.ID, "/"+objectID(q.t.ID, u)) {
				a.record.owners = append(a.record.owners, u)
				q.w.WriteHeader(http.StatusNoContent)
				return
			}
		}
		q.absent(b.ID)
	default:
		q.wrongMethod()
	}
}
