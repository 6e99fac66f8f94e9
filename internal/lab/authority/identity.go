package authority

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Identity is a user-assigned managed identity of the machine.
type Identity struct {
	ClientID string `json:"client_id"`
	Tenant   string `json:"tenant"`
}

// Principal is the identity's object ID: the subject of its tokens.
func (i Identity) Principal() string { return objectID(i.Tenant, strings.ToLower(i.ClientID)) }

// AddIdentity assigns a managed identity to the machine.
func (d *Directory) AddIdentity(i Identity) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.machine[strings.ToLower(i.ClientID)] = i
}

// IdentityService plays the identity service of the machine: that of a virtual
// machine, and of App Service at /msi/token if header, a secret that the host
// puts into the environment, is not empty. Real ones speak plain HTTP at a
// link-local or loopback address. authority is the host that issues.
func (s *Server) IdentityService(authority, header string) http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, r *http.Request) {
		d := s.opt.Directory
		q := r.URL.Query()
		d.mu.Lock()
		defer d.mu.Unlock()
		i, ok := d.machine[strings.ToLower(q.Get("client_id"))]
		if q.Get("resource") == "" || !ok {
			write(w, http.StatusBadRequest, map[string]string{"error": "invalid_request", "error_description": "Identity not found"})
			return
		}
		now := d.now()
		life := 24 * time.Hour
		token, err := d.sign(map[string]any{"iss": issuer(authority, i.Tenant), "sub": i.Principal(), "oid": i.Principal(), "aud": q.Get("resource"), "tid": i.Tenant, "azp": i.ClientID, "idtyp": "app",
			"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(life).Unix(), "ver": "2.0"})
		if err != nil {
			write(w, http.StatusInternalServerError, map[string]string{"error": "server_error"})
			return
		}
		write(w, http.StatusOK, map[string]string{"access_token": token, "client_id": i.ClientID, "expires_in": strconv.Itoa(int(life.Seconds())), "expires_on": strconv.FormatInt(now.Add(life).Unix(), 10),
			"not_before": strconv.FormatInt(now.Unix(), 10), "resource": q.Get("resource"), "token_type": "Bearer"})
	}
	mux.HandleFunc("GET /metadata/identity/oauth2/token", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Metadata") != "true" || r.Header.Get("X-Forwarded-For") != "" || r.URL.Query().Get("api-version") == "" {
			write(w, http.StatusBadRequest, map[string]string{"error": "invalid_request", "error_description": "Required metadata header not specified"})
			return
		}
		answer(w, r)
	})
	mux.HandleFunc("GET /msi/token", func(w http.ResponseWriter, r *http.Request) {
		if header == "" || r.Header.Get("X-IDENTITY-HEADER") != header {
			write(w, http.StatusUnauthorized, map[string]any{"statusCode": 401, "message": "No MSI header"})
			return
		}
		answer(w, r)
	})
	return mux
}
