package sinktest

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/bits"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"drover"
	"drover/internal/httpx"
)

// HTTP is the part of the suite for sinks that speak HTTP.
type HTTP struct {
	// Open builds the sink for a receiver at an address; token is its secret.
	Open func(t *testing.T, address string, client *httpx.Client, token drover.Secret) drover.Sink
	// Records lists the event IDs of the records in a request, nil for a
	// request that carries none.
	Records func(r *http.Request, body []byte) []string
	// Accept answers a request as the receiver does that has taken all of it.
	Accept func(w http.ResponseWriter, r *http.Request)
	// TooLarge answers a request that is larger than the receiver takes.
	TooLarge []func(w http.ResponseWriter)
	// NotSuccess lists bodies of answers with status 200 that say no success.
	NotSuccess []string
	Ran
}

// canary is the secret that must not show, long enough to be found in parts.
const canary = "kan4rie-9f8e7d6c-5b4a3928-1706f5e4"

// forms are the shapes in which a secret could show.
func forms(secret string) []string {
	b := []byte(secret)
	quoted, _ := json.Marshal(secret)
	out := []string{secret, url.QueryEscape(secret), hex.EncodeToString(b), strings.Trim(string(quoted), `"`), base64.StdEncoding.EncodeToString(b), base64.RawURLEncoding.EncodeToString(b)}
	for i := 0; i+16 <= len(secret); i += 8 {
		part := secret[i : i+16]
		out = append(out, part, hex.EncodeToString([]byte(part)))
	}
	// Behind a prefix of one or two bytes base64 looks different.
	for n := 1; n <= 2; n++ {
		enc := base64.StdEncoding.EncodeToString(append(make([]byte, n), b...))
		out = append(out, strings.TrimRight(enc[4:], "="))
	}
	return out
}

// quiet drops what a server says of connections that the tests cut.
var quiet = log.New(io.Discard, "", 0)

// receiver is a server that the tests bend.
type receiver struct {
	h   *HTTP
	url string

	mu       sync.Mutex
	bend     func(w http.ResponseWriter, r *http.Request, body []byte) bool // true: it has answered
	taken    []string
	requests int
}

func (h *HTTP) receiver(t *testing.T) (*receiver, drover.Sink) {
	t.Helper()
	x := &receiver{h: h}
	ca := newAuthority(t)
	x.serve(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, usual)}})
	return x, x.sink(t, ca.pem)
}

// serve starts the receiver's server.
func (x *receiver) serve(t *testing.T, conf *tls.Config) {
	srv := httptest.NewUnstartedServer(x)
	srv.Config.ErrorLog = quiet
	srv.TLS = conf
	srv.StartTLS()
	t.Cleanup(srv.Close)
	x.url = srv.URL
}

