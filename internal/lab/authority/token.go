package authority

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"drover/internal/lab/fault"
)

// maxForm bounds a request.
const maxForm = 1 << 20

// request is one token request, understood as far as it goes.
type request struct {
	r       *http.Request
	form    url.Values
	segment string
	t       *Tenant // nil on /common and /organizations
	app     *App
	v2      bool
	faults  map[string]fault.Rule

	audience string
	scopes   []string // single permissions asked for; none: .default
	all      bool     // .default was asked for
	offline  bool     // offline_access was asked for
	openid   bool
	cert     bool // the app proved itself by an assertion
}

// form reads the body and the credentials of an Authorization header, which are
// form-encoded before they are joined.
func form(w http.ResponseWriter, r *http.Request) (url.Values, *refusal) {
	if r.Method != http.MethodPost {
		return nil, &refusal{status: 400, code: 900561, word: "invalid_request", text: "The endpoint only accepts POST requests. Received a " + r.Method + " request."}
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return nil, &refusal{status: 400, code: 9002313, word: "invalid_request", text: "Invalid request. Request is malformed or invalid."}
	}
	f := r.PostForm
	if id, pass, ok := r.BasicAuth(); ok {
		for name, raw := range map[string]string{"client_id": id, "client_secret": pass} {
			if v, err := url.QueryUnescape(raw); err == nil {
				f.Set(name, v)
			}
		}
	}
	return f, nil
}

