package main

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/lab/labtest"
	"drover/internal/ledger"
	"drover/internal/onboard"
	"drover/internal/proof"
	"drover/internal/web"
)

func TestACustomersAdminConnectsATenantByALink(t *testing.T) {
	h := newHouse(t)
	c := h.customer(0)
	h.lab.Directory().ForgedTenant = h.lab.Customers()[1].Tenant
	i := h.invite(c.Tenant, "--name", c.Name, "--source", "graph.alerts,mde.alerts")
	if !strings.HasPrefix(i.Link, h.pageURL()+"/") || strings.Contains(i.Link, i.ID) {
		t.Fatalf("link %s", i.Link)
	}
	if list, _ := os.ReadFile(h.dir + "/ledger/ledger.db-wal"); strings.Contains(string(list), i.Link[len(h.pageURL())+1:]) {
		t.Error("the link's token is in the ledger")
	}
	b := h.browser
	status, page := h.gets(b, i.Link)
	for _, want := range []string{"Example Security", c.Tenant, "SecurityAlert.Read.All", "Alert.Read.All", "Nothing can be changed", "soc@mssp.example", "Continue to sign in"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not on the first page", want)
		}
	}
	if status != http.StatusOK || strings.Contains(page, "<script") || h.invitation(i.ID).State != ledger.InviteOpen {
		t.Errorf("%d, %s: %s", status, h.invitation(i.ID).State, page)
	}
	_, page = h.presses(b, page)
	signIn := h.leads(page)
	if !strings.Contains(signIn, url.QueryEscape(h.pageURL()+"/callback")) || h.there(c) {
		t.Errorf("sign-in %s", signIn)
	}
	h.gets(b, h.signs(b, signIn, "accept", user(c)))
	if page = h.status(b); !strings.Contains(page, "You have signed in") || !strings.Contains(page, "admin@"+c.Domain) || h.there(c) {
		t.Fatalf("after the sign-in: %s", page)
	}
	_, page = h.presses(b, page)
	led := h.signs(b, h.leads(page), "accept", user(c))
	if !strings.Contains(led, "tenant="+h.lab.Customers()[1].Tenant) {
		t.Fatalf("the lab forges nothing: %s", led)
	}
	h.gets(b, led)
	done := h.comes(i.ID, ledger.InviteDone)
	if done.Person == nil || done.Person.Name != "admin@"+c.Domain || string(done.Person.Tenant) != c.Tenant || done.Before || len(done.Results) != 2 || done.Results[0].Outcome != string(onboard.Works) {
		t.Errorf("%+v", done)
	}
	if page = h.status(b); strings.Count(page, "Works:") != 2 || !strings.Contains(page, "Everything works") {
		t.Errorf("result: %s", page)
	}
	if _, page := h.gets(b, h.pageURL()+"/leave"); !strings.Contains(page, c.Tenant) || !strings.Contains(page, h.app) {
		t.Errorf("leave: %s", page)
	}
	if !h.there(c) || strings.Contains(h.known(), h.lab.Customers()[1].Tenant) {
		t.Errorf("the ledger has %s", h.known())
	}
	if _, out, _ := droverCommand(t, "status", "-c", h.config); !strings.Contains(out, "admin@"+c.Domain) {
		t.Errorf("the operator is not told who consented: %s", out)
	}
	// Whoever else opens it, and whoever opens it again.
	if status, page := h.gets(h.person(), i.Link); status != http.StatusGone || !strings.Contains(page, "used already") {
		t.Errorf("forwarded: %d %s", status, page)
	}
	if status, _ := h.gets(b, i.Link); status != http.StatusSeeOther {
		t.Errorf("the same browser again: %d", status)
	}
	// With the tenant goes who signed in.
	if code, _, errs := droverCommand(t, "tenant", "remove", c.Name, "--yes", "--discard", "-c", h.config); code != exitOK {
		t.Fatal(errs)
	}
	if left := h.invitation(i.ID); left.Person != nil {
		t.Errorf("who signed in is kept: %+v", left.Person)
	}
}

