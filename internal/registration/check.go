package registration

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"drover/internal/expiry"
)

// Record is what drover made of a registration. It holds no secret. What an app
// has beyond it was made by others.
type Record struct {
	Made        time.Time    `json:"made"`
	Home        string       `json:"home"` // tenant in which it is registered
	Cloud       string       `json:"cloud"`
	AppID       string       `json:"app_id"`
	ObjectID    string       `json:"object_id"`
	Name        string       `json:"name"`
	Audience    string       `json:"audience"`
	Credentials []string     `json:"credentials"` // key IDs
	Federated   []Federated  `json:"federated"`
	Redirects   []string     `json:"redirects"`
	Permissions []Permission `json:"permissions"`
	Owners      []string     `json:"owners"` // object IDs of those that were there when it had been made
}

// Finding is what a check says of one thing.
type Finding struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Warn bool   `json:"warn"` // with OK: it works, and will not for long, or somebody should look
	Says string `json:"says"`
	Hint string `json:"hint,omitempty"`
}

// Check compares an app with what drover made of it, and says when each of its
// credentials ends. certs are those that the config uses.
func Check(a *Application, perms []Permission, r Record, certs []*x509.Certificate, now time.Time) (list []Finding) {
	list = append(list, credentials(a, r, certs, now)...)
	for _, f := range a.Federated {
		ours := slices.ContainsFunc(r.Federated, func(o Federated) bool { return o.Issuer == f.Issuer && o.Subject == f.Subject })
		list = append(list, own("federated credential "+f.Name, ours, "trusts "+f.Issuer+" for the subject "+f.Subject, "whoever holds a token of that issuer for that subject is the app: delete it in the portal if nobody needs it"))
	}
	for _, o := range a.Owners {
		list = append(list, own("owner "+firstOf(o.UPN, o.Name, o.ID), slices.Contains(r.Owners, o.ID), "may change the app and its credentials", "an owner can add a credential and so read every customer: remove who need not be one"))
	}
	for _, u := range a.Redirects() {
		list = append(list, own("redirect URI "+u, slices.Contains(r.Redirects, u), "sign-ins and consent lead there", "a sign-in's code goes to that address: remove it if it is not yours"))
	}
	for _, u := range r.Redirects {
		if !slices.Contains(a.Redirects(), u) {
			list = append(list, Finding{What: "redirect URI " + u, Says: "is not registered any more", Hint: "add it again under Authentication: sign-ins that name it are refused (AADSTS50011)"})
		}
	}
	list = append(list, permissions(perms, r)...)
	if a.Audience != r.Audience {
		list = append(list, Finding{What: "audience", Says: "is " + a.Audience + ", and was made as " + r.Audience, Hint: "with " + OneTenant + " no customer's tenant knows the app (AADSTS700016): set it again under Authentication"})
	} else {
		list = append(list, Finding{What: "audience", OK: true, Says: a.Audience})
	}
	return list
}

// own says of a thing whether drover made it.
func own(what string, ours bool, says, hint string) Finding {
	if ours {
		return Finding{What: what, OK: true, Says: says}
	}
	return Finding{What: what, Says: says + "; drover did not make it", Hint: hint}
}

func firstOf(names ...string) string {
	for _, n := range names {
		if n != "" {
			return n
		}
	}
	return "without a name"
}

// credentials says of each secret and certificate when it ends and who made it,
// and of each certificate of the config whether the app has it.
func credentials(a *Application, r Record, certs []*x509.Certificate, now time.Time) (list []Finding) {
	one := func(kind, name, id string, until time.Time, ours bool) {
		what := strings.TrimSpace(kind + " " + name + " (key ID " + id + ")")
		i := expiry.Item{What: what, ID: id, Until: until, Days: expiry.Credential}
		f := own(what, ours, i.Says(now)[len(what)+1:], "who holds it can read every customer: remove it in the portal if nobody needs it")
		if _, soon := i.Reached(now); soon && f.OK {
			f.OK, f.Warn, f.Hint = !i.Ended(now), !i.Ended(now), "renew it: drover app rotate"
		}
		list = append(list, f)
	}
	for _, k := range a.Keys {
		ours := slices.Contains(r.Credentials, k.ID) || slices.ContainsFunc(certs, k.Is)
		one("certificate", k.Name, k.ID, k.End, ours)
	}
	for _, p := range a.Passwords {
		one("client secret", p.Name, p.ID, p.End, slices.Contains(r.Credentials, p.ID))
	}
	for _, c := range certs {
		if !slices.ContainsFunc(a.Keys, func(k Key) bool { return k.Is(c) }) {
			list = append(list, Finding{What: "certificate of the config", Says: fmt.Sprintf("the one that is valid from %s is not registered with the app", c.NotBefore.UTC().Format(time.DateOnly)), Hint: "Entra refuses it (AADSTS700027): drover app rotate"})
		}
	}
	if len(a.Keys)+len(a.Passwords)+len(a.Federated) == 0 {
		list = append(list, Finding{What: "credentials", Says: "the app has none", Hint: "drover app rotate"})
	}
	return list
}

// permissions compares what the app asks for.
func permissions(perms []Permission, r Record) (list []Finding) {
	for _, p := range perms {
		ours := slices.Contains(r.Permissions, p)
		f := own("permission "+p.String(), ours, "is asked for", "a customer who consents grants it: remove it under API permissions")
		if !p.Reads() {
			f.OK, f.Says = false, "is more than reading"
			if !ours {
				f.Says += "; drover did not ask for it"
			}
		}
		list = append(list, f)
	}
	for _, p := range r.Permissions {
		if !slices.Contains(perms, p) {
			list = append(list, Finding{What: "permission " + p.String(), Says: "is not asked for any more", Hint: "customers who consent from now on do not grant it: add it again under API permissions"})
		}
	}
	return list
}
