package httpx

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"drover"
	"drover/internal/proof"
)

// nameServer answers DNS questions in memory: status, then addresses of the
// asked kind. A negative status gives no answer at all.
type nameServer struct {
	status  int
	answers []netip.Addr
	later   []netip.Addr // from the second question on, if there are any

	mu    sync.Mutex
	asked int
}

// answer reads a question (RFC 1035 §4) and writes what it knows.
func (s *nameServer) answer(q []byte) []byte {
	if s.status < 0 || len(q) < 12 {
		return nil
	}
	end := 12
	for end < len(q) && q[end] != 0 {
		end += int(q[end]) + 1
	}
	end += 5
	kind := binary.BigEndian.Uint16(q[end-4:])
	s.mu.Lock()
	s.asked++
	list := s.answers
	if s.asked > 2 && s.later != nil { // A and AAAA are asked for together
		list = s.later
	}
	s.mu.Unlock()
	out := append([]byte(nil), q[:end]...)
	out[2], out[3] = 0x81, 0x80|byte(s.status)
	n := 0
	for _, a := range list {
		raw, is := a.AsSlice(), uint16(1)
		if a.Is6() {
			is = 28
		}
		if is != kind {
			continue
		}
		n++
		out = append(out, 0xc0, 12, 0, byte(is), 0, 1, 0, 0, 0, 0, 0, byte(len(raw)))
		out = append(out, raw...)
	}
	binary.BigEndian.PutUint16(out[6:], uint16(n))
	binary.BigEndian.PutUint16(out[8:], 0)
	binary.BigEndian.PutUint16(out[10:], 0)
	return out
}

// dial is a connection to the name server: a stream, as every message with its
// length before it.
func (s *nameServer) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	go func() {
		defer func() { _ = there.Close() }()
		buf := make([]byte, 1500)
		for {
			n, err := there.Read(buf)
			if err != nil {
				return
			}
			msg := buf[:n]
			if n == 2 { // the length came alone
				if n, err = there.Read(buf); err != nil {
					return
				}
				msg = buf[:n]
			} else {
				msg = msg[2:]
			}
			if out := s.answer(msg); out != nil {
				_, _ = there.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
			}
		}
	}()
	return here, nil
}

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func TestANameThatIsNotThereOrLeadsAstrayPasses(t *testing.T) {
	usual := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = usual })
	// Whoever is called on loopback is noticed.
	var called atomic.Int32
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			called.Add(1)
			_ = c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	asked, private := 0, 0
	for name, tt := range map[string]struct {
		dns     *nameServer
		private bool
	}{
		"NXDOMAIN":                    {&nameServer{status: 3}, false},
		"SERVFAIL":                    {&nameServer{status: 2}, false},
		"REFUSED":                     {&nameServer{status: 5}, false},
		"no answer":                   {&nameServer{status: -1}, false},
		"no address":                  {&nameServer{}, false},
		"loopback":                    {&nameServer{answers: addrs("127.0.0.1")}, true},
		"loopback, IPv6":              {&nameServer{answers: addrs("::1")}, true},
		"loopback as IPv6":            {&nameServer{answers: addrs("::ffff:127.0.0.1")}, true},
		"private":                     {&nameServer{answers: addrs("10.0.0.1")}, true},
		"another private one":         {&nameServer{answers: addrs("192.168.1.1")}, true},
		"link-local, the metadata's":  {&nameServer{answers: addrs("169.254.169.254")}, true},
		"shared":                      {&nameServer{answers: addrs("100.64.0.1")}, true},
		"this host":                   {&nameServer{answers: addrs("0.0.0.0")}, true},
		"unique local":                {&nameServer{answers: addrs("fd00::1")}, true},
		"several, both kinds":         {&nameServer{answers: addrs("10.0.0.1", "127.0.0.1", "::1", "fe80::1")}, true},
		"nothing, and then loopback":  {&nameServer{later: addrs("127.0.0.1")}, true},
		"a private one, then another": {&nameServer{answers: addrs("10.0.0.1"), later: addrs("127.0.0.1")}, true},
	} {
		net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: tt.dns.dial}
		c, err := New(Options{Limits: Limits{Dial: 300 * time.Millisecond}})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // answers that change are looked at anew
			_, err := c.Do(t.Context(), Request{URL: "https://graph.example.:" + port + "/", Origin: "https://graph.example.:" + port, Bearer: drover.NewSecret("canary")})
			asked++
			switch {
			case err == nil:
				t.Errorf("%s: an answer", name)
			case errors.Is(err, ErrPrivate):
				private++
			case tt.private && tt.dns.later == nil:
				t.Errorf("%s: %v", name, err)
			}
		}
		c.Close()
	}
	if called.Load() != 0 || private == 0 {
		t.Errorf("%d connections to loopback, %d refused as private", called.Load(), private)
	}
	_ = l.Close()
	<-done
	proof.Ran(t, "P29", "requests to private space %d of %d calls, %d of them refused for where the name led", called.Load(), asked, private)
}
