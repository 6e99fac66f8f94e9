package splunk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestEachFaultKeepsAndAnswersAsItsNameSays(t *testing.T) {
	const four = `{"event":0}{"event":1}{"event":2}{"event":3}`
	type want struct {
		status, kept, told int
		answer             string
	}
	for kind, w := range map[string]want{
		"answer-lost":        {0, 4, 0, ""},
		"answer-torn":        {0, 4, 0, ""},
		"half-taken":         {0, 2, 0, ""},
		"cut":                {0, 0, 0, ""},
		"outage":             {0, 0, 0, ""},
		"busy":               {503, 0, 0, `"code":9`},
		"error-after-taking": {500, 4, 0, `"code":8`},
		"error":              {500, 0, 0, `"code":8`},
		"gateway-timeout":    {504, 4, 0, "html"},
		"bad-gateway":        {502, 0, 0, "html"},
		"request-timeout":    {408, 4, 0, ""},
		"throttled":          {429, 0, 0, `"code":26`},
		"ack-channel-full":   {429, 0, 0, `"code":27`},
		"unhealthy-queues":   {503, 0, 0, `"code":18`},
		"unhealthy-ack":      {503, 0, 0, `"code":19`},
		"unhealthy":          {503, 0, 0, `"code":20`},
		"shutting-down":      {503, 0, 0, `"code":23`},
		"html":               {200, 0, 0, "Sign in"},
		"empty":              {200, 0, 0, ""},
		"queue-nearly-full":  {200, 4, 4, `"code":24`},
		"ack-nearly-full":    {200, 4, 4, `"code":25`},
		"swallowed":          {200, 0, 4, `"code":0`},
	} {
		t.Run(kind, func(t *testing.T) {
			r := newReceiver(t, Options{})
			if _, err := r.Set(Fault{Kind: kind, Count: 1, RetryAfter: "7"}); err != nil {
				t.Fatal(err)
			}
			status, answer := post(t, r, "/services/collector", "plain-value", four)
			events, _ := r.Events()
			kept, told := 0, 0
			for _, e := range events {
				if e.Kept {
					kept++
				}
				if e.Answered {
					told++
				}
			}
			if status != w.status || kept != w.kept || told != w.told || !strings.Contains(answer, w.answer) {
				t.Errorf("got status %d kept %d told %d %q, want %+v", status, kept, told, answer, w)
			}
			if status, _ := post(t, r, "/services/collector", "plain-value", four); status != 200 {
				t.Errorf("the request after it got %d", status)
			}
		})
	}
	for kind := range Kinds() {
		if effects[kind].on == "ack" || kind == "slow" {
			continue // these have their own tests
		}
		if _, err := newReceiver(t, Options{}).Set(Fault{Kind: kind}); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestFaultsAreLimitedByCountTimeTokenAndTurn(t *testing.T) {
	now := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	statuses := func(r *Receiver, token string, n int) string {
		var list []string
		for range n {
			status, _ := post(t, r, "/services/collector", token, `{"event":1}`)
			list = append(list, fmt.Sprint(status))
			now = now.Add(time.Second)
		}
		return strings.Join(list, " ")
	}
	for name, tt := range map[string]struct {
		fault Fault
		want  string
	}{
		"the next two":           {Fault{Count: 2}, "503 503 200 200 200 200"},
		"the next two after one": {Fault{Skip: 1, Count: 2}, "200 503 503 200 200 200"},
		"every third":            {Fault{Every: 3}, "503 200 200 503 200 200"},
		"from and until":         {Fault{From: now.Add(2 * time.Second), Until: now.Add(4 * time.Second)}, "200 200 503 503 200 200"},
		"another token's":        {Fault{Token: "acked"}, "200 200 200 200 200 200"},
		"another endpoint's":     {Fault{On: "ack"}, "200 200 200 200 200 200"},
	} {
		t.Run(name, func(t *testing.T) {
			start := now
			defer func() { now = start }()
			r := newReceiver(t, Options{Now: func() time.Time { return now }})
			tt.fault.Kind = "busy"
			if _, err := r.Set(tt.fault); err != nil {
				t.Fatal(err)
			}
			if got := statuses(r, "plain-value", 6); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestConfirmationsFailInTheirOwnWays(t *testing.T) {
	for kind, tt := range map[string]struct{ first, second string }{
		"unconfirmed":         {`{"acks":{"0":false}}`, `{"acks":{"0":true}}`},
		"confirmation-lost":   {"", `{"acks":{"0":false}}`},
		"confirmation-busy":   {`{"text":"Server is busy","code":9}`, `{"acks":{"0":true}}`},
		"confirmation-absent": {loginPage, `{"acks":{"0":false}}`},
	} {
		t.Run(kind, func(t *testing.T) {
			var log bytes.Buffer
			r := newReceiver(t, Options{Log: &log})
			post(t, r, "/services/collector", "acked-value", `{"event":1}`, "X-Splunk-Request-Channel", guid)
			if _, err := r.Set(Fault{Kind: kind, Count: 1}); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{tt.first, tt.second} {
				if _, got := post(t, r, "/services/collector/ack", "acked-value", `{"acks":[0]}`, "X-Splunk-Request-Channel", guid); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			}
			told := strings.Contains(tt.first+tt.second, "true")
			if got := strings.Contains(log.String(), `"ack":0,"answered":true}`); got != told {
				t.Errorf("log says answered %v, want %v:\n%s", got, told, log.String())
			}
		})
	}
	r := newReceiver(t, Options{})
	if _, err := r.Set(Fault{Kind: "swallowed", Count: 1}); err != nil {
		t.Fatal(err)
	}
	post(t, r, "/services/collector", "acked-value", `{"event":1}`, "X-Splunk-Request-Channel", guid)
	if _, got := post(t, r, "/services/collector/ack", "acked-value", `{"acks":[0]}`, "X-Splunk-Request-Channel", guid); got != `{"acks":{"0":false}}` {
		t.Errorf("what was swallowed is confirmed: %s", got)
	}
}

// pipeListener is a network inside one process, so that a real client and
// server can run in a synctest bubble.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipe() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case l.conns <- b:
		return a, nil
	case <-l.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func TestASlowAnswerIsLostWhenTheClientGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		r := newReceiver(t, Options{Log: &log, KeepBytes: 1 << 20})
		l := newPipe()
		srv := &http.Server{Handler: r}
		var wg sync.WaitGroup
		wg.Go(func() { _ = srv.Serve(r.Listener(l)) })
		client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DialContext: l.dial}}
		send := func() error {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://splunk/services/collector", strings.NewReader(`{"event":1}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Splunk plain-value")
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, resp.Body)
			return errors.Join(err, resp.Body.Close())
		}
		set := func(f Fault) {
			t.Helper()
			if _, err := r.Set(f); err != nil {
				t.Fatal(err)
			}
		}
		for _, tt := range []struct {
			fault    Fault
			took     time.Duration
			answered bool
		}{
			{Fault{Kind: "slow", Count: 1}, 30 * time.Second, false},
			{Fault{Kind: "slow", Count: 1, Delay: 31 * time.Second}, 30 * time.Second, false},
			{Fault{Kind: "slow", Count: 1, Delay: 29 * time.Second}, 29 * time.Second, true},
			{Fault{Kind: "answer-torn", Count: 1}, 0, false},
			{Fault{Kind: "answer-lost", Count: 1}, 0, false},
		} {
			set(tt.fault)
			start := time.Now()
			err := send()
			took := time.Since(start)
			synctest.Wait()
			events, _ := r.Events()
			last := events[len(events)-1]
			if took != tt.took || (err == nil) != tt.answered || last.Answered != tt.answered || !last.Kept {
				t.Errorf("%+v: took %v, error %v, answered %v, kept %v", tt.fault, took, err, last.Answered, last.Kept)
			}
		}
		set(Fault{Kind: "outage", Until: time.Now().Add(time.Minute)})
		client.CloseIdleConnections()
		if send() == nil {
			t.Error("a request passed in an outage")
		}
		time.Sleep(time.Minute) // of the bubble
		if err := send(); err != nil {
			t.Errorf("after the outage: %v", err)
		}
		client.CloseIdleConnections()
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
}

func TestTheDeskSetsAndShowsSwitchesAndNoSecret(t *testing.T) {
	r := newReceiver(t, Options{})
	desk := r.Control()
	call := func(method, path, body string) (int, string) {
		w := httptest.NewRecorder()
		desk.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		return w.Code, w.Body.String()
	}
	for _, tt := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/faults", `{"kind":"busy","count":2,"for":"5m","retry_after":"soon"}`, 200},
		{"POST", "/faults", `{"kind":"slow","delay":"3s"}`, 200},
		{"POST", "/faults", `{"kind":"nonsense"}`, 400},
		{"POST", "/faults", `{"kind":"busy","colour":1}`, 400},
		{"POST", "/faults", `{"kind":"busy","on":"moon"}`, 400},
		{"DELETE", "/faults/2", "", 204},
		{"DELETE", "/faults/2", "", 404},
		{"POST", "/restart", "", 204},
		{"POST", "/nodes", `{"nodes":2}`, 204},
		{"POST", "/nodes", `{"nodes":0}`, 400},
		{"PUT", "/tokens", `{"name":"new","value":"new-value","use_ack":true}`, 204},
		{"PUT", "/tokens", `{"name":"new"}`, 400},
		{"POST", "/tokens/plain/disable", "", 204},
		{"POST", "/tokens/nobody/disable", "", 404},
	} {
		if status, answer := call(tt.method, tt.path, tt.body); status != tt.status {
			t.Errorf("%s %s %s: %d %s", tt.method, tt.path, tt.body, status, answer)
		}
	}
	faults := r.Faults()
	if len(faults) != 1 || faults[0].Kind != "busy" || faults[0].Count != 2 || faults[0].Until.IsZero() || faults[0].RetryAfter != "soon" {
		t.Errorf("faults: %+v", faults)
	}
	if status, answer := post(t, r, "/services/collector", "plain-value", "x"); status != 403 {
		t.Errorf("a token disabled at the desk got %d %s", status, answer)
	}
	_, state := call("GET", "/", "")
	if !json.Valid([]byte(state)) || !strings.Contains(state, `"busy"`) {
		t.Errorf("state: %s", state)
	}
	for _, secret := range []string{"plain-value", "acked-value", "new-value"} {
		if strings.Contains(state, secret) {
			t.Errorf("the desk shows the value of a token")
		}
	}
}