// sink builds a sink for the receiver that trusts an authority.
func (x *receiver) sink(t *testing.T, ca []byte) drover.Sink {
	client, err := httpx.New(httpx.Options{AllowPrivate: true, CAs: ca, Limits: httpx.Limits{FirstByte: 20 * time.Second, Whole: 30 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	s := x.h.Open(t, x.url, client, drover.NewSecret(canary))
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// ServeHTTP implements http.Handler.
func (x *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err == nil {
			body, err = io.ReadAll(z)
		}
		if err != nil {
			http.Error(w, "no gzip", http.StatusBadRequest)
			return
		}
	}
	x.mu.Lock()
	bend := x.bend
	x.requests++
	x.mu.Unlock()
	if bend != nil && bend(w, r, body) {
		return
	}
	x.take(x.h.Records(r, body))
	x.h.Accept(w, r)
}

func (x *receiver) take(ids []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.taken = append(x.taken, ids...)
}

func (x *receiver) set(bend func(http.ResponseWriter, *http.Request, []byte) bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.bend = bend
}

// has counts what was taken and how much of it more than once.
func (x *receiver) has() (distinct []string, repeats int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	all := slices.Clone(x.taken)
	slices.Sort(all)
	distinct = slices.Compact(slices.Clone(all))
	return distinct, len(all) - len(distinct)
}

func (h *HTTP) run(t *testing.T) {
	t.Run("no status but the receiver's own success is one", h.statuses)
	t.Run("a success in the wrong words is none", h.words)
	t.Run("retry-after is obeyed", h.retryAfter)
	t.Run("a redirect is not followed", h.redirects)
	t.Run("a cut connection loses nothing", h.cuts)
	t.Run("an answer without end is given up", h.endless)
	t.Run("a stalled receiver is left when we are told to stop", h.stalls)
	t.Run("what is too large is divided", h.divides)
	t.Run("one that is too large is set aside", h.tooLarge)
	t.Run("nothing is sent where the certificate does not hold", h.certificate)
}

// noSecret searches an error for the canary.
func noSecret(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	shown := fmt.Sprintf("%v\n%+v\n%#v\n%s", err, err, err, drover.HintOf(err))
	for _, f := range forms(canary) {
		if strings.Contains(shown, f) {
			t.Fatal("the secret shows in an error")
		}
	}
	for _, tenant := range Tenants {
		if strings.Contains(shown, "alert 1 of "+string(tenant.Customer)) {
			t.Fatal("an alert shows in an error")
		}
	}
}

// wantKind is what the shared table says of a status (reference
// sink-protocols §1).
func wantKind(status int) drover.Kind {
	switch {
	case status == 429:
		return drover.Throttled
	case status == 408 || status == 425 || status >= 500 || status < 300:
		return drover.Transient
	}
	return drover.Denied
}

func (h *HTTP) statuses(t *testing.T) {
	x, s := h.receiver(t)
	lane := s.Lane(Tenants[0])
	recs := Records(Tenants[0], 1, 3)
	bodies := []string{"", "{}", "<html>", `{"errors":true}`}
	count := 0
	for status := 100; status <= 599; status++ {
		x.set(func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			if status < 200 {
				cutWith(w, fmt.Sprintf("HTTP/1.1 %d Odd\r\n\r\n", status))
				return true
			}
			// The harsh receiver says back what it was told.
			w.Header().Set("X-Echo", r.Header.Get("Authorization"))
			w.WriteHeader(status)
			if status != 204 && status != 304 {
				_, _ = io.WriteString(w, bodies[status%len(bodies)])
			}
			return true
		})
		taken, err := send(t.Context(), t, s, Batch(lane, recs, nil))
		noSecret(t, err)
		count++
		if status == 413 && len(taken.Refused) == taken.N && err == nil {
			continue // each alone is too large
		}
		if taken.N != 0 || len(taken.Also) != 0 || err == nil {
			t.Errorf("status %d: %d records said to be done, error %v", status, taken.N, err)
			continue
		}
		if got := drover.KindOf(err); got != wantKind(status) {
			t.Errorf("status %d: %v, want %v", status, got, wantKind(status))
		}
	}
	x.set(nil)
	if _, err := send(t.Context(), t, s, Batch(lane, recs, nil)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	h.ran(t, "D12", "statuses covered %d of 500, each of its kind", count)
}

func (h *HTTP) words(t *testing.T) {
	x, s := h.receiver(t)
	lane := s.Lane(Tenants[0])
	words := append([]string{"", " ", "null", "[]", "{}", "true", "0", `{"errors":true}`, `{"text":"Success"}`, "<!DOCTYPE html><html><body>Sign in</body></html>", "\x00\xff\xfe", `{"code":`, strings.Repeat("[", 100_000)}, h.NotSuccess...)
	for _, word := range words {
		x.set(func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
			_, _ = io.WriteString(w, word)
			return true
		})
		taken, err := send(t.Context(), t, s, Batch(lane, Records(Tenants[0], 1, 3), nil))
		if err == nil || taken.N > 0 {
			t.Errorf("200 with %.40q counts as success", word)
			continue
		}
		if k := drover.KindOf(err); k != drover.Transient {
			t.Errorf("200 with %.40q: %v, want it tried again", word, k)
		}
		noSecret(t, err)
	}
	h.ran(t, "D13", "false \"done\" 0 of %d answers with status 200", len(words))
}

func (h *HTTP) retryAfter(t *testing.T) {
	x, s := h.receiver(t)
	lane := s.Lane(Tenants[0])
	for _, status := range []int{429, 503} {
		for _, v := range []string{"7", time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat)} {
			x.set(func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
				w.Header().Set("Retry-After", v)
				w.WriteHeader(status)
				return true
			})
			_, err := send(t.Context(), t, s, Batch(lane, Records(Tenants[0], 1, 3), nil))
			if drover.KindOf(err) != drover.Throttled || drover.WaitOf(err) < 7*time.Second || drover.WaitOf(err) > 2*time.Minute {
				t.Errorf("%d with Retry-After %s: kind %v, wait %v", status, v, drover.KindOf(err), drover.WaitOf(err))
			}
		}
	}
}

