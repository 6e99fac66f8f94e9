package keyvault

import (
	"fmt"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"drover"
)

// Authority is where a sign-in happens.
type Authority struct {
	Host   string       // https://login.microsoftonline.com
	Tenant string       // the directory of the identity and the vault
	HTTP   *http.Client // to that host
}

func (a Authority) options() azcore.ClientOptions {
	return azcore.ClientOptions{
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: a.Host}, Transport: a.HTTP, Telemetry: policy.TelemetryOptions{Disabled: true},
		Retry: policy.RetryOptions{MaxRetries: tries - 1, TryTimeout: tryFor, RetryDelay: time.Second, MaxRetryDelay: maxWait},
	}
}

// ManagedIdentity signs in as the identity that Azure gives this machine:
// clientID names one of several, "" is the machine's own. It is asked for on
// this machine alone, past every proxy.
func ManagedIdentity(clientID string) (azcore.TokenCredential, error) {
	local := &http.Client{
		Transport:     &http.Transport{Proxy: nil, ResponseHeaderTimeout: tryFor},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	opt := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: local, Telemetry: policy.TelemetryOptions{Disabled: true}}}
	if clientID != "" {
		opt.ID = azidentity.ClientID(clientID)
	}
	return azidentity.NewManagedIdentityCredential(opt)
}

// WorkloadIdentity signs in with the token that Kubernetes puts into a file.
// What is empty comes from the environment (AZURE_CLIENT_ID, AZURE_TENANT_ID,
// AZURE_FEDERATED_TOKEN_FILE), as Azure's webhook sets it.
func WorkloadIdentity(a Authority, clientID string) (azcore.TokenCredential, error) {
	cred, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{ClientOptions: a.options(), ClientID: clientID, TenantID: a.Tenant, DisableInstanceDiscovery: true})
	if err != nil {
		return nil, &drover.Error{Op: "use the workload identity", Kind: drover.Denied, Err: err, Hint: "Azure's webhook sets AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_FEDERATED_TOKEN_FILE for a pod of a service account with the label azure.workload.identity/use"}
	}
	return cred, nil
}

// Certificate signs in as an application with a certificate and its key, as
// PEM.
func Certificate(a Authority, clientID string, cert []byte, key drover.Secret) (azcore.TokenCredential, error) {
	both := append(append([]byte(nil), cert...), '\n')
	both = append(both, key.Bytes()...)
	defer clear(both)
	certs, private, err := azidentity.ParseCertificates(both, nil)
	if err != nil {
		return nil, fmt.Errorf("read the certificate for the vault: %w", err)
	}
	return azidentity.NewClientCertificateCredential(a.Tenant, clientID, certs, private, &azidentity.ClientCertificateCredentialOptions{ClientOptions: a.options(), DisableInstanceDiscovery: true})
}
