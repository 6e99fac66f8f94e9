package authority

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// signIn is a request to the authorize page, understood.
type signIn struct {
	q        url.Values
	segment  string
	t        *Tenant // nil on /common and /organizations
	app      *App
	v2       bool
	redirect string
	mode     string
	back     url.Values
	audience string
	offline  bool
}

// authorize shows the sign-in page, and answers its form. What is wrong with
// tenant, app or redirect URI is said on a page: an unregistered URI is never
// redirected to. Then comes the resource, then the person (reference
// mssp-onboarding §2).
func (s *Server) authorize(w http.ResponseWriter, r *http.Request, segment string, v2 bool) {
	d := s.opt.Directory
	d.mu.Lock()
	defer d.mu.Unlock()
	a, e := s.askedFor(r, segment, v2)
	if e != nil {
		d.show(w, r, &page{Title: "Sorry, but we're having trouble signing you in.", Tenant: segment, Error: s.onPage(e), Done: true}, http.StatusBadRequest)
		return
	}
	if e := s.sound(r, a); e != nil {
		s.sendError(w, r, a, e)
		return
	}
	p := &page{Title: "Sign in to your account", Tenant: segment, App: a.app.ClientID, Hint: a.q.Get("login_hint"), Free: a.t == nil}
	if a.t != nil {
		p.Users = a.t.names()
	}
	if p.Hint == "" {
		p.Hint = d.session(r)
	}
	if !a.consented(d) || a.prompt("consent") || a.prompt("admin_consent") {
		p.Ask = "This app would like to: " + strings.Join(a.app.scopes(), ", ")
	}
	if a.prompt("none") {
		s.silent(w, r, a)
		return
	}
	if r.Method != http.MethodPost {
		d.show(w, r, p, http.StatusOK)
		return
	}
	if text := d.posted(w, r); text != "" {
		p.Error = text
		d.show(w, r, p, http.StatusBadRequest)
		return
	}
	if r.PostForm.Get("decision") != "accept" {
		s.sendError(w, r, a, &refusal{code: 65004, word: "access_denied", text: "User declined to consent to access the app."})
		return
	}
	if e := s.admitted(r, a, r.PostForm.Get("user")); e != nil {
		p.Error = s.onPage(e)
		d.show(w, r, p, http.StatusBadRequest)
		return
	}
	s.consentAndCode(w, r, a, r.PostForm.Get("user"))
}

func (s *Server) onPage(e *refusal) string {
	d := s.opt.Directory
	return describe(d, e, newGUID(), newGUID(), stamp(d))
}

// prompt reports whether prompt has the value.
func (a *signIn) prompt(v string) bool { return slices.Contains(strings.Fields(a.q.Get("prompt")), v) }

// consented reports whether the tenant agreed before.
func (a *signIn) consented(d *Directory) bool {
	return a.t != nil && a.t.consent(a.app.ClientID).now >= Delegated && d.shown(a.t, a.app.ClientID) >= Delegated
}

// askedFor checks what must hold before the browser may be sent anywhere.
func (s *Server) askedFor(r *http.Request, segment string, v2 bool) (*signIn, *refusal) {
	d := s.opt.Directory
	q := r.URL.Query()
	a := &signIn{q: q, segment: segment, t: d.find(segment), app: d.app(q.Get("client_id")), v2: v2, redirect: q.Get("redirect_uri"), mode: q.Get("response_mode"), back: url.Values{}}
	switch {
	case a.t == nil && !shared(segment):
		return nil, s.noTenant(segment)
	case q.Get("client_id") == "":
		return nil, missing("client_id")
	case a.app == nil || !a.app.MultiTenant && a.t != nil && a.app.HomeTenant != a.t.ID:
		return nil, noApp(q.Get("client_id"))
	case a.t == nil && !a.app.MultiTenant:
		return nil, singleTenant(a.app.ClientID)
	case a.redirect == "" && !v2 && len(a.app.RedirectURIs) > 0:
		a.redirect = a.app.RedirectURIs[0]
	case a.redirect == "":
		return nil, &refusal{code: 900971, text: "No reply address provided."}
	case !a.app.registered(a.redirect):
		return nil, &refusal{code: 50011, text: "The redirect URI '" + a.redirect + "' specified in the request does not match the redirect URIs configured for the application '" + a.app.ClientID + "'."}
	}
	if a.app.Disabled {
		return nil, disabled(a.app.ClientID)
	}
	if st := q.Get("state"); st != "" {
		a.back.Set("state", st)
	}
	return a, nil
}

