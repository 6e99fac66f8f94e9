package httpx

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"drover"
	"drover/internal/proof"
)

// server is a TLS server on loopback; secrets it sees are counted.
type server struct {
	*httptest.Server
	calls, tokens atomic.Int32
}

func serve(t *testing.T, h http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(1)
		if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
			s.tokens.Add(1)
		}
		h(w, r)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func pemOf(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

// client trusts the servers and may reach loopback.
func client(t *testing.T, opt Options, trusted ...*server) *Client {
	t.Helper()
	opt.AllowPrivate = true
	for _, s := range trusted {
		opt.CAs = append(opt.CAs, pemOf(s.Server)...)
	}
	c, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func squeeze(t *testing.T, b []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestAnAnswerIsReturnedWholeWithItsClockAndName(t *testing.T) {
	at := time.Date(2026, 3, 2, 8, 15, 4, 0, time.UTC)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", at.Format(http.TimeFormat))
		w.Header().Set("request-id", "5b1f0c52-6d53-4c5d-9a4f-0e6f6f1d2a11")
		if r.Header.Get("Authorization") != "Bearer token" || r.Proto != "HTTP/2.0" {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = w.Write([]byte(`{"value":[]}`))
	})
	c := client(t, Options{}, s)
	res, err := c.Do(t.Context(), Request{URL: s.URL + "/api", Origin: s.URL + "/api", Bearer: drover.NewSecret("token")})
	if err != nil {
		t.Fatal(err)
	}
	if res.Status != 200 || string(res.Body) != `{"value":[]}` || res.Server != drover.InstantOf(at) || res.RequestID != "5b1f0c52-6d53-4c5d-9a4f-0e6f6f1d2a11" {
		t.Errorf("got %d %q %v %q", res.Status, res.Body, res.Server, res.RequestID)
	}
}

func TestACredentialGoesToItsOriginOrNowhere(t *testing.T) {
	home := serve(t, func(w http.ResponseWriter, r *http.Request) {})
	away := serve(t, func(w http.ResponseWriter, r *http.Request) {})
	c := client(t, Options{}, home, away)
	token := drover.NewSecret("canary")
	// The spellings as they are, and with hosts that do listen.
	spellings := slices.Clone(foreign)
	there := strings.NewReplacer("graph.microsoft.com", home.Listener.Addr().String(), "evil.example", away.Listener.Addr().String(), "graph.microsoft.us", away.Listener.Addr().String())
	for _, link := range foreign {
		if s := there.Replace(link); s != link && !strings.Contains(link, home.Listener.Addr().String()) {
			spellings = append(spellings, s)
		}
	}
	for name, r := range map[string]Request{
		"another host":         {URL: away.URL + "/api", Origin: home.URL + "/api", Bearer: token},
		"another path":         {URL: home.URL + "/other", Origin: home.URL + "/api", Bearer: token},
		"no origin":            {URL: home.URL + "/api", Bearer: token},
		"plaintext":            {URL: "http" + strings.TrimPrefix(away.URL, "https") + "/api", Origin: home.URL + "/api", Bearer: token},
		"a header of its own":  {URL: away.URL + "/api", Origin: home.URL + "/api", Header: http.Header{"Authorization": {"Splunk canary"}}},
		"a header misspelt":    {URL: away.URL + "/api", Origin: home.URL + "/api", Header: http.Header{"aUTHORIZATION": {"Splunk canary"}}},
		"a cookie":             {URL: away.URL + "/api", Header: http.Header{"Cookie": {"a=canary"}}},
		"none, but an origin":  {URL: away.URL + "/api", Origin: home.URL + "/api"},
		"an origin with query": {URL: home.URL + "/api?x=1", Origin: home.URL + "/api?x=1", Bearer: token},
		"a user in the origin": {URL: home.URL + "/api", Origin: "https://u@" + strings.TrimPrefix(home.URL, "https://") + "/api", Bearer: token},
	} {
		if _, err := c.Do(t.Context(), r); !errors.Is(err, ErrOrigin) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, link := range spellings {
		if _, err := c.Do(t.Context(), Request{URL: link, Origin: home.URL + "/api", Bearer: token}); err == nil {
			t.Errorf("%.80q was asked for", link)
		}
	}
	if n := home.calls.Load() + away.calls.Load(); n != 0 {
		t.Errorf("%d requests left", n)
	}
	seen := int(home.tokens.Load()+away.tokens.Load()) * len("canary")
	if res, err := c.Do(t.Context(), Request{URL: home.URL + "/api", Origin: home.URL + "/api", Bearer: token}); err != nil || res.Status != 200 || home.tokens.Load() != 1 {
		t.Errorf("the good one: %v, tokens seen %d", err, home.tokens.Load())
	}
	plain := "http" + strings.TrimPrefix(home.URL, "https") + "/api"
	public, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range []string{plain, "http://splunk.example/api"} {
		if _, err := public.Do(t.Context(), Request{URL: u, Origin: u, Bearer: token}); !errors.Is(err, ErrPlaintext) {
			t.Errorf("%s: got %v", u, err)
		}
	}
	proof.Ran(t, "P03", "token bytes seen by listeners: %d over %d spellings", seen, len(spellings))
}

func TestNoRedirectIsFollowed(t *testing.T) {
	away := serve(t, func(w http.ResponseWriter, r *http.Request) {})
	// A chain: from home to away, which sends on to itself.
	chain := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, away.URL+"/stolen", http.StatusFound)
	})
	dealt := 0
	for _, status := range []int{300, 301, 302, 303, 304, 305, 307, 308} {
		for _, target := range []string{away.URL + "/stolen", chain.URL, "/elsewhere", "http://127.0.0.1:1/", "file:///etc/passwd", "https://%zz/", "//evil.example/"} {
			home := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", target)
				w.WriteHeader(status)
			})
			c := client(t, Options{}, home, away)
			res, err := c.Do(t.Context(), Request{URL: home.URL + "/api", Origin: home.URL, Bearer: drover.NewSecret("canary")})
			if err != nil || res.Status != status {
				t.Errorf("%d to %q: got %v, %v", status, target, res, err)
			}
			std, err := c.HTTPClient(home.URL, 0).Get(home.URL + "/api")
			if err != nil || std.StatusCode != status {
				t.Errorf("%d to %q through the standard client: got %v, %v", status, target, std, err)
			}
			if home.calls.Load() != 2 {
				t.Errorf("%d to %q: %d calls", status, target, home.calls.Load())
			}
			dealt += int(home.calls.Load())
		}
	}
	elsewhere := away.calls.Load() + chain.calls.Load()
	if elsewhere != 0 {
		t.Errorf("%d requests went elsewhere", elsewhere)
	}
	proof.Ran(t, "P04", "requests elsewhere %d after %d redirects", elsewhere, dealt)
}

