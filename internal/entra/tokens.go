package entra

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"drover"
	"drover/internal/httpx"
)

// Doer makes HTTP calls; *httpx.Client is the one used.
type Doer interface {
	Do(ctx context.Context, r httpx.Request) (*httpx.Response, error)
}

// App is one of the MSSP's app registrations.
type App struct {
	Name     string
	ClientID string
	// Secret returns the client secret; nil if a certificate is used.
	Secret func() (drover.Secret, error)
	// Certificate returns the certificate; nil if a secret is used.
	Certificate func() (*Certificate, error)
}

// Refresh keeps a tenant's delegated refresh token.
type Refresh struct {
	Token    drover.Secret
	Previous drover.Secret // until the new one has worked once
	Version  uint64
}

// ErrConflict is what a RefreshStore returns when the version has changed.
var ErrConflict = errors.New("the refresh token was changed by someone else in the meantime")

// RefreshStore keeps refresh tokens. Save returns once the token is on disk.
type RefreshStore interface {
	// Load returns ok false if the tenant has none: then it is read with the
	// app's own permissions.
	Load(ctx context.Context, t drover.Tenant) (r Refresh, ok bool, err error)
	Save(ctx context.Context, t drover.Tenant, r Refresh) error
}

// Options of Tokens. HTTP, Clouds and Apps are required.
type Options struct {
	HTTP    func(Cloud) Doer // the client for a cloud's authority
	Clouds  Clouds
	Apps    map[string]App
	Refresh RefreshStore // nil: no tenant is read with delegated tokens
}

// Tokens gets and keeps access tokens. Safe for concurrent use.
type Tokens struct {
	opt Options

	mu     sync.Mutex
	cache  map[slot]*entry
	paused map[string]time.Time // by client ID: no token calls before
}

// slot names a token.
type slot struct {
	cloud, client, resource string
	tenant                  drover.TenantID
}

// entry is one token, or why there is none. Its lock makes callers wait for
// the one request.
type entry struct {
	mu      sync.Mutex
	token   drover.Secret
	renew   time.Time // from then on a new one is asked for
	end     time.Time
	denied  error // the last refusal
	retry   time.Time
	refused int // refusals in a row
}

// New builds Tokens.
func New(opt Options) *Tokens {
	return &Tokens{opt: opt, cache: make(map[slot]*entry), paused: make(map[string]time.Time)}
}

// Probes of a refused token, so that parked tenants do not ask for ever.
const (
	firstProbe  = 30 * time.Second
	lastProbe   = time.Hour
	renewBefore = 5 * time.Minute
	callTimeout = time.Minute
)

// Token returns an access token of the tenant for a source. Errors are
// *drover.Error.
func (k *Tokens) Token(ctx context.Context, t drover.Tenant, source drover.SourceID) (drover.Secret, error) {
	app, ok := k.opt.Apps[t.App]
	if !ok {
		return drover.Secret{}, denied(t, "define it under apps: in the config", fmt.Errorf("there is no app named %q", t.App))
	}
	cloud, err := k.opt.Clouds.Of(t)
	if err != nil {
		return drover.Secret{}, err
	}
	s := slot{cloud.Name, app.ClientID, cloud.Resource(source), t.ID}
	k.mu.Lock()
	e := k.cache[s]
	if e == nil {
		e = &entry{}
		k.cache[s] = e
	}
	k.mu.Unlock()

	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if !e.token.Empty() && now.Before(e.renew) {
		return e.token, nil
	}
	if e.denied != nil && now.Before(e.retry) {
		return drover.Secret{}, e.denied
	}
	err = k.waitTurn(app)
	if err == nil {
		err = k.get(ctx, e, t, app, cloud, source)
	}
	if err == nil {
		e.denied, e.refused = nil, 0
		return e.token, nil
	}
	// An old token is used to its end while no new one can be had.
	if !e.token.Empty() && now.Before(e.end.Add(-30*time.Second)) && drover.KindOf(err) != drover.Denied {
		return e.token, nil
	}
	if drover.KindOf(err) == drover.Denied && ctx.Err() == nil {
		e.denied, e.token = err, drover.Secret{}
		e.retry = now.Add(min(lastProbe, firstProbe<<min(e.refused, 10)))
		e.refused++
	}
	return drover.Secret{}, err
}

