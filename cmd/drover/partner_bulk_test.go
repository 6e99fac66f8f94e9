package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/enrol"
	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/lab/fault"
	"drover/internal/proof"
	"drover/internal/registration"
)

// customerStory is what is peculiar about one customer, and what is to become of it.
type customerStory struct {
	name  string
	make  func(p *partnership, i int)
	want  enrol.Outcome
	added bool
}

// policies are refusals at a customer's own endpoint, by what they mean there.
var policies = map[int]enrol.Outcome{
	65001: enrol.NotYet, 7000229: enrol.NotYet, 90099: enrol.NotYet, 650051: enrol.NotYet,
	50020: enrol.NotLetIn, 16003: enrol.NotLetIn, 90072: enrol.NotLetIn,
	50177: enrol.Policy, 53003: enrol.Policy, 53000: enrol.Policy, 530003: enrol.Policy, 70043: enrol.Policy, 50105: enrol.Policy, 50158: enrol.Policy,
	500011: enrol.NotProvisioned, 650052: enrol.NotProvisioned, 5000224: enrol.TenantGone,
	// Those of a partner's sign-in or app count for the one customer where they came.
	50173: enrol.Refused, 50133: enrol.Refused, 700082: enrol.Refused, 70008: enrol.Refused, 70000: enrol.Refused, 700003: enrol.Refused, 50057: enrol.Refused, 530034: enrol.Refused,
	7000215: enrol.Refused, 7000222: enrol.Refused, 700027: enrol.Refused,
}

