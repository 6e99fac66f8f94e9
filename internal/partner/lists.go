package partner

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"drover"
	"drover/internal/gdap"
	"drover/internal/httpx"
)

// Bounds of a list.
const (
	pageTop    = "300" // the longest page that Graph gives here (reference partner-gdap §3)
	centerSize = "500"
	maxPages   = 1000
	maxRows    = 100_000
)

var errEndless = errors.New("the list does not end")

// each reads a collection of Graph's whole, with a token of the partner's own.
func each[T any](ctx context.Context, c *Client, op, path string, query url.Values) (all []T, err error) {
	first := c.opt.Graph + "/v1.0" + path
	next := first
	if len(query) > 0 {
		next += "?" + query.Encode()
	}
	for range maxPages {
		var page struct {
			Value []T    `json:"value"`
			Next  string `json:"@odata.nextLink"`
		}
		if _, err := c.do(ctx, call{op: op, url: next, origin: c.opt.Graph, resource: c.opt.GraphResource}, &page); err != nil {
			return nil, err
		}
		if all = append(all, page.Value...); len(all) > maxRows {
			break
		}
		if page.Next == "" {
			return all, nil
		}
		if next, err = httpx.CheckLink(first, page.Next); err != nil {
			return nil, &drover.Error{Op: op, Kind: drover.Denied, Hint: "the next page lies elsewhere, and nothing was asked there; report it to Microsoft", Err: err}
		}
	}
	return nil, &drover.Error{Op: op, Kind: drover.Transient, Err: errEndless}
}

// roleList is unifiedRoles.
type roleList struct {
	Roles []struct {
		ID string `json:"roleDefinitionId"`
	} `json:"unifiedRoles"`
}

func (l roleList) ids() (out []string) {
	for _, r := range l.Roles {
		if r.ID != "" {
			out = append(out, strings.ToLower(r.ID))
		}
	}
	return out
}

// Relationships lists all of the partner's relationships, those that have ended
// too. A row that names no tenant is left out.
func (c *Client) Relationships(ctx context.Context) (out []gdap.Of, err error) {
	type row struct {
		ID       string `json:"id"`
		Name     string `json:"displayName"`
		Customer struct {
			Tenant string `json:"tenantId"`
			Name   string `json:"displayName"`
		} `json:"customer"`
		Access    roleList `json:"accessDetails"`
		Status    string   `json:"status"`
		Extends   string   `json:"autoExtendDuration"`
		Activated *string  `json:"activatedDateTime"`
		End       *string  `json:"endDateTime"`
	}
	rows, err := each[row](ctx, c, "list the partner's relationships", "/tenantRelationships/delegatedAdminRelationships", url.Values{"$top": {pageTop}})
	for _, r := range rows {
		id, bad := drover.ParseTenantID(r.Customer.Tenant)
		if bad != nil || r.ID == "" {
			continue // a request that no customer has accepted
		}
		out = append(out, gdap.Of{Customer: gdap.Named{Tenant: id, Name: shown(r.Customer.Name)},
			Relationship: gdap.Relationship{ID: r.ID, Name: shown(r.Name), Status: r.Status, Roles: r.Access.ids(), Activated: date(r.Activated), End: date(r.End), Extends: extends(r.Extends)}})
	}
	return out, hinted(err, "the onboarding app needs the delegated permission DelegatedAdminRelationship.Read.All of Microsoft Graph, with consent in the partner's tenant")
}

// extends reads autoExtendDuration: PT0S and P0D do not.
func extends(s string) bool { return strings.Trim(s, "PTDSMHYW0") != "" }

// date reads a time of Graph's, zero if there is none.
func date(s *string) time.Time {
	if s == nil {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, *s)
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}

// maxShown bounds a name that is shown, in bytes.
const maxShown = 256

func shown(name string) string {
	if len(name) > maxShown {
		name = name[:maxShown]
	}
	return strings.ToValidUTF8(name, "�")
}

// Assigned lists the roles of a relationship that are assigned to one of the
// groups.
func (c *Client) Assigned(ctx context.Context, relationship string, groups map[string]bool) (roles []string, err error) {
	type row struct {
		Status    string `json:"status"`
		Container struct {
			ID string `json:"accessContainerId"`
		} `json:"accessContainer"`
		Access roleList `json:"accessDetails"`
	}
	rows, err := each[row](ctx, c, "list who has the roles of a relationship", "/tenantRelationships/delegatedAdminRelationships/"+url.PathEscape(relationship)+"/accessAssignments", nil)
	for _, r := range rows {
		if r.Status == gdap.Active && groups[strings.ToLower(r.Container.ID)] {
			roles = append(roles, r.Access.ids()...)
		}
	}
	return roles, err
}

