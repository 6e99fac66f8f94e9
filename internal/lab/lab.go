// Package lab is a pretend Microsoft cloud for an MSSP: customers with their
// Entra tenants, Graph alerts and incidents, alerts of Defender for Endpoint,
// SIEM detections, the portal's MSSP list, and a pretend Splunk, behind one
// listener with virtual hosts. It deals faults and
// writes down what it truly showed. It imports nothing of drover: a misreading
// must not sit on both sides. docs/lab.md tells how to point any client at it.
package lab

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"drover/internal/lab/api"
	"drover/internal/lab/authority"
	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
	"drover/internal/lab/keyvault"
	"drover/internal/lab/truth"
)

// Options of a Lab.
type Options struct {
	Seed      uint64
	Clock     func() time.Time // time.Now by default
	Customers int              // 8 by default
	// Story is each customer's; ID is filled in. It is called with the
	// customer's number.
	Story func(i int) estate.Options
	// Data serves real-shaped rows instead: one customer for each tenant that
	// they name, and one for those that name none.
	Data *estate.Data
	// Truth is the log of what was shown; nil: none. One that can be read back
	// (io.ReaderAt) is also served at /lab/truth.
	Truth io.Writer
	// Switches of the APIs; the zero value limits nothing.
	Switches api.Switches
	// Partner makes the MSSP a partner of all customers, none of which has
	// consented to anything.
	Partner bool
	// Splunk serves /services/collector and the host splunk.lab.test.
	Splunk http.Handler
	// Tap, if set, is put before everything that is served.
	Tap func(http.Handler) http.Handler
}

// dataApart is how long after the first the second of two states of one alert
// shows.
const dataApart = 5 * time.Second

// Customer is one of the lab's.
type Customer struct {
	Name   string `json:"name"`
	Tenant string `json:"tenant"`
	Domain string `json:"domain"`
	Region string `json:"region"` // where its data lies: eu, us, uk
}

// Lab is the whole.
type Lab struct {
	opt                      Options
	ca                       *authorityCert
	directory                *authority.Directory
	auth                     *authority.Server
	graph                    http.Handler // applications and servicePrincipals
	estate                   *estate.Estate
	faults                   *fault.Dealer
	truth                    *truth.Log
	api                      *api.API
	keys                     *keyvault.Vault
	customers                []Customer
	appID                    string
	publicID                 string
	secret                   string
	onboardID, onboardSecret string
	certPEM                  []byte
	keyPEM                   []byte
	server                   *http.Server
	desks                    http.Handler
	made                     atomic.Int64 // alerts made by hand
}

// HomeTenant is the MSSP's own directory.
const HomeTenant = "99999999-0000-4000-8000-000000000001"

// AdminAppID is Microsoft Graph Command Line Tools, Microsoft's own app with
// which admins sign in to Graph. The MSSP's directory has consented to it here,
// the customers' have not.
const AdminAppID = "14d82eec-204b-4c2f-b7e8-296a70dab67e"

// microsoftTenant is where Microsoft's own apps are registered.
const microsoftTenant = "f8cdef31-a31e-4b4a-93e4-5f571e91255a"

// regions of the SIEM API, dealt to the customers in turn.
var regions = []string{"eu", "us", "uk"}

// region is where a tenant's data lies.
func (l *Lab) region(tenant string) string {
	for i := range l.customers {
		if l.customers[i].Tenant == tenant {
			return l.customers[i].Region
		}
	}
	return ""
}

var names = []string{"contoso", "fabrikam", "northwind", "tailspin", "wingtip", "adatum", "litware", "proseware", "woodgrove", "lucerne"}

