package httpx

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"drover"
)

// Request is one call.
type Request struct {
	Method string // GET if empty
	URL    string
	// Origin is the URL prefix that credentials may go to; a request that
	// carries any (Bearer, an Authorization or Cookie header) goes there or
	// nowhere. If it is set, a request without them is held to it as well.
	Origin string
	Header http.Header
	Bearer drover.Secret
	Body   []byte
	// MaxBody replaces the client's cap on the decoded body.
	MaxBody int64
}

// Response is one whole answer.
type Response struct {
	Status    int
	Header    http.Header
	Body      []byte         // decoded; never changed afterwards, save by Release
	Server    drover.Instant // the Date header, NoInstant if there was none
	RequestID string         // the peer's name for the call, for support; may be empty

	buf *[]byte
}

// Release gives the body's memory back for another answer. Neither Body nor a
// part of it may be used afterwards. Not calling it costs memory only.
func (r *Response) Release() {
	if r.buf != nil {
		*r.buf = r.Body
		buffers.Put(r.buf)
	}
	r.Body, r.buf = nil, nil
}

// Errors of an answer that cannot be used. All of them may pass.
var (
	ErrTooLarge = errors.New("the answer is larger than allowed")
	ErrStalled  = errors.New("the answer did not come in time")
	ErrEncoding = errors.New("the answer's encoding is not understood")
)

// Do makes the call. Any status is a Response; an error means that there is no
// whole answer. A GET whose connection was lost is made once more, on a fresh
// connection (reference faults P28); nothing else is repeated.
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) {
	req, err := c.request(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.limits.Whole, ErrStalled)
	defer cancel()
	limit := c.limits.Body
	if r.MaxBody > 0 {
		limit = r.MaxBody
	}
	res, err := c.once(ctx, c.transport, req, limit)
	if err != nil && ctx.Err() == nil && req.Method == http.MethodGet && len(r.Body) == 0 && wasLost(err) {
		res, err = c.once(ctx, c.fresh, req, limit)
	}
	if err != nil {
		return nil, clean(ctx, err)
	}
	return res, nil
}

// request checks where a request goes and builds it.
func (c *Client) request(r Request) (*http.Request, error) {
	u, err := url.Parse(r.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("the URL cannot be used")
	}
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequest(method, u.String(), nil)
	if err != nil {
		return nil, errors.New("the request cannot be made")
	}
	credential := !r.Bearer.Empty()
	for k, v := range r.Header {
		name := http.CanonicalHeaderKey(k)
		credential = credential || name == "Authorization" || name == "Cookie"
		req.Header[name] = v
	}
	if !r.Bearer.Empty() {
		req.Header.Set("Authorization", "Bearer "+r.Bearer.Reveal())
	}
	if credential || r.Origin != "" {
		if err := within(r.Origin, r.URL, u); err != nil {
			return nil, err
		}
	}
	if credential && u.Scheme != "https" && (!c.private || !isLoopback(u.Hostname())) {
		return nil, ErrPlaintext
	}
	if len(r.Body) > 0 {
		req.ContentLength = int64(len(r.Body))
		req.GetBody = func() (body io.ReadCloser, err error) { return nopCloser{bytes.NewReader(r.Body)}, nil }
		req.Body = nopCloser{bytes.NewReader(r.Body)}
	}
	return req, nil
}

// once makes the call over t and reads the answer whole.
func (c *Client) once(ctx context.Context, t *http.Transport, req *http.Request, limit int64) (*Response, error) {
	ctx, stall := context.WithCancelCause(ctx)
	defer stall(nil)
	// The transport is used without http.Client: nothing may follow a
	// redirect, look at its target or keep cookies.
	res, err := t.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return nil, stalled(ctx, err)
	}
	defer func() { _ = res.Body.Close() }()
	c.see(req.URL.Host, res.TLS)
	in := newPace(res.Body, c.limits.MinBytes, c.limits.Progress, func() { stall(ErrStalled) })
	defer in.stop()
	body, buf, err := readBody(res, in, limit)
	if err != nil {
		return nil, stalled(ctx, err)
	}
	return &Response{Status: res.StatusCode, Header: res.Header, Body: body, Server: serverTime(res.Header), RequestID: requestID(res.Header), buf: buf}, nil
}

// stalled names the deadline that ended a call.
func stalled(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), ErrStalled) {
		return ErrStalled
	}
	return err
}

func serverTime(h http.Header) drover.Instant {
	if t, err := http.ParseTime(h.Get("Date")); err == nil {
		return drover.InstantOf(t)
	}
	return drover.NoInstant
}

// requestID reads Graph's and Entra's names for a call.
func requestID(h http.Header) string {
	for _, name := range []string{"request-id", "x-ms-request-id", "client-request-id"} {
		if id := safeCode(h.Get(name)); id != "" {
			return id
		}
	}
	return ""
}

// SafeURL renders a URL for people and logs: without user, query and fragment.
func SafeURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "(no URL)"
	}
	return strings.ToLower(u.Scheme) + "://" + u.Host + u.EscapedPath()
}

// HTTPClient returns a client of the standard library for libraries that want
// one: every request is held to origin, redirects are not followed, and
// answers are read under this client's limits, maxBody bytes at most.
func (c *Client) HTTPClient(origin string, maxBody int64) *http.Client {
	return &http.Client{Transport: roundTripper{c, origin, maxBody}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// maxRequest bounds the bodies that libraries send.
const maxRequest = 1 << 20

type roundTripper struct {
	c      *Client
	origin string
	max    int64
}

func (rt roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		defer func() { _ = req.Body.Close() }()
		var err error
		if body, err = readAll(req.Body, make([]byte, 0, 4096), maxRequest); err != nil {
			return nil, err
		}
	}
	res, err := rt.c.Do(req.Context(), Request{Method: req.Method, URL: req.URL.String(), Origin: rt.origin, Header: req.Header, Body: body, MaxBody: rt.max})
	if err != nil {
		return nil, err
	}
	h := res.Header.Clone()
	h.Del("Content-Encoding")
	h.Del("Content-Length")
	h.Del("Location") // http.Client would quote it when it cannot parse it
	return &http.Response{Status: statusLine(res.Status), StatusCode: res.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: nopCloser{bytes.NewReader(res.Body)}, ContentLength: int64(len(res.Body)), Request: req}, nil
}