// Invalidate drops a token that an API did not accept, so that the next call
// gets a new one. A token that has been replaced meanwhile stays.
func (k *Tokens) Invalidate(t drover.Tenant, source drover.SourceID, token drover.Secret) {
	app := k.opt.Apps[t.App]
	cloud, err := k.opt.Clouds.Of(t)
	if err != nil {
		return
	}
	k.mu.Lock()
	e := k.cache[slot{cloud.Name, app.ClientID, cloud.Resource(source), t.ID}]
	k.mu.Unlock()
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.token.Equal(token) {
		e.token = drover.Secret{}
	}
}

// Forget drops refusals of a tenant, for a check that an operator asks for.
func (k *Tokens) Forget(id drover.TenantID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for s := range k.cache {
		if s.tenant == id {
			delete(k.cache, s)
		}
	}
}

// waitTurn refuses while the authority has asked the app to wait.
func (k *Tokens) waitTurn(app App) error {
	k.mu.Lock()
	until := k.paused[app.ClientID]
	k.mu.Unlock()
	if wait := time.Until(until); wait > 0 {
		// Back spread over ten seconds, so that tenants do not return at once.
		return &drover.Error{Op: "get a token", Kind: drover.Throttled, Wait: wait + rand.N(10*time.Second), Hint: "Entra asked the app to wait; cached tokens go on being used", Err: errors.New("token calls of the app are paused")}
	}
	return nil
}

func (k *Tokens) pause(app App, d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if until := time.Now().Add(d); until.After(k.paused[app.ClientID]) {
		k.paused[app.ClientID] = until
	}
}

// get asks for a token and checks it.
func (k *Tokens) get(ctx context.Context, e *entry, t drover.Tenant, app App, cloud Cloud, source drover.SourceID) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var saved Refresh
	delegated := false
	if k.opt.Refresh != nil {
		var err error
		if saved, delegated, err = k.opt.Refresh.Load(ctx, t); err != nil {
			return fmt.Errorf("load the refresh token: %w", err)
		}
	}
	form := url.Values{"client_id": {app.ClientID}}
	// The SIEM API's audience is one of the v1 endpoint; everything else is v2's.
	v1 := source == drover.SIEMDetections
	endpoint := cloud.Authority + "/" + string(t.ID) + "/oauth2/v2.0/token"
	if v1 {
		endpoint = cloud.Authority + "/" + string(t.ID) + "/oauth2/token"
		form.Set("resource", cloud.Resource(source))
	} else {
		form.Set("scope", cloud.Resource(source)+"/.default")
	}
	if err := authenticate(form, app, endpoint); err != nil {
		return denied(t, "check the app's credential in the config", err)
	}
	if !delegated {
		form.Set("grant_type", "client_credentials")
		got, err := k.call(ctx, t, app, cloud, endpoint, form)
		if err != nil {
			return err
		}
		return accept(e, t, cloud, source, got)
	}
	form.Set("grant_type", "refresh_token")
	if !v1 {
		form.Set("scope", cloud.Resource(source)+"/.default offline_access")
	}
	return k.refresh(ctx, e, t, app, cloud, source, endpoint, form, saved)
}

// refresh redeems a refresh token. What comes with the access token is saved
// before the access token is used; if the newest is refused, the one before it
// is tried once (reference faults T03).
func (k *Tokens) refresh(ctx context.Context, e *entry, t drover.Tenant, app App, cloud Cloud, source drover.SourceID, endpoint string, form url.Values, saved Refresh) error {
	form.Set("refresh_token", saved.Token.Reveal())
	got, err := k.call(ctx, t, app, cloud, endpoint, form)
	used := saved.Token
	if err != nil && isGrantEnded(err) && !saved.Previous.Empty() {
		form.Set("refresh_token", saved.Previous.Reveal())
		if second, again := k.call(ctx, t, app, cloud, endpoint, form); again == nil {
			got, err, used = second, nil, saved.Previous
		}
	}
	if err != nil {
		return err
	}
	next := Refresh{Token: got.refresh, Previous: used, Version: saved.Version}
	if next.Token.Empty() {
		next.Token = used // no new one: the old one stays good
	}
	if !next.Token.Equal(saved.Token) || !saved.Previous.Empty() {
		if next.Token.Equal(used) {
			next.Previous = drover.Secret{}
		}
		switch err := k.opt.Refresh.Save(ctx, t, next); {
		case errors.Is(err, ErrConflict):
			// Somebody else renewed at the same time; theirs is kept, and
			// ours works beside it.
		case err != nil:
			return fmt.Errorf("save the new refresh token: %w", err)
		}
	}
	return accept(e, t, cloud, source, got)
}