func TestOnlyOneGzipLayerIsUnderstood(t *testing.T) {
	text := []byte(`{"value":["` + strings.Repeat("alert ", 1000) + `"]}`)
	zip, bomb := squeeze(t, text), squeeze(t, make([]byte, 64<<20))
	refused, heap := 0, uint64(0)
	for name, tt := range map[string]struct {
		encoding string
		body     []byte
		want     error
	}{
		"none":              {"", text, nil},
		"identity":          {"identity", text, nil},
		"gzip":              {"gzip", zip, nil},
		"GZIP":              {" GZIP ", zip, nil},
		"empty":             {"gzip", nil, nil},
		"junk behind":       {"gzip", append(bytes.Clone(zip), 'x'), ErrEncoding},
		"a second member":   {"gzip", append(bytes.Clone(zip), zip...), ErrEncoding},
		"nested":            {"gzip, gzip", squeeze(t, zip), ErrEncoding},
		"deflate":           {"deflate", zip, ErrEncoding},
		"br":                {"br", zip, ErrEncoding},
		"no gzip at all":    {"gzip", text, ErrEncoding},
		"broken checksum":   {"gzip", append(bytes.Clone(zip[:len(zip)-5]), 0, 0, 0, 0, 0), ErrEncoding},
		"a bomb, 1:1,000":   {"gzip", bomb, ErrTooLarge},
		"a bomb in a bomb":  {"gzip, gzip", squeeze(t, bomb), ErrEncoding},
		"as large as it is": {"", bytes.Repeat([]byte("x"), 1<<20), nil},
		"a byte too large":  {"", bytes.Repeat([]byte("x"), 1<<20+1), ErrTooLarge},
	} {
		for _, chunked := range []bool{false, true} {
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if tt.encoding != "" {
					w.Header().Set("Content-Encoding", tt.encoding)
				}
				if chunked {
					http.NewResponseController(w).Flush()
				}
				_, _ = w.Write(tt.body)
			})
			c := client(t, Options{Limits: Limits{Body: 1 << 20}}, s)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			res, err := c.Do(t.Context(), Request{URL: s.URL})
			runtime.ReadMemStats(&after)
			// All that was allocated meanwhile, by both sides: no peak is higher.
			if heap = max(heap, after.TotalAlloc-before.TotalAlloc); tt.want != nil {
				refused++
			}
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("%s, chunked %v: got %v, want %v", name, chunked, err, tt.want)
				continue
			}
			if err == nil && len(tt.body) > 0 && !bytes.Equal(res.Body, text) && !bytes.Equal(res.Body, tt.body) {
				t.Errorf("%s, chunked %v: the body differs", name, chunked)
			}
			if s.calls.Load() != 1 {
				t.Errorf("%s: asked %d times", name, s.calls.Load())
			}
		}
	}
	if heap > 1<<20+64<<20 {
		t.Errorf("%d MB were allocated for one answer", heap>>20)
	}
	proof.Ran(t, "P23", "%d answers refused; for none were more than %.1f MB allocated, with a cap of 1 MB and bombs of 64", refused, float64(heap)/(1<<20))
}

