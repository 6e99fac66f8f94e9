// Package httpx is drover's one way to speak HTTP: bounded in time and bytes,
// verified TLS, no redirects, and a bearer token that never leaves the origin
// it is for.
//
// It promises (reference faults-and-invariants P03, P04, P19–P30, I13):
//
//   - A request with a credential goes to its Origin (scheme, host, port, path
//     prefix) or nowhere.
//   - Redirects are answers, never followed.
//   - A body is returned whole and decoded, or not at all. Caps count decoded
//     bytes.
//   - No switch turns certificate checks off.
//   - Errors hold neither bodies nor tokens nor query strings.
package httpx

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"drover"
)

// Limits of a client; zero members take the defaults.
type Limits struct {
	Dial      time.Duration // 10 s
	TLS       time.Duration // 10 s
	FirstByte time.Duration // 60 s from the request's last byte to the answer's header
	Progress  time.Duration // 30 s: longest silence inside a body
	Whole     time.Duration // 5 min for one answer
	Header    int64         // 64 KiB
	Body      int64         // 256 MiB, decoded
}

// Options of a Client.
type Options struct {
	CAFiles      []string // trusted besides the system's; PEM
	CAs          []byte   // the same as bytes
	Proxy        string   // "" or "none", "environment", or a URL
	AllowPrivate bool     // may connect to private and loopback addresses (custom clouds)
	Limits       Limits
	MaxConns     int // per host, 0: 64
	// Dial replaces the way to an address. Code only; no config reaches it.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Client speaks HTTP for one purpose. Safe for concurrent use.
type Client struct {
	http   *http.Client
	limits Limits
}

// New builds a client.
func New(opt Options) (*Client, error) {
	l := opt.Limits
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&l.Dial, 10 * time.Second}, {&l.TLS, 10 * time.Second}, {&l.FirstByte, time.Minute}, {&l.Progress, 30 * time.Second}, {&l.Whole, 5 * time.Minute}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	if l.Header <= 0 {
		l.Header = 64 << 10
	}
	if l.Body <= 0 {
		l.Body = 256 << 20
	}
	if opt.MaxConns <= 0 {
		opt.MaxConns = 64
	}
	pool, err := roots(opt)
	if err != nil {
		return nil, err
	}
	proxy, err := proxyOf(opt.Proxy)
	if err != nil {
		return nil, err
	}
	dial := opt.Dial
	if dial == nil {
		d := &net.Dialer{Timeout: l.Dial}
		if !opt.AllowPrivate && proxy == nil {
			d.Control = publicOnly
		}
		dial = d.DialContext
	}
	t := &http.Transport{
		Proxy: proxy, DialContext: dial,
		TLSClientConfig:     &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: l.TLS, ResponseHeaderTimeout: l.FirstByte, MaxResponseHeaderBytes: l.Header,
		DisableCompression: true, // we decode ourselves, to count decoded bytes
		ForceAttemptHTTP2:  true, MaxConnsPerHost: opt.MaxConns, MaxIdleConnsPerHost: opt.MaxConns, MaxIdleConns: 512, IdleConnTimeout: 90 * time.Second,
		ReadBufferSize: 64 << 10,
	}
	return &Client{&http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, l}, nil
}

// Close closes connections that are not in use.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func roots(opt Options) (*x509.CertPool, error) {
	if len(opt.CAFiles) == 0 && len(opt.CAs) == 0 {
		return nil, nil // the system's
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if len(opt.CAs) > 0 && !pool.AppendCertsFromPEM(opt.CAs) {
		return nil, errors.New("the given CA is no PEM certificate")
	}
	for _, f := range opt.CAFiles {
		pem, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("read the CA file: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the CA file %s holds no PEM certificate", f)
		}
	}
	return pool, nil
}

func proxyOf(s string) (func(*http.Request) (*url.URL, error), error) {
	switch s {
	case "", "none":
		return nil, nil
	case "environment":
		return http.ProxyFromEnvironment, nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("a proxy is none, environment, or a URL such as http://proxy.example:3128")
	}
	return http.ProxyURL(u), nil
}

// Request is one call.
type Request struct {
	Method string // GET if empty
	URL    string
	// Origin is the URL prefix that credentials may go to; a request that
	// carries any (Bearer, or an Authorization header) goes there or nowhere.
	Origin string
	Header http.Header
	Bearer drover.Secret
	Body   []byte
	// MaxBody replaces the client's cap on the decoded body.
	MaxBody int64
}

// Response is one whole answer.
type Response struct {
	Status int
	Header http.Header
	Body   []byte         // decoded; never changed afterwards
	Server drover.Instant // the Date header, NoInstant if there was none
}