// TestNoLinkConnectsTheWrongTenant tells every story of reference faults T14, T06
// and T17 that ends without a tenant.
func TestNoLinkConnectsTheWrongTenant(t *testing.T) {
	h := newHouse(t)
	wrong, stories, calls := 0, 0, 0
	none := func(name string) {
		t.Helper()
		stories++
		if list := h.known(); !strings.Contains(list, "no tenants") {
			wrong++
			t.Errorf("%s: %s", name, list)
		}
	}
	fresh := func(args ...string) (lab.Customer, admin.Invited, *labtest.Browser) {
		c := h.customer(0)
		if len(args) == 0 {
			args = []string{c.Tenant, "--name", c.Name}
		}
		return c, h.invite(args...), h.person()
	}
	callback := func(b *labtest.Browser, query string) (int, string) {
		calls++
		return h.gets(b, h.pageURL()+"/callback?"+query)
	}

	// A scanner fetches everything that it finds, often, and presses nothing.
	c, i, b := fresh()
	for range 5 {
		for _, path := range []string{i.Link, h.pageURL(), h.pageURL() + "/status", h.pageURL() + "/callback", h.pageURL() + "/callback?code=x&state=y"} {
			h.gets(h.person(), path)
		}
	}
	if got := h.invitation(i.ID); got.State != ledger.InviteOpen {
		t.Errorf("a scanner has changed it to %s", got.State)
	}
	none("a scanner")

	// A form that this browser was not given, and one without a cookie.
	_, page := h.gets(b, i.Link)
	for name, send := range map[string]func() (int, string, error){
		"without a cookie": func() (int, string, error) {
			return h.person().Post(t.Context(), i.Link, url.Values{"form": {formField.FindStringSubmatch(page)[1]}})
		},
		"without its field": func() (int, string, error) { return b.Post(t.Context(), i.Link, url.Values{}) },
		"with another's": func() (int, string, error) {
			return b.Post(t.Context(), i.Link, url.Values{"form": {strings.Repeat("0", 64)}})
		},
	} {
		if status, _, err := send(); err != nil || status != http.StatusForbidden || h.invitation(i.ID).State != ledger.InviteOpen {
			t.Errorf("a form %s: %d %v, %s", name, status, err, h.invitation(i.ID).State)
		}
		none("a form " + name)
	}

	// A guessed link.
	if status, page := h.gets(b, h.pageURL()+"/"+strings.Repeat("A", 26)); status != http.StatusNotFound || !strings.Contains(page, "not known") {
		t.Errorf("a guess: %d", status)
	}
	none("a guessed link")

	// Callbacks: forged, missing, foreign, replayed, of another browser, fetched
	// ahead.
	signIn := h.begins(b, i.Link)
	led := h.signs(b, signIn, "accept", user(c))
	own, _ := url.Parse(led)
	state := own.Query().Get("state")
	for name, q := range map[string]string{"no state": "code=x", "another state": "code=x&state=y", "two states": own.RawQuery + "&state=z", "a forged consent": "admin_consent=True&tenant=" + c.Tenant + "&state=z",
		"a consent with the sign-in's state": "admin_consent=True&tenant=" + c.Tenant + "&state=" + state + "x", "an error of nobody": "error=access_denied"} {
		callback(b, q)
		if got := h.invitation(i.ID); got.State != ledger.InviteOpened || got.Why != "" {
			t.Errorf("%s: %+v", name, got)
		}
		none(name)
	}
	if status, page := callback(h.person(), own.RawQuery); status != http.StatusBadRequest || !strings.Contains(page, "another sign-in") {
		t.Errorf("the own answer in another browser: %d %s", status, page)
	}
	none("another browser")
	if status, _, err := b.Fetch(t.Context(), led, http.Header{"Sec-Purpose": {"prefetch"}}); err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("fetched ahead: %d %v", status, err)
	}
	none("fetched ahead")
	h.gets(b, led)
	if got := h.invitation(i.ID); got.State != ledger.InviteSignedIn {
		t.Fatalf("the true answer after all that: %+v", got)
	}
	callback(b, own.RawQuery) // again
	none("a replayed answer")
	// The consent, forged before it was asked for and declined where it was.
	for _, q := range []string{"admin_consent=True&tenant=" + c.Tenant + "&state=" + state, "admin_consent=True&tenant=" + c.Tenant} {
		callback(b, q)
		none("a consent that was not asked for")
	}
	_, page = h.presses(b, h.status(b))
	ask := h.leads(page)
	led = h.signs(b, ask, "deny", user(c))
	h.gets(b, led)
	if page := h.status(b); !strings.Contains(page, "Cancel was chosen") || !strings.Contains(led, "admin_consent=True") {
		t.Errorf("declined: %s", page)
	}
	none("an admin declines")
	answer, _ := url.Parse(led)
	callback(b, "admin_consent=True&tenant="+c.Tenant+"&state="+answer.Query().Get("state"))
	none("a declined consent, told again as given")
	// It is forwarded: whoever signs in last goes on, the others do not.
	second := h.person()
	h.begins(second, i.Link)
	if page := h.status(b); !strings.Contains(page, "at no invitation") {
		t.Errorf("the browser before: %s", page)
	}
	none("forwarded")

	// The sign-in's page is changed to another tenant.
	other := h.lab.Customers()[1]
	b = h.person()
	h.gets(b, h.signs(b, strings.Replace(h.begins(b, i.Link), c.Tenant, other.Tenant, 1), "accept", user(other)))
	if page := h.status(b); !strings.Contains(page, "did not work") {
		t.Errorf("another tenant: %s", page)
	}
	none("an admin of another tenant")
	// The person declines.
	h.gets(b, h.signs(b, h.begins(b, i.Link), "deny", user(c)))
	if page := h.status(b); !strings.Contains(page, "Cancel was chosen") {
		t.Errorf("declined: %s", page)
	}
	none("the person declines")
	// Withdrawn.
	if code, _, errs := droverCommand(t, "invitation", "withdraw", i.ID, "-c", h.config); code != exitOK {
		t.Fatal(errs)
	}
	if status, page := h.gets(h.person(), i.Link); status != http.StatusGone || !strings.Contains(page, "withdrawn") {
		t.Errorf("withdrawn: %d %s", status, page)
	}
	none("withdrawn")

	// No tenant named, and one that consented before: an operator decides.
	for name, args := range map[string][]string{"any": {c.Name, "--any"}, "before": nil} {
		c, i, b := fresh(args...)
		if name == "before" {
			h.lab.Directory().Consent(c.Tenant, h.app, authority.Granted)
		}
		h.through(b, i.Link, c)
		h.comes(i.ID, ledger.InviteWaiting)
		if page := h.status(b); !strings.Contains(page, "nothing more for you to do") {
			t.Errorf("%s: %s", name, page)
		}
		none(name + ", unconfirmed")
		if status, _ := h.gets(h.person(), i.Link); status != http.StatusGone {
			t.Errorf("%s: the link opens still: %d", name, status)
		}
		for _, tenant := range []string{other.Tenant, "contoso", ""} {
			if code, _, _ := droverCommand(t, "invitation", "confirm", i.ID, "--tenant", tenant, "-c", h.config); code != exitUsage {
				t.Errorf("%s: confirmed as %q: %d", name, tenant, code)
			}
			none(name + ", confirmed as another")
		}
		if code, _, errs := droverCommand(t, "invitation", "refuse", i.ID, "-c", h.config); code != exitOK {
			t.Error(errs)
		}
		if page := h.status(b); !strings.Contains(page, "not accepted") {
			t.Errorf("%s: %s", name, page)
		}
		none(name + ", refused")
	}
	proof.Ran(t, "T14", "%d stories of links that are scanned, guessed, forwarded, replayed, withdrawn, opened by others or unconfirmed: tenants activated wrongly %d", stories, wrong)
	proof.Ran(t, "T06", "%d answers at the page's callback that are forged, foreign, missing, replayed or another browser's: tenants activated wrongly %d", calls, wrong)
}

