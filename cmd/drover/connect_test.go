package main

import (
	"bytes"
	"context"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/lab/labtest"
	"drover/internal/onboard"
	"drover/internal/proof"
)

// said gathers what a command writes while it runs.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// desk is a lab, a drover that knows it, and a person at a browser.
type desk struct {
	*stage
	t       *testing.T
	browser *labtest.Browser
	app     string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	return newDeskOf(t, stageOptions{customers: 2})
}

// newDeskOf is newDesk with customers, and with an MSSP that may be a partner.
func newDeskOf(t *testing.T, opt stageOptions) *desk {
	t.Helper()
	opt.dir, opt.listen, opt.seed = t.TempDir(), "127.0.0.1:0", 1
	s, err := newStage(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	b, err := labtest.New(s.lab.CAPEM())
	if err != nil {
		t.Fatal(err)
	}
	was := shownTo
	shownTo = func(io.Writer) bool { return true }
	t.Cleanup(func() { shownTo = was })
	return &desk{s, t, b, s.lab.AppID()}
}

// customer is one that has not consented to anything.
func (d *desk) customer(i int) lab.Customer {
	c := d.lab.Customers()[i]
	d.lab.Directory().Consent(c.Tenant, d.app, authority.None)
	d.lab.Directory().Authorise(c.Tenant, d.app, false)
	return c
}

// connecting is a tenant connect that runs.
type running struct {
	d    *desk
	errs said
	out  bytes.Buffer
	code chan int
}

func (d *desk) connect(stdin io.Reader, args ...string) *running {
	r := &running{d: d, code: make(chan int, 1)}
	go func() {
		r.code <- run(append([]string{"tenant", "connect", "-c", d.config}, args...), stdin, &r.out, &r.errs)
	}()
	return r
}

// sees waits until the command says something that fits.
func (r *running) sees(pattern string) []string {
	r.d.t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if m := re.FindStringSubmatch(r.errs.String()); m != nil {
			return m
		}
		select {
		case code := <-r.code:
			r.d.t.Fatalf("it ended with %d: %s%s", code, r.out.String(), r.errs.String())
		default:
		}
	}
	r.d.t.Fatalf("no %s in %q", pattern, r.errs.String())
	return nil
}

// ends waits for the end and wants an exit code.
func (r *running) ends(want int) (out, errs string) {
	r.d.t.Helper()
	select {
	case code := <-r.code:
		if code != want {
			r.d.t.Errorf("exit code %d, want %d: %s%s", code, want, r.out.String(), r.errs.String())
		}
	case <-time.After(30 * time.Second):
		r.d.t.Fatalf("it does not end: %s", r.errs.String())
	}
	return r.out.String(), r.errs.String()
}

// answers fills in a page and returns where it leads.
func (d *desk) answers(page, decision string, fields url.Values) string {
	d.t.Helper()
	led, err := d.browser.Answer(d.t.Context(), page, decision, fields)
	if err != nil {
		d.t.Fatal(err)
	}
	return led
}

func (d *desk) opens(target string) (int, string) {
	d.t.Helper()
	status, page, err := d.browser.Open(d.t.Context(), target)
	if err != nil {
		d.t.Fatal(err)
	}
	return status, page
}

// known lists the tenants in the ledger.
func (d *desk) known() string {
	d.t.Helper()
	code, out, errs := droverCommand(d.t, "tenant", "list", "-c", d.config)
	if code != exitOK {
		d.t.Fatal(errs)
	}
	return out
}

const (
	authorizePage = `(https://\S+/authorize\?\S+)`
	consentPage   = `(https://\S+/adminconsent\?\S+)`
)

func user(c lab.Customer) url.Values { return url.Values{"user": {"admin@" + c.Domain}} }