// New builds the cloud; it listens nowhere yet.
func New(opt Options) (*Lab, error) {
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	if opt.Customers <= 0 {
		opt.Customers = 8
	}
	l := &Lab{opt: opt}
	var err error
	if l.ca, err = newCA(); err != nil {
		return nil, err
	}
	if l.directory, err = authority.NewDirectory(opt.Clock); err != nil {
		return nil, err
	}
	l.truth = truth.New(opt.Truth, opt.Clock)
	l.truth.Event("start", "seed", opt.Seed)
	l.faults = fault.New(opt.Seed, opt.Clock, l.truth.Event)
	l.estate = estate.New(opt.Seed, opt.Clock(), func(tenant, source string, r *estate.Row) {
		if l.truth.On() {
			l.truth.Event("issued", "tenant", tenant, "source", source, "id", r.ID, "rev", r.Rev, "changed", r.Text, "created", estate.Text(r.Created), "visible_at", r.Visible.UTC(), "content", l.estate.Content(source, r))
		}
	})
	if err := l.people(); err != nil {
		return nil, err
	}
	l.auth = authority.NewServer(authority.Options{Directory: l.directory, Faults: l.faults, Resource: resource, Grants: grants,
		Note: func(tenant, client, grant string, status, code int) {
			l.truth.Event("request", "n", l.truth.Request(), "tenant", tenant, "source", "token", "status", status, "rows", 0, "fault", fmt.Sprint(code), "query", grant)
		}})
	l.graph = l.directory.Graph(graphAccepts)
	l.api = api.New(api.Options{Estate: l.estate, Faults: l.faults, Truth: l.truth, Clock: opt.Clock, Authorised: l.directory.Authorised,
		Verify: func(raw string) (api.Caller, error) {
			c, err := l.directory.Verify(raw)
			return api.Caller{Tenant: c.TenantID, App: c.AppID, Audience: c.Audience, Roles: c.Roles, Scopes: l.directory.Reads(c), Scoped: l.directory.Scoped(c)}, err
		},
		Region:        l.region,
		GraphAudience: graphAccepts,
		MDEAudience:   mdeAccepts,
		SIEMAudience: func(_, audience string) bool {
			return audience == siemAudience || audience == siemID || audience == sevilleAudience
		},
		Switches: opt.Switches,
	})
	l.keys = keyvault.New(keyvault.Options{Clock: opt.Clock, Tenant: HomeTenant, App: l.appID, Verify: func(raw string) (keyvault.Caller, error) {
		c, err := l.directory.Verify(raw)
		return keyvault.Caller{Tenant: c.TenantID, App: c.AppID, Audience: c.Audience}, err
	}})
	l.desks = l.desk()
	served := l.Handler()
	if opt.Tap != nil {
		served = opt.Tap(served)
	}
	l.server = &http.Server{Handler: served, ReadHeaderTimeout: 30 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: l.ca.leaf, GetConfigForClient: l.badTLS, NextProtos: protocols}}
	return l, nil
}

// people makes the MSSP's app and the customers.
func (l *Lab) people() error {
	rng := rand.New(rand.NewPCG(l.opt.Seed, 5))
	l.appID = guid(rng)
	l.secret = fmt.Sprintf("lab~%016x%016x", rng.Uint64(), rng.Uint64())
	l.directory.AddTenant(HomeTenant, "mssp.example")
	l.directory.AddApp(authority.App{ClientID: l.appID, MultiTenant: true, HomeTenant: HomeTenant, Roles: []string{"SecurityAlert.Read.All", "SecurityIncident.Read.All", "Alert.Read.All"},
		RedirectURIs: []string{"http://localhost", "http://localhost:8400/callback", "https://SiemMsspConnector"}})
	l.directory.AddSecret(l.appID, l.secret, l.opt.Clock().AddDate(1, 0, 0))
	l.publicID = guid(rand.New(rand.NewPCG(l.opt.Seed, 6)))
	l.directory.AddApp(authority.App{ClientID: l.publicID, MultiTenant: true, Public: true, HomeTenant: HomeTenant, RedirectURIs: []string{"http://localhost", "http://127.0.0.1"}})
	l.directory.AddApp(authority.App{ClientID: AdminAppID, MultiTenant: true, Public: true, HomeTenant: microsoftTenant, RedirectURIs: []string{"http://localhost"},
		Scopes: []string{"User.Read", "Application.Read.All", "Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All", "DelegatedPermissionGrant.ReadWrite.All", "Directory.Read.All"}})
	l.directory.Consent(HomeTenant, AdminAppID, authority.Delegated)
	cert, certPEM, keyPEM, err := appCertificate()
	if err != nil {
		return fmt.Errorf("make the app's certificate: %w", err)
	}
	l.certPEM, l.keyPEM = certPEM, keyPEM
	l.directory.AddCertificate(l.appID, cert)
	homes := []string{""}
	if d := l.opt.Data; d != nil {
		homes = append(homes, d.Tenants()...)
		l.opt.Customers = len(homes)
		l.opt.Story = func(i int) estate.Options {
			return estate.Options{ID: homes[i], SIEM: true, Incidents: true, MDE: true}
		}
	}
	for i := range l.opt.Customers {
		c := Customer{Name: names[i%len(names)], Tenant: guid(rng), Region: regions[i%len(regions)]}
		if i >= len(names) {
			c.Name = fmt.Sprintf("%s-%d", c.Name, i/len(names))
		}
		c.Domain = c.Name + ".example"
		story := estate.Options{Backlog: 100, Horizon: time.Hour}
		if l.opt.Story != nil {
			story = l.opt.Story(i)
		}
		if story.ID != "" {
			c.Tenant = story.ID
		}
		story.ID = c.Tenant
		l.directory.AddTenant(c.Tenant, c.Domain)
		l.directory.Consent(c.Tenant, l.appID, authority.Granted)
		l.directory.Consent(c.Tenant, l.publicID, authority.Delegated)
		l.directory.Authorise(c.Tenant, l.appID, true)
		l.truth.Event("tenant", "tenant", c.Tenant, "customer", c.Name)
		l.estate.Add(story)
		if l.opt.Data != nil {
			l.estate.Serve(l.opt.Data, c.Tenant, homes[i], dataApart)
		}
		l.customers = append(l.customers, c)
	}
	if l.opt.Partner {
		l.partner()
	}
	return nil
}

