// Package authority plays Entra: tenants, app registrations and their
// credentials, consents, and the v1 and v2 token endpoints with the documented
// refusals (reference entra-oauth). Tokens are real signed JWTs, which the
// pretend APIs check.
package authority

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"sync"
	"time"
)

// Consent is what a tenant has agreed to (reference entra-oauth §11.3).
type Consent int

// The states of consent.
const (
	None    Consent = iota // no service principal: 7000229
	Known                  // a service principal without a grant: a token without roles
	Granted                // roles
)

// App is an app registration.
type App struct {
	ClientID     string
	MultiTenant  bool
	HomeTenant   string
	RedirectURIs []string
	Roles        []string // what a full grant gives
	Disabled     bool
	secrets      []secret
	certs        []*x509.Certificate
}

type secret struct {
	hash [32]byte
	end  time.Time
}

// Tenant is a directory.
type Tenant struct {
	ID, Domain string
	consents   map[string]Consent // by client ID
	mssp       map[string]bool    // apps that the portal's MSSP tab lists
	users      map[string]bool
}

// refresh is a refresh token that was given out.
type refresh struct {
	client, tenant, user string
	issued               time.Time
	revoked              bool
	family               int
}

// code is an authorization code.
type code struct {
	client, tenant, user, redirect, challenge, method, resource string
	issued                                                      time.Time
	used                                                        bool
}

// Directory holds everything that Entra knows. Safe for concurrent use.
type Directory struct {
	Clock func() time.Time

	mu       sync.Mutex
	tenants  map[string]*Tenant
	domains  map[string]string
	apps     map[string]*App
	refresh  map[[32]byte]*refresh
	codes    map[string]*code
	jtis     map[string]bool
	families int
	key      *rsa.PrivateKey
	kid      string

	// Switches.
	ReuseKillsFamily bool // a refresh token that comes twice revokes its successors
	NoNewRefresh     bool // refreshing gives no new refresh token
	RefuseReplay     bool // a client assertion's jti works once
	Life             time.Duration
}

// NewDirectory returns an empty directory.
func NewDirectory(clock func() time.Time) (*Directory, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(&key.PublicKey))
	return &Directory{Clock: clock, tenants: make(map[string]*Tenant), domains: make(map[string]string), apps: make(map[string]*App), refresh: make(map[[32]byte]*refresh),
		codes: make(map[string]*code), jtis: make(map[string]bool), key: key, kid: hex.EncodeToString(sum[:10])}, nil
}

// AddTenant adds a directory.
func (d *Directory) AddTenant(id, domain string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tenants[id] = &Tenant{ID: id, Domain: domain, consents: make(map[string]Consent), mssp: make(map[string]bool), users: map[string]bool{"admin@" + domain: true}}
	d.domains[domain] = id
}

// AddApp adds a registration.
func (d *Directory) AddApp(a App) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.apps[a.ClientID] = &a
}

// AddSecret gives an app a client secret that is good until end.
func (d *Directory) AddSecret(client, value string, end time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.apps[client]
	a.secrets = append(a.secrets, secret{sha256.Sum256([]byte(value)), end})
}

// AddCertificate registers a certificate for an app.
func (d *Directory) AddCertificate(client string, c *x509.Certificate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.apps[client]
	a.certs = append(a.certs, c)
}

// Consent sets what a tenant has agreed to for an app.
func (d *Directory) Consent(tenant, client string, c Consent) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tenants[tenant].consents[client] = c
}

// Disable switches an app off everywhere, or on again.
func (d *Directory) Disable(client string, off bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.apps[client].Disabled = off
}

// Authorise lists an app in a tenant's MSSP tab, or takes it off.
func (d *Directory) Authorise(tenant, client string, on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tenants[tenant].mssp[client] = on
}

// Authorised reports whether the MSSP tab lists the app.
func (d *Directory) Authorised(tenant, client string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tenants[tenant]
	return t != nil && t.mssp[client]
}

// GiveRefreshToken makes a refresh token as a sign-in would have.
func (d *Directory) GiveRefreshToken(tenant, client, user string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.families++
	return d.newRefresh(&refresh{client: client, tenant: tenant, user: user, family: d.families})
}

func (d *Directory) newRefresh(r *refresh) string {
	raw := "0.AX" + randomText(40)
	r.issued = d.Clock()
	d.refresh[sha256.Sum256([]byte(raw))] = r
	return raw
}

// RevokeRefreshTokens ends all refresh tokens of a tenant.
func (d *Directory) RevokeRefreshTokens(tenant string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.refresh {
		if r.tenant == tenant {
			r.revoked = true
		}
	}
}

// find resolves the tenant segment of a URL: a GUID or a domain.
func (d *Directory) find(segment string) *Tenant {
	if id, ok := d.domains[segment]; ok {
		segment = id
	}
	return d.tenants[segment]
}

func thumbs(c *x509.Certificate) (s1, s256 []byte) {
	a, b := sha1.Sum(c.Raw), sha256.Sum256(c.Raw) //nolint:gosec // x5t is SHA-1 by definition
	return a[:], b[:]
}