func (h *HTTP) redirects(t *testing.T) {
	x, s := h.receiver(t)
	other, _ := h.receiver(t)
	lane := s.Lane(Tenants[0])
	for _, status := range []int{301, 302, 303, 307, 308} {
		x.set(func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
			w.Header().Set("Location", other.url+"/elsewhere")
			w.WriteHeader(status)
			return true
		})
		if taken, err := send(t.Context(), t, s, Batch(lane, Records(Tenants[0], 1, 3), nil)); err == nil || taken.N > 0 {
			t.Errorf("status %d counts as success", status)
		}
	}
	other.mu.Lock()
	defer other.mu.Unlock()
	if other.requests != 0 {
		t.Errorf("%d requests went where a redirect pointed", other.requests)
	}
}

// cutWith writes raw bytes and ends the connection.
func cutWith(w http.ResponseWriter, raw string) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, _ = io.WriteString(c, raw)
	_ = c.Close()
}

func (h *HTTP) cuts(t *testing.T) {
	recs := Records(Tenants[0], 1, 20)
	most, seen := 0, 0
	cases := map[string]struct {
		took int // of 20, before the cut
		raw  string
	}{
		"nothing taken, no answer":        {0, ""},
		"half taken, no answer":           {10, ""},
		"all taken, no answer":            {20, ""},
		"all taken, cut in the status":    {20, "HTTP/1.1 2"},
		"all taken, cut in the header":    {20, "HTTP/1.1 200 OK\r\nContent-Ty"},
		"all taken, cut in the body":      {20, "HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{\"text\":\"Succ"},
		"all taken, body never begins":    {20, "HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n"},
		"all taken, chunk without an end": {20, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1b\r\n{\"text\":\"Success\",\"code\":0}\r\n"},
		"all taken, answer is no HTTP":    {20, "Success\r\n\r\n"},
	}
	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			x, s := h.receiver(t)
			lane := s.Lane(Tenants[0])
			once := false
			x.set(func(w http.ResponseWriter, r *http.Request, body []byte) bool {
				ids := h.Records(r, body)
				if once || len(ids) == 0 {
					return false
				}
				once = true
				x.take(ids[:min(tt.took, len(ids))])
				cutWith(w, tt.raw)
				return true
			})
			taken, err := send(t.Context(), t, s, Batch(lane, recs, nil))
			noSecret(t, err)
			if err == nil || drover.KindOf(err) != drover.Transient || taken.N > 0 || len(taken.Also) > 0 {
				t.Fatalf("%d records said to be done, error %v", taken.N, err)
			}
			if _, err := send(t.Context(), t, s, Batch(lane, recs, nil)); err != nil {
				t.Fatal(err)
			}
			distinct, repeats := x.has()
			if len(distinct) != len(recs) || repeats > tt.took {
				t.Errorf("%d of %d records arrived, %d repeats, at most %d explained", len(distinct), len(recs), repeats, tt.took)
			}
			most, seen = most+tt.took, seen+repeats
		})
	}
	h.ran(t, "D06", "%d ways to cut an answer: lost 0, repeats %d of %d that were taken without an answer", len(cases), seen, most)
}