func TestACustomerIsConnectedByASignInAndAConsentInOneBrowser(t *testing.T) {
	d := newDesk(t)
	c := d.customer(0)
	other := d.lab.Customers()[1]
	d.lab.Directory().ForgedTenant = other.Tenant
	r := d.connect(nil, c.Tenant, "--name", c.Name, "--source", "graph.alerts,siem.detections", "--region", "eu", "--home-tenant", lab.HomeTenant)
	led := d.answers(r.sees(authorizePage)[1], "accept", user(c))
	if !strings.HasPrefix(led, "http://localhost:") {
		t.Fatalf("led to %s", led)
	}
	own, err := url.Parse(led)
	if err != nil {
		t.Fatal(err)
	}
	foreign, activated := 0, 0
	for name, q := range map[string]string{"no state": "?code=x", "another state": "?code=x&state=y", "two": "?code=x&state=y&" + own.RawQuery, "a forged consent": "?admin_consent=True&tenant=" + other.Tenant + "&state=z"} {
		foreign++
		if status, page := d.opens("http://" + own.Host + "/" + q); status != http.StatusBadRequest || !strings.Contains(page, "another sign-in") {
			t.Errorf("%s: %d %s", name, status, page)
		}
	}
	status, page := d.opens(led)
	next := regexp.MustCompile(`<a href="([^"]+)">`).FindStringSubmatch(page)
	if status != http.StatusOK || next == nil || strings.Contains(page, "<script") {
		t.Fatalf("%d %s", status, page)
	}
	if _, _, err := d.browser.Open(t.Context(), led); err == nil {
		t.Error("the port is open after the first valid answer")
	}
	if strings.Contains(d.known(), c.Name) {
		activated++
		t.Error("the tenant is there before its admin has consented")
	}
	ask := html.UnescapeString(next[1])
	if ask != r.sees(consentPage)[1] {
		t.Errorf("the page leads to %s", ask)
	}
	led = d.answers(ask, "accept", user(c))
	if !strings.Contains(led, "tenant="+other.Tenant) {
		t.Fatalf("the lab forges nothing: %s", led)
	}
	if status, page := d.opens(led); status != http.StatusOK || !strings.Contains(page, "Thank you") {
		t.Errorf("%d %s", status, page)
	}
	out, errs := r.ends(exitFinding)
	for _, want := range []string{"admin@" + c.Domain + " signed in", "ok    graph.alerts: works", "FAIL  siem.detections: not authorised in the portal", "https://security.microsoft.com/?tid=" + c.Tenant, d.app, lab.HomeTenant} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in %s%s", want, out, errs)
		}
	}
	if list := d.known(); !strings.Contains(list, c.Tenant) || strings.Contains(list, other.Tenant) {
		activated++
		t.Errorf("the ledger has %s", list)
	}
	// The customer's admin authorises the MSSP; the consent is there now.
	d.lab.Directory().Authorise(c.Tenant, d.app, true)
	r = d.connect(nil, c.Name, "--json")
	if _, page := d.opens(d.answers(r.sees(authorizePage)[1], "accept", user(c))); !strings.Contains(page, "Close this page") {
		t.Errorf("%s", page)
	}
	out, _ = r.ends(exitOK)
	var res onboard.Result
	if err := json.Unmarshal([]byte(out), &res); err != nil || !res.OK() || !res.Before || len(res.Sources) != 2 {
		t.Errorf("%v: %s", err, out)
	}
	proof.Ran(t, "T06", "a forged tenant and %d foreign answers while a customer is connected: tenants activated wrongly %d", foreign, activated)
}

func TestAnAttemptThatIsRefusedOrRedirectedKeepsNothing(t *testing.T) {
	d := newDesk(t)
	activated, stories := 0, 0
	for name, tt := range map[string]struct {
		story func(c, other lab.Customer, r *running)
		says  string
	}{
		"the person declines": {func(c, _ lab.Customer, r *running) {
			d.opens(d.answers(r.sees(authorizePage)[1], "deny", user(c)))
		}, "AADSTS65004"},
		"the admin declines, and admin_consent=True stands there": {func(c, _ lab.Customer, r *running) {
			d.opens(d.answers(r.sees(authorizePage)[1], "accept", user(c)))
			led := d.answers(r.sees(consentPage)[1], "deny", user(c))
			if !strings.Contains(led, "admin_consent=True") {
				t.Errorf("led to %s", led)
			}
			if _, page := d.opens(led); !strings.Contains(page, "Nothing has changed") {
				t.Errorf("%s", page)
			}
		}, "AADSTS65004"},
		"the page is changed to another tenant": {func(c, other lab.Customer, r *running) {
			page := strings.Replace(r.sees(authorizePage)[1], c.Tenant, other.Tenant, 1)
			d.opens(d.answers(page, "accept", user(other)))
		}, "AADSTS700005"},
		"somebody else has used the code": {func(c, _ lab.Customer, r *running) {
			led := d.answers(r.sees(authorizePage)[1], "accept", user(c))
			u, err := url.Parse(led)
			if err != nil {
				t.Fatal(err)
			}
			d.opens("http://" + u.Host + "/?code=0.stolen&state=" + u.Query().Get("state"))
		}, "AADSTS70000"},
		"the code has been used before": {func(c, _ lab.Customer, r *running) {
			led := d.answers(r.sees(authorizePage)[1], "accept", user(c))
			u, err := url.Parse(led)
			if err != nil {
				t.Fatal(err)
			}
			d.lab.Directory().Switch(func(s *authority.Switches) { s.WrongVerifierEnds = true })
			redirect := "http://" + u.Host
			form := url.Values{"grant_type": {"authorization_code"}, "client_id": {d.app}, "client_secret": {d.lab.AppSecret()}, "code": {u.Query().Get("code")}, "redirect_uri": {redirect}, "code_verifier": {"guessed"}}
			if status, body, err := d.browser.Post(t.Context(), "https://"+d.addr+"/"+c.Tenant+"/oauth2/v2.0/token", form); err != nil || !strings.Contains(body, "501481") {
				t.Errorf("%d %s %v", status, body, err)
			}
			d.opens(led)
		}, "AADSTS54005"},
		"the challenge is another's": {func(c, _ lab.Customer, r *running) {
			page := regexp.MustCompile(`code_challenge=[^&]+`).ReplaceAllString(r.sees(authorizePage)[1], "code_challenge="+strings.Repeat("A", 43))
			d.opens(d.answers(page, "accept", user(c)))
		}, "AADSTS501481"},
	} {
		stories++
		c, other := d.customer(0), d.lab.Customers()[1]
		r := d.connect(nil, c.Tenant, "--name", c.Name)
		tt.story(c, other, r)
		_, errs := r.ends(exitDenied)
		if !strings.Contains(errs, tt.says) || !strings.Contains(errs, "hint: ") {
			t.Errorf("%s: %s", name, errs)
		}
		if list := d.known(); !strings.Contains(list, "no tenants") {
			activated++
			t.Errorf("%s: %s", name, list)
		}
	}
	proof.Ran(t, "T07", "%d stories of codes that are declined, stolen, of another tenant or another's: tenants activated wrongly %d", stories, activated)
}

