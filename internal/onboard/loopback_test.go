package onboard

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drover/internal/proof"
)

func get(t *testing.T, target string, change func(*http.Request)) (int, string, http.Header, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), res.Header, err
}

func opened(t *testing.T) *loopback {
	t.Helper()
	c, err := listenLoopback()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.(*loopback)
}

func TestTheLoopbackTakesOneAnswerOfItsOwn(t *testing.T) {
	l := opened(t)
	at := "http://127.0.0.1:" + strconv.Itoa(l.port)
	mine := func(q url.Values) bool { return q.Get("state") == "ours" }
	if status, _, _, err := get(t, at+"/?state=ours", nil); err != nil || status != http.StatusBadRequest {
		t.Errorf("before anything is expected: %d %v", status, err)
	}
	l.Expect(mine)
	dealt := 0
	for name, tt := range map[string]struct {
		target string
		change func(*http.Request)
		want   int
	}{
		"no state":                 {at + "/?code=x", nil, 400},
		"another state":            {at + "/?code=x&state=theirs", nil, 400},
		"a query that is none":     {at + "/?state=ours&%zz", nil, 400},
		"another path":             {at + "/callback?state=ours", nil, 404},
		"another name for us":      {at + "/?state=ours", func(r *http.Request) { r.Host = "evil.example:" + strconv.Itoa(l.port) }, 404},
		"a browser looks ahead":    {at + "/?state=ours", func(r *http.Request) { r.Header.Set("Sec-Purpose", "prefetch;prerender") }, 503},
		"an older one looks ahead": {at + "/?state=ours", func(r *http.Request) { r.Header.Set("X-Moz", "prefetch") }, 503},
		"a form":                   {at + "/?state=ours", func(r *http.Request) { r.Method = http.MethodPost }, 405},
		"the head alone":           {at + "/?state=ours", func(r *http.Request) { r.Method = http.MethodHead }, 405},
	} {
		dealt++
		if status, _, _, err := get(t, tt.target, tt.change); err != nil || status != tt.want {
			t.Errorf("%s: %d %v, want %d", name, status, err, tt.want)
		}
	}
	select {
	case a := <-l.answers:
		t.Fatalf("taken: %v", a.Values)
	default:
	}
	type shown struct {
		status int
		page   string
		h      http.Header
	}
	first := make(chan shown, 1)
	go func() {
		status, page, h, _ := get(t, l.Redirect()+"/?state=ours&code=x", nil)
		first <- shown{status, page, h}
	}()
	a, err := l.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a.Values.Get("code") != "x" {
		t.Errorf("got %v", a.Values)
	}
	if status, page, _, err := get(t, at+"/?state=ours&code=y", nil); err == nil && (status != http.StatusGone || !strings.Contains(page, "answered already")) {
		t.Errorf("a second answer: %d %s", status, page)
	}
	a.reply(page{Title: "<b>Done</b>"})
	a.reply(page{Title: "Again"})
	s := <-first
	if s.status != 200 || !strings.Contains(s.page, "&lt;b&gt;Done") || strings.Contains(s.page, "<script") || !strings.Contains(s.h.Get("Content-Security-Policy"), "default-src 'none'") || s.h.Get("Cache-Control") != "no-store" {
		t.Errorf("%+v", s)
	}
	l.Close()
	if _, _, _, err := get(t, at+"/", nil); err == nil {
		t.Error("the port is open after Close")
	}
	proof.Ran(t, "T07", "%d requests that are no answer of ours, prefetches among them: taken 0; after the first answer the port is closed", dealt)
}

// A person, or a browser that has signed in already, can be back before the
// program goes on from having shown the link.
func TestWhoeverIsBackAtOnceIsHeard(t *testing.T) {
	w := world{tid: tenantA, shows: func(n int) bool { return n > 1 }}
	var places []*loopback
	visits := make(chan int, 2)
	visit := func(s Step) {
		if s.What != StepSignIn && s.What != StepConsent {
			return
		}
		l := places[len(places)-1]
		answered := make(chan int, 1)
		go func() {
			status, _, _, err := get(t, l.Redirect()+"/?code=x", nil)
			if err != nil {
				t.Error(err)
			}
			answered <- status
			visits <- status
		}()
		for taken := false; !taken; { // the answer is taken or refused before Show returns
			select {
			case status := <-answered:
				answered <- status
				return
			case <-time.After(time.Millisecond):
				l.mu.Lock()
				taken = l.over
				l.mu.Unlock()
			}
		}
	}
	r, err := w.connectBy(t.Context(), Order{Way: Browser}, visit, func() (Callback, error) {
		c, err := listenLoopback()
		if err == nil {
			places = append(places, c.(*loopback))
		}
		return c, err
	})
	if err != nil || len(r.Sources) != 1 || r.Sources[0].Outcome != Works {
		t.Errorf("%+v %v", r, err)
	}
	for range 2 {
		if status := <-visits; status != http.StatusOK {
			t.Errorf("whoever came back at once was shown %d", status)
		}
	}
}

func TestTheLoopbackIsOpenForFiveMinutesAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &loopback{answers: make(chan *Answer, 1)}
		began := time.Now()
		_, err := l.Wait(t.Context())
		if err == nil || time.Since(began) != 5*time.Minute || !l.over {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestBothLoopbackAddressesAreOurs(t *testing.T) {
	l := opened(t)
	for _, host := range []string{"127.0.0.1", "::1"} {
		x, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(l.port)))
		if err == nil {
			_ = x.Close()
			if host == "::1" {
				if y, err := net.Listen("tcp6", "[::1]:0"); err != nil {
					t.Skip("this machine has no IPv6")
				} else {
					_ = y.Close()
				}
			}
			t.Errorf("another process can own %s:%d", host, l.port)
		}
	}
}