func guid(r *rand.Rand) string {
	a, b := r.Uint64(), r.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>52, b&0xffffffffffff)
}

// Audiences of the resources.
const (
	graphAudience   = "https://graph.microsoft.com"
	siemAudience    = "https://graph.windows.net"
	sevilleAudience = "https://WDATPAlertExport.Seville.onmicrosoft.com"
	// in tokens of version 2
	graphID = "00000003-0000-0000-c000-000000000000"
	siemID  = "00000002-0000-0000-c000-000000000000"
)

// national are the clouds' own Graph hosts: a token of one is none in another.
var national = []string{graphAudience, "https://graph.microsoft.us", "https://dod-graph.microsoft.us"}

// resource maps what is asked for to the audience of the token.
func resource(uri string) (string, bool) {
	uri = strings.TrimSuffix(uri, "/")
	switch {
	case uri == graphID:
		return graphAudience, true
	case uri == centerAudience, uri == centerID:
		return centerAudience, true
	case uri == mdeID:
		return mdeAudience, true
	case uri == xdrID:
		return xdrAudience, true
	case uri == mdeAudience, uri == mdeOldAudience, uri == xdrAudience, uri == mdeGCC, uri == mdeGCCHigh, isLabHost(uri, "mde"):
		return uri, true
	case slices.Contains(national, uri), uri == keyvault.Audience, uri == siemAudience, uri == sevilleAudience, isLabHost(uri, "graph"):
		return uri, true
	}
	return "", false
}

// graphAccepts reports whether Graph at a host takes tokens for an audience:
// one of the real hosts its own, any other what is for Graph at all.
func graphAccepts(host, audience string) bool {
	if at := "https://" + bare(host); slices.Contains(national, at) {
		return audience == at || at == graphAudience && audience == graphID
	}
	return audience == graphID || slices.Contains(national, audience) || isLabHost(audience, "graph")
}

// bare is a host without its port, in lower case.
func bare(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(host)
}

// isLabHost reports whether a URI names one of the lab's own hosts, on any
// port, or the machine itself.
func isLabHost(uri, role string) bool {
	host := bare(strings.TrimPrefix(uri, "https://"))
	return host == role+".lab.test" || host == "localhost" || host == "127.0.0.1"
}

// Customers lists the customers.
func (l *Lab) Customers() []Customer { return l.customers }

// AppID is the MSSP's app.
func (l *Lab) AppID() string { return l.appID }

// PublicAppID is an app of the MSSP that has no credential: for people who sign
// in by browser or device code.
func (l *Lab) PublicAppID() string { return l.publicID }

// AppSecret is the client secret of AppID.
func (l *Lab) AppSecret() string { return l.secret }

// AppCertificate is AppID's certificate and key, as PEM.
func (l *Lab) AppCertificate() (certPEM, keyPEM []byte) { return l.certPEM, l.keyPEM }

// ServerCertificate makes a certificate and key for a server on localhost that
// clients of the lab trust too, as PEM.
func (l *Lab) ServerCertificate() (certPEM, keyPEM []byte, err error) { return l.ca.server() }