func isGrantEnded(err error) bool {
	var e *drover.Error
	return errors.As(err, &e) && e.Kind == drover.Denied && strings.HasPrefix(e.Code, "AADSTS")
}

// authenticate adds the app's credential to the form.
func authenticate(form url.Values, app App, endpoint string) error {
	if app.Certificate != nil {
		cert, err := app.Certificate()
		if err != nil {
			return err
		}
		a, err := cert.assertion(app.ClientID, endpoint, time.Now())
		if err != nil {
			return err
		}
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", a.Reveal())
		return nil
	}
	if app.Secret == nil {
		return errors.New("the app has neither secret nor certificate")
	}
	s, err := app.Secret()
	if err != nil {
		return err
	}
	if err := CheckSecret(s); err != nil {
		return err
	}
	form.Set("client_secret", s.Reveal())
	return nil
}

// grant is a successful answer of a token endpoint.
type grant struct {
	access, refresh drover.Secret
	life            time.Duration
}

// maxAnswer bounds a token answer; real ones are a few KiB.
const maxAnswer = 256 << 10

// call makes one token request. It is never repeated by itself: a grant may
// work only once.
func (k *Tokens) call(ctx context.Context, t drover.Tenant, app App, cloud Cloud, endpoint string, form url.Values) (grant, error) {
	h := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}, "Client-Request-Id": {newGUID()}, "Return-Client-Request-Id": {"true"}}
	res, err := k.opt.HTTP(cloud).Do(ctx, httpx.Request{Method: http.MethodPost, URL: endpoint, Header: h, Body: []byte(form.Encode()), MaxBody: maxAnswer})
	if err != nil {
		return grant{}, &drover.Error{Op: "get a token", Tenant: t.ID, Kind: drover.Transient, Err: err}
	}
	if res.Status == http.StatusOK && !httpx.IsHTML(res) {
		if g, ok := parseGrant(res.Body); ok {
			return g, nil
		}
		return grant{}, &drover.Error{Op: "get a token", Tenant: t.ID, Kind: drover.Transient, Err: errors.New("the answer holds no token")}
	}
	return grant{}, k.refusal(t, app, res)
}

// answer is a token endpoint's answer in all its spellings: lifetimes are
// numbers or strings (reference entra-oauth §1, §8).
type answer struct {
	AccessToken  string          `json:"access_token"`
	RefreshToken string          `json:"refresh_token"`
	TokenType    string          `json:"token_type"`
	ExpiresIn    json.RawMessage `json:"expires_in"`
	Error        string          `json:"error"`
	Description  string          `json:"error_description"`
	Codes        []int           `json:"error_codes"`
}

// Bounds of a token's life, whatever the answer says.
const (
	shortLife   = time.Minute
	defaultLife = 30 * time.Minute // if it does not say
	longLife    = 28 * time.Hour   // the longest documented
)

func parseGrant(body []byte) (g grant, ok bool) {
	var a answer
	if json.Unmarshal(body, &a) != nil || a.AccessToken == "" || a.TokenType != "" && !strings.EqualFold(a.TokenType, "Bearer") {
		return g, false
	}
	g.access, g.refresh, g.life = drover.NewSecret(a.AccessToken), drover.NewSecret(a.RefreshToken), defaultLife
	if sec, err := strconv.ParseFloat(strings.Trim(string(a.ExpiresIn), `"`), 64); err == nil {
		g.life = time.Duration(min(max(sec, shortLife.Seconds()), longLife.Seconds())) * time.Second
	}
	return g, true
}

