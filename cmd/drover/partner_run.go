package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/enrol"
	"drover/internal/entra"
	"drover/internal/expiry"
	"drover/internal/gdap"
)

// How often the kept sign-in is renewed and the customers are listed, and how
// soon again after a failure.
const (
	partnerEvery  = 6 * time.Hour
	partnerFirst  = time.Minute
	partnerSlow   = time.Hour
	partnerIdle   = 90 * 24 * time.Hour // a refresh token that is not used (reference partner-gdap §1.4)
	partnerListed = 7 * 24 * time.Hour  // a list that is older may not be true any more
)

var partnerDays = []int{30, 10, 0}

// watch renews the kept sign-in of a partner and says what its lists bring. It
// does nothing while none is kept.
func (d *partnerDesk) watch(ctx context.Context) error {
	if d == nil {
		return nil
	}
	for first := true; ; {
		wait := partnerEvery
		_, kept, err := d.Load(ctx, drover.Tenant{})
		if kept && err == nil {
			if first {
				d.sayUnconnected(ctx)
				first = false
			}
			_, err = d.look(ctx)
		}
		if err != nil && ctx.Err() == nil {
			wait = d.failed(err)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-d.wake:
			t.Stop()
		case <-t.C:
		}
	}
}

// failed notes a failure of the partner's own and says it once; it returns how
// long to wait.
func (d *partnerDesk) failed(err error) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if d.incident == nil {
		d.incident = &admin.PartnerIncident{Since: now}
	}
	i := d.incident
	wait := min(max(partnerFirst, now.Sub(i.Since)), partnerSlow) // about doubling
	wait = max(wait, drover.WaitOf(err))
	says, hint := err.Error(), admin.Hint(err)
	if drover.KindOf(err) == drover.Denied {
		if r, ok := errors.AsType[*entra.Refusal](err); ok && r.Class == entra.SignIn {
			hint = "" // of a tenant's own sign-in
		}
		if hint = orText(hint, "the account must sign in again"); !strings.Contains(hint, "drover partner connect") {
			hint += ": drover partner connect --keep"
		}
		hint += ". What is read with the app's own permissions goes on; tenants that are read with the sign-in wait for it"
	}
	if i.Says != says {
		i.Says, i.Hint = says, hint
		say := d.a.log.Error
		if drover.KindOf(err) != drover.Denied {
			say = d.a.log.Warn
		}
		say("the partner's sign-in fails, for all customers at once: "+says, "hint", hint)
	}
	return wait
}

