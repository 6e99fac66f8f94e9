package httpx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"syscall"
)

// ErrPrivate refuses an address that is not public: the name of a Microsoft
// host has no business there (reference faults P29).
var ErrPrivate = errors.New("the name leads to a private address")

// ErrProxy: the proxy did not let us through.
var ErrProxy = errors.New("the proxy refuses")

// dialer bounds the time of connecting and refuses private addresses at the
// moment of connecting, when the name has been resolved. A configured proxy
// may be anywhere.
func dialer(opt Options, l Limits, p *proxies) func(ctx context.Context, network, addr string) (net.Conn, error) {
	anywhere := &net.Dialer{}
	public := &net.Dialer{Control: publicOnly}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, l.Dial)
		defer cancel()
		switch {
		case opt.Dial != nil:
			return opt.Dial(ctx, network, addr)
		case opt.AllowPrivate || p.is(addr):
			return anywhere.DialContext(ctx, network, addr)
		}
		return public.DialContext(ctx, network, addr)
	}
}

func publicOnly(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !isPublic(ap.Addr()) {
		return ErrPrivate
	}
	return nil
}

// notPublic lists what is not public besides what netip knows: shared, special
// and reserved ranges, and site-local IPv6.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("fec0::/10"),
}

var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96")
	sixTo4 = netip.MustParsePrefix("2002::/16")
)

// isPublic looks also at the IPv4 address that an IPv6 one may carry.
func isPublic(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	b := a.As16()
	switch {
	case nat64.Contains(a):
		return isPublic(netip.AddrFrom4([4]byte(b[12:])))
	case sixTo4.Contains(a):
		return isPublic(netip.AddrFrom4([4]byte(b[2:6])))
	}
	return true
}

// proxies chooses the proxy and remembers which addresses are proxies.
type proxies struct {
	choose func(*http.Request) (*url.URL, error)
	known  sync.Map // host:port
}

func newProxies(s string) (*proxies, error) {
	switch s {
	case "", "none":
		return nil, nil
	case "environment":
		return &proxies{choose: http.ProxyFromEnvironment}, nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("a proxy is none, environment, or a URL such as http://proxy.example:3128")
	}
	return &proxies{choose: http.ProxyURL(u)}, nil
}

func (p *proxies) of(r *http.Request) (*url.URL, error) {
	u, err := p.choose(r)
	if err == nil && u != nil {
		port := u.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
		}
		p.known.Store(net.JoinHostPort(u.Hostname(), port), true)
	}
	return u, err
}

func (p *proxies) is(addr string) bool {
	if p == nil {
		return false
	}
	_, ok := p.known.Load(addr)
	return ok
}

// proxyAnswer turns a proxy's refusal of a tunnel into an error that names it.
func proxyAnswer(_ context.Context, _ *url.URL, _ *http.Request, res *http.Response) error {
	switch {
	case res.StatusCode == http.StatusOK:
		return nil
	case res.StatusCode == http.StatusProxyAuthRequired:
		return fmt.Errorf("%w: status 407, it wants to know who we are; give its URL a user that it accepts", ErrProxy)
	}
	return fmt.Errorf("%w: status %d", ErrProxy, res.StatusCode)
}
