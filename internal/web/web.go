// Package web serves the page that invitations lead to: a customer's admin opens
// a link, sees who asks for what, signs in, consents, and sees what came of it.
// It has a listener of its own and shares no route with any other.
//
// It promises (reference faults T06, T14, T17; design §7):
//
//   - A GET of a link changes nothing, however often a scanner fetches it. What
//     changes something is a form that the same browser was given.
//   - The link's token stands in one address, that of the first page; everything
//     behind it goes by a cookie of that browser alone.
//   - No page holds a script, and none needs one.
//   - Nothing that comes in is shown or logged but what the ledger holds.
package web

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"drover"
	"drover/internal/ledger"
)

// Desk does what the pages ask for.
type Desk interface {
	// Find and Session look, and change nothing. ledger.ErrNotFound.
	Find(ctx context.Context, link drover.Hash) (ledger.Invitation, error)
	Session(ctx context.Context, session drover.Hash) (ledger.Invitation, error)
	// Begin starts a sign-in in a browser, Consent an admin's consent; both
	// return the page at Entra.
	Begin(ctx context.Context, i ledger.Invitation, session drover.Hash) (page string, err error)
	Consent(ctx context.Context, session drover.Hash) (page string, err error)
	// Answer takes what a browser brought back.
	Answer(ctx context.Context, session drover.Hash, q url.Values) error
}

// Options of a Server. All but Contact and Log are required.
type Options struct {
	Desk Desk
	// URL is the public address of the page; its path is where the routes begin.
	URL string
	// MSSP is who asks, Contact how an admin reaches them.
	MSSP, Contact string
	// LinkHash is what the ledger holds of a link's token.
	LinkHash func(token string) drover.Hash
	// Permission is the permission by which a source is read, "" if its API has
	// none.
	Permission func(drover.SourceID) string
	// Leave says how an admin of that tenant takes the permission back.
	Leave func(t drover.Tenant) (Leave, error)
	// Spent and Stale tell the desk's errors: that an invitation opens nothing any
	// more, and that a sign-in was too long ago.
	Spent, Stale error
	Log          *slog.Logger
	// Rate bounds the requests of one address; nil: the usual bound.
	Rate *Limit
}

// Leave is how a permission is taken back.
type Leave struct {
	About    string
	Sections []Section
}

// Section is a heading with steps to take, or with things to know.
type Section struct {
	Head  string
	Steps bool
	Lines []string
}

// Server serves the pages.
type Server struct {
	opt    Options
	base   string // path of the routes
	origin string
	policy string
}

// Bounds of what comes in.
const (
	maxBody   = 4 << 10
	maxQuery  = 16 << 10
	maxHeader = 32 << 10
)

// New builds the pages.
func New(opt Options) (*Server, error) {
	u, err := url.Parse(opt.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") == "" {
		return nil, errors.New("the page for invitations needs an https address with a path")
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Rate == nil {
		opt.Rate = &Limit{PerSecond: 5, Burst: 60}
	}
	s := &Server{opt: opt, base: strings.TrimSuffix(u.Path, "/"), origin: u.Scheme + "://" + u.Host}
	s.policy = "default-src 'none'; style-src '" + styleHash + "'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
	return s, nil
}

// Handler answers the page's routes, and nothing else.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+s.base, func(w http.ResponseWriter, r *http.Request) { s.show(w, http.StatusOK, s.about()) })
	mux.HandleFunc("GET "+s.base+"/{$}", func(w http.ResponseWriter, r *http.Request) { s.show(w, http.StatusOK, s.about()) })
	mux.HandleFunc("GET "+s.base+"/callback", s.callback)
	mux.HandleFunc("GET "+s.base+"/status", s.status)
	mux.HandleFunc("GET "+s.base+"/leave", s.leave)
	mux.HandleFunc("POST "+s.base+"/again", s.again)
	mux.HandleFunc("POST "+s.base+"/consent", s.consent)
	mux.HandleFunc("GET "+s.base+"/{token}", s.open)
	mux.HandleFunc("POST "+s.base+"/{token}", s.begin)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.show(w, http.StatusNotFound, s.nothing()) })
	guard := http.NewCrossOriginProtection()
	_ = guard.AddTrustedOrigin(s.origin) // a proxy may name us otherwise
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.show(w, http.StatusForbidden, s.foreignForm()) }))
	inner := guard.Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", s.policy)
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("X-Robots-Tag", "noindex, nofollow")
		h.Set("Strict-Transport-Security", "max-age=31536000")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		switch {
		case !s.opt.Rate.Allow(r.RemoteAddr, time.Now()):
			h.Set("Retry-After", "10")
			s.show(w, http.StatusTooManyRequests, s.tooMany())
			return
		case len(r.URL.RawQuery) > maxQuery:
			s.show(w, http.StatusRequestURITooLong, s.nothing())
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		inner.ServeHTTP(w, r)
	})
}