func TestABodyThatBreaksOffIsNotAPage(t *testing.T) {
	text := []byte(`{"value":[{"id":"a1","x":"` + strings.Repeat("y", 200) + `"},{"id":"a2"},{"id":"a3"}]}`)
	zip := squeeze(t, text)
	cuts, taken := 0, 0
	chunks := "5\r\n{\"val\r\n" + "6\r\nue\":[]\r\n" + "1\r\n}\r\n0\r\n\r\n"
	type answer struct{ name, head, body string }
	for _, a := range []answer{
		{"short of Content-Length", "Content-Length: " + strconv.Itoa(len(text)) + "\r\n", string(text)},
		{"gzip, short of Content-Length", "Content-Encoding: gzip\r\nContent-Length: " + strconv.Itoa(len(zip)) + "\r\n", string(zip)},
		{"gzip, cut without a length", "Content-Encoding: gzip\r\nConnection: close\r\n", string(zip)},
		{"chunked without its end", "Transfer-Encoding: chunked\r\n", chunks},
	} {
		addr, cut := rawServer(t, a.head, a.body)
		c := client(t, Options{})
		for n := range len(a.body) {
			if a.head[:10] == "Content-En" && strings.Contains(a.head, "close") && n == 0 {
				continue // an empty body is empty
			}
			cut.Store(int32(n))
			cuts++
			if res, err := c.Do(t.Context(), Request{URL: "http://" + addr + "/"}); err == nil {
				taken++
				t.Errorf("%s: cut at %d of %d: got %d bytes", a.name, n, len(a.body), len(res.Body))
			}
		}
		cut.Store(int32(len(a.body)))
		if _, err := c.Do(t.Context(), Request{URL: "http://" + addr + "/"}); err != nil {
			t.Errorf("%s: whole: got %v", a.name, err)
		}
	}
	proof.Ran(t, "P20", "answers accepted %d of %d cuts: short of their length, chunked without an end, gzip that breaks off", taken, cuts)
}

// rawServer answers every request with head and the first cut bytes of body,
// then closes.
func rawServer(t *testing.T, head, body string) (addr string, cut *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cut = &atomic.Int32{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = conn.Close() }()
				buf := make([]byte, 4096)
				if _, err := conn.Read(buf); err != nil {
					return
				}
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\n" + head + "\r\n" + body[:cut.Load()]))
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String(), cut
}

