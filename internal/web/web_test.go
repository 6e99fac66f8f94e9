package web

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/ledger"
)

const tenantA = drover.TenantID("3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60")

// told is a desk that shows one invitation and notes what is asked of it.
type told struct {
	i       ledger.Invitation
	session drover.Hash
	begun   int
}

var errSpent, errStale = errors.New("spent"), errors.New("stale")

func hashOf(token string) drover.Hash { return sha256.Sum256([]byte(token)) }

func (d *told) Find(_ context.Context, link drover.Hash) (ledger.Invitation, error) {
	if link != d.i.Link {
		return ledger.Invitation{}, ledger.ErrNotFound
	}
	return d.i, nil
}

func (d *told) Session(_ context.Context, session drover.Hash) (ledger.Invitation, error) {
	if session == (drover.Hash{}) || session != d.session {
		return ledger.Invitation{}, ledger.ErrNotFound
	}
	return d.i, nil
}

func (d *told) Begin(_ context.Context, _ ledger.Invitation, session drover.Hash) (string, error) {
	d.begun++
	d.session = session
	return "https://login.example/authorize?a=1&b=2", nil
}

func (d *told) Consent(context.Context, drover.Hash) (string, error) {
	return "https://login.example/consent", nil
}
func (d *told) Answer(context.Context, drover.Hash, url.Values) error { return nil }

const token = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

