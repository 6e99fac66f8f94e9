package authority

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"html"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"drover/internal/lab/fault"
)

const (
	mssp     = "99999999-0000-4000-8000-000000000001"
	contoso  = "aaaaaaaa-0000-4000-8000-000000000001"
	fabrikam = "bbbbbbbb-0000-4000-8000-000000000002"

	appID    = "11111111-0000-4000-8000-00000000000a"
	publicID = "22222222-0000-4000-8000-00000000000b"
	seedID   = "33333333-0000-4000-8000-00000000000c" // registered as the old page says: for one tenant
	password = "a secret: 100% & +"

	redirect = "https://mssp.example/callback"
	graph    = "https://graph.microsoft.com"
	siem     = "https://graph.windows.net"
	analyst  = "analyst@mssp.example"
	host     = "login.lab.test"
)

// entra is an authority with two customers, on a clock that stands still.
type entra struct {
	*testing.T
	*Directory
	server *Server
	faults *fault.Dealer
	time   time.Time
	cookie string
	noted  []int
}

var (
	oneDirectory = sync.OnceValues(func() (*Directory, error) { return NewDirectory(time.Now) })
	oneKey       = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })
)

func newEntra(t *testing.T) *entra {
	t.Helper()
	first, err := oneDirectory() // one key for all tests: making it is slow
	if err != nil {
		t.Fatal(err)
	}
	e := &entra{T: t, time: time.Date(2026, 3, 2, 8, 15, 4, 0, time.UTC)}
	d := newDirectory(func() time.Time { return e.time }, first.key)
	e.Directory = d
	e.faults = fault.New(1, d.Clock, nil)
	e.server = NewServer(Options{Directory: d, Faults: e.faults, Note: func(_, _, _ string, status, _ int) { e.noted = append(e.noted, status) },
		Resource: func(uri string) (string, bool) {
			uri = strings.TrimSuffix(uri, "/")
			return uri, uri == graph || uri == siem
		}})
	d.AddTenant(mssp, "mssp.example")
	d.AddTenant(contoso, "contoso.example")
	d.AddTenant(fabrikam, "fabrikam.example")
	d.AddUser(mssp, analyst, false)
	d.AddUser(contoso, analyst, false)
	d.AddApp(App{ClientID: appID, MultiTenant: true, HomeTenant: mssp, Roles: []string{"SecurityAlert.Read.All"}, RedirectURIs: []string{redirect, "http://localhost"}})
	d.AddApp(App{ClientID: publicID, MultiTenant: true, Public: true, HomeTenant: mssp, RedirectURIs: []string{"http://127.0.0.1"}})
	d.AddApp(App{ClientID: seedID, HomeTenant: mssp, RedirectURIs: []string{"https://mssp.example/SiemMsspConnector"}})
	d.AddSecret(appID, password, e.time.AddDate(1, 0, 0))
	d.AddSecret(seedID, password, e.time.AddDate(1, 0, 0))
	d.Consent(contoso, appID, Granted)
	d.Consent(contoso, publicID, Delegated)
	return e
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

func (a answer) text(name string) string { s, _ := a.body[name].(string); return s }

// code is the most telling AADSTS number, 0 if the answer is none.
func (a answer) code() int {
	list, _ := a.body["error_codes"].([]any)
	if len(list) == 0 {
		return 0
	}
	n, _ := list[len(list)-1].(float64)
	return int(n)
}

func (e *entra) do(r *http.Request) answer {
	e.Helper()
	return e.ask(e.server, r)
}

// through sends a form to another handler than the authority's own.
func (e *entra) through(h http.Handler, method, target string, form url.Values) answer {
	e.Helper()
	r := httptest.NewRequestWithContext(e.Context(), method, "https://"+host+target, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return e.ask(h, r)
}

func (e *entra) ask(h http.Handler, r *http.Request) answer {
	e.Helper()
	r.Host = host
	if e.cookie != "" {
		r.Header.Set("Cookie", e.cookie)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		e.cookie = c.Name + "=" + c.Value
	}
	a := answer{status: w.Code, header: w.Header(), raw: w.Body.String()}
	if strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		var v any
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
			e.Fatalf("%s: %v", a.raw, err)
		}
		a.body, _ = v.(map[string]any)
	}
	return a
}

