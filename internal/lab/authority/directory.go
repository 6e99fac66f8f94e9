// Package authority plays Entra: tenants, app registrations and their
// credentials, consents, the sign-in pages, and the v1 and v2 token endpoints
// with the documented refusals (reference entra-oauth). Tokens are real signed
// JWTs, which the pretend APIs check. What no document settles is a switch.
package authority

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"maps"
	mrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// App is an app registration.
type App struct {
	ClientID     string   `json:"client_id"`
	MultiTenant  bool     `json:"multi_tenant"`
	Public       bool     `json:"public"` // has no credential, and may send none
	HomeTenant   string   `json:"home_tenant"`
	RedirectURIs []string `json:"redirect_uris"`
	Roles        []string `json:"roles"`     // what a full grant gives the app
	Scopes       []string `json:"scopes"`    // what it gives a signed-in user; SecurityAlert.Read.All and User.Read if empty
	Resources    []string `json:"resources"` // audiences in its registration; any if empty
	Disabled     bool     `json:"disabled"`
	secrets      []secret
	certs        []*x509.Certificate
	record       record // what Graph shows besides
}

func (a *App) scopes() []string {
	if len(a.Scopes) == 0 {
		return []string{"SecurityAlert.Read.All", "User.Read"}
	}
	return a.Scopes
}

type secret struct {
	hash  [32]byte
	end   time.Time
	keyID string
	name  string // displayName
	hint  string // the value's first three characters
	start time.Time
	made  birth
}

// Tenant is a directory.
type Tenant struct {
	ID, Domain string
	consents   map[string]consent    // by client ID
	roles      map[string][]assigned // the same: grants one by one; absent: all of the registration's
	mssp       map[Listing]listed
	users      map[string]bool // name → may consent for all
	policy     int             // what Conditional Access answers; 0: nothing
	region     Region
	shared     map[string]map[string][]string // by client ID and API: what users may by the app; absent: all of the registration's
}

// Region is where a tenant lives, as its discovery document says: Scope EU, NA,
// USGov, …; Sub GCC, DODCON (GCC High), DOD or nothing.
type Region struct {
	Scope string `json:"scope"`
	Sub   string `json:"sub_scope,omitempty"`
}

// Directory holds everything that Entra knows. Safe for concurrent use, but
// for the switches: change them by Switch once requests are under way.
type Directory struct {
	Clock func() time.Time
	Switches
	Partner PartnerSwitches

	mu       sync.Mutex
	tenants  map[string]*Tenant
	domains  map[string]string
	apps     map[string]*App
	refresh  map[[32]byte]*refresh
	codes    map[string]*code
	devices  map[string]*device // by device code
	sessions map[string]string  // browser session → user
	jtis     map[string]time.Time
	verified map[string]bool         // access tokens whose signature was checked
	asked    map[string][]time.Time  // by app, and by user grant
	issuers  map[string]*otherIssuer // of other identity providers, by name
	machine  map[string]Identity     // managed identities, by client ID
	gdap     gdap
	families int
	refusals int
	key      *rsa.PrivateKey
	kid      string
	rng      *mrand.Rand
}

// NewDirectory returns an empty directory.
func NewDirectory(clock func() time.Time) (*Directory, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return newDirectory(clock, key), nil
}

func newDirectory(clock func() time.Time, key *rsa.PrivateKey) *Directory {
	sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(&key.PublicKey))
	return &Directory{Clock: clock, tenants: make(map[string]*Tenant), domains: make(map[string]string), apps: make(map[string]*App), refresh: make(map[[32]byte]*refresh),
		codes: make(map[string]*code), devices: make(map[string]*device), sessions: make(map[string]string), jtis: make(map[string]time.Time), verified: make(map[string]bool), asked: make(map[string][]time.Time), issuers: make(map[string]*otherIssuer), machine: make(map[string]Identity),
		key: key, kid: hex.EncodeToString(sum[:10]), rng: mrand.New(mrand.NewPCG(1, 11))}
}

// now is Entra's own clock.
func (d *Directory) now() time.Time { return d.Clock().Add(time.Duration(d.Skew)) }

