package main

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/enrol"
	"drover/internal/gdap"
	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/proof"
)

// keep seals a sign-in as drover partner connect --keep does.
func (p *partnership) keep() {
	p.Helper()
	x := p.signedIn()
	list, _, err := enrol.List(p.Context(), p.partner.client(x))
	p.must(err)
	token, err := x.Kept(p.Context())
	p.must(err)
	now := time.Now()
	p.must(p.local().KeepPartner(p.Context(), admin.PartnerKeep{RefreshToken: token.Reveal(), Seen: gdap.Seen{At: now, Planned: now, Partner: lab.HomeTenant, Account: lab.PartnerAccount, Customers: list}}))
}

func TestAKeptSignInIsRenewedAndWhatIsNewIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		p := newPartnership(t, 6)
		defer p.close()
		// Each refresh token works once, takes all others with it when it comes
		// twice, and ends after three days.
		p.dir.Switch(func(s *authority.Switches) {
			s.OldRefreshDies, s.ReuseKillsFamily, s.RefreshIdle = true, true, authority.Span(3*day)
		})
		p.relate(5, func(r *authority.Relationship) { r.Shows = time.Now().Add(10 * time.Hour) })
		if _, err := p.connect(t.Context(), p.signedIn(), graphOnly, 0, 1); err != nil {
			t.Fatal(err)
		}
		p.keep()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.partner.watch(ctx) }()
		status := func() *admin.PartnerBrief {
			s, err := p.local().Status(t.Context())
			p.must(err)
			return s.Partner
		}
		time.Sleep(12 * day)
		if n := p.lines("a new customer of the partner"); n != 1 || p.lines("customers of the partner are not connected") != 1 || p.lines("level=ERROR")+p.lines("level=WARN") != 0 {
			t.Errorf("said %d times: %s", n, p.log.String())
		}
		if b := status(); !b.Kept || b.Customers != 6 || b.NotConnected != 4 || len(b.New) != 1 || b.Incident != nil {
			t.Errorf("%+v", b)
		}
		// A customer ends the relationship; then Microsoft lists nobody at all.
		p.relate(0, func(r *authority.Relationship) { r.Status = "terminated" })
		time.Sleep(2 * day)
		p.dir.SwitchPartner(func(s *authority.PartnerSwitches) { s.Empty = true })
		time.Sleep(2 * day)
		if b := status(); p.lines("no active partner relationship any more") != 1 || p.lines("lists no customer of the partner any more") != 1 || b.Customers != 5 || len(b.Gone) != 1 {
			t.Errorf("%+v: %s", b, p.log.String())
		}
		p.dir.SwitchPartner(func(s *authority.PartnerSwitches) { s.Empty = false })
		time.Sleep(day)
		if len(p.known()) != 2 {
			t.Errorf("a list has changed the tenants: %v", p.known())
		}
		// The account's sessions are revoked: one incident, and no storm.
		p.dir.RevokeUser(lab.PartnerAccount)
		before := p.asked()
		time.Sleep(3 * day)
		asked := p.asked() - before
		b := status()
		if n := p.lines("level=ERROR"); n != 1 || b.Incident == nil || !strings.Contains(b.Incident.Says, "AADSTS50173") || !strings.Contains(b.Incident.Hint, "drover partner connect --keep") || asked > 3*30 {
			t.Errorf("said %d times, asked %d times: %+v", n, asked, b)
		}
		s, err := p.local().Status(t.Context())
		p.must(err)
		if healthy(s) {
			t.Error("drover status takes it for well")
		}
		for i := range 2 {
			tenant, err := p.store.Tenant(t.Context(), p.id(i))
			p.must(err)
			if c := p.checkTenant(t.Context(), tenant, admin.TenantStatus{}, false); wrong(c) {
				t.Errorf("%+v", c)
			}
		}
		p.keep()
		time.Sleep(time.Minute)
		if b := status(); b.Incident != nil || p.lines("works again") != 1 {
			t.Errorf("%+v: %s", b, p.log.String())
		}
		// Without the sign-in nothing is asked any more.
		was, err := p.local().ForgetPartner(t.Context())
		p.must(err)
		again, err := p.local().ForgetPartner(t.Context())
		p.must(err)
		time.Sleep(time.Minute)
		quiet := p.asked()
		time.Sleep(5 * day)
		if b := status(); !was || again || b.Kept || p.asked() != quiet || b.Customers != 5 {
			t.Errorf("%v, %v, %+v, %d", was, again, b, p.asked()-quiet)
		}
		stop()
		p.must(<-ended)
		if astray := p.calm(); len(astray) > 0 {
			t.Errorf("%v", astray)
		}
		proof.Ran(t, "partner.kept", "17 days of refresh tokens that work once and end after three: sign-ins lost 0; a revoked one: incidents 1, token requests in three days %d; a new customer said 1 time; removed by a list 0", asked)
	})
}

func TestTheEndOfARelationshipIsSpokenOfInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		p := newPartnership(t, 4)
		defer p.close()
		end := time.Now().Add(40 * day)
		p.relate(0, func(r *authority.Relationship) { r.End = end })
		p.relate(1, func(r *authority.Relationship) { r.End, r.Extends = end, "P180D" })
		p.relate(2, func(r *authority.Relationship) { r.End = end })
		p.dir.Relate(authority.Relationship{Partner: lab.HomeTenant, Customer: p.tenant(2), Called: "Later", Roles: lab.PartnerRoles, Assignments: []authority.Assignment{{Group: lab.PartnerGroup}}})
		if _, err := p.connect(t.Context(), p.signedIn(), graphOnly, 0, 1, 2); err != nil {
			t.Fatal(err)
		}
		p.relate(3, func(r *authority.Relationship) { r.End = end }) // is not read
		p.keep()
		for range 43 {
			_, err := p.partner.look(t.Context())
			p.must(err)
			p.sayEndsOnce(t.Context(), time.Now())
			time.Sleep(day)
		}
		for _, want := range []string{"the partner relationship with the-contoso-company ends in 29 days", "the partner relationship with the-contoso-company ends in 6 days", "no active partner relationship any more: the-contoso-company"} {
			if n := p.lines(want); n != 1 {
				t.Errorf("%q was said %d times", want, n)
			}
		}
		if n := p.lines("partner relationship"); n != 3 {
			t.Errorf("said %d times: %s", n, p.log.String())
		}
	})
}

func TestARelationshipThatDidNotExtendItselfIsSpokenOf(t *testing.T) {
	now := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		end     time.Time
		extends bool
		want    bool
	}{
		"ends in a week":                    {now.Add(7 * 24 * time.Hour), false, true},
		"extends itself in a week":          {now.Add(7 * 24 * time.Hour), true, false},
		"was to extend itself an hour ago":  {now.Add(-time.Hour), true, false},
		"was to extend itself two days ago": {now.Add(-49 * time.Hour), true, true},
		"nobody says when":                  {time.Time{}, false, false},
	} {
		c := gdap.Customer{Tenant: drover.TenantID(lab.HomeTenant), Name: "x", Relationships: []gdap.Relationship{{Status: gdap.Active, End: tt.end, Extends: tt.extends}, {Status: "expired", End: now.Add(900 * 24 * time.Hour)}}}
		if _, ok := relationshipEnds(c, "", now); ok != tt.want {
			t.Errorf("%s: %v", name, ok)
		}
	}
}

// wrong reports whether something is wrong with a tenant.
func wrong(c admin.TenantCheck) bool {
	ok, _ := c.Worst()
	return !ok
}
