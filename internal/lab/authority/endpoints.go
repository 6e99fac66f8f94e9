package authority

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"drover/internal/lab/fault"
)

// Options of a Server.
type Options struct {
	Directory *Directory
	Faults    *fault.Dealer
	// IsGraph and IsSIEM tell which resource an audience means; the canonical
	// audience is what the token will carry.
	Resource func(uri string) (audience string, ok bool)
	// Note is told of each token request.
	Note func(tenant, client, grant string, status, code int)
}

// Server plays the authority's host.
type Server struct{ opt Options }

// NewServer returns it.
func NewServer(opt Options) *Server {
	if opt.Note == nil {
		opt.Note = func(string, string, string, int, int) {}
	}
	return &Server{opt}
}

// ServeHTTP routes /{tenant}/….
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	segment, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch rest {
	case ".well-known/openid-configuration", "v2.0/.well-known/openid-configuration":
		s.discovery(w, r, segment, strings.HasPrefix(rest, "v2.0"))
	case "discovery/keys", "discovery/v2.0/keys":
		s.keys(w)
	case "oauth2/token", "oauth2/v2.0/token":
		s.token(w, r, segment, strings.Contains(rest, "v2.0"))
	case "oauth2/authorize", "oauth2/v2.0/authorize":
		s.authorize(w, r, segment, strings.Contains(rest, "v2.0"))
	default:
		http.NotFound(w, r)
	}
}

func (s *Server) discovery(w http.ResponseWriter, r *http.Request, segment string, v2 bool) {
	d := s.opt.Directory
	d.mu.Lock()
	t := d.find(segment)
	d.mu.Unlock()
	id := "{tenantid}"
	if t != nil {
		id = t.ID
	} else if segment != "common" && segment != "organizations" {
		s.refuse(w, &refusal{status: 400, word: "invalid_tenant", code: 90002, text: "Tenant '" + segment + "' not found."})
		return
	}
	base := "https://" + r.Host + "/" + segment
	mid, issuer := "", "https://sts.windows.net/"+id+"/"
	if v2 {
		mid, issuer = "/v2.0", "https://"+r.Host+"/"+id+"/v2.0"
	}
	write(w, http.StatusOK, map[string]any{
		"issuer": issuer, "authorization_endpoint": base + "/oauth2" + mid + "/authorize", "token_endpoint": base + "/oauth2" + mid + "/token",
		"jwks_uri": base + "/discovery" + mid + "/keys", "token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"response_types_supported": []string{"code", "id_token", "code id_token"}, "response_modes_supported": []string{"query", "fragment", "form_post"},
		"subject_types_supported": []string{"pairwise"}, "id_token_signing_alg_values_supported": []string{"RS256"}, "scopes_supported": []string{"openid", "profile", "email", "offline_access"},
		"tenant_region_scope": "EU", "cloud_instance_name": "microsoftonline.com", "msgraph_host": "graph.microsoft.com",
		"device_authorization_endpoint": base + "/oauth2" + mid + "/devicecode", "end_session_endpoint": base + "/oauth2" + mid + "/logout",
	})
}

func (s *Server) keys(w http.ResponseWriter) {
	k := s.opt.Directory.key.PublicKey
	write(w, http.StatusOK, map[string]any{"keys": []map[string]string{{"kty": "RSA", "use": "sig", "kid": s.opt.Directory.kid, "x5t": s.opt.Directory.kid, "alg": "RS256",
		"n": base64.RawURLEncoding.EncodeToString(k.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.E)).Bytes())}}})
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// refusal is an error of the token endpoint.
type refusal struct {
	status, code int
	word, text   string
}

// refuse answers in Entra's error form (reference entra-oauth §8).
func (s *Server) refuse(w http.ResponseWriter, e *refusal) {
	now := s.opt.Directory.Clock().UTC().Format("2006-01-02 15:04:05Z")
	trace, corr := newGUID(), newGUID()
	write(w, e.status, map[string]any{"error": e.word, "error_codes": []int{e.code}, "timestamp": now, "trace_id": trace, "correlation_id": corr,
		"error_description": fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s", e.code, e.text, trace, corr, now),
		"error_uri":         "https://login.microsoftonline.com/error?code=" + strconv.Itoa(e.code)})
}

// maxForm bounds a request.
const maxForm = 1 << 20