func stories() []customerStory {
	day := 24 * time.Hour
	list := []customerStory{
		{"as it should be", nil, enrol.Granted, true},
		{"the app was consented before", func(p *partnership, i int) { p.dir.Consent(p.tenant(i), p.lab.AppID(), authority.Granted) }, enrol.Already, true},
		{"it is read already", func(p *partnership, i int) {
			p.dir.Consent(p.tenant(i), p.lab.AppID(), authority.Granted)
			_, err := p.local().AddTenant(p.Context(), admin.NewTenant{ID: p.tenant(i), Name: "read-before", Cloud: "lab"})
			p.must(err)
		}, enrol.Already, false},
		{"it was removed", func(p *partnership, i int) {
			_, err := p.local().AddTenant(p.Context(), admin.NewTenant{ID: p.tenant(i), Name: "left", Cloud: "lab"})
			p.must(err)
			p.must(p.store.RemoveTenant(p.Context(), p.id(i)))
		}, enrol.Left, false},
		{"a relationship that only reads", func(p *partnership, i int) {
			p.relate(i, func(r *authority.Relationship) {
				r.Roles = []string{authority.SecurityReader}
				r.Assignments[0].Roles = r.Roles
			})
		}, enrol.RoleMissing, false},
		{"no role that gives Graph's permissions", func(p *partnership, i int) {
			p.relate(i, func(r *authority.Relationship) {
				r.Roles = []string{authority.ApplicationAdministrator}
				r.Assignments[0].Roles = r.Roles
			})
		}, enrol.RoleMissing, false},
		{"Global Administrator alone", func(p *partnership, i int) {
			p.relate(i, func(r *authority.Relationship) {
				r.Roles = []string{authority.GlobalAdministrator}
				r.Assignments[0].Roles = r.Roles
			})
		}, enrol.Granted, true},
		{"the group of others", func(p *partnership, i int) {
			p.relate(i, func(r *authority.Relationship) { r.Assignments[0].Group = "00000000-0000-4000-8000-0000000000cc" })
		}, enrol.NoGroup, false},
		{"an assignment that is being deleted", func(p *partnership, i int) {
			p.relate(i, func(r *authority.Relationship) { r.Assignments[0].Status = "deleting" })
		}, enrol.NoGroup, false},
		{"not approved", func(p *partnership, i int) {
			p.relate(i, func(r *authority.Relationship) { r.Status = "approvalPending" })
		}, enrol.Pending, false},
		{"a status that nobody knows", func(p *partnership, i int) {
			p.relate(i, func(r *authority.Relationship) { r.Status = "frozen" })
		}, enrol.Pending, false},
		{"ended yesterday", func(p *partnership, i int) {
			p.relate(i, func(r *authority.Relationship) { r.End = time.Now().Add(-day) })
		}, enrol.Expired, false},
		{"ended yesterday, and extended itself", func(p *partnership, i int) {
			p.relate(i, func(r *authority.Relationship) { r.End, r.Extends = time.Now().Add(-day), "P180D" })
		}, enrol.Granted, true},
		{"terminated", func(p *partnership, i int) {
			p.relate(i, func(r *authority.Relationship) { r.Status = "terminated" })
		}, enrol.Terminated, false},
		{"terminated, and a new one", func(p *partnership, i int) {
			p.relate(i, func(r *authority.Relationship) { r.Status = "terminated" })
			p.dir.Relate(authority.Relationship{Partner: lab.HomeTenant, Customer: p.tenant(i), Name: "second", Called: "Again", Roles: lab.PartnerRoles, Assignments: []authority.Assignment{{Group: lab.PartnerGroup}}})
		}, enrol.Granted, true},
		{"a customer by contract alone", func(p *partnership, i int) {
			p.unrelated(i)
			p.dir.Contract(lab.HomeTenant, p.tenant(i), "By Contract")
		}, enrol.NoRelationship, false},
		{"activated a minute ago", func(p *partnership, i int) {
			p.relate(i, func(r *authority.Relationship) { r.Activated = time.Now().Add(-time.Minute) })
		}, enrol.Granted, true},
		{"our account is a guest there", func(p *partnership, i int) { p.dir.AddUser(p.tenant(i), lab.PartnerAccount, false) }, enrol.NotYet, false},
		{"a consent with too little in it", func(p *partnership, i int) {
			p.dir.Share(p.tenant(i), p.onboarding, registration.Graph, "Directory.Read.All")
		}, enrol.Granted, true},
		{"the reader is known and may nothing", func(p *partnership, i int) { p.dir.Consent(p.tenant(i), p.lab.AppID(), authority.Known) }, enrol.Granted, true},
		{"a token of another tenant", func(p *partnership, i int) {
			p.lab.Faults().Set(fault.Rule{Kind: fault.TokenWrongTID, API: "token", Tenant: p.tenant(i), Value: p.tenant(0)})
		}, enrol.WrongToken, false},
	}
	for code, want := range policies {
		list = append(list, customerStory{fmt.Sprintf("AADSTS%d", code), func(p *partnership, i int) { p.dir.Restrict(p.tenant(i), code) }, want, false})
	}
	return list
}

func TestAllCustomersAreConnectedByOneSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := stories()
		p := newPartnership(t, len(all))
		defer p.close()
		for i, s := range all {
			if s.make != nil {
				s.make(p, i)
			}
		}
		gone := "0dead0dd-0000-4000-8000-00000000dead"
		p.dir.Relate(authority.Relationship{Partner: lab.HomeTenant, Customer: gone, Called: "Gone", Roles: lab.PartnerRoles, Assignments: []authority.Assignment{{Group: lab.PartnerGroup}}})
		before := p.known()
		x := p.signedIn()
		got, err := p.connect(t.Context(), x, graphOnly)
		if err != nil {
			t.Fatal(err)
		}
		wrong, outcomes := 0, make(map[enrol.Outcome]bool)
		now := p.known()
		for i, s := range all {
			r := got[p.tenant(i)]
			outcomes[r.Outcome] = true
			if r.Outcome != s.want || r.Added != s.added {
				t.Errorf("%s: %s, added %v, want %s, %v: %s", s.name, r.Outcome, r.Added, s.want, s.added, r.Says)
			}
			if !r.OK() && (r.Says == "" || r.Do == "" && s.want != enrol.WrongToken) {
				t.Errorf("%s: no way out: %+v", s.name, r)
			}
			if now[p.tenant(i)] != (s.added || before[p.tenant(i)]) {
				wrong++
				t.Errorf("%s: in the ledger: %v", s.name, now[p.tenant(i)])
			}
		}
		if r := got[gone]; r.Outcome != enrol.TenantGone || now[gone] {
			t.Errorf("a tenant that is not there: %+v", r)
		}
		if astray := p.calm(); len(astray) > 0 {
			t.Errorf("%d requests went astray: %v", len(astray), astray[:min(3, len(astray))])
		}
		// The same again does nothing for those that are well.
		again, err := p.connect(t.Context(), x, graphOnly)
		if err != nil {
			t.Fatal(err)
		}
		redone := 0
		for i, s := range all {
			if r := again[p.tenant(i)]; got[p.tenant(i)].OK() {
				redone += p.writes[p.tenant(i)]
				if r.Outcome != enrol.Already && r.Outcome != enrol.Left || r.Added || len(r.Did) > 0 {
					t.Errorf("%s, again: %+v", s.name, r)
				}
			}
			if s.name == "our account is a guest there" && (again[p.tenant(i)].Outcome != enrol.NotLetIn || !strings.Contains(again[p.tenant(i)].Do, "guest")) {
				t.Errorf("%s, again: %+v", s.name, again[p.tenant(i)])
			}
		}
		if redone != 0 || len(p.known()) != len(now) {
			t.Errorf("the second run changed something %d times in customers that were well", redone)
		}
		// Without the partner everything is read on.
		p.dir.RevokeUser(lab.PartnerAccount)
		p.dir.Disable(p.onboarding, true)
		for _, r := range p.dir.Relationships() {
			p.dir.Unrelate(r.ID)
		}
		read := 0
		for i, s := range all {
			if !s.added {
				continue
			}
			tenant, err := p.store.Tenant(t.Context(), p.id(i))
			p.must(err)
			for _, f := range p.checkTenant(t.Context(), tenant, admin.TenantStatus{}, false).Findings {
				if !f.OK {
					t.Errorf("%s is not read without the partner: %+v", s.name, f)
				}
			}
			read++
		}
		proof.Ran(t, "partner.bulk", "%d customers, %d kinds of result: tenants activated wrongly %d, credentials that went to another host 0, changes by a second run %d, read on without the partner %d of %d", len(all)+1, len(outcomes)+1, wrong, redone, read, read)
	})
}

func TestAPartnerWideFailureIsOneIncident(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const customers = 400
		p := newPartnership(t, customers)
		defer p.close()
		for i := range 30 { // those are well before
			p.dir.Consent(p.tenant(i), p.lab.AppID(), authority.Granted)
		}
		x := p.signedIn()
		revoked, after := 0, 0
		p.onLogin = func(n int) {
			if n == 460 { // most have been looked at, some are on their way
				go p.dir.RevokeUser(lab.PartnerAccount)
				revoked = n
			}
			if revoked > 0 {
				after++
			}
		}
		got, err := p.connect(t.Context(), x, graphOnly)
		if drover.KindOf(err) != drover.Denied || !strings.Contains(err.Error(), "AADSTS50173") || drover.HintOf(err) == "" {
			t.Fatalf("the run ended with %v", err)
		}
		count := make(map[enrol.Outcome]int)
		for _, r := range got {
			count[r.Outcome]++
		}
		if len(count) > 3 || count[enrol.Untried] < customers/2 || count[enrol.Granted]+count[enrol.Already] != len(p.known()) {
			t.Errorf("%v, known %d", count, len(p.known()))
		}
		if after > 40 {
			t.Errorf("%d token requests after the sign-in had ended", after)
		}
		proof.Ran(t, "partner.wide", "%d customers, sign-in revoked on the way: errors 1, customers blamed %d, not tried %d, token requests after it %d", customers, customers-count[enrol.Granted]-count[enrol.Already]-count[enrol.Untried], count[enrol.Untried], after)
	})
}

