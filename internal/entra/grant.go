package entra

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"drover"
	"drover/internal/httpx"
)

// request is what a token is asked for.
type request struct {
	tenant drover.Tenant
	app    App
	cloud  Cloud
	source drover.SourceID
	old    bool     // a sign-in that shall use the v1 endpoints
	scopes []string // of Graph, in place of a source: a sign-in of staff
	anyone bool     // a sign-in that names the tenant, instead of being in one
}

// v1 reports whether the resource is one of the v1 endpoint's: the SIEM API's
// audience is older than v2 (reference siem-api §5).
func (r request) v1() bool { return r.old || r.source == drover.SIEMDetections }

// endpoint is the tenant's token endpoint, built from the cloud's table alone.
func (r request) endpoint() string { return r.at("token") }

// at is one of the tenant's OAuth endpoints: token, authorize, devicecode.
func (r request) at(name string) string {
	path := "/oauth2/v2.0/"
	if r.v1() {
		path = "/oauth2/"
	}
	return r.cloud.Authority + "/" + r.segment() + path + name
}

// segment is the part of a path that names the directory.
func (r request) segment() string {
	if r.anyone {
		return "organizations"
	}
	return string(r.tenant.ID)
}

// target names the resource in the form, as its endpoint wants it.
func (r request) target(form url.Values, delegated bool) {
	switch {
	case r.v1():
		form.Set("resource", r.cloud.Resource(r.source))
	case delegated:
		form.Set("scope", r.cloud.Resource(r.source)+"/.default offline_access")
	default:
		form.Set("scope", r.cloud.Resource(r.source)+"/.default")
	}
}

// grant is a successful answer of a token endpoint.
type grant struct {
	access, refresh drover.Secret
	id              drover.Secret // of a sign-in
	life            time.Duration
}

// maxAnswer bounds a token answer; real ones are a few KiB.
const maxAnswer = 256 << 10

// ask makes one token request. It is never repeated by itself: a grant may
// work only once. fields tell the grant; the app's credential is added here.
func (k *Tokens) ask(ctx context.Context, r request, fields url.Values) (grant, error) {
	delegated := fields.Get("grant_type") == "refresh_token"
	r.target(fields, delegated)
	return k.send(ctx, r, fields, delegated)
}

// send makes a token request whose target is named already; delegated: a public
// app may make it without a credential.
func (k *Tokens) send(ctx context.Context, r request, fields url.Values, delegated bool) (grant, error) {
	if err := r.app.authenticate(ctx, fields, r.cloud, r.endpoint(), k.now(), delegated); err != nil {
		if why, ok := errors.AsType[*drover.Error](err); ok {
			e := *why
			e.Tenant = r.tenant.ID
			return grant{}, &e
		}
		return grant{}, &drover.Error{Op: opToken, Tenant: r.tenant.ID, Kind: drover.Denied, App: true, Hint: "check the credential of the app " + r.app.Name + " in the config", Err: err}
	}
	client := k.opt.HTTP(r.cloud).HTTPClient(r.cloud.Authority+"/"+r.segment(), maxAnswer)
	p := &post{next: client.Transport, seen: k.heard}
	conf := clientcredentials.Config{ClientID: r.app.ClientID, TokenURL: r.endpoint(), EndpointParams: fields, AuthStyle: oauth2.AuthStyleInParams}
	t, err := conf.Token(context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: p, CheckRedirect: client.CheckRedirect}))
	if refusal, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		e := refused(r.tenant.ID, refusal.Response.StatusCode, refusal.Response.Header, refusal.Body)
		if at, ok := theirClock(refusal.Body); ok {
			k.heard(at)
		}
		if r.app.Federated != nil {
			explainForeign(e, fields.Get("client_assertion"))
		}
		if d, ok := k.Skew(); ok && e.Code == "AADSTS700024" {
			e.Hint += "; it is " + d.Abs().String() + map[bool]string{true: " behind", false: " ahead of"}[d > 0] + " Entra's"
		}
		return grant{}, e
	}
	transient := &drover.Error{Op: opToken, Tenant: r.tenant.ID, Kind: drover.Transient}
	switch {
	case p.err != nil:
		transient.Err = p.err
		if _, bad := errors.AsType[*tls.CertificateVerificationError](p.err); bad {
			transient.Hint = "the certificate of " + r.cloud.Authority + " does not hold: does something between here and Entra open TLS? A private CA is named by ca_file"
		}
		return grant{}, transient
	case p.bad != nil:
		p.bad.Op, p.bad.Tenant = opToken, r.tenant.ID
		return grant{}, p.bad
	case err != nil || t.AccessToken == "" || t.TokenType != "" && !strings.EqualFold(t.TokenType, "Bearer"):
		// The library's own text may quote the answer.
		transient.Err = errors.New("the answer holds no token")
		return grant{}, transient
	}
	id, _ := t.Extra("id_token").(string)
	return grant{access: drover.NewSecret(t.AccessToken), refresh: drover.NewSecret(t.RefreshToken), id: drover.NewSecret(id), life: p.life}, nil
}

// post is the way of a token request: it names the call, notes the answer's
// clock, and reads the token's life, which comes in more spellings than the
// library knows.
type post struct {
	next http.RoundTripper
	seen func(drover.Instant)
	life time.Duration
	err  error
	bad  *drover.Error // a success that is no JSON
	// whole leaves expires_in where it is: the answer is no token.
	whole bool
}

// RoundTrip makes the call.
func (p *post) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Accept", "application/json")
	req.Header.Set("client-request-id", newGUID())
	req.Header.Set("return-client-request-id", "true")
	res, err := p.next.RoundTrip(req)
	if err != nil {
		p.err = err
		return nil, err
	}
	if at, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		p.seen(drover.InstantOf(at))
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		p.err = err
		return nil, err
	}
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		var members map[string]json.RawMessage
		if json.Unmarshal(body, &members) != nil {
			p.bad = httpx.Classify(res.StatusCode, body, res.Header)
		}
		p.life = lifeOf(members["expires_in"])
		if !p.whole {
			delete(members, "expires_in")
		}
		if body, err = json.Marshal(members); err != nil {
			p.err = err
			return nil, err
		}
	}
	// The library would read text/plain as a form.
	res.Header.Set("Content-Type", "application/json")
	res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return res, nil
}

// Bounds of a token's life, whatever the answer says.
const (
	shortLife   = time.Minute
	defaultLife = 30 * time.Minute // if it does not say
	longLife    = 28 * time.Hour   // the longest documented (reference entra-oauth §7)
)

// lifeOf reads expires_in: a number, or a number in a string as v1 has it.
func lifeOf(raw json.RawMessage) time.Duration {
	sec, err := strconv.ParseFloat(strings.TrimSpace(strings.Trim(strings.TrimSpace(string(raw)), `"`)), 64)
	if err != nil && !math.IsInf(sec, 0) || math.IsNaN(sec) {
		return defaultLife
	}
	return time.Duration(min(max(sec, shortLife.Seconds()), longLife.Seconds())) * time.Second
}
