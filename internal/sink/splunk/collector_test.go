package splunk_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/httpx"
	lab "drover/internal/lab/splunk"
	"drover/internal/sink/sinktest"
	"drover/internal/sink/splunk"
)

// collector is the pretend Splunk behind real TLS, with a token for each
// customer.
type collector struct {
	*lab.Receiver
	url    string
	client *httpx.Client
	opt    splunk.Options // of the sinks for it
	laneOf map[string]string

	mu   sync.Mutex
	bend func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
}

type change func(*lab.Options, *splunk.Options)

// newCollector starts one on loopback.
func newCollector(t *testing.T, ack bool, changes ...change) *collector {
	t.Helper()
	changes = append([]change{func(_ *lab.Options, o *splunk.Options) { o.AckEvery, o.AckWait = time.Millisecond, 10*time.Second }}, changes...)
	return start(t, ack, nil, changes)
}

// bubble runs a test in virtual time; its collectors are reached over pipes.
func bubble(t *testing.T, f func(t *testing.T, start func(ack bool, changes ...change) *collector)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t, func(ack bool, changes ...change) *collector { return start(t, ack, newPipes(), changes) })
	})
}

func start(t *testing.T, ack bool, p *pipes, changes []change) *collector {
	t.Helper()
	c := &collector{laneOf: make(map[string]string)}
	opt := lab.Options{}
	c.opt = splunk.Options{Ack: ack}
	for _, x := range sinktest.Tenants {
		opt.Tokens = append(opt.Tokens, lab.Token{Name: string(x.Customer), Value: secretOf(x), Indexes: []string{indexOf(x)}, UseACK: ack})
	}
	for _, f := range changes {
		f(&opt, &c.opt)
	}
	var err error
	if c.Receiver, err = lab.New(opt); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(c.serve))
	srv.EnableHTTP2 = true
	client := httpx.Options{AllowPrivate: true}
	if p != nil {
		_ = srv.Listener.Close()
		srv.Listener, client.Dial = p, p.dial
	}
	srv.Listener = c.Listener(srv.Listener)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	c.url = srv.URL
	client.CAs = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	c.client = newClient(t, client)
	return c
}

func newClient(t *testing.T, opt httpx.Options) *httpx.Client {
	t.Helper()
	client, err := httpx.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func secretOf(t drover.Tenant) string { return "value-of-" + string(t.Customer) }
func indexOf(t drover.Tenant) string  { return "alerts-" + string(t.Customer) }

// serve lets a test look and answer first.
func (c *collector) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	bend := c.bend
	c.mu.Unlock()
	if bend == nil || !bend(w, r) {
		c.ServeHTTP(w, r)
	}
}

// sink builds a sink as a new process would.
func (c *collector) sink(t testing.TB) *splunk.Sink {
	t.Helper()
	opt := c.opt
	opt.URL, opt.HTTP = c.url, c.client
	if opt.Target == nil {
		opt.Target = func(x drover.Tenant) splunk.Target {
			return splunk.Target{Token: func() (drover.Secret, error) { return drover.NewSecret(secretOf(x)), nil }, TokenName: "/etc/drover/" + string(x.Customer) + ".token",
				Index: indexOf(x), Host: string(x.Customer) + ".example", Source: "drover", Sourcetype: "drover:alert"}
		}
	}
	s, err := splunk.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range sinktest.Tenants {
		c.laneOf[string(x.Customer)] = s.Lane(x)
	}
	return s
}

// events are those that were indexed.
func (c *collector) events() (out []lab.Event) {
	all, _ := c.Events()
	for _, e := range all {
		if e.Kept {
			out = append(out, e)
		}
	}
	return out
}

// count says how often each event ID is there, and that every body is the
// record's.
func (c *collector) count(t testing.TB, recs []drover.Record) (lost, repeats int) {
	t.Helper()
	bodies := make(map[string]string, len(recs))
	for i := range recs {
		bodies[recs[i].EventID] = string(recs[i].Body)
	}
	seen := make(map[string]int)
	for _, e := range c.events() {
		id := idOf(t, e)
		if string(e.Body) != bodies[id] {
			t.Errorf("event %s has another body", id)
		}
		seen[id]++
	}
	for id := range bodies {
		if seen[id] == 0 {
			lost++
		}
		repeats += max(seen[id]-1, 0)
	}
	return lost, repeats
}

func idOf(t testing.TB, e lab.Event) string {
	t.Helper()
	var f map[string]string
	if err := json.Unmarshal(e.Fields, &f); err != nil {
		t.Fatal(err)
	}
	return f["drover.event_id"]
}

// batch is one of the first customer's.
func batch(s drover.Sink, recs []drover.Record) drover.Batch {
	return sinktest.Batch(s.Lane(sinktest.Tenants[0]), recs, nil)
}

// pipes is a listener for a bubble of virtual time: connections are pipes.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8088} }

// unzip is the body of a request as it was before compression.
func unzip(t testing.TB, r httpx.Request) []byte {
	t.Helper()
	if r.Header.Get("Content-Encoding") != "gzip" {
		return r.Body
	}
	z, err := gzip.NewReader(bytes.NewReader(r.Body))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