// values makes a form of names and values in turn.
func values(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

func (e *entra) post(path string, form url.Values) answer {
	e.Helper()
	r := httptest.NewRequestWithContext(e.Context(), http.MethodPost, "https://"+host+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return e.do(r)
}

func (e *entra) get(target string) answer {
	e.Helper()
	return e.do(httptest.NewRequestWithContext(e.Context(), http.MethodGet, "https://"+host+target, nil))
}

// app asks for a token of the app's own, by secret.
func (e *entra) app(segment string, more ...string) answer {
	e.Helper()
	f := values("grant_type", "client_credentials", "client_id", appID, "client_secret", password, "scope", graph+"/.default")
	for k, v := range values(more...) {
		f[k] = v
	}
	return e.post("/"+segment+"/oauth2/v2.0/token", f)
}

// wants fails the test unless the answer is an error of that number, word and
// status.
func (e *entra) wants(a answer, status, code int, word string) {
	e.Helper()
	if a.status != status || a.code() != code || a.text("error") != word {
		e.Errorf("got %d, AADSTS%d %s (%s), want %d, AADSTS%d %s", a.status, a.code(), a.text("error"), a.text("error_description"), status, code, word)
	}
}

// token fails the test unless the answer is a token; it returns the claims of
// the access token, whose signature was checked against the served keys.
func (e *entra) token(a answer) map[string]any {
	e.Helper()
	if a.status != http.StatusOK {
		e.Fatalf("no token: %d %s", a.status, a.raw)
	}
	return e.verified(a.text("access_token"))
}

// verified checks a JWT against the served keys and returns its claims.
func (e *entra) verified(raw string) map[string]any {
	e.Helper()
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		e.Fatalf("no JWT: %s", raw)
	}
	var header struct{ Kid, Alg string }
	e.unpack(parts[0], &header)
	keys, _ := e.get("/common/discovery/v2.0/keys").body["keys"].([]any)
	for _, k := range keys {
		k, _ := k.(map[string]any)
		if k["kid"] != header.Kid || k["alg"] != header.Alg {
			continue
		}
		n, _ := base64.RawURLEncoding.DecodeString(k["n"].(string))
		x, _ := base64.RawURLEncoding.DecodeString(k["e"].(string))
		sig, _ := base64.RawURLEncoding.DecodeString(parts[2])
		sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		if err := rsa.VerifyPKCS1v15(&rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(x).Int64())}, crypto.SHA256, sum[:], sig); err != nil {
			e.Fatalf("the served key does not verify the token: %v", err)
		}
		var claims map[string]any
		e.unpack(parts[1], &claims)
		return claims
	}
	e.Fatalf("no served key has the id %q", header.Kid)
	return nil
}

func (e *entra) unpack(part string, into any) {
	e.Helper()
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		e.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		e.Fatal(err)
	}
}

var hidden = regexp.MustCompile(`name="canary" value="([^"]*)"`)

// person opens a page and sends its form back, as user and with a decision.
func (e *entra) person(target, user, decision string) answer {
	e.Helper()
	page := e.get(target)
	m := hidden.FindStringSubmatch(page.raw)
	if m == nil {
		return page
	}
	return e.post(target, values("canary", html.UnescapeString(m[1]), "user", user, "decision", decision))
}

// back reads where the browser is led.
func (e *entra) back(a answer) url.Values {
	e.Helper()
	u, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.status != http.StatusFound {
		e.Fatalf("led nowhere: %d %s", a.status, a.raw)
	}
	return u.Query()
}

// certificate makes a certificate of the one test key.
func certificate(t *testing.T, serial int64, until time.Time) *x509.Certificate {
	t.Helper()
	key, err := oneKey()
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "app"}, NotBefore: until.AddDate(-2, 0, 0), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
