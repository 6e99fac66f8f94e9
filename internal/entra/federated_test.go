package entra_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/entra"
	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/proof"
)

const (
	exchange = "api://AzureADTokenExchange"
	account  = "system:serviceaccount:soc:drover"
)

// cluster is another issuer, and the file into which it projects tokens.
type cluster struct {
	*cloud
	t    *testing.T
	name string
	url  string // of the issuer
	file string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	return (&cluster{cloud: pretend(t)}).another(t, "k8s")
}

// another is another issuer beside it.
func (c *cluster) another(t *testing.T, name string) *cluster {
	t.Helper()
	x, err := c.clouds.Of(c.tenant(0))
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{cloud: c.cloud, t: t, name: name, url: x.Authority + "/lab/issuer/" + name, file: filepath.Join(t.TempDir(), "token")}
}

// project writes a new token.
func (c *cluster) project(want authority.ForeignToken) {
	c.t.Helper()
	token, err := c.Directory().Foreign(c.name, c.url, want)
	if err == nil {
		err = os.WriteFile(c.file, []byte(token), 0o600)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) app() entra.App {
	return entra.App{Federated: entra.TokenFile{Read: func() (drover.Secret, error) {
		b, err := os.ReadFile(c.file)
		return drover.NewSecret(b), err
	}}}
}

var rightToken = authority.ForeignToken{Subject: account, Audience: exchange}

func TestATokenOfAnotherIssuerIsTheCredential(t *testing.T) {
	c := newCluster(t)
	c.Directory().Trust(c.AppID(), c.url, account, exchange)
	c.project(rightToken)
	k := c.tokens(c.app(), nil)
	for i := range c.Customers() {
		for _, s := range sources { // v2, and v1
			token, err := k.Token(t.Context(), c.tenant(i), s)
			if err != nil {
				t.Fatalf("%s: %v", s, err)
			}
			if claims, err := c.Directory().Verify(token.Reveal()); err != nil || claims.TenantID != c.Customers()[i].Tenant {
				t.Errorf("%s: %v", s, err)
			}
		}
	}
	// A person's sign-in is renewed with it as well.
	x := c.tenant(0)
	store := &shelf{now: entra.Refresh{Token: drover.NewSecret(c.Directory().GiveRefreshToken(string(x.ID), c.AppID(), "analyst@mssp.example")), Version: 1}}
	if _, err := c.tokens(c.app(), store).Token(t.Context(), x, drover.GraphAlerts); err != nil || store.now.Version != 2 {
		t.Errorf("delegated: %v", err)
	}
}

func TestAFederatedCredentialThatDoesNotMatchSaysWhatTheTokenSays(t *testing.T) {
	refused, all := 0, newCluster(t)
	for name, tt := range map[string]struct {
		issuer, subject, audience string // of the registration
		token                     authority.ForeignToken
		code                      string
		kind                      drover.Kind
		hint                      string
	}{
		"another issuer":              {"https://other.example", account, exchange, rightToken, "AADSTS700211", drover.Transient, "the token says issuer"},
		"an issuer in another case":   {"https://EXAMPLE/lab/issuer/K8S", account, exchange, rightToken, "AADSTS700211", drover.Transient, "the token says issuer"},
		"another subject":             {"", "system:serviceaccount:soc:other", exchange, rightToken, "AADSTS700213", drover.Transient, `subject "system:serviceaccount:soc:drover"`},
		"a subject in another case":   {"", "system:serviceaccount:SOC:drover", exchange, rightToken, "AADSTS7002138", drover.Transient, "letter case"},
		"another audience":            {"", account, "api://other", rightToken, "AADSTS70021", drover.Transient, "audience"},
		"no RS256":                    {"", account, exchange, authority.ForeignToken{Subject: account, Audience: exchange, Wrong: "alg"}, "AADSTS50027", drover.Denied, "RS256"},
		"signed by somebody else":     {"", account, exchange, authority.ForeignToken{Subject: account, Audience: exchange, Wrong: "key"}, "AADSTS700027", drover.Denied, "first 100"},
		"the key is the 101st listed": {"", account, exchange, authority.ForeignToken{Subject: account, Audience: exchange, Wrong: "before"}, "AADSTS700027", drover.Denied, "first 100"},
		"ended":                       {"", account, exchange, authority.ForeignToken{Subject: account, Audience: exchange, Seconds: -5}, "", drover.Denied, "kubelet"},
		"projected for somebody else": {"", account, exchange, authority.ForeignToken{Subject: account, Audience: "https://kubernetes.default.svc"}, "", drover.Denied, "give the projected volume the audience"},
	} {
		t.Run(name, func(t *testing.T) {
			c := all.another(t, fmt.Sprint("k8s-", refused))
			if tt.issuer == "" {
				tt.issuer = c.url
			}
			c.Directory().Trust(c.AppID(), tt.issuer, tt.subject, tt.audience)
			c.project(tt.token)
			_, err := c.tokens(c.app(), nil).Token(t.Context(), c.tenant(0), drover.GraphAlerts)
			e, ok := errors.AsType[*drover.Error](err)
			if !ok || e.Code != tt.code || e.Kind != tt.kind || !strings.Contains(e.Hint, tt.hint) {
				t.Errorf("got %v, hint %q", err, drover.HintOf(err))
				return
			}
			refused++
			// What is put right is noticed.
			c.Directory().Trust(c.AppID(), c.url, account, exchange)
			c.project(rightToken)
			if _, err := c.tokens(c.app(), nil).Token(t.Context(), c.tenant(0), drover.GraphAlerts); err != nil {
				t.Errorf("put right: %v", err)
			}
		})
	}
	proof.Ran(t, "app.federated", "%d mismatches of issuer, subject, audience, algorithm, key and time, each named", refused)
}

func TestAFileWithoutATokenIsRefusedWithTheWayOut(t *testing.T) {
	c := newCluster(t)
	c.Directory().Trust(c.AppID(), c.url, account, exchange)
	for _, text := range []string{"", "not.a-token", "a.b.c", "eyJ.\n.x"} {
		if err := os.WriteFile(c.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := c.tokens(c.app(), nil).Token(t.Context(), c.tenant(0), drover.GraphAlerts)
		if drover.KindOf(err) != drover.Denied || drover.HintOf(err) == "" {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestTheTokenFileIsReadForEveryExchange(t *testing.T) {
	c := newCluster(t)
	c.Directory().Trust(c.AppID(), c.url, account, exchange)
	k := c.tokens(c.app(), nil)
	c.project(authority.ForeignToken{Subject: account, Audience: exchange, Seconds: -1})
	if _, err := k.Token(t.Context(), c.tenant(0), drover.GraphAlerts); drover.KindOf(err) != drover.Denied {
		t.Fatal(err)
	}
	c.project(rightToken) // and at once, though a refusal is asked about again after a minute only
	if _, err := k.Token(t.Context(), c.tenant(0), drover.GraphAlerts); err != nil {
		t.Error(err)
	}
}

func TestANewFederatedCredentialIsWaitedFor(t *testing.T) {
	c := newCluster(t)
	c.Directory().Switch(func(s *authority.Switches) { s.DirectoryDelay = authority.Span(time.Hour) })
	c.Directory().Trust(c.AppID(), c.url, account, exchange)
	c.project(rightToken)
	got, waited := 0, 0
	for range 100 {
		switch _, err := c.tokens(c.app(), nil).Token(t.Context(), c.tenant(0), drover.GraphAlerts); {
		case err == nil:
			got++
		case drover.KindOf(err) == drover.Transient:
			waited++
		default:
			t.Fatal(err)
		}
	}
	if waited == 0 {
		t.Errorf("%d tokens, %d refusals: it was known at once", got, waited)
	}
}

// machine puts the pretend identity service of a machine on loopback.
func (c *cluster) machine(header string, see func(*http.Request)) (url string) {
	x, _ := c.clouds.Of(c.tenant(0))
	service := c.IdentityService(strings.TrimPrefix(x.Authority, "https://"), header)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		see(r)
		service.ServeHTTP(w, r)
	}))
	c.t.Cleanup(srv.Close)
	return srv.URL
}

func TestAManagedIdentityIsTheCredential(t *testing.T) {
	type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)
	for name, env := range map[string]func(t *testing.T, url string) dialer{
		"a virtual machine": func(t *testing.T, url string) dialer {
			return func(ctx context.Context, network, addr string) (net.Conn, error) {
				if addr != "169.254.169.254:80" {
					t.Errorf("%s is asked", addr)
				}
				return new(net.Dialer).DialContext(ctx, network, strings.TrimPrefix(url, "http://"))
			}
		},
		"App Service and Container Apps": func(t *testing.T, url string) dialer {
			t.Setenv("IDENTITY_ENDPOINT", url+"/msi/token")
			t.Setenv("IDENTITY_HEADER", "canary-header")
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			calls := 0
			dial := env(t, c.machine("canary-header", func(*http.Request) { calls++ }))
			t.Setenv("HTTP_PROXY", "http://127.0.0.1:1") // is not asked
			id := authority.Identity{ClientID: guid(t), Tenant: lab.HomeTenant}
			k := c.tokens(entra.App{Federated: entra.ManagedIdentity{ClientID: id.ClientID, Dial: dial}}, nil)
			_, err := k.Token(t.Context(), c.tenant(0), drover.GraphAlerts)
			if drover.KindOf(err) != drover.Denied || !strings.Contains(drover.HintOf(err), "assign the user-assigned identity "+id.ClientID) || strings.Contains(fmt.Sprint(err, drover.HintOf(err)), "canary") {
				t.Fatalf("without the identity: %v, %s", err, drover.HintOf(err))
			}
			c.Directory().AddIdentity(id)
			x, _ := c.clouds.Of(c.tenant(0))
			c.Directory().Trust(c.AppID(), x.Authority+"/"+lab.HomeTenant+"/v2.0", id.Principal(), exchange)
			k.Forget(c.tenant(0).ID)
			for i := range c.Customers() {
				if _, err := k.Token(t.Context(), c.tenant(i), drover.GraphAlerts); err != nil {
					t.Fatal(err)
				}
			}
			if calls != 2 {
				t.Errorf("the identity service was asked %d times", calls)
			}
		})
	}
}

