package main

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/proof"
)

// An app that app create has made with a federated credential reads with the
// lines that were printed, but for what only the host knows.
func TestAnAppWithAFederatedCredentialReads(t *testing.T) {
	const account = "system:serviceaccount:soc:drover"
	reads := 0
	for name, tt := range map[string]func(m *msspStage) (issuer, subject, from, to string){
		"a projected token": func(m *msspStage) (string, string, string, string) {
			issuer, file := "https://"+m.addr+"/lab/issuer/k8s", filepath.Join(m.dir, "token")
			token, err := m.lab.Directory().Foreign("k8s", issuer, authority.ForeignToken{Subject: account, Audience: "api://AzureADTokenExchange"})
			if err != nil {
				m.Fatal(err)
			}
			put(m.T, file, token)
			return issuer, account, "/var/run/secrets/azure/tokens/azure-identity-token", file
		},
		"a managed identity": func(m *msspStage) (string, string, string, string) {
			id := authority.Identity{ClientID: "5c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f61", Tenant: lab.HomeTenant}
			m.lab.Directory().AddIdentity(id)
			srv := httptest.NewServer(m.lab.IdentityService(m.addr, "header"))
			m.Cleanup(srv.Close)
			m.Setenv("IDENTITY_ENDPOINT", srv.URL+"/msi/token")
			m.Setenv("IDENTITY_HEADER", "header")
			return "https://" + m.addr + "/" + lab.HomeTenant + "/v2.0", id.Principal(), "CLIENT-ID-OF-THE-IDENTITY", id.ClientID
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMSSP(t)
			issuer, subject, from, to := tt(m)
			id := m.create("--credential", "federated", "--issuer", issuer, "--subject", subject)
			lines, err := os.ReadFile(m.config)
			if err != nil || !strings.Contains(string(lines), from) {
				t.Fatalf("%v: the printed lines do not name %s:\n%s", err, from, lines)
			}
			put(t, m.config, strings.Replace(string(lines), from, to, 1))
			m.lab.Directory().Consent(m.lab.Customers()[0].Tenant, id, authority.Granted)
			got, err := m.roles("default")
			if err != nil || !slices.Contains(got, "SecurityAlert.Read.All") {
				t.Fatalf("the token has %v, %v", got, err)
			}
			reads++
			out, _ := m.run(exitOK, "app", "check")
			if strings.Contains(out, "FAIL") {
				t.Errorf("%s", out)
			}
			// There is nothing to roll over.
			m.run(exitUsage, "app", "rotate")
		})
	}
	if !t.Failed() {
		proof.Ran(t, "app.federated", "apps made with a federated credential that read with the printed lines: %d of 2, one by a projected token, one by a managed identity", reads)
	}
}
