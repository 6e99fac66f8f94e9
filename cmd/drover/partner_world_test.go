package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/config"
	"drover/internal/enrol"
	"drover/internal/entra"
	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/lab/estate"
	"drover/internal/registration"
	"drover/internal/rig/memnet"
)

// partnership is a partner with its customers and a drover, in virtual time: it
// lives in a bubble of testing/synctest.
type partnership struct {
	*testing.T
	*app
	lab        *lab.Lab
	dir        *authority.Directory
	onboarding string // the onboarding app
	net        *memnet.Network
	log        said

	mu      sync.Mutex
	astray  []string       // requests whose credential was not for where it went
	writes  map[string]int // requests that change something, by tenant
	logins  int            // token requests
	onLogin func(n int)
}

func (p *partnership) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func newPartnership(t *testing.T, customers int) *partnership {
	t.Helper()
	p := &partnership{T: t, net: memnet.New(), writes: make(map[string]int)}
	var err error
	p.lab, err = lab.New(lab.Options{Seed: 1, Customers: customers, Partner: true, Tap: p.tap, Story: func(int) estate.Options { return estate.Options{Backlog: 1, Horizon: time.Hour} }})
	p.must(err)
	p.dir = p.lab.Directory()
	p.onboarding, _ = p.lab.OnboardingApp()
	go func() { _ = p.lab.Serve(p.net) }()
	time.Sleep(time.Hour) // what there is from the first has spread
	dir := t.TempDir()
	_, secret := p.lab.OnboardingApp()
	for name, text := range map[string][]byte{"ca.pem": p.lab.CAPEM(), "secret": []byte(p.lab.AppSecret()), "onboarding": []byte(secret)} {
		p.must(os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	cfg, err := config.Parse(filepath.Join(dir, "drover.yaml"), fmt.Appendf(nil, `
ledger: {dir: ledger}
vault: {key_file: keys/master.key}
clouds: {lab: {authority: "https://login.lab.test", graph: "https://graph.lab.test", graph_resource: "https://graph.microsoft.com", mde: "https://mde.lab.test", ca_file: ca.pem, allow_private: true}}
apps: {default: {client_id: %s, cloud: lab, secret: {file: secret}}}
partner: {tenant: %s, client_id: %s, cloud: lab, secret: {file: onboarding}, partner_center: "https://api.partnercenter.lab.test"}
sinks: {archive: {type: file, root: out}}
listen: {health: none}
`, p.lab.AppID(), lab.HomeTenant, p.onboarding))
	p.must(err)
	p.app, err = newApp(cfg, slog.New(slog.NewTextHandler(&p.log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})), p.net.Dial)
	p.must(err)
	p.must(p.openLedger(t.Context()))
	return p
}

func (p *partnership) close() {
	p.must(p.store.Close())
	for _, c := range p.https {
		c.Close()
	}
	p.must(p.lab.Close())
	p.must(p.net.Close())
}

// tap has seen look at each request before it is answered.
func (p *partnership) tap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.seen(r)
		next.ServeHTTP(w, r)
	})
}

// seen judges each request: whose token goes where.
func (p *partnership) seen(r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := func(f string, args ...any) {
		p.astray = append(p.astray, r.Method+" "+r.Host+r.URL.Path+": "+fmt.Sprintf(f, args...))
	}
	if r.URL.RawQuery != "" && (strings.Contains(r.URL.RawQuery, "token=0.") || strings.Contains(r.URL.RawQuery, "secret")) {
		at("a credential in the query")
	}
	if strings.HasPrefix(r.Host, "login.") {
		if p.logins++; p.onLogin != nil {
			p.onLogin(p.logins)
		}
		if r.Header.Get("Authorization") != "" {
			at("a token at the authority")
		}
		return
	}
	if strings.Contains(r.Header.Get("Content-Type"), "form") {
		at("a form outside of the authority")
	}
	var c struct{ Aud, Tid, Appid, Scp string }
	if parts := strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), "."); len(parts) == 3 {
		b, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(b, &c)
	}
	want := map[string]string{"graph.lab.test": "https://graph.microsoft.com", "api.partnercenter.lab.test": "https://api.partnercenter.microsoft.com", "mde.lab.test": "https://api.securitycenter.microsoft.com"}[r.Host]
	if c.Aud != want {
		at("a token for %s", c.Aud)
	}
	tenant := c.Tid
	if rest, ok := strings.CutPrefix(r.URL.Path, "/v1/customers/"); ok {
		tenant, _, _ = strings.Cut(rest, "/")
	}
	if r.Method != http.MethodGet {
		p.writes[tenant]++
		if c.Appid != p.onboarding {
			at("a change by the app that reads")
		}
	}
}

