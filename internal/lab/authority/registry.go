package authority

import (
	"slices"
	"strings"
	"time"
)

// record is what Graph shows of a registration besides what Entra needs.
type record struct {
	objectID  string // the application's own ID, which is not its client ID
	name      string
	audience  string // signInAudience
	created   time.Time
	made      birth
	bare      bool     // it has no service principal in its own tenant yet
	owners    []string // users of the home tenant
	uris      []string // identifierUris
	public    []string // redirect URIs of publicClient
	required  []required
	federated []federated
	keys      map[string]keyInfo // by thumbprint: what the certificates do not say themselves
}

// birth is when something was made through Graph, and how long it takes until
// every server knows it. The zero birth is of what is long known.
type birth struct {
	at   time.Time
	over Span
}

// born is the birth of what is made now.
func (d *Directory) born() birth { return birth{d.Clock(), d.DirectoryDelay} }

// knows reports whether one request meets a server that knows it.
func (d *Directory) knows(b birth) bool { return d.spread(b.at, b.over) }

// keyInfo is what stands at a certificate.
type keyInfo struct {
	id, name string
	made     birth
}

// required is one API in a registration (requiredResourceAccess).
type required struct {
	API    string   `json:"resourceAppId"`
	Access []access `json:"resourceAccess"`
}

// access is one permission of it: Role for the app itself, Scope for a user.
type access struct {
	ID   string `json:"id"`
	Type string `json:"type"`
}

// federated is a trust in tokens of another issuer.
type federated struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Issuer      string   `json:"issuer"`
	Subject     string   `json:"subject"`
	Audiences   []string `json:"audiences"`
	Description string   `json:"description"`
	made        birth
}

// assigned is one appRoleAssignment of an app in a tenant.
type assigned struct {
	id, api, role string // role: its value
	at, since     time.Time
}

// resourceAPI is an API whose permissions are granted, with the service
// principal that it has in every tenant.
type resourceAPI struct {
	id, name      string
	roles, scopes []string
}

// resourceAPIs are those of which the lab knows permissions. Their IDs are the
// lab's own: who writes Microsoft's into a program instead of looking them up
// by value finds nothing.
var resourceAPIs = []resourceAPI{
	{resourceIDs[graphURL], "Microsoft Graph",
		[]string{"SecurityAlert.Read.All", "SecurityAlert.ReadWrite.All", "SecurityIncident.Read.All", "SecurityIncident.ReadWrite.All", "ThreatHunting.Read.All", "Application.Read.All", "Application.ReadWrite.OwnedBy", "Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All", "Directory.Read.All"},
		[]string{"User.Read", "DelegatedAdminRelationship.Read.All", "GroupMember.Read.All", "SecurityAlert.Read.All", "SecurityAlert.ReadWrite.All", "SecurityIncident.Read.All", "SecurityIncident.ReadWrite.All", "Application.Read.All", "Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All", "DelegatedPermissionGrant.ReadWrite.All", "Directory.Read.All"}},
	{resourceIDs["https://api.securitycenter.microsoft.com"], "WindowsDefenderATP",
		[]string{"Alert.Read.All", "Alert.ReadWrite.All", "Machine.Read.All", "Machine.Isolate"}, []string{"Alert.Read", "Alert.ReadWrite"}},
	{resourceIDs["https://api.security.microsoft.com"], "Microsoft Threat Protection",
		[]string{"Incident.Read.All", "Incident.ReadWrite.All"}, []string{"Incident.Read", "Incident.ReadWrite"}},
	{resourceIDs["https://graph.windows.net"], "Windows Azure Active Directory", nil, []string{"User.Read"}},
}

// permissionID is the ID of a permission: the same in every tenant.
func permissionID(api, kind, value string) string { return objectID(api+" "+kind, value) }

func (r resourceAPI) role(id string) string {
	for _, v := range r.roles {
		if permissionID(r.id, "Role", v) == strings.ToLower(id) {
			return v
		}
	}
	return ""
}

func (r resourceAPI) scope(id string) string {
	for _, v := range r.scopes {
		if permissionID(r.id, "Scope", v) == strings.ToLower(id) {
			return v
		}
	}
	return ""
}

