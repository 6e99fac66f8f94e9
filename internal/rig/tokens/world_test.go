package tokens

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"drover"
	"drover/internal/entra"
	"drover/internal/lab"
	"drover/internal/ledger/sqlite"
	"drover/internal/signin"
	"drover/internal/vault"
)

// The names by which the pretend cloud is configured.
const (
	cloudName = "lab"
	appName   = "app"
	base      = "https://login.lab.test"
)

// world is a pretend cloud that notes what becomes of refresh tokens.
type world struct {
	*testing.T
	lab   *lab.Lab
	reads atomic.Int64 // access tokens that reading got

	mu     sync.Mutex
	dead   bool     // the network is gone
	calls  []call   // redemptions that were asked for
	issued []string // refresh tokens in the order of their birth
	states []func() // what Entra knew after so many redemptions that it answered
	keeps  bool     // states are kept
}

// call is one redemption.
type call struct {
	at     time.Time
	tenant string
	token  string
	ok     bool
}

func newWorld(t *testing.T, customers int) *world {
	t.Helper()
	l, err := lab.New(lab.Options{Seed: 1, Customers: customers})
	if err != nil {
		t.Fatal(err)
	}
	return &world{T: t, lab: l}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// tenant is a customer as the ledger has it.
func (w *world) tenant(i int) drover.Tenant {
	c := w.lab.Customers()[i]
	return drover.Tenant{ID: drover.TenantID(c.Tenant), Name: c.Name, Customer: drover.CustomerID(c.Name), Cloud: cloudName, App: appName, State: drover.Active, Sources: []drover.SourceID{drover.GraphAlerts}}
}

// signIn has a person sign in at the tenant.
func (w *world) signIn(t drover.Tenant) drover.Secret {
	token := w.lab.Directory().GiveRefreshToken(string(t.ID), w.lab.AppID(), "analyst@mssp.example")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.issued = append(w.issued, token)
	return drover.NewSecret(token)
}

// ServeHTTP is the cloud.
func (w *world) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	var buf bytes.Buffer
	_, _ = buf.ReadFrom(r.Body)
	form, _ := url.ParseQuery(buf.String())
	r.Body = readCloser{bytes.NewReader(buf.Bytes())}
	rec := httptest.NewRecorder()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lab.Handler().ServeHTTP(rec, r)
	if old := form.Get("refresh_token"); old != "" {
		var got struct {
			Refresh string `json:"refresh_token"`
		}
		_ = json.Unmarshal(rec.Body.Bytes(), &got)
		w.calls = append(w.calls, call{time.Now(), firstSegment(r.URL.Path), old, rec.Code == http.StatusOK})
		if got.Refresh != "" {
			w.issued = append(w.issued, got.Refresh)
		}
		if w.keeps && rec.Code == http.StatusOK {
			w.states = append(w.states, w.lab.Directory().KeepRefreshTokens())
		}
	}
	for name, values := range rec.Header() {
		out.Header()[name] = values
	}
	out.WriteHeader(rec.Code)
	_, _ = out.Write(rec.Body.Bytes())
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

func firstSegment(path string) string {
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			return path[1:i]
		}
	}
	return path
}

// HTTPClient leads to the cloud without a network: it is an entra.Doer.
func (w *world) HTTPClient(string, int64) *http.Client {
	return &http.Client{Transport: w, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// RoundTrip asks the cloud.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	gone := w.dead
	w.mu.Unlock()
	if gone {
		return nil, context.DeadlineExceeded
	}
	rec := httptest.NewRecorder()
	r = r.Clone(r.Context())
	r.Host = r.URL.Host
	w.ServeHTTP(rec, r)
	res := rec.Result()
	res.Request = r
	return res, nil
}

// count says how many redemptions were asked for.
func (w *world) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.calls)
}

// born says which of the tokens one is, -1 for none.
func (w *world) born(token drover.Secret) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Index(w.issued, token.Reveal())
}

// tokens is a process's way to access tokens.
func tokensOf(doer entra.Doer, at, client string, app entra.App, store entra.RefreshStore) (*entra.Tokens, error) {
	clouds, err := entra.NewClouds(entra.Cloud{Name: cloudName, Authority: at, Graph: at, GraphResource: "https://graph.microsoft.com", AllowPrivate: true})
	if err != nil {
		return nil, err
	}
	app.Name, app.ClientID = appName, client
	return entra.New(entra.Options{HTTP: func(entra.Cloud) entra.Doer { return doer }, Clouds: clouds, Apps: map[string]entra.App{appName: app}, Refresh: store}), nil
}

func (w *world) secret() entra.App {
	return entra.App{Secret: func() (drover.Secret, error) { return drover.NewSecret(w.lab.AppSecret()), nil }}
}

func (w *world) tokens(store entra.RefreshStore) *entra.Tokens {
	w.Helper()
	k, err := tokensOf(w, base, w.lab.AppID(), w.secret(), store)
	w.must(err)
	return k
}

// signIns keeps refresh tokens in a ledger as cmd/drover does.
func signIns(l signin.Ledger, at string) *signin.Store {
	return &signin.Store{Ledger: func() signin.Ledger { return l }, Cloud: func(t drover.Tenant) (string, string) { return t.Cloud, at }}
}

// open opens the ledger below dir with a master key.
func open(dir, key string) (*sqlite.Store, error) {
	v, err := vault.Open(vault.Source{File: key})
	if err != nil {
		return nil, err
	}
	return sqlite.Open(context.Background(), sqlite.Options{Dir: filepath.Join(dir, "ledger"), Vault: v, Place: "rig"})
}

// newKey makes a master key.
func newKey(t *testing.T) string {
	t.Helper()
	key := filepath.Join(t.TempDir(), "keys", "k")
	if err := vault.Create(key); err != nil {
		t.Fatal(err)
	}
	return key
}
