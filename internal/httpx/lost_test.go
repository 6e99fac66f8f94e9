package httpx

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"drover/internal/proof"
)

// frame is an HTTP/2 frame on stream 0 or 1.
func frame(kind byte, stream uint32, payload ...byte) []byte {
	b := append([]byte{0, 0, byte(len(payload)), kind, 0}, make([]byte, 4)...)
	binary.BigEndian.PutUint32(b[5:], stream)
	return append(b, payload...)
}

// HTTP/2 frames that end things (RFC 9113 §6).
var (
	settings    = frame(4, 0)
	goAway      = frame(7, 0, 0, 0, 0, 0, 0, 0, 0, 0)   // NO_ERROR, no stream was looked at
	goAwayAfter = frame(7, 0, 0, 0, 0, 1, 0, 0, 0, 2)   // INTERNAL_ERROR, the first one was
	goAwayCalm  = frame(7, 0, 0, 0, 0, 1, 0, 0, 0, 0xb) // ENHANCE_YOUR_CALM
	rstStream   = frame(3, 1, 0, 0, 0, 2)               // INTERNAL_ERROR
	rstRefused  = frame(3, 1, 0, 0, 0, 7)               // REFUSED_STREAM
)

// sleeper is a connection whose other side may fall asleep: what is written is
// lost, and nothing comes.
type sleeper struct {
	net.Conn
	asleep *atomic.Bool
}

func (s sleeper) Write(b []byte) (int, error) {
	if s.asleep.Load() {
		return len(b), nil
	}
	return s.Conn.Write(b)
}

// afterAsking shakes hands, reads until the request is there, and goes on.
func afterAsking(conf *tls.Config, then func(c net.Conn)) func(net.Conn) {
	return func(c net.Conn) {
		t := tls.Server(c, conf)
		if t.Handshake() != nil {
			return
		}
		// Read all that comes in a moment: preface, settings, the request.
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			_, _ = io.Copy(io.Discard, t)
		}()
		_, _ = t.Write(settings)
		time.Sleep(time.Second)
		then(t)
		time.Sleep(time.Second)
		_ = c.Close()
		<-asked
	}
}

func TestAConnectionLostInAnyWayCostsNothing(t *testing.T) {
	// The certificate of httptest, for example.com; its server is not used.
	srv := httptest.NewUnstartedServer(nil)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	conf, pem := srv.TLS, pemOf(srv)
	srv.Close()
	const whole = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
	send := func(b ...[]byte) func(net.Conn) {
		return func(c net.Conn) {
			for _, b := range b {
				_, _ = c.Write(b)
			}
		}
	}
	h1 := conf.Clone()
	h1.NextProtos = []string{"http/1.1"}
	first := map[string]func(net.Conn){
		"a reset in the handshake":           func(c net.Conn) { _, _ = c.Read(make([]byte, 100)) },
		"a handshake that breaks off":        func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)); _, _ = c.Write([]byte{22, 3, 3, 1, 0, 2}) },
		"a reset after the request":          afterAsking(conf, send()),
		"GOAWAY before it was looked at":     afterAsking(conf, send(goAway)),
		"GOAWAY after that":                  afterAsking(conf, send(goAwayAfter)),
		"GOAWAY that asks for calm":          afterAsking(conf, send(goAwayCalm)),
		"RST_STREAM":                         afterAsking(conf, send(rstStream)),
		"RST_STREAM: refused":                afterAsking(conf, send(rstRefused)),
		"a frame that breaks off":            afterAsking(conf, send(goAway[:11])),
		"a reset after the request, HTTP/1":  afterAsking1(h1, ""),
		"a reset in the header, HTTP/1":      afterAsking1(h1, whole[:20]),
		"a reset behind the header, HTTP/1":  afterAsking1(h1, whole[:len(whole)-2]),
		"a reset in the body, HTTP/1":        afterAsking1(h1, whole[:len(whole)-1]),
		"an empty answer from a stale entry": func(net.Conn) {},
	}
	lost := 0
	slowest := time.Duration(0)
	try := func(name string, dial func(n int, good func(net.Conn) net.Conn) (net.Conn, error), before func(c *Client, url string)) {
		synctest.Test(t, func(t *testing.T) {
			l := newPipeListener()
			good := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "{}") }), TLSConfig: conf.Clone()}
			go func() { _ = good.ServeTLS(l, "", "") }()
			n := 0
			c, err := New(Options{CAs: pem, Dial: func(context.Context, string, string) (net.Conn, error) {
				n++
				return dial(n, func(wrapped net.Conn) net.Conn {
					here, there := net.Pipe()
					if wrapped != nil {
						here, there = wrapped, nil
					}
					if there != nil {
						l.conns <- there
					}
					return here
				})
			}})
			if err != nil {
				t.Fatal(err)
			}
			if before != nil {
				before(c, "https://example.com/")
			}
			begin := time.Now()
			res, err := c.Do(t.Context(), Request{URL: "https://example.com/"})
			if err != nil || string(res.Body) != "{}" || n != 2 {
				t.Errorf("%s: %v after %d connections", name, err, n)
				lost++
			}
			slowest = max(slowest, time.Since(begin))
			c.Close()
			_ = good.Close()
			time.Sleep(time.Minute)
		})
	}
	for name, serve := range first {
		try(name, func(n int, good func(net.Conn) net.Conn) (net.Conn, error) {
			if n > 1 {
				return good(nil), nil
			}
			here, there := net.Pipe()
			go func() {
				serve(there)
				_ = there.Close()
			}()
			return here, nil
		}, nil)
	}
	try("refused at dial", func(n int, good func(net.Conn) net.Conn) (net.Conn, error) {
		if n == 1 {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}
		return good(nil), nil
	}, nil)
	var asleep atomic.Bool
	try("a host that slept", func(n int, good func(net.Conn) net.Conn) (net.Conn, error) {
		if n > 1 {
			return good(nil), nil
		}
		return sleeper{good(nil), &asleep}, nil
	}, func(c *Client, url string) {
		if _, err := c.Do(context.Background(), Request{URL: url}); err != nil {
			t.Error(err)
		}
		asleep.Store(true)
	})
	if slowest > 31*time.Second {
		t.Errorf("the slowest took %s", slowest)
	}
	proof.Ran(t, "P28", "lost %d of %d answers whose first connection was lost; the slowest, of a host that slept, took %s", lost, len(first)+2, slowest.Round(time.Second))
}

// afterAsking1 is afterAsking for HTTP/1.1, with what of an answer comes.
func afterAsking1(conf *tls.Config, answer string) func(net.Conn) {
	return func(c net.Conn) {
		t := tls.Server(c, conf)
		if t.Handshake() == nil && request(t) {
			_, _ = io.WriteString(t, answer)
		}
	}
}

// pipeListener accepts what is put into it.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn, 8), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }
