package keyvault

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"drover"
	"drover/internal/lab"
	pretend "drover/internal/lab/keyvault"
	"drover/internal/proof"
	"drover/internal/vault"
)

// world is the pretend cloud, at the real names.
type world struct {
	*testing.T
	lab  *lab.Lab
	http *http.Client
	asks atomic.Int64 // tokens that were asked for
	opt  Options
}

const login = "https://login.microsoftonline.com"

func newWorld(t *testing.T) *world {
	t.Helper()
	l, err := lab.New(lab.Options{Seed: 3, Customers: 1})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := l.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(l.CAPEM())
	w := &world{T: t, lab: l}
	w.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}}
	t.Cleanup(w.http.CloseIdleConnections)
	w.opt = Options{URL: "https://drover.vault.azure.net", Key: pretend.RSAKey, Algorithm: "RSA-OAEP-256", File: filepath.Join(t.TempDir(), "keys", "master.wrapped"), HTTP: w.http, Credential: w.certificate()}
	return w
}

func (w *world) authority() Authority {
	return Authority{Host: login, Tenant: lab.HomeTenant, HTTP: w.http}
}

func (w *world) certificate() azcore.TokenCredential {
	cert, key := w.lab.AppCertificate()
	cred, err := Certificate(w.authority(), w.lab.AppID(), cert, drover.NewSecret(key))
	if err != nil {
		w.Fatal(err)
	}
	return counted{cred, &w.asks}
}

// counted counts the tokens that are asked for.
type counted struct {
	azcore.TokenCredential
	n *atomic.Int64
}

func (c counted) GetToken(ctx context.Context, opt policy.TokenRequestOptions) (azcore.AccessToken, error) {
	c.n.Add(1)
	return c.TokenCredential.GetToken(ctx, opt)
}

func (w *world) keeper(change func(*Options)) *Keeper {
	w.Helper()
	opt := w.opt
	if change != nil {
		change(&opt)
	}
	k, err := New(opt)
	if err != nil {
		w.Fatal(err)
	}
	return k
}

