package entra

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"sync"

	"golang.org/x/oauth2"

	"drover"
)

// SignInOptions say what a sign-in is for.
type SignInOptions struct {
	// Source is the one whose API the person's token is for; "": only who they
	// are is asked.
	Source drover.SourceID
	// V1 asks the v1 endpoints, by resource. The SIEM API's are those in any case.
	V1 bool
	// Redirect is registered for the app, byte for byte but for the port of
	// http://localhost. Unused by a device's sign-in.
	Redirect string
}

// BrowserSignIn is one person's sign-in in a browser: authorization code with PKCE
// S256, state and nonce (reference entra-oauth §2). It works once. Safe for
// concurrent use.
type BrowserSignIn struct {
	k        *Tokens
	r        request
	redirect string
	verifier drover.Secret
	nonce    drover.Secret
	state    state

	mu   sync.Mutex
	used bool
}

const opSignIn = "sign in"

// errOnce is what a second answer to one sign-in gets.
var errOnce = errors.New("this sign-in has been answered already")

// BeginSignIn prepares a sign-in in the tenant's directory; without an ID, in that
// of whoever signs in, which the ID token then names. It calls nobody.
func (k *Tokens) BeginSignIn(t drover.Tenant, opt SignInOptions) (*BrowserSignIn, error) {
	r, err := k.resolve(t, opt.Source)
	if err != nil {
		return nil, err
	}
	r.old, r.anyone = opt.V1, t.ID == ""
	if r.anyone && opt.Source != "" {
		return nil, r.stop("", errors.New("a sign-in for a source's API must be in a tenant"))
	}
	return &BrowserSignIn{k: k, r: r, redirect: opt.Redirect, verifier: drover.NewSecret(oauth2.GenerateVerifier()), nonce: drover.NewSecret(rand.Text()), state: newState()}, nil
}

// URL is the page on which the person signs in. It holds state, nonce and
// challenge, none of which redeems anything.
func (s *BrowserSignIn) URL() string {
	conf := oauth2.Config{ClientID: s.r.app.ClientID, Endpoint: oauth2.Endpoint{AuthURL: s.r.at("authorize")}, RedirectURL: s.redirect}
	target := url.Values{}
	s.r.person(target)
	opts := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(s.verifier.Reveal()), oauth2.SetAuthURLParam("nonce", s.nonce.Reveal()), oauth2.SetAuthURLParam("prompt", "select_account"), oauth2.SetAuthURLParam("response_mode", "query")}
	for name := range target {
		opts = append(opts, oauth2.SetAuthURLParam(name, target.Get(name)))
	}
	return conf.AuthCodeURL(s.state.text.Reveal(), opts...)
}

// person names what a person signs in for, as the endpoint wants it. Of v1 the
// resource must be named; that of Graph says no more than who they are.
func (r request) person(form url.Values) {
	resource := r.cloud.Resource(r.source)
	switch {
	case r.scopes != nil:
		form.Set("scope", resource+"/"+strings.Join(r.scopes, " "+resource+"/")+" openid profile")
	case r.v1():
		form.Set("resource", resource)
	case r.source == "":
		form.Set("scope", "openid profile")
	default:
		form.Set("scope", resource+"/.default offline_access openid profile")
	}
}

// Mine reports whether what came to the redirect belongs to this sign-in, by
// its state. What does not must change nothing.
func (s *BrowserSignIn) Mine(q url.Values) bool { return s.state.is(q) }

// Finish takes what came to the redirect, redeems its code once, and says who
// signed in. The refresh token is empty if only that was asked. Errors are
// *drover.Error; after one of them, and after a success, the sign-in is over,
// except where the answer was not its own.
func (s *BrowserSignIn) Finish(ctx context.Context, q url.Values) (drover.Person, drover.Secret, error) {
	who, got, err := s.finish(ctx, q)
	if err != nil || s.r.source == "" {
		got.refresh = drover.Secret{}
	}
	return who, got.refresh, err
}