func TestAnOperatorConfirmsWhoAnswered(t *testing.T) {
	h := newHouse(t)
	c := h.customer(0)
	i := h.invite(c.Name, "--any")
	h.through(h.browser, i.Link, c)
	if got := h.comes(i.ID, ledger.InviteWaiting); got.Why != onboard.WhyUnnamed {
		t.Errorf("it waits because %s", got.Why)
	}
	code, out, errs := droverCommand(t, "invitation", "list", "-c", h.config)
	if code != exitFinding || !strings.Contains(out, "waits for you") || !strings.Contains(out, c.Tenant) {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if code, out, errs := droverCommand(t, "invitation", "confirm", i.ID, "--tenant", strings.ToUpper(c.Tenant), "-c", h.config); code != exitOK || !h.there(c) {
		t.Errorf("%d %s%s", code, out, errs)
	}
	h.comes(i.ID, ledger.InviteDone)
	if page := h.status(h.browser); !strings.Contains(page, "Works:") {
		t.Errorf("%s", page)
	}
	// One that drover has read waits too; one that has left is not invited.
	early := 0
	other := h.customer(1)
	if code, _, errs := droverCommand(t, "tenant", "add", other.Tenant, "--name", other.Name, "--cloud", "lab", "-c", h.config); code != exitOK {
		t.Fatal(errs)
	}
	b := h.person()
	j := h.invite(other.Name)
	h.through(b, j.Link, other)
	h.comes(j.ID, ledger.InviteDone) // it was added, and never read
	h.lab.Directory().Consent(other.Tenant, h.app, authority.None)
	h.stop()
	a, err := newAppFrom(t, h.config)
	if err == nil {
		err = a.openLedger(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := readOnce(t.Context(), a.store, other.Tenant); err != nil {
		t.Fatal(err)
	}
	_ = a.store.Close()
	h.start()
	k := h.invite(other.Name)
	h.through(h.person(), k.Link, other)
	if got := h.comes(k.ID, ledger.InviteWaiting); got.Why != onboard.WhyRead {
		early++
		t.Errorf("one that was read before waits because %s", got.Why)
	}
	if code, _, errs := droverCommand(t, "tenant", "remove", other.Name, "--yes", "--discard", "-c", h.config); code != exitOK {
		t.Fatal(errs)
	}
	if code, _, _ := droverCommand(t, "tenant", "invite", other.Name, "-c", h.config); code != exitUsage {
		early++
		t.Error("one that has left is invited")
	}
	l := h.invite("again", "--any")
	h.through(h.person(), l.Link, other)
	if got := h.comes(l.ID, ledger.InviteWaiting); got.Why != onboard.WhyLeft && got.Why != onboard.WhyBefore {
		early++
		t.Errorf("one that has left waits because %s", got.Why)
	}
	proof.Ran(t, "T17", "tenants that are unnamed, were read or have left, by a link: activated before an operator's word %d", early)
}

// readOnce has a tenant read, as a collector would have.
func readOnce(ctx context.Context, store ledger.Store, tenant string) error {
	f := drover.Feed{Tenant: drover.TenantID(tenant), Source: drover.GraphAlerts}
	st, err := store.Take(ctx, f)
	if err == nil {
		_, err = store.Commit(ctx, ledger.Commit{Feed: f, Epoch: st.Epoch, Whole: drover.InstantOf(time.Now())})
	}
	return err
}

func TestALinkIsGoneOnWithAfterARestart(t *testing.T) {
	h := newHouse(t)
	c := h.customer(0)
	i := h.invite(c.Tenant, "--name", c.Name)
	b := h.browser
	led := h.signs(b, h.begins(b, i.Link), "accept", user(c))
	restart := func() { h.stop(); h.start() }
	restart()
	// The sign-in that was under way is begun again, from where the browser is.
	if status, _ := h.gets(b, led); status != http.StatusSeeOther {
		t.Errorf("led back: %d", status)
	}
	page := h.status(b)
	if !strings.Contains(page, "not signed in yet") {
		t.Fatalf("%s", page)
	}
	_, page = h.presses(b, page)
	h.gets(b, h.signs(b, h.leads(page), "accept", user(c)))
	restart()
	if page = h.status(b); !strings.Contains(page, "You have signed in") {
		t.Fatalf("%s", page)
	}
	_, page = h.presses(b, page)
	led = h.signs(b, h.leads(page), "accept", user(c))
	restart()
	h.gets(b, led) // belongs to nothing any more; the consent shows all the same
	h.comes(i.ID, ledger.InviteDone)
	if page = h.status(b); !strings.Contains(page, "Everything works") || !h.there(c) {
		t.Errorf("%s", page)
	}
}

// The page has words for every outcome of onboard's, and for every word of a
// trouble.
func TestThePageHasWordsForEverything(t *testing.T) {
	for _, o := range []onboard.Outcome{onboard.Works, onboard.RoleMissing, onboard.NoLicence, onboard.NotOnboarded, onboard.EitherOne, onboard.ConsentPending, onboard.NotAuthorised, onboard.Refused, onboard.Unasked} {
		if !web.Explained(string(o)) {
			t.Errorf("no words for %q", o)
		}
	}
}
