package defender

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"drover"
	"drover/internal/httpx"
	"drover/internal/proof"
)

// overTLS serves a handler on loopback and returns options that reach it by
// the real client.
func overTLS(t *testing.T, h http.Handler) Options {
	t.Helper()
	srv := httptest.NewTLSServer(h)
	t.Cleanup(srv.Close)
	c, err := httpx.New(httpx.Options{CAs: pemOf(srv.Certificate()), AllowPrivate: true, Limits: httpx.Limits{Body: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return Options{
		HTTP: func(drover.Tenant) (Doer, error) { return c, nil }, Tokens: &purse{}, Gzip: true,
		Host: func(drover.Tenant) (string, error) { return srv.URL, nil },
	}
}

func pemOf(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func TestARunIsReadByTheRealClient(t *testing.T) {
	want := append(entries("t", 35, t0, 0), entries("z", 5, t0.Add(time.Second), time.Second)...)
	a := newAPI(want...)
	a.clamp = 10
	var prefer, encoding atomic.Int32
	o := overTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Prefer") == "include-unknown-enum-members" {
			prefer.Add(1)
		}
		if r.Header.Get("Accept-Encoding") == "gzip" {
			encoding.Add(1)
		}
		rec := httptest.NewRecorder()
		a.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(rec.Code)
		z := gzip.NewWriter(w)
		_, _ = z.Write(rec.Body.Bytes())
		_ = z.Close()
	}))
	o.PageSize = 10
	whole(t, a, read(t, NewGraphAlerts(o), open, 200, 0), want)
	if n := int32(len(a.requests)); prefer.Load() != n || encoding.Load() != n {
		t.Errorf("%d requests, %d with Prefer, %d that take gzip", n, prefer.Load(), encoding.Load())
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	var foreign atomic.Int32
	evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { foreign.Add(1) }))
	defer evil.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{evil.URL, "file:///etc/passwd", "/v1.0/me"} {
			o := overTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != graphPath {
					foreign.Add(1)
				}
				w.Header().Set("Location", to)
				w.WriteHeader(status)
			}))
			if got := read(t, NewGraphAlerts(o), open, 2, 0); len(got.errs) != 1 || drover.KindOf(got.errs[0]) != drover.Transient {
				t.Errorf("%d to %s: %v", status, to, got.errs)
			}
		}
	}
	if foreign.Load() != 0 {
		t.Errorf("%d requests elsewhere", foreign.Load())
	}
}

func TestAnAnswerOfAnySizeIsBounded(t *testing.T) {
	const limit = 64 << 20
	want := entries("a", 20, t0, time.Second)
	huge := entry{id: "huge", changed: t0.Add(30 * time.Second)}
	huge.raw = `{"id":"huge","lastUpdateDateTime":"` + huge.changed.String() + `","x":"` + strings.Repeat("y", 30<<20) + `"}`
	a := newAPI(append(want, huge)...)
	chunk := bytes.Repeat([]byte("[0,0,0,0,0,0,0,0"), 1<<16)
	var gigabyte, header, rows int
	dealt := func(w http.ResponseWriter, r *http.Request) bool {
		top, _ := strconv.Atoi(r.URL.Query().Get("$top"))
		switch {
		case top > 12 && gigabyte < 2: // a page of a gigabyte
			gigabyte++
			for range 1 << 10 {
				if _, err := w.Write(chunk); err != nil {
					return true
				}
			}
		case top > 6 && header < 2:
			header++
			w.Header().Set("X-Large", strings.Repeat("x", 1<<20))
			w.WriteHeader(http.StatusOK)
		case top > 3 && rows < 2: // a million rows
			rows++
			_, _ = w.Write([]byte("[" + strings.Repeat("0,", 1<<20) + "0]"))
		default:
			return false
		}
		return true
	}
	o := overTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !dealt(w, r) {
			a.ServeHTTP(w, r)
		}
	}))
	c, err := o.HTTP(tenant())
	if err != nil {
		t.Fatal(err)
	}
	o.HTTP = func(drover.Tenant) (Doer, error) { return capped{c}, nil }
	o.PageSize = 16
	// The heap is looked at while it is read.
	defer debug.SetGCPercent(debug.SetGCPercent(10)) // so that it holds little that is done with
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak, stop, done := uint64(0), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				runtime.ReadMemStats(&now)
				peak = max(peak, now.HeapAlloc)
			}
		}
	}()
	got := read(t, NewGraphAlerts(o), open, 200, 10)
	close(stop)
	<-done
	lost := got.missing(append(want, huge))
	if !got.done || len(lost) > 0 || got.raw[huge.raw] != 1 || gigabyte*header*rows == 0 {
		t.Errorf("done %v, lost %v, dealt %d, %d, %d", got.done, lost, gigabyte, header, rows)
	}
	grown := int64(peak) - int64(before.HeapAlloc)
	// The peer's copies of the large row lie in the same heap.
	if grown > 2*limit+64<<20 {
		t.Errorf("the heap grew by %d MB", grown>>20)
	}
	proof.Ran(t, "P22", "lost %d of %d rows, one of them of 30 MB, behind %d pages of a gigabyte, %d headers of a megabyte and %d pages of a million rows; the heap, with the peer's in it, grew by %d MB", len(lost), len(want)+1, gigabyte, header, rows, grown>>20)
}

// capped asks for answers up to the usual cap.
type capped struct{ d Doer }

func (c capped) Do(ctx context.Context, r httpx.Request) (*httpx.Response, error) {
	r.MaxBody = 64 << 20
	return c.d.Do(ctx, r)
}

func TestAnAnswerThatGrowsBeyondItsCapAsksForLess(t *testing.T) {
	big := bytes.Repeat([]byte(" "), 4<<20)
	want := entries("a", 20, t0, time.Second)
	a := newAPI(want...)
	o := overTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if top := r.URL.Query().Get("$top"); len(top) > 1 {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w) // a thousand times larger than it comes
			_, _ = z.Write(big)
			_ = z.Close()
			return
		}
		a.ServeHTTP(w, r)
	}))
	o.PageSize = 16
	got := read(t, NewGraphAlerts(o), open, 200, 6)
	if lost := got.missing(want); !got.done || len(lost) > 0 {
		t.Errorf("done %v, lost %d, errors %v", got.done, len(lost), got.errs)
	}
}
