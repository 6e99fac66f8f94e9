package authority

import (
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"drover/internal/lab/fault"
)

// Options of a Server.
type Options struct {
	Directory *Directory
	Faults    *fault.Dealer
	// Resource tells which audience a token for a resource carries, false if
	// there is no such resource.
	Resource func(uri string) (audience string, ok bool)
	// Grants tells whether a permission is one of the resource that a token with
	// that audience is for. Nil: every one is.
	Grants func(audience, permission string) bool
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

// ServeHTTP routes /{tenant}/… and /devicelogin.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", s.opt.Directory.clockTime().UTC().Format(http.TimeFormat))
	segment, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	v2 := strings.Contains(rest, "v2.0")
	switch rest {
	case ".well-known/openid-configuration", "v2.0/.well-known/openid-configuration":
		s.discovery(w, r, segment, v2)
	case "discovery/keys", "discovery/v2.0/keys":
		s.keys(w)
	case "oauth2/token", "oauth2/v2.0/token":
		s.token(w, r, segment, v2)
	case "oauth2/authorize", "oauth2/v2.0/authorize":
		s.authorize(w, r, segment, v2)
	case "adminconsent", "v2.0/adminconsent":
		s.adminConsent(w, r, segment, v2)
	case "discovery/instance":
		s.instance(w, r, segment)
	case "oauth2/devicecode", "oauth2/v2.0/devicecode":
		s.deviceCode(w, r, segment, v2)
	case "":
		if segment == "devicelogin" {
			s.deviceLogin(w, r)
			return
		}
		http.NotFound(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (d *Directory) clockTime() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now()
}

// host is what the caller calls this server.
func (s *Server) host(r *http.Request) string { return r.Host }

// issuer names a tenant in tokens of version 2 and in the discovery document.
func issuer(host, tenant string) string { return "https://" + host + "/" + tenant + "/v2.0" }

// issuerV1 is the same in version 1.
func issuerV1(tenant string) string { return "https://sts.windows.net/" + tenant + "/" }

func (s *Server) discovery(w http.ResponseWriter, r *http.Request, segment string, v2 bool) {
	d := s.opt.Directory
	d.mu.Lock()
	defer d.mu.Unlock()
	id, at := "{tenantid}", Region{}
	if t := d.find(segment); t != nil {
		id, at = t.ID, t.region
	} else if !shared(segment) {
		e := s.noTenant(segment)
		e.word = "invalid_tenant"
		s.refuse(w, r, e)
		return
	}
	base := "https://" + s.host(r) + "/" + segment
	mid, iss := "", issuerV1(id)
	if v2 {
		mid, iss = "/v2.0", issuer(s.host(r), id)
	}
	c := cloudOf(at)
	out := map[string]any{
		"issuer": iss, "authorization_endpoint": base + "/oauth2" + mid + "/authorize", "token_endpoint": base + "/oauth2" + mid + "/token",
		"jwks_uri": base + "/discovery" + mid + "/keys", "token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"response_types_supported": []string{"code", "id_token", "code id_token"}, "response_modes_supported": []string{"query", "fragment", "form_post"},
		"subject_types_supported": []string{"pairwise"}, "id_token_signing_alg_values_supported": []string{"RS256"}, "scopes_supported": []string{"openid", "profile", "email", "offline_access"},
		"tenant_region_scope": nil, "cloud_instance_name": c.name, "msgraph_host": c.graph, "userinfo_endpoint": "https://" + c.graph + "/oidc/userinfo",
		"device_authorization_endpoint": base + "/oauth2" + mid + "/devicecode",
	}
	if d.ForeignToken != "" {
		out["token_endpoint"] = "https://" + d.ForeignToken + "/" + segment + "/oauth2" + mid + "/token"
	}
	if at.Scope != "" {
		out["tenant_region_scope"] = at.Scope
	}
	if at.Sub != "" {
		out["tenant_region_sub_scope"] = at.Sub
	}
	write(w, http.StatusOK, out)
}

// cloud is a national cloud as the discovery document names it.
type cloud struct{ name, graph string }

func cloudOf(at Region) cloud {
	switch at.Sub {
	case "DODCON":
		return cloud{"microsoftonline.us", "graph.microsoft.us"}
	case "DOD":
		return cloud{"microsoftonline.us", "dod-graph.microsoft.us"}
	}
	if at.Scope == "USGov" {
		return cloud{"microsoftonline.us", "graph.microsoft.us"}
	}
	return cloud{"microsoftonline.com", "graph.microsoft.com"}
}

// aliases are the worldwide cloud's names (reference entra-oauth §1).
var aliases = []string{"login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"}

// instance tells a client which hosts are one authority: the worldwide ones,
// and whatever this server is called. Microsoft's libraries ask it before they
// trust a host, at login.microsoftonline.com and nowhere else.
func (s *Server) instance(w http.ResponseWriter, r *http.Request, segment string) {
	u, err := url.Parse(r.URL.Query().Get("authorization_endpoint"))
	if err != nil || u.Host == "" || u.Host != s.host(r) && !slices.Contains(aliases, u.Host) {
		s.opt.Directory.mu.Lock()
		defer s.opt.Directory.mu.Unlock()
		s.refuse(w, r, &refusal{status: 400, code: 50049, word: "invalid_instance", text: "Unknown or invalid instance.", asked: true})
		return
	}
	own, all := "login.microsoftonline.com", aliases
	if !slices.Contains(aliases, u.Host) {
		own, all = u.Host, []string{u.Host}
	}
	path, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if path == "" {
		path = segment
	}
	write(w, http.StatusOK, map[string]any{"tenant_discovery_endpoint": "https://" + u.Host + "/" + path + "/v2.0/.well-known/openid-configuration", "api-version": "1.1",
		"metadata": []map[string]any{{"preferred_network": own, "preferred_cache": own, "aliases": all}}})
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