// Groups lists the groups of the partner's that the account is in, by ID.
func (c *Client) Groups(ctx context.Context) (map[string]bool, error) {
	type row struct {
		ID string `json:"id"`
	}
	rows, err := each[row](ctx, c, "list the groups of the account", "/me/transitiveMemberOf/microsoft.graph.group", url.Values{"$select": {"id"}})
	out := make(map[string]bool, len(rows))
	for _, r := range rows {
		out[strings.ToLower(r.ID)] = true
	}
	return out, hinted(err, "the onboarding app needs Directory.Read.All or GroupMember.Read.All")
}

// Customers lists those with an active relationship, for their names.
func (c *Client) Customers(ctx context.Context) ([]gdap.Named, error) {
	type row struct {
		Tenant string `json:"tenantId"`
		Name   string `json:"displayName"`
	}
	rows, err := each[row](ctx, c, "list the partner's customers", "/tenantRelationships/delegatedAdminCustomers", url.Values{"$top": {pageTop}})
	return named(rows, func(r row) (string, string, string) { return r.Tenant, r.Name, "" }), err
}

// Contracts lists customers by contract. Names are copies of once.
func (c *Client) Contracts(ctx context.Context) ([]gdap.Named, error) {
	type row struct {
		Tenant string `json:"customerId"`
		Name   string `json:"displayName"`
		Domain string `json:"defaultDomainName"`
	}
	rows, err := each[row](ctx, c, "list the partner's contracts", "/contracts", nil)
	return named(rows, func(r row) (string, string, string) { return r.Tenant, r.Name, r.Domain }), hinted(err, "the onboarding app needs Directory.Read.All")
}

func named[T any](rows []T, of func(T) (id, name, domain string)) (out []gdap.Named) {
	for _, r := range rows {
		id, name, domain := of(r)
		if t, err := drover.ParseTenantID(id); err == nil {
			out = append(out, gdap.Named{Tenant: t, Name: shown(name), Domain: shown(domain)})
		}
	}
	return out
}

// centerPage is a page of Partner Center's.
type centerPage struct {
	Items []struct {
		ID      string `json:"id"`
		Profile struct {
			Tenant string `json:"tenantId"`
			Name   string `json:"companyName"`
			Domain string `json:"domain"`
		} `json:"companyProfile"`
	} `json:"items"`
	Links struct {
		Next struct {
			URI     string `json:"uri"`
			Headers []struct {
				Key   string `json:"key"`
				Value string `json:"value"`
			} `json:"headers"`
		} `json:"next"`
	} `json:"links"`
}

// CenterCustomers lists the customers at Partner Center.
func (c *Client) CenterCustomers(ctx context.Context) ([]gdap.Named, error) {
	const op = "list the customers at Partner Center"
	first := c.opt.Center + "/v1/customers"
	next, header := first+"?size="+centerSize, http.Header{}
	var out []gdap.Named
	for range maxPages {
		var page centerPage
		if _, err := c.do(ctx, c.center(op, http.MethodGet, next, header), &page); err != nil {
			return nil, err
		}
		for _, i := range page.Items {
			if t, err := drover.ParseTenantID(cmp.Or(i.Profile.Tenant, i.ID)); err == nil {
				out = append(out, gdap.Named{Tenant: t, Name: shown(i.Profile.Name), Domain: shown(i.Profile.Domain)})
			}
		}
		if page.Links.Next.URI == "" {
			return out, nil
		}
		if len(out) > maxRows {
			break
		}
		link := page.Links.Next.URI
		if strings.HasPrefix(link, "/") {
			link = c.opt.Center + link
		}
		var err error
		if next, err = httpx.CheckLink(first, link); err != nil {
			return nil, &drover.Error{Op: op, Kind: drover.Denied, Hint: "the next page lies elsewhere, and nothing was asked there; report it to Microsoft", Err: err}
		}
		header = http.Header{}
		for _, h := range page.Links.Next.Headers {
			if strings.EqualFold(h.Key, "MS-ContinuationToken") { // no other header is taken from an answer
				header.Set("MS-ContinuationToken", h.Value)
			}
		}
	}
	return nil, &drover.Error{Op: op, Kind: drover.Transient, Err: errEndless}
}

// hinted adds a way out to a refusal that has none.
func hinted(err error, hint string) error {
	var e *drover.Error
	if errors.As(err, &e) && e.Kind == drover.Denied && e.Hint == "" {
		x := *e
		x.Hint = hint
		return &x
	}
	return err
}

// description is the text of Partner Center's refusals.
func description(body []byte) string {
	var v struct {
		Description string `json:"description"`
	}
	_ = json.Unmarshal(body, &v)
	return v.Description
}