func TestATenantThatConsentedBeforeWaitsForAnOperator(t *testing.T) {
	d := newDesk(t)
	c := d.customer(0)
	d.lab.Directory().Consent(c.Tenant, d.app, authority.Granted)
	activated := 0
	for _, yes := range []bool{false, true} {
		args := []string{c.Tenant, "--name", c.Name}
		want := exitDenied
		if yes {
			args, want = append(args, "--yes"), exitOK
		}
		r := d.connect(nil, args...)
		d.opens(d.answers(r.sees(authorizePage)[1], "accept", user(c)))
		_, errs := r.ends(want)
		if !yes && !strings.Contains(errs, "consented to the app before") {
			t.Errorf("%s", errs)
		}
		if there := strings.Contains(d.known(), c.Tenant); there != yes {
			activated++
			t.Errorf("confirmed %v, there %v", yes, there)
		}
	}
	for name, args := range map[string][]string{"its name is another's": {d.lab.Customers()[1].Tenant, "--name", c.Name}, "it has another name": {c.Tenant, "--name", "other"}} {
		if _, errs := d.connect(nil, args...).ends(exitUsage); !strings.Contains(errs, c.Name) {
			t.Errorf("%s: %s", name, errs)
		}
	}
	if code, _, errs := droverCommand(t, "tenant", "remove", c.Name, "--yes", "--discard", "-c", d.config); code != exitOK {
		t.Fatal(errs)
	}
	if _, errs := d.connect(nil, c.Tenant, "--name", c.Name).ends(exitUsage); !strings.Contains(errs, "was removed") {
		activated++
		t.Errorf("one that left: %s", errs)
	}
	proof.Ran(t, "T17", "a tenant that consented long ago, with and without an operator's word, and one that left: activated wrongly %d", activated)
}