func (h *HTTP) endless(t *testing.T) {
	x, s := h.receiver(t)
	var sent atomic.Int64 // the handler may outlive the call
	x.set(func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		piece := bytes.Repeat([]byte(" "), 64<<10)
		for range 4096 { // 256 MiB, if somebody reads it
			n, err := w.Write(piece)
			sent.Add(int64(n))
			if err != nil {
				break
			}
		}
		return true
	})
	taken, err := send(t.Context(), t, s, Batch(s.Lane(Tenants[0]), Records(Tenants[0], 1, 3), nil))
	if err == nil || taken.N > 0 {
		t.Error("it counts as success")
	}
	if n := sent.Load(); n > 64<<20 {
		t.Errorf("%d bytes of an answer were read", n)
	}
}

func (h *HTTP) stalls(t *testing.T) {
	x, s := h.receiver(t)
	ctx, cancel := context.WithCancel(t.Context())
	x.set(func(_ http.ResponseWriter, r *http.Request, _ []byte) bool {
		cancel()
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	})
	taken, err := send(ctx, t, s, Batch(s.Lane(Tenants[0]), Records(Tenants[0], 1, 3), nil))
	if err == nil || taken.N > 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d records said to be done, error %v", taken.N, err)
	}
	noSecret(t, err)
}

func (h *HTTP) divides(t *testing.T) {
	const n = 64
	recs := Records(Tenants[0], 1, n)
	for i, tooLarge := range h.TooLarge {
		x, s := h.receiver(t)
		limit, refused := 12_000, 0
		x.set(func(w http.ResponseWriter, _ *http.Request, body []byte) bool {
			if len(body) <= limit {
				return false
			}
			refused++
			tooLarge(w)
			return true
		})
		lane := s.Lane(Tenants[0])
		for range 3 {
			taken, err := send(t.Context(), t, s, Batch(lane, recs, nil))
			if err != nil || len(taken.Refused) > 0 {
				t.Fatalf("answer %d: %d set aside, error %v", i, len(taken.Refused), err)
			}
		}
		if distinct, repeats := x.has(); len(distinct) != n || repeats != 2*n {
			t.Errorf("answer %d: %d of %d records arrived, %d of them more often than sent", i, len(distinct), n, repeats-2*n)
		}
		if most := 2 * bits.Len(n); refused > most {
			t.Errorf("answer %d: %d requests were too large, want at most %d for three batches: what is learned is kept", i, refused, most)
		}
		h.ran(t, "D05", "three batches of %d, five times the limit: lost 0, %d requests too large in all, %d allowed", n, refused, 2*bits.Len(n))
	}
}

func (h *HTTP) tooLarge(t *testing.T) {
	recs := Records(Tenants[0], 1, 16)
	big := len(recs[4].Body)
	for i := range recs {
		big = max(big, len(recs[i].Body))
	}
	// One record is larger than all the others.
	recs[4].Body = append(recs[4].Body[:len(recs[4].Body)-1:len(recs[4].Body)-1], fmt.Sprintf(`,"more":"%s"}`, strings.Repeat("m", 3*big))...)
	for i, tooLarge := range h.TooLarge {
		x, s := h.receiver(t)
		x.set(func(w http.ResponseWriter, _ *http.Request, body []byte) bool {
			if len(body) <= 3*big {
				return false
			}
			tooLarge(w)
			return true
		})
		taken, err := send(t.Context(), t, s, Batch(s.Lane(Tenants[0]), recs, nil))
		if err != nil || len(taken.Refused) != 1 || taken.Refused[0].Index != 4 {
			t.Fatalf("answer %d: set aside %v, error %v", i, taken.Refused, err)
		}
		if distinct, repeats := x.has(); len(distinct) != len(recs)-1 || repeats != 0 {
			t.Errorf("answer %d: %d of %d others arrived, %d repeats", i, len(distinct), len(recs)-1, repeats)
		}
	}
}
