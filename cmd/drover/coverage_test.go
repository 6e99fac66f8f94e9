package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"drover"
	"drover/internal/admin"
	"drover/internal/coverage"
	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
	"drover/internal/proof"
)

var updateCoverage = flag.Bool("update-coverage", false, "write testdata/coverage.txt anew")

// watched is a pretend cloud whose customers have been read once.
func watched(t *testing.T, customers int) (s *stage, names []string) {
	t.Helper()
	s, err := newStage(stageOptions{dir: t.TempDir(), listen: "127.0.0.1:0", seed: 1, customers: customers, story: func(int) estate.Options { return estate.Options{Backlog: 400} }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	for _, c := range s.lab.Customers() {
		if code, _, errs := droverCommand(t, "tenant", "add", c.Tenant, "--name", c.Name, "--cloud", "lab", "--start", "40d", "-c", s.config); code != exitOK {
			t.Fatal(errs)
		}
		names = append(names, c.Name)
	}
	return s, names
}

// during runs f beside a drover that has read every feed whole, with its past.
func (s *stage) during(t *testing.T, f func()) {
	t.Helper()
	a, err := newAppFrom(t, s.config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	for read := false; !read && len(done) == 0; time.Sleep(10 * time.Millisecond) { // however long that takes
		s, err := admin.Dial(a.cfg.Ledger.Dir).Status(ctx)
		read = err == nil && len(s.Backfills) == 0
		for _, x := range s.Tenants {
			read = read && x.Feeds[0].LastWhole.Known()
		}
	}
	f()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCoverageTellsTheCausesOfARefusalApart(t *testing.T) {
	s, names := watched(t, 2)
	tenant, name := s.lab.Customers()[0].Tenant, names[0]
	says := func(rule *fault.Rule) (code int, out string) {
		s.lab.Faults().Clear()
		if rule != nil {
			rule.Tenant = tenant
			s.lab.Faults().Set(*rule)
		}
		defer s.lab.Faults().Clear()
		code, out, errs := droverCommand(t, "tenant", "coverage", name, "-c", s.config)
		if errs != "" {
			t.Errorf("says %s", errs)
		}
		return code, out
	}
	if code, out := says(nil); code != exitUnsure || !strings.Contains(out, "never read whole yet") {
		t.Errorf("before anything was read: exit code %d, %s", code, out)
	}
	cases := map[string]struct {
		rule *fault.Rule
		code int
		says []string
	}{
		"all is well":                 {nil, exitOK, []string{"graph.alerts: the API answers; read up to 20", "granted: SecurityAlert.Read.All", "Defender for Identity", "covered", "unknown: App governance"}},
		"the API names missing roles": {&fault.Rule{Kind: fault.Status, API: "graph", Param: 403, Body: "roles"}, exitFinding, []string{"NOT GRANTED", "hint: a permission is missing", "SecurityAlert.Read.All"}},
		"403 without a word":          {&fault.Rule{Kind: fault.Status, API: "graph", Param: 403, Body: "empty"}, exitFinding, []string{"REFUSED: not granted, or not onboarded; the API does not say", " refused"}},
		"not provisioned":             {&fault.Rule{Kind: fault.Status, API: "graph", Param: 401, Value: "Unauthorized request - Account is not provisioned."}, exitFinding, []string{"NOT LICENSED OR NOT ONBOARDED", "no active Defender"}},
		"inactive":                    {&fault.Rule{Kind: fault.Status, API: "graph", Param: 401, Value: "Unauthorized request - reason of failure: Account mode is inactive"}, exitFinding, []string{"NOT LICENSED OR NOT ONBOARDED", "not onboarded"}},
		"no licence":                  {&fault.Rule{Kind: fault.Status, API: "graph", Param: 403, Value: "Unauthorized request - reason of failure: No Tvm license"}, exitFinding, []string{"NOT LICENSED OR NOT ONBOARDED"}},
		"a token without roles":       {&fault.Rule{Kind: fault.TokenNoRoles, API: "token"}, exitFinding, []string{"NOT GRANTED", "its token carries no permission; it needs SecurityAlert.Read.All", "admin must consent"}},
		"Entra has no consent":        {&fault.Rule{Kind: fault.AADSTS, API: "token", Param: 65001}, exitFinding, []string{"NOT GRANTED", "AADSTS65001", "admin must consent"}},
		"Entra has no licence":        {&fault.Rule{Kind: fault.AADSTS, API: "token", Param: 650052}, exitFinding, []string{"NOT LICENSED OR NOT ONBOARDED"}},
		"conditional access":          {&fault.Rule{Kind: fault.AADSTS, API: "token", Param: 53003}, exitFinding, []string{"REFUSED: get a token: AADSTS53003", "not read"}},
		"a product is left out":       {&fault.Rule{Kind: fault.Provider, API: "graph", Param: 403, Value: "microsoftDefenderForIdentity"}, exitFinding, []string{"the API leaves out: Microsoft/microsoftDefenderForIdentity", "not onboarded", "Defender for Identity: the API leaves it out"}},
		"one that it never had":       {&fault.Rule{Kind: fault.Provider, API: "graph", Param: 401, Value: "microsoftSentinel"}, exitOK, []string{"Sentinel                      0  -                 -          not onboarded"}},
		"a product does not answer":   {&fault.Rule{Kind: fault.Provider, API: "graph", Param: 504, Value: "microsoftDefenderForIdentity"}, exitUnsure, []string{"did not answer just now", "unknown"}},
		"a passing fault":             {&fault.Rule{Kind: fault.Status, API: "graph", Param: 503}, exitUnsure, []string{"could not be asked now"}},
	}
	check := func(how string) {
		for what, tt := range cases {
			code, out := says(tt.rule)
			if code != tt.code {
				t.Errorf("%s, %s: exit code %d, want %d: %s", how, what, code, tt.code, out)
			}
			for _, words := range tt.says {
				if !strings.Contains(out, words) {
					t.Errorf("%s, %s: %q is not in\n%s", how, what, words, out)
				}
			}
			narrow(t, out)
		}
	}
	s.during(t, func() {
		check("running")
		says(nil) // a refused token is not asked for again by --all
		s.lab.Faults().Set(fault.Rule{Kind: fault.Status, API: "graph", Param: 403, Body: "roles", Tenant: tenant})
		code, out, errs := droverCommand(t, "tenant", "coverage", "--all", "--json", "-c", s.config)
		s.lab.Faults().Clear()
		var r coverageReport
		if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitFinding || errs != "" {
			t.Fatalf("exit code %d, %v, %s", code, err, errs)
		}
		if len(r.Tenants) != 2 || r.Tenants[0].Sources[0].Answer != coverage.NotGranted || r.Tenants[1].Sources[0].Answer != coverage.Open || len(r.NotShown) == 0 {
			t.Errorf("all: %+v", r.Tenants)
		}
	})
	check("not running")
	for _, id := range []string{"P18", "P32", "P33"} {
		proof.Ran(t, id, "coverage tells %d answers apart, with a running drover and without", len(cases))
	}
}

// narrow wants every line to fit a terminal of 80 columns.
func narrow(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > textWidth {
			t.Errorf("%d columns: %q", n, line)
		}
	}
}

func TestWhatCoverageCannotDoIsSaid(t *testing.T) {
	cfg := writeConfig(t, "")
	for name, tt := range map[string]struct {
		args []string
		code int
		says string
	}{
		"nobody named":    {nil, exitUsage, "name tenants, or all of them by --all"},
		"both":            {[]string{"contoso", "--all"}, exitUsage, "name tenants, or all of them by --all"},
		"no days":         {[]string{"contoso", "--days", "0"}, exitUsage, "--days must be 1 to 180"},
		"too many days":   {[]string{"contoso", "--days", "181"}, exitUsage, "--days must be 1 to 180"},
		"nobody of it":    {[]string{"contoso"}, exitUsage, `there is no tenant "contoso"`},
		"no tenant there": {[]string{"--all"}, exitOK, ""},
	} {
		code, out, errs := droverCommand(t, append([]string{"tenant", "coverage", "-c", cfg}, tt.args...)...)
		if code != tt.code || !strings.Contains(errs, tt.says) || tt.says == "" && !strings.Contains(out, "no tenants; add one") {
			t.Errorf("%s: exit code %d, %s%s", name, code, out, errs)
		}
	}
	code, out, _ := droverCommand(t, "tenant", "coverage", "contoso", "fabrikam", "-c", cfg)
	if code != exitUnsure || strings.Count(out, "nothing can be told") != 2 {
		t.Errorf("two that are not there: exit code %d, %s", code, out)
	}
}

// aReport has something of everything.
func aReport() coverageReport {
	at := drover.InstantOf(time.Date(2026, 3, 2, 8, 15, 0, 0, time.UTC))
	day := 24 * time.Hour
	identity := func(n int, quiet time.Duration) coverage.Seen {
		return coverage.Seen{Product: "defender_for_identity", Name: "Defender for Identity", Alerts: n, Newest: at.Add(-quiet), UsualGap: 9 * time.Hour}
	}
	endpoint := coverage.Seen{Product: coverage.Endpoint, Name: "Defender for Endpoint", Alerts: 1204, Newest: at.Add(-7 * time.Minute), UsualGap: 45 * time.Minute}
	office := coverage.Seen{Product: "defender_for_office_365", Name: "Defender for Office 365", Alerts: 88, Newest: at.Add(-4 * day), UsualGap: 21 * time.Hour}
	graph := coverage.Source{ID: drover.GraphAlerts, Answer: coverage.Open, Permissions: []string{"SecurityAlert.Read.All", "SecurityIncident.Read.All"}, Opens: []drover.SourceID{drover.GraphAlerts, drover.GraphIncidents},
		Wants: "SecurityAlert.Read.All", ReadUpTo: at}
	with := func(s coverage.Source, seen ...coverage.Seen) coverage.Source {
		s.Seen = seen
		return s
	}
	contoso := with(graph, endpoint, office, identity(40, 3*day), coverage.Seen{Product: "other:microsoftDefenderForSomethingThatIsLong", Name: "microsoftDefenderForSomethingThatIsLong", Alerts: 1, Newest: at})
	contoso.Absent = []string{"Microsoft/microsoftDefenderForCloudApps"}
	mde := coverage.Source{ID: drover.MDEAlerts, Answer: coverage.Open, Permissions: []string{"Alert.Read.All"}, Opens: []drover.SourceID{drover.MDEAlerts}, Wants: "Alert.Read.All", ReadUpTo: at, Pruned: true,
		Seen: []coverage.Seen{{Product: coverage.Endpoint, Name: "Defender for Endpoint", Alerts: 1190, Newest: at.Add(-9 * time.Minute), UsualGap: time.Hour}}}
	incidents := coverage.Source{ID: drover.GraphIncidents, Answer: coverage.Open, Permissions: []string{"SecurityIncident.Read"}, Delegated: true, Wants: "SecurityIncident.Read.All", ReadUpTo: at,
		Seen: []coverage.Seen{{Product: coverage.Incidents, Name: "Incidents", Alerts: 310, Newest: at.Add(-time.Hour), UsualGap: 3 * time.Hour}}}
	northwind := with(graph, endpoint)
	northwind.Answer, northwind.Says, northwind.Hint = coverage.NotGranted, "get a token: the token carries no permission that reads alerts", "consent is missing: the customer's admin must consent to SecurityAlert.Read.All; some minutes may pass until it shows"
	northwind.Permissions, northwind.Opens = []string{}, nil
	paused := with(graph)
	paused.ReadUpTo = drover.NoInstant
	r := coverageReport{Days: 30, NotShown: coverage.NotShown(), Failed: []admin.CoverageFailure{{Tenant: "tailspin", Says: "read daily counts: the disk reports an error", Hint: "look at the kernel's log before anything else"}}}
	for i, sources := range [][]coverage.Source{{contoso, mde, incidents}, {with(graph, identity(12, 2*day))}, {northwind}, {paused}} {
		x := coverage.Tenant{ID: drover.TenantID("00000000-0000-4000-8000-00000000000" + string(rune('a'+i))), Name: []string{"contoso", "fabrikam", "northwind", "woodgrove"}[i], State: drover.Active, From: at.Add(-30 * day), Sources: sources}
		if i == 3 {
			x.State = drover.Paused
		}
		x.Judge()
		r.Tenants = append(r.Tenants, x)
	}
	r.Everywhere = coverage.Everywhere(r.Tenants, nil)
	return r
}

func TestCoverageOnAPlainTerminal(t *testing.T) {
	var out strings.Builder
	r := aReport()
	if err := printCoverage(&out, r); err != nil {
		t.Fatal(err)
	}
	narrow(t, out.String())
	golden := filepath.Join("testdata", "coverage.txt")
	if *updateCoverage {
		if err := os.WriteFile(golden, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("is not %s:\n%s", golden, out.String())
	}
	if n := strings.Count(out.String(), "Defender for Identity is silent everywhere"); n != 1 || !strings.HasPrefix(out.String(), "Defender for Identity is silent") {
		t.Errorf("what is Microsoft's matter is said %d times", n)
	}
	if strings.Contains(out.String(), "Defender for Identity: no new alert") {
		t.Error("and once more at a tenant")
	}
}

// From the API to the terminal: a product of which each tenant sees an alert in
// 30 hours, and all together one in ten, has stopped two days ago everywhere.
func TestAProductThatStoppedEverywhereIsSaidOnceAndFirst(t *testing.T) {
	s, names := watched(t, 3)
	now := time.Now()
	for n, c := range s.lab.Customers() {
		for h := 45 + 10*n; h < 30*24; h += 30 {
			at := now.Add(-time.Duration(h) * time.Hour).UTC()
			text := at.Format("2006-01-02T15:04:05.0000000Z")
			id := fmt.Sprintf("sn%s-%d", c.Name, h)
			s.lab.Estate().Put(c.Tenant, estate.Graph, estate.Row{ID: id, Created: at, Changed: at, Visible: at,
				Raw: fmt.Appendf(nil, `{"id":%q,"tenantId":%q,"serviceSource":"microsoftSentinel","severity":"low","status":"new","createdDateTime":%q,"lastUpdateDateTime":%q}`, id, c.Tenant, text, text)})
		}
	}
	s.during(t, func() {
		code, out, errs := droverCommand(t, "tenant", "coverage", "--all", "-c", s.config)
		if code != exitFinding || errs != "" {
			t.Errorf("exit code %d, %s", code, errs)
		}
		flat := strings.Join(strings.Fields(out), " ")
		if !strings.HasPrefix(flat, "Sentinel is silent everywhere: no new alert in any of the 3 tenants that had it since ") || !strings.Contains(flat, "of all together one usually comes within 10h. That is Microsoft's") || strings.Count(flat, "is silent everywhere") != 1 || strings.Count(out, "silent everywhere\n") != 3 {
			t.Errorf("says %s", out)
		}
		narrow(t, out)
		// One customer by itself is as usual.
		if code, out, _ := droverCommand(t, "tenant", "coverage", names[0], "-c", s.config); code != exitOK || strings.Contains(out, "everywhere:") {
			t.Errorf("exit code %d, %s", code, out)
		}
	})
}
