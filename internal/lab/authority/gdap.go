package authority

import (
	"slices"
	"strings"
	"time"
)

// Role templates that a relationship may hold (reference partner-gdap §2).
const (
	GlobalAdministrator           = "62e90394-69f5-4237-9190-012177145e10"
	PrivilegedRoleAdministrator   = "e8611ab8-c189-46e8-94e1-60213ab1f814"
	ApplicationAdministrator      = "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3"
	CloudApplicationAdministrator = "158c047a-c907-4556-b7ef-446551a6b5f7"
	SecurityReader                = "5d6b6bb7-de71-4623-b4af-96380a352509"
)

// AdminAgents is the ID of the partner's group of that name, without which
// Partner Center refuses.
const AdminAgents = "ad317a9e-0000-4000-8000-0000000000aa"

// Assignment gives roles of a relationship to a group of the partner's.
type Assignment struct {
	ID     string   `json:"id"`
	Group  string   `json:"group"`
	Status string   `json:"status"` // active unless something else is said
	Roles  []string `json:"roles"`  // none: all of the relationship's
}

// Relationship is a delegated admin relationship between a partner's tenant and
// a customer's.
type Relationship struct {
	ID          string       `json:"id"`
	Partner     string       `json:"partner"`
	Customer    string       `json:"customer"`
	Name        string       `json:"name"`
	Called      string       `json:"called"` // the customer's display name
	Roles       []string     `json:"roles"`
	Status      string       `json:"status"` // active, approvalPending, terminated …
	Created     time.Time    `json:"created"`
	Activated   time.Time    `json:"activated"`
	End         time.Time    `json:"end"`
	Extends     string       `json:"extends"` // autoExtendDuration: PT0S, P180D
	Reseller    bool         `json:"reseller"`
	Shows       time.Time    `json:"shows"` // nobody sees it before
	Assignments []Assignment `json:"assignments"`
}

// gdap is what partners have.
type gdap struct {
	relationships []*Relationship
	groups        map[string][]string          // by user
	contracts     map[string]map[string]string // by partner: customer → the name that was copied once
	asked         []time.Time                  // at Partner Center
}

// Relate adds a relationship, or replaces that of the same ID. What is left out
// is as of one that is active, for two years from now.
func (d *Directory) Relate(r Relationship) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.Clock()
	if r.ID == "" {
		r.ID = newGUID() + "-" + newGUID()
	}
	if r.Status == "" {
		r.Status = "active"
	}
	if r.Created.IsZero() {
		r.Created = now.Add(-30 * 24 * time.Hour)
	}
	if r.Activated.IsZero() {
		r.Activated = r.Created.Add(2 * time.Minute)
	}
	if r.End.IsZero() {
		r.End = now.Add(700 * 24 * time.Hour)
	}
	if r.Extends == "" {
		r.Extends = "PT0S"
	}
	for i := range r.Assignments {
		a := &r.Assignments[i]
		if a.ID == "" {
			a.ID = newGUID()
		}
		if a.Status == "" {
			a.Status = "active"
		}
		if a.Roles == nil {
			a.Roles = r.Roles
		}
	}
	i := slices.IndexFunc(d.gdap.relationships, func(o *Relationship) bool { return o.ID == r.ID })
	if i < 0 {
		d.gdap.relationships = append(d.gdap.relationships, &r)
	} else {
		d.gdap.relationships[i] = &r
	}
}

// Unrelate takes a relationship away as if it had never been; false if there is
// none of that ID.
func (d *Directory) Unrelate(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	was := len(d.gdap.relationships)
	d.gdap.relationships = slices.DeleteFunc(d.gdap.relationships, func(r *Relationship) bool { return r.ID == id })
	return len(d.gdap.relationships) < was
}

// Relationships returns a copy of all.
func (d *Directory) Relationships() []Relationship {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := []Relationship{}
	for _, r := range d.gdap.relationships {
		one := *r
		one.Assignments = slices.Clone(r.Assignments)
		out = append(out, one)
	}
	return out
}