// token answers a token request.
func (s *Server) token(w http.ResponseWriter, r *http.Request, segment string, v2 bool) {
	d := s.opt.Directory
	f, e := form(w, r)
	d.mu.Lock()
	q := &request{r: r, form: f, segment: segment, t: d.find(segment), v2: v2}
	d.mu.Unlock()
	if e == nil { // not under the lock: some faults take their time
		if q.faults = s.opt.Faults.Deal("token", q.tenant()); s.dealt(w, q) {
			return
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if e == nil && s.tooMany(w, q) {
		return
	}
	returnID(w, r)
	var out map[string]any
	if rule, ok := q.faults[fault.AADSTS]; ok {
		e = onDemand(rule.Param, rule.Value)
	} else if e == nil {
		out, e = s.grant(q)
	}
	if e != nil {
		s.opt.Note(q.tenant(), f.Get("client_id"), f.Get("grant_type"), e.status, e.code)
		s.refuse(w, r, e)
		return
	}
	s.opt.Note(q.tenant(), f.Get("client_id"), f.Get("grant_type"), http.StatusOK, 0)
	write(w, http.StatusOK, out)
}

// parameter is what names the resource.
func (q *request) parameter() string {
	if q.v2 {
		return "scope"
	}
	return "resource"
}

func (q *request) tenant() string {
	if q.t == nil {
		return ""
	}
	return q.t.ID
}

// dealt deals the faults that need no understanding of the request; true when
// one was.
func (s *Server) dealt(w http.ResponseWriter, q *request) bool {
	note := func(status int) {
		s.opt.Note(q.tenant(), q.form.Get("client_id"), q.form.Get("grant_type"), status, 0)
	}
	if _, ok := q.faults[fault.Reset]; ok {
		note(-1)
		panic(http.ErrAbortHandler)
	}
	if _, ok := q.faults[fault.Hang]; ok {
		<-q.r.Context().Done()
		note(-1)
		return true
	}
	for kind, body := range map[string]string{fault.HTML200: "<html><form>sign in</form></html>", fault.NullBody: "null", fault.EmptyBody: "", fault.NoValue: "{}"} {
		if _, ok := q.faults[kind]; ok {
			note(http.StatusOK)
			_, _ = io.WriteString(w, body)
			return true
		}
	}
	if rule, ok := q.faults[fault.Redirect]; ok {
		w.Header().Set("Location", rule.Value)
		note(max(rule.Param, http.StatusFound))
		w.WriteHeader(max(rule.Param, http.StatusFound))
		return true
	}
	rule, ok := q.faults[fault.Status]
	if !ok {
		return false
	}
	if rule.RetryAfter != "" {
		w.Header().Set("Retry-After", rule.RetryAfter)
	}
	note(rule.Param)
	w.WriteHeader(rule.Param)
	_, _ = io.WriteString(w, map[string]string{"html": "<html>Service unavailable</html>", "text": "Too Many Requests"}[rule.Body])
	return true
}

// tooMany throttles the app (reference entra-oauth §9); true when it did.
func (s *Server) tooMany(w http.ResponseWriter, q *request) bool {
	d := s.opt.Directory
	client := q.form.Get("client_id")
	if d.PerMinute <= 0 || d.count(client, time.Minute) <= d.PerMinute {
		return false
	}
	s.opt.Note(q.tenant(), client, q.form.Get("grant_type"), http.StatusTooManyRequests, 0)
	if !d.NoRetryAfter {
		w.Header().Set("Retry-After", "60")
	}
	if d.PlainTooMany {
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, "Too Many Requests")
		return true
	}
	s.refuse(w, q.r, &refusal{status: http.StatusTooManyRequests, code: 90055, word: "temporarily_unavailable", text: "The request has been throttled: too many requests were made."})
	return true
}

// count notes a request and returns how many there were within the span, this
// one included.
func (d *Directory) count(key string, within time.Duration) int {
	now := d.now()
	all := slices.DeleteFunc(d.asked[key], func(t time.Time) bool { return now.Sub(t) >= within })
	d.asked[key] = append(all, now)
	return len(d.asked[key])
}

// grant checks everything and makes the tokens. The directory is locked.
func (s *Server) grant(q *request) (map[string]any, *refusal) {
	d := s.opt.Directory
	client, grant := q.form.Get("client_id"), q.form.Get("grant_type")
	switch {
	case grant == "":
		return nil, missing("grant_type")
	case client == "":
		return nil, missing("client_id")
	case grant == "client_credentials" && shared(q.segment):
		return nil, &refusal{status: 400, code: 9001023, word: "invalid_request", text: "The grant type is not supported over the /common or /consumers endpoints. Please use the /organizations or tenant-specific endpoint."}
	case q.t == nil && !shared(q.segment):
		return nil, s.noTenant(q.segment)
	}
	if q.app = d.app(client); q.app == nil || !d.knows(q.app.record.made) || !q.app.MultiTenant && q.t != nil && q.t.ID != q.app.HomeTenant {
		return nil, noApp(client)
	}
	if q.app.Disabled {
		return nil, disabled(client)
	}
	if q.t == nil && !q.app.MultiTenant {
		return nil, singleTenant(client)
	}
	if grant == "client_credentials" && d.PrincipalFirst {
		if e := s.principal(q); e != nil {
			return nil, e
		}
	}
	if e := s.client(q); e != nil {
		return nil, e
	}
	if e := s.target(q); e != nil {
		return nil, e
	}
	switch grant {
	case "client_credentials":
		return s.appOnly(q)
	case "refresh_token":
		return s.redeemRefresh(q)
	case "authorization_code":
		return s.redeemCode(q)
	case deviceGrant, oldDeviceGrant:
		return s.redeemDevice(q)
	}
	return nil, &refusal{status: 400, code: 70003, word: "unsupported_grant_type", text: "The app requested an unsupported grant type '" + grant + "'."}
}

func disabled(client string) *refusal {
	return &refusal{status: 400, code: 7000112, word: "unauthorized_client", text: "Application '" + client + "' is disabled."}
}

func singleTenant(client string) *refusal {
	return &refusal{status: 400, code: 50194, word: "unauthorized_client", text: "Application '" + client + "' is not configured as a multi-tenant application. Usage of the /common endpoint is not supported for such apps."}
}

// principal refuses an app that has no service principal in the tenant.
func (s *Server) principal(q *request) *refusal {
	d := s.opt.Directory
	if q.t.ID == q.app.HomeTenant && !q.app.record.bare || d.shown(q.t, q.app.ClientID) != None {
		return nil
	}
	if d.UnknownApp {
		return noApp(q.app.ClientID)
	}
	return &refusal{status: 401, code: 7000229, word: "invalid_client", text: "The client application " + q.app.ClientID + " is missing service principal in the tenant " + q.t.ID + "."}
}

// appOnly makes a token of the app's own permissions. There is never a refresh
// token with it.
func (s *Server) appOnly(q *request) (map[string]any, *refusal) {
	d := s.opt.Directory
	if !d.PrincipalFirst {
		if e := s.principal(q); e != nil {
			return nil, e
		}
	}
	if d.PolicyOnApps && q.t.policy != 0 {
		return nil, policy(q.t.policy)
	}
	return s.issue(q, grantee{t: q.t})
}

// target reads the resource (v1) or scope (v2). One request is for one
// resource; a refresh with several is for the first.
func (s *Server) target(q *request) *refusal {
	grant := q.form.Get("grant_type")
	want := q.form.Get("resource")
	if !q.v2 {
		q.offline, q.openid = true, true
		if want == "" && grant != "client_credentials" {
			return nil // the sign-in named it, or nobody did
		}
		if want == "" {
			return missing("resource")
		}
	} else {
		if want != "" {
			return &refusal{status: 400, code: 901002, word: "invalid_request", text: "The 'resource' request parameter is not supported."}
		}
		scope := q.form.Get("scope")
		if scope == "" && grant != "client_credentials" {
			return nil // optional: what the sign-in or the first grant was for
		}
		var e *refusal
		if want, e = s.scopes(q, scope, grant); e != nil {
			return e
		}
		if want == "" && grant != "client_credentials" {
			return nil
		}
		if want == "" {
			return missing("scope")
		}
	}
	aud, ok := s.opt.Resource(want)
	if !ok {
		return &refusal{status: 400, code: 500011, word: "invalid_resource", text: "The resource principal named " + want + " was not found in the tenant."}
	}
	q.audience = aud
	return nil
}

// scopes takes a scope parameter apart and returns the resource.
func (s *Server) scopes(q *request, scope, grant string) (resource string, e *refusal) {
	for _, sc := range strings.Fields(scope) {
		switch sc {
		case "offline_access":
			q.offline = true
			continue
		case "openid", "profile", "email":
			q.openid = true
			continue
		}
		uri, all := strings.CutSuffix(sc, "/.default")
		if !all {
			i := strings.LastIndexByte(sc, '/')
			switch {
			case grant == "client_credentials":
				return "", &refusal{status: 400, code: 1002012, word: "invalid_scope", text: "The provided value for scope " + sc + " is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI)."}
			case i < 0 && !slices.Contains(q.app.scopes(), sc):
				return "", &refusal{status: 400, code: 70011, word: "invalid_scope", text: "The provided value for the input parameter 'scope' is not valid. The scope " + sc + " is not valid."}
			case i < 0: // a bare permission is Graph's
				uri = graphURL
			default:
				uri = sc[:i]
			}
			sc = sc[i+1:]
		}
		switch {
		case resource != "" && resource != uri && grant == "client_credentials":
			return "", &refusal{status: 400, code: 700022, word: "invalid_scope", text: "The provided value for the input parameter scope is not valid because it contains more than one resource."}
		case resource != "" && resource != uri:
			continue // the first one's resource wins
		case !all:
			q.scopes = append(q.scopes, sc)
		default:
			q.all = true
		}
		resource = uri
	}
	return resource, nil
}
