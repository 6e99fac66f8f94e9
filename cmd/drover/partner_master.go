package main

import (
	"context"
	"errors"
	"fmt"

	"drover"
	"drover/internal/enrol"
	"drover/internal/entra"
)

const opMaster = "read with the partner's sign-in"

// master is the kept sign-in of the partner's, with which customers are read whose
// app is drover.PartnerApp.
type master struct{ a *app }

// Refresh is entra.Master.Refresh.
func (m master) Refresh(ctx context.Context, t drover.Tenant) (drover.Secret, error) {
	d := m.a.partner
	stop := func(app bool, hint string, err error) error {
		return &drover.Error{Op: opMaster, Tenant: t.ID, Kind: drover.Denied, App: app, Hint: hint, Err: err}
	}
	if t.Cloud != d.cfg.Cloud { // its authority must never see the token
		return drover.Secret{}, stop(false, "give the tenant another app: drover tenant apply", fmt.Errorf("the partner is of the cloud %s, and the tenant of %s", d.cfg.Cloud, t.Cloud))
	}
	if m.a.store == nil {
		return drover.Secret{}, stop(true, "use drover run, or drover tenant check", errors.New("the sign-in is in the ledger, which is not open here"))
	}
	saved, there, err := d.Load(ctx, t)
	if err == nil && !there {
		err = stop(true, "sign in: drover partner connect --keep", errors.New("there is no sign-in of the partner's"))
		d.failed(err)
	}
	return saved.Token, err
}

// Whose is entra.Master.Whose. A refusal of the partner's own is one incident, as
// it is when the customers are listed, and its watch asks whether it is over.
func (m master) Whose(ctx context.Context, t drover.Tenant, err error) error {
	d := m.a.partner
	wide := d.signedIn().Wide(ctx)
	if wide == nil {
		return d.customers(err)
	}
	d.failed(wide)
	d.wakeUp()
	e := drover.Error{Op: opMaster, Tenant: t.ID, Kind: drover.Denied, App: true, Hint: "sign in again: drover partner connect --keep", Err: wide}
	if x, ok := errors.AsType[*drover.Error](wide); ok {
		e.Code, e.Err = x.Code, x.Err
	}
	return &e
}

// customers is a refusal that is the customer's alone, with the remedy that holds
// for a partner's account: a guest object would shut it out.
func (d *partnerDesk) customers(err error) error {
	e, ok := errors.AsType[*drover.Error](err)
	if !ok {
		return err
	}
	own := *e
	own.App = false
	if do := enrol.Remedy(e.Code); do != "" {
		own.Hint = do
	}
	return &own
}

// serves refuses what a tenant that is read with the partner's sign-in cannot be.
func (d *partnerDesk) serves(t drover.Tenant, s drover.SourceID) error {
	switch {
	case d == nil:
		return nil // the app is not there, and that is said
	case t.Cloud != d.cfg.Cloud:
		return &drover.Error{Op: opMaster, Kind: drover.Refused, Hint: "a partner reaches customers of its own cloud only", Err: fmt.Errorf("the partner is of the cloud %s", d.cfg.Cloud)}
	case entra.Wants(s) == nil:
		return &drover.Error{Op: opMaster, Kind: drover.Refused, Hint: "connect it by itself: drover tenant connect", Err: errors.New("only somebody whom the customer's portal has authorised reads it")}
	}
	return nil
}