// refusal makes an error of an answer that is not a token. The number decides;
// the word may disagree with it.
func (k *Tokens) refusal(t drover.Tenant, app App, res *httpx.Response) error {
	var a answer
	_ = json.Unmarshal(res.Body, &a) // HTML, plain text and nothing at all occur
	code := 0
	remedy := byError(a.Error)
	known := a.Error != ""
	for _, c := range codes(a) {
		if code == 0 {
			code = c
		}
		if r, ok := Explain(c); ok {
			code, remedy, known = c, r, true
			break
		}
	}
	e := &drover.Error{Op: "get a token", Tenant: t.ID, Kind: remedy.Kind, App: remedy.App, Hint: remedy.Do}
	switch {
	case code != 0:
		e.Code = "AADSTS" + strconv.Itoa(code)
		e.Err = fmt.Errorf("%s (%s, status %d)", e.Code, remedy.Class, res.Status)
	case known:
		e.Code = a.Error
		e.Err = fmt.Errorf("%s (status %d)", word(a.Error), res.Status)
	default:
		e.Kind, e.App, e.Hint = httpx.KindOf(res.Status), false, ""
		e.Err = fmt.Errorf("status %d without a reason", res.Status)
	}
	wait, told := httpx.RetryAfter(res.Header, time.Now())
	if res.Status == http.StatusTooManyRequests || e.Kind == drover.Throttled {
		e.Kind = drover.Throttled
		switch {
		case code == 50196:
			wait = max(wait, 5*time.Minute)
		case !told:
			wait = time.Minute
		}
		e.Wait = wait
		k.pause(app, wait)
	} else if told && e.Kind == drover.Transient {
		e.Kind, e.Wait = drover.Throttled, wait
	}
	return e
}

// word lets only an error word through.
func word(s string) string {
	if len(s) > 64 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return "an error"
	}
	return s
}

// codes returns the numbers of an error; the text's own if there is no list.
func codes(a answer) []int {
	if len(a.Codes) > 0 {
		return a.Codes
	}
	_, rest, ok := strings.Cut(a.Description, "AADSTS")
	if !ok {
		return nil
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	if n, err := strconv.Atoi(rest[:end]); err == nil {
		return []int{n}
	}
	return nil
}

// accept checks a token before it is used for anything, and keeps it.
func accept(e *entry, t drover.Tenant, cloud Cloud, source drover.SourceID, g grant) error {
	if err := check(t, cloud, source, g.access); err != nil {
		return err
	}
	now := time.Now()
	early := min(renewBefore, g.life/10)
	early += rand.N(early/4 + 1)
	e.token, e.end, e.renew = g.access, now.Add(g.life), now.Add(g.life-early)
	return nil
}

// claims are what is looked at. A token is opaque to its client; one that
// cannot be read is used all the same.
type claims struct {
	TID   string   `json:"tid"`
	Aud   string   `json:"aud"`
	Roles []string `json:"roles"`
	Scope string   `json:"scp"`
}

// graphAppID is the audience of some Graph tokens instead of its URL.
const graphAppID = "00000003-0000-0000-c000-000000000000"

func readClaims(token drover.Secret) (c claims, ok bool) {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return c, false
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	return c, err == nil && json.Unmarshal(b, &c) == nil
}

// check refuses a token that is for somebody or something else (reference
// faults T05).
func check(t drover.Tenant, cloud Cloud, source drover.SourceID, token drover.Secret) error {
	c, ok := readClaims(token)
	if !ok {
		return nil
	}
	if c.TID != "" && !strings.EqualFold(c.TID, string(t.ID)) {
		return denied(t, "check the tenant's ID and the authority; the token was dropped unused", errors.New("wrong tenant: the token is for another one"))
	}
	want := cloud.Resource(source)
	aud := strings.TrimSuffix(c.Aud, "/")
	_, known := builtin[cloud.Name]
	graph := source == drover.GraphAlerts && (aud == graphAppID || !known && aud == builtin["worldwide"].Graph) // custom clouds may issue Microsoft's own audience
	if aud != "" && !strings.EqualFold(aud, want) && !graph {
		return denied(t, "check the cloud's resource in the config; the token was dropped unused", errors.New("wrong audience: the token is for another API"))
	}
	wants := Wants(source)
	if wants == nil || c.Scope != "" {
		return nil
	}
	if !slices.ContainsFunc(wants, func(w string) bool { return slices.Contains(c.Roles, w) }) {
		return denied(t, "the customer's admin must consent to "+wants[0]+"; after consent some minutes may pass", errors.New("the token carries no role that reads alerts"))
	}
	return nil
}

func denied(t drover.Tenant, hint string, err error) error {
	return &drover.Error{Op: "get a token", Tenant: t.ID, Kind: drover.Denied, Hint: hint, Err: err}
}