// Join makes a user a member of groups, and of no others.
func (d *Directory) Join(user string, groups ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gdap.groups == nil {
		d.gdap.groups = make(map[string][]string)
	}
	d.gdap.groups[user] = groups
}

// Contract makes a customer one of a partner's by contract, under a name that is
// never updated; "" ends it.
func (d *Directory) Contract(partner, customer, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gdap.contracts == nil {
		d.gdap.contracts = make(map[string]map[string]string)
	}
	if d.gdap.contracts[partner] == nil {
		d.gdap.contracts[partner] = make(map[string]string)
	}
	d.gdap.contracts[partner][customer] = name
	if name == "" {
		delete(d.gdap.contracts[partner], customer)
	}
}

// Share has a tenant grant what users may by an app, of one API, as a consent
// through Partner Center does.
func (d *Directory) Share(tenant, client, api string, scopes ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tenants[tenant]
	t.share(client, api, scopes)
	if t.consent(client).now < Delegated {
		d.agree(t, client, Delegated)
	}
}

// GivePartnerToken makes a refresh token as a user's sign-in to Partner Center
// would have, with or without a second factor.
func (d *Directory) GivePartnerToken(client, user string, mfa bool) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.families++
	return d.newRefresh(refresh{client: client, tenant: d.home(user).ID, user: user, audience: centerURL, mfa: mfa, family: d.families})
}

// state is what a relationship is called now: its end comes by itself.
func (d *Directory) state(r *Relationship) string {
	if r.Status != "active" || d.Partner.ActiveAfterEnd {
		return r.Status
	}
	for r.Extends == "P180D" && !d.Clock().Before(r.End) { // on the day of its end it moves
		r.End = r.End.Add(180 * 24 * time.Hour)
	}
	if !d.Clock().Before(r.End) {
		return "expired"
	}
	return r.Status
}

// seen lists the relationships of a partner's that show.
func (d *Directory) seen(partner string) (out []*Relationship) {
	for _, r := range d.gdap.relationships {
		if r.Partner == partner && !d.Clock().Before(r.Shows) {
			out = append(out, r)
		}
	}
	return out
}

// between lists those with one customer.
func (d *Directory) between(partner, customer string) (out []*Relationship) {
	for _, r := range d.seen(partner) {
		if r.Customer == customer {
			out = append(out, r)
		}
	}
	return out
}

// partnerRoles are the roles that a partner's user has in a customer: of active
// relationships, by active assignments, through groups. related says that there
// is an active relationship at all.
func (d *Directory) partnerRoles(user, customer string) (roles []string, related bool) {
	home := d.home(user)
	if home == nil {
		return nil, false
	}
	for _, r := range d.between(home.ID, customer) {
		now := d.Clock()
		if d.state(r) != "active" || !now.Before(r.End) || !d.spread(r.Activated, d.Partner.RelationshipDelay) {
			continue
		}
		related = true
		for _, a := range r.Assignments {
			if a.Status == "active" && slices.Contains(d.gdap.groups[user], a.Group) {
				roles = append(roles, a.Roles...)
			}
		}
	}
	return roles, related
}

// partnered reports whether a user comes to a tenant as its partner's.
func (d *Directory) partnered(user string, t *Tenant) bool {
	home := d.home(user)
	return home != nil && home.ID != t.ID && len(d.between(home.ID, t.ID)) > 0
}