// tenant is a customer's ID, and id the same as drover has it.
func (p *partnership) tenant(i int) string      { return p.lab.Customers()[i].Tenant }
func (p *partnership) id(i int) drover.TenantID { return drover.TenantID(p.tenant(i)) }

// relate changes the relationship that a customer has from the first.
func (p *partnership) relate(i int, change func(*authority.Relationship)) {
	p.Helper()
	for _, r := range p.dir.Relationships() {
		if r.Customer == p.tenant(i) {
			change(&r)
			p.dir.Relate(r)
			return
		}
	}
	p.Fatalf("customer %d has no relationship", i)
}

// unrelated takes it away.
func (p *partnership) unrelated(i int) {
	for _, r := range p.dir.Relationships() {
		if r.Customer == p.tenant(i) {
			p.dir.Unrelate(r.ID)
		}
	}
}

// signedIn is the account's sign-in, for this process alone.
func (p *partnership) signedIn() *entra.Partner {
	p.Helper()
	x := p.partner.entra(nil)
	p.must(x.Adopt(p.Context(), drover.Person{Tenant: lab.HomeTenant, Name: lab.PartnerAccount}, drover.NewSecret(p.dir.GivePartnerToken(p.onboarding, lab.PartnerAccount, true))))
	return x
}

var graphOnly = []enrol.Want{{API: registration.Graph, Values: []string{"SecurityAlert.Read.All"}, Source: drover.GraphAlerts, Graph: true}}

// connect is one run of the bulk, of all customers or of some.
func (p *partnership) connect(ctx context.Context, x *entra.Partner, wants []enrol.Want, only ...int) (map[string]enrol.Result, error) {
	p.Helper()
	client := p.partner.client(x)
	customers, _, err := enrol.List(ctx, client)
	p.must(err)
	known, err := p.local().Tenants(p.Context())
	p.must(err)
	s := p.partner.service(x, client, wants, func(ctx context.Context, c enrol.Candidate) error {
		_, err := p.local().AddTenant(ctx, admin.NewTenant{ID: string(c.Tenant), Name: c.Short, Cloud: "lab", App: "default", Sources: []drover.SourceID{drover.GraphAlerts}})
		return err
	})
	chosen := candidates(customers, known)
	if len(only) > 0 {
		chosen = slices.DeleteFunc(chosen, func(c enrol.Candidate) bool {
			return !slices.ContainsFunc(only, func(i int) bool { return p.id(i) == c.Tenant })
		})
	}
	list, err := s.Enrol(ctx, chosen)
	out := make(map[string]enrol.Result)
	for _, r := range list {
		out[string(r.Tenant)] = r
	}
	return out, err
}

// known are the tenants in the ledger.
func (p *partnership) known() map[string]bool {
	p.Helper()
	list, err := p.store.ListTenants(p.Context())
	p.must(err)
	out := make(map[string]bool)
	for _, t := range list {
		out[string(t.ID)] = true
	}
	return out
}

// calm says which requests went astray so far, and forgets the changes.
func (p *partnership) calm() (astray []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	astray, p.writes = p.astray, make(map[string]int)
	return astray
}

// asked counts the requests at the authority.
func (p *partnership) asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.logins
}

func (p *partnership) changes() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.writes {
		n += w
	}
	return n
}

// lines counts those of the log that hold a text.
func (p *partnership) lines(text string) (n int) {
	for line := range bytes.Lines([]byte(p.log.String())) {
		if bytes.Contains(line, []byte(text)) {
			n++
		}
	}
	return n
}
