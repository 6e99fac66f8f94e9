package authority

import (
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
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
	id := "{tenantid}"
	if t := d.find(segment); t != nil {
		id = t.ID
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
	write(w, http.StatusOK, map[string]any{
		"issuer": iss, "authorization_endpoint": base + "/oauth2" + mid + "/authorize", "token_endpoint": base + "/oauth2" + mid + "/token",
		"jwks_uri": base + "/discovery" + mid + "/keys", "token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"response_types_supported": []string{"code", "id_token", "code id_token"}, "response_modes_supported": []string{"query", "fragment", "form_post"},
		"subject_types_supported": []string{"pairwise"}, "id_token_signing_alg_values_supported": []string{"RS256"}, "scopes_supported": []string{"openid", "profile", "email", "offline_access"},
		"tenant_region_scope": "EU", "cloud_instance_name": "microsoftonline.com", "msgraph_host": "graph.microsoft.com",
		"device_authorization_endpoint": base + "/oauth2" + mid + "/devicecode",
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
