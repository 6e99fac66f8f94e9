package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/entra"
	"drover/internal/lab/authority"
	"drover/internal/lab/fault"
	"drover/internal/proof"
)

// oneLine is a text without its line ends.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// checked runs tenant check with --json and reads what it prints.
func (s *stage) checked(t *testing.T, name string) (int, admin.TenantCheck) {
	t.Helper()
	code, out, errs := droverCommand(t, "tenant", "check", name, "--json", "-c", s.config)
	var c admin.TenantCheck
	if err := json.Unmarshal([]byte(out), &c); err != nil || errs != "" {
		t.Fatalf("exit code %d, %v: %s%s", code, err, out, errs)
	}
	return code, c
}

func TestACheckSaysWhatIsWrongWhyAndWhoMustAct(t *testing.T) {
	s, names := watched(t, 2)
	tenant, name := s.lab.Customers()[0].Tenant, names[0]
	aad := func(code int) *fault.Rule { return &fault.Rule{Kind: fault.AADSTS, API: "token", Param: code} }
	graph := func(status int, body string) *fault.Rule {
		return &fault.Rule{Kind: fault.Status, API: "graph", Param: status, Body: body}
	}
	consent := "/" + tenant + "/adminconsent?client_id=" + s.lab.AppID()
	portal := "https://security.microsoft.com/?tid=" + tenant
	cases := map[string]struct {
		rule *fault.Rule
		code int
		says []string // of the finding, in this order
	}{
		"all is well":                {nil, exitOK, []string{"ok graph.alerts token: Entra gave a token that fits: the app's own, SecurityAlert.Read.All", "tid " + tenant, "roles SecurityAlert.Read.All", "ok graph.alerts: the API answers", "ok clock"}},
		"no consent":                 {aad(7000229), exitDenied, []string{"FAIL graph.alerts token: get a token: AADSTS7000229", "cause: the app is not in this tenant", "who: the customer's admin", consent}},
		"a token without permission": {&fault.Rule{Kind: fault.TokenNoRoles, API: "token"}, exitDenied, []string{"FAIL graph.alerts token", "cause: the tenant has not consented to SecurityAlert.Read.All", "who: the customer's admin", consent}},
		"another tenant's token":     {&fault.Rule{Kind: fault.TokenWrongTID, API: "token", Value: "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60"}, exitFinding, []string{"FAIL graph.alerts token", "wrong tenant", "who: us"}},
		"conditional access":         {aad(53003), exitDenied, []string{"FAIL graph.alerts token", "Conditional Access", "Exclude: enterprise application " + s.lab.AppID(), "state them as egress: in the config", "who: the customer's admin", "correlation ID"}},
		"the app's credential":       {aad(7000222), exitDenied, []string{"FAIL graph.alerts token", "cause: the client secret has expired", "drover app rotate", "who: us"}},
		"no licence":                 {aad(650052), exitDenied, []string{"FAIL graph.alerts token", "cause: the customer has no licence", "who: the customer's admin", portal}},
		"no such tenant":             {aad(90002), exitDenied, []string{"FAIL graph.alerts token", "cause: there is no such tenant in this cloud", "who: us"}},
		"Entra has a fault":          {aad(90033), exitPassing, []string{"FAIL graph.alerts token", "cause: Entra has a passing fault", "who: nobody"}},
		"the API lacks a role":       {graph(403, "roles"), exitDenied, []string{"FAIL graph.alerts: read alerts", "cause: the app has no permission", "who: the customer's admin", consent}},
		"not set up":                 {&fault.Rule{Kind: fault.Status, API: "graph", Param: 401, Value: "Unauthorized request - Account is not provisioned."}, exitDenied, []string{"FAIL graph.alerts: read alerts", "cause: the customer has no licence for it, or Defender was never set up", portal}},
		"one of two":                 {graph(403, "empty"), exitDenied, []string{"FAIL graph.alerts: read alerts", "cause: ", "the API does not say which", portal}},
		"the API has a fault":        {graph(503, ""), exitPassing, []string{"FAIL graph.alerts: read alerts", "who: nobody"}},
		"clocks":                     {&fault.Rule{Kind: fault.SlowSkew, API: "graph", Param: 600}, exitOK, []string{"WARN clock:", "ahead of ours", "do: set this machine's clock by NTP"}},
	}
	check := func(how string) {
		for what, tt := range cases {
			s.lab.Faults().Clear()
			if tt.rule != nil {
				rule := *tt.rule
				rule.Tenant = tenant
				s.lab.Faults().Set(rule)
			}
			code, out, errs := droverCommand(t, "tenant", "check", name, "-c", s.config)
			s.lab.Faults().Clear()
			if code != tt.code || errs != "" {
				t.Errorf("%s, %s: exit code %d, want %d: %s%s", how, what, code, tt.code, out, errs)
			}
			text, at := oneLine(out), 0
			for _, w := range tt.says {
				i := strings.Index(text[at:], w)
				if i < 0 {
					t.Errorf("%s, %s: %q is not in its place in\n%s", how, what, w, out)
					break
				}
				at += i
			}
			if what != "clocks" && strings.Contains(out, "WARN  clock") {
				t.Errorf("%s, %s: %s", how, what, out)
			}
			if tt.code == exitOK && strings.Contains(out, "FAIL") {
				t.Errorf("%s, %s: %s", how, what, out)
			}
		}
	}
	s.during(t, func() {
		check("running")
		if _, c := s.checked(t, name); !c.Running || len(c.Feeds) != 1 || c.Feeds[0].Behind == nil || !c.Feeds[0].Answers || c.Feeds[0].Revisions == 0 {
			t.Errorf("running: %+v", c.Feeds)
		}
	})
	check("alone")
	if _, c := s.checked(t, name); c.Running || !c.Feeds[0].LastWhole.Known() {
		t.Errorf("alone: %+v", c.Feeds)
	}
	if !t.Failed() {
		proof.Ran(t, "P33", "a check tells %d states of a tenant apart, with cause, who must act and exit code, with a running drover and without", len(cases))
	}
}

