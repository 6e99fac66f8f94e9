package entra

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"drover"
)

// identity are the claims of an ID token that are looked at.
type identity struct {
	claims
	Nonce     string  `json:"nonce"`
	Exp       float64 `json:"exp"`
	Preferred string  `json:"preferred_username"` // v2
	UPN       string  `json:"upn"`                // v1
	Name      string  `json:"name"`
	OID       string  `json:"oid"`
}

// idLeeway is how far Entra's clock and ours may differ where a token ends.
const idLeeway = 5 * time.Minute

// maxPerson bounds the name that is shown.
const maxPerson = 256

// ErrWrongTenant is the cause of a sign-in by somebody of another tenant than the
// one that was named.
var ErrWrongTenant = errors.New("wrong tenant")

// consumers is the directory of personal Microsoft accounts.
const consumers = drover.TenantID("9188040d-6c67-4c5b-b112-36a304b66dad")

// whose checks the ID token of a sign-in and says who signed in: aud is our app,
// iss this cloud's and of the same tenant as tid, the nonce ours, and it has not
// ended. The tenant must be the one that was named, if one was; any other ends the
// sign-in.
// The signature is not checked: the token came from the token endpoint itself
// over verified TLS (OpenID Connect Core 3.1.3.7, 6), and v1 signs none.
func (r request) whose(g grant, nonce drover.Secret, now time.Time) (drover.Person, error) {
	bad := func(hint, why string) (drover.Person, error) {
		return drover.Person{}, r.stop(hint, errors.New(why))
	}
	wrong := func(hint, why string) (drover.Person, error) {
		return drover.Person{}, r.stop(hint, fmt.Errorf("%w: %s", ErrWrongTenant, why))
	}
	const again = "nothing was kept; sign in again, and if it stays so check the cloud's authority in the config"
	c, ok := readIdentity(g.id)
	if !ok {
		return bad(again, "the answer does not say who signed in")
	}
	tid, err := drover.ParseTenantID(c.TID)
	aud := c.audiences()
	switch {
	case err != nil:
		return bad(again, "the ID token names no tenant")
	case len(aud) != 1 || !strings.EqualFold(aud[0], r.app.ClientID):
		return bad(again, "wrong audience: the ID token is for another app")
	case !r.cloud.issues(c.Iss, tid):
		return bad(again, "wrong issuer: the ID token is not of this cloud, or of another tenant than it says")
	case !nonce.Empty() && !nonce.Equal(drover.NewSecret(c.Nonce)) && (c.Nonce != "" || !r.v1()):
		return bad(again, "the ID token belongs to another sign-in")
	case !now.Before(time.Unix(int64(c.Exp), 0).Add(idLeeway)):
		return bad("check this machine's clock (NTP), and sign in again", "the ID token has ended")
	case r.anyone && tid == consumers:
		return wrong("nothing was kept: sign in with a work account of the customer's", "a personal account belongs to no customer")
	case tid != r.tenant.ID && !r.anyone && (len(r.scopes) == 0 || drover.IsGUID(string(r.tenant.ID))): // staff may name their own directory by a domain, which only Entra knows
		return wrong("nothing was kept: sign in with an account of the customer's own directory, or check the tenant's ID", "whoever signed in is of "+string(tid))
	}
	if access, ok := readClaims(g.access); ok && access.TID != "" && !strings.EqualFold(access.TID, string(tid)) {
		return bad(again, "wrong tenant: the access token is for another one")
	}
	who := drover.Person{Tenant: tid, Name: c.Preferred}
	if drover.IsGUID(c.OID) {
		who.ID = strings.ToLower(c.OID)
	}
	for _, name := range []string{c.UPN, c.Name} {
		if who.Name == "" {
			who.Name = name
		}
	}
	if len(who.Name) > maxPerson {
		who.Name = who.Name[:maxPerson]
	}
	who.Name = strings.ToValidUTF8(who.Name, "�")
	return who, nil
}

func readIdentity(token drover.Secret) (c identity, ok bool) {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return c, false
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	return c, err == nil && json.Unmarshal(b, &c) == nil
}

// issues reports whether an issuer is this cloud's, for a tenant: of v2 its
// authority, of v1 the security token service behind it. A cloud that is not
// Microsoft's may issue as the public one does.
func (c Cloud) issues(iss string, tenant drover.TenantID) bool {
	list := []string{c.Authority + "/" + string(tenant) + "/v2.0", c.STS + "/" + string(tenant) + "/"}
	if all := BuiltIn(); all[c.Name].Name == "" {
		list = append(list, all[DefaultCloud].Authority+"/"+string(tenant)+"/v2.0")
	}
	for _, good := range list {
		if strings.EqualFold(iss, good) {
			return true
		}
	}
	return false
}
