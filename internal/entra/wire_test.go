package entra

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"drover"
	"drover/internal/httpx"
	"drover/internal/proof"
)

// TestOverTheWire gets tokens over TLS through the client that drover uses, and
// from authorities that try to get a secret elsewhere.
func TestOverTheWire(t *testing.T) {
	var foreign atomic.Int32
	away := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		foreign.Add(1)
	}))
	defer away.Close()
	var discovery atomic.Int32
	answers := map[string]func(w http.ResponseWriter, r *http.Request){
		"good": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, good(1, string(tenantA)).body)
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, away.URL+r.URL.Path, http.StatusTemporaryRedirect)
		},
		"a redirect nobody can parse": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "https://%zz/"+canary)
			w.WriteHeader(http.StatusFound)
		},
		"a refusal": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, bad(401, 7000215, "invalid_client").body)
		},
		"too much": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"access_token":"`+strings.Repeat("x", maxAnswer)+`"}`)
		},
		"cut": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5000")
			_, _ = io.WriteString(w, `{"access_token":"`+canary)
		},
	}
	want := map[string]drover.Kind{"a redirect": drover.Transient, "a redirect nobody can parse": drover.Transient, "a refusal": drover.Denied, "too much": drover.Transient, "cut": drover.Transient}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			calls := 0
			s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, ".well-known") {
					discovery.Add(1)
				}
				calls++
				if r.FormValue("client_secret") != canary+"~secret" || r.URL.RawQuery != "" || r.Method != http.MethodPost {
					t.Errorf("%s %s", r.Method, r.URL)
				}
				w.Header().Set("Content-Type", "application/json")
				answer(w, r)
			}))
			defer s.Close()
			var ca []byte
			for _, x := range []*httptest.Server{s, away} {
				ca = append(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.Certificate().Raw})...)
			}
			client, err := httpx.New(httpx.Options{CAs: ca, AllowPrivate: true})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			table, err := NewClouds(Cloud{Name: "lab", Authority: s.URL, Graph: s.URL, GraphResource: "https://graph.microsoft.com", AllowPrivate: true})
			if err != nil {
				t.Fatal(err)
			}
			k := New(Options{HTTP: func(Cloud) Doer { return client }, Clouds: table, Apps: map[string]App{"default": withSecret()}})
			x := tenant(tenantA)
			x.Cloud = "lab"
			token, err := k.Token(t.Context(), x, drover.GraphAlerts)
			mustNotTell(t, err)
			if kind, fails := want[name]; fails != (err != nil) || fails && (drover.KindOf(err) != kind || !token.Empty()) {
				t.Errorf("got %v", err)
			}
			if calls != 1 {
				t.Errorf("%d calls: a grant is not repeated", calls)
			}
		})
	}
	if foreign.Load() != 0 || discovery.Load() != 0 {
		t.Errorf("%d requests elsewhere, %d discoveries", foreign.Load(), discovery.Load())
	}
	proof.Ran(t, "T10", "authorities that redirect, %d answers in all: secrets sent elsewhere %d, discovery documents read %d", len(answers), foreign.Load(), discovery.Load())
}

func TestAnAuthorityWithoutAGoodCertificateGetsNoSecret(t *testing.T) {
	called := false
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
	defer s.Close()
	client, err := httpx.New(httpx.Options{AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	table, err := NewClouds(Cloud{Name: "lab", Authority: s.URL, Graph: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	k := New(Options{HTTP: func(Cloud) Doer { return client }, Clouds: table, Apps: map[string]App{"default": withSecret()}})
	x := tenant(tenantA)
	x.Cloud = "lab"
	if _, err := k.Token(t.Context(), x, drover.GraphAlerts); drover.KindOf(err) != drover.Transient || !strings.Contains(drover.HintOf(err), "ca_file") || called {
		t.Errorf("got %v, %q", err, drover.HintOf(err))
	}
}