// AddTenant adds a directory with an admin of its own.
func (d *Directory) AddTenant(id, domain string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tenants[id] = &Tenant{ID: id, Domain: domain, consents: make(map[string]consent), roles: make(map[string][]assigned), mssp: make(map[Listing]listed), users: map[string]bool{"admin@" + domain: true}, region: Region{Scope: "EU"}}
	d.domains[domain] = id
}

// AddUser adds a member, or a guest whose home is the tenant of the domain
// behind the @. An admin may consent for everybody.
func (d *Directory) AddUser(tenant, name string, admin bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tenants[tenant].users[name] = admin
}

// AddApp adds a registration, or changes one and leaves its credentials.
func (d *Directory) AddApp(a App) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.app(a.ClientID); old != nil {
		a.secrets, a.certs, a.record = old.secrets, old.certs, old.record
	}
	a.record.complete(&a)
	d.apps[strings.ToLower(a.ClientID)] = &a
}

// AddSecret gives an app a client secret that is good until end. It returns
// the secret's ID, which people paste by mistake.
func (d *Directory) AddSecret(client, value string, end time.Time) (keyID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.app(client)
	keyID = newGUID()
	a.secrets = append(a.secrets, secret{hash: sha256.Sum256([]byte(value)), end: end, keyID: keyID, hint: value[:min(3, len(value))], start: d.Clock()})
	return keyID
}

// RemoveSecret takes a secret back, by its ID.
func (d *Directory) RemoveSecret(client, keyID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.app(client)
	a.secrets = slices.DeleteFunc(a.secrets, func(s secret) bool { return s.keyID == keyID })
}

// Trust gives an app a federated credential, as Graph does. It is not known
// everywhere at once.
func (d *Directory) Trust(client, issuer, subject, audience string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.app(client)
	a.record.federated = append(a.record.federated, federated{ID: newGUID(), Name: newGUID(), Issuer: issuer, Subject: subject, Audiences: []string{audience}, made: d.born()})
}

// AddCertificate registers a certificate for an app.
func (d *Directory) AddCertificate(client string, c *x509.Certificate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.app(client)
	a.certs = append(a.certs, c)
}

// RemoveCertificate takes a certificate back.
func (d *Directory) RemoveCertificate(client string, c *x509.Certificate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.app(client)
	a.certs = slices.DeleteFunc(a.certs, c.Equal)
}

// Disable switches an app off everywhere, or on again.
func (d *Directory) Disable(client string, off bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.app(client).Disabled = off
}

// Restrict has a tenant's Conditional Access answer with an AADSTS number
// (53003, 50076 …), or lets everybody in again with 0. A sign-in on the page
// satisfies 50074, 50076, 50078 and 50079, which ask for a second factor.
func (d *Directory) Restrict(tenant string, code int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tenants[tenant].policy = code
}

// Settle says where a tenant lives; EU unless something else is said.
func (d *Directory) Settle(tenant string, at Region) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tenants[tenant].region = at
}

// app finds a registration; letter case does not matter in a GUID.
func (d *Directory) app(client string) *App { return d.apps[strings.ToLower(client)] }

// AddRedirect registers one more redirect URI of an app.
func (d *Directory) AddRedirect(client, uri string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.app(client); a != nil {
		a.RedirectURIs = append(slices.Clone(a.RedirectURIs), uri)
	}
}

// find resolves the tenant segment of a URL: a GUID or a domain.
func (d *Directory) find(segment string) *Tenant {
	if t := d.tenants[segment]; t != nil {
		return t
	}
	segment = strings.ToLower(segment)
	if id, ok := d.domains[segment]; ok {
		segment = id
	}
	return d.tenants[segment]
}

// sorted lists the tenants by domain.
func (d *Directory) sorted() []*Tenant {
	return slices.SortedFunc(maps.Values(d.tenants), func(a, b *Tenant) int { return strings.Compare(a.Domain, b.Domain) })
}

// home is the tenant that a user belongs to.
func (d *Directory) home(user string) *Tenant {
	_, domain, _ := strings.Cut(user, "@")
	return d.find(domain)
}

// shared are the segments that name no tenant.
func shared(segment string) bool {
	return segment == "common" || segment == "organizations" || segment == "consumers"
}

// objectID is the stable ID of a user or service principal in a tenant.
func objectID(tenant, name string) string {
	sum := sha256.Sum256([]byte(tenant + "\x00" + name))
	return guid(sum[:16])
}
