package partner

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"drover"
	"drover/internal/gdap"
)

// Directory is a customer's directory, as the partner may change it: service
// principals, and the roles that one is granted. It holds one token of that
// tenant.
type Directory struct {
	c      *Client
	tenant drover.TenantID
	token  drover.Secret
}

// Directory returns it. The token must be one of the tenant's Graph.
func (c *Client) Directory(tenant drover.TenantID, token drover.Secret) *Directory {
	return &Directory{c, tenant, token}
}

func (d *Directory) call(op, method, path string, in any) call {
	return call{op: op, method: method, url: d.c.opt.Graph + "/v1.0" + path, origin: d.c.opt.Graph, tenant: d.tenant, token: d.token, in: in}
}

// principal is a service principal.
type principal struct {
	ID    string `json:"id"`
	Roles []struct {
		ID      string `json:"id"`
		Value   string `json:"value"`
		Enabled bool   `json:"isEnabled"`
	} `json:"appRoles"`
}

// Principal finds an app's service principal; there false if there is none, or
// none that shows yet. roles are the IDs of what it gives, by value.
func (d *Directory) Principal(ctx context.Context, app string) (id string, roles map[string]string, there bool, err error) {
	var p principal
	_, err = d.c.do(ctx, d.call("look up a service principal", http.MethodGet, "/servicePrincipals(appId='"+url.PathEscape(app)+"')?$select=id,appId,appRoles", nil), &p)
	var e *drover.Error
	if errors.As(err, &e) && (e.Code == "Request_ResourceNotFound" || e.Code == "graph 404") {
		return "", nil, false, nil
	}
	roles = make(map[string]string)
	for _, r := range p.Roles {
		if r.Enabled {
			roles[r.Value] = r.ID
		}
	}
	return p.ID, roles, err == nil && p.ID != "", err
}

// Make makes an app known in the tenant. One that is there is no error.
func (d *Directory) Make(ctx context.Context, app string) error {
	_, err := d.c.do(ctx, d.call("make a service principal", http.MethodPost, "/servicePrincipals", map[string]string{"appId": app}), nil)
	return unlessThere(err)
}

// Granted lists the roles of a principal.
func (d *Directory) Granted(ctx context.Context, id string) ([]gdap.Role, error) {
	var page struct {
		Value []gdap.Role `json:"value"`
	}
	_, err := d.c.do(ctx, d.call("list granted roles", http.MethodGet, "/servicePrincipals/"+url.PathEscape(id)+"/appRoleAssignments", nil), &page)
	return page.Value, err
}

// Grant grants a role. One that is granted is no error.
func (d *Directory) Grant(ctx context.Context, id string, r gdap.Role) error {
	_, err := d.c.do(ctx, d.call("grant a role", http.MethodPost, "/servicePrincipals/"+url.PathEscape(id)+"/appRoleAssignments",
		map[string]string{"principalId": id, "resourceId": r.API, "appRoleId": r.ID}), nil)
	return unlessThere(err)
}

func unlessThere(err error) error {
	var e *drover.Error
	if errors.As(err, &e) && e.Code == gdap.CodeExists {
		return nil
	}
	return err
}
