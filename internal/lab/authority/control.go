package authority

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"
)

// maxControl bounds the body of a control request in bytes.
const maxControl = 64 << 10

// Control is the authority's own desk, JSON over HTTP. It has no sign-in: mount
// it where only whoever drives a run can reach it. No answer holds a secret but
// the one that makes it.
//
//	GET    /                                     switches, apps, tenants, faults
//	GET    /switches                             the switches
//	PATCH  /switches                             changes those that it names; PUT sets all, the rest to zero
//	PUT    /tenants/{tenant}/consents/{app}      {"state":"none"|"known"|"delegated"|"granted"}
//	PUT    /tenants/{tenant}/mssp/{app}          lists the app in the MSSP tab, with {"tenant":…} or its home
//	DELETE /tenants/{tenant}/mssp/{app}          takes all its lines off
//	PUT    /tenants/{tenant}/users/{name}        {"admin":false}
//	PUT    /tenants/{tenant}/policy              {"code":53003}; 0 lets everybody in
//	PUT    /tenants/{tenant}/region              {"scope":"USGov","sub_scope":"DODCON"}
//	POST   /tenants/{tenant}/revoke              ends the refresh tokens of sign-ins there
//	POST   /users/{name}/revoke                  ends those of a user
//	PUT    /apps/{app}                           a registration; credentials stay
//	POST   /apps/{app}/disable, /enable
//	POST   /apps/{app}/secrets                   {"value":"…","days":365} → {"id":…,"secret":…}; no value: a new one
//	DELETE /apps/{app}/secrets/{id}
//	POST   /apps/{app}/certificates              {"pem":"…"}
//	DELETE /apps/{app}/certificates/{thumbprint} its SHA-256 in hex, as GET / shows it
//	       /partner/…                            relationships, groups, contracts, switches: docs/lab-partner.md
//	GET    /faults                               rules of the whole cloud; POST adds an array of them, PUT replaces all
//
// {tenant} is an ID or a domain.
func (s *Server) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusOK, s.state())
	})
	mux.Handle("/switches", s.opt.Directory)
	s.tenantControl(mux)
	s.appControl(mux)
	s.partnerControl(mux)
	mux.HandleFunc("POST /users/{name}/revoke", func(w http.ResponseWriter, r *http.Request) {
		s.opt.Directory.RevokeUser(r.PathValue("name"))
		w.WriteHeader(http.StatusNoContent)
	})
	mux.Handle("/faults", s.opt.Faults)
	return mux
}

// ServeHTTP is the desk of the switches alone: GET shows them, PATCH changes
// those that it names, PUT sets all.
func (d *Directory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	now := d.Switches
	d.mu.Unlock()
	now.TokenClaims = maps.Clone(now.TokenClaims)
	serveSwitches(w, r, now, func(next Switches) { d.Switch(func(s *Switches) { *s = next }) })
}

// serveSwitches is a desk of switches as they stand now: GET shows them, PATCH
// changes those that it names, PUT sets all.
func serveSwitches[T interface{ check() error }](w http.ResponseWriter, r *http.Request, now T, set func(T)) {
	next := now
	switch r.Method {
	case http.MethodGet:
		write(w, http.StatusOK, now)
		return
	case http.MethodPatch:
	case http.MethodPut:
		next = *new(T)
	default:
		w.Header().Set("Allow", "GET, PATCH, PUT")
		wrong(w, http.StatusMethodNotAllowed, errors.New("GET, PATCH or PUT"))
		return
	}
	if !readJSON(w, r, &next) {
		return
	}
	if err := next.check(); err != nil {
		wrong(w, http.StatusBadRequest, err)
		return
	}
	set(next)
	write(w, http.StatusOK, next)
}

