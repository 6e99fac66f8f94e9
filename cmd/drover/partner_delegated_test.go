package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/audit"
	"drover/internal/collect"
	"drover/internal/enrol"
	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/lab/estate"
	"drover/internal/ledger"
	"drover/internal/proof"
)

// alertsEach are put into each customer's tenant.
const alertsEach = 40

// fill gives each customer alerts that came in the last hour.
func (p *partnership) fill() {
	for i, c := range p.lab.Customers() {
		for n := range alertsEach {
			at := time.Now().Add(-time.Hour + time.Duration(n)*time.Minute).UTC()
			text := at.Format("2006-01-02T15:04:05.0000000Z")
			p.put(i, fmt.Sprintf("da%s-%d", c.Name, n), at, text)
		}
	}
}

func (p *partnership) put(i int, id string, at time.Time, text string) {
	p.lab.Estate().Put(p.tenant(i), estate.Graph, estate.Row{ID: id, Created: at, Changed: at, Visible: at,
		Raw: fmt.Appendf(nil, `{"id":%q,"tenantId":%q,"serviceSource":"microsoftDefenderForEndpoint","severity":"low","status":"new","createdDateTime":%q,"lastUpdateDateTime":%q}`, id, p.tenant(i), text, text)})
}

// delegate connects customers to be read with the account, as --delegated does.
func (p *partnership) delegate(only ...int) map[string]enrol.Result {
	p.Helper()
	x := p.signedIn()
	client := p.partner.client(x)
	customers, _, err := enrol.List(p.Context(), client)
	p.must(err)
	known, err := p.local().Tenants(p.Context())
	p.must(err)
	p.keep()
	s := p.partner.service(x, client, nil, func(ctx context.Context, c enrol.Candidate) error {
		_, err := p.local().AddTenant(ctx, admin.NewTenant{ID: string(c.Tenant), Name: c.Short, Cloud: "lab", App: drover.PartnerApp, Sources: []drover.SourceID{drover.GraphAlerts}, Start: "3h"})
		return err
	})
	s.Delegated, s.Scopes = true, []string{"SecurityAlert.Read.All"}
	list, err := s.Enrol(p.Context(), slices.DeleteFunc(candidates(customers, known), func(c enrol.Candidate) bool {
		return !slices.ContainsFunc(only, func(i int) bool { return p.id(i) == c.Tenant })
	}))
	p.must(err)
	out := make(map[string]enrol.Result)
	for _, r := range list {
		out[string(r.Tenant)] = r
	}
	return out
}

// reads runs what reads, and the watch of the partner's sign-in, until stop.
func (p *partnership) reads() (stop func()) {
	p.Helper()
	c, err := p.collector(nil, func(collect.Event) {})
	p.must(err)
	p.partner.readers = func() { c.Mended(drover.PartnerApp) }
	ctx, cancel := context.WithCancel(p.Context())
	ended := make(chan error, 2)
	go func() { ended <- c.Run(ctx) }()
	go func() { ended <- p.partner.watch(ctx) }()
	return func() {
		cancel()
		p.must(<-ended)
		p.must(<-ended)
		p.tokens.Wait()
	}
}

// has counts what the ledger has of a customer.
func (p *partnership) has(i int) (n uint64) {
	p.Helper()
	s, err := p.local().Tenant(p.Context(), string(p.id(i)))
	p.must(err)
	for _, f := range s.Feeds {
		n += f.Revisions
	}
	return n
}

func (p *partnership) status() admin.Status {
	p.Helper()
	s, err := p.local().Status(p.Context())
	p.must(err)
	return s
}

// version counts how often the kept refresh token was saved.
func (p *partnership) version() uint64 {
	p.Helper()
	c, err := p.store.Credential(p.Context(), p.partner.key(partnerToken))
	p.must(err)
	return c.Version
}

func TestCustomersAreReadWithThePartnersAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPartnership(t, 3)
		defer p.close()
		p.fill()
		// The first has a consent for something else, which it must keep.
		p.dir.Share(p.tenant(0), p.onboarding, "00000003-0000-0000-c000-000000000000", "Application.ReadWrite.All")
		got := p.delegate(0, 1)
		for i := range 2 {
			if r := got[p.tenant(i)]; r.Outcome != enrol.Granted || !r.Added {
				t.Fatalf("%+v", r)
			}
		}
		if _, scopes, err := p.partner.signedIn().Enter(t.Context(), p.id(0), "https://graph.microsoft.com"); err != nil || !slices.Contains(scopes, "Application.ReadWrite.All") {
			t.Errorf("the consent of before is lost: %v, %v", scopes, err)
		}
		if r := p.delegate(0, 1)[p.tenant(0)]; r.Outcome != enrol.Already || r.Added {
			t.Errorf("once more: %+v", r)
		}
		stop := p.reads()
		time.Sleep(5 * time.Minute)
		saved := p.version()
		asked := p.asked()
		time.Sleep(5 * time.Hour) // the tokens of customers are renewed, the master is not due
		for i := range 2 {
			if n := p.has(i); n < alertsEach {
				t.Errorf("customer %d: %d of %d", i, n, alertsEach)
			}
		}
		exchanged := p.asked() - asked
		if exchanged < 8 || p.version() != saved {
			t.Errorf("%d exchanges, and the refresh token was saved %d times", exchanged, p.version()-saved)
		}
		creds, err := p.store.SealedCredentials(t.Context())
		p.must(err)
		if n := len(slices.DeleteFunc(creds, func(c ledger.SealedCredential) bool { return c.Tenant == "" })); n != 0 {
			t.Errorf("%d credentials of customers are kept", n)
		}
		time.Sleep(3 * time.Hour)
		if p.version() == saved {
			t.Error("the master was not renewed")
		}
		if s := p.status(); !healthy(s) || s.Tenants[0].Unproven == "" || p.lines("level=ERROR") != 0 {
			t.Errorf("%+v: %s", s.Tenants[0], p.log.String())
		}
		// Device groups hide half of what comes now; nobody says so.
		p.dir.SwitchPartner(func(s *authority.PartnerSwitches) { s.Scoped = true })
		before := p.has(0)
		for n := range alertsEach {
			at := time.Now().Add(time.Duration(n) * time.Second).UTC()
			p.put(0, fmt.Sprintf("scoped-%d", n), at, at.Format("2006-01-02T15:04:05.0000000Z"))
		}
		time.Sleep(time.Hour)
		fewer := p.has(0) - before
		if fewer == 0 || fewer >= alertsEach {
			t.Errorf("%d of %d", fewer, alertsEach)
		}
		tenant, err := p.store.Tenant(t.Context(), p.id(0))
		p.must(err)
		check := p.checkTenant(t.Context(), tenant, admin.TenantStatus{}, true)
		if wrong(check) || !slices.ContainsFunc(check.Findings, func(f admin.Finding) bool { return f.Warn && f.Says == drover.UnprovenPartner }) {
			t.Errorf("%+v", check.Findings)
		}
		r, err := p.auditor(nil, p.paces(false), nil, 0, func(string) {}).Run(t.Context(), audit.Order{Tenants: []drover.TenantID{p.id(0)}, From: drover.InstantOf(time.Now().Add(-3 * time.Hour)), To: drover.InstantOf(time.Now().Add(-time.Minute))})
		p.must(err)
		if r.Verdict != audit.CannotTell || !strings.Contains(strings.Join(r.Feeds[0].CannotTell, " "), "with the same account") {
			t.Errorf("audit: %s %v", r.Verdict, r.Feeds[0].CannotTell)
		}
		stop()
		if astray := p.calm(); len(astray) > 0 {
			t.Errorf("%v", astray)
		}
		proof.Ran(t, "partner.delegated", "2 customers read with the partner's account for nine hours: %d exchanges, refresh tokens of customers kept 0, tokens elsewhere than at their host 0; of %d alerts that device groups limit %d seen, errors 0, shown as unproven and never as agreed", exchanged, alertsEach, fewer)
	})
}

