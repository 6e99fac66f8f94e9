// Package keyvault keeps the master keys wrapped by a key in Azure Key Vault,
// which never leaves it: on this machine lies a file that nobody can open
// without asking the vault.
//
// Calls and their challenge are Microsoft's SDK's (azkeys), tokens too
// (azidentity). What this package adds:
//
//   - A token is asked for the one resource that the vault is known by, and sent
//     to the one vault that is configured. Neither is taken from an answer.
//   - The version of the key that wrapped is written beside what it wrapped, and
//     no other is asked to unwrap it.
//   - What was wrapped is unwrapped once before it counts.
//   - Errors hold Microsoft's codes and what to do, no text of answers.
package keyvault

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"drover"
	"drover/internal/vault"
)

// Options of a Keeper. All but Version and Resource are required.
type Options struct {
	URL       string // of the vault, https and without a path
	Key       string // its name
	Version   string // that wraps what is new; "": the newest
	Algorithm string // RSA-OAEP-256 or A256KW
	File      string // holds what is wrapped
	// Resource is what tokens are for: by default the vault's host without its
	// own name, https://vault.azure.net.
	Resource   string
	Credential azcore.TokenCredential
	HTTP       *http.Client // to the vault
}

// Limits of a call. What the vault asks to wait beyond maxWait is handed on to
// the caller, who tries again anyway.
const (
	tries   = 3
	tryFor  = 20 * time.Second
	callFor = time.Minute
	maxWait = 5 * time.Second
)

// Keeper is a vault.Keeper.
type Keeper struct {
	opt    Options
	client *azkeys.Client
}

var _ vault.Keeper = (*Keeper)(nil)

// New builds a keeper. It asks nobody yet.
func New(opt Options) (*Keeper, error) {
	u, err := url.Parse(opt.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("the vault %q is not an https URL without a path", opt.URL)
	}
	opt.URL = "https://" + strings.ToLower(u.Host)
	known := opt.Resource != ""
	if !known {
		_, domain, _ := strings.Cut(u.Hostname(), ".")
		opt.Resource = "https://" + domain
	}
	client, err := azkeys.NewClient(opt.URL, &oneResource{opt.Credential, strings.TrimSuffix(opt.Resource, "/") + "/.default"}, &azkeys.ClientOptions{
		// oneResource asks for more: that the resource is this one.
		DisableChallengeResourceVerification: known,
		ClientOptions: azcore.ClientOptions{
			Transport: opt.HTTP,
			Retry:     policy.RetryOptions{MaxRetries: tries - 1, TryTimeout: tryFor, RetryDelay: time.Second, MaxRetryDelay: maxWait},
			Telemetry: policy.TelemetryOptions{Disabled: true},
		},
	})
	if err != nil {
		return nil, err
	}
	return &Keeper{opt, client}, nil
}

// errResource: the vault names another resource than its own.
var errResource = errors.New("the vault asks for a token that is for something else")

// oneResource gives tokens for one resource, of the directory that the
// credential itself is in, whatever a challenge says.
type oneResource struct {
	azcore.TokenCredential
	scope string
}

func (o *oneResource) GetToken(ctx context.Context, opt policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(opt.Scopes) != 1 || !strings.EqualFold(opt.Scopes[0], o.scope) {
		return azcore.AccessToken{}, errResource
	}
	return o.TokenCredential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{o.scope}, EnableCAE: opt.EnableCAE, Claims: opt.Claims})
}

// String names the place.
func (k *Keeper) String() string {
	return "the Key Vault key " + k.opt.URL + "/keys/" + k.opt.Key + " with " + k.opt.File
}

// File is the path of what is wrapped.
func (k *Keeper) File() string { return k.opt.File }

// ReadOnly is "": wrapping is all that it takes.
func (k *Keeper) ReadOnly() string { return "" }

// wrapped is a line of the file: a master key under a version of the vault's.
type wrapped struct {
	id, alg, kid string
	value        []byte
}

const linePrefix = "drover-wrapped-1"

func (w *wrapped) line() string {
	return strings.Join([]string{linePrefix, w.id, w.alg, w.kid, base64.StdEncoding.EncodeToString(w.value)}, " ") + "\n"
}

// version is that of the key that wrapped, "" if another key did.
func (k *Keeper) version(w *wrapped) string {
	version, ok := strings.CutPrefix(w.kid, k.opt.URL+"/keys/"+k.opt.Key+"/")
	if !ok || version == "" || strings.ContainsAny(version, "/?#") {
		return ""
	}
	return version
}

