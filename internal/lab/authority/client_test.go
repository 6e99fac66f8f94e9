package authority

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestAnAppProvesItselfByItsSecret(t *testing.T) {
	e := newEntra(t)
	keyID := e.AddSecret(appID, "an old secret", e.time.Add(-time.Minute))
	for name, tt := range map[string]struct {
		secret, grant string
		code, status  int
	}{
		"the secret":                  {secret: password, status: 200},
		"an expired one":              {secret: "an old secret", code: 7000222, status: 401},
		"a wrong one":                 {secret: "wrong", code: 7000215, status: 401},
		"the secret's ID":             {secret: keyID, code: 7000215, status: 401},
		"encoded once too often":      {secret: url.QueryEscape(password), code: 7000215, status: 401},
		"none":                        {code: 7000216, status: 401},
		"none, and another grant":     {grant: "refresh_token", code: 7000218, status: 401},
		"an unknown grant":            {secret: password, grant: "password_of_old", code: 70003, status: 400},
		"no grant at all":             {secret: password, grant: "-", code: 900144, status: 400},
		"a secret for a grant by jwt": {secret: password, grant: "urn:ietf:params:oauth:grant-type:jwt-bearer", code: 70003, status: 400},
	} {
		t.Run(name, func(t *testing.T) {
			more := []string{"client_secret", tt.secret}
			if tt.grant != "" {
				more = append(more, "grant_type", strings.Trim(tt.grant, "-"))
			}
			if a := e.app(contoso, more...); a.status != tt.status || a.code() != tt.code {
				t.Errorf("got %d, AADSTS%d, want %d, AADSTS%d", a.status, a.code(), tt.status, tt.code)
			}
		})
	}
	e.wants(e.app(contoso, "client_id", publicID), 401, 700025, "invalid_client")
	e.wants(e.app(contoso, "client_id", publicID, "client_secret", ""), 401, 7000216, "invalid_client")
}

