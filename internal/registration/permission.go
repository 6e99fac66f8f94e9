package registration

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"drover"
)

// APIs whose permissions are asked for, by their application IDs (reference
// mssp-onboarding §8). IDs of permissions are never written here: they are looked up.
const (
	Graph    = "00000003-0000-0000-c000-000000000000"
	Defender = "fc780465-2017-40d4-a0c5-307022471b92" // WindowsDefenderATP
	// OldGraph is Azure AD Graph, retired, whose audience the SIEM API's tokens
	// have (reference siem-api §5).
	OldGraph = "00000002-0000-0000-c000-000000000000"
)

// apiNames are what the portal calls them.
var apiNames = map[string]string{Graph: "Microsoft Graph", Defender: "WindowsDefenderATP", OldGraph: "Windows Azure Active Directory"}

// Permission is one that an app asks for or has.
type Permission struct {
	API   string `json:"api"`   // application ID of the API
	Value string `json:"value"` // SecurityAlert.Read.All; its ID where the API shows none
	Scope bool   `json:"scope"` // a signed-in user's, not the app's own
}

// String is how the portal names it.
func (p Permission) String() string {
	name := apiNames[p.API]
	if name == "" {
		name = p.API
	}
	kind := "application"
	if p.Scope {
		kind = "delegated"
	}
	return name + " " + p.Value + " (" + kind + ")"
}

// readOnly is what a permission to read looks like: Alert.Read.All, User.Read.
var readOnly = regexp.MustCompile(`^[A-Za-z]+(?:-[A-Za-z]+)?(?:\.[A-Za-z]+)*\.Read(?:Basic)?(?:\.All)?$`)

// Reads reports whether a permission is one to read, by its name: all others
// change something, or are not known.
func (p Permission) Reads() bool { return readOnly.MatchString(p.Value) }

// OnlyRead refuses permissions beyond read, and names them.
func OnlyRead(list []Permission) error {
	var beyond []string
	for _, p := range list {
		if !p.Reads() {
			beyond = append(beyond, p.String())
		}
	}
	if beyond == nil {
		return nil
	}
	return &drover.Error{Op: "choose permissions", Kind: drover.Refused, Err: fmt.Errorf("drover only reads, and asks for no more: %s", strings.Join(beyond, ", ")), Hint: "leave them out; reading alerts needs SecurityAlert.Read.All"}
}

// api is a service principal of an API.
type api struct {
	Roles []struct {
		ID      string `json:"id"`
		Value   string `json:"value"`
		Enabled bool   `json:"isEnabled"`
	} `json:"appRoles"`
	Scopes []struct {
		ID    string `json:"id"`
		Value string `json:"value"`
	} `json:"oauth2PermissionScopes"`
}

func (c *Client) api(ctx context.Context, id string) (a api, err error) {
	err = c.call(ctx, "look up the permissions of "+nameOf(id), http.MethodGet, "/servicePrincipals(appId='"+url.PathEscape(id)+"')?$select=appId,appRoles,oauth2PermissionScopes", nil, &a)
	if unseen(err) {
		err = &drover.Error{Op: "look up the permissions of " + nameOf(id), Kind: drover.Denied, Err: err,
			Hint: "this tenant has no service principal of that API: leave its permissions out, or have an admin make one for application ID " + id}
	}
	return a, err
}

func nameOf(id string) string {
	if n := apiNames[id]; n != "" {
		return n
	}
	return "API " + id
}

// resolve finds the IDs of permissions by their values.
func (c *Client) resolve(ctx context.Context, list []Permission) (out []Required, err error) {
	out = []Required{}
	var missing []string
	for _, id := range apisOf(list) {
		a, err := c.api(ctx, id)
		if err != nil {
			return nil, err
		}
		r := Required{API: id}
		for _, p := range list {
			if p.API != id {
				continue
			}
			if got, ok := a.find(p); ok {
				r.Access = append(r.Access, got)
			} else {
				missing = append(missing, p.String())
			}
		}
		out = append(out, r)
	}
	if missing != nil {
		return nil, &drover.Error{Op: "look up permissions", Kind: drover.Refused, Err: fmt.Errorf("there is no %s", strings.Join(missing, ", ")), Hint: "is the name right, and is it one of that API?"}
	}
	return out, nil
}

func (a api) find(p Permission) (Access, bool) {
	for _, s := range a.Scopes {
		if p.Scope && s.Value == p.Value {
			return Access{s.ID, "Scope"}, true
		}
	}
	for _, r := range a.Roles {
		if !p.Scope && r.Value == p.Value && r.Enabled {
			return Access{r.ID, "Role"}, true
		}
	}
	return Access{}, false
}

func apisOf(list []Permission) (ids []string) {
	for _, p := range list {
		if !slices.Contains(ids, p.API) {
			ids = append(ids, p.API)
		}
	}
	return ids
}

// Permissions names what an app asks for. One whose API does not show it keeps
// its ID as value, and so does not count as one to read.
func (c *Client) Permissions(ctx context.Context, a *Application) (list []Permission, err error) {
	for _, r := range a.Required {
		known, err := c.api(ctx, r.API)
		if err != nil && !unseen(err) {
			return nil, err
		}
		for _, x := range r.Access {
			p := Permission{API: r.API, Value: x.ID, Scope: x.Type == "Scope"}
			for _, v := range known.Roles {
				if v.ID == x.ID && !p.Scope {
					p.Value = v.Value
				}
			}
			for _, v := range known.Scopes {
				if v.ID == x.ID && p.Scope {
					p.Value = v.Value
				}
			}
			list = append(list, p)
		}
	}
	return list, nil
}
