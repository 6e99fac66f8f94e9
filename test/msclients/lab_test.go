// Package msclients judges the pretend cloud by Microsoft's own client
// libraries, as they are: they are told an authority and whom to trust, and
// nothing else. It is a module of its own, because they take long to build.
package msclients

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/lab/estate"
)

// backlog is how many alerts each customer has.
const backlog = 7

// place is one way to reach a lab.
type place struct {
	*lab.Lab
	authority string // without a tenant, ends in a slash
	graph     string
	scope     string
	client    *http.Client
	known     bool // the authority is one that the libraries know; else they must not ask Microsoft about it
}

// places starts a lab and returns two ways to it: at its address, and under
// Microsoft's own names, which the dialer leads to the lab as a hosts file
// would.
func places(t *testing.T) map[string]*place {
	t.Helper()
	l, err := lab.New(lab.Options{Seed: 1, Customers: 2, Story: func(int) estate.Options { return estate.Options{Backlog: backlog} }})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := l.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(l.CAPEM()) {
		t.Fatal("the lab's CA is no certificate")
	}
	trust := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	direct := &http.Transport{TLSClientConfig: trust}
	named := &http.Transport{TLSClientConfig: trust.Clone(), DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	t.Cleanup(func() { direct.CloseIdleConnections(); named.CloseIdleConnections() })
	const scope = "https://graph.microsoft.com/.default"
	return map[string]*place{
		"at its address":          {l, "https://" + addr + "/", "https://" + addr, scope, &http.Client{Transport: direct}, false},
		"under Microsoft's names": {l, "https://login.microsoftonline.com/", "https://graph.microsoft.com", scope, &http.Client{Transport: named}, true},
	}
}

// alerts reads all alerts of the tenant that a token is for.
func (p *place) alerts(t *testing.T, token string) int {
	t.Helper()
	n := 0
	for next := p.graph + "/v1.0/security/alerts_v2?$top=5"; next != ""; {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, next, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		var page struct {
			Value []json.RawMessage `json:"value"`
			Next  string            `json:"@odata.nextLink"`
		}
		if status, body := p.do(t, p.client, req); status != http.StatusOK {
			t.Fatalf("alerts: %d %s", status, body)
		} else if err := json.Unmarshal(body, &page); err != nil {
			t.Fatal(err)
		}
		n, next = n+len(page.Value), page.Next
	}
	return n
}

func (p *place) do(t *testing.T, c *http.Client, req *http.Request) (int, []byte) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

// is fails the test unless a token is for a tenant; the lab checks it and the
// alerts come.
func (p *place) is(t *testing.T, token string, c lab.Customer) {
	t.Helper()
	claims, err := p.Directory().Verify(token)
	if err != nil || claims.TenantID != c.Tenant {
		t.Fatalf("a token for %s, %v; want %s", claims.TenantID, err, c.Tenant)
	}
	if n := p.alerts(t, token); n != backlog {
		t.Errorf("%d alerts, want %d", n, backlog)
	}
}

var (
	formPost = regexp.MustCompile(`<form method="post" action="([^"]*)">`)
	field    = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

var canary = regexp.MustCompile(`name="canary" value="([^"]*)"`)

// person does in a browser what a person does at a sign-in page, and returns
// where it is led; what is to be posted there stands behind the question mark.
func (p *place) person(t *testing.T, target string, fields url.Values) string {
	t.Helper()
	led, err := p.browse(t.Context(), target, fields)
	if err != nil {
		t.Fatal(err)
	}
	return led
}

func (p *place) browse(ctx context.Context, target string, fields url.Values) (string, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	browser := &http.Client{Transport: p.client.Transport, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	get, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return "", err
	}
	resp, err := browser.Do(get)
	if err != nil {
		return "", err
	}
	page, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return "", err
	}
	m := canary.FindSubmatch(page)
	if m == nil {
		return "", fmt.Errorf("no form on the page: %s", page)
	}
	fields.Set("canary", html.UnescapeString(string(m[1])))
	fields.Set("decision", "accept")
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(fields.Encode()))
	if err != nil {
		return "", err
	}
	post.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if resp, err = browser.Do(post); err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 400 {
		err = fmt.Errorf("%d %s", resp.StatusCode, answer)
	}
	if m := formPost.FindSubmatch(answer); m != nil {
		back := url.Values{}
		for _, f := range field.FindAllSubmatch(answer, -1) {
			back.Set(string(f[1]), html.UnescapeString(string(f[2])))
		}
		return html.UnescapeString(string(m[1])) + "?" + back.Encode(), err
	}
	return resp.Header.Get("Location"), err
}

// admin is a user of a customer.
func admin(c lab.Customer) string { return "admin@" + c.Domain }

// harsh are all harsher switches that a client of Microsoft's survives. MSAL Go
// writes its thumbprint in the standard alphabet, and an error under another
// word is an error all the same.
func harsh(s *authority.Switches) {
	*s = authority.Harsh()
	s.StrictThumbprint = false
	s.ConsentDelay, s.ListDelay = 0, 0
}