// load reads the file.
func (k *Keeper) load() (list []wrapped, err error) {
	text, err := vault.ReadFile(k.opt.File)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 5 || f[0] != linePrefix {
			return nil, fmt.Errorf("%s holds no master key that a Key Vault has wrapped; restore it from where it is kept", k.opt.File)
		}
		w := wrapped{id: f[1], alg: f[2], kid: f[3]}
		if w.value, err = base64.StdEncoding.DecodeString(f[4]); err != nil {
			return nil, fmt.Errorf("%s holds a damaged key; restore it from where it is kept", k.opt.File)
		}
		list = append(list, w)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s is empty; restore it from where it is kept", k.opt.File)
	}
	return list, nil
}

// Read has every key of the file unwrapped; see vault.Keeper.
func (k *Keeper) Read(ctx context.Context) (text []byte, err error) {
	list, err := k.load()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callFor)
	defer cancel()
	for i := range list {
		key, err := k.unwrap(ctx, &list[i])
		if err != nil {
			clear(text)
			return nil, err
		}
		line := vault.Line{ID: list[i].id, Key: key}.Text()
		grown := append(bytes.Clone(text), line...)
		clear(text)
		clear(line)
		clear(key)
		text = grown
	}
	return text, nil
}

func (k *Keeper) unwrap(ctx context.Context, w *wrapped) ([]byte, error) {
	version := k.version(w)
	if version == "" {
		return nil, &drover.Error{Op: "unwrap the master key", Kind: drover.Denied, Err: fmt.Errorf("%s was wrapped by %s", k.opt.File, w.kid),
			Hint: "name that vault and key under vault: key_vault:, or restore the file that belongs to " + k.opt.URL + "/keys/" + k.opt.Key}
	}
	alg := azkeys.EncryptionAlgorithm(w.alg)
	res, err := k.client.UnwrapKey(ctx, k.opt.Key, version, azkeys.KeyOperationParameters{Algorithm: &alg, Value: w.value}, nil)
	if err != nil {
		return nil, k.explain("unwrap the master key", version, err)
	}
	return res.Result, nil
}

// Write wraps what is new and replaces the file; see vault.Keeper. What was
// wrapped before stays as it is.
func (k *Keeper) Write(ctx context.Context, text []byte) error {
	lines, err := vault.Lines(text, k.String())
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range lines {
			clear(l.Key)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, callFor)
	defer cancel()
	before := make(map[string]wrapped)
	switch list, err := k.load(); {
	case err == nil:
		for _, w := range list {
			before[w.id] = w
		}
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	var out strings.Builder
	for _, l := range lines {
		w, ok := before[l.ID]
		if !ok {
			if w, err = k.wrap(ctx, l); err != nil {
				return err
			}
		}
		out.WriteString(w.line())
	}
	return vault.WriteFile(k.opt.File, []byte(out.String()))
}

func (k *Keeper) wrap(ctx context.Context, l vault.Line) (w wrapped, err error) {
	version := k.opt.Version
	if version == "" {
		if version, err = k.Newest(ctx); err != nil {
			return w, err
		}
	}
	alg := azkeys.EncryptionAlgorithm(k.opt.Algorithm)
	res, err := k.client.WrapKey(ctx, k.opt.Key, version, azkeys.KeyOperationParameters{Algorithm: &alg, Value: l.Key}, nil)
	if err != nil {
		return w, k.explain("wrap the master key", version, err)
	}
	w = wrapped{id: l.ID, alg: k.opt.Algorithm, kid: k.opt.URL + "/keys/" + k.opt.Key + "/" + version, value: res.Result}
	back, err := k.unwrap(ctx, &w)
	if err != nil {
		return w, err
	}
	defer clear(back)
	if !bytes.Equal(back, l.Key) {
		return w, &drover.Error{Op: "wrap the master key", Kind: drover.Denied, Err: errors.New("what was wrapped does not unwrap to the same"), Hint: "nothing was changed; is the key of the kind that " + k.opt.Algorithm + " is for?"}
	}
	return w, nil
}

// Newest is the newest version of the vault's key.
func (k *Keeper) Newest(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callFor)
	defer cancel()
	res, err := k.client.GetKey(ctx, k.opt.Key, "", nil)
	if err != nil {
		return "", k.explain("look up the key", "", err)
	}
	if res.Key == nil || res.Key.KID == nil || res.Key.KID.Version() == "" {
		return "", &drover.Error{Op: "look up the key", Kind: drover.Transient, Err: errors.New("the vault does not say which version its key has"), Hint: "name one: vault: key_vault: version:"}
	}
	return res.Key.KID.Version(), nil
}

// Wrapping is a master key and the version of the vault's key that wraps it.
type Wrapping struct {
	ID      string `json:"id"`
	Version string `json:"version"`
}

// Wrappings lists what the file holds, the newest last.
func (k *Keeper) Wrappings() (out []Wrapping, err error) {
	list, err := k.load()
	for i := range list {
		out = append(out, Wrapping{list[i].id, k.version(&list[i])})
	}
	return out, err
}