// CAPEM is the certificate that clients must trust.
func (l *Lab) CAPEM() []byte { return l.ca.pem }

// Faults deals faults.
func (l *Lab) Faults() *fault.Dealer { return l.faults }

// Directory is what Entra knows.
func (l *Lab) Directory() *authority.Directory { return l.directory }

// IdentityService plays the identity service of the machine that a client runs
// on; at is this lab's address, header the secret of App Service.
func (l *Lab) IdentityService(at, header string) http.Handler {
	return l.auth.IdentityService(at, header)
}

// Estate is what the customers have.
func (l *Lab) Estate() *estate.Estate { return l.estate }

// API serves Graph, Defender for Endpoint and the SIEM API.
func (l *Lab) API() *api.API { return l.api }

// KeyVault is a Key Vault of the MSSP's; AppID may use its keys.
func (l *Lab) KeyVault() *keyvault.Vault { return l.keys }

// Truth is the log of what was shown.
func (l *Lab) Truth() *truth.Log { return l.truth }

// End writes the newest visible states to the truth log: what is owed at the
// end of a run.
func (l *Lab) End() {
	l.estate.Newest(l.opt.Clock(), func(tenant, source string, r *estate.Row) {
		l.truth.Event("newest", "tenant", tenant, "source", source, "id", r.ID, "rev", r.Rev)
	})
	l.truth.Event("end")
}

// Handler serves all virtual hosts.
func (l *Lab) Handler() http.Handler { return http.HandlerFunc(l.route) }

// route finds the service by host, or by path where the host is the machine.
// The names of the real hosts are known as well as the lab's.
func (l *Lab) route(w http.ResponseWriter, r *http.Request) {
	host := bare(r.Host)
	path := strings.ToLower(r.URL.Path)
	switch {
	case strings.HasPrefix(r.URL.Path, deskPath):
		l.desks.ServeHTTP(w, r)
	case strings.HasPrefix(host, "security."), strings.HasPrefix(host, "securitycenter."):
		l.auth.Portal(w, r)
	case strings.HasPrefix(host, "login."), strings.HasPrefix(host, "sts."):
		l.auth.ServeHTTP(w, r)
	case strings.HasPrefix(host, "graph."), strings.HasPrefix(host, "dod-graph."), strings.HasPrefix(host, "microsoftgraph."):
		l.serveGraph(w, r)
	case strings.HasSuffix(host, ".vault.azure.net"), strings.HasPrefix(path, "/keys/"):
		l.keys.ServeHTTP(w, r)
	case strings.HasPrefix(host, "api.partnercenter."), strings.HasPrefix(path, "/v1/"):
		l.auth.Center(w, r)
	case isMDEHost(host), strings.HasPrefix(path, "/mde/"), strings.HasPrefix(path, "/api/v1.0/"):
		l.api.MDE(w, r)
	case strings.HasPrefix(host, "siem-"), strings.HasPrefix(host, "wdatp-alertexporter"):
		l.api.SIEM(w, r)
	case strings.HasPrefix(host, "splunk."), strings.HasPrefix(path, "/services/collector"):
		if l.opt.Splunk == nil {
			http.NotFound(w, r)
			return
		}
		l.opt.Splunk.ServeHTTP(w, r)
	case strings.HasPrefix(path, "/v1.0/"):
		l.serveGraph(w, r)
	case strings.HasPrefix(strings.TrimLeft(path, "/"), "api/"):
		l.api.SIEM(w, r)
	default:
		l.auth.ServeHTTP(w, r)
	}
}

// serveGraph serves the directory's part of Graph, or the security part.
func (l *Lab) serveGraph(w http.ResponseWriter, r *http.Request) {
	if authority.IsDirectoryPath(r.URL.Path) {
		l.graph.ServeHTTP(w, r)
		return
	}
	l.api.Graph(w, r)
}

// Serve serves TLS on ln until Close.
func (l *Lab) Serve(ln net.Listener) error {
	err := l.server.ServeTLS(&listener{ln, l}, "", "")
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Start listens on a loopback address and serves in the background; it returns
// the address.
func (l *Lab) Start(addr string) (string, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	go func() { _ = l.Serve(ln) }()
	return ln.Addr().String(), nil
}

// Close ends all connections.
func (l *Lab) Close() error { return l.server.Close() }