func orText(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// look renews the kept sign-in, lists the customers and says what is new.
func (d *partnerDesk) look(ctx context.Context) (notes []string, err error) {
	select {
	case d.busy <- struct{}{}:
		defer func() { <-d.busy }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p := d.signedIn()
	if _, err := p.Renew(ctx, d.a.clouds[d.cfg.Cloud].Resource("")); err != nil {
		return nil, err
	}
	list, notes, err := enrol.List(ctx, d.client(p))
	if err != nil {
		return nil, err
	}
	var news gdap.News
	begun := false
	if _, err := d.change(ctx, func(s *gdap.Seen) {
		begun = s.At.IsZero()
		news = s.Update(list, time.Now().UTC())
	}); err != nil {
		return nil, err
	}
	d.over()
	d.announce(ctx, news, begun)
	return notes, nil
}

// over ends an incident.
func (d *partnerDesk) over() {
	d.mu.Lock()
	was := d.incident
	d.incident = nil
	d.mu.Unlock()
	if was != nil {
		d.a.log.Info("the partner's sign-in works again", "since", time.Since(was.Since).Round(time.Second).String()+" it had failed")
		d.mended()
	}
}

// announce says who is new, and whose last relationship is gone. A first list is
// no news.
func (d *partnerDesk) announce(ctx context.Context, n gdap.News, first bool) {
	d.mu.Lock()
	again := d.doubted
	d.doubted = n.Doubtful
	d.mu.Unlock()
	if n.Doubtful && !again {
		d.a.log.Warn("Microsoft lists no customer of the partner any more; the list of before is kept, and nobody is taken for gone", "hint", "see: drover partner customers; if it stays so, is partner: tenant right?")
	}
	tenants, err := d.a.store.ListTenants(ctx)
	if err != nil {
		return
	}
	known := make(map[drover.TenantID]drover.Tenant, len(tenants))
	for _, t := range tenants {
		known[t.ID] = t
	}
	if !first {
		for _, c := range n.New {
			if _, there := known[c.Tenant]; !there {
				d.a.log.Info("a new customer of the partner: "+clean(c.Name), "tenant", c.Tenant, "hint", "connect it: drover partner connect --only "+string(c.Tenant))
			}
		}
	}
	for _, c := range n.Gone {
		if t, there := known[c.Tenant]; there && t.State != drover.Removed {
			d.a.log.Warn("no active partner relationship any more: "+t.Name, "tenant", c.Tenant, "relationship", c.Standing(), "hint", goneHint(t))
		}
	}
}

// goneHint says what the end of the last relationship with a tenant means for it.
func goneHint(t drover.Tenant) string {
	if t.App == drover.PartnerApp {
		return "it is read with the partner's account, which Entra lets in no longer: have a new relationship approved, or give the tenant an app of the config; if the customer has left: drover tenant remove " + t.Name
	}
	return "it is read on, with the app's own permissions; if the customer has left: drover tenant remove " + t.Name
}

// sayUnconnected says once how many customers are not connected.
func (d *partnerDesk) sayUnconnected(ctx context.Context) {
	s, err := d.Partner(ctx, false)
	if err != nil {
		return
	}
	n := 0
	for _, c := range s.Customers {
		if c.Standing == gdap.Related && c.State == "" {
			n++
		}
	}
	if n > 0 {
		d.a.log.Info("customers of the partner are not connected", "customers", n, "hint", "see: drover partner customers")
	}
}

// items lists what ends: the onboarding app's credential, the kept sign-in if it
// is not renewed, and the relationships with customers that are read.
func (d *partnerDesk) items(faults map[string]error) (list []expiry.Item) {
	if d == nil {
		return nil
	}
	switch i, ok, err := d.a.appEnds(d.cfg.App()); {
	case err != nil:
		faults["partner"] = err
	case ok:
		i.What = map[bool]string{true: "the certificate of the onboarding app", false: "the client secret of the onboarding app"}[d.cfg.Certificate != nil]
		i.Hint = "make a new one in that app's registration and put it where partner: in the config says; what is read goes on without it"
		list = append(list, i)
	}
	if d.a.store == nil {
		return list
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s, err := d.Partner(ctx, false)
	if err != nil {
		return list
	}
	if s.Kept {
		list = append(list, expiry.Item{What: "the kept sign-in of the partner", ID: s.KeptSince.Format(time.RFC3339), Until: s.KeptSince.Add(partnerIdle), Days: partnerDays,
			Hint: "it is renewed every day while drover run is there; see: drover partner status"})
	}
	for _, c := range s.Customers {
		if c.State != drover.Active && c.State != drover.Paused {
			continue
		}
		now := time.Now()
		if i, ok := relationshipEnds(c.Customer, c.Short, s.Seen); ok {
			if c.Unproven != "" {
				i.Hint = endsTheReading
			}
			if now.Sub(s.Seen) > partnerListed {
				i.Hint += "; this was seen on " + s.Seen.UTC().Format(time.DateOnly) + ", and may have changed: drover partner connect --dry-run looks"
			}
			list = append(list, i)
		}
	}
	return list
}

// check says whether the onboarding app's credential can be used.
func (d *partnerDesk) check() []admin.Finding {
	if d == nil {
		return nil
	}
	app := d.cfg.App()
	if app.Certificate != nil && app.Certificate.Sealed && d.a.store == nil {
		return []admin.Finding{{What: "onboarding app", OK: true, Says: "its key is sealed in the ledger, which is not open here; drover partner status says how it stands"}}
	}
	list := d.a.checkApp(app)
	for i := range list {
		list[i].What = "onboarding app"
	}
	return list
}
