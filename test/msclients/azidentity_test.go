package msclients

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/proof"
)

func (p *place) options() policy.ClientOptions {
	o := policy.ClientOptions{Transport: p.client}
	if !p.known {
		o.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: p.authority}
	}
	return o
}

// azidentityWays are the ways of azidentity to a token for a customer.
var azidentityWays = map[string]func(t *testing.T, p *place, c lab.Customer) (azcore.TokenCredential, error){
	"secret": func(_ *testing.T, p *place, c lab.Customer) (azcore.TokenCredential, error) {
		return azidentity.NewClientSecretCredential(c.Tenant, p.AppID(), p.AppSecret(), &azidentity.ClientSecretCredentialOptions{ClientOptions: p.options(), DisableInstanceDiscovery: !p.known})
	},
	"certificate": func(t *testing.T, p *place, c lab.Customer) (azcore.TokenCredential, error) {
		certs, key := p.certificate(t)
		return azidentity.NewClientCertificateCredential(c.Tenant, p.AppID(), certs, key, &azidentity.ClientCertificateCredentialOptions{ClientOptions: p.options(), DisableInstanceDiscovery: !p.known})
	},
	"a projected token": func(t *testing.T, p *place, c lab.Customer) (azcore.TokenCredential, error) {
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(p.projected(t)), 0o600); err != nil {
			return nil, err
		}
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{ClientOptions: p.options(), DisableInstanceDiscovery: !p.known, TenantID: c.Tenant, ClientID: p.AppID(), TokenFilePath: file})
	},
	"a managed identity": func(t *testing.T, p *place, c lab.Customer) (azcore.TokenCredential, error) {
		id := authority.Identity{ClientID: fmt.Sprintf("5c9f6b1e-0d0b-4a77-9d34-%012x", rand.Uint64()>>16), Tenant: lab.HomeTenant}
		p.Directory().AddIdentity(id)
		host := strings.TrimSuffix(strings.TrimPrefix(p.authority, "https://"), "/")
		p.trust(p.authority+lab.HomeTenant+"/v2.0", id.Principal())
		srv := httptest.NewServer(p.IdentityService(host, "header"))
		t.Cleanup(srv.Close)
		t.Setenv("IDENTITY_ENDPOINT", srv.URL+"/msi/token")
		t.Setenv("IDENTITY_HEADER", "header")
		own, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID(id.ClientID)})
		if err != nil {
			return nil, err
		}
		return azidentity.NewClientAssertionCredential(c.Tenant, p.AppID(), func(ctx context.Context) (string, error) {
			got, err := own.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{exchange}})
			return got.Token, err
		}, &azidentity.ClientAssertionCredentialOptions{ClientOptions: p.options(), DisableInstanceDiscovery: !p.known})
	},
	"device code": func(t *testing.T, p *place, c lab.Customer) (azcore.TokenCredential, error) {
		return azidentity.NewDeviceCodeCredential(&azidentity.DeviceCodeCredentialOptions{ClientOptions: p.options(), DisableInstanceDiscovery: !p.known, TenantID: c.Tenant, ClientID: p.PublicAppID(),
			UserPrompt: func(ctx context.Context, m azidentity.DeviceCodeMessage) error {
				_, err := p.browse(ctx, m.VerificationURL, url.Values{"user": {admin(c)}, "code": {m.UserCode}})
				return err
			}})
	},
}

// exchange is the audience of tokens of other issuers.
const exchange = "api://AzureADTokenExchange"

// trust gives the app a federated credential that is known everywhere.
func (p *place) trust(issuer, subject string) {
	var delay authority.Span
	p.Directory().Switch(func(s *authority.Switches) { delay, s.DirectoryDelay = s.DirectoryDelay, 0 })
	p.Directory().Trust(p.AppID(), issuer, subject, exchange)
	p.Directory().Switch(func(s *authority.Switches) { s.DirectoryDelay = delay })
}

// projected is a token of another issuer that the app trusts.
func (p *place) projected(t *testing.T) string {
	t.Helper()
	const issuer, account = "https://k8s.example/lab/issuer/k8s", "system:serviceaccount:soc:drover"
	p.trust(issuer, account)
	token, err := p.Directory().Foreign("k8s", issuer, authority.ForeignToken{Subject: account, Audience: exchange})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestAzidentitySignsInAndReadsAlerts(t *testing.T) {
	tokens := 0
	for where, p := range places(t) {
		for how, open := range azidentityWays {
			for mood, with := range map[string]func(*authority.Switches){"mild": func(s *authority.Switches) { *s = authority.Switches{} }, "harsh": harsh} {
				t.Run(where+", "+how+", "+mood, func(t *testing.T) {
					p.Directory().Switch(with)
					for _, c := range p.Customers() {
						cred, err := open(t, p, c)
						if err != nil {
							t.Fatal(err)
						}
						got, err := cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{p.scope}})
						if err != nil {
							t.Fatal(err)
						}
						p.is(t, got.Token, c)
						tokens++
					}
				})
			}
		}
	}
	proof.Ran(t, "promise.clients", "azidentity: %d tokens by %d ways from 2 places under mild and harsh switches, each reads its tenant's alerts", tokens, len(azidentityWays))
}

func TestAzidentityUnderstandsAWrongSecret(t *testing.T) {
	seen := 0
	for where, p := range places(t) {
		t.Run(where, func(t *testing.T) {
			cred, err := azidentity.NewClientSecretCredential(p.Customers()[0].Tenant, p.AppID(), "wrong", &azidentity.ClientSecretCredentialOptions{ClientOptions: p.options(), DisableInstanceDiscovery: !p.known})
			if err != nil {
				t.Fatal(err)
			}
			_, err = cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{p.scope}})
			var failed *azidentity.AuthenticationFailedError
			if !errors.As(err, &failed) || failed.RawResponse.StatusCode != http.StatusUnauthorized || !strings.Contains(err.Error(), "AADSTS7000215") {
				t.Fatalf("%v", err)
			}
			seen++
		})
	}
	proof.Ran(t, "promise.clients", "azidentity: %d refusals with status and number", seen)
}
