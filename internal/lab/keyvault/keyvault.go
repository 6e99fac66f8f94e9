// Package keyvault is a pretend Azure Key Vault: one RSA key and one AES key
// with their versions, asked for, wrapped with and unwrapped with by whoever
// brings a token for the vault. Only the documented calls are there (REST
// reference of Azure Key Vault, keys, 2025-07-01): get key, wrapkey, unwrapkey.
//
// Whoever comes without a token is told where to get one by the header
// WWW-Authenticate, as the real one does.
package keyvault

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Audience is the resource that tokens are for.
const Audience = "https://vault.azure.net"

// The keys' names.
const (
	RSAKey = "drover-master"     // RSA 2048, for RSA-OAEP-256
	AESKey = "drover-master-hsm" // oct-HSM 256, for A256KW
)

// maxBody bounds a request.
const maxBody = 64 << 10

// Caller is who a token was made for.
type Caller struct{ Tenant, App, Audience string }

// Options of a Vault.
type Options struct {
	Clock func() time.Time
	// Tenant is the directory whose apps may use the vault, App the one that
	// may.
	Tenant, App string
	// Verify reads a token, or returns an error.
	Verify func(raw string) (Caller, error)
	// Note is told of every call that is answered.
	Note func(method, path string, status int)
}

// State is what the vault makes of calls.
type State struct {
	// Refuse: "" nothing; forbidden: the app has no role; firewall: the
	// network is not allowed; disabled: the newest version of each key is; gone:
	// the keys were deleted; throttled: 429; broken: 500.
	Refuse string `json:"refuse"`
	// RetryAfter goes with throttled, as it stands in the header; "": none.
	RetryAfter string `json:"retry_after"`
	// Old is "disabled" if all versions but the newest are.
	Old string `json:"old"`
}

// Vault is the pretend vault.
type Vault struct {
	opt Options

	mu    sync.Mutex
	state State
	keys  map[string][]version // the newest last
	calls map[string]int
}

type version struct {
	id      string
	rsa     func() (*rsa.PrivateKey, error) // made when it is first used, which takes long; nil for an AES key
	aes     []byte
	created time.Time
}

// New makes a vault with one version of each key.
func New(opt Options) *Vault {
	v := &Vault{opt: opt, keys: make(map[string][]version), calls: make(map[string]int)}
	v.NewVersion()
	return v
}

// NewVersion lets a new version of each key follow.
func (v *Vault) NewVersion() {
	id, aes := make([]byte, 16), make([]byte, 32)
	_, _ = rand.Read(id)
	_, _ = rand.Read(aes)
	v.mu.Lock()
	defer v.mu.Unlock()
	made := version{id: hex.EncodeToString(id), created: v.opt.Clock()}
	made.rsa = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })
	v.keys[RSAKey] = append(v.keys[RSAKey], made)
	made.rsa, made.aes = nil, aes
	v.keys[AESKey] = append(v.keys[AESKey], made)
}

// Set changes what the vault makes of calls.
func (v *Vault) Set(s State) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.state = s
}

// Newest is the newest version of the keys.
func (v *Vault) Newest() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.keys[RSAKey][len(v.keys[RSAKey])-1].id
}

// Calls is how many calls of a name (get, wrapkey, unwrapkey) were answered
// with success.
func (v *Vault) Calls(name string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.calls[name]
}

// Control shows the vault's state (GET) and changes it (POST): a State, and
// "new_version": true for another version of the keys.
func (v *Vault) Control(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		var in struct {
			State
			NewVersion bool `json:"new_version"`
		}
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&in); err != nil || !slices.Contains([]string{"", "forbidden", "firewall", "disabled", "gone", "throttled", "broken"}, in.Refuse) || in.Old != "" && in.Old != "disabled" {
			http.Error(w, "a state is a JSON object of refuse (forbidden, firewall, disabled, gone, throttled, broken), retry_after, old (disabled) and new_version", http.StatusBadRequest)
			return
		}
		v.Set(in.State)
		if in.NewVersion {
			v.NewVersion()
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	versions := make(map[string][]string)
	for name, list := range v.keys {
		for _, k := range list {
			versions[name] = append(versions[name], k.id)
		}
	}
	answer(w, http.StatusOK, map[string]any{"state": v.state, "versions": versions, "calls": v.calls})
}

