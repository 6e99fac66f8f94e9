package httpx

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"drover/internal/proof"
)

// pipes is a listener in memory, so that time can be virtual.
type pipes struct {
	serve func(net.Conn)
	wg    sync.WaitGroup
	dials int
}

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	p.dials++
	here, there := net.Pipe()
	p.wg.Go(func() {
		defer func() { _ = there.Close() }()
		p.serve(there)
	})
	return here, nil
}

// request reads what a client asks, up to the blank line.
func request(c net.Conn) bool {
	buf, got := make([]byte, 1), ""
	for {
		if _, err := c.Read(buf); err != nil {
			return false
		}
		if got += string(buf); len(got) >= 4 && got[len(got)-4:] == "\r\n\r\n" {
			return true
		}
	}
}

// trickle writes s byte by byte with a pause before each.
func trickle(c net.Conn, s string, pause time.Duration) {
	for i := range len(s) {
		time.Sleep(pause)
		if _, err := c.Write([]byte{s[i]}); err != nil {
			return
		}
	}
}

// hang waits until the client is gone.
func hang(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

const okHead = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"

func TestAPeerThatTricklesOrHangsIsGivenUpInTime(t *testing.T) {
	stuck, given, over := 0, 0, time.Duration(0)
	for name, tt := range map[string]struct {
		serve func(net.Conn)
		limit time.Duration
	}{
		"a header byte per second": {func(c net.Conn) {
			request(c)
			trickle(c, "HTTP/1.1 200 OK\r\n"+strings.Repeat("X-Y: z\r\n", 100), time.Second)
		}, time.Minute},
		"nothing after the request": {func(c net.Conn) { request(c); hang(c) }, time.Minute},
		"nothing after the header":  {func(c net.Conn) { request(c); _, _ = io.WriteString(c, okHead); hang(c) }, 30 * time.Second},
		"a body byte in ten seconds": {func(c net.Conn) {
			request(c)
			_, _ = io.WriteString(c, okHead)
			trickle(c, string(make([]byte, 100)), 10*time.Second)
		}, 30 * time.Second},
		"a body byte per second": {func(c net.Conn) {
			request(c)
			_, _ = io.WriteString(c, okHead)
			trickle(c, string(make([]byte, 1000)), time.Second)
		}, 30 * time.Second},
		"half a body, then nothing": {func(c net.Conn) { request(c); _, _ = io.WriteString(c, okHead+string(make([]byte, 50000))); hang(c) }, time.Minute},
		"just enough, but for too long": {func(c net.Conn) {
			request(c)
			_, _ = io.WriteString(c, okHead)
			trickle(c, string(make([]byte, 100000)), 50*time.Millisecond)
		}, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pipes{serve: tt.serve}
				c, err := New(Options{Dial: p.dial})
				if err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				_, err = c.Do(t.Context(), Request{URL: "http://api.example/"})
				took := time.Since(begin)
				if !errors.Is(err, ErrStalled) || took > tt.limit+time.Second {
					t.Errorf("got %v after %v", err, took)
					stuck++
				}
				given, over = given+1, max(over, took-tt.limit)
				if p.dials != 1 {
					t.Errorf("%d connections: a deadline is no reason to ask again", p.dials)
				}
				c.Close()
				p.wg.Wait()
			})
		})
	}
	proof.Ran(t, "P27", "stuck workers %d of %d; given up at most %s after the limit", stuck, given, max(over, 0))
}

func TestASlowButSteadyAnswerIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{serve: func(c net.Conn) {
			request(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1500\r\n\r\n")
			trickle(c, string(make([]byte, 1500)), 100*time.Millisecond) // 300 bytes in 30 s
		}}
		c, err := New(Options{Dial: p.dial})
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Do(t.Context(), Request{URL: "http://api.example/"})
		if err != nil || len(res.Body) != 1500 {
			t.Errorf("got %v", err)
		}
		c.Close()
		p.wg.Wait()
	})
}

func TestACallersOwnEndIsNamedAsThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{serve: func(c net.Conn) { request(c); hang(c) }}
		c, err := New(Options{Dial: p.dial})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := c.Do(ctx, Request{URL: "http://api.example/"}); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: got %v", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Do(ctx, Request{URL: "http://api.example/"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("deadline: got %v", err)
		}
		c.Close()
		p.wg.Wait()
	})
}

func TestConnectingHasItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Options{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		_, err = c.Do(t.Context(), Request{URL: "http://api.example/"})
		if took := time.Since(begin); err == nil || took > 11*time.Second {
			t.Errorf("dial: got %v after %v", err, took)
		}
		p := &pipes{serve: hang}
		c, err = New(Options{Dial: p.dial})
		if err != nil {
			t.Fatal(err)
		}
		begin = time.Now()
		_, err = c.Do(t.Context(), Request{URL: "https://api.example/"})
		if took := time.Since(begin); err == nil || took > 11*time.Second {
			t.Errorf("TLS: got %v after %v", err, took)
		}
		c.Close()
		p.wg.Wait()
	})
}