// token answers a token request.
func (s *Server) token(w http.ResponseWriter, r *http.Request, segment string, v2 bool) {
	if r.Method != http.MethodPost {
		s.refuse(w, &refusal{400, 900561, "invalid_request", "The endpoint only accepts POST requests."})
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		s.refuse(w, &refusal{400, 9002313, "invalid_request", "Invalid request. Request is malformed or invalid."})
		return
	}
	form := r.PostForm
	if id, pass, ok := r.BasicAuth(); ok {
		form.Set("client_id", id)
		form.Set("client_secret", pass)
	}
	d := s.opt.Directory
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.find(segment)
	client, grant := form.Get("client_id"), form.Get("grant_type")
	tenant := ""
	if t != nil {
		tenant = t.ID
	}
	faults := s.opt.Faults.Deal("token", tenant)
	if f, ok := faults[fault.Status]; ok {
		if f.RetryAfter != "" {
			w.Header().Set("Retry-After", f.RetryAfter)
		}
		s.opt.Note(tenant, client, grant, f.Param, 0)
		body := map[string]string{"html": "<html>Service unavailable</html>", "text": "Too Many Requests"}[f.Body]
		w.WriteHeader(f.Param)
		_, _ = w.Write([]byte(body))
		return
	}
	if f, ok := faults[fault.AADSTS]; ok {
		e := &refusal{400, f.Param, f.Value, "Dealt on demand."}
		if e.word == "" {
			e.word = "invalid_grant"
		}
		s.opt.Note(tenant, client, grant, e.status, e.code)
		s.refuse(w, e)
		return
	}
	out, e := s.grant(r, t, segment, form, v2, faults)
	if e != nil {
		s.opt.Note(tenant, client, grant, e.status, e.code)
		s.refuse(w, e)
		return
	}
	s.opt.Note(tenant, client, grant, http.StatusOK, 0)
	write(w, http.StatusOK, out)
}

// grant checks everything and makes the tokens. The directory is locked.
func (s *Server) grant(r *http.Request, t *Tenant, segment string, form url.Values, v2 bool, faults map[string]fault.Rule) (map[string]any, *refusal) {
	d := s.opt.Directory
	client, grant := form.Get("client_id"), form.Get("grant_type")
	switch {
	case grant == "":
		return nil, &refusal{400, 900144, "invalid_request", "The request body must contain the following parameter: 'grant_type'."}
	case client == "":
		return nil, &refusal{400, 900144, "invalid_request", "The request body must contain the following parameter: 'client_id'."}
	case grant == "client_credentials" && (segment == "common" || segment == "consumers" || segment == "organizations"):
		return nil, &refusal{400, 9001023, "invalid_request", "The grant type is not supported over the /common or /consumers endpoints. Please use the /organizations or tenant-specific endpoint."}
	case t == nil && segment != "common" && segment != "organizations":
		if !strings.Contains(segment, ".") && len(segment) != 36 {
			return nil, &refusal{400, 900023, "invalid_request", "Specified tenant identifier is neither a valid DNS name, nor a valid external domain."}
		}
		return nil, &refusal{400, 90002, "invalid_request", "Tenant '" + segment + "' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."}
	}
	app := d.apps[client]
	if app == nil || !app.MultiTenant && t != nil && t.ID != app.HomeTenant {
		return nil, &refusal{400, 700016, "unauthorized_client", "Application with identifier '" + client + "' was not found in the directory."}
	}
	if app.Disabled {
		return nil, &refusal{400, 7000112, "unauthorized_client", "Application '" + client + "' is disabled."}
	}
	if e := s.client(r, app, form); e != nil {
		return nil, e
	}
	audience, e := s.audience(form, v2, grant)
	if e != nil {
		return nil, e
	}
	switch grant {
	case "client_credentials":
		if t.consents[client] == None {
			return nil, &refusal{401, 7000229, "invalid_client", "The client application " + client + " is missing service principal in the tenant " + t.ID + "."}
		}
		return s.issue(issue{t: t, app: app, audience: audience, v2: v2, faults: faults, cert: form.Get("client_assertion") != ""})
	case "refresh_token":
		return s.refresh(t, app, form, audience, v2, faults)
	case "authorization_code":
		return s.redeem(t, app, form, audience, v2, faults)
	}
	return nil, &refusal{400, 70003, "unsupported_grant_type", "The app requested an unsupported grant type '" + grant + "'."}
}

