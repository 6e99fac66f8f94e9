// Package labtest is a person at a browser, for tests that sign in to the lab.
package labtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
)

// Browser is one browser session. It trusts the lab's CA and follows nothing by
// itself.
type Browser struct{ client *http.Client }

// New returns a browser.
func New(ca []byte) (*Browser, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("the CA is no certificate")
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &Browser{&http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

var canary = regexp.MustCompile(`name="canary" value="([^"]*)"`)

// Answer opens a page, fills in its form, and returns where it leads; "" if it
// stays. decision is accept or deny.
func (b *Browser) Answer(ctx context.Context, target, decision string, fields url.Values) (led string, err error) {
	status, page, _, err := b.do(ctx, http.MethodGet, target, nil)
	if err != nil {
		return "", err
	}
	m := canary.FindStringSubmatch(page)
	if m == nil {
		return "", fmt.Errorf("no form on the page: %d %s", status, page)
	}
	form := url.Values{"canary": {html.UnescapeString(m[1])}, "decision": {decision}}
	for name, v := range fields {
		form[name] = v
	}
	status, page, led, err = b.do(ctx, http.MethodPost, target, form)
	if err == nil && (status >= 400 || strings.Contains(page, `id="error"`)) {
		err = fmt.Errorf("%d %s", status, page)
	}
	return led, err
}

// Submit sends a form as a button of a page does, and returns where it leads, or
// the page that it answers with.
func (b *Browser) Submit(ctx context.Context, target string, form url.Values) (led, page string, err error) {
	status, page, led, err := b.do(ctx, http.MethodPost, target, form)
	if err == nil && status >= 400 {
		err = fmt.Errorf("%d %s", status, page)
	}
	return led, page, err
}

// Follow opens an address, and returns where it leads, or the page that it
// answers with.
func (b *Browser) Follow(ctx context.Context, target string) (led, page string, err error) {
	status, page, led, err := b.do(ctx, http.MethodGet, target, nil)
	if err == nil && status >= 400 {
		err = fmt.Errorf("%d %s", status, page)
	}
	return led, page, err
}

// Open fetches a page and returns its status and text.
func (b *Browser) Open(ctx context.Context, target string) (status int, page string, err error) {
	status, page, _, err = b.do(ctx, http.MethodGet, target, nil)
	return status, page, err
}

// Fetch is Open with headers of its own.
func (b *Browser) Fetch(ctx context.Context, target string, h http.Header) (status int, page string, err error) {
	status, page, _, err = b.with(ctx, http.MethodGet, target, nil, h)
	return status, page, err
}

// Post sends a form, as a program does, and returns the status and the answer.
func (b *Browser) Post(ctx context.Context, target string, form url.Values) (status int, body string, err error) {
	status, body, _, err = b.do(ctx, http.MethodPost, target, form)
	return status, body, err
}

func (b *Browser) do(ctx context.Context, method, target string, form url.Values) (status int, page, led string, err error) {
	return b.with(ctx, method, target, form, nil)
}

func (b *Browser) with(ctx context.Context, method, target string, form url.Values, h http.Header) (status int, page, led string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, "", "", err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, v := range h {
		req.Header[name] = v
	}
	res, err := b.client.Do(req)
	if err != nil {
		return 0, "", "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, string(body), res.Header.Get("Location"), err
}
