// Package partner makes a partner's calls: the lists of its customers at Graph
// and at Partner Center, consents of its apps in customers, and the grants of
// roles in a customer's directory (reference partner-gdap §3, §4).
//
// It promises:
//
//   - A token goes to the one host that it is for: of Graph or of Partner Center,
//     of the partner's tenant or of the customer that was asked for it.
//   - A list is returned whole or not at all. Links are followed only within the
//     collection; pages and rows are bounded.
//   - When Partner Center asks for a pause, all calls to it wait.
//   - No token and no text of an answer stands in an error.
package partner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"drover"
	"drover/internal/gdap"
	"drover/internal/httpx"
)

// Doer makes one HTTP call; *httpx.Client is one.
type Doer interface {
	Do(ctx context.Context, r httpx.Request) (*httpx.Response, error)
}

// Tokens gives tokens of the partner's own tenant, by resource. Errors are
// *drover.Error.
type Tokens interface {
	Home(ctx context.Context, resource string) (drover.Secret, error)
	// Stale drops one that an API did not accept.
	Stale(resource string, token drover.Secret)
}

// Options of a Client. All are required but Pause.
type Options struct {
	HTTP   Doer
	Tokens Tokens
	// Graph and Center are base URLs, the others the audiences of their tokens.
	Graph, GraphResource   string
	Center, CenterResource string
	// Pause waits; false when ctx has ended. Nil: real time.
	Pause func(ctx context.Context, d time.Duration) bool
}

// Client speaks for one partner. Safe for concurrent use.
type Client struct {
	opt Options

	mu    sync.Mutex
	until time.Time // Partner Center asked for no calls before
}

// New returns a Client. It calls nobody.
func New(opt Options) *Client {
	if opt.Pause == nil {
		opt.Pause = pause
	}
	opt.Graph, opt.Center = strings.TrimSuffix(opt.Graph, "/"), strings.TrimSuffix(opt.Center, "/")
	return &Client{opt: opt}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// maxAnswer bounds an answer in bytes: the service principal of Microsoft Graph
// alone has more than a thousand permissions, some 700 KB.
const maxAnswer = 8 << 20

// What passes is tried again so often, with pauses that double.
const (
	maxTries   = 5
	firstPause = time.Second
	maxPause   = 2 * time.Minute
	untoldWait = time.Minute // 429 without Retry-After: what Partner Center usually says
)

// call is one call with its credential.
type call struct {
	op, method, url string
	origin          string
	tenant          drover.TenantID // whose token it is, "" for the partner's own
	token           drover.Secret   // of a customer's; else it is got
	resource        string          // of the partner's own token
	header          http.Header
	in              any
	center          bool
	// once: it is not made again when it is not known what became of it.
	once bool
}

// do makes a call, again while that helps, and decodes the answer into out.
func (c *Client) do(ctx context.Context, r call, out any) (http.Header, error) {
	var body []byte
	if r.in != nil {
		var err error
		if body, err = json.Marshal(r.in); err != nil {
			return nil, err
		}
	}
	stale := false
	for try, wait := 1, firstPause; ; try, wait = try+1, min(2*wait, maxPause) {
		if r.center && !c.centerOpen(ctx) {
			return nil, &drover.Error{Op: r.op, Tenant: r.tenant, Kind: drover.Transient, Err: ctx.Err()}
		}
		token := r.token
		if r.resource != "" {
			var err error
			if token, err = c.opt.Tokens.Home(ctx, r.resource); err != nil {
				return nil, err
			}
		}
		res, err := c.send(ctx, r, token, body)
		if err == nil && res.Status >= 200 && res.Status < 300 {
			if out != nil && json.Unmarshal(res.Body, out) != nil {
				return nil, &drover.Error{Op: r.op, Tenant: r.tenant, Kind: drover.Transient, Err: errors.New("the answer is not what was to be expected")}
			}
			return res.Header, nil
		}
		e := c.refused(r, res, err)
		switch {
		case res != nil && res.Status == http.StatusUnauthorized && r.resource != "" && !stale && e.Code != gdap.CodeNoMFA:
			stale = true // once, with a new token
			c.opt.Tokens.Stale(r.resource, token)
			continue
		case e.Kind == drover.Throttled: // it has not been carried out
			wait = min(max(e.Wait, time.Second), maxPause)
		case e.Kind != drover.Transient, r.once && (res == nil || res.Status >= 500):
			return nil, e
		}
		if try >= maxTries || ctx.Err() != nil {
			return nil, e
		}
		if r.center && e.Kind == drover.Throttled {
			continue // centerOpen waits, for all
		}
		if !c.opt.Pause(ctx, wait+rand.N(wait/4)) {
			return nil, e
		}
	}
}

func (c *Client) send(ctx context.Context, r call, token drover.Secret, body []byte) (*httpx.Response, error) {
	h := r.header.Clone()
	if h == nil {
		h = make(http.Header)
	}
	h.Set("Accept", "application/json")
	if body != nil {
		h.Set("Content-Type", "application/json")
	}
	return c.opt.HTTP.Do(ctx, httpx.Request{Method: r.method, URL: r.url, Origin: r.origin, Bearer: token, Header: h, Body: body, MaxBody: maxAnswer})
}

// centerOpen waits until Partner Center may be called; false when ctx has ended.
func (c *Client) centerOpen(ctx context.Context) bool {
	for {
		c.mu.Lock()
		wait := time.Until(c.until)
		c.mu.Unlock()
		if wait <= 0 {
			return ctx.Err() == nil
		}
		if !c.opt.Pause(ctx, wait+rand.N(time.Second)) {
			return false
		}
	}
}

// refused says what an answer means that is none, with the way out.
func (c *Client) refused(r call, res *httpx.Response, err error) *drover.Error {
	if err != nil {
		return &drover.Error{Op: r.op, Tenant: r.tenant, Kind: drover.Transient, Err: err}
	}
	e, message := httpx.Explain(r.op, res)
	e.Tenant = r.tenant
	switch {
	case res.Status == http.StatusTooManyRequests:
		e.Kind = drover.Throttled
		if e.Wait <= 0 {
			e.Wait = untoldWait
		}
		if r.center {
			e.App = true
			c.mu.Lock()
			if until := time.Now().Add(min(e.Wait, maxPause)); until.After(c.until) {
				c.until = until
			}
			c.mu.Unlock()
		}
	case e.Kind == drover.Throttled, e.Kind == drover.Transient: // also what something in between has answered
	case r.center:
		centerRefused(e, res)
	default:
		graphRefused(e, res, message)
	}
	return e
}

// graphRefused sorts Graph's refusals.
func graphRefused(e *drover.Error, res *httpx.Response, message string) {
	e.Kind = drover.Denied
	switch {
	case res.Status == http.StatusConflict, res.Status == http.StatusBadRequest && exists(message):
		e.Kind, e.Code = drover.Refused, gdap.CodeExists
	case e.Code == "" || e.Code == fmt.Sprint(res.Status):
		e.Code = fmt.Sprintf("graph %d", res.Status)
	}
}

// exists reads "already exists" of a refusal: its code says no more than that
// the request was bad.
func exists(message string) bool {
	m := strings.ToLower(message)
	return strings.Contains(m, "already exist") || strings.Contains(m, "already in use")
}