// tenantControl is what concerns one tenant.
func (s *Server) tenantControl(mux *http.ServeMux) {
	d := s.opt.Directory
	// at finds the tenant, and the app if the path names one, and reads the body.
	at := func(pattern string, body func() any, do func(tenant string, r *http.Request, body any)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			id, _, ok := d.Tenant(r.PathValue("tenant"))
			if !ok {
				wrong(w, http.StatusNotFound, errors.New("there is no such tenant"))
				return
			}
			var in any
			if body != nil {
				if in = body(); !readJSON(w, r, in) {
					return
				}
			}
			do(id, r, in)
			w.WriteHeader(http.StatusNoContent)
		})
	}
	type state struct {
		State Consent `json:"state"`
	}
	at("PUT /tenants/{tenant}/consents/{app}", func() any { return new(state) }, func(t string, r *http.Request, in any) {
		d.Consent(t, r.PathValue("app"), in.(*state).State)
	})
	type line struct {
		Tenant string `json:"tenant"`
	}
	at("PUT /tenants/{tenant}/mssp/{app}", func() any { return new(line) }, func(t string, r *http.Request, in any) {
		if home := in.(*line).Tenant; home != "" {
			d.List(t, Listing{r.PathValue("app"), home}, true)
			return
		}
		d.Authorise(t, r.PathValue("app"), true)
	})
	at("DELETE /tenants/{tenant}/mssp/{app}", nil, func(t string, r *http.Request, _ any) {
		for _, l := range d.Listed(t) {
			if l.App == r.PathValue("app") {
				d.List(t, l, false)
			}
		}
	})
	type user struct {
		Admin bool `json:"admin"`
	}
	at("PUT /tenants/{tenant}/users/{name}", func() any { return new(user) }, func(t string, r *http.Request, in any) {
		d.AddUser(t, r.PathValue("name"), in.(*user).Admin)
	})
	type rule struct {
		Code int `json:"code"`
	}
	at("PUT /tenants/{tenant}/policy", func() any { return new(rule) }, func(t string, _ *http.Request, in any) {
		d.Restrict(t, in.(*rule).Code)
	})
	at("PUT /tenants/{tenant}/region", func() any { return new(Region) }, func(t string, _ *http.Request, in any) {
		d.Settle(t, *in.(*Region))
	})
	at("POST /tenants/{tenant}/revoke", nil, func(t string, _ *http.Request, _ any) { d.RevokeRefreshTokens(t) })
}

// appControl is what concerns one registration.
func (s *Server) appControl(mux *http.ServeMux) {
	d := s.opt.Directory
	known := func(do http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			d.mu.Lock()
			a := d.app(r.PathValue("app"))
			d.mu.Unlock()
			if a == nil {
				wrong(w, http.StatusNotFound, errors.New("there is no such app"))
				return
			}
			do(w, r)
		}
	}
	mux.HandleFunc("PUT /apps/{app}", func(w http.ResponseWriter, r *http.Request) {
		var a App
		if !readJSON(w, r, &a) {
			return
		}
		a.ClientID = r.PathValue("app")
		d.AddApp(a)
		w.WriteHeader(http.StatusNoContent)
	})
	for name, off := range map[string]bool{"disable": true, "enable": false} {
		mux.HandleFunc("POST /apps/{app}/"+name, known(func(w http.ResponseWriter, r *http.Request) {
			d.Disable(r.PathValue("app"), off)
			w.WriteHeader(http.StatusNoContent)
		}))
	}
	mux.HandleFunc("POST /apps/{app}/secrets", known(func(w http.ResponseWriter, r *http.Request) {
		var ask struct {
			Value string `json:"value"`
			Days  int    `json:"days"`
		}
		if !readJSON(w, r, &ask) {
			return
		}
		if ask.Value == "" {
			ask.Value = "lab~" + randomText(24)
		}
		if ask.Days == 0 {
			ask.Days = 365
		}
		id := d.AddSecret(r.PathValue("app"), ask.Value, d.clockTime().Add(time.Duration(ask.Days)*24*time.Hour))
		write(w, http.StatusOK, map[string]string{"id": id, "secret": ask.Value})
	}))
	mux.HandleFunc("DELETE /apps/{app}/secrets/{id}", known(func(w http.ResponseWriter, r *http.Request) {
		d.RemoveSecret(r.PathValue("app"), r.PathValue("id"))
		w.WriteHeader(http.StatusNoContent)
	}))
	mux.HandleFunc("POST /apps/{app}/certificates", known(func(w http.ResponseWriter, r *http.Request) {
		var ask struct {
			PEM string `json:"pem"`
		}
		if !readJSON(w, r, &ask) {
			return
		}
		block, _ := pem.Decode([]byte(ask.PEM))
		if block == nil {
			wrong(w, http.StatusBadRequest, errors.New("pem holds no certificate"))
			return
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			wrong(w, http.StatusBadRequest, err)
			return
		}
		d.AddCertificate(r.PathValue("app"), c)
		write(w, http.StatusOK, map[string]string{"sha256": thumbprint(c)})
	}))
	mux.HandleFunc("DELETE /apps/{app}/certificates/{thumbprint}", known(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		a := d.app(r.PathValue("app"))
		a.certs = slices.DeleteFunc(a.certs, func(c *x509.Certificate) bool { return thumbprint(c) == r.PathValue("thumbprint") })
		w.WriteHeader(http.StatusNoContent)
	}))
}

func thumbprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// Shown at the desk.
type (
	stateShown struct {
		Switches Switches      `json:"switches"`
		Apps     []appShown    `json:"apps"`
		Tenants  []tenantShown `json:"tenants"`
	}
	appShown struct {
		App
		Secrets      []credential `json:"secrets"`
		Certificates []credential `json:"certificates"`
	}
	credential struct {
		ID  string    `json:"id"`
		End time.Time `json:"end"`
	}
	tenantShown struct {
		ID       string             `json:"id"`
		Domain   string             `json:"domain"`
		Region   Region             `json:"region"`
		Policy   int                `json:"policy"`
		Users    map[string]bool    `json:"users"` // true: an admin
		Consents map[string]Consent `json:"consents"`
		MSSP     []Listing          `json:"mssp"`
		Refresh  int                `json:"refresh_tokens"` // that would be taken
	}
)

// state is everything that can be seen at the desk.
func (s *Server) state() stateShown {
	d := s.opt.Directory
	d.mu.Lock()
	defer d.mu.Unlock()
	out := stateShown{Switches: d.Switches}
	for _, id := range slices.Sorted(maps.Keys(d.apps)) {
		a := appShown{App: *d.apps[id], Secrets: []credential{}, Certificates: []credential{}}
		for _, one := range a.secrets {
			a.Secrets = append(a.Secrets, credential{one.keyID, one.end})
		}
		for _, c := range a.certs {
			a.Certificates = append(a.Certificates, credential{thumbprint(c), c.NotAfter})
		}
		out.Apps = append(out.Apps, a)
	}
	for _, id := range slices.Sorted(maps.Keys(d.tenants)) {
		t := d.tenants[id]
		one := tenantShown{ID: t.ID, Domain: t.Domain, Region: t.region, Policy: t.policy, Users: maps.Clone(t.users), Consents: make(map[string]Consent), MSSP: t.lines()}
		for app, c := range t.consents {
			one.Consents[app] = c.now
		}
		for _, r := range d.refresh {
			if r.tenant == id && d.stale(r) == nil {
				one.Refresh++
			}
		}
		out.Tenants = append(out.Tenants, one)
	}
	return out
}

// wrong says on the desk what is wrong with a request.
func wrong(w http.ResponseWriter, status int, err error) {
	write(w, status, map[string]string{"error": err.Error()})
}

func readJSON(w http.ResponseWriter, r *http.Request, into any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxControl))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		wrong(w, http.StatusBadRequest, errors.New("read request: "+err.Error()))
		return false
	}
	return true
}