func serving(t *testing.T) (*told, http.Handler) {
	t.Helper()
	now := drover.InstantOf(time.Now())
	d := &told{i: ledger.Invitation{ID: "one", Link: hashOf(token), State: ledger.InviteOpen, Purpose: ledger.Connect, Wanted: drover.Tenant{ID: tenantA, Name: "contoso", Sources: []drover.SourceID{drover.GraphAlerts}},
		Made: now, Ends: now.Add(time.Hour), Opened: now, SignedIn: now, Asked: drover.NoInstant, Consented: now, Settled: now, Who: drover.Person{Tenant: tenantA, Name: "<b>ada</b>\u202e@contoso.test"}}}
	s, err := New(Options{Desk: d, URL: "https://mssp.example/SiemMsspConnector", MSSP: "Example & Sons", Contact: "soc@mssp.example", LinkHash: hashOf, Spent: errSpent, Stale: errStale,
		Permission: func(drover.SourceID) string { return "SecurityAlert.Read.All" }, Leave: func(t drover.Tenant) (Leave, error) {
			return Leave{About: "about " + string(t.ID), Sections: []Section{{"How", true, []string{"one"}}}}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	return d, s.Handler()
}

func ask(h http.Handler, method, path string, body url.Values, cookie string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://mssp.example"+path, strings.NewReader(body.Encode()))
	if body != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if cookie != "" {
		r.AddCookie(&http.Cookie{Name: cookieName, Value: cookie})
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const base = "/SiemMsspConnector"

func TestEveryAnswerIsClosedToScriptsFramesAndCaches(t *testing.T) {
	_, h := serving(t)
	for _, path := range []string{base, base + "/", base + "/" + token, base + "/status", base + "/callback?code=x&state=y", base + "/leave", base + "/nothing/here", "/", "/metrics", base + "/" + strings.Repeat("A", 26)} {
		w := ask(h, http.MethodGet, path, nil, "")
		for name, want := range map[string]string{"Content-Security-Policy": "default-src 'none'; style-src '" + styleHash + "'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Strict-Transport-Security": "max-age=31536000"} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		body := w.Body.String()
		if strings.Contains(body, "<script") || strings.Contains(body, "javascript:") || regexp.MustCompile(`\son\w+=`).MatchString(body) {
			t.Errorf("%s holds a script", path)
		}
		// The style that is let in is the one that stands there.
		style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(body)
		if style == nil || style[1] != styleText {
			t.Errorf("%s: the style is not the one that the policy lets in", path)
		}
	}
}

func TestALinkIsOpenedWithoutAChangeAndGoneOnWithByItsFormAlone(t *testing.T) {
	d, h := serving(t)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		w := ask(h, method, base+"/"+token, nil, "")
		if w.Code != http.StatusOK || d.begun != 0 {
			t.Fatalf("%s: %d, begun %d", method, w.Code, d.begun)
		}
	}
	w := ask(h, http.MethodGet, base+"/"+token, nil, "")
	set := w.Header().Get("Set-Cookie")
	for _, want := range []string{"__Host-drover=", "; Path=/", "; Secure", "; HttpOnly", "; SameSite=Lax"} {
		if !strings.Contains(set, want) {
			t.Errorf("%q is not in the cookie", want)
		}
	}
	secret := strings.TrimPrefix(strings.Split(set, ";")[0], cookieName+"=")
	if strings.Contains(w.Body.String(), secret) {
		t.Error("the cookie stands in the page")
	}
	field := url.Values{"form": {regexp.MustCompile(`name="form" value="([^"]*)"`).FindStringSubmatch(w.Body.String())[1]}}
	for name, r := range map[string]*httptest.ResponseRecorder{
		"without a cookie":      ask(h, http.MethodPost, base+"/"+token, field, ""),
		"with another's cookie": ask(h, http.MethodPost, base+"/"+token, field, strings.Repeat("B", 26)),
		"without a field":       ask(h, http.MethodPost, base+"/"+token, url.Values{}, secret),
		"from another site":     ask(h, http.MethodPost, base+"/"+token, field, secret, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"),
		"that is too large":     ask(h, http.MethodPost, base+"/"+token, url.Values{"x": {strings.Repeat("x", 2*maxBody)}, "form": field["form"]}, secret),
	} {
		if r.Code != http.StatusForbidden || d.begun != 0 {
			t.Errorf("a form %s: %d, begun %d", name, r.Code, d.begun)
		}
	}
	w = ask(h, http.MethodPost, base+"/"+token, field, secret, "Origin", "https://mssp.example")
	if w.Code != http.StatusOK || d.begun != 1 || !strings.Contains(w.Body.String(), `href="https://login.example/authorize?a=1&amp;b=2"`) || !strings.Contains(w.Body.String(), `content="0; url=https://login.example/authorize?a=1&amp;b=2"`) {
		t.Errorf("%d, begun %d: %s", w.Code, d.begun, w.Body)
	}
	// Whoever gave a browser its cookie does not go on with it.
	if d.session == session(secret) || !strings.Contains(w.Header().Get("Set-Cookie"), cookieName) {
		t.Error("the browser has the cookie of before still")
	}
	// Behind the first page the token is in no address.
	if strings.Contains(w.Body.String(), token) {
		t.Error("the token goes on")
	}
}

func TestNothingThatWasToldIsWrittenAsItCame(t *testing.T) {
	d, h := serving(t)
	secret := strings.Repeat("C", 26)
	d.session = session(secret)
	for state, want := range map[ledger.InvitationState]string{ledger.InviteOpened: "not signed in yet", ledger.InviteSignedIn: "One moment", ledger.InviteConsented: "on its way", ledger.InviteWaiting: "nothing more for you to do",
		ledger.InviteDone: "trying each thing", ledger.InviteRefused: "not accepted", ledger.InviteWithdrawn: "withdrawn", ledger.InviteExpired: "expired"} {
		d.i.State = state
		body := ask(h, http.MethodGet, base+"/status", nil, secret).Body.String()
		if !strings.Contains(body, want) || strings.Contains(body, "<b>") || strings.Contains(body, "\u202e") || strings.Contains(body, "& Sons") {
			t.Errorf("%s: %s", state, body)
		}
	}
	d.i.State, d.i.Looked = ledger.InviteSignedIn, true
	for _, why := range append(Troubles, "something else") {
		d.i.Why = why
		if body := ask(h, http.MethodGet, base+"/status", nil, secret).Body.String(); !strings.Contains(body, `role="alert"`) || strings.Contains(body, why+"<") {
			t.Errorf("%s: %s", why, body)
		}
	}
	seen := make(map[string]string)
	for _, why := range Troubles {
		if other := seen[trouble(why)]; other != "" {
			t.Errorf("%s and %s have the same words", why, other)
		}
		seen[trouble(why)] = why
	}
}

func TestWhoGuessesIsSlowedDownAndNobodyElse(t *testing.T) {
	l := &Limit{PerSecond: 5, Burst: 60}
	now := time.Now()
	count := func(remote string, at time.Time) (n int) {
		for range 1000 {
			if l.Allow(remote, at) {
				n++
			}
		}
		return n
	}
	for _, tt := range []struct {
		remote string
		after  time.Duration
		want   int
	}{{"192.0.2.1:1", 0, 60}, {"192.0.2.1:2", 2 * time.Second, 10}, {"192.0.2.2:1", 2 * time.Second, 60}, {"[2001:db8::1]:1", 0, 60}, {"[2001:db8::2]:9", 0, 0}, {"[2001:db8:0:1::2]:9", 0, 60}, {"127.0.0.1:1", 0, 600}} {
		if n := count(tt.remote, now.Add(tt.after)); n != tt.want {
			t.Errorf("%s after %v: %d of 1000, want %d", tt.remote, tt.after, n, tt.want)
		}
	}
	for i := range 3 * maxClients {
		l.Allow(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), now)
	}
	if len(l.clients) > maxClients {
		t.Errorf("%d clients are remembered", len(l.clients))
	}
}