// contested are readings of what nobody has settled: drover lives with each.
var contested = map[string]struct {
	set     func(p *partnership, i int) // i: the first of two customers
	outcome enrol.Outcome               // of the first; "": granted
}{
	"a consent that exists is 409":              {set: func(p *partnership, i int) { p.dir.Partner.Conflict = true }},
	"one resource in a request, blanks needed":  {set: func(p *partnership, i int) { p.dir.Partner.ManyRefused, p.dir.Partner.BlankNeeded = true, true }},
	"consent spreads unevenly for five minutes": {set: func(p *partnership, i int) { p.dir.ConsentDelay = authority.Span(5 * time.Minute) }},
	"what Graph makes spreads unevenly": {set: func(p *partnership, i int) {
		p.dir.DirectoryDelay, p.dir.ConsentDelay = authority.Span(time.Minute), authority.Span(time.Minute)
	}},
	"a young relationship lets in unevenly": {set: func(p *partnership, i int) {
		p.dir.Partner.RelationshipDelay = authority.Span(6 * time.Minute)
		p.relate(i, func(r *authority.Relationship) { r.Activated = time.Now().Add(-time.Minute) })
	}},
	"201 without effect":               {set: func(p *partnership, i int) { p.dir.Partner.NoEffect = true }, outcome: enrol.NotYet},
	"a role is granted without effect": {set: func(p *partnership, i int) { p.dir.Partner.GrantNoEffect = true }, outcome: enrol.NotYet},
	"no service principal is 65001":    {set: func(p *partnership, i int) { p.dir.Partner.NoPrincipal = 65001 }},
	"no service principal is 90099":    {set: func(p *partnership, i int) { p.dir.Partner.NoPrincipal = 90099 }},
	"who is no customer by contract is 404": {set: func(p *partnership, i int) {
		p.dir.Partner.OfCustomer = true
		p.dir.Contract(lab.HomeTenant, p.tenant(i), "")
	}, outcome: enrol.NotListed},
	"nobody says which groups the account is in":  {set: func(p *partnership, i int) { p.dir.Partner.GroupsRefused = true }},
	"no contracts, and Partner Center lists none": {set: func(p *partnership, i int) { p.dir.Partner.ContractsRefused = true }},
	"pages of two":                {set: func(p *partnership, i int) { p.dir.Partner.PageSize = 2 }},
	"no dates":                    {set: func(p *partnership, i int) { p.dir.Partner.NullDates = true }},
	"no new refresh token":        {set: func(p *partnership, i int) { p.dir.NoNewRefresh = true }},
	"a refresh token works once":  {set: func(p *partnership, i int) { p.dir.OldRefreshDies = true }},
	"and reuse takes all of them": {set: func(p *partnership, i int) { p.dir.ReuseKillsFamily = true }},
	"Partner Center slows down":   {set: func(p *partnership, i int) { p.dir.Partner.CenterPerMinute = 3 }},
	"the same without a header, as bare text": {set: func(p *partnership, i int) {
		p.dir.Partner.CenterPerMinute, p.dir.Partner.NoRetryAfter, p.dir.Partner.PlainTooMany = 3, true, true
	}},
	"Entra slows the app down": {set: func(p *partnership, i int) { p.dir.PerMinute = 6 }},
	"Entra on its worse days":  {set: func(p *partnership, i int) { p.dir.Switches = authority.Harsh() }},
	"an indirect reseller":     {set: func(p *partnership, i int) { p.dir.Partner.Indirect = true }, outcome: enrol.RoleMissing},
	"the roles are held by nobody, and it cannot be seen": {set: func(p *partnership, i int) {
		p.dir.Partner.GroupsRefused, p.dir.Partner.Unsupported = true, true
		p.relate(i, func(r *authority.Relationship) {
			r.Assignments[0].Roles = []string{authority.CloudApplicationAdministrator}
		})
	}, outcome: enrol.RoleMissing},
	"User was not found": {set: func(p *partnership, i int) {
		p.dir.Partner.GroupsRefused, p.dir.Partner.NoGroup = true, -1
		p.relate(i, func(r *authority.Relationship) { r.Assignments[0].Group = "00000000-0000-4000-8000-0000000000cc" })
	}, outcome: enrol.NotLetIn},
	"active after its end": {set: func(p *partnership, i int) {
		p.dir.Partner.ActiveAfterEnd = true
		p.relate(i, func(r *authority.Relationship) { r.End = time.Now().Add(-time.Hour) })
	}, outcome: enrol.NotLetIn},
}