func TestTheMasterKeyLiesWrappedAndItsVersionIsPinned(t *testing.T) {
	w := newWorld(t)
	first := w.lab.KeyVault().Newest()
	k := w.keeper(nil)
	if _, err := k.Read(t.Context()); !errors.Is(err, vault.ErrNoKey) {
		t.Errorf("before there is one: %v", err)
	}
	if err := vault.CreateAt(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	v, err := vault.OpenFrom(t.Context(), w.keeper(nil))
	if err != nil {
		t.Fatal(err)
	}
	old := v.KeyID()
	text, err := k.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lines, err := vault.Lines(text, "")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(w.opt.File)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(file, []byte(base64.StdEncoding.EncodeToString(lines[0].Key))) || bytes.Contains(file, lines[0].Key) {
		t.Error("the file holds the key in clear")
	}
	if info, err := os.Stat(w.opt.File); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	// The vault's key gets a new version: the old one unwraps what it wrapped.
	w.lab.KeyVault().NewVersion()
	second := w.lab.KeyVault().Newest()
	if v, err = vault.OpenFrom(t.Context(), k); err != nil || v.KeyID() != old {
		t.Errorf("with a newer version: %v", err)
	}
	if list, err := k.Wrappings(); err != nil || len(list) != 1 || list[0] != (Wrapping{old, first}) {
		t.Errorf("wrapped by %v, %v", list, err)
	}
	if newest, err := k.Newest(t.Context()); err != nil || newest != second {
		t.Errorf("the newest is %s, %v", newest, err)
	}
	r, err := vault.Rotate(t.Context(), k, v, false, func(ctx context.Context) error {
		list, err := k.Wrappings()
		if err == nil && (len(list) != 2 || list[0] != (Wrapping{old, first}) || list[1].Version != second) {
			err = fmt.Errorf("while one follows: %v", list)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.lab.KeyVault().Set(pretend.State{Old: "disabled"})
	if v, err := vault.OpenFrom(t.Context(), w.keeper(nil)); err != nil || v.KeyID() != r.New {
		t.Errorf("with the old version disabled: %v", err)
	}
	// Another key, or another vault, is not asked to unwrap it.
	calls := w.lab.KeyVault().Calls("unwrapkey")
	for name, change := range map[string]func(*Options){"another key": func(o *Options) { o.Key = "other" }, "another vault": func(o *Options) { o.URL = "https://other.vault.azure.net" }} {
		_, err := w.keeper(change).Read(t.Context())
		if drover.KindOf(err) != drover.Denied || errors.Is(err, vault.ErrNoKey) || !strings.Contains(drover.HintOf(err), "restore the file") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w.lab.KeyVault().Calls("unwrapkey") != calls {
		t.Error("another key was asked")
	}
}

func TestAnAESKeyOfAnHSMWrapsToo(t *testing.T) {
	w := newWorld(t)
	hsm := func(o *Options) { o.Key, o.Algorithm = pretend.AESKey, "A256KW" }
	if err := vault.CreateAt(t.Context(), w.keeper(hsm)); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.OpenFrom(t.Context(), w.keeper(hsm)); err != nil {
		t.Error(err)
	}
	other := func(o *Options) { o.Key, o.File = pretend.AESKey, o.File+".2" }
	if err := vault.CreateAt(t.Context(), w.keeper(other)); drover.KindOf(err) != drover.Denied || !strings.Contains(drover.HintOf(err), "oct-HSM for A256KW") {
		t.Errorf("RSA-OAEP-256 with an AES key: %v", err)
	}
	if _, err := os.Stat(w.opt.File + ".2"); err == nil {
		t.Error("it left a file")
	}
}

// assertion is a client assertion of the app's, as another issuer would have
// put it into a pod's file.
func (w *world) assertion() string {
	certPEM, keyPEM := w.lab.AppCertificate()
	c, _ := pem.Decode(certPEM)
	p, _ := pem.Decode(keyPEM)
	key, err := x509.ParsePKCS8PrivateKey(p.Bytes)
	if err != nil {
		w.Fatal(err)
	}
	sum := sha256.Sum256(c.Bytes)
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			w.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	now := time.Now().Unix()
	text := part(map[string]any{"alg": "PS256", "typ": "JWT", "x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}) + "." +
		part(map[string]any{"aud": login + "/" + lab.HomeTenant + "/oauth2/v2.0/token", "iss": w.lab.AppID(), "sub": w.lab.AppID(), "jti": rand.Text(), "nbf": now - 10, "exp": now + 300})
	digest := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPSS(rand.Reader, key.(*rsa.PrivateKey), crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	if err != nil {
		w.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func TestEverySignInLeadsToTheVault(t *testing.T) {
	w := newWorld(t)
	if err := vault.CreateAt(t.Context(), w.keeper(nil)); err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(w.assertion()), 0o600); err != nil {
		t.Fatal(err)
	}
	// The identity endpoint of an app service, which asks Entra for its own.
	identity := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Identity-Header") != "known" {
			http.Error(rw, "who are you?", http.StatusUnauthorized)
			return
		}
		res, err := w.http.PostForm(login+"/"+lab.HomeTenant+"/oauth2/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {w.lab.AppID()}, "client_secret": {w.lab.AppSecret()}, "resource": {r.URL.Query().Get("resource")}})
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadGateway)
			return
		}
		defer func() { _ = res.Body.Close() }()
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(res.StatusCode)
		_, _ = io.Copy(rw, res.Body)
	}))
	defer identity.Close()
	t.Setenv("IDENTITY_ENDPOINT", identity.URL)
	t.Setenv("IDENTITY_HEADER", "known")
	t.Setenv("AZURE_FEDERATED_TOKEN_FILE", token)
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1") // no identity is asked for through it
	ways := map[string]func() (azcore.TokenCredential, error){
		"certificate":       func() (azcore.TokenCredential, error) { return w.certificate(), nil },
		"workload identity": func() (azcore.TokenCredential, error) { return WorkloadIdentity(w.authority(), w.lab.AppID()) },
		"managed identity":  func() (azcore.TokenCredential, error) { return ManagedIdentity("") },
	}
	for name, way := range ways {
		cred, err := way()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := vault.OpenFrom(t.Context(), w.keeper(func(o *Options) { o.Credential = cred })); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	proof.Ran(t, "vault.keyvault", "Microsoft's SDK against the pretend vault: %d ways to sign in, each unwraps the master key", len(ways))
}

func TestWhatTheVaultRefusesHasAKindAndAWayOut(t *testing.T) {
	w := newWorld(t)
	if err := vault.CreateAt(t.Context(), w.keeper(nil)); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		state pretend.State
		kind  drover.Kind
		says  string
		hint  string
		wait  time.Duration
	}{
		"no role":          {pretend.State{Refuse: "forbidden"}, drover.Denied, "403 (ForbiddenByRbac)", "Key Vault Crypto Service Encryption User", 0},
		"a firewall":       {pretend.State{Refuse: "firewall"}, drover.Denied, "403 (ForbiddenByFirewall)", "network rules", 0},
		"a disabled key":   {pretend.State{Refuse: "disabled"}, drover.Denied, "403 (KeyDisabled)", "enable it again", 0},
		"a deleted key":    {pretend.State{Refuse: "gone"}, drover.Denied, "404 (KeyNotFound)", "recover it", 0},
		"asked too often":  {pretend.State{Refuse: "throttled", RetryAfter: "40"}, drover.Throttled, "429 (Throttled)", "try again later", 40 * time.Second},
		"a broken service": {pretend.State{Refuse: "broken"}, drover.Transient, "500 (InternalServerError)", "try again later", 0},
	} {
		t.Run(name, func(t *testing.T) {
			w.lab.KeyVault().Set(tt.state)
			defer w.lab.KeyVault().Set(pretend.State{})
			k := w.keeper(nil)
			_, err := k.Read(t.Context())
			if drover.KindOf(err) != tt.kind || errors.Is(err, vault.ErrNoKey) || !strings.Contains(fmt.Sprint(err), tt.says) || !strings.Contains(drover.HintOf(err), tt.hint) || drover.WaitOf(err) != tt.wait {
				t.Errorf("got %v, hint %q, wait %v", err, drover.HintOf(err), drover.WaitOf(err))
			}
		})
	}
	// Where nobody answers, and where Entra gives no token.
	nobody := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("nobody is there") }}}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(0, cancel) // what it waits between tries is not waited for here
	if _, err := w.keeper(func(o *Options) { o.HTTP = nobody }).Read(ctx); drover.KindOf(err) != drover.Transient || drover.HintOf(err) == "" {
		t.Errorf("nobody: %v", err)
	}
	cert, key := w.lab.AppCertificate()
	stranger, err := Certificate(w.authority(), "11111111-1111-4111-8111-111111111111", cert, drover.NewSecret(key))
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.keeper(func(o *Options) { o.Credential = stranger }).Read(t.Context())
	var e *drover.Error
	if !errors.As(err, &e) || e.Kind != drover.Denied || e.Code != "AADSTS700016" || len(err.Error()) > 200 {
		t.Errorf("an app that is not there: %v", err)
	}
	if file, err := os.ReadFile(w.opt.File); err != nil || len(file) == 0 {
		t.Errorf("the file has changed: %v", err)
	}
}

func TestATokenIsAskedForOneResourceAlone(t *testing.T) {
	w := newWorld(t)
	if err := vault.CreateAt(t.Context(), w.keeper(nil)); err != nil {
		t.Fatal(err)
	}
	before := w.asks.Load()
	// The vault names https://vault.azure.net, whatever the name by which it is asked.
	for name, change := range map[string]func(*Options){
		"another domain":        func(o *Options) { o.URL = "https://drover.vault.azure.net.evil.example" },
		"another named one":     func(o *Options) { o.Resource = "https://vault.azure.cn" },
		"a look-alike of a URL": func(o *Options) { o.Resource = "https://vault.azure.net.evil.example" },
	} {
		k := w.keeper(change)
		if _, err := k.Newest(t.Context()); err == nil {
			t.Errorf("%s: got an answer", name)
		}
	}
	if n := w.asks.Load() - before; n != 0 {
		t.Errorf("%d tokens were asked for", n)
	}
	for _, u := range []string{"http://drover.vault.azure.net", "https://drover.vault.azure.net/keys/x", "https://u:p@drover.vault.azure.net", "https://drover.vault.azure.net?x=1", "drover"} {
		if _, err := New(Options{URL: u}); err == nil {
			t.Errorf("%s was taken", u)
		}
	}
}
