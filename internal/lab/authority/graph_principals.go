package authority

import (
	"net/http"
	"slices"
	"strings"
)

// principal is a service principal in the caller's tenant: of an API, or of an
// app.
type principal struct {
	id  string
	app *App        // nil: of an API
	api resourceAPI // of an API
}

// principalsOf lists the tenant's, as this request sees them.
func (q *call) principalsOf() (list []principal) {
	for _, r := range resourceAPIs {
		list = append(list, principal{id: objectID(q.t.ID, r.id), api: r})
	}
	for _, a := range q.d.apps {
		home := a.HomeTenant == q.t.ID && !a.record.bare && a.record.made.at.IsZero()
		if home || q.d.shown(q.t, a.ClientID) != None {
			list = append(list, principal{id: objectID(q.t.ID, a.ClientID), app: a})
		}
	}
	slices.SortFunc(list, func(a, b principal) int { return strings.Compare(a.id, b.id) })
	return list
}

func (p principal) appID() string {
	if p.app != nil {
		return p.app.ClientID
	}
	return p.api.id
}

func (p principal) name() string {
	if p.app != nil {
		return p.app.record.name
	}
	return p.api.name
}

func (p principal) show() map[string]any {
	roles, scopes := []map[string]any{}, []map[string]any{}
	for _, v := range p.api.roles {
		roles = append(roles, map[string]any{"id": permissionID(p.api.id, "Role", v), "value": v, "displayName": v, "description": v, "isEnabled": true, "allowedMemberTypes": []string{"Application"}})
	}
	for _, v := range p.api.scopes {
		scopes = append(scopes, map[string]any{"id": permissionID(p.api.id, "Scope", v), "value": v, "isEnabled": true, "type": "Admin", "adminConsentDisplayName": v})
	}
	return map[string]any{"id": p.id, "appId": p.appID(), "displayName": p.name(), "accountEnabled": true, "servicePrincipalType": "Application", "appRoles": roles, "oauth2PermissionScopes": scopes}
}

// principals answers what lies at /servicePrincipals.
func (q *call) principals(appID, id, below string) {
	below, segment, _ := strings.Cut(below, "/")
	need := mayRead
	switch {
	case q.r.Method == http.MethodGet:
	case below == "appRoleAssignments", below == "appRoleAssignedTo":
		need = mayGrant
	default:
		need = mayWrite
	}
	owner := below == "" && q.r.Method == http.MethodPost // of an app that one made oneself, which createPrincipal checks
	if !q.holds(need, owner) {
		q.denied()
		return
	}
	if appID == "" && id == "" {
		switch q.r.Method {
		case http.MethodGet:
			q.listPrincipals()
		case http.MethodPost:
			q.createPrincipal()
		default:
			q.wrongMethod()
		}
		return
	}
	list := q.principalsOf()
	i := slices.IndexFunc(list, func(p principal) bool {
		return strings.EqualFold(p.appID(), appID) || strings.EqualFold(p.id, id)
	})
	if i < 0 {
		q.absent(appID + id)
		return
	}
	p := list[i]
	switch {
	case below == "" && q.r.Method == http.MethodGet:
		q.one(http.StatusOK, "servicePrincipals", p.show())
	case below == "" && q.r.Method == http.MethodDelete && p.app != nil:
		if q.who.User != "" && !q.administers(ApplicationAdministrator, CloudApplicationAdministrator) {
			q.denied()
			return
		}
		q.d.agree(q.t, p.app.ClientID, None)
		q.w.WriteHeader(http.StatusNoContent)
	case below == "appRoleAssignments", below == "appRoleAssignedTo":
		q.assignmentsOf(p, below == "appRoleAssignedTo", segment)
	case below == "oauth2PermissionGrants" && q.r.Method == http.MethodGet:
		q.list("oauth2PermissionGrants", q.shared(p))
	default:
		q.wrongMethod()
	}
}

func (q *call) listPrincipals() {
	property, value, ok := q.filter()
	if !ok {
		return
	}
	var out []map[string]any
	for _, p := range q.principalsOf() {
		if property == "" || property == "appId" && strings.EqualFold(p.appID(), value) || property == "displayName" && strings.EqualFold(p.name(), value) {
			out = append(out, p.show())
		}
	}
	q.list("servicePrincipals", out)
}

// createPrincipal makes an app known in the tenant.
func (q *call) createPrincipal() {
	var b struct {
		AppID string `json:"appId"`
	}
	if !q.read(&b) {
		return
	}
	a := q.d.app(b.AppID)
	if a == nil || !q.d.knows(a.record.made) || a.HomeTenant != q.t.ID && !a.MultiTenant {
		q.fail(http.StatusBadRequest, "NoBackingApplicationObject", "The appId '"+b.AppID+"' of the service principal does not reference a valid application object.")
		return
	}
	if q.who.User != "" && !q.administers(ApplicationAdministrator, CloudApplicationAdministrator) && !slices.Contains(a.record.owners, q.who.User) {
		q.denied()
		return
	}
	if q.t.consent(a.ClientID).now != None {
		q.fail(http.StatusConflict, "Request_MultipleObjectsWithSameKeyValue", "The service principal cannot be created, updated, or restored because the service principal name "+a.ClientID+" is already in use.")
		return
	}
	q.d.agree(q.t, a.ClientID, Known)
	if a.HomeTenant == q.t.ID {
		a.record.bare = false
	}
	q.one(http.StatusCreated, "servicePrincipals", principal{id: objectID(q.t.ID, a.ClientID), app: a}.show())
}

// assignmentsOf lists, makes and removes grants of roles: those that a principal
// has, or (to) those that an API has given.
func (q *call) assignmentsOf(p principal, to bool, id string) {
	all := q.principalsOf()
	find := func(id string) (principal, bool) {
		i := slices.IndexFunc(all, func(o principal) bool { return strings.EqualFold(o.id, id) })
		if i < 0 {
			return principal{}, false
		}
		return all[i], true
	}
	show := func(a *App, g assigned) map[string]any {
		api, _ := apiOf(g.api)
		return map[string]any{"id": g.id, "appRoleId": permissionID(g.api, "Role", g.role), "principalId": objectID(q.t.ID, a.ClientID), "principalDisplayName": a.record.name, "principalType": "ServicePrincipal",
			"resourceId": objectID(q.t.ID, g.api), "resourceDisplayName": api.name, "createdDateTime": stampOf(g.at)}
	}
	switch {
	case q.r.Method == http.MethodGet && id == "":
		var out []map[string]any
		for _, o := range all {
			if o.app == nil {
				continue
			}
			for _, g := range q.d.assignments(q.t, o.app) {
				if (to && g.api == p.api.id || !to && o.id == p.id) && q.d.spread(g.since, q.d.ConsentDelay) {
					out = append(out, show(o.app, g))
				}
			}
		}
		q.list("appRoleAssignments", out)
	case q.r.Method == http.MethodDelete && id != "":
		for _, o := range all {
			if o.app != nil && q.d.unassign(q.t, o.app, id) {
				q.w.WriteHeader(http.StatusNoContent)
				return
			}
		}
		q.absent(id)
	case q.r.Method == http.MethodPost && id == "":
		var b struct {
			Principal string `json:"principalId"`
			Resource  string `json:"resourceId"`
			Role      string `json:"appRoleId"`
		}
		if !q.read(&b) {
			return
		}
		who, ok1 := find(b.Principal)
		what, ok2 := find(b.Resource)
		role := what.api.role(b.Role)
		switch {
		case !ok1 || !ok2 || who.app == nil || !to && who.id != p.id || to && what.id != p.id:
			q.absent(b.Principal)
		case q.who.User != "" && what.api.id == resourceIDs[graphURL] && !q.administers(PrivilegedRoleAdministrator): // no other role may give Graph's
			q.denied()
		case role == "":
			q.bad("Permission being assigned was not found on application '" + what.appID() + "'.")
		case slices.ContainsFunc(q.d.assignments(q.t, who.app), func(g assigned) bool { return g.api == what.api.id && g.role == role }):
			q.bad("Permission being assigned already exists on the object")
		default:
			g := assigned{id: randomText(32), api: what.api.id, role: role, at: q.d.Clock(), since: q.d.Clock()}
			if !q.d.Partner.GrantNoEffect {
				q.d.assign(q.t, who.app, g)
			}
			q.one(http.StatusCreated, "appRoleAssignments", show(who.app, g))
		}
	default:
		q.wrongMethod()
	}
}

// shared lists what signed-in users may by an app: in one grant for everybody.
func (q *call) shared(p principal) []map[string]any {
	if p.app == nil || q.d.shown(q.t, p.app.ClientID) < Delegated {
		return nil
	}
	api := resourceAPIs[0].id
	return []map[string]any{{"id": objectID(q.t.ID, "grant"+p.app.ClientID), "clientId": p.id, "consentType": "AllPrincipals", "principalId": nil, "resourceId": objectID(q.t.ID, api), "scope": strings.Join(p.app.scopes(), " ")}}
}

// grants answers what lies at /oauth2PermissionGrants.
func (q *call) grants(id string) {
	need := mayShare
	if q.r.Method == http.MethodGet {
		need = append(slices.Clone(mayShare), "Directory.Read.All")
	}
	if !q.holds(need, false) {
		q.denied()
		return
	}
	all := q.principalsOf()
	switch {
	case q.r.Method == http.MethodGet && id == "":
		var out []map[string]any
		for _, p := range all {
			out = append(out, q.shared(p)...)
		}
		q.list("oauth2PermissionGrants", out)
	case q.r.Method == http.MethodPost && id == "":
		var b struct {
			Client   string  `json:"clientId"`
			Type     string  `json:"consentType"`
			User     *string `json:"principalId"`
			Resource string  `json:"resourceId"`
			Scope    string  `json:"scope"`
		}
		if !q.read(&b) {
			return
		}
		i := slices.IndexFunc(all, func(p principal) bool { return p.app != nil && strings.EqualFold(p.id, b.Client) })
		j := slices.IndexFunc(all, func(p principal) bool { return p.app == nil && strings.EqualFold(p.id, b.Resource) })
		switch {
		case i < 0 || j < 0:
			q.absent(b.Client)
		case b.Type != "AllPrincipals":
			q.bad("consentType must be AllPrincipals here.")
		case !every(strings.Fields(b.Scope), func(s string) bool { return slices.Contains(all[j].api.scopes, s) }):
			q.bad("A scope is not one of the resource's.")
		default:
			a := all[i].app
			for _, s := range strings.Fields(b.Scope) {
				if !slices.Contains(a.scopes(), s) {
					a.Scopes = append(slices.Clone(a.scopes()), s)
				}
			}
			if q.t.consent(a.ClientID).now < Delegated {
				q.d.agree(q.t, a.ClientID, Delegated)
			}
			q.one(http.StatusCreated, "oauth2PermissionGrants", map[string]any{"id": objectID(q.t.ID, "grant"+a.ClientID), "clientId": b.Client, "consentType": b.Type, "principalId": nil, "resourceId": b.Resource, "scope": b.Scope})
		}
	default:
		q.wrongMethod()
	}
}
