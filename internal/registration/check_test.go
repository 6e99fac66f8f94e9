package registration_test

import (
	"strings"
	"testing"
	"time"

	"drover/internal/registration"
)

var today = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// sound is an app as drover made it.
func sound() (*registration.Application, registration.Record) {
	a := &registration.Application{AppID: "a", Audience: registration.ManyTenants, Web: registration.Redirects{URIs: []string{"https://mssp.example/cb"}},
		Passwords: []registration.Password{{ID: "s1", Name: "drover", End: today.AddDate(1, 0, 0)}}, Owners: []registration.Owner{{ID: "o1", UPN: "admin@mssp.example"}}}
	return a, registration.Record{AppID: "a", Audience: registration.ManyTenants, Credentials: []string{"s1"}, Redirects: []string{"https://mssp.example/cb"}, Owners: []string{"o1"}, Permissions: alerts()}
}

func TestACheckFindsEveryDifferenceAndNoOther(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(a *registration.Application, perms *[]registration.Permission)
		what   string // begins the finding
		says   string
		warns  bool
	}{
		"nothing": {func(*registration.Application, *[]registration.Permission) {}, "", "", false},
		"a secret of others": {func(a *registration.Application, _ *[]registration.Permission) {
			a.Passwords = append(a.Passwords, registration.Password{ID: "s2", Name: "old", End: today.AddDate(1, 0, 0)})
		}, "client secret old", "drover did not make it", false},
		"a certificate of others": {func(a *registration.Application, _ *[]registration.Permission) {
			a.Keys = append(a.Keys, registration.Key{ID: "k", Name: "x", End: today.AddDate(1, 0, 0)})
		}, "certificate x", "drover did not make it", false},
		"a subject that is trusted": {func(a *registration.Application, _ *[]registration.Permission) {
			a.Federated = append(a.Federated, registration.Federated{Name: "ci", Issuer: "i", Subject: "repo:x"})
		}, "federated credential ci", "repo:x", false},
		"an owner": {func(a *registration.Application, _ *[]registration.Permission) {
			a.Owners = append(a.Owners, registration.Owner{ID: "o2", UPN: "m@mssp.example"})
		}, "owner m@mssp.example", "drover did not make it", false},
		"a redirect URI of a native app": {func(a *registration.Application, _ *[]registration.Permission) {
			a.Public.URIs = []string{"http://localhost:1"}
		}, "redirect URI http://localhost:1", "drover did not make it", false},
		"a redirect URI that is gone": {func(a *registration.Application, _ *[]registration.Permission) { a.Web.URIs = nil }, "redirect URI https://mssp.example/cb", "not registered any more", false},
		"one tenant only":             {func(a *registration.Application, _ *[]registration.Permission) { a.Audience = registration.OneTenant }, "audience", "AzureADMyOrg", false},
		"a permission to read": {func(_ *registration.Application, p *[]registration.Permission) {
			*p = append(*p, registration.Permission{API: registration.Graph, Value: "Directory.Read.All"})
		}, "permission Microsoft Graph Directory.Read.All", "drover did not make it", false},
		"a permission to write": {func(_ *registration.Application, p *[]registration.Permission) {
			*p = append(*p, registration.Permission{API: registration.Graph, Value: "Mail.Send"})
		}, "permission Microsoft Graph Mail.Send", "more than reading", false},
		"a user's permission of that name": {func(_ *registration.Application, p *[]registration.Permission) {
			*p = append(*p, registration.Permission{API: registration.Graph, Value: "SecurityAlert.Read.All", Scope: true})
		}, "permission Microsoft Graph SecurityAlert.Read.All (delegated)", "drover did not make it", false},
		"a permission that is gone": {func(_ *registration.Application, p *[]registration.Permission) { *p = (*p)[:1] }, "permission WindowsDefenderATP Alert.Read.All", "not asked for any more", false},
		"no credential":             {func(a *registration.Application, _ *[]registration.Permission) { a.Passwords = nil }, "credentials", "none", false},
		"60 days": {func(a *registration.Application, _ *[]registration.Permission) {
			a.Passwords[0].End = today.AddDate(0, 0, 60)
		}, "client secret drover", "ends in 60 days", true},
		"7 days": {func(a *registration.Application, _ *[]registration.Permission) {
			a.Passwords[0].End = today.AddDate(0, 0, 7)
		}, "client secret drover", "ends in 7 days", true},
		"it has ended": {func(a *registration.Application, _ *[]registration.Permission) { a.Passwords[0].End = today }, "client secret drover", "has ended", false},
	} {
		t.Run(name, func(t *testing.T) {
			a, r := sound()
			perms := alerts()
			tt.change(a, &perms)
			var told []registration.Finding
			for _, f := range registration.Check(a, perms, r, nil, today) {
				if !f.OK || f.Warn {
					told = append(told, f)
				}
			}
			switch {
			case tt.what == "" && len(told) > 0:
				t.Errorf("found %+v", told)
			case tt.what == "":
			case len(told) != 1 || !strings.HasPrefix(told[0].What, tt.what) || !strings.Contains(told[0].Says, tt.says) || told[0].Warn != tt.warns || told[0].Hint == "":
				t.Errorf("found %+v, want %s … %s", told, tt.what, tt.says)
			}
		})
	}
}

func TestOnlyWhatReadsCountsAsReading(t *testing.T) {
	for value, reads := range map[string]bool{
		"SecurityAlert.Read.All": true, "Alert.Read.All": true, "Alert.Read": true, "User.Read": true, "User.ReadBasic.All": true, "ThreatHunting.Read.All": true, "DeviceManagementApps.Read.All": true,
		"SecurityAlert.ReadWrite.All": false, "Alert.ReadWrite": false, "Mail.Send": false, "Machine.Isolate": false, "Sites.FullControl.All": false, "Directory.AccessAsUser.All": false, "Application.ReadWrite.OwnedBy": false,
		"": false, "Read.All": false, "user_impersonation": false, "472e4a4d-bb4a-4026-98d1-0b0d74cb74a5": false, "Alert.Read.All Mail.Send": false, "RoleManagement.ReadWrite.Directory": false, "Alert.Readiness": false,
	} {
		if got := (registration.Permission{API: registration.Graph, Value: value}).Reads(); got != reads {
			t.Errorf("%q: %v", value, got)
		}
	}
}
