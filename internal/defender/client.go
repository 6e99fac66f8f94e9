package defender

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"drover"
	"drover/internal/httpx"
)

// client makes the calls of one pass.
type client struct {
	opt        Options
	source     drover.SourceID
	op         string
	permission string // that the customer must consent to
	forbidden  string // the hint to a 403 that does not say why
	gone       string // the hint when the API is not there
	retiring   bool   // its host may go away for good
	tenant     drover.Tenant
	header     http.Header
	vain       *vain
	clock      clock
	asked      int               // requests since the last page
	used       []*httpx.Response // whose memory the rows of the last page lie in
}

// Close gives back the memory of the last page. The pass is over.
func (c *client) Close() { c.release() }

// release gives back the memory of answers whose rows nobody reads any more.
func (c *client) release() {
	for i, res := range c.used {
		res.Release()
		c.used[i] = nil
	}
	c.used = c.used[:0]
}

// vain remembers tenants whose renewed token was refused as well: asking for
// yet another one with every probe helps nobody (reference faults P32).
type vain struct {
	mu    sync.Mutex
	until map[drover.TenantID]time.Time
}

// vainFor is how long no other token is asked for. With it, a feed that is
// refused for ever costs two token calls an hour.
const vainFor = 30 * time.Minute

func newVain() *vain { return &vain{until: make(map[drover.TenantID]time.Time)} }

func (v *vain) is(id drover.TenantID, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return now.Before(v.until[id])
}

func (v *vain) set(id drover.TenantID, until time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if until.IsZero() {
		delete(v.until, id)
	} else {
		v.until[id] = until
	}
}

// get fetches a URL below origin with the tenant's token. A token that is not
// accepted is renewed once and the same request made again. Any status but
// that is the caller's.
func (c *client) get(ctx context.Context, origin, url string) (*httpx.Response, error) {
	doer, err := c.opt.HTTP(c.tenant)
	if err != nil {
		return nil, err
	}
	h := c.header.Clone()
	if c.opt.Gzip {
		h.Set("Accept-Encoding", "gzip")
	}
	for renewed := false; ; renewed = true {
		token, err := c.opt.Tokens.Token(ctx, c.tenant, c.source)
		if err != nil {
			return nil, err
		}
		asked := c.opt.Now()
		c.asked++
		res, err := doer.Do(ctx, httpx.Request{URL: url, Origin: origin, Header: h, Bearer: token})
		switch {
		case errors.Is(err, httpx.ErrOrigin):
			return nil, c.outside(err)
		case err != nil && c.retiring && isNoHost(err):
			return nil, &drover.Error{Op: c.op, Tenant: c.tenant.ID, Kind: drover.Denied, Err: err, Hint: c.gone}
		case err != nil:
			return nil, &drover.Error{Op: c.op, Tenant: c.tenant.ID, Kind: drover.Transient, Err: err}
		case res.Status != http.StatusUnauthorized || httpx.IsHTML(res):
			if res.Status < 300 {
				c.vain.set(c.tenant.ID, time.Time{})
				c.used = append(c.used, res)
			}
			c.clock.heard(res.Server, c.opt.Now().Sub(asked))
			return res, nil
		case renewed:
			c.vain.set(c.tenant.ID, c.opt.Now().Add(vainFor))
			return res, nil
		case c.vain.is(c.tenant.ID, c.opt.Now()):
			return res, nil
		}
		c.opt.Tokens.Invalidate(c.tenant, c.source, token)
	}
}

// isNoHost reports whether the name of the host is not there any more, by the
// word of a name server.
func isNoHost(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}

// told returns how many requests a page took, and begins anew.
func (c *client) told() (n int) {
	n, c.asked = c.asked, 0
	return n
}

// host returns the collection's URL.
func (c *client) host(path string) (string, error) {
	h, err := c.opt.Host(c.tenant)
	if err != nil {
		return "", &drover.Error{Op: c.op, Tenant: c.tenant.ID, Kind: drover.Denied, Err: err, Hint: drover.HintOf(err)}
	}
	return strings.TrimSuffix(h, "/") + path, nil
}

// rows finds the rows of an answer, or says why there are none.
func (c *client) rows(res *httpx.Response, f *fields) (scanned, error) {
	if res.Status != http.StatusOK && res.Status != http.StatusPartialContent || httpx.IsHTML(res) {
		return scanned{}, c.refused(res)
	}
	page, err := scan(res.Body, f)
	if err != nil {
		return scanned{}, c.notWhole(err)
	}
	return page, nil
}

// notWhole is the error of an answer that cannot be used; asking again may
// help.
func (c *client) notWhole(err error) error {
	return &drover.Error{Op: c.op, Tenant: c.tenant.ID, Kind: drover.Transient, Err: err}
}

// outside is the error of a link that leads elsewhere.
func (c *client) outside(err error) error {
	return &drover.Error{Op: c.op, Tenant: c.tenant.ID, Kind: drover.Transient, Code: "link outside origin", Err: err,
		Hint: "the API gave a link that leads elsewhere; no token was sent there"}
}

// refused makes an error of an answer that is not a page: who must do what.
func (c *client) refused(res *httpx.Response) error {
	e, message := httpx.Explain(c.op, res)
	e.Tenant = c.tenant.ID
	if httpx.IsHTML(res) || e.Kind != drover.Denied {
		return e
	}
	reason := reasonOf(res.Status, e.Code, message)
	switch {
	case reason == NoDefender:
		e.Hint = "the tenant has no active Defender: the customer must license it and open its portal once"
	case reason == MissingRole:
		e.Hint = "a permission is missing: the customer's admin must consent to " + c.permission
	case reason == wrongAudience:
		e.Hint = "the API does not take a token of this audience: host and audience of an API are two settings of the tenant's cloud; check both in the config"
	case res.Status == http.StatusUnauthorized:
		e.Hint = "the API does not accept a fresh token: check the tenant's cloud, and whether its conditional access policies shut the app out"
	case res.Status == http.StatusForbidden && c.forbidden != "":
		e.Hint = c.forbidden
	case res.Status == http.StatusForbidden:
		e.Hint = "consent is missing or was withdrawn, or the tenant is not onboarded to Defender; the API does not say which"
	case res.Status == http.StatusNotFound, res.Status == http.StatusGone:
		e.Hint = c.gone
	case res.Status == http.StatusBadRequest:
		e.Hint = "the API does not take the question; if it lasts, the API has changed and drover needs an update"
	}
	e.Err = reason.because(e.Err)
	return e
}

// tooLarge reports whether an answer failed for its size, so that a smaller
// one may succeed.
func tooLarge(err error) bool {
	return errors.Is(err, httpx.ErrTooLarge) || errors.Is(err, errTooMany)
}

// shrinks reports whether asking for less may help after the n-th failure in a
// row of one step: at once if it was too large, else from the second on, as
// the first may be chance (reference faults P26).
func shrinks(err error, n int) bool {
	var e *drover.Error
	return tooLarge(err) || n >= 2 && errors.As(err, &e) && e.Kind == drover.Transient
}
