package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"os"
	"strings"
	"testing"

	"drover/internal/admin"
	"drover/internal/enrol"
	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/proof"
)

// newPartnerDeskOf is a lab whose MSSP is a partner, and a person at a browser.
func newPartnerDeskOf(t *testing.T, customers int) *desk {
	t.Helper()
	return newDeskOf(t, stageOptions{customers: customers, partner: true})
}

// partner runs drover partner connect, and its person signs in.
func (d *desk) partner(stdin io.Reader, user string, args ...string) *running {
	d.t.Helper()
	r := &running{d: d, code: make(chan int, 1)}
	go func() {
		r.code <- run(append([]string{"partner", "connect", "-c", d.config, "--no-open"}, args...), stdin, &r.out, &r.errs)
	}()
	d.opens(d.answers(r.sees(authorizePage)[1], "accept", url.Values{"user": {user}}))
	return r
}

func (d *desk) drover(want int, args ...string) (out, errs string) {
	d.t.Helper()
	code, out, errs := droverCommand(d.t, append(args, "-c", d.config)...)
	if code != want {
		d.t.Errorf("%v: exit code %d, want %d: %s%s", args, code, want, out, errs)
	}
	return out, errs
}

func TestAPartnerConnectsItsCustomersOnTheCommandLine(t *testing.T) {
	d := newPartnerDeskOf(t, 3)
	if out, _ := d.drover(exitOK, "partner", "customers"); !strings.Contains(out, "have not been listed yet") {
		t.Error(out)
	}
	// Looking changes nothing, nor does a no.
	out, _ := d.partner(nil, lab.PartnerAccount, "--dry-run").ends(exitOK)
	if !strings.Contains(out, "the-contoso-company") || !strings.Contains(out, "3 customers: 3 to be granted") {
		t.Error(out)
	}
	_, errs := d.partner(strings.NewReader("n\n"), lab.PartnerAccount).ends(exitUsage)
	if !strings.Contains(errs, "Grant SecurityAlert.Read.All in 3 customers, and read 3 more from now on? [y/N]") || !strings.Contains(errs, "nothing was granted") {
		t.Error(errs)
	}
	for _, c := range d.lab.Customers() {
		if got := d.lab.Directory().Consented(c.Tenant, d.app); got != authority.None || strings.Contains(d.known(), c.Tenant) {
			t.Errorf("%s: %v without a yes", c.Name, got)
		}
	}
	if _, errs := d.partner(nil, lab.PartnerAccount, "--only", "nobody").ends(exitUsage); !strings.Contains(errs, `no customer "nobody"`) {
		t.Error(errs)
	}
	out, _ = d.partner(strings.NewReader("y\n"), lab.PartnerAccount, "--except", d.lab.Customers()[2].Tenant).ends(exitOK)
	if list := d.known(); !strings.Contains(out, "2 customers: 2 granted; 2 added") || strings.Contains(list, d.lab.Customers()[2].Tenant) || !strings.Contains(list, d.lab.Customers()[0].Tenant) {
		t.Errorf("%s%s", out, list)
	}
	if out, _ = d.partner(nil, lab.PartnerAccount, "--only", "the-contoso-company").ends(exitOK); !strings.Contains(out, "1 customers: 1 already there") {
		t.Error(out)
	}
	// Somebody of a customer's is not the partner.
	r := &running{d: d, code: make(chan int, 1)}
	go func() {
		r.code <- run([]string{"partner", "connect", "-c", d.config, "--no-open", "--yes"}, nil, &r.out, &r.errs)
	}()
	page := strings.Replace(r.sees(authorizePage)[1], lab.HomeTenant, d.lab.Customers()[0].Tenant, 1)
	d.opens(d.answers(page, "accept", url.Values{"user": {"admin@" + d.lab.Customers()[0].Domain}}))
	if _, errs := r.ends(exitDenied); !strings.Contains(errs, "AADSTS700005") {
		t.Error(errs)
	}
}

func TestASignInWithoutASecondFactorKeepsNothing(t *testing.T) {
	d := newPartnerDeskOf(t, 1)
	kept, tried := 0, 0
	for name, tt := range map[string]struct {
		set  func(*authority.PartnerSwitches)
		says string
	}{
		"one factor":      {func(s *authority.PartnerSwitches) { s.NoMFA = true }, "without multi-factor authentication"},
		"nobody says how": {func(s *authority.PartnerSwitches) { s.NoAMR = true }, "without multi-factor authentication"},
	} {
		tried++
		d.lab.Directory().SwitchPartner(func(s *authority.PartnerSwitches) { *s = authority.PartnerSwitches{}; tt.set(s) })
		if _, errs := d.partner(nil, lab.PartnerAccount, "--yes", "--keep").ends(exitDenied); !strings.Contains(errs, tt.says) || !strings.Contains(errs, "hint: nothing was kept") {
			t.Errorf("%s: %s", name, errs)
		}
		if out, _ := d.drover(exitOK, "partner", "status", "--json"); !strings.Contains(out, `"sign_in_kept": false`) || !strings.Contains(out, `"customers": []`) {
			kept++
			t.Errorf("%s: %s", name, out)
		}
	}
	proof.Ran(t, "partner.mfa", "%d sign-ins that show no second factor: kept %d", tried, kept)
}