func apiOf(appID string) (resourceAPI, bool) {
	i := slices.IndexFunc(resourceAPIs, func(r resourceAPI) bool { return r.id == strings.ToLower(appID) })
	if i < 0 {
		return resourceAPI{}, false
	}
	return resourceAPIs[i], true
}

// complete fills in what a registration that nobody made through Graph has.
func (r *record) complete(a *App) {
	if r.objectID == "" {
		r.objectID, r.name = objectID("application", strings.ToLower(a.ClientID)), "lab "+a.ClientID
	}
	r.audience = "AzureADMyOrg"
	if a.MultiTenant {
		r.audience = "AzureADMultipleOrgs"
	}
	if r.keys == nil {
		r.keys = make(map[string]keyInfo)
	}
	if r.required != nil {
		return
	}
	for _, api := range resourceAPIs {
		one := required{API: api.id}
		for _, v := range a.Roles {
			if slices.Contains(api.roles, v) {
				one.Access = append(one.Access, access{permissionID(api.id, "Role", v), "Role"})
			}
		}
		if one.Access != nil {
			r.required = append(r.required, one)
		}
	}
}

// require sets what a registration asks for. Tenants that agreed before keep
// what they agreed to: a permission that is added later needs consent again.
func (d *Directory) require(a *App, list []required) {
	for _, t := range d.tenants {
		if t.consent(a.ClientID).now == Granted {
			t.roles[strings.ToLower(a.ClientID)] = d.assignments(t, a)
		}
	}
	a.record.required, a.Roles, a.Scopes = list, nil, nil
	for _, one := range list {
		api, _ := apiOf(one.API)
		for _, p := range one.Access {
			if v := api.role(p.ID); v != "" && p.Type == "Role" {
				a.Roles = append(a.Roles, v)
			}
			if v := api.scope(p.ID); v != "" && p.Type == "Scope" {
				a.Scopes = append(a.Scopes, v)
			}
		}
	}
}

// assignments lists what an app is granted in a tenant, one by one.
func (d *Directory) assignments(t *Tenant, a *App) []assigned {
	list, ok := t.roles[strings.ToLower(a.ClientID)]
	c := t.consent(a.ClientID)
	if ok || c.now != Granted {
		return list
	}
	for _, v := range a.Roles {
		for _, api := range resourceAPIs {
			if slices.Contains(api.roles, v) {
				list = append(list, assigned{id: randomText(32), api: api.id, role: v, at: c.since})
				break
			}
		}
	}
	t.roles[strings.ToLower(a.ClientID)] = list // so that their IDs stay
	return list
}

// rolesOf is what a token of the app itself holds in a tenant, as one request
// sees it.
func (d *Directory) rolesOf(t *Tenant, a *App) []string {
	list, ok := t.roles[strings.ToLower(a.ClientID)]
	if !ok {
		return a.Roles
	}
	var out []string
	for _, g := range list {
		if d.spread(g.since, d.ConsentDelay) {
			out = append(out, g.role)
		}
	}
	return out
}

// assign grants one role. Where it is the first, the app's consent changes.
func (d *Directory) assign(t *Tenant, a *App, g assigned) {
	list := append(d.assignments(t, a), g)
	d.agree(t, a.ClientID, Granted)
	t.roles[strings.ToLower(a.ClientID)] = list
}

// unassign takes one back; false if there is none of that ID.
func (d *Directory) unassign(t *Tenant, a *App, id string) bool {
	list := d.assignments(t, a)
	i := slices.IndexFunc(list, func(g assigned) bool { return g.id == id })
	if i < 0 {
		return false
	}
	list = slices.Delete(slices.Clone(list), i, i+1)
	if len(list) == 0 {
		d.agree(t, a.ClientID, Known)
	}
	t.roles[strings.ToLower(a.ClientID)] = list
	return true
}

// Roles sets which roles an app has in a tenant that has agreed, whatever its
// registration asks for now: of a consent that is older than that.
func (d *Directory) Roles(tenant, client string, roles []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tenants[tenant]
	var list []assigned
	for _, v := range roles {
		for _, api := range resourceAPIs {
			if slices.Contains(api.roles, v) {
				list = append(list, assigned{id: randomText(32), api: api.id, role: v, at: t.consent(client).since})
				break
			}
		}
	}
	t.roles[strings.ToLower(client)] = list
}