// HTTP is a server with bounds on what a client may hold up.
func (s *Server) HTTP() *http.Server {
	return &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
}

// cookieName binds the cookie to this host and to TLS (RFC 6265bis §4.1.3.2).
const cookieName = "__Host-drover"

// cookieLife is as long as a link is good for at most.
const cookieLife = ledger.MaxInvitation * 24 * time.Hour

// browser is a browser's own secret, "" if it has none.
func browser(r *http.Request) string {
	c, err := r.Cookie(cookieName)
	if err != nil || len(c.Value) != len(rand.Text()) {
		return ""
	}
	return c.Value
}

// give gives a browser a new secret.
func give(w http.ResponseWriter) string {
	v := rand.Text()
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: v, Path: "/", MaxAge: int(cookieLife / time.Second), Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	return v
}

// session is what the ledger knows a browser by, form what its forms carry. Two
// purposes, two hashes.
func session(secret string) drover.Hash {
	if secret == "" {
		return drover.Hash{}
	}
	return sha256.Sum256([]byte("drover invitation session\x00" + secret))
}

func form(secret string) string {
	sum := sha256.Sum256([]byte("drover invitation form\x00" + secret))
	return hex.EncodeToString(sum[:])
}

// formed reports whether a form was sent that this browser was given.
func (s *Server) formed(w http.ResponseWriter, r *http.Request) bool {
	secret := browser(r)
	if secret != "" && r.ParseForm() == nil && subtle.ConstantTimeCompare([]byte(r.PostForm.Get("form")), []byte(form(secret))) == 1 {
		return true
	}
	s.show(w, http.StatusForbidden, s.foreignForm())
	return false
}

// ahead reports whether a browser fetches what nobody has opened yet.
func ahead(h http.Header) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		if v := strings.ToLower(h.Get(name)); strings.Contains(v, "prefetch") || strings.Contains(v, "preview") {
			return true
		}
	}
	return false
}

// invitation is that of the link in the address; nil: the answer was given.
func (s *Server) invitation(w http.ResponseWriter, r *http.Request) *ledger.Invitation {
	token := r.PathValue("token")
	if len(token) != len(rand.Text()) {
		s.show(w, http.StatusNotFound, s.unknown())
		return nil
	}
	i, err := s.opt.Desk.Find(r.Context(), s.opt.LinkHash(token))
	if err != nil {
		s.failed(w, err)
		return nil
	}
	return &i
}

// open shows what a link asks for. It changes nothing.
func (s *Server) open(w http.ResponseWriter, r *http.Request) {
	i := s.invitation(w, r)
	if i == nil {
		return
	}
	secret := browser(r)
	if secret != "" && session(secret) == i.Session {
		s.lead(w, r, s.base+"/status")
		return
	}
	if p, ended := s.closed(i); ended {
		s.show(w, http.StatusGone, p)
		return
	}
	if secret == "" {
		secret = give(w)
	}
	s.show(w, http.StatusOK, s.asks(i, r.URL.Path, form(secret)))
}

// begin leads a browser to the sign-in. It gets a new secret, so that nobody who
// gave it the one before goes on with it.
func (s *Server) begin(w http.ResponseWriter, r *http.Request) {
	if !s.formed(w, r) {
		return
	}
	if i := s.invitation(w, r); i != nil {
		s.signIn(w, r, i)
	}
}