func TestTheOnboardingAppIsAnotherThanTheReader(t *testing.T) {
	d := newPartnerDeskOf(t, 1)
	id, _ := d.lab.OnboardingApp()
	text, err := os.ReadFile(d.config)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ from, to, says string }{
		"one app for both":      {id, d.app, "the onboarding app may grant permissions, so it must be another one"},
		"a reader that is none": {"  cloud: lab\n  secret: {file: " + d.dir + "/onboarding", "  cloud: lab\n  reader: defaults\n  secret: {file: " + d.dir + "/onboarding", `no app named "defaults"; did you mean "default"`},
		"another cloud":         {"  cloud: lab\n  secret: {file: " + d.dir + "/onboarding", "  cloud: gcc\n  secret: {file: " + d.dir + "/onboarding", "a partner reaches customers of its own cloud only"},
		"no partner at all":     {"partner:\n", "x-partner:\n", "unknown key"},
	} {
		if err := os.WriteFile(d.config, bytes.Replace(text, []byte(tt.from), []byte(tt.to), 1), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, errs := d.drover(exitUsage, "partner", "connect"); !strings.Contains(errs, tt.says) {
			t.Errorf("%s: %s", name, errs)
		}
	}
	before, _, _ := bytes.Cut(text, []byte("partner:\n"))
	if err := os.WriteFile(d.config, before, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errs := d.drover(exitUsage, "partner", "status"); !strings.Contains(errs, "docs/partner.md") {
		t.Error(errs)
	}
}

func TestWhatAPartnerHasIsShownAndForgotten(t *testing.T) {
	d := newPartnerDeskOf(t, 3)
	dir := d.lab.Directory()
	for _, r := range dir.Relationships() {
		if r.Customer == d.lab.Customers()[1].Tenant {
			r.Roles = []string{authority.SecurityReader}
			r.Assignments[0].Roles = r.Roles
			r.End = r.Created.AddDate(0, 0, 50) // 20 days from now
			dir.Relate(r)
		}
	}
	out, errs := d.partner(nil, lab.PartnerAccount, "--yes", "--keep", "--json", "--source", "graph.alerts,mde.alerts").ends(exitFinding)
	var rep partnerReport
	if err := json.Unmarshal([]byte(out), &rep); err != nil || len(rep.Customers) != 3 || rep.Account != lab.PartnerAccount {
		t.Fatalf("%v: %s%s", err, out, errs)
	}
	granted := 0
	for _, r := range rep.Customers {
		switch {
		case r.Outcome == enrol.Granted && r.Added && len(r.Did) == 4:
			granted++
		case r.Outcome != enrol.RoleMissing || string(r.Tenant) != d.lab.Customers()[1].Tenant || !strings.Contains(r.Says, "Privileged Role Administrator"):
			t.Errorf("%+v", r)
		}
	}
	if granted != 2 {
		t.Errorf("granted %d: %s", granted, out)
	}
	list := d.known()
	if !strings.Contains(list, "the-contoso-company") || !strings.Contains(list, "mde.alerts") || strings.Contains(list, "fabrikam") {
		t.Error(list)
	}
	out, _ = d.drover(exitOK, "partner", "customers")
	for _, want := range []string{"connected", "not connected", "Security Reader", "warning: the partner relationship with The fabrikam Company ends in 19 days"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in %s", want, out)
		}
	}
	if out, _ = d.drover(exitOK, "partner", "status"); !strings.Contains(out, "a sign-in is kept") || !strings.Contains(out, "active relationship: 3, connected: 2") {
		t.Error(out)
	}
	if out, _ = d.drover(exitOK, "status"); !strings.Contains(out, "partner: 3 customers, 1 not connected") {
		t.Error(out)
	}
	if out, _ = d.drover(exitOK, "check"); !strings.Contains(out, "onboarding app") {
		t.Error(out)
	}
	if out, _ = d.drover(exitOK, "partner", "forget"); !strings.Contains(out, "destroyed; all tenants are read on") {
		t.Error(out)
	}
	if out, _ = d.drover(exitOK, "partner", "forget"); !strings.Contains(out, "no sign-in") {
		t.Error(out)
	}
	if out, _ = d.drover(exitOK, "partner", "customers", "--json"); !strings.Contains(out, `"sign_in_kept": false`) || !strings.Contains(out, d.lab.Customers()[0].Tenant) {
		t.Error(out)
	}
	d.drover(exitOK, "tenant", "check", "the-contoso-company")
	var s admin.PartnerStatus
	out, _ = d.drover(exitOK, "partner", "status", "--json")
	if err := json.Unmarshal([]byte(out), &s); err != nil || len(s.Customers) != 3 {
		t.Errorf("%v: %s", err, out)
	}
}