// sound checks what the app is told of by redirect.
func (s *Server) sound(r *http.Request, a *signIn) *refusal {
	bad := func(word, text string) *refusal { return &refusal{code: 900144, word: word, text: text} }
	q := a.q
	switch {
	case !slices.Contains([]string{"", "query", "fragment", "form_post"}, a.mode):
		a.mode = ""
		return bad("invalid_request", "The response mode is not supported.")
	case q.Get("response_type") == "":
		return bad("invalid_request", "The request must contain the following parameter: 'response_type'.")
	case q.Get("response_type") != "code":
		return &refusal{code: 700054, word: "unsupported_response_type", text: "The response_type '" + q.Get("response_type") + "' is not enabled for the application."}
	case !slices.Contains([]string{"", "S256", "plain"}, q.Get("code_challenge_method")):
		return bad("invalid_request", "The code_challenge_method is not supported.")
	}
	uri := q.Get("resource")
	if a.v2 {
		if q.Get("scope") == "" {
			return bad("invalid_request", "The request must contain the following parameter: 'scope'.")
		}
		as := &request{app: a.app, v2: true}
		var e *refusal
		if uri, e = s.scopes(as, q.Get("scope"), "authorization_code"); e != nil {
			return e
		}
		a.offline = as.offline
	}
	if uri == "" {
		return nil // v1: the token request will say
	}
	aud, ok := s.opt.Resource(uri)
	switch {
	case !ok:
		return &refusal{code: 500011, word: "invalid_resource", text: "The resource principal named " + uri + " was not found in the tenant."}
	case len(a.app.Resources) > 0 && !slices.Contains(a.app.Resources, aud):
		return &refusal{code: 650057, word: "invalid_resource", text: "Invalid resource. The client has requested access to a resource which is not listed in the requested permissions in the client's application registration."}
	}
	a.audience = aud
	return nil
}

// admitted checks the person.
func (s *Server) admitted(r *http.Request, a *signIn, user string) *refusal {
	d := s.opt.Directory
	if a.t == nil {
		a.t = d.home(user)
	}
	if _, ok := a.t.member(user); !ok {
		return &refusal{code: 50020, text: "User account '" + user + "' does not exist in the tenant and cannot access the application in that tenant."}
	}
	if a.t.policy != 0 && !secondFactor(a.t.policy) {
		return policy(a.t.policy)
	}
	d.signedIn(r, user)
	return nil
}

// silent answers prompt=none, which shows nothing to anybody.
func (s *Server) silent(w http.ResponseWriter, r *http.Request, a *signIn) {
	d := s.opt.Directory
	user := d.session(r)
	if user == "" {
		s.sendError(w, r, a, &refusal{code: 50058, word: "login_required", text: "A silent sign-in request was sent but no user is signed in."})
		return
	}
	if e := s.admitted(r, a, user); e != nil {
		e.word = "interaction_required"
		s.sendError(w, r, a, e)
		return
	}
	if a.t.policy != 0 {
		e := policy(a.t.policy)
		e.word = "interaction_required"
		s.sendError(w, r, a, e)
		return
	}
	if !a.consented(d) {
		s.sendError(w, r, a, &refusal{code: 65001, word: "interaction_required", text: "The user or administrator has not consented to use the application with ID '" + a.app.ClientID + "'."})
		return
	}
	s.sendCode(w, r, a, user)
}

// consentAndCode takes the person's agreement for the tenant's, if the person
// may give it. Only with prompt=admin_consent does it cover what the app may do
// by itself.
func (s *Server) consentAndCode(w http.ResponseWriter, r *http.Request, a *signIn, user string) {
	d := s.opt.Directory
	admin, _ := a.t.member(user)
	forAll := a.prompt("admin_consent")
	if (a.t.consent(a.app.ClientID).now < Delegated || forAll) && !admin && (!d.UsersMayConsent || forAll) {
		s.sendError(w, r, a, &refusal{code: 90094, word: "consent_required", text: "The grant requires admin permission."})
		return
	}
	if a.t.consent(a.app.ClientID).now < Delegated {
		d.agree(a.t, a.app.ClientID, Delegated)
	}
	if forAll {
		d.agree(a.t, a.app.ClientID, Granted)
		a.back.Set("admin_consent", "True")
	}
	s.sendCode(w, r, a, user)
}

