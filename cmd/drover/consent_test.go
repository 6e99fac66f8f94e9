package main

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/ledger"
	"drover/internal/proof"
)

// register sets what the app's registration asks for.
func (h *house) register(roles ...string) {
	h.lab.Directory().AddApp(authority.App{ClientID: h.app, MultiTenant: true, HomeTenant: lab.HomeTenant, Roles: roles, RedirectURIs: []string{"http://localhost", h.pageURL() + "/callback"}})
}

// agrees has a customer consent to what is registered now.
func (h *house) agrees(c lab.Customer) {
	h.lab.Directory().Consent(c.Tenant, h.app, authority.None)
	h.lab.Directory().Consent(c.Tenant, h.app, authority.Granted)
}

// links reads a file of links, by tenant.
func links(t *testing.T, path string) map[string]string {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil || len(rows) < 1 || !slices.Equal(rows[0], []string{"name", "customer", "tenant", "permissions", "link", "good_until", "asked_before"}) {
		t.Fatalf("%v %v", rows, err)
	}
	out := make(map[string]string)
	for _, r := range rows[1:] {
		out[r[2]] = r[4]
	}
	return out
}

func TestANewPermissionIsAskedForFollowedAndSeenInTokens(t *testing.T) {
	h := newHouse(t)
	cs := h.lab.Customers()
	h.register("SecurityAlert.Read.All")
	for _, c := range cs {
		if code, _, errs := droverCommand(t, "tenant", "add", c.Tenant, "--name", c.Name, "--cloud", "lab", "-c", h.config); code != exitOK {
			t.Fatal(errs)
		}
		h.lab.Directory().Consent(c.Tenant, h.app, authority.Granted)
	}
	if code, out, errs := droverCommand(t, "consent", "plan", "-c", h.config); code != exitOK || !strings.Contains(out, "3 have given everything") {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	// A source is to be switched on: the registration asks for more, one customer
	// agrees by itself, one has nothing any more.
	const role = "Alert.Read.All"
	roles := []string{"SecurityAlert.Read.All", role}
	for _, c := range cs {
		h.lab.Directory().Roles(c.Tenant, h.app, []string{"SecurityAlert.Read.All"})
	}
	h.register(roles...)
	h.agrees(cs[1])
	h.lab.Directory().Consent(cs[2].Tenant, h.app, authority.None)
	plan := func() map[string]consentRow {
		t.Helper()
		_, out, errs := droverCommand(t, "consent", "plan", "--source", "mde.alerts", "--json", "-c", h.config)
		var rows []consentRow
		if err := json.Unmarshal([]byte(out), &rows); err != nil || len(rows) != 3 {
			t.Fatalf("%v %s%s", err, out, errs)
		}
		by := make(map[string]consentRow)
		for _, r := range rows {
			by[string(r.Tenant)] = r
		}
		return by
	}
	guessed := 0
	for tenant, want := range map[string][2]string{cs[0].Tenant: {consentLacks, role}, cs[1].Tenant: {consentGranted, ""}, cs[2].Tenant: {consentLacks, "SecurityAlert.Read.All " + role}} {
		if got := plan()[tenant]; got.Standing != want[0] || strings.Join(got.Needs, " ") != want[1] {
			guessed++
			t.Errorf("%s: %+v, want %v", tenant, got, want)
		}
	}
	if code, out, _ := droverCommand(t, "consent", "plan", "--source", "mde.alerts", "-c", h.config); code != exitFinding || !strings.Contains(out, "2 lack something") || !strings.Contains(out, role) {
		t.Errorf("%d %s", code, out)
	}

	first := filepath.Join(h.dir, "links.csv")
	send := func(file string, more ...string) (int, string) {
		code, out, errs := droverCommand(t, append([]string{"consent", "send", "--source", "mde.alerts", "--out", file, "-c", h.config}, more...)...)
		return code, out + errs
	}
	if code, out := send(first); code != exitOK || !strings.Contains(out, "asked 2, reminded 0") || strings.Contains(out, h.page) {
		t.Fatalf("%d %s", code, out)
	}
	asked := links(t, first)
	if len(asked) != 2 || asked[cs[1].Tenant] != "" {
		t.Errorf("links %v", asked)
	}
	if code, out := send(filepath.Join(h.dir, "again.csv")); code != exitOK || !strings.Contains(out, "asked 0, reminded 0, left alone 2") {
		t.Errorf("at once again: %d %s", code, out)
	}
	if _, err := os.Stat(filepath.Join(h.dir, "again.csv")); err == nil {
		t.Error("a file without a link was made")
	}
	second := filepath.Join(h.dir, "second.csv")
	if code, out := send(second, "--remind-after", "1ns"); code != exitOK || !strings.Contains(out, "asked 0, reminded 2") {
		t.Errorf("a reminder: %d %s", code, out)
	}
	reminded := links(t, second)
	if status, page := h.gets(h.person(), asked[cs[0].Tenant]); status != 410 || !strings.Contains(page, "withdrawn") {
		t.Errorf("the link before: %d %s", status, page)
	}
	if code, out := send(first); code != exitOK || strings.Contains(out, "reminded 2") {
		t.Errorf("over a file that is there: %d %s", code, out)
	}

	// One agrees.
	b := h.person()
	if _, page := h.gets(b, reminded[cs[0].Tenant]); !strings.Contains(page, "read one thing more") || !strings.Contains(page, role) || strings.Contains(page, "SecurityAlert.Read.All") {
		t.Errorf("asked: %s", page)
	}
	h.through(b, reminded[cs[0].Tenant], cs[0])
	status := func() map[string]asked2 {
		t.Helper()
		_, out, errs := droverCommand(t, "consent", "status", "--source", "mde.alerts", "--json", "-c", h.config)
		var rows []asked2
		if err := json.Unmarshal([]byte(out), &rows); err != nil {
			t.Fatalf("%v %s%s", err, out, errs)
		}
		by := make(map[string]asked2)
		for _, r := range rows {
			by[r.Tenant] = r
		}
		return by
	}
	var done string
	for _, i := range h.invitations() {
		if string(i.Tenant) == cs[0].Tenant && i.State != ledger.InviteWithdrawn {
			done = i.ID
		}
	}
	if got := h.comes(done, ledger.InviteDone); len(got.Results) != 1 || got.Results[0].Outcome != "works" {
		t.Errorf("%+v", got)
	}
	if page := h.status(b); !strings.Contains(page, "Everything works") {
		t.Errorf("%s", page)
	}
	got := status()
	if x := got[cs[0].Tenant]; x.Standing != consentGranted || x.Times != 2 || x.By.Name != "admin@"+cs[0].Domain {
		t.Errorf("who agreed: %+v", x)
	}
	if x := got[cs[1].Tenant]; x.Standing != consentGranted || x.Times != 0 {
		t.Errorf("who was not asked: %+v", x)
	}
	if x := got[cs[2].Tenant]; x.Standing != consentLacks || x.Times != 2 || x.Overdue {
		t.Errorf("who has not agreed: %+v", x)
	}
	// Told by tokens: a permission that is taken back is lacked again.
	h.lab.Directory().Roles(cs[0].Tenant, h.app, []string{"SecurityAlert.Read.All"})
	if x := status()[cs[0].Tenant]; x.Standing != consentLacks || !x.Fruitless {
		guessed++
		t.Errorf("taken back: %+v", x)
	}
	if code, out, _ := droverCommand(t, "consent", "status", "--source", "mde.alerts", "--remind-after", "1ns", "-c", h.config); code != exitFinding || !strings.Contains(out, "overdue") || !strings.Contains(out, "without the permission") {
		t.Errorf("%d %s", code, out)
	}
	if code, _, errs := droverCommand(t, "consent", "plan", "--tenant", "nobody", "-c", h.config); code != exitUsage || !strings.Contains(errs, "nobody") {
		t.Errorf("%d %s", code, errs)
	}
	proof.Ran(t, "consent", "three tenants asked for one permission more, read from tokens at each step: standings told wrongly %d; links written twice 0", guessed)
}

// asked2 is a row of consent status, as a script reads it.
type asked2 struct {
	Tenant    string `json:"tenant"`
	Standing  string `json:"standing"`
	Times     int    `json:"times_asked"`
	Overdue   bool   `json:"overdue"`
	Fruitless bool   `json:"fruitless"`
	By        struct {
		Name string `json:"name"`
	} `json:"by"`
}