func TestAnIdentityServiceElsewhereIsNotAsked(t *testing.T) {
	t.Setenv("IDENTITY_ENDPOINT", "http://192.0.2.1/msi/token")
	t.Setenv("IDENTITY_HEADER", "canary-header")
	_, err := entra.ManagedIdentity{ClientID: guid(t)}.Assert(t.Context(), exchange)
	if drover.KindOf(err) != drover.Denied || !strings.Contains(err.Error(), "must be this machine's own") {
		t.Errorf("got %v", err)
	}
}

func guid(t *testing.T) string {
	t.Helper()
	var b [16]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// TestADelegatedTenantOutlivesEveryCredentialOfTheApp rolls the app's credential
// over, from one kind to the next and within a kind, while a person's sign-in is
// renewed all along by an authority that forgives no reuse.
func TestADelegatedTenantOutlivesEveryCredentialOfTheApp(t *testing.T) {
	c := newCluster(t)
	d := c.Directory()
	d.Switch(func(s *authority.Switches) { s.ReuseKillsFamily, s.OldRefreshDies = true, true })
	x := c.tenant(0)
	store := &shelf{now: entra.Refresh{Token: drover.NewSecret(d.GiveRefreshToken(string(x.ID), c.AppID(), "analyst@mssp.example")), Version: 1}}
	renewals, failed := 0, 0
	renew := func(k *entra.Tokens) {
		for range 3 {
			token, err := k.Token(t.Context(), x, drover.GraphAlerts)
			if err != nil {
				failed++
				t.Error(err)
				return
			}
			renewals++
			k.Invalidate(x, drover.GraphAlerts, token)
		}
	}
	// Secrets: the next one is there before the old one is taken away.
	now, next := "lab~first", ""
	until := time.Now().AddDate(0, 0, 5)
	old := d.AddSecret(c.AppID(), now, until)
	k := c.tokens(entra.App{Secret: func() (drover.Secret, error) {
		list := []entra.DatedSecret{{Read: func() (drover.Secret, error) { return drover.NewSecret(now), nil }, Until: until}}
		if next != "" {
			list = append(list, entra.DatedSecret{Read: func() (drover.Secret, error) { return drover.NewSecret(next), nil }, Until: until.AddDate(1, 0, 0)})
		}
		s, _, err := entra.Newest(time.Now(), list)
		return s, err
	}}, store)
	renew(k)
	d.AddSecret(c.AppID(), "lab~second", until.AddDate(1, 0, 0))
	next = "lab~second"
	renew(k)
	d.RemoveSecret(c.AppID(), old)
	renew(k)
	// Certificates: both in the files, then the old one gone.
	first, second := selfSigned(t, time.Hour), selfSigned(t, time.Minute)
	d.AddCertificate(c.AppID(), first.cert)
	files := first.pem
	kc := c.tokens(entra.App{Certificate: func() (*entra.Certificate, error) { return entra.ParseCertificate(files, files, time.Now()) }}, store)
	renew(kc)
	d.AddCertificate(c.AppID(), second.cert)
	renew(kc)
	files = append(append([]byte(nil), first.pem...), second.pem...)
	renew(kc)
	d.RemoveCertificate(c.AppID(), first.cert)
	renew(kc)
	files = second.pem
	renew(kc)
	// And from a certificate to a federated credential.
	d.Trust(c.AppID(), c.url, account, exchange)
	c.project(rightToken)
	renew(c.tokens(c.app(), store))
	d.RemoveCertificate(c.AppID(), second.cert)
	renew(c.tokens(c.app(), store))
	proof.Ran(t, "token.rollover", "%d renewals of one sign-in across two secrets, two certificates and a federated credential: refused %d", renewals, failed)
}

type ownCert struct {
	cert *x509.Certificate
	pem  []byte // with its key
}

func selfSigned(t *testing.T, age time.Duration) ownCert {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "drover"}, NotBefore: time.Now().Add(-age), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return ownCert{cert, append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)}
}