// Every number of the table is dealt to a tenant that is checked.
func TestEveryCodeIsExplainedByACheck(t *testing.T) {
	s, names := watched(t, 1)
	a, err := newAppFrom(t, s.config)
	if err == nil {
		err = a.openLedger(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.store.Close() }()
	explained := 0
	for _, code := range entra.Codes() {
		s.lab.Faults().Clear()
		s.lab.Faults().Set(fault.Rule{Kind: fault.AADSTS, API: "token", Param: code})
		a.tokens = a.newTokens(0) // as a command of its own would have
		list, err := checkTenants(t.Context(), a.local(), admin.CheckQuery{Tenants: names, Fresh: true}, io.Discard)
		if err != nil || len(list) != 1 {
			t.Fatal(err)
		}
		exit, c := report(t.Context(), io.Discard, checkOutcome(list)), list[0]
		m, _ := entra.Explain(code)
		want := map[bool]int{true: exitDenied, false: exitPassing}[m.Kind == drover.Denied]
		i := slices.IndexFunc(c.Findings, func(f admin.Finding) bool { return f.Code == fmt.Sprintf("AADSTS%d", code) })
		if i < 0 || exit != want {
			t.Errorf("%d: exit code %d, want %d: %+v", code, exit, want, c.Findings)
			continue
		}
		if f := c.Findings[i]; f.OK || f.Cause != m.Why || f.Who != string(m.Who) || f.Hint == "" && m.Do != "" || (c.Policy != nil) != entra.ConditionalAccess(code) {
			t.Errorf("%d: %+v", code, f)
			continue
		}
		explained++
	}
	if !t.Failed() {
		proof.Ran(t, "T02", "codes that Entra answers to a check and that it explains, with the exit code: %d of %d", explained, len(entra.Codes()))
	}
}

func TestACheckOfAllTenantsSaysOnceWhatIsWrongWithSeveral(t *testing.T) {
	s, names := watched(t, 5)
	k := s.lab.Customers()
	d := s.lab.Directory()
	for _, c := range k[1:3] {
		d.Consent(c.Tenant, s.lab.AppID(), authority.None)
	}
	s.lab.Faults().Set(fault.Rule{Kind: fault.Status, API: "graph", Param: 503, Tenant: k[3].Tenant})
	code, out, errs := droverCommand(t, "tenant", "check", "--all", "-c", s.config)
	if code != exitDenied || errs != "" { // nothing of progress where no terminal is
		t.Errorf("exit code %d: %s", code, errs)
	}
	for _, want := range []string{"FAIL " + names[1] + ", " + names[2] + " graph.alerts token", "5 tenants: 2 ok, 3 FAIL"} {
		if !strings.Contains(oneLine(out), want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if n := strings.Count(out, "the app is not in this tenant"); n != 1 {
		t.Errorf("one cause is told %d times:\n%s", n, out)
	}
	code, out, _ = droverCommand(t, "tenant", "check", "--all", "--json", "-c", s.config)
	var r struct{ Tenants []admin.TenantCheck }
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitDenied || len(r.Tenants) != 5 || r.Tenants[1].Name != names[1] || r.Tenants[0].Findings == nil {
		t.Fatalf("exit code %d, %v: %s", code, err, out)
	}
	// What passes weighs least.
	for _, c := range k[1:3] {
		d.Consent(c.Tenant, s.lab.AppID(), authority.Granted)
	}
	if code, out, _ := droverCommand(t, "tenant", "check", "--all", "-c", s.config); code != exitPassing {
		t.Errorf("exit code %d: %s", code, out)
	}
	s.lab.Faults().Clear()
	if code, out, _ := droverCommand(t, "tenant", "check", "--all", "-c", s.config); code != exitOK {
		t.Errorf("exit code %d: %s", code, out)
	}
	for _, args := range [][]string{nil, {"contoso", "--all"}, {"--all", "--for-customer"}, {"contoso", "--for-customer", "--json"}} {
		if code, _, _ := droverCommand(t, append([]string{"tenant", "check", "-c", s.config}, args...)...); code != exitUsage {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
}

func TestTheMailToTheCustomerHasWhatTheirAdminNeeds(t *testing.T) {
	s, names := watched(t, 2)
	k := s.lab.Customers()
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	yaml := strings.Replace(string(text), "    cloud: lab\n    secret", "    cloud: lab\n    home_tenant: 99999999-0000-4000-8000-000000000001\n    secret", 1)
	put(t, s.config, "egress: [203.0.113.7, 2001:db8::/64]\n"+yaml)
	d := s.lab.Directory()
	d.Switch(func(x *authority.Switches) { x.PolicyOnApps = true })
	d.Restrict(k[0].Tenant, 53003)
	d.Consent(k[1].Tenant, s.lab.AppID(), authority.None)
	for name, want := range map[string][]string{
		names[0]: {"Subject: ", k[0].Tenant, "AADSTS53003", "Exclude: the enterprise application " + s.lab.AppID(), "203.0.113.7, 2001:db8::/64", "Service provider users of the tenant 99999999-0000-4000-8000-000000000001", "Microsoft names the policy: ", "correlation ID "},
		names[1]: {"Subject: ", k[1].Tenant, "AADSTS7000229", "As Privileged Role Administrator", "https://" + s.addr + "/" + k[1].Tenant + "/adminconsent?client_id=" + s.lab.AppID(), "It must list SecurityAlert.Read.All"},
	} {
		code, out, errs := droverCommand(t, "tenant", "check", name, "--for-customer", "-c", s.config)
		if code != exitDenied || errs != "" {
			t.Errorf("%s: exit code %d: %s", name, code, errs)
		}
		for _, w := range want {
			if !strings.Contains(oneLine(out), w) {
				t.Errorf("%s: %q is not in\n%s", name, w, out)
			}
		}
		if strings.Contains(out, "drover") || strings.Contains(out, "NAME") {
			t.Errorf("the customer is told of our commands:\n%s", out)
		}
	}
	d.Restrict(k[0].Tenant, 0)
	if code, out, errs := droverCommand(t, "tenant", "check", names[0], "--for-customer", "-c", s.config); code != exitOK || out != "" || !strings.Contains(errs, "nothing that the admin of "+names[0]+" must do") {
		t.Errorf("nothing to do: %d %s%s", code, out, errs)
	}
}

// What a check prints may be sent around.
func TestNoCheckShowsAToken(t *testing.T) {
	s, names := watched(t, 1)
	raw := regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}`)
	for _, args := range [][]string{{names[0]}, {names[0], "--json"}, {"--all"}, {"--all", "--json"}} {
		_, out, errs := droverCommand(t, append([]string{"tenant", "check", "-c", s.config}, args...)...)
		if m := raw.FindString(out + errs); m != "" {
			t.Errorf("%v shows %s", args, m)
		}
		if strings.Contains(out+errs, s.lab.AppSecret()) {
			t.Errorf("%v shows the secret", args)
		}
	}
}

func TestALagIsAFindingOnlyWhereSomebodyReads(t *testing.T) {
	cfg := writeConfig(t, "")
	a, err := newAppFrom(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tenant := drover.Tenant{Name: "contoso", State: drover.Active}
	behind := func(d time.Duration) admin.FeedCheck {
		return admin.FeedCheck{Source: drover.GraphAlerts, Behind: &d, LastWhole: drover.InstantOf(now.Add(-d))}
	}
	for name, tt := range map[string]struct {
		feed  admin.FeedCheck
		reads bool
		state drover.TenantState
		want  string // mark of the only finding
	}{
		"in time":                  {behind(2 * time.Minute), true, drover.Active, ""},
		"a little late":            {behind(20 * time.Minute), true, drover.Active, "WARN"},
		"late":                     {behind(3 * time.Hour), true, drover.Active, "FAIL"},
		"nobody reads":             {behind(3 * time.Hour), false, drover.Active, ""},
		"paused":                   {behind(3 * time.Hour), true, drover.Paused, ""},
		"never read":               {admin.FeedCheck{Source: drover.GraphAlerts}, true, drover.Active, ""},
		"gaps":                     {admin.FeedCheck{Source: drover.GraphAlerts, OpenGaps: 2}, true, drover.Active, "WARN"},
		"parked":                   {admin.FeedCheck{Source: drover.GraphAlerts, Parked: "why"}, true, drover.Active, "WARN"},
		"parked and answers again": {admin.FeedCheck{Source: drover.GraphAlerts, Parked: "why", Answers: true}, true, drover.Active, "WARN"},
	} {
		a.since = time.Time{}
		if tt.reads {
			a.since = now
		}
		tenant.State = tt.state
		got := ""
		for _, f := range a.lagFindings(tenant, tt.feed, now) {
			got += map[bool]string{true: "WARN", false: "FAIL"}[f.OK]
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

// A delegated sign-in ends after 90 days without use.
func TestTheAgeOfASignInIsSaid(t *testing.T) {
	cfg := writeConfig(t, "")
	a, err := newAppFrom(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.openLedger(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.store.Close() }()
	x := drover.Tenant{ID: "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", Name: "contoso", Customer: "contoso", Cloud: "worldwide", App: "default", State: drover.Active, Sources: []drover.SourceID{drover.GraphAlerts}, Start: drover.InstantOf(time.Now()), Added: drover.InstantOf(time.Now())}
	if err := a.store.AddTenant(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	if got := a.checkSignIn(t.Context(), x, time.Now()); got != nil {
		t.Errorf("of a tenant without one: %+v", got)
	}
	if err := a.signIns.Save(t.Context(), x, drover.Refresh{Token: drover.NewSecret("refresh")}); err != nil {
		t.Fatal(err)
	}
	for days, want := range map[int]string{1: "ok", 61: "WARN", 81: "FAIL"} {
		f := a.checkSignIn(t.Context(), x, time.Now().AddDate(0, 0, days))
		got := "ok"
		switch {
		case len(f) != 1:
			t.Fatalf("%+v", f)
		case !f[0].OK:
			got = "FAIL"
		case f[0].Warn:
			got = "WARN"
		}
		if got != want || strings.Contains(f[0].Says, "refresh\"") {
			t.Errorf("after %d days: %s, %+v", days, got, f)
		}
	}
}