func (s *Server) sendCode(w http.ResponseWriter, r *http.Request, a *signIn, user string) {
	d := s.opt.Directory
	raw := "0.AX" + randomText(40)
	q := a.q
	d.codes[raw] = &code{client: a.app.ClientID, tenant: a.t.ID, user: user, redirect: a.redirect, challenge: q.Get("code_challenge"), method: q.Get("code_challenge_method"),
		resource: q.Get("resource"), scope: q.Get("scope"), nonce: q.Get("nonce"), issued: d.now(), mfa: (a.t.policy != 0 && !a.prompt("none") || q.Get("amr_values") == "mfa") && !d.Partner.NoMFA}
	a.back.Set("code", raw)
	a.back.Set("session_state", objectID(a.t.ID, user+d.kid))
	if a.v2 && r.URL.Query().Get("client_info") == "1" {
		g := grantee{t: a.t, user: user}
		a.back.Set("client_info", part(map[string]string{"uid": objectID(d.homeOf(g), user), "utid": d.homeOf(g)}))
	}
	sendBack(w, a.redirect, a.mode, a.back)
}

// sendError tells the app by redirect.
func (s *Server) sendError(w http.ResponseWriter, r *http.Request, a *signIn, e *refusal) {
	d := s.opt.Directory
	a.back.Set("error", e.word)
	a.back.Set("error_description", describe(d, e, newGUID(), correlation(r), stamp(d)))
	sendBack(w, a.redirect, a.mode, a.back)
}

// adminConsent is the page on which an admin agrees for the whole tenant
// (reference entra-oauth §6).
func (s *Server) adminConsent(w http.ResponseWriter, r *http.Request, segment string, v2 bool) {
	d := s.opt.Directory
	d.mu.Lock()
	defer d.mu.Unlock()
	a, e := s.askedFor(r, segment, v2)
	if e == nil && v2 && (segment == "common" || segment == "consumers") {
		e = &refusal{code: 900144, text: "The admin consent endpoint needs a tenant or 'organizations'."}
	}
	if e == nil && v2 && a.q.Get("scope") == "" {
		e = missing("scope")
	}
	if e == nil && v2 {
		_, e = s.scopes(&request{app: a.app, v2: true}, a.q.Get("scope"), "authorization_code")
	}
	if e != nil {
		d.show(w, r, &page{Title: "Sorry, but we're having trouble signing you in.", Tenant: segment, Error: s.onPage(e), Done: true}, http.StatusBadRequest)
		return
	}
	p := &page{Title: "Permissions requested: review for your organization", Tenant: segment, App: a.app.ClientID, Hint: a.q.Get("login_hint"), Free: a.t == nil,
		Ask: "This app would like to: " + strings.Join(slices.Concat(a.app.Roles, a.app.scopes()), ", ")}
	if a.t != nil {
		p.Users = a.t.names()
	}
	if r.Method != http.MethodPost {
		d.show(w, r, p, http.StatusOK)
		return
	}
	if p.Error = d.posted(w, r); p.Error != "" {
		d.show(w, r, p, http.StatusBadRequest)
		return
	}
	user := r.PostForm.Get("user")
	if r.PostForm.Get("decision") == "accept" {
		if e := s.admitted(r, a, user); e != nil {
			p.Error = s.onPage(e)
			d.show(w, r, p, http.StatusBadRequest)
			return
		}
		if admin, _ := a.t.member(user); !admin {
			p.Error = s.onPage(&refusal{code: 90094, text: "The grant requires admin permission."})
			d.show(w, r, p, http.StatusForbidden)
			return
		}
	}
	s.adminAnswer(w, r, a, r.PostForm.Get("decision") == "accept")
}

// adminAnswer leads back. admin_consent=True stands there even on failure.
func (s *Server) adminAnswer(w http.ResponseWriter, r *http.Request, a *signIn, agreed bool) {
	d := s.opt.Directory
	if !agreed {
		if a.v2 {
			a.back.Set("admin_consent", "True")
			s.sendError(w, r, a, &refusal{code: 65004, word: "consent_required", text: "The resource owner or authorization server denied the request."})
			return
		}
		s.sendError(w, r, a, &refusal{code: 65004, word: "permission_denied", text: "The admin canceled the request."})
		return
	}
	d.agree(a.t, a.app.ClientID, Granted)
	a.back.Set("admin_consent", "True")
	a.back.Set("tenant", a.t.ID)
	if d.ForgedTenant != "" {
		a.back.Set("tenant", d.ForgedTenant)
	}
	if a.v2 {
		a.back.Set("scope", a.q.Get("scope"))
	}
	sendBack(w, a.redirect, a.mode, a.back)
}
