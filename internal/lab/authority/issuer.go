package authority

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"
)

// issuerPath is where the issuers of other identity providers are played, on
// every host: /lab/issuer/NAME.
const issuerPath = "/lab/issuer/"

// keysTaken is how many of an issuer's keys Entra takes (reference entra-oauth
// §4).
const keysTaken = 100

// otherIssuer plays an identity provider: a Kubernetes cluster, a CI service. Each
// name is one, with keys of its own that are made when they are first needed.
type otherIssuer struct {
	key    *rsa.PrivateKey
	kid    string
	before int // keys that its document lists before the one that signs
}

func newIssuer() (*otherIssuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(key.PublicKey.N.Bytes())
	return &otherIssuer{key: key, kid: hex.EncodeToString(sum[:10])}, nil
}

// issuer finds one, or makes it. The directory is locked.
func (d *Directory) issuer(name string) (*otherIssuer, error) {
	if i := d.issuers[name]; i != nil {
		return i, nil
	}
	if name == "" || len(name) > 64 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || len(d.issuers) >= 20 {
		return nil, errors.New("an issuer's name is of a-z, 0-9 and -, and there are at most 20")
	}
	i, err := newIssuer()
	if err == nil {
		d.issuers[name] = i
	}
	return i, err
}

// ForeignToken is what a token of another issuer shall say.
type ForeignToken struct {
	Subject  string `json:"subject"`
	Audience string `json:"audience"`
	Seconds  int    `json:"seconds"` // how long it is good; 0: an hour
	// Wrong makes it one that Entra must not take: "alg" (not RS256), "key" (signed
	// by another), "before" (the key is the 101st that the issuer lists), "" for a
	// right one.
	Wrong string `json:"wrong"`
}

// Foreign signs a token of the issuer of that name, whose URL is at.
func (d *Directory) Foreign(name, at string, want ForeignToken) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, err := d.issuer(name)
	if err != nil {
		return "", err
	}
	key, alg, now := i.key, "RS256", d.Clock()
	i.before = 0
	switch want.Wrong {
	case "":
	case "alg":
		alg = "PS256"
	case "before":
		i.before = keysTaken
	case "key":
		if key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return "", err
		}
	default:
		return "", fmt.Errorf("there is no wrong %q", want.Wrong)
	}
	if want.Seconds == 0 {
		want.Seconds = 3600
	}
	text := part(map[string]string{"typ": "JWT", "alg": alg, "kid": i.kid}) + "." + part(map[string]any{"iss": at, "sub": want.Subject, "aud": []string{want.Audience},
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Duration(want.Seconds) * time.Second).Unix(), "jti": newGUID()})
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if alg == "PS256" {
		sig, err = rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], nil)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig), err
}

// Issuers serves the discovery documents and keys of the issuers, and signs
// tokens for whoever asks: POST /lab/issuer/NAME/token with a ForeignToken.
func (s *Server) Issuers() http.Handler {
	d := s.opt.Directory
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+issuerPath+"{name}/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		at := "https://" + s.host(r) + issuerPath + r.PathValue("name")
		write(w, http.StatusOK, map[string]any{"issuer": at, "jwks_uri": at + "/keys", "response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"}})
	})
	mux.HandleFunc("GET "+issuerPath+"{name}/keys", func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		i, err := d.issuer(r.PathValue("name"))
		if err != nil {
			wrong(w, http.StatusNotFound, err)
			return
		}
		write(w, http.StatusOK, map[string]any{"keys": i.published()})
	})
	mux.HandleFunc("POST "+issuerPath+"{name}/token", func(w http.ResponseWriter, r *http.Request) {
		var want ForeignToken
		if !readJSON(w, r, &want) {
			return
		}
		token, err := d.Foreign(r.PathValue("name"), "https://"+s.host(r)+issuerPath+r.PathValue("name"), want)
		if err != nil {
			wrong(w, http.StatusBadRequest, err)
			return
		}
		write(w, http.StatusOK, map[string]string{"token": token})
	})
	return mux
}

// published are the keys as the issuer lists them.
func (i *otherIssuer) published() (keys []map[string]string) {
	for n := range i.before { // keys that nobody signs with
		keys = append(keys, map[string]string{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": fmt.Sprint("old-", n), "n": base64.RawURLEncoding.EncodeToString(i.key.N.Bytes()), "e": "AQAB"})
	}
	return append(keys, map[string]string{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": i.kid, "n": base64.RawURLEncoding.EncodeToString(i.key.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(i.key.E)).Bytes())})
}

// keyOf is the key with which the issuer at a URL signs, if Entra takes it from
// its list; nil otherwise. Entra itself is an issuer too: of the tokens of
// managed identities. The directory is locked.
func (d *Directory) keyOf(iss, kid, host string) *rsa.PublicKey {
	if rest, ours := strings.CutPrefix(iss, "https://"+host+"/"); ours && strings.HasSuffix(rest, "/v2.0") && kid == d.kid {
		return &d.key.PublicKey
	}
	_, name, ok := strings.Cut(iss, issuerPath)
	i := d.issuers[name]
	if !ok || i == nil {
		return nil
	}
	for n, k := range i.published() {
		if n < keysTaken && k["kid"] == kid {
			return &i.key.PublicKey
		}
	}
	return nil
}