// Errors of an answer that cannot be used.
var (
	ErrTooLarge = errors.New("the answer is larger than allowed")
	ErrStalled  = errors.New("the answer stopped coming")
	ErrEncoding = errors.New("the answer's encoding is not understood")
)

// Do makes the call. Any status is a Response; an error means that there is no
// whole answer. A GET whose connection was lost before an answer came is made
// once more on a fresh connection.
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) {
	res, err := c.once(ctx, r)
	if err != nil && ctx.Err() == nil && (r.Method == "" || r.Method == http.MethodGet) && isReset(err) {
		c.http.CloseIdleConnections()
		res, err = c.once(ctx, r)
	}
	return res, err
}

func (c *Client) once(ctx context.Context, r Request) (*Response, error) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, errors.New("the URL cannot be parsed")
	}
	credential := !r.Bearer.Empty() || r.Header.Get("Authorization") != ""
	if credential {
		if err := within(r.Origin, u); err != nil {
			return nil, err
		}
	}
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	// Progress: the call ends when nothing came for too long.
	ctx, cancel := context.WithTimeoutCause(ctx, c.limits.Whole, ErrStalled)
	defer cancel()
	ctx, stall := context.WithCancelCause(ctx)
	defer stall(nil)
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(r.Body))
	if err != nil {
		return nil, errors.New("the request cannot be made")
	}
	if len(r.Body) == 0 {
		req.Body, req.ContentLength = nil, 0
	}
	for k, v := range r.Header {
		req.Header[k] = v
	}
	if !r.Bearer.Empty() {
		req.Header.Set("Authorization", "Bearer "+r.Bearer.Reveal())
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, clean(ctx, err)
	}
	defer func() { _ = res.Body.Close() }()
	limit := c.limits.Body
	if r.MaxBody > 0 {
		limit = r.MaxBody
	}
	watch := time.AfterFunc(c.limits.Progress, func() { stall(ErrStalled) })
	defer watch.Stop()
	body, err := readBody(res, &alive{res.Body, watch, c.limits.Progress}, limit)
	if err != nil {
		return nil, clean(ctx, err)
	}
	return &Response{Status: res.StatusCode, Header: res.Header, Body: body, Server: serverTime(res.Header)}, nil
}

// alive pushes the stall timer back with everything that comes.
type alive struct {
	r io.Reader
	t *time.Timer
	d time.Duration
}

func (a *alive) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	if n > 0 {
		a.t.Reset(a.d)
	}
	return n, err
}

// readBody reads and decodes the body whole.
func readBody(res *http.Response, in io.Reader, limit int64) ([]byte, error) {
	switch enc := strings.ToLower(strings.TrimSpace(strings.Join(res.Header.Values("Content-Encoding"), ","))); enc {
	case "", "identity":
		if res.ContentLength > limit {
			return nil, ErrTooLarge
		}
		return readAll(in, max(res.ContentLength, 0), limit)
	case "gzip":
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, ErrEncoding
		}
		z.Multistream(false)
		body, err := readAll(z, 4*max(res.ContentLength, 0), limit)
		if err != nil {
			return nil, err
		}
		if n, _ := io.ReadFull(in, make([]byte, 1)); n != 0 {
			return nil, ErrEncoding // something behind the end
		}
		return body, nil
	default:
		return nil, ErrEncoding
	}
}

func readAll(in io.Reader, expect, limit int64) ([]byte, error) {
	buf := make([]byte, 0, min(expect+1, limit+1, 64<<20))
	if cap(buf) < 4096 {
		buf = make([]byte, 0, 4096)
	}
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := in.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > limit {
			return nil, ErrTooLarge
		}
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func serverTime(h http.Header) drover.Instant {
	if t, err := http.ParseTime(h.Get("Date")); err == nil {
		return drover.InstantOf(t)
	}
	return drover.NoInstant
}

// clean takes the URL out of an error, and names what the context ended for.
func clean(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrStalled) {
		return ErrStalled
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// isReset reports whether a connection ended before an answer came, as an idle
// one does that the peer has given up.
func isReset(err error) bool {
	if errors.Is(err, ErrStalled) || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrEncoding) {
		return false
	}
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.As(err, &op) && op.Op != "dial" && !op.Timeout() || strings.Contains(err.Error(), "http2: server sent GOAWAY")
}

// errPrivate refuses an address that is not public.
var errPrivate = errors.New("the name leads to a private address; allow it in the cloud's settings (allow_private) if that is meant")

// publicOnly refuses private, loopback and link-local addresses at the moment
// of connecting, when the name has been resolved.
func publicOnly(_, address string, _ syscallConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return errPrivate
	}
	a := ap.Addr().Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() || shared.Contains(a) {
		return errPrivate
	}
	return nil
}

// shared is the carrier-grade NAT range (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")
