package main

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"drover/internal/lab/authority"
	"drover/internal/lab/labtest"
	"drover/internal/ledger"
	"drover/internal/proof"
)

// TestNoCodeOfAnothersConnectsByALink: codes that are stolen, of another sign-in,
// of another tenant or used, with anything beside them; and nothing of what came
// is in the log.
func TestNoCodeOfAnothersConnectsByALink(t *testing.T) {
	h := newHouse(t)
	c, other := h.customer(0), h.lab.Customers()[1]
	i := h.invite(c.Tenant, "--name", c.Name)
	wrong, logged := 0, 0
	secrets := []string{i.Link[len(h.pageURL())+1:], h.lab.AppSecret()}
	query := func(led string) url.Values {
		u, err := url.Parse(led)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"code", "state"} {
			if v := u.Query().Get(name); v != "" {
				secrets = append(secrets, v)
			}
		}
		return u.Query()
	}
	callback := func(b *labtest.Browser, q url.Values) { h.gets(b, h.pageURL()+"/callback?"+q.Encode()) }
	stories := map[string]func(b *labtest.Browser, page string){
		"a stolen code": func(b *labtest.Browser, page string) {
			q := query(h.signs(b, page, "accept", user(c)))
			q.Set("code", "0.stolen")
			callback(b, q)
		},
		"the code of another browser's sign-in": func(b *labtest.Browser, page string) {
			q := query(h.signs(b, page, "accept", user(c)))
			j := h.invite("second", "--any")
			thief := h.person()
			q.Set("code", query(h.signs(thief, h.begins(thief, j.Link), "accept", user(c))).Get("code"))
			callback(b, q)
		},
		"a challenge of another's": func(b *labtest.Browser, page string) {
			page = regexp.MustCompile(`code_challenge=[^&]+`).ReplaceAllString(page, "code_challenge="+strings.Repeat("A", 43))
			callback(b, query(h.signs(b, page, "accept", user(c))))
		},
		"another tenant's sign-in": func(b *labtest.Browser, page string) {
			callback(b, query(h.signs(b, strings.Replace(page, c.Tenant, other.Tenant, 1), "accept", user(other))))
		},
		"a code that has been redeemed": func(b *labtest.Browser, page string) {
			q := query(h.signs(b, page, "accept", user(c)))
			h.lab.Directory().Switch(func(s *authority.Switches) { s.WrongVerifierEnds = true })
			form := url.Values{"grant_type": {"authorization_code"}, "client_id": {h.app}, "client_secret": {h.lab.AppSecret()}, "code": q["code"], "redirect_uri": {h.pageURL() + "/callback"}, "code_verifier": {"guessed"}}
			if _, body, err := h.person().Post(t.Context(), "https://"+h.addr+"/"+c.Tenant+"/oauth2/v2.0/token", form); err != nil || !strings.Contains(body, "501481") {
				t.Errorf("%s %v", body, err)
			}
			callback(b, q)
		},
		"an answer of a sign-in that was begun anew": func(b *labtest.Browser, page string) {
			old := query(h.signs(b, page, "accept", user(c)))
			h.begins(b, i.Link)
			callback(b, old)
		},
		"two codes": func(b *labtest.Browser, page string) {
			q := query(h.signs(b, page, "accept", user(c)))
			q.Add("code", "0.other")
			callback(b, q)
		},
		"an error beside the code": func(b *labtest.Browser, page string) {
			q := query(h.signs(b, page, "accept", user(c)))
			q.Set("error", "access_denied")
			q.Set("error_description", "<script>0.secret</script>")
			callback(b, q)
		},
	}
	for name, story := range stories {
		b := h.person()
		story(b, h.begins(b, i.Link))
		if got := h.invitation(i.ID); got.State != ledger.InviteOpened || got.Person != nil || !strings.Contains(h.known(), "no tenants") {
			wrong++
			t.Errorf("%s: %+v", name, got)
		}
		if page := h.status(b); strings.Contains(page, "<script") || strings.Contains(page, "0.") {
			t.Errorf("%s: %s", name, page)
		}
	}
	// What is beside an answer changes nothing, and the link works after all that.
	b := h.person()
	q := query(h.signs(b, h.begins(b, i.Link), "accept", user(c)))
	q.Set("tenant", other.Tenant)
	q.Set("admin_consent", "True")
	q.Set("session_state", "x")
	callback(b, q)
	if got := h.invitation(i.ID); got.State != ledger.InviteSignedIn || string(got.Person.Tenant) != c.Tenant {
		wrong++
		t.Errorf("with more beside it: %+v", got)
	}
	h.stop()
	log := h.log.String()
	for _, s := range append(secrets, "0.stolen", "0.secret", "guessed") {
		if len(s) > 4 && strings.Contains(log, s) {
			logged++
			t.Errorf("%q is in the log", s)
		}
	}
	if !strings.Contains(log, "admin@"+c.Domain) {
		t.Error("who signed in is not in the log")
	}
	proof.Ran(t, "T07", "%d codes that are stolen, another's, of another tenant, redeemed or begun anew, brought to the page: tenants activated wrongly %d", len(stories), wrong)
	proof.Ran(t, "T16", "answers with more beside them, of another session or with an error: taken wrongly %d; %d codes, states, links and secrets looked for in the log: found %d", wrong, len(secrets), logged)
}