// audience reads the resource (v1) or scope (v2).
func (s *Server) audience(form url.Values, v2 bool, grant string) (string, *refusal) {
	want := form.Get("resource")
	if v2 {
		if want != "" {
			return "", &refusal{400, 901002, "invalid_request", "The 'resource' request parameter is not supported."}
		}
		want = ""
		for _, sc := range strings.Fields(form.Get("scope")) {
			switch sc {
			case "openid", "profile", "offline_access", "email":
				continue
			}
			uri, ok := strings.CutSuffix(sc, "/.default")
			if !ok {
				if grant == "client_credentials" {
					return "", &refusal{400, 1002012, "invalid_scope", "The provided value for scope " + sc + " is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier."}
				}
				uri = sc[:max(strings.LastIndexByte(sc, '/'), 0)]
			}
			if want != "" && want != uri {
				return "", &refusal{400, 700022, "invalid_scope", "The provided value for the input parameter scope is not valid because it contains more than one resource."}
			}
			want = uri
		}
	}
	if want == "" {
		return "", &refusal{400, 900144, "invalid_request", "The request body must contain the following parameter: 'scope'."}
	}
	aud, ok := s.opt.Resource(want)
	if !ok {
		return "", &refusal{400, 500011, "invalid_resource", "The resource principal named " + want + " was not found in the tenant."}
	}
	return aud, nil
}

// client checks the app's credential.
func (s *Server) client(r *http.Request, app *App, form url.Values) *refusal {
	d := s.opt.Directory
	now := d.Clock()
	if a := form.Get("client_assertion"); a != "" {
		return s.assertion(r, app, a, now)
	}
	sec := form.Get("client_secret")
	if sec == "" {
		return &refusal{401, 7000218, "invalid_client", "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."}
	}
	sum := sha256.Sum256([]byte(sec))
	for _, have := range app.secrets {
		if subtle.ConstantTimeCompare(have.hash[:], sum[:]) == 1 {
			if now.After(have.end) {
				return &refusal{401, 7000222, "invalid_client", "The provided client secret keys for app '" + app.ClientID + "' are expired."}
			}
			return nil
		}
	}
	return &refusal{401, 7000215, "invalid_client", "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID."}
}

func (s *Server) assertion(r *http.Request, app *App, raw string, now time.Time) *refusal {
	a, err := parseAssertion(raw)
	if err != nil {
		return &refusal{401, 50027, "invalid_client", "JWT token is invalid or malformed."}
	}
	from, ok1 := seconds(a.claims.Nbf)
	to, ok2 := seconds(a.claims.Exp)
	if !ok1 || !ok2 || now.Before(from.Add(-5*time.Second)) || now.After(to) {
		return &refusal{401, 700024, "invalid_client", "Client assertion is not within its valid time range. Current time: " + now.UTC().Format("2006-01-02T15:04:05.0000000Z") + "."}
	}
	_, path, _ := strings.Cut(strings.TrimPrefix(a.claims.Aud, "https://"), "/")
	if "/"+path != r.URL.Path || a.claims.Iss != app.ClientID || a.claims.Sub != app.ClientID {
		return &refusal{401, 50027, "invalid_client", "JWT token is invalid or malformed: audience, issuer or subject."}
	}
	for _, c := range app.certs {
		s1, s256 := thumbs(c)
		if !bytes.Equal(thumb(a.header.X5t2), s256) && !bytes.Equal(thumb(a.header.X5t), s1) {
			continue
		}
		key, ok := c.PublicKey.(*rsa.PublicKey)
		sum := sha256.Sum256([]byte(a.signed))
		switch {
		case !ok:
		case a.header.Alg == "PS256" && rsa.VerifyPSS(key, crypto.SHA256, sum[:], a.sig, nil) == nil, a.header.Alg == "RS256" && rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], a.sig) == nil:
			if now.After(c.NotAfter) {
				return &refusal{401, 700027, "invalid_client", "Client assertion failed signature validation. [Reason - The key used is expired.]"}
			}
			if s.opt.Directory.RefuseReplay {
				if s.opt.Directory.jtis[a.claims.Jti] {
					return &refusal{401, 50013, "invalid_client", "Assertion failed: replayed."}
				}
				s.opt.Directory.jtis[a.claims.Jti] = true
			}
			return nil
		}
		return &refusal{401, 700027, "invalid_client", "Client assertion failed signature validation."}
	}
	return &refusal{401, 700027, "invalid_client", "Client assertion failed signature validation. [Reason - The key was not found.]"}
}

// issue is a token to be made.
type issue struct {
	t        *Tenant
	app      *App
	user     string
	audience string
	v2, cert bool
	faults   map[string]fault.Rule
	refresh  string
}

