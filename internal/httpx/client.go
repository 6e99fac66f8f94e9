// Package httpx is drover's one way to speak HTTP: bounded in time and bytes,
// verified TLS, no redirects, and a credential that never leaves the origin
// it is for.
//
// It promises (reference faults-and-invariants P03, P04, P19–P30, I13):
//
//   - A request with a credential goes to its Origin (scheme, host, port, path
//     prefix) over TLS, or nowhere.
//   - Redirects are answers, never followed.
//   - A body is returned whole and decoded, or not at all. Caps count decoded
//     bytes.
//   - No switch turns certificate checks off. Names that lead to private
//     addresses are not called unless that is configured.
//   - Every phase has a deadline, and a body that trickles is given up.
//   - Errors hold neither bodies nor tokens nor query strings.
package httpx

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// Limits of a client; zero members take the defaults named behind them.
type Limits struct {
	Dial      time.Duration // 10 s
	TLS       time.Duration // 10 s
	FirstByte time.Duration // 60 s from the request's last byte to the end of the answer's header
	Progress  time.Duration // 30 s: in each such stretch of a body MinBytes must come
	MinBytes  int64         // 256
	Whole     time.Duration // 5 min for one call, its repeat included
	Header    int64         // 64 KiB
	Body      int64         // 64 MiB, decoded
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&l.Dial, 10 * time.Second}, {&l.TLS, 10 * time.Second}, {&l.FirstByte, time.Minute}, {&l.Progress, 30 * time.Second}, {&l.Whole, 5 * time.Minute}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	for _, d := range []struct {
		v   *int64
		def int64
	}{{&l.MinBytes, 256}, {&l.Header, 64 << 10}, {&l.Body, 64 << 20}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	return l
}

// Options of a Client.
type Options struct {
	Purpose      string   // what it is for ("microsoft", "splunk"); stands in errors of New
	CAFiles      []string // trusted besides the system's; PEM
	CAs          []byte   // the same as bytes
	Proxy        string   // "" or "none", "environment", or a URL
	AllowPrivate bool     // may connect to private and loopback addresses (custom clouds, sinks)
	Limits       Limits
	MaxConns     int // per host, 0: 64
	// Dial replaces the way to an address. Code only; no config reaches it.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Client speaks HTTP for one purpose; its connections are shared by all
// tenants. Safe for concurrent use.
type Client struct {
	transport *http.Transport
	fresh     *http.Transport // never uses a connection twice
	limits    Limits
	private   bool
	peers     sync.Map // by host: shown
}

// New builds a client. It connects nowhere.
func New(opt Options) (*Client, error) {
	l := opt.Limits.withDefaults()
	if opt.MaxConns <= 0 {
		opt.MaxConns = 64
	}
	pool, err := roots(opt)
	if err != nil {
		return nil, purpose(opt.Purpose, err)
	}
	proxy, err := newProxies(opt.Proxy)
	if err != nil {
		return nil, purpose(opt.Purpose, err)
	}
	t := &http.Transport{
		DialContext:            dialer(opt, l, proxy),
		TLSClientConfig:        &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    l.TLS,
		ResponseHeaderTimeout:  l.FirstByte,
		MaxResponseHeaderBytes: l.Header,
		OnProxyConnectResponse: proxyAnswer,
		DisableCompression:     true, // decoded here, to count decoded bytes
		ForceAttemptHTTP2:      true,
		// A connection that died while the host slept is noticed by its ping.
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
		MaxConnsPerHost:     opt.MaxConns,
		MaxIdleConnsPerHost: opt.MaxConns,
		MaxIdleConns:        512,
		IdleConnTimeout:     90 * time.Second,
		ReadBufferSize:      64 << 10,
	}
	if proxy != nil {
		t.Proxy = proxy.of
	}
	fresh := t.Clone()
	fresh.DisableKeepAlives = true
	return &Client{transport: t, fresh: fresh, limits: l, private: opt.AllowPrivate}, nil
}

// Close closes the connections that are not in use.
func (c *Client) Close() {
	c.transport.CloseIdleConnections()
	c.fresh.CloseIdleConnections()
}

func purpose(name string, err error) error {
	if name == "" {
		return err
	}
	return fmt.Errorf("http client for %s: %w", name, err)
}

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
