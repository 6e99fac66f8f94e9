package lab

import (
	"fmt"
	"math/rand/v2"

	"drover/internal/lab/authority"
)

// centerAudience is Partner Center's.
const (
	centerAudience = "https://api.partnercenter.microsoft.com"
	centerID       = "fa3d9a0c-3fb0-42cc-9193-47c7ecd2edbd"
)

// PartnerAccount signs in for the MSSP as a partner. It is of the groups
// AdminAgents and PartnerGroup.
const PartnerAccount = "partner@mssp.example"

// PartnerGroup is what relationships give their roles to.
const PartnerGroup = "9b0c57e1-0000-4000-8000-0000000000bb"

// PartnerRoles are what a relationship must hold so that the reader's
// permissions can be granted.
var PartnerRoles = []string{authority.CloudApplicationAdministrator, authority.PrivilegedRoleAdministrator, authority.SecurityReader}

// partner makes the MSSP a partner: an app for onboarding, an account, and with
// each customer a relationship. No customer has consented to the reader app.
func (l *Lab) partner() {
	rng := rand.New(rand.NewPCG(l.opt.Seed, 7))
	l.onboardID = guid(rng)
	l.onboardSecret = fmt.Sprintf("lab~%016x%016x", rng.Uint64(), rng.Uint64())
	l.directory.AddApp(authority.App{ClientID: l.onboardID, MultiTenant: true, HomeTenant: HomeTenant, RedirectURIs: []string{"http://localhost"},
		Scopes: []string{"user_impersonation", "User.Read", "DelegatedAdminRelationship.Read.All", "Directory.Read.All", "Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All", "SecurityAlert.Read.All", "SecurityIncident.Read.All"}})
	l.directory.AddSecret(l.onboardID, l.onboardSecret, l.opt.Clock().AddDate(1, 0, 0))
	l.directory.Consent(HomeTenant, l.onboardID, authority.Delegated)
	l.directory.AddUser(HomeTenant, PartnerAccount, false)
	l.directory.Join(PartnerAccount, authority.AdminAgents, PartnerGroup)
	for i, c := range l.customers {
		l.directory.Consent(c.Tenant, l.appID, authority.None)
		l.directory.Consent(c.Tenant, l.publicID, authority.None)
		l.directory.Relate(authority.Relationship{ID: fmt.Sprintf("%s-%s", c.Tenant, guid(rng)), Partner: HomeTenant, Customer: c.Tenant, Name: c.Name + "-soc", Called: "The " + c.Name + " Company",
			Roles: PartnerRoles, Assignments: []authority.Assignment{{Group: PartnerGroup}}})
		if i%2 == 0 { // others have a relationship and no contract
			l.directory.Contract(HomeTenant, c.Tenant, c.Name+" as it was called once")
		}
	}
}

// OnboardingApp is the partner's app for onboarding, with its secret; "" unless
// the MSSP is a partner.
func (l *Lab) OnboardingApp() (id, secret string) { return l.onboardID, l.onboardSecret }