func TestTheSecretMayComeInTheHeader(t *testing.T) {
	e := newEntra(t)
	for name, tt := range map[string]struct {
		pass string
		code int
	}{
		"form-encoded first":      {url.QueryEscape(password), 0},
		"a percent sign as it is": {"100%zz", 7000218},
	} {
		t.Run(name, func(t *testing.T) {
			f := values("grant_type", "refresh_token", "scope", graph+"/.default", "refresh_token", e.GiveRefreshToken(contoso, appID, analyst))
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+host+"/"+contoso+"/oauth2/v2.0/token", strings.NewReader(f.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.SetBasicAuth(appID, tt.pass)
			if a := e.do(r); a.code() != tt.code {
				t.Errorf("AADSTS%d, want AADSTS%d", a.code(), tt.code)
			}
		})
	}
}

// claim is a client assertion in the making.
type claim struct {
	header, claims map[string]any
	cert           *x509.Certificate
	mend           func(raw string) string
}

func (e *entra) claim(cert *x509.Certificate) *claim {
	sum := sha256.Sum256(cert.Raw)
	return &claim{cert: cert,
		header: map[string]any{"alg": "PS256", "typ": "JWT", "x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])},
		claims: map[string]any{"aud": "https://login.microsoftonline.com/" + contoso + "/oauth2/v2.0/token", "iss": appID, "sub": appID, "jti": newGUID(),
			"nbf": e.time.Unix(), "iat": e.time.Unix(), "exp": e.time.Add(5 * time.Minute).Unix()}}
}

// old makes it one of the older kind.
func (c *claim) old() {
	sum := sha1.Sum(c.cert.Raw) //nolint:gosec // x5t is SHA-1 by definition
	c.header = map[string]any{"alg": "RS256", "typ": "JWT", "x5t": base64.RawURLEncoding.EncodeToString(sum[:])}
}

func (c *claim) sign(t *testing.T) string {
	t.Helper()
	key, err := oneKey()
	if err != nil {
		t.Fatal(err)
	}
	text := part(c.header) + "." + part(c.claims)
	sum := sha256.Sum256([]byte(text))
	var sig []byte
	if c.header["alg"] == "PS256" {
		sig, err = rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	} else {
		sig, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	}
	if err != nil {
		t.Fatal(err)
	}
	raw := text + "." + base64.RawURLEncoding.EncodeToString(sig)
	if c.mend != nil {
		raw = c.mend(raw)
	}
	return raw
}

// byAssertion asks for a token of the app's own by an assertion.
func (e *entra) byAssertion(raw string) answer {
	e.Helper()
	return e.app(contoso, "client_secret", "", "client_assertion_type", assertionType, "client_assertion", raw)
}

func TestAnAppProvesItselfByAnAssertion(t *testing.T) {
	e := newEntra(t)
	good := certificate(t, 1, e.time.AddDate(1, 0, 0))
	old := certificate(t, 2, e.time.Add(-time.Hour))
	strange := certificate(t, 3, e.time.AddDate(1, 0, 0))
	e.AddCertificate(appID, good)
	e.AddCertificate(appID, old)
	in := func(d time.Duration) int64 { return e.time.Add(d).Unix() }
	std := func(c *claim) {
		sum := sha256.Sum256(c.cert.Raw)
		c.header["x5t#S256"] = base64.StdEncoding.EncodeToString(sum[:])
	}
	host1 := "https://" + host + "/" + contoso
	for name, tt := range map[string]struct {
		cert   *x509.Certificate
		change func(*claim)
		with   func(*Switches)
		code   int
		says   string
	}{
		"PS256 with a SHA-256 thumbprint":       {},
		"RS256 with a SHA-1 thumbprint":         {change: (*claim).old},
		"RS256 where it is refused":             {change: (*claim).old, with: func(s *Switches) { s.RefuseRS256 = true }, code: 50027},
		"a thumbprint in the standard alphabet": {change: std},
		"the same where it is refused":          {change: std, with: func(s *Switches) { s.StrictThumbprint = true }, code: 700027},
		"times as text, and no iat": {change: func(c *claim) {
			c.claims["nbf"], c.claims["exp"] = json.Number("1"), "9999999999"
			delete(c.claims, "iat")
		}},
		"for the host that is asked":       {change: func(c *claim) { c.claims["aud"] = host1 + "/oauth2/v2.0/token" }},
		"for the tenant's domain":          {change: func(c *claim) { c.claims["aud"] = "https://" + host + "/contoso.example/oauth2/token" }},
		"the host that is asked, strictly": {change: func(c *claim) { c.claims["aud"] = host1 + "/oauth2/v2.0/token" }, with: func(s *Switches) { s.StrictAudience = true }},
		"Microsoft's host, strictly":       {with: func(s *Switches) { s.StrictAudience = true }, code: 700023},
		"for another tenant": {change: func(c *claim) {
			c.claims["aud"] = "https://login.microsoftonline.com/" + fabrikam + "/oauth2/v2.0/token"
		}, code: 700023},
		"for another host":                       {change: func(c *claim) { c.claims["aud"] = "https://login.example/" + contoso + "/oauth2/v2.0/token" }, code: 700023},
		"for another endpoint":                   {change: func(c *claim) { c.claims["aud"] = host1 + "/v2.0" }, code: 700023},
		"expired":                                {change: func(c *claim) { c.claims["exp"] = in(-time.Second) }, code: 700024, says: "08:15:04.0000000Z"},
		"not yet good":                           {change: func(c *claim) { c.claims["nbf"] = in(10 * time.Second) }, code: 700024},
		"good too long, where that is limited":   {change: func(c *claim) { c.claims["exp"] = in(time.Hour) }, with: func(s *Switches) { s.AssertionMax = Span(10 * time.Minute) }, code: 700024},
		"good long":                              {change: func(c *claim) { c.claims["exp"] = in(time.Hour) }},
		"without an end":                         {change: func(c *claim) { delete(c.claims, "exp") }, code: 700024},
		"a certificate that nobody registered":   {cert: strange, code: 700027, says: "key was not found"},
		"an expired certificate":                 {cert: old, code: 700027, says: "key used is expired"},
		"another app's iss":                      {change: func(c *claim) { c.claims["iss"] = publicID }, code: 700021},
		"another app's sub":                      {change: func(c *claim) { c.claims["sub"] = publicID }, code: 700021},
		"a signature that does not fit":          {change: func(c *claim) { c.mend = func(raw string) string { return raw[:len(raw)-8] + "AAAAAAAA" } }, code: 700027},
		"alg none":                               {change: func(c *claim) { c.header["alg"] = "none" }, code: 700027},
		"padded":                                 {change: func(c *claim) { c.mend = func(raw string) string { return raw + "==" } }, code: 50027},
		"no JWT":                                 {change: func(c *claim) { c.mend = func(string) string { return "a.b" } }, code: 50027},
		"the number of old":                      {cert: strange, with: func(s *Switches) { s.OldCodes = true }, code: 50012},
		"no jti":                                 {change: func(c *claim) { delete(c.claims, "jti") }},
		"no jti where a replay would be refused": {change: func(c *claim) { delete(c.claims, "jti") }, with: func(s *Switches) { s.RefuseReplay = true }, code: 50013},
		"a clock that is ahead, of Entra":        {with: func(s *Switches) { s.Skew = Span(6 * time.Minute) }, code: 700024},
		"a clock that is ahead by little":        {with: func(s *Switches) { s.Skew = Span(4 * time.Minute) }},
	} {
		t.Run(name, func(t *testing.T) {
			e.Switches = Switches{}
			if tt.with != nil {
				e.Switch(tt.with)
			}
			cert := tt.cert
			if cert == nil {
				cert = good
			}
			c := e.claim(cert)
			if tt.change != nil {
				tt.change(c)
			}
			a := e.byAssertion(c.sign(t))
			if a.code() != tt.code || !strings.Contains(a.text("error_description"), tt.says) {
				t.Fatalf("got %d %s, want AADSTS%d", a.status, a.raw, tt.code)
			}
			switch {
			case tt.code == 0:
				if got := e.token(a)["appidacr"]; got != "2" {
					t.Errorf("appidacr is %v, want 2: a certificate", got)
				}
			case a.status != 401 || a.text("error") != "invalid_client":
				t.Errorf("%d %s, want 401 invalid_client", a.status, a.text("error"))
			}
		})
	}
	e.Switches = Switches{}
	e.wants(e.app(contoso, "client_secret", "", "client_assertion", e.claim(good).sign(t)), 400, 900144, "invalid_request")
	e.RemoveCertificate(appID, good)
	e.wants(e.byAssertion(e.claim(good).sign(t)), 401, 700027, "invalid_client")
}

func TestAReplayedAssertionIsRefusedIfTheSwitchSaysSo(t *testing.T) {
	for name, refuse := range map[string]bool{"taken again": false, "refused": true} {
		t.Run(name, func(t *testing.T) {
			e := newEntra(t)
			e.RefuseReplay = refuse
			cert := certificate(t, 1, e.time.AddDate(1, 0, 0))
			e.AddCertificate(appID, cert)
			c := e.claim(cert)
			raw := c.sign(t)
			e.token(e.byAssertion(raw))
			again := e.byAssertion(raw)
			if refuse {
				e.wants(again, 401, 50013, "invalid_client")
			} else {
				e.token(again)
			}
			c.claims["jti"] = newGUID()
			e.token(e.byAssertion(c.sign(t)))
			e.time = e.time.Add(time.Hour) // long forgotten
			for k, v := range map[string]any{"nbf": e.time.Unix(), "exp": e.time.Add(time.Minute).Unix()} {
				maps.Copy(c.claims, map[string]any{k: v})
			}
			e.token(e.byAssertion(c.sign(t)))
			if refuse && len(e.jtis) != 1 {
				t.Errorf("%d jti are remembered, want 1: the rest has ended", len(e.jtis))
			}
		})
	}
}
