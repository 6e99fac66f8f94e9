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

// undelegated leaves out of a delegated run who is read with an app's own
// permissions, which is the better way, and says so.
func undelegated(list []enrol.Candidate, byAccount map[drover.TenantID]string) (left []enrol.Candidate, notes []string) {
	for _, c := range list {
		if c.State != "" && c.State != drover.Removed && byAccount[c.Tenant] == "" {
			notes = append(notes, c.Short+" is read already, with an app's own permissions, and stays so")
			continue
		}
		left = append(left, c)
	}
	return left, notes
}

// scopes are those of the onboarding app's that a delegated run needs.
func (o *bulk) scopes(sources []drover.SourceID) (scopes []string, err error) {
	for _, s := range sources {
		if readingScopes[s] == "" {
			return nil, usageError{&drover.Error{Op: opPartnerConnect, Kind: drover.Refused, Hint: "leave it out; once the customer's admin has consented the onboarding app to it, add it by drover tenant apply", Err: fmt.Errorf("%s cannot be granted for the partner's account: Partner Center is asked for Microsoft Graph alone", s)}}
		}
		scopes = append(scopes, readingScopes[s])
	}
	return scopes, nil
}