// again is begin, for a browser that has begun already.
func (s *Server) again(w http.ResponseWriter, r *http.Request) {
	if !s.formed(w, r) {
		return
	}
	i, err := s.opt.Desk.Session(r.Context(), session(browser(r)))
	if err != nil {
		s.failed(w, err)
		return
	}
	s.signIn(w, r, &i)
}

func (s *Server) signIn(w http.ResponseWriter, r *http.Request, i *ledger.Invitation) {
	if p, ended := s.closed(i); ended {
		s.show(w, http.StatusGone, p)
		return
	}
	secret := rand.Text()
	page, err := s.opt.Desk.Begin(r.Context(), *i, session(secret))
	if err != nil {
		s.failed(w, err)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: secret, Path: "/", MaxAge: int(cookieLife / time.Second), Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	s.show(w, http.StatusOK, s.on(page, "the sign-in"))
}

// consent leads a browser to the consent.
func (s *Server) consent(w http.ResponseWriter, r *http.Request) {
	if !s.formed(w, r) {
		return
	}
	page, err := s.opt.Desk.Consent(r.Context(), session(browser(r)))
	switch {
	case errors.Is(err, s.opt.Spent), errors.Is(err, s.opt.Stale):
		s.lead(w, r, s.base+"/status") // which says what holds now
	case err != nil:
		s.failed(w, err)
	default:
		s.show(w, http.StatusOK, s.on(page, "the permissions"))
	}
}

// callback takes what a browser brings back from Entra. What it is not sent for
// changes nothing.
func (s *Server) callback(w http.ResponseWriter, r *http.Request) {
	if ahead(r.Header) {
		s.show(w, http.StatusServiceUnavailable, s.notYet())
		return
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || r.Method != http.MethodGet {
		s.show(w, http.StatusBadRequest, s.foreign())
		return
	}
	here := session(browser(r))
	if _, err := s.opt.Desk.Session(r.Context(), here); errors.Is(err, ledger.ErrNotFound) {
		s.show(w, http.StatusBadRequest, s.foreign())
		return
	}
	if err := s.opt.Desk.Answer(r.Context(), here, q); err != nil && drover.KindOf(err) == drover.Broken {
		s.failed(w, err)
		return
	}
	s.lead(w, r, s.base+"/status") // which says what holds now, whatever came
}

// status shows how far the invitation of this browser is.
func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	secret := browser(r)
	i, err := s.opt.Desk.Session(r.Context(), session(secret))
	if errors.Is(err, ledger.ErrNotFound) {
		s.show(w, http.StatusNotFound, s.elsewhere())
		return
	}
	if err != nil {
		s.failed(w, err)
		return
	}
	s.show(w, http.StatusOK, s.stands(&i, form(secret)))
}

// leave shows how the permission is taken back.
func (s *Server) leave(w http.ResponseWriter, r *http.Request) {
	i, err := s.opt.Desk.Session(r.Context(), session(browser(r)))
	if err != nil {
		s.show(w, http.StatusOK, s.leaving(Leave{About: "In the Entra admin center, under Enterprise applications, an admin finds every application that may read something of the organization, sees what it may, and can delete it. Nobody has to be asked for that."}))
		return
	}
	t := i.Wanted
	if i.Who.Tenant != "" {
		t.ID = i.Who.Tenant
	}
	l, err := s.opt.Leave(t)
	if err != nil {
		s.failed(w, err)
		return
	}
	s.show(w, http.StatusOK, s.leaving(l))
}

// lead sends a browser on, by GET.
func (s *Server) lead(w http.ResponseWriter, r *http.Request, to string) {
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// failed says that something of ours went wrong, or that there is nothing.
func (s *Server) failed(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		s.show(w, http.StatusNotFound, s.unknown())
	case errors.Is(err, s.opt.Spent):
		s.show(w, http.StatusGone, s.used())
	default:
		s.opt.Log.Error("a page for an invitation cannot be shown", "err", err)
		s.show(w, http.StatusServiceUnavailable, s.broken())
	}
}
