package audit

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"drover"
	"drover/internal/httpx"
)

// client asks one API for one tenant.
type client struct {
	a        *Auditor
	src      *source
	tenant   drover.Tenant
	pace     *pace
	job      *job
	requests int
	// partial lists what answers said they had left out.
	partial []string
}

// Bounds of trying again: a call that fails for about two minutes is given up,
// and so is one that is told to wait for longer than an hour's quota can last.
const (
	tries   = 7
	maxWait = 65 * time.Minute
)

// errGone: there is no such row (any more).
var errGone = errors.New("the API has no such row")

// get asks for what stands behind the collection's URL, or for a link. It tries
// again what may pass.
func (c *client) get(ctx context.Context, rest, link string) (page, error) {
	host, err := c.a.opt.Host(c.tenant, c.src.id)
	if err != nil {
		return page{}, err
	}
	doer, err := c.a.opt.HTTP(c.tenant)
	if err != nil {
		return page{}, err
	}
	origin := strings.TrimSuffix(host, "/") + c.src.path
	target := origin + rest
	if link != "" {
		if target, err = httpx.CheckLink(origin, link); err != nil {
			return page{}, err
		}
	}
	renewed := false
	for n := 1; ; n++ {
		p, err := c.once(ctx, doer, origin, target, &renewed)
		kind := drover.KindOf(err)
		if err == nil || n == tries || ctx.Err() != nil || errors.Is(err, errGone) || errors.Is(err, httpx.ErrTooLarge) || kind != drover.Transient && kind != drover.Throttled {
			return p, err
		}
		wait := max(drover.WaitOf(err), time.Second<<(n-1))
		if wait > maxWait {
			return p, err
		}
		if err := sleep(ctx, wait); err != nil {
			return p, err
		}
	}
}

func (c *client) once(ctx context.Context, doer Doer, origin, target string, renewed *bool) (page, error) {
	token, err := c.a.opt.Tokens.Token(ctx, c.tenant, c.src.id)
	if err != nil {
		return page{}, err
	}
	if err := c.pace.wait(ctx); err != nil {
		return page{}, err
	}
	c.requests++
	c.job.asked()
	res, err := doer.Do(ctx, httpx.Request{URL: target, Origin: origin, Header: c.src.header.Clone(), Bearer: token})
	if err != nil {
		return page{}, &drover.Error{Op: "audit " + string(c.src.id), Tenant: c.tenant.ID, Kind: drover.Transient, Err: err}
	}
	defer res.Release()
	switch {
	case res.Status == http.StatusUnauthorized && !*renewed:
		*renewed = true
		c.a.opt.Tokens.Invalidate(c.tenant, c.src.id, token)
		return c.once(ctx, doer, origin, target, renewed)
	case res.Status == http.StatusNotFound && target != origin && !strings.HasPrefix(target, origin+"?"):
		return page{}, errGone
	case res.Status != http.StatusOK && res.Status != http.StatusPartialContent:
		e, _ := httpx.Explain("audit "+string(c.src.id), res)
		e.Tenant = c.tenant.ID
		return page{}, e
	}
	p, err := c.src.parse(res.Body, c.tenant.ID)
	if err != nil {
		return page{}, &drover.Error{Op: "audit " + string(c.src.id), Tenant: c.tenant.ID, Kind: drover.Transient, Err: errors.New("the answer cannot be read")}
	}
	warned := strings.Join(res.Header.Values("Warning"), ", ")
	if res.Status == http.StatusPartialContent || strings.Contains(warned, "Microsoft/") {
		c.partial = append(c.partial, warned)
	}
	return p, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
