// Package defender holds the sources: one file each for how Graph alerts and
// SIEM detections are asked for, paged and read (reference graph-security,
// siem-api; design §5).
//
// It promises:
//
//   - Rows keep the bytes they were received with; nothing is decoded but their
//     identity.
//   - A pass returns every row that the API showed in its span, in whatever way
//     the API pages, clamps or slides, or says what it left out.
//   - Through never passes a row of the span that was not returned, and never
//     follows an absurd time in a row.
package defender

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"drover"
	"drover/internal/httpx"
)

// Doer makes HTTP calls; *httpx.Client is the one used.
type Doer interface {
	Do(ctx context.Context, r httpx.Request) (*httpx.Response, error)
}

// Tokens gives access tokens; *entra.Tokens is the one used.
type Tokens interface {
	Token(ctx context.Context, t drover.Tenant, s drover.SourceID) (drover.Secret, error)
	Invalidate(t drover.Tenant, s drover.SourceID, token drover.Secret)
}

// Options of a source. HTTP, Tokens and Host are required.
type Options struct {
	HTTP   func(t drover.Tenant) (Doer, error)
	Tokens Tokens
	// Host returns the base URL of the API for a tenant, without a slash at
	// the end.
	Host     func(t drover.Tenant) (string, error)
	PageSize int  // rows asked for at once; each source has its own default
	Gzip     bool // ask for compressed answers: less traffic, more CPU
}

// client makes the calls of one source for one tenant.
type client struct {
	opt    Options
	source drover.SourceID
	op     string
	tenant drover.Tenant
	header http.Header
}

// get fetches a URL below origin with the tenant's token. A token that is not
// accepted is renewed once.
func (c *client) get(ctx context.Context, origin, url string) (*httpx.Response, error) {
	doer, err := c.opt.HTTP(c.tenant)
	if err != nil {
		return nil, err
	}
	for renewed := false; ; renewed = true {
		token, err := c.opt.Tokens.Token(ctx, c.tenant, c.source)
		if err != nil {
			return nil, err
		}
		h := c.header.Clone()
		if c.opt.Gzip {
			h.Set("Accept-Encoding", "gzip")
		}
		res, err := doer.Do(ctx, httpx.Request{URL: url, Origin: origin, Header: h, Bearer: token})
		switch {
		case errors.Is(err, httpx.ErrOrigin):
			return nil, &drover.Error{Op: c.op, Tenant: c.tenant.ID, Kind: drover.Transient, Code: "link outside origin", Err: err}
		case err != nil:
			return nil, &drover.Error{Op: c.op, Tenant: c.tenant.ID, Kind: drover.Transient, Err: err}
		case res.Status == http.StatusUnauthorized && !renewed:
			c.opt.Tokens.Invalidate(c.tenant, c.source, token)
			continue
		}
		return res, nil
	}
}

// refused makes an error of an answer that is not a page.
func (c *client) refused(res *httpx.Response) error {
	e, message := httpx.Explain(c.op, res)
	e.Tenant = c.tenant.ID
	switch {
	case e.Hint != "":
	case res.Status == http.StatusUnauthorized:
		e.Hint = "the API does not accept a fresh token: is the tenant's cloud right, and is Defender active there?"
	case res.Status == http.StatusForbidden && strings.Contains(message, "Missing application roles"):
		e.Hint = "a permission is missing: the customer's admin must consent to SecurityAlert.Read.All"
	case res.Status == http.StatusForbidden && (strings.Contains(message, "not provisioned") || strings.Contains(message, "inactive") || strings.Contains(message, "license")):
		e.Hint = "the tenant has no active Defender: the customer must license it and open its portal once"
	case res.Status == http.StatusForbidden:
		e.Hint = "consent is missing or was withdrawn, or the tenant is not onboarded to Defender"
	case res.Status == http.StatusNotFound, res.Status == http.StatusGone:
		e.Hint = "this API is not there any more, or the tenant's cloud or region is wrong; its successor is Graph /security/alerts_v2"
	}
	if res.Status >= 300 && res.Status < 400 {
		e.Kind, e.Hint = drover.Transient, "something between here and the API sends us elsewhere; redirects are never followed"
	}
	return e
}

// notWhole is the error of a page that cannot be used; asking again may help.
func (c *client) notWhole(err error) error {
	return &drover.Error{Op: c.op, Tenant: c.tenant.ID, Kind: drover.Transient, Err: err}
}

// absent tells what a Warning header says about providers (reference
// graph-security §8): those that are not licensed or granted are absent, those
// that failed leave a hole.
func warnings(h http.Header) (absent, failed []string) {
	for _, v := range h.Values("Warning") {
		for _, part := range strings.Split(v, ", 199 ") {
			_, quoted, ok := strings.Cut(part, `"`)
			if !ok {
				continue
			}
			quoted, _, _ = strings.Cut(quoted, `"`)
			fields := strings.Split(quoted, "/")
			if len(fields) < 3 {
				continue
			}
			name := fields[0] + "/" + fields[1]
			if status, err := strconv.Atoi(fields[2]); err == nil && (status == 401 || status == 403 || status == 404) {
				absent = append(absent, name)
			} else {
				failed = append(failed, name)
			}
		}
	}
	return absent, failed
}

// plausible says how far a row's time may lie ahead of the server's clock and
// still be believed.
const plausible = 24 * time.Hour

// below caps i by the server's clock, if that is known.
func below(i, server drover.Instant) drover.Instant {
	if server.Known() && i > server {
		return server
	}
	return i
}
