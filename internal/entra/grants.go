package entra

import (
	"context"
	"slices"
	"strings"

	"drover"
)

// Grants are what a tenant has agreed to, as tokens of the app's own say it.
type Grants struct {
	Known bool     // the app is in the tenant
	Roles []string // of all APIs that were asked
	// Open lists the sources that the roles read, Lacks those that they do not.
	// Of Untold no role is known: their API does not say by which it is read.
	Open, Lacks, Untold []drover.SourceID
}

// Grants asks for a token of the app's own for each API of the sources, whatever
// the tenant is read by, and lists what they carry. Nothing is kept, and what is
// kept of other calls is not looked at. An error means that it cannot be told.
func (k *Tokens) Grants(ctx context.Context, t drover.Tenant, sources []drover.SourceID) (g Grants, err error) {
	carried := make(map[string]Permissions) // by API
	for _, s := range sources {
		r, err := k.resolve(t, s)
		if err != nil {
			return g, err
		}
		if Wants(s) == nil {
			g.Untold = append(g.Untold, s)
			continue
		}
		api := r.cloud.Resource(s)
		p, asked := carried[api]
		if !asked {
			got, err := k.appOnly(ctx, r)
			if err != nil && !absent(err) {
				return g, err
			}
			if err == nil {
				g.Known = true
				c, ok := readClaims(got.access)
				if ok && c.TID != "" && !strings.EqualFold(c.TID, string(t.ID)) {
					return g, r.stop("check the tenant's ID and the cloud's authority; the token was dropped unused", errWrongTenant)
				}
				p = c.permissions()
			}
			carried[api] = p
			for _, role := range p.List {
				if !slices.Contains(g.Roles, role) {
					g.Roles = append(g.Roles, role)
				}
			}
		}
		if open, _ := p.Open(s); open {
			g.Open = append(g.Open, s)
		} else {
			g.Lacks = append(g.Lacks, s)
		}
	}
	slices.Sort(g.Roles)
	return g, nil
}