// fault is an answer of Key Vault's that is an error.
type fault struct {
	status            int
	code, inner, text string
}

func (f *fault) write(w http.ResponseWriter) {
	body := map[string]any{"code": f.code, "message": f.text}
	if f.inner != "" {
		body["innererror"] = map[string]string{"code": f.inner}
	}
	answer(w, f.status, map[string]any{"error": body})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// ServeHTTP answers /keys/{name}/{version} and what lies below. It takes paths
// as they come: an empty version stands between two slashes.
func (v *Vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seen := &recorder{ResponseWriter: w, status: http.StatusOK}
	v.serve(seen, r)
	if v.opt.Note != nil {
		v.opt.Note(r.Method, r.URL.Path, seen.status)
	}
}

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (v *Vault) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		(&fault{http.StatusRequestEntityTooLarge, "BadParameter", "", "The request is too large."}).write(w)
		return
	}
	if f := v.allowed(w, r); f != nil {
		f.write(w)
		return
	}
	out, f := v.call(r, body)
	if f != nil {
		f.write(w)
		return
	}
	answer(w, http.StatusOK, out)
}

// allowed judges the caller.
func (v *Vault) allowed(w http.ResponseWriter, r *http.Request) *fault {
	v.mu.Lock()
	state := v.state
	v.mu.Unlock()
	challenge := func(why string) *fault {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer authorization="https://login.microsoftonline.com/%s", resource="%s"`, v.opt.Tenant, Audience))
		return &fault{http.StatusUnauthorized, "Unauthorized", "", why}
	}
	raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return challenge("AKV10000: Request is missing a Bearer or PoP token.")
	}
	c, err := v.opt.Verify(raw)
	switch {
	case err != nil:
		return challenge("AKV10001: Error validating token.")
	case c.Audience != Audience:
		return challenge("AKV10022: Invalid audience. Expected " + Audience + ", found: " + c.Audience + ".")
	case c.Tenant != v.opt.Tenant:
		return challenge("AKV10032: Invalid issuer.")
	case state.Refuse == "throttled":
		if state.RetryAfter != "" {
			w.Header().Set("Retry-After", state.RetryAfter)
		}
		return &fault{http.StatusTooManyRequests, "Throttled", "", "Request was not processed because too many requests were received. Reason: VaultRequestTypeLimitReached"}
	case state.Refuse == "broken":
		return &fault{http.StatusInternalServerError, "InternalServerError", "", "The service encountered an error."}
	case state.Refuse == "firewall":
		return &fault{http.StatusForbidden, "Forbidden", "ForbiddenByFirewall", "Client address is not authorized and caller is not a trusted service."}
	case state.Refuse == "forbidden", v.opt.App != "" && c.App != v.opt.App:
		return &fault{http.StatusForbidden, "Forbidden", "ForbiddenByRbac", "Caller is not authorized to perform action on resource. Action: 'Microsoft.KeyVault/vaults/keys/unwrap/action'"}
	}
	return nil
}

// call does what the path names.
func (v *Vault) call(r *http.Request, body []byte) (any, *fault) {
	if r.URL.Query().Get("api-version") == "" {
		return nil, &fault{http.StatusBadRequest, "BadParameter", "", "api-version must be specified"}
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	for len(parts) < 4 {
		parts = append(parts, "")
	}
	name, id, what := parts[1], parts[2], parts[3]
	v.mu.Lock()
	defer v.mu.Unlock()
	list := v.keys[name]
	if parts[0] != "keys" || len(parts) > 4 || len(list) == 0 || v.state.Refuse == "gone" {
		return nil, &fault{http.StatusNotFound, "KeyNotFound", "", "A key with (name/id) " + name + "/" + id + " was not found in this key vault. If you recently deleted this key you may be able to recover it using the correct recovery command."}
	}
	k := &list[len(list)-1]
	if id != "" {
		i := slices.IndexFunc(list, func(k version) bool { return k.id == id })
		if i < 0 {
			return nil, &fault{http.StatusNotFound, "KeyNotFound", "", "A key with (name/id) " + name + "/" + id + " was not found in this key vault."}
		}
		k = &list[i]
	}
	newest := k == &list[len(list)-1]
	enabled := !(newest && v.state.Refuse == "disabled" || !newest && v.state.Old == "disabled")
	kid := "https://" + r.Host + "/keys/" + name + "/" + k.id
	if what == "" && r.Method == http.MethodGet {
		public, err := k.public(kid)
		if err != nil {
			return nil, &fault{http.StatusInternalServerError, "InternalServerError", "", "The service encountered an error."}
		}
		v.calls["get"]++
		return map[string]any{"key": public, "attributes": map[string]any{"enabled": enabled, "created": k.created.Unix(), "updated": k.created.Unix(), "recoveryLevel": "Recoverable+Purgeable"}}, nil
	}
	if r.Method != http.MethodPost || what != "wrapkey" && what != "unwrapkey" {
		return nil, &fault{http.StatusMethodNotAllowed, "BadParameter", "", "Method " + r.Method + " does not allow operation '" + what + "'"}
	}
	if !enabled {
		return nil, &fault{http.StatusForbidden, "Forbidden", "KeyDisabled", "Operation " + strings.TrimSuffix(what, "key") + " is not allowed on a disabled key."}
	}
	var in struct{ Alg, Value string }
	value, err := []byte(nil), json.Unmarshal(body, &in)
	if err == nil {
		value, err = base64.RawURLEncoding.DecodeString(in.Value)
	}
	if err != nil {
		return nil, &fault{http.StatusBadRequest, "BadParameter", "", "Property value has invalid value"}
	}
	out, err := k.wrap(in.Alg, value, what == "unwrapkey")
	if err != nil {
		return nil, &fault{http.StatusBadRequest, "BadParameter", "", err.Error()}
	}
	v.calls[what]++
	return map[string]any{"kid": kid, "value": base64.RawURLEncoding.EncodeToString(out)}, nil
}

// public is what is shown of a key.
func (k *version) public(kid string) (map[string]any, error) {
	out := map[string]any{"kid": kid, "key_ops": []string{"wrapKey", "unwrapKey"}}
	if k.rsa == nil {
		out["kty"] = "oct-HSM"
		return out, nil
	}
	key, err := k.rsa()
	if err != nil {
		return nil, err
	}
	out["kty"] = "RSA"
	out["n"] = base64.RawURLEncoding.EncodeToString(key.N.Bytes())
	out["e"] = base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes())
	return out, nil
}

var (
	errAlgorithm = errors.New("Key and signing algorithm are incompatible.")
	errValue     = errors.New("The parameter is incorrect.")
)

// wrap wraps a value, or unwraps one.
func (k *version) wrap(alg string, value []byte, back bool) (out []byte, err error) {
	switch {
	case alg == "RSA-OAEP-256" && k.rsa != nil:
		key, kerr := k.rsa()
		if err = kerr; err == nil && back {
			out, err = rsa.DecryptOAEP(sha256.New(), nil, key, value, nil)
		} else if err == nil {
			out, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, &key.PublicKey, value, nil)
		}
	case alg == "A256KW" && k.aes != nil && back:
		return unwrapAES(k.aes, value)
	case alg == "A256KW" && k.aes != nil:
		return wrapAES(k.aes, value)
	default:
		return nil, errAlgorithm
	}
	if err != nil {
		return nil, errValue
	}
	return out, nil
}
