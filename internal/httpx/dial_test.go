package httpx

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"drover"
	"drover/internal/proof"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

func TestOnlyPublicAddressesArePublic(t *testing.T) {
	for a, want := range map[string]bool{
		"20.190.128.1": true, "8.8.8.8": true, "2603:1000::1": true, "64:ff9b::808:808": true, "2002:808:808::1": true,
		"10.0.0.1": false, "172.16.0.1": false, "172.31.255.255": false, "192.168.1.1": false, "127.0.0.1": false, "127.8.8.8": false,
		"169.254.169.254": false, "0.0.0.0": false, "0.1.2.3": false, "100.64.0.1": false, "100.127.255.255": false, "192.0.0.8": false,
		"198.18.0.1": false, "224.0.0.1": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "fe80::1": false, "fc00::1": false, "fd12::1": false, "fec0::1": false, "ff02::1": false,
		"::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "64:ff9b::a00:1": false, "64:ff9b:1::1": false, "2002:a00:1::1": false, "2002:7f00:1::": false,
	} {
		if got := isPublic(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: got %v", a, got)
		}
	}
	for _, odd := range []string{"", "1.2.3.4", "name:443", "1.2.3.4:x"} {
		if publicOnly("tcp", odd, nil) == nil {
			t.Errorf("%q was taken", odd)
		}
	}
}

func TestANameThatLeadsToAPrivateAddressIsNotCalled(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	c, err := New(Options{CAs: pemOf(s.Server)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	for _, host := range []string{"localhost", "127.0.0.1", "[::1]", "169.254.169.254"} {
		if _, err := c.Do(t.Context(), Request{URL: "https://" + host + ":" + port + "/"}); !errors.Is(err, ErrPrivate) {
			t.Errorf("%s: got %v", host, err)
		}
	}
	if s.calls.Load() != 0 {
		t.Error("the server was called")
	}
}

func TestACertificateThatDoesNotHoldEndsTheCall(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	other := serve(t, func(http.ResponseWriter, *http.Request) {})
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	token := drover.NewSecret("canary")
	// httptest's servers share one certificate, for 127.0.0.1 and example.com.
	now := time.Now()
	ca, expired := issued(t, now.Add(-48*time.Hour), now.Add(-24*time.Hour))
	ca2, early := issued(t, now.Add(24*time.Hour), now.Add(48*time.Hour))
	tried := 0
	for name, tt := range map[string]struct {
		c   *Client
		url string
	}{
		"an unknown issuer":         {client(t, Options{}), s.URL},
		"another name":              {client(t, Options{}, s, other), "https://localhost:" + port},
		"expired":                   {client(t, Options{CAs: ca}), expired.URL},
		"not valid yet":             {client(t, Options{CAs: ca2}), early.URL},
		"another issuer in between": {client(t, Options{CAs: ca}, other), early.URL},
	} {
		if tt.c.transport.TLSClientConfig.InsecureSkipVerify || tt.c.fresh.TLSClientConfig.InsecureSkipVerify {
			t.Errorf("%s: nothing is verified", name)
		}
		tried++
		_, err := tt.c.Do(t.Context(), Request{URL: tt.url + "/x", Origin: tt.url, Bearer: token})
		if _, bad := errors.AsType[*tls.CertificateVerificationError](err); !bad {
			t.Errorf("%s: got %v", name, err)
		}
	}
	old := serve(t, func(http.ResponseWriter, *http.Request) {})
	old.TLS.MinVersion, old.TLS.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if _, err := client(t, Options{}, old).Do(t.Context(), Request{URL: old.URL + "/x", Origin: old.URL, Bearer: token}); err == nil {
		t.Error("TLS 1.1 was spoken")
	}
	plain := "http" + strings.TrimPrefix(s.URL, "https") + "/x"
	public, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := public.Do(t.Context(), Request{URL: plain, Origin: plain, Bearer: token}); !errors.Is(err, ErrPlaintext) {
		t.Errorf("plaintext: got %v", err)
	}
	left := s.calls.Load() + old.calls.Load() + expired.calls.Load() + early.calls.Load()
	if left != 0 {
		t.Error("a request left")
	}
	proof.Ran(t, "P30", "plaintext or unverified requests %d of %d", left, tried+2)
}

// issued is a server whose certificate holds from one time to another, and the
// issuer's, which always does.
func issued(t *testing.T, from, to time.Time) (ca []byte, s *server) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issuer := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from.AddDate(-1, 0, 0), NotAfter: to.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, issuer, issuer, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: from, NotAfter: to, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	if der, err = x509.CreateCertificate(rand.Reader, leaf, issuer, &key.PublicKey, key); err != nil {
		t.Fatal(err)
	}
	s = &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { s.calls.Add(1) }))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return ca, s
}