func TestWhatIsContestedOfPartnersIsLivedWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPartnership(t, 2*len(contested))
		defer p.close()
		i, stood := 0, 0
		for name, tt := range contested {
			p.dir.SwitchPartner(func(s *authority.PartnerSwitches) { *s = authority.PartnerSwitches{} })
			p.dir.Switch(func(s *authority.Switches) { *s = authority.Switches{} })
			time.Sleep(time.Hour)
			tt.set(p, i)
			want := tt.outcome
			if want == "" {
				want = enrol.Granted
			}
			got, err := p.connect(t.Context(), p.signedIn(), graphOnly, i, i+1)
			if r := got[p.tenant(i)]; err != nil || len(got) != 2 || r.Outcome != want || r.Added != (want == enrol.Granted) {
				t.Errorf("%s: %v, %d customers, %s, want %s: %+v", name, err, len(got), r.Outcome, want, r)
			} else {
				stood++
			}
			for _, r := range got {
				if p.known()[string(r.Tenant)] != (r.Outcome == enrol.Granted) || !r.OK() && (r.Says == "" || r.Do == "") {
					t.Errorf("%s: %+v", name, r)
				}
			}
			i += 2
		}
		if astray := p.calm(); len(astray) > 0 {
			t.Errorf("%v", astray)
		}
		proof.Ran(t, "partner.contested", "%d readings of what is contested or unknown: in %d every customer is connected, or named with a way out", len(contested), stood)
	})
}

func TestAStoppedRunIsGoneOnWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const customers = 12
		p := newPartnership(t, customers)
		defer p.close()
		p.dir.ConsentDelay = authority.Span(2 * time.Minute)
		x := p.signedIn()
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		first, err := p.connect(ctx, x, graphOnly)
		if !errors.Is(err, context.DeadlineExceeded) || len(p.known()) == customers {
			t.Fatalf("%v after %d tenants", err, len(p.known()))
		}
		for id, r := range first {
			if p.known()[id] != (r.Outcome == enrol.Granted) {
				t.Errorf("%+v", r)
			}
		}
		second, err := p.connect(t.Context(), x, graphOnly)
		if err != nil || len(p.known()) != customers {
			t.Errorf("%v, %d tenants: %v", err, len(p.known()), second)
		}
	})
}

func TestAListThatFailsChangesNothing(t *testing.T) {
	for name, set := range map[string]func(*authority.PartnerSwitches){
		"the second page fails": func(s *authority.PartnerSwitches) { s.PageSize, s.FailPage = 3, 2 },
		"it is empty":           func(s *authority.PartnerSwitches) { s.Empty = true },
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPartnership(t, 8)
			defer p.close()
			set(&p.dir.Partner)
			list, _, err := enrol.List(t.Context(), p.partner.client(p.signedIn()))
			if len(list) > 0 || (err == nil) != p.dir.Partner.Empty || p.changes() > 0 {
				t.Errorf("%s: %d customers, %v", name, len(list), err)
			}
		})
	}
}