// finish is Finish with all that was given; nothing of it after an error.
func (s *BrowserSignIn) finish(ctx context.Context, q url.Values) (drover.Person, grant, error) {
	if !s.Mine(q) {
		return drover.Person{}, grant{}, s.r.stop("begin again, and use the newest link only", errForeign)
	}
	s.mu.Lock()
	again := s.used
	s.used = true
	s.mu.Unlock()
	if again {
		return drover.Person{}, grant{}, s.r.stop("begin again", errOnce)
	}
	if err := s.r.toldBack(opSignIn, q); err != nil {
		return drover.Person{}, grant{}, err
	}
	code := q["code"]
	if len(code) != 1 || code[0] == "" {
		return drover.Person{}, grant{}, s.r.stop("begin again", errors.New("the answer holds no code"))
	}
	fields := url.Values{"grant_type": {"authorization_code"}, "code": code, "redirect_uri": {s.redirect}, "code_verifier": {s.verifier.Reveal()}}
	s.r.person(fields)
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	got, err := s.k.send(ctx, s.r, fields, true)
	if err != nil {
		return drover.Person{}, grant{}, unsure(err)
	}
	who, err := s.r.whose(got, s.nonce, s.k.now())
	if err != nil {
		return who, grant{}, err
	}
	return who, got, nil
}

// unsure adds to a redemption without an answer that it is not repeated: it may
// have worked, and a code works once.
func unsure(err error) error {
	if de, ok := errors.AsType[*drover.Error](err); ok {
		e := *de
		e.Op = opSignIn
		if e.Kind == drover.Transient && e.Hint == "" {
			e.Hint = "the code may have been used up: sign in again"
		}
		return &e
	}
	return err
}

// stop ends a sign-in.
func (r request) stop(hint string, err error) error {
	return &drover.Error{Op: opSignIn, Tenant: r.tenant.ID, Kind: drover.Denied, Hint: hint, Err: err}
}

// toldBack reads the error of an answer that came by redirect; nil if it holds
// none. Its text is not repeated.
func (r request) toldBack(op string, q url.Values) error {
	if !q.Has("error") {
		return nil
	}
	var a answer
	a.Description, _ = json.Marshal(q.Get("error_description"))
	code, remedy, known := decide(a.numbers())
	word := aWord(q.Get("error"))
	if !known {
		remedy = byWord(word)
		if code != 0 {
			remedy.Why, remedy.Do = unknown.Why, unknown.Do
		}
	}
	hint := remedy.Hint()
	if word == "access_denied" || word == "permission_denied" || code == 65004 {
		remedy.Class, hint = Consent, "whoever was asked has declined; begin again when they agree"
	}
	kind := drover.Denied
	if remedy.Kind == drover.Transient {
		kind = drover.Transient
	}
	return &drover.Error{Op: op, Tenant: r.tenant.ID, Kind: kind, Hint: hint, Code: word, Err: &Refusal{Code: code, Word: word, Class: remedy.Class, Told: a.told()}}
}

// state ties an answer to the attempt that it is for.
type state struct{ text drover.Secret }

// newState draws one of at least 128 bits.
func newState() state { return state{drover.NewSecret(rand.Text())} }

// errForeign is what an answer with another state gets.
var errForeign = errors.New("the answer belongs to another sign-in")

// is compares in constant time. Two states in one answer are none.
func (s state) is(q url.Values) bool {
	got := q["state"]
	return len(got) == 1 && got[0] != "" && s.text.Equal(drover.NewSecret(got[0]))
}

// Pasted looks for this sign-in's answer in text that a person has pasted: an
// address, or many of them, old ones and other people's among them. Only an
// address at the redirect with our state counts; of several the last. Nothing
// of the text is kept.
func (s *BrowserSignIn) Pasted(text string) (q url.Values, ok bool) {
	want, err := url.Parse(s.redirect)
	if err != nil {
		return nil, false
	}
	for word := range strings.FieldsSeq(text) {
		u, err := url.Parse(strings.Trim(word, `"'<>`))
		if err != nil || u.User != nil || !strings.EqualFold(u.Scheme, want.Scheme) || !strings.EqualFold(u.Host, want.Host) || strings.TrimSuffix(u.Path, "/") != strings.TrimSuffix(want.Path, "/") {
			continue
		}
		if v, err := url.ParseQuery(u.RawQuery); err == nil && s.Mine(v) {
			q, ok = url.Values{"state": v["state"]}, true
			for _, name := range []string{"code", "error", "error_description"} {
				if v.Has(name) {
					q[name] = v[name]
				}
			}
		}
	}
	return q, ok
}