// proxy forwards tunnels.
func proxy(t *testing.T) (addr string, seen func() []string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var list []string
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = conn.Close() }()
				r := bufio.NewReader(conn)
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				mu.Lock()
				list = append(list, req.Method+" "+req.Host+" "+req.Header.Get("Authorization"))
				mu.Unlock()
				up, err := net.Dial("tcp", req.Host)
				if err != nil {
					return
				}
				defer func() { _ = up.Close() }()
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
				wg.Go(func() { _, _ = io.Copy(up, r); _ = up.Close() })
				_, _ = io.Copy(conn, up)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String(), func() []string { mu.Lock(); defer mu.Unlock(); return append([]string(nil), list...) }
}

func TestAProxySeesATunnelAndNoToken(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "{}") })
	addr, seen := proxy(t)
	// The proxy may be on a private address even where the target may not.
	c, err := New(Options{CAs: pemOf(s.Server), Proxy: "http://" + addr})
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(t.Context(), Request{URL: s.URL + "/x", Origin: s.URL, Bearer: drover.NewSecret("canary")})
	if err != nil || res.Status != 200 || s.tokens.Load() != 1 {
		t.Fatalf("got %v", err)
	}
	c.Close()
	if list := seen(); len(list) != 1 || list[0] != "CONNECT "+s.Listener.Addr().String()+" " {
		t.Errorf("the proxy saw %q", list)
	}
}

func TestAProxysRefusalIsNamed(t *testing.T) {
	for status, want := range map[string]string{"407 Proxy Authentication Required": "407", "403 Forbidden": "403"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = http.ReadRequest(bufio.NewReader(conn))
				_, _ = io.WriteString(conn, "HTTP/1.1 "+status+"\r\nContent-Length: 0\r\n\r\n")
				_ = conn.Close()
			}
		})
		c, err := New(Options{Proxy: "http://user:canary@" + l.Addr().String()})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Do(t.Context(), Request{URL: "https://graph.microsoft.com/"})
		if !errors.Is(err, ErrProxy) || !contains(err.Error(), want) || contains(err.Error(), "canary") {
			t.Errorf("%s: got %v", status, err)
		}
		c.Close()
		_ = l.Close()
		wg.Wait()
	}
}

func TestTheEnvironmentsProxyIsUsedOnlyIfAsked(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	for setting, want := range map[string]bool{"": false, "none": false, "environment": true, "http://proxy.example:3128": true} {
		c, err := New(Options{Proxy: setting})
		if err != nil {
			t.Fatal(err)
		}
		if (c.transport.Proxy != nil) != want {
			t.Errorf("%q: a proxy is used: %v", setting, !want)
		}
	}
	for _, bad := range []string{"proxy.example:3128", "ftp://proxy.example", "socks5://proxy.example", "http://", "%"} {
		if _, err := New(Options{Purpose: "microsoft", Proxy: bad}); err == nil || !contains(err.Error(), "microsoft") {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

func TestABadCAIsNamed(t *testing.T) {
	junk := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(junk, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, opt := range map[string]Options{
		"missing": {CAFiles: []string{junk + ".none"}},
		"junk":    {CAFiles: []string{junk}},
		"bytes":   {CAs: []byte("no certificate")},
	} {
		if _, err := New(opt); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestAURLIsShownWithoutItsSecrets(t *testing.T) {
	for raw, want := range map[string]string{
		"https://user:canary@api.example/a/b?token=canary#canary": "https://api.example/a/b",
		"HTTPS://api.example:8443":                                "https://api.example:8443",
		"canary":                                                  "(no URL)",
		"%":                                                       "(no URL)",
	} {
		if got := SafeURL(raw); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