func TestHugeHeadersAreRefused(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Large", strings.Repeat("x", 1<<20))
	})
	for _, h2 := range []bool{true, false} {
		c := client(t, Options{}, s)
		if !h2 {
			c.transport.ForceAttemptHTTP2, c.transport.TLSNextProto = false, nil
			c.transport.Protocols = new(http.Protocols)
			c.transport.Protocols.SetHTTP1(true)
		}
		if res, err := c.Do(t.Context(), Request{URL: s.URL}); err == nil {
			t.Errorf("HTTP/2 %v: got %d", h2, res.Status)
		}
	}
}

func TestABodyCanBeGivenBackAndUsedAgain(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(strings.Repeat(r.URL.Path[1:], 1000)))
	})
	c := client(t, Options{}, s)
	var wg sync.WaitGroup
	for i := range 4 {
		letter := string(rune('a' + i))
		wg.Go(func() {
			for range 25 {
				res, err := c.Do(context.Background(), Request{URL: s.URL + "/" + letter})
				if err != nil || string(res.Body) != strings.Repeat(letter, 1000) {
					t.Errorf("got %v", err)
					return
				}
				res.Release()
				if res.Body != nil {
					t.Error("a body after its release")
				}
				res.Release() // twice does no harm
			}
		})
	}
	wg.Wait()
}

func TestAStreamThatThePeerEndsIsAskedForOnceMore(t *testing.T) {
	for name, late := range map[string]bool{"before the header": false, "in the body": true} {
		var first atomic.Bool
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if first.CompareAndSwap(false, true) {
				if late {
					_, _ = w.Write([]byte("{"))
					_ = http.NewResponseController(w).Flush()
				}
				panic(http.ErrAbortHandler) // RST_STREAM
			}
			_, _ = w.Write([]byte("{}"))
		})
		c := client(t, Options{}, s)
		res, err := c.Do(t.Context(), Request{URL: s.URL})
		if err != nil || string(res.Body) != "{}" || s.calls.Load() != 2 {
			t.Errorf("%s: got %v after %d calls", name, err, s.calls.Load())
		}
		first.Store(false)
		if _, err := c.Do(t.Context(), Request{Method: http.MethodPost, URL: s.URL, Body: []byte("once")}); err == nil || s.calls.Load() != 3 {
			t.Errorf("%s: a POST: got %v after %d calls", name, err, s.calls.Load())
		}
	}
}

func TestTheStandardClientKeepsTheSameRules(t *testing.T) {
	away := serve(t, func(http.ResponseWriter, *http.Request) {})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write(squeeze(t, append([]byte(r.Method+" "+r.Header.Get("Content-Type")+" "), body...)))
	})
	c := client(t, Options{}, s, away)
	std := c.HTTPClient(s.URL+"/tenant", 1000)
	res, err := std.Post(s.URL+"/tenant/token", "text/plain", strings.NewReader("form"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || string(body) != "POST text/plain form" || res.StatusCode != 401 || res.Status != "401 Unauthorized" || res.ContentLength != int64(len(body)) || res.Header.Get("Content-Encoding") != "" {
		t.Errorf("got %s %q, %v", res.Status, body, err)
	}
	if _, err := std.Post(s.URL+"/tenant/token", "text/plain", strings.NewReader(strings.Repeat("x", 2000))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a long answer: got %v", err)
	}
	before := s.calls.Load() + away.calls.Load()
	for _, u := range []string{away.URL + "/tenant/token", s.URL + "/other", s.URL + "/tenant/../other"} {
		if _, err := std.Post(u, "text/plain", strings.NewReader("secret")); !errors.Is(err, ErrOrigin) {
			t.Errorf("%s: got %v", u, err)
		}
	}
	if _, err := std.Post(s.URL+"/tenant", "text/plain", strings.NewReader(strings.Repeat("x", maxRequest+1))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a long request: got %v", err)
	}
	if s.calls.Load()+away.calls.Load() != before {
		t.Error("a request left")
	}
}