func TestARefusalOfThePartnersAccountIsWhoseItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPartnership(t, 7)
		defer p.close()
		p.fill()
		p.delegate(0, 1, 2, 3, 4, 5, 6)
		stop := p.reads()
		defer func() { stop() }()
		time.Sleep(time.Hour)
		// What customers do is theirs.
		p.dir.AddUser(p.tenant(0), lab.PartnerAccount, false)
		p.relate(1, func(r *authority.Relationship) { r.Assignments[0].Group = "00000000-0000-4000-8000-0000000000cc" })
		p.dir.Restrict(p.tenant(2), 53003)
		p.relate(3, func(r *authority.Relationship) {
			r.Roles = []string{authority.CloudApplicationAdministrator}
			r.Assignments[0].Roles = r.Roles
		})
		saved, before := p.version(), p.asked()
		time.Sleep(2 * time.Hour)
		on := 0
		for i := 4; i < 7; i++ {
			had, at := p.has(i), time.Now().UTC()
			p.put(i, "goes-on", at, at.Format("2006-01-02T15:04:05.0000000Z"))
			time.Sleep(5 * time.Minute)
			if p.has(i) == had+1 {
				on++
			}
		}
		s := p.status()
		if s.Partner.Incident != nil || p.lines("for all customers at once") != 0 || p.lines("one incident, one probe") != 0 {
			t.Errorf("%+v: %s", s.Partner, p.log.String())
		}
		var parked []string
		for _, x := range s.Tenants {
			if x.Feeds[0].Parked != "" {
				parked = append(parked, string(x.ID))
			}
		}
		if slices.Sort(parked); len(parked) != 4 || !slices.Equal(parked, slices.Sorted(slices.Values([]string{p.tenant(0), p.tenant(1), p.tenant(2), p.tenant(3)}))) {
			t.Errorf("parked: %v", parked)
		}
		asked := p.asked() - before
		if asked > 3*60 || p.version() == saved || on != 3 {
			t.Errorf("%d token requests; read on: %d", asked, on)
		}
		for i, want := range []string{"guest object", "group", "service provider users"} {
			tenant, err := p.store.Tenant(t.Context(), p.id(i))
			p.must(err)
			c := p.checkTenant(t.Context(), tenant, admin.TenantStatus{}, true)
			if !slices.ContainsFunc(c.Findings, func(f admin.Finding) bool {
				return !f.OK && strings.Contains(strings.ToLower(f.Hint), want)
			}) {
				t.Errorf("customer %d: %+v", i, c.Findings)
			}
		}
		// The sign-in ends for all.
		p.dir.RevokeUser(lab.PartnerAccount)
		before = p.asked()
		at := time.Now().UTC()
		time.Sleep(4 * time.Hour)
		p.put(4, "while-it-was-away", at.Add(2*time.Hour), at.Add(2*time.Hour).Format("2006-01-02T15:04:05.0000000Z"))
		had := p.has(4)
		wide := p.asked() - before
		s = p.status()
		if s.Partner.Incident == nil || !strings.Contains(s.Partner.Incident.Hint, "drover partner connect --keep") || p.lines("for all customers at once") != 1 || p.lines("one incident, one probe") != 1 || healthy(s) {
			t.Errorf("%+v: %s", s.Partner.Incident, p.log.String())
		}
		if wide > 2*60 {
			t.Errorf("%d token requests in four hours", wide)
		}
		p.keep()
		time.Sleep(5 * time.Minute)
		if s = p.status(); s.Partner.Incident != nil || p.lines("works again") != 1 || p.has(4) != had+1 {
			t.Errorf("%+v, %d more: %s", s.Partner.Incident, p.has(4)-had, p.log.String())
		}
		stop()
		stop = func() {}
		if astray := p.calm(); len(astray) > 0 {
			t.Errorf("%v", astray)
		}
		proof.Ran(t, "partner.whose", "4 customers that refuse the account: incidents of the partner 0, others read on %d of 3; a revoked sign-in: incidents 1, token requests in four hours %d; after a new one nothing is missing", on, wide)
	})
}

// Refresh tokens that work once cannot read many customers: that ends in one
// incident, and never in a loop.
func TestRefreshTokensThatWorkOnceEndInOneIncident(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPartnership(t, 3)
		defer p.close()
		p.delegate(0, 1, 2)
		p.dir.Switch(func(s *authority.Switches) { s.OldRefreshDies, s.ReuseKillsFamily = true, true })
		before := p.asked()
		stop := p.reads()
		time.Sleep(6 * time.Hour)
		stop()
		if n := p.asked() - before; n > 6*60 || p.lines("for all customers at once") != 1 || p.status().Partner.Incident == nil {
			t.Errorf("%d token requests: %s", n, p.log.String())
		}
	})
}

func TestATenantThatThePartnerCannotReadIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPartnership(t, 1)
		defer p.close()
		for why, n := range map[string]admin.NewTenant{
			"of the cloud":          {Cloud: "worldwide"},
			"portal":                {Cloud: "lab", Sources: []drover.SourceID{drover.SIEMDetections}},
			"no sign-in of its own": {Cloud: "lab", RefreshToken: "0.AXsecret"},
		} {
			n.ID, n.Name, n.App = p.tenant(0), "contoso", drover.PartnerApp
			if _, err := p.local().AddTenant(t.Context(), n); err == nil || !strings.Contains(err.Error(), why) {
				t.Errorf("%s: %v", why, err)
			}
		}
		before := p.asked()
		_, err := p.tokens.Token(t.Context(), drover.Tenant{ID: p.id(0), Cloud: "lab", App: drover.PartnerApp}, drover.GraphAlerts)
		if drover.KindOf(err) != drover.Denied || !strings.Contains(drover.HintOf(err), "drover partner connect --keep") || p.asked() != before {
			t.Errorf("%v", err)
		}
		// One of another cloud that came into the ledger all the same: the sign-in's
		// token is not sent to that cloud.
		p.keep()
		before = p.asked()
		_, err = p.tokens.Token(t.Context(), drover.Tenant{ID: p.id(0), Cloud: "worldwide", App: drover.PartnerApp}, drover.GraphAlerts)
		if drover.KindOf(err) != drover.Denied || !strings.Contains(err.Error(), "the partner is of the cloud lab") || p.asked() != before {
			t.Errorf("%v", err)
		}
	})
}