func TestACustomerIsConnectedByACodeBesideARunningDrover(t *testing.T) {
	d := newDesk(t)
	c := d.lab.Customers()[0]
	a, err := newAppFrom(t, d.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.openLedger(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	l, err := admin.Listen(a.cfg.Ledger.Dir)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- admin.Serve(ctx, l, a.local()) }()
	defer func() { stop(); <-served; a.tokens.Wait(); _ = a.store.Close() }()
	sealed := func() (drover.Secret, bool) {
		saved, ok, err := a.signIns.Load(t.Context(), drover.Tenant{ID: drover.TenantID(c.Tenant), Cloud: "lab", App: "default"})
		if err != nil {
			t.Fatal(err)
		}
		return saved.Token, ok
	}
	for _, name := range []string{"new", "known"} {
		args := []string{c.Tenant, "--device", "--name", c.Name}
		if name == "known" {
			args = []string{c.Name, "--device"}
		}
		r := d.connect(nil, args...)
		m := r.sees(`(https://\S+/devicelogin)\s+and type the code (\S+)`)
		fields := user(c)
		fields.Set("code", m[2])
		d.answers(m[1], "accept", fields)
		out, _ := r.ends(exitOK)
		if !strings.Contains(out, "read with this sign-in") || !strings.Contains(out, "ok    graph.alerts: works") {
			t.Errorf("%s: %s", name, out)
		}
		if token, ok := sealed(); !ok || token.Empty() || strings.Contains(out+r.errs.String(), token.Reveal()) {
			t.Errorf("%s: sealed %v", name, ok)
		}
	}
	r := d.connect(nil, c.Name, "--admin-consent", "--browser")
	d.opens(d.answers(r.sees(authorizePage)[1], "accept", user(c)))
	if out, _ := r.ends(exitOK); !strings.Contains(out, "the app's own permissions") {
		t.Errorf("%s", out)
	}
	if _, ok := sealed(); ok {
		t.Error("it is read with the sign-in still")
	}
}

func TestAConsentThatSpreadsSlowlyIsWaitedFor(t *testing.T) {
	d := newDesk(t)
	c := d.customer(0)
	d.lab.Directory().Switch(func(s *authority.Switches) { *s = authority.Harsh(); s.ConsentDelay = 0 })
	r := d.connect(nil, c.Tenant, "--name", c.Name, "--v1", "--source", "graph.alerts,graph.incidents,mde.alerts")
	page := r.sees(authorizePage)[1]
	if !strings.Contains(page, "/oauth2/authorize?") || !strings.Contains(page, "resource=") {
		t.Errorf("page %s", page)
	}
	d.opens(d.answers(page, "accept", user(c)))
	ask := r.sees(consentPage)[1]
	if strings.Contains(ask, "/v2.0/") || strings.Contains(ask, "scope=") {
		t.Errorf("page %s", ask)
	}
	d.lab.Directory().Switch(func(s *authority.Switches) { s.ConsentDelay = authority.Span(4 * time.Second) })
	began := time.Now()
	d.opens(d.answers(ask, "accept", user(c)))
	if out, errs := r.ends(exitOK); strings.Count(out, ": works") != 3 {
		t.Errorf("%s%s", out, errs)
	}
	t.Logf("after %v", time.Since(began))
}

func TestAPermissionThatTheRegistrationLacksIsNamed(t *testing.T) {
	d := newDesk(t)
	c := d.lab.Customers()[0]
	d.lab.Directory().AddApp(authority.App{ClientID: d.app, MultiTenant: true, HomeTenant: lab.HomeTenant, Roles: []string{"SecurityAlert.Read.All"}, RedirectURIs: []string{"http://localhost"}})
	r := d.connect(nil, c.Tenant, "--name", c.Name, "--yes", "--source", "graph.alerts,graph.incidents,mde.alerts")
	d.opens(d.answers(r.sees(authorizePage)[1], "accept", user(c)))
	out, _ := r.ends(exitFinding)
	for _, want := range []string{"ok    graph.alerts", "FAIL  graph.incidents: role missing", "add the permission SecurityIncident.Read.All", "FAIL  mde.alerts: role missing", "add the permission Alert.Read.All"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in %s", want, out)
		}
	}
}

func TestACodeIsShownOnATerminalOnly(t *testing.T) {
	d := newDesk(t)
	shownTo = isTerminal
	c := d.lab.Customers()[0]
	if _, errs := d.connect(nil, c.Tenant, "--device", "--name", c.Name).ends(exitUsage); !strings.Contains(errs, "others may read it") {
		t.Errorf("%s", errs)
	}
}

func TestACustomerIsConnectedByAPastedAddress(t *testing.T) {
	d := newDesk(t)
	c := d.lab.Customers()[0]
	in, paste := io.Pipe()
	r := d.connect(in, c.Tenant, "--paste", "--name", c.Name, "--source", "siem.detections", "--region", "eu")
	page := r.sees(authorizePage)[1]
	if !strings.Contains(page, "/oauth2/authorize?") || !strings.Contains(page, "redirect_uri=https%3A%2F%2FSiemMsspConnector") {
		t.Errorf("page %s", page)
	}
	led := d.answers(page, "accept", user(c))
	_, _ = io.WriteString(paste, "https://siemmsspconnector/?code=old-kan4rie&state=of-last-week\n")
	r.sees("does not belong to this sign-in")
	_, _ = io.WriteString(paste, led+"\n")
	out, errs := r.ends(exitOK)
	if !strings.Contains(out, "ok    siem.detections: works") || strings.Contains(out+errs, "kan4rie") {
		t.Errorf("%s%s", out, errs)
	}
}

func TestConnectSaysWhatIsWrongBeforeAnybodySignsIn(t *testing.T) {
	d := newDesk(t)
	for name, tt := range map[string]struct {
		args []string
		says string
	}{
		"nobody knows it":   {[]string{"nobody"}, `there is no tenant "nobody"`},
		"an ID alone":       {[]string{"3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60"}, "--name contoso"},
		"two ways":          {[]string{"x", "--device", "--paste"}, "[device paste]"},
		"an unknown source": {[]string{"x", "--source", "graph"}, "known are"},
		"an unknown app":    {[]string{"3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", "--name", "x", "--app", "other", "--cloud", "lab"}, `no app named "other"`},
	} {
		if _, errs := d.connect(nil, tt.args...).ends(exitUsage); !strings.Contains(errs, tt.says) {
			t.Errorf("%s: %s", name, errs)
		}
	}
}
