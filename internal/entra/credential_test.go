package entra

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"drover"
	"drover/internal/proof"
)

type pair struct{ cert, key []byte }

func makePair(key crypto.Signer) (pair, error) {
	return makePairOf(key, time.Unix(0, 0), time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
}

func makePairOf(key crypto.Signer, from, until time.Time) (pair, error) {
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "drover"}, NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return pair{}, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	return pair{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})}, err
}

var rsaPair = sync.OnceValues(func() (pair, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return pair{}, err
	}
	return makePair(key)
})

// withCertificate is an app with a certificate, and its public half.
func withCertificate(t *testing.T) (App, *x509.Certificate) {
	t.Helper()
	p, err := rsaPair()
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseCertificate(p.cert, p.key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(p.cert)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return App{Name: "default", ClientID: clientID, Certificate: func() (*Certificate, error) { return c, nil }}, leaf
}

func readAssertion(t *testing.T, jwt string) map[string]any {
	t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		t.Fatalf("an assertion of %d parts", len(parts))
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAnAssertionIsMadeAsTheReferenceSays(t *testing.T) {
	app, leaf := withCertificate(t)
	a := &authority{answer: func(n int, tenant string, _ url.Values) reply { return good(n, tenant) }}
	k := tokensOf(a, nil, app)
	for _, id := range []drover.TenantID{tenantA, tenantB} {
		if _, err := k.Token(t.Context(), tenant(id), drover.GraphAlerts); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for i, id := range []drover.TenantID{tenantA, tenantB} {
		form := a.calls[i].form
		if form.Get("client_secret") != "" || form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
			t.Errorf("form: %d fields", len(form))
		}
		parts := strings.Split(form.Get("client_assertion"), ".")
		head, err := base64.RawURLEncoding.DecodeString(parts[0])
		if err != nil {
			t.Fatal(err)
		}
		var h map[string]string
		if err := json.Unmarshal(head, &h); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(leaf.Raw)
		if h["alg"] != "PS256" || h["typ"] != "JWT" || h["x5t#S256"] != base64.RawURLEncoding.EncodeToString(sum[:]) || len(h) != 3 {
			t.Errorf("header: %v", h)
		}
		sig, err := base64.RawURLEncoding.DecodeString(parts[2])
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		if err := rsa.VerifyPSS(leaf.PublicKey.(*rsa.PublicKey), crypto.SHA256, digest[:], sig, &rsa.PSSOptions{SaltLength: 32}); err != nil {
			t.Error(err)
		}
		c := readAssertion(t, form.Get("client_assertion"))
		if c["aud"] != "https://login.microsoftonline.com/"+string(id)+"/oauth2/v2.0/token" || c["iss"] != clientID || c["sub"] != clientID || !drover.IsGUID(c["jti"].(string)) || seen[c["jti"].(string)] {
			t.Errorf("claims: %v", c)
		}
		seen[c["jti"].(string)] = true
		now := float64(time.Now().Unix())
		if nbf, exp := c["nbf"].(float64), c["exp"].(float64); nbf > now-100 || nbf < now-140 || exp-nbf < 300 || exp-nbf > 600 {
			t.Errorf("from %v to %v at %v", nbf, exp, now)
		}
	}
}

func TestOnlyAnRSACertificateWithItsOwnKeyIsTaken(t *testing.T) {
	good, err := rsaPair()
	if err != nil {
		t.Fatal(err)
	}
	if c, err := ParseCertificate(append(good.key, good.cert...), append(good.cert, good.key...), time.Now()); err != nil || !c.Until.Equal(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("both in one file: %v", err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecPair, err := makePair(ec)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]pair{
		"elliptic":      ecPair,
		"another's key": {good.cert, ecPair.key},
		"no key":        {good.cert, nil},
		"no cert":       {nil, good.key},
		"junk":          {[]byte("junk"), []byte("junk")},
	} {
		if _, err := ParseCertificate(p.cert, p.key, time.Now()); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestASecretsIDIsRefusedAtEntry(t *testing.T) {
	refused, dealt := 0, 0
	for value, ok := range map[string]bool{
		"Xy8~Q~not.a.real-one_but.of-the.form.abc": true,
		"short":                                 true,
		"":                                      false,
		"5b1f0c52-6d53-4c5d-9a4f-0e6f6f1d2a11":  false,
		"5B1F0C52-6D53-4C5D-9A4F-0E6F6F1D2A11":  false,
		"Xy8~Q~value\n":                         false,
		" Xy8~Q~value":                          false,
		"5b1f0c52-6d53-4c5d-9a4f-0e6f6f1d2a11x": true,
	} {
		err := CheckSecret(drover.NewSecret(value))
		if (err == nil) != ok {
			t.Errorf("%q: got %v", value, err)
		}
		if err != nil && value != "" && strings.Contains(err.Error(), strings.TrimSpace(value)) {
			t.Errorf("the error shows it: %v", err)
		}
		if !ok {
			dealt++
		}
		if err != nil {
			refused++
		}
	}
	proof.Ran(t, "T08", "secrets that are none, the ID among them: refused at entry %d of %d dealt", refused, dealt)
}
