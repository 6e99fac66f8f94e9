package entra

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"drover"
)

// TestASignInWithoutATenantIsInThatOfWhoeverSignsIn: an invitation may name none.
// Then the ID token does, and no personal account is a tenant's.
func TestASignInWithoutATenantIsInThatOfWhoeverSignsIn(t *testing.T) {
	for name, tt := range map[string]struct {
		tid  drover.TenantID
		oid  any
		id   string
		want error
	}{
		"a work account":            {tenantB, "0B9A7D1E-52C3-4F0B-8B0A-3C1D2E4F5A6B", "0b9a7d1e-52c3-4f0b-8b0a-3c1d2e4f5a6b", nil},
		"an object ID that is none": {tenantB, "<b>", "", nil},
		"a personal account":        {consumers, "", "", ErrWrongTenant},
	} {
		nonce := ""
		a := &authority{answer: func(int, string, url.Values) reply {
			return signedInAs(func(id map[string]any) {
				id["nonce"], id["tid"], id["oid"], id["iss"] = nonce, string(tt.tid), tt.oid, "https://login.microsoftonline.com/"+string(tt.tid)+"/v2.0"
			})
		}}
		s, err := tokensOf(a, nil).BeginSignIn(tenant(""), SignInOptions{Redirect: "https://mssp.example/SiemMsspConnector/callback"})
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(s.URL())
		if err != nil || !strings.HasPrefix(s.URL(), "https://login.microsoftonline.com/organizations/oauth2/v2.0/authorize?") {
			t.Fatalf("%s %v", s.URL(), err)
		}
		nonce = u.Query().Get("nonce")
		who, _, err := s.Finish(t.Context(), url.Values{"state": {u.Query().Get("state")}, "code": {canary}})
		if !errors.Is(err, tt.want) || tt.want == nil && (who.Tenant != tt.tid || who.ID != tt.id) {
			t.Errorf("%s: %+v %v", name, who, err)
		}
		mustNotTell(t, err)
	}
	if _, err := tokensOf(&authority{}, nil).BeginSignIn(tenant(""), SignInOptions{Source: drover.GraphAlerts}); err == nil {
		t.Error("a sign-in for an API without a tenant begins")
	}
}