// issue makes an access token and its envelope. Both versions of the endpoint
// give v1 tokens for these resources (reference entra-oauth §1).
func (s *Server) issue(i issue) (map[string]any, *refusal) {
	d := s.opt.Directory
	now := d.Clock()
	life := d.Life
	if life == 0 {
		life = 3599*time.Second + time.Duration(now.UnixNano()%1800)*time.Second
	}
	tid := i.t.ID
	if f, ok := i.faults[fault.TokenWrongTID]; ok {
		tid = f.Value
	}
	acr := "1"
	if i.cert {
		acr = "2"
	}
	claims := map[string]any{"aud": i.audience, "iss": "https://sts.windows.net/" + tid + "/", "iat": now.Unix(), "nbf": now.Unix() - 5, "exp": now.Add(life).Unix(), "tid": tid,
		"appid": i.app.ClientID, "appidacr": acr, "oid": newGUID(), "sub": newGUID(), "ver": "1.0", "uti": randomText(16)}
	if i.user == "" {
		claims["idtyp"] = "app"
		if _, no := i.faults[fault.TokenNoRoles]; i.t.consents[i.app.ClientID] == Granted && !no {
			claims["roles"] = i.app.Roles
		}
	} else {
		claims["scp"], claims["upn"], claims["unique_name"] = "SecurityAlert.Read.All User.Read", i.user, i.user
	}
	token, err := d.sign(claims)
	if err != nil {
		return nil, &refusal{500, 50000, "server_error", "There was an error issuing a token."}
	}
	if _, ok := i.faults[fault.TokenOpaque]; ok {
		token = "opaque!" + strings.ReplaceAll(token, ".", "!")
	}
	sec := int(life.Seconds())
	out := map[string]any{"token_type": "Bearer", "access_token": token}
	if i.v2 {
		out["expires_in"], out["ext_expires_in"] = sec, sec
	} else { // v1 writes numbers as text
		out["expires_in"], out["ext_expires_in"], out["expires_on"], out["not_before"], out["resource"] =
			strconv.Itoa(sec), strconv.Itoa(sec), strconv.FormatInt(now.Add(life).Unix(), 10), strconv.FormatInt(now.Unix(), 10), i.audience
	}
	if i.refresh != "" {
		out["refresh_token"] = i.refresh
		id := map[string]any{"aud": i.app.ClientID, "iss": "https://sts.windows.net/" + tid + "/", "tid": tid, "oid": claims["oid"], "sub": claims["sub"], "upn": i.user, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(life).Unix()}
		if i.v2 {
			if signed, err := d.sign(id); err == nil {
				out["id_token"] = signed
			}
		} else {
			out["id_token"] = part(map[string]string{"typ": "JWT", "alg": "none"}) + "." + part(id) + "."
		}
	}
	return out, nil
}

// idleLife is how long a refresh token lives unused.
const idleLife = 90 * 24 * time.Hour

// refresh redeems a refresh token. The old one stays good unless the switch
// says otherwise (reference entra-oauth §5).
func (s *Server) refresh(t *Tenant, app *App, form url.Values, audience string, v2 bool, faults map[string]fault.Rule) (map[string]any, *refusal) {
	d := s.opt.Directory
	key := sha256.Sum256([]byte(form.Get("refresh_token")))
	r := d.refresh[key]
	switch {
	case r == nil || r.client != app.ClientID:
		return nil, &refusal{400, 70000, "invalid_grant", "Provided grant is invalid or malformed."}
	case r.revoked:
		return nil, &refusal{400, 50173, "invalid_grant", "The provided grant has expired due to it being revoked, a fresh auth token is needed."}
	case d.Clock().Sub(r.issued) > idleLife:
		return nil, &refusal{400, 700082, "invalid_grant", "The refresh token has expired due to inactivity."}
	}
	if t == nil {
		t = d.tenants[r.tenant]
	}
	next := ""
	if !d.NoNewRefresh {
		n := *r
		next = d.newRefresh(&n)
		if d.ReuseKillsFamily {
			r.revoked = true
		}
	}
	out, e := s.issue(issue{t: t, app: app, user: r.user, audience: audience, v2: v2, faults: faults, refresh: next})
	return out, e
}

// codeLife is how long an authorization code lives.
const codeLife = 10 * time.Minute

