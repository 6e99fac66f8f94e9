package onboard

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Callback is where a browser is led to.
type Callback interface {
	Redirect() string
	// Expect says which answers are ours, before anybody is sent for one: until
	// then all are refused. The first of ours is kept for Wait, and none is taken
	// after it.
	Expect(mine func(url.Values) bool)
	// Wait returns the answer. It may be called once.
	Wait(ctx context.Context) (*Answer, error)
	Close()
}

// Answer is what came, and the browser that waits for a page.
type Answer struct {
	Values url.Values
	page   chan page // one fits; who comes later is not heard
	shown  chan struct{}
}

// reply shows a page to the browser; the first one counts. It returns when the
// page is on its way, since the program may end then.
func (a *Answer) reply(p page) {
	select {
	case a.page <- p:
	default:
		return
	}
	select {
	case <-a.shown:
	case <-time.After(flushLife):
	}
}

// callbackLife is how long a place to come back to is open, pageLife how long a
// browser waits for its page, and flushLife how long we wait for a browser to
// take it.
const (
	callbackLife = 5 * time.Minute
	pageLife     = 50 * time.Second
	flushLife    = 2 * time.Second
)

// loopback is a callback on this machine (RFC 8252 §7.3, §8.3): on both literal
// loopback addresses, since a browser may take localhost for either; another
// process cannot own one of them. The port is chosen by the system; Entra
// ignores it where http://localhost is registered.
type loopback struct {
	port    int
	server  *http.Server
	answers chan *Answer

	mu   sync.Mutex
	mine func(url.Values) bool // nil: nothing is expected
	over bool
}

// tries is how many ports are tried until both addresses have one free.
const tries = 20

func listenLoopback() (Callback, error) {
	l := &loopback{answers: make(chan *Answer, 1)}
	l.server = &http.Server{Handler: http.HandlerFunc(l.serve), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, MaxHeaderBytes: 64 << 10}
	l.server.SetKeepAlivesEnabled(false)
	var last error
	for range tries {
		list, port, err := bothLoopbacks()
		if err != nil {
			last = err
			continue
		}
		l.port = port
		for _, x := range list {
			go func() { _ = l.server.Serve(x) }()
		}
		return l, nil
	}
	return nil, fmt.Errorf("open a port on loopback for the browser: %w", last)
}

// bothLoopbacks listens on one port of 127.0.0.1 and ::1; on one of them alone
// if the machine has no other.
func bothLoopbacks() (list []net.Listener, port int, err error) {
	v4, err := net.Listen("tcp4", "127.0.0.1:0")
	if err == nil {
		list = append(list, v4)
		port = v4.Addr().(*net.TCPAddr).Port
	}
	v6, err6 := net.Listen("tcp6", net.JoinHostPort("::1", strconv.Itoa(port)))
	switch {
	case err6 == nil:
		list = append(list, v6)
		port = v6.Addr().(*net.TCPAddr).Port
	case errors.Is(err6, syscall.EADDRINUSE) && v4 != nil:
		_ = v4.Close()
		return nil, 0, err6
	}
	if len(list) == 0 {
		return nil, 0, errors.Join(err, err6)
	}
	return list, port, nil
}

// Redirect is Callback.Redirect.
func (l *loopback) Redirect() string { return "http://localhost:" + strconv.Itoa(l.port) }

// Expect is Callback.Expect.
func (l *loopback) Expect(mine func(url.Values) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mine = mine
}

// Wait is Callback.Wait.
func (l *loopback) Wait(ctx context.Context) (*Answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, callbackLife, errors.New("nobody came back from the browser within "+callbackLife.String()))
	defer cancel()
	select {
	case a := <-l.answers:
		return a, nil
	case <-ctx.Done():
		l.mu.Lock()
		l.over = true
		l.mu.Unlock()
		return nil, context.Cause(ctx)
	}
}

// Close closes the port; a browser that waits gets its page first.
func (l *loopback) Close() {
	l.mu.Lock()
	l.over = true
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = l.server.Shutdown(ctx) // listeners are closed at once
}

// serve takes an answer. What has another state, another method or another host
// changes nothing, nor does a browser that fetches ahead.
func (l *loopback) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; form-action 'none'; base-uri 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	show := func(status int, p page) {
		w.WriteHeader(status)
		_ = pages.Execute(w, p)
		_ = http.NewResponseController(w).Flush()
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	switch {
	case r.URL.Path != "/" || !l.isUs(r.Host):
		show(http.StatusNotFound, page{Title: "There is nothing here"})
		return
	case r.Method != http.MethodGet:
		h.Set("Allow", http.MethodGet)
		show(http.StatusMethodNotAllowed, page{Title: "There is nothing here"})
		return
	case ahead(r.Header):
		show(http.StatusServiceUnavailable, page{Title: "Not yet"})
		return
	}
	a := &Answer{Values: q, page: make(chan page, 1), shown: make(chan struct{})}
	defer close(a.shown)
	l.mu.Lock()
	mine := l.mine != nil && err == nil && l.mine(q)
	took := mine && !l.over
	l.over = l.over || took
	l.mu.Unlock()
	switch {
	case !mine:
		show(http.StatusBadRequest, page{Title: "This answer belongs to another sign-in", Text: "Nothing has changed. Use the newest link only."})
		return
	case !took:
		show(http.StatusGone, page{Title: "This has been answered already", Text: "Nothing has changed. Look at the terminal."})
		return
	}
	l.answers <- a
	select {
	case p := <-a.page:
		show(http.StatusOK, p)
	case <-time.After(pageLife):
		show(http.StatusOK, page{Title: "Still at work", Text: "Close this page and go back to the terminal."})
	case <-r.Context().Done():
	}
}

// isUs reports whether a request names us, so that no other name leads here.
func (l *loopback) isUs(host string) bool {
	name, port, err := net.SplitHostPort(host)
	return err == nil && port == strconv.Itoa(l.port) && (strings.EqualFold(name, "localhost") || name == "127.0.0.1" || name == "::1")
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

// listen opens the place to come back to.
func (s *Service) listen() (Callback, error) {
	if s.Listen != nil {
		return s.Listen()
	}
	return listenLoopback()
}

// page is the one page that is shown. It holds no script.
type page struct{ Title, Text, Link, LinkText string }

var pages = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>drover: {{.Title}}</title>
<h1>{{.Title}}</h1>{{if .Text}}
<p>{{.Text}}</p>{{end}}{{if .Link}}
<p><a href="{{.Link}}">{{.LinkText}}</a></p>{{end}}
</html>
`))
