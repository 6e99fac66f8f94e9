package msclients

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	msalerrors "github.com/AzureAD/microsoft-authentication-library-for-go/apps/errors"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/proof"
)

// confidentialApp is the MSSP's app in MSAL.
func (p *place) confidentialApp(t *testing.T, tenant string, cred confidential.Credential) confidential.Client {
	t.Helper()
	c, err := confidential.New(p.authority+tenant, p.AppID(), cred, confidential.WithHTTPClient(p.client), confidential.WithInstanceDiscovery(p.known))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (p *place) publicApp(t *testing.T, tenant string) public.Client {
	t.Helper()
	c, err := public.New(p.PublicAppID(), public.WithAuthority(p.authority+tenant), public.WithHTTPClient(p.client), public.WithInstanceDiscovery(p.known))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (p *place) secret(t *testing.T) confidential.Credential {
	t.Helper()
	cred, err := confidential.NewCredFromSecret(p.AppSecret())
	if err != nil {
		t.Fatal(err)
	}
	return cred
}

func (p *place) certificate(t *testing.T) (certs []*x509.Certificate, key crypto.PrivateKey) {
	t.Helper()
	certPEM, keyPEM := p.AppCertificate()
	certs, key, err := confidential.CertFromPEM(append(certPEM, keyPEM...), "")
	if err != nil {
		t.Fatal(err)
	}
	return certs, key
}

// msal are the ways of MSAL to a token for a customer.
var msal = map[string]func(t *testing.T, p *place, c lab.Customer) string{
	"secret": func(t *testing.T, p *place, c lab.Customer) string {
		got, err := p.confidentialApp(t, c.Tenant, p.secret(t)).AcquireTokenByCredential(t.Context(), []string{p.scope})
		return took(t, got.AccessToken, err)
	},
	"certificate": func(t *testing.T, p *place, c lab.Customer) string {
		certs, key := p.certificate(t)
		cred, err := confidential.NewCredFromCert(certs, key)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.confidentialApp(t, c.Tenant, cred).AcquireTokenByCredential(t.Context(), []string{p.scope})
		return took(t, got.AccessToken, err)
	},
	"code with PKCE": func(t *testing.T, p *place, c lab.Customer) string {
		_, got := p.signIn(t, c)
		return got.AccessToken
	},
	"interactive": func(t *testing.T, p *place, c lab.Customer) string {
		led := make(chan error, 1)
		got, err := p.publicApp(t, c.Tenant).AcquireTokenInteractive(t.Context(), []string{p.scope}, public.WithOpenURL(func(target string) error {
			back, err := p.browse(t.Context(), target, url.Values{"user": {admin(c)}})
			if err != nil {
				return err
			}
			led <- follow(t.Context(), back)
			return nil
		}))
		select {
		case err := <-led:
			if err != nil {
				t.Error(err)
			}
		default: // it never came so far
		}
		return took(t, got.AccessToken, err)
	},
	"device code": func(t *testing.T, p *place, c lab.Customer) string {
		d, err := p.publicApp(t, c.Tenant).AcquireTokenByDeviceCode(t.Context(), []string{p.scope})
		if err != nil {
			t.Fatal(err)
		}
		p.person(t, d.Result.VerificationURL, url.Values{"user": {admin(c)}, "code": {d.Result.UserCode}})
		got, err := d.AuthenticationResult(t.Context())
		return took(t, got.AccessToken, err)
	},
}

// follow posts a form where the browser is led.
func follow(ctx context.Context, target string) error {
	to, fields, _ := strings.Cut(target, "?")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(fields))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func took(t *testing.T, token string, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// signIn signs a customer's admin in by code and PKCE.
func (p *place) signIn(t *testing.T, c lab.Customer) (confidential.Client, confidential.AuthResult) {
	t.Helper()
	const redirect = "http://localhost:8400/callback"
	app := p.confidentialApp(t, c.Tenant, p.secret(t))
	verifier := rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	target, err := app.AuthCodeURL(t.Context(), p.AppID(), redirect, []string{p.scope})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("code_challenge", base64.RawURLEncoding.EncodeToString(sum[:]))
	q.Set("code_challenge_method", "S256")
	q.Set("state", "s")
	u.RawQuery = q.Encode()
	back, err := url.Parse(p.person(t, u.String(), url.Values{"user": {admin(c)}}))
	if err != nil || back.Query().Get("code") == "" || !strings.HasPrefix(back.String(), redirect+"?") {
		t.Fatalf("led to %s, %v", back, err)
	}
	got, err := app.AcquireTokenByAuthCode(t.Context(), back.Query().Get("code"), redirect, []string{p.scope}, confidential.WithChallenge(verifier))
	if err != nil {
		t.Fatal(err)
	}
	if got.IDToken.TenantID != c.Tenant {
		t.Errorf("the ID token is of %s", got.IDToken.TenantID)
	}
	return app, got
}

func TestMSALSignsInEveryWayAndReadsAlerts(t *testing.T) {
	tokens := 0
	for where, p := range places(t) {
		for how, get := range msal {
			for mood, with := range map[string]func(*authority.Switches){"mild": func(s *authority.Switches) { *s = authority.Switches{} }, "harsh": harsh} {
				t.Run(where+", "+how+", "+mood, func(t *testing.T) {
					p.Directory().Switch(with)
					for _, c := range p.Customers() {
						p.is(t, get(t, p, c), c)
						tokens++
					}
				})
			}
		}
	}
	proof.Ran(t, "promise.clients", "MSAL Go: %d tokens by %d ways from 2 places under mild and harsh switches, each reads its tenant's alerts", tokens, len(msal))
}

func TestMSALRenewsASignInSilently(t *testing.T) {
	renewed := 0
	for where, p := range places(t) {
		t.Run(where, func(t *testing.T) {
			p.Directory().Switch(func(s *authority.Switches) {
				harsh(s)
				s.Life = authority.Span(2 * time.Minute) // MSAL renews what has less than five left
			})
			c := p.Customers()[1]
			app, got := p.signIn(t, c)
			last := got.AccessToken
			for range 4 { // each refresh token works once here
				got, err := app.AcquireTokenSilent(t.Context(), []string{p.scope}, confidential.WithSilentAccount(got.Account))
				if err != nil {
					t.Fatal(err)
				}
				if got.AccessToken == last {
					t.Fatal("the same token came back")
				}
				p.is(t, got.AccessToken, c)
				last = got.AccessToken
				renewed++
			}
			p.Directory().RevokeRefreshTokens(c.Tenant)
			if _, err := app.AcquireTokenSilent(t.Context(), []string{p.scope}, confidential.WithSilentAccount(got.Account)); err == nil || !strings.Contains(err.Error(), "AADSTS50173") {
				t.Errorf("after a revocation: %v", err)
			}
		})
	}
	proof.Ran(t, "promise.clients", "MSAL Go: renewed %d times with rotating refresh tokens that work once", renewed)
}

func TestMSALUnderstandsTheRefusals(t *testing.T) {
	seen := 0
	for where, p := range places(t) {
		for name, tt := range map[string]struct {
			do   func(c lab.Customer)
			want string
		}{
			"no service principal": {func(c lab.Customer) { p.Directory().Consent(c.Tenant, p.AppID(), authority.None) }, "AADSTS7000229"},
			"a disabled app":       {func(lab.Customer) { p.Directory().Disable(p.AppID(), true) }, "AADSTS7000112"},
		} {
			t.Run(where+", "+name, func(t *testing.T) {
				c := p.Customers()[0]
				tt.do(c)
				t.Cleanup(func() {
					p.Directory().Consent(c.Tenant, p.AppID(), authority.Granted)
					p.Directory().Disable(p.AppID(), false)
				})
				_, err := p.confidentialApp(t, c.Tenant, p.secret(t)).AcquireTokenByCredential(t.Context(), []string{p.scope})
				var call msalerrors.CallErr
				if !errors.As(err, &call) || call.Resp.StatusCode < 400 || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("%v", err)
				}
				seen++
			})
		}
	}
	proof.Ran(t, "promise.clients", "MSAL Go: %d refusals under their own numbers", seen)
}