// redeem redeems an authorization code.
func (s *Server) redeem(t *Tenant, app *App, form url.Values, audience string, v2 bool, faults map[string]fault.Rule) (map[string]any, *refusal) {
	d := s.opt.Directory
	c := d.codes[form.Get("code")]
	switch {
	case c == nil || c.client != app.ClientID:
		return nil, &refusal{400, 70000, "invalid_grant", "The provided authorization code is malformed or invalid."}
	case c.used:
		return nil, &refusal{400, 54005, "invalid_grant", "OAuth2 Authorization code was already redeemed, please retry with a new valid code."}
	case d.Clock().Sub(c.issued) > codeLife:
		return nil, &refusal{400, 70008, "invalid_grant", "The provided authorization code has expired."}
	case t != nil && t.ID != c.tenant:
		return nil, &refusal{400, 700005, "invalid_grant", "The provided authorization code is intended to use against other tenant, thus rejected."}
	case form.Get("redirect_uri") != c.redirect:
		return nil, &refusal{400, 50011, "invalid_request", "The redirect URI does not match."}
	case !verified(c, form.Get("code_verifier")):
		return nil, &refusal{400, 501481, "invalid_grant", "The Code_Verifier does not match the code_challenge supplied in the authorization request."}
	}
	c.used = true
	next := ""
	if !v2 || strings.Contains(form.Get("scope"), "offline_access") || strings.Contains(c.resource, "offline_access") {
		d.families++
		next = d.newRefresh(&refresh{client: c.client, tenant: c.tenant, user: c.user, family: d.families})
	}
	return s.issue(issue{t: d.tenants[c.tenant], app: app, user: c.user, audience: audience, v2: v2, faults: faults, refresh: next})
}

// verified checks PKCE. Without a method the challenge is plain.
func verified(c *code, verifier string) bool {
	switch {
	case c.challenge == "":
		return true
	case c.method == "S256":
		sum := sha256.Sum256([]byte(verifier))
		return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(c.challenge)) == 1
	default:
		return subtle.ConstantTimeCompare([]byte(verifier), []byte(c.challenge)) == 1
	}
}

var signIn = template.Must(template.New("").Parse(`<!doctype html><title>Sign in</title>
<h1>Sign in to {{.Tenant}}</h1>{{if .Error}}<p>{{.Error}}</p>{{else}}
<form method="post"><p>The app {{.App}} asks to read your alerts.</p>
{{range .Users}}<label><input type="radio" name="user" value="{{.}}" checked> {{.}}</label><br>{{end}}
<button name="decision" value="accept">Accept</button> <button name="decision" value="deny">Cancel</button></form>{{end}}`))

// authorize shows the sign-in page, and answers its form. An unregistered
// redirect URI is never redirected to.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request, segment string, v2 bool) {
	d := s.opt.Directory
	d.mu.Lock()
	defer d.mu.Unlock()
	q := r.URL.Query()
	t, app := d.find(segment), d.apps[q.Get("client_id")]
	page := map[string]any{"Tenant": segment, "App": q.Get("client_id")}
	fail := func(text string) {
		page["Error"] = text
		w.WriteHeader(http.StatusBadRequest)
		_ = signIn.Execute(w, page)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	switch {
	case t == nil:
		fail("AADSTS90002: Tenant not found.")
		return
	case app == nil || !app.MultiTenant && app.HomeTenant != t.ID:
		fail("AADSTS700016: Application was not found in the directory.")
		return
	case !slices.Contains(app.RedirectURIs, q.Get("redirect_uri")):
		fail("AADSTS50011: The redirect URI specified in the request does not match the redirect URIs configured for the application.")
		return
	}
	if r.Method != http.MethodPost {
		for u := range t.users {
			page["Users"] = append(asList(page["Users"]), u)
		}
		_ = signIn.Execute(w, page)
		return
	}
	back := url.Values{}
	if st := q.Get("state"); st != "" {
		back.Set("state", st)
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if r.PostFormValue("decision") != "accept" || !t.users[r.PostFormValue("user")] {
		back.Set("error", "access_denied")
		back.Set("error_description", "AADSTS65004: User declined to consent to access the app.")
	} else {
		raw := randomText(30)
		d.codes[raw] = &code{client: app.ClientID, tenant: t.ID, user: r.PostFormValue("user"), redirect: q.Get("redirect_uri"), challenge: q.Get("code_challenge"), method: q.Get("code_challenge_method"),
			resource: q.Get("resource") + q.Get("scope"), issued: d.Clock()}
		if t.consents[app.ClientID] == None {
			t.consents[app.ClientID] = Granted
		}
		back.Set("code", raw)
		if !v2 {
			back.Set("session_state", newGUID())
		}
	}
	sep := "?"
	if q.Get("response_mode") == "fragment" {
		sep = "#"
	}
	w.Header().Set("Location", q.Get("redirect_uri")+sep+back.Encode())
	w.WriteHeader(http.StatusFound)
}

func asList(v any) []string {
	l, _ := v.([]string)
	return l
}