func TestAPartnersAccountReadsOnTheCommandLineAndIsSaidToBeUnproven(t *testing.T) {
	d := newPartnerDeskOf(t, 3)
	if _, errs := d.drover(exitUsage, "partner", "connect", "--delegated", "--source", "mde.alerts"); !strings.Contains(errs, "mde.alerts cannot be granted for the partner's account") {
		t.Error(errs)
	}
	_, errs := d.partner(strings.NewReader("n\n"), lab.PartnerAccount, "--delegated").ends(exitUsage)
	if !strings.Contains(errs, drover.UnprovenPartner) || !strings.Contains(errs, "nothing was granted") {
		t.Error(errs)
	}
	if out, _ := d.drover(exitOK, "partner", "status", "--json"); !strings.Contains(out, `"sign_in_kept": false`) {
		t.Errorf("a sign-in is kept after a no: %s", out)
	}
	out, _ := d.partner(nil, lab.PartnerAccount, "--delegated", "--yes", "--except", "the-northwind-company").ends(exitOK)
	if !strings.Contains(out, "2 customers: 2 granted; 2 added") || !strings.Contains(out, drover.UnprovenPartner) {
		t.Error(out)
	}
	reader := d.lab.Directory().Consented(d.lab.Customers()[0].Tenant, d.app)
	if reader != authority.None {
		t.Errorf("the reading app was granted something: %v", reader)
	}
	said, asked := 0, 0
	for _, args := range [][]string{{"tenant", "show", "the-contoso-company"}, {"tenant", "show", "the-contoso-company", "--json"}, {"tenant", "list"}, {"tenant", "list", "--json"}, {"tenant", "check", "the-contoso-company"}, {"tenant", "check", "the-contoso-company", "--json"}, {"tenant", "check", "--all"},
		{"status"}, {"status", "--json"}, {"partner", "status"}, {"partner", "status", "--json"}, {"partner", "customers", "--seen"}, {"partner", "customers", "--seen", "--json"}, {"tenant", "coverage", "the-contoso-company", "--json"}, {"tenant", "coverage", "the-contoso-company"}} {
		asked++
		want := exitOK
		if slices.Contains(args, "coverage") {
			want = exitUnsure
		}
		out, _ := d.drover(want, args...)
		if strings.Contains(strings.Join(strings.Fields(out), " "), drover.UnprovenPartner) {
			said++
		} else {
			t.Errorf("%v does not say it: %s", args, out)
		}
	}
	if out, _ := d.drover(exitOK, "tenant", "show", "the-contoso-company"); !strings.Contains(strings.Join(strings.Fields(out), " "), "app partner") {
		t.Error(out)
	}
	// While tenants are read with it, the sign-in is not forgotten by mistake.
	if _, errs := d.drover(exitUsage, "partner", "forget"); !strings.Contains(errs, "2 tenants are read with it") || !strings.Contains(errs, "--yes") {
		t.Error(errs)
	}
	// The better way: the same customers, with the app's own permissions. One that
	// is read so stays so.
	out, _ = d.partner(nil, lab.PartnerAccount, "--yes", "--only", "the-contoso-company").ends(exitOK)
	if !strings.Contains(out, "the-contoso-company is read with the permissions of the app default from now on, from where it was") {
		t.Error(out)
	}
	out, _ = d.partner(nil, lab.PartnerAccount, "--delegated", "--yes", "--only", "the-contoso-company").ends(exitOK)
	if !strings.Contains(out, "the-contoso-company is read already, with an app's own permissions, and stays so") {
		t.Error(out)
	}
	if out, _ := d.drover(exitOK, "tenant", "show", "the-contoso-company"); strings.Contains(out, "unproven") {
		t.Error(out)
	}
	if out, _ := d.drover(exitOK, "partner", "forget", "--yes"); !strings.Contains(out, "1 tenants are not read any more: the-fabrikam-company") {
		t.Error(out)
	}
	if out, _ := d.drover(exitFinding, "tenant", "check", "the-fabrikam-company"); !strings.Contains(out, "drover partner connect --keep") {
		t.Error(out)
	}
	proof.Ran(t, "partner.unproven", "%d of %d views of a tenant that is read with the partner's account call it unproven, with the reason", said, asked)
}