// delegated lets a partner's user into a customer's tenant, or says why not
// (reference partner-gdap §1.6).
func (s *Server) delegated(q *request, t *Tenant, user string, mfa bool) *refusal {
	d := s.opt.Directory
	p := d.Partner
	roles, related := d.partnerRoles(user, t.ID)
	_, guest := t.users[user]
	switch {
	case guest:
		return partnerCode(p.Guest, 65001, user)
	case !related:
		return partnerCode(p.NoRelationship, 50020, user)
	case len(roles) == 0:
		return partnerCode(p.NoGroup, 50020, user)
	case d.shown(t, q.app.ClientID) == None:
		return partnerCode(p.NoPrincipal, 700016, q.app.ClientID)
	case d.shown(t, q.app.ClientID) < Delegated || len(s.scopesIn(q, t)) == 0:
		return notConsented(q.app.ClientID)
	case !mfa:
		return policy(50076)
	case t.policy != 0 && !secondFactor(t.policy):
		return policy(t.policy)
	}
	if d.LoopAfter > 0 && d.count(strings.Join([]string{q.app.ClientID, t.ID, user, q.audience}, " "), 5*time.Minute) > d.LoopAfter {
		return &refusal{status: 400, code: 50196, word: "invalid_grant", text: "The server terminated an operation because it encountered a client request loop."}
	}
	return nil
}

// partnerCode is the refusal with a switch's number, or its usual one; -1 has no
// number at all.
func partnerCode(code, usually int, who string) *refusal {
	if code == 0 {
		code = usually
	}
	switch code {
	case -1:
		return &refusal{status: 400, word: "invalid_grant", text: "User was not found."}
	case 65001:
		return notConsented(who)
	case 700016:
		return noApp(who)
	}
	return onDemand(code, "")
}

// share sets what users may by an app in one tenant, of one API.
func (t *Tenant) share(client, api string, scopes []string) {
	if t.shared == nil {
		t.shared = make(map[string]map[string][]string)
	}
	client = strings.ToLower(client)
	if t.shared[client] == nil {
		t.shared[client] = make(map[string][]string)
	}
	t.shared[client][api] = scopes
}

// scopesIn are what a user may by the app in a tenant: what the tenant has
// granted one by one, else all of the registration's.
func (s *Server) scopesIn(q *request, t *Tenant) []string {
	if t == nil || t.shared[strings.ToLower(q.app.ClientID)] == nil {
		return s.granted(q, q.app.scopes())
	}
	var list []string
	for _, scopes := range t.shared[strings.ToLower(q.app.ClientID)] {
		list = append(list, scopes...)
	}
	return s.granted(q, list)
}

// administers reports whether whoever signed in has one of the roles in the
// tenant of the token, as its admin or as its partner.
func (q *call) administers(one ...string) bool {
	if q.d.partnered(q.who.User, q.t) {
		roles, _ := q.d.partnerRoles(q.who.User, q.t.ID)
		return slices.ContainsFunc(roles, func(r string) bool { return r == GlobalAdministrator || slices.Contains(one, r) })
	}
	admin, _ := q.t.member(q.who.User)
	return admin
}

// unmapped is what Graph says where a partner's user has no role that maps to
// anything (reference partner-gdap §1.6); true if it was said.
func (q *call) unmapped() bool {
	if !q.d.Partner.Unsupported || !q.d.partnered(q.who.User, q.t) || q.administers(ApplicationAdministrator, CloudApplicationAdministrator, PrivilegedRoleAdministrator) {
		return false
	}
	q.bad("Unsupported token. Unable to initialize the authorization context.")
	return true
}

// readers are the roles that read Defender (reference partner-gdap §2).
var readers = []string{GlobalAdministrator, SecurityReader, "f2ef992c-3afb-46b9-b7cf-a126ee74c451", "194ae4cb-b126-40b2-bd5b-6091b380977d"}

// Reads are the scopes by which a token reads Defender: of a partner's user none,
// unless a role that reads comes with a relationship.
func (d *Directory) Reads(c Claims) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.tenants[c.TenantID]; t != nil && c.User != "" && d.partnered(c.User, t) {
		roles, _ := d.partnerRoles(c.User, t.ID)
		if !slices.ContainsFunc(roles, func(r string) bool { return slices.Contains(readers, r) }) {
			return nil
		}
	}
	return strings.Fields(c.Scope)
}

// Scoped reports whether Defender shows a token's user some rows alone.
func (d *Directory) Scoped(c Claims) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tenants[c.TenantID]
	return d.Partner.Scoped && t != nil && c.User != "" && d.partnered(c.User, t)
}
