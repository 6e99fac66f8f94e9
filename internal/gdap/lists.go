package gdap

import (
	"cmp"
	"slices"
	"strings"

	"drover"
)

// Names of the lists.
const (
	FromRelationships = "relationships"
	FromCustomers     = "customers"
	FromContracts     = "contracts"
	FromCenter        = "partner center"
)

// Named is a row of a list that gives names.
type Named struct {
	Tenant       drover.TenantID
	Name, Domain string
}

// Of is a relationship with the customer that it is with.
type Of struct {
	Customer Named
	Relationship
}

// Merge puts the lists together, by tenant. Names are taken from the newest
// active relationship first, then from the lists in the order of rank: contracts
// hold copies that are never updated.
func Merge(relationships []Of, lists map[string][]Named) []Customer {
	all := make(map[drover.TenantID]*Customer)
	at := func(n Named, list string) *Customer {
		c := all[n.Tenant]
		if c == nil {
			c = &Customer{Tenant: n.Tenant}
			all[n.Tenant] = c
		}
		if !slices.Contains(c.Lists, list) {
			c.Lists = append(c.Lists, list)
		}
		c.Name, c.Domain = cmp.Or(c.Name, n.Name), cmp.Or(c.Domain, n.Domain)
		return c
	}
	ordered := slices.Clone(relationships)
	slices.SortStableFunc(ordered, func(a, b Of) int {
		if x := cmp.Compare(rank(b), rank(a)); x != 0 {
			return x
		}
		return b.Activated.Compare(a.Activated)
	})
	for _, r := range ordered {
		c := at(r.Customer, FromRelationships)
		c.Relationships = append(c.Relationships, r.Relationship)
	}
	for _, list := range []string{FromCustomers, FromCenter, FromContracts} {
		for _, n := range lists[list] {
			at(n, list)
		}
	}
	out := make([]Customer, 0, len(all))
	for _, c := range all {
		if c.Name == "" && len(c.Relationships) > 0 {
			c.Name = c.Relationships[0].Name
		}
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b Customer) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), cmp.Compare(a.Tenant, b.Tenant))
	})
	return out
}

func rank(r Of) int {
	if r.Status == Active {
		return 1
	}
	return 0
}

// Slug makes a short name out of a display name; "" if nothing of it can be
// used.
func Slug(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() >= maxSlug {
			break
		}
	}
	return strings.Trim(b.String(), "-")
}

// maxSlug leaves room for what tells two customers of one name apart.
const maxSlug = 50

// Names gives each customer a short name that nobody else has: its own, else
// with the beginning of its tenant ID. taken are those that are in use.
func Names(customers []Customer, taken map[string]bool) map[drover.TenantID]string {
	used := make(map[string]bool)
	for n := range taken {
		used[strings.ToLower(n)] = true
	}
	out := make(map[drover.TenantID]string, len(customers))
	for _, c := range customers {
		name := Slug(c.Name)
		for n := 0; name == "" || used[name]; n += 4 {
			base := cmp.Or(Slug(c.Name), "customer")
			name = base + "-" + strings.Trim(string(c.Tenant)[:min(4+n, len(c.Tenant))], "-")
		}
		used[name] = true
		out[c.Tenant] = name
	}
	return out
}
