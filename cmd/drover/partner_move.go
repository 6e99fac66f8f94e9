package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/enrol"
)

// readByAccount are the names of the tenants that are read with the partner's own
// account.
func readByAccount(known []admin.TenantStatus) map[drover.TenantID]string {
	out := make(map[drover.TenantID]string)
	for _, t := range known {
		if t.App == drover.PartnerApp && t.State != drover.Removed {
			out[t.ID] = t.Name
		}
	}
	return out
}

// move has tenants that were read with the partner's account be read with the
// reading app's own permissions, once their tokens show these. Nothing else of
// them changes: they are read on from where they were. It says which.
func (o *bulk) move(c *cobra.Command, a *app, list []enrol.Result, byAccount map[drover.TenantID]string) (notes []string, err error) {
	var order admin.ApplyOrder
	for _, r := range list {
		if name := byAccount[r.Tenant]; name != "" && (r.Outcome == enrol.Granted || r.Outcome == enrol.Already) {
			order.Tenants = append(order.Tenants, admin.NewTenant{ID: string(r.Tenant), Name: name, App: a.partner.cfg.Reader})
		}
	}
	if order.Tenants == nil {
		return nil, nil
	}
	err = withOperator(c, func(api admin.API) error {
		done, err := api.ApplyTenants(c.Context(), order)
		for _, w := range done.Wrong {
			err = errors.Join(err, w)
		}
		for _, t := range done.Tenants {
			if t.What == admin.Changed {
				notes = append(notes, fmt.Sprintf("%s is read with the permissions of the app %s from now on, from where it was", t.Name, a.partner.cfg.Reader))
			}
		}
		return err
	})
	return notes, err
}
