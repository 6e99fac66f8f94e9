package onboarding

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"drover/internal/oracle"
)

// purse holds every secret that went over the cloud's wire, and every address
// that was asked for there.
type purse struct {
	mu      sync.Mutex
	secrets map[string]string // value → what it was first met as
	met     map[string]int    // how often each kind was
	urls    bytes.Buffer
}

// shortest is the length of a value that is searched for; shorter ones (a code
// to be typed) would be found by chance, and are shown on purpose.
const shortest = 16

func (p *purse) add(kind, value string) {
	if len(value) < shortest {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.secrets == nil {
		p.secrets, p.met = make(map[string]string), make(map[string]int)
	}
	p.met[kind]++
	if p.secrets[value] == "" {
		p.secrets[value] = kind
	}
}

// list returns all secrets, and how often each kind was met.
func (p *purse) list() (list []oracle.Secret, kinds map[string]int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	numbers := make(map[string]int)
	for value, kind := range p.secrets {
		numbers[kind]++
		list = append(list, oracle.Secret{Name: fmt.Sprintf("%s %d", kind, numbers[kind]), Value: value})
	}
	return list, maps.Clone(p.met)
}

// asked is the list of addresses that were asked for.
func (p *purse) asked() oracle.Log {
	p.mu.Lock()
	defer p.mu.Unlock()
	return oracle.Text("addresses asked for", bytes.Clone(p.urls.Bytes()))
}

// inForms are the secret fields of requests to a token endpoint, and inAnswers
// those of answers (reference entra-oauth §2–§5).
var (
	inForms   = []string{"client_secret", "client_assertion", "code", "device_code", "refresh_token", "code_verifier", "assertion"}
	inAnswers = []string{"access_token", "refresh_token", "id_token", "device_code", "secretText"}
)

// tap stands before the cloud and keeps what is secret.
func (p *purse) tap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		fmt.Fprintf(&p.urls, "%s https://%s%s\n", r.Method, r.Host, r.URL.RequestURI())
		p.mu.Unlock()
		if how, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok {
			p.add(how+" token", token)
		}
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if form, err := url.ParseQuery(string(body)); err == nil {
			for _, name := range inForms {
				p.add(name, form.Get(name))
			}
		}
		told := &listening{ResponseWriter: w}
		next.ServeHTTP(told, r)
		p.keep(json.NewDecoder(&told.body))
		if to, err := url.Parse(w.Header().Get("Location")); err == nil {
			p.add("code", to.Query().Get("code"))
		}
	})
}

// keep takes what is secret out of an answer, at any depth.
func (p *purse) keep(d *json.Decoder) {
	var answer any
	if d.Decode(&answer) != nil {
		return
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for _, name := range inAnswers {
				if text, ok := v[name].(string); ok {
					p.add(name, text)
				}
			}
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(answer)
}

// listening keeps the beginning of an answer beside it.
type listening struct {
	http.ResponseWriter
	body bytes.Buffer
}

func (l *listening) Write(b []byte) (int, error) {
	if room := 1<<16 - l.body.Len(); room > 0 {
		l.body.Write(b[:min(room, len(b))])
	}
	return l.ResponseWriter.Write(b)
}

// Unwrap lets the server's own controls through.
func (l *listening) Unwrap() http.ResponseWriter { return l.ResponseWriter }