func TestALostConnectionIsTriedOnceMoreAndOnlyForReading(t *testing.T) {
	whole := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
	for name, tt := range map[string]struct {
		first  func(net.Conn)
		method string
		dials  int
		good   bool
	}{
		"before the request":         {func(net.Conn) {}, "GET", 2, true},
		"after the request":          {func(c net.Conn) { request(c) }, "GET", 2, true},
		"in the header":              {func(c net.Conn) { request(c); _, _ = io.WriteString(c, whole[:20]) }, "GET", 2, true},
		"in the body":                {func(c net.Conn) { request(c); _, _ = io.WriteString(c, whole[:len(whole)-1]) }, "GET", 2, true},
		"a POST after the request":   {func(c net.Conn) { request(c) }, "POST", 1, false},
		"a POST in the body":         {func(c net.Conn) { request(c); _, _ = io.WriteString(c, whole[:len(whole)-1]) }, "POST", 1, false},
		"no HTTP at all":             {func(c net.Conn) { request(c); _, _ = io.WriteString(c, "canary not HTTP\r\n\r\n"); hang(c) }, "GET", 2, true},
		"a header that is no header": {func(c net.Conn) { request(c); _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncanary\r\n\r\n"); hang(c) }, "GET", 2, true},
		"an encoding is no loss": {func(c net.Conn) {
			request(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx")
			hang(c)
		}, "GET", 1, false},
		"no HTTP at all, twice over": {func(c net.Conn) { request(c); _, _ = io.WriteString(c, "canary not HTTP\r\n\r\n"); hang(c) }, "POST", 1, false},
		"a status is an answer": {func(c net.Conn) {
			request(c)
			_, _ = io.WriteString(c, "HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n")
			hang(c)
		}, "GET", 1, true},
		"a length that is no number": {func(c net.Conn) {
			request(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: canary\r\n\r\n")
			hang(c)
		}, "GET", 1, false},
		"two lengths that disagree": {func(c net.Conn) {
			request(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}")
			hang(c)
		}, "GET", 1, false},
		"a chunk length from nowhere": {func(c net.Conn) {
			request(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ncanary\r\n")
			hang(c)
		}, "GET", 1, false},
		"an encoding nobody has heard": {func(c net.Conn) {
			request(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: canary\r\n\r\n")
			hang(c)
		}, "GET", 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n int
				p := &pipes{}
				p.serve = func(c net.Conn) {
					if n++; n == 1 {
						tt.first(c)
						return
					}
					request(c)
					_, _ = io.WriteString(c, whole)
					hang(c)
				}
				c, err := New(Options{Dial: p.dial})
				if err != nil {
					t.Fatal(err)
				}
				_, err = c.Do(t.Context(), Request{Method: tt.method, URL: "http://api.example/?secret=canary"})
				if (err == nil) != tt.good || p.dials != tt.dials {
					t.Errorf("got %v after %d connections, want %d", err, p.dials, tt.dials)
				}
				if err != nil && contains(err.Error(), "canary") {
					t.Errorf("the error tells what the peer said: %v", err)
				}
				c.Close()
				p.wg.Wait()
			})
		})
	}
}

func TestAnAnswerLostAtAnyByteIsAskedForOnceMore(t *testing.T) {
	whole := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
	for n := range len(whole) {
		synctest.Test(t, func(t *testing.T) {
			calls := 0
			p := &pipes{}
			p.serve = func(c net.Conn) {
				calls++
				cut := len(whole)
				if calls == 1 {
					cut = n
				}
				request(c)
				_, _ = io.WriteString(c, whole[:cut])
				if calls > 1 {
					hang(c)
				}
			}
			c, err := New(Options{Dial: p.dial})
			if err != nil {
				t.Fatal(err)
			}
			if res, err := c.Do(t.Context(), Request{URL: "http://api.example/"}); err != nil || string(res.Body) != "{}" || calls != 2 {
				t.Errorf("cut at %d: got %v after %d calls", n, err, calls)
			}
			c.Close()
			p.wg.Wait()
		})
	}
}

func TestASecondLossIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{serve: func(c net.Conn) { request(c) }}
		c, err := New(Options{Dial: p.dial})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Do(t.Context(), Request{URL: "http://api.example/"}); err == nil || p.dials != 2 {
			t.Errorf("got %v after %d connections", err, p.dials)
		}
		c.Close()
		p.wg.Wait()
	})
}
