// Package registration makes, reads and changes the MSSP's app registration
// through Microsoft Graph (reference mssp-onboarding §8).
//
// It promises:
//
//   - The admin's token goes to the cloud's Graph host and nowhere else.
//   - No permission beyond read is asked for.
//   - Certificates of others stay: a list that Graph replaces as a whole is read
//     first, sent with everything that was in it, and read again.
//   - What Graph has made and does not show everywhere yet is waited for.
//   - No token, secret or text of an answer stands in an error.
package registration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"drover"
	"drover/internal/httpx"
)

// Doer makes one HTTP call; *httpx.Client is one.
type Doer interface {
	Do(ctx context.Context, r httpx.Request) (*httpx.Response, error)
}

// Options of a Client. All are required but Pause.
type Options struct {
	HTTP  Doer
	Graph string // base URL of the cloud's Graph
	// Token is a delegated Graph token of an admin of the MSSP's tenant.
	Token drover.Secret
	// Pause waits; false when ctx has ended. Nil: real time.
	Pause func(ctx context.Context, d time.Duration) bool
}

// Client speaks for one signed-in admin.
type Client struct{ opt Options }

// New returns a Client. It calls nobody.
func New(opt Options) *Client {
	if opt.Pause == nil {
		opt.Pause = func(ctx context.Context, d time.Duration) bool {
			t := time.NewTimer(d)
			defer t.Stop()
			select {
			case <-t.C:
				return true
			case <-ctx.Done():
				return false
			}
		}
	}
	return &Client{opt}
}

// ErrUnknown: the directory shows no such application.
var ErrUnknown = errors.New("the directory has no such application")

// maxAnswer bounds an answer in bytes: the service principal of Microsoft Graph
// alone has more than a thousand permissions, some 700 KB.
const maxAnswer = 8 << 20

// Calls that Graph slows down are made again, at most so often, after at most
// so long.
const (
	maxTries = 5
	maxWait  = time.Minute
)

// call makes one call and decodes the answer into out, if that is not nil.
func (c *Client) call(ctx context.Context, op, method, path string, in, out any) error {
	r := httpx.Request{Method: method, URL: c.opt.Graph + "/v1.0" + path, Origin: c.opt.Graph, Bearer: c.opt.Token, MaxBody: maxAnswer, Header: http.Header{"Accept": {"application/json"}}}
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return err
		}
		r.Body = body
		r.Header.Set("Content-Type", "application/json")
	}
	for try := 1; ; try++ {
		res, err := c.opt.HTTP.Do(ctx, r)
		if err != nil {
			return &drover.Error{Op: op, Kind: drover.Transient, Err: err}
		}
		if res.Status >= 200 && res.Status < 300 {
			if out == nil {
				return nil
			}
			if err := json.Unmarshal(res.Body, out); err != nil {
				return &drover.Error{Op: op, Kind: drover.Transient, Err: errors.New("the answer is not what Graph answers")}
			}
			return nil
		}
		e := explain(op, res)
		// A request that was slowed down has not been carried out.
		if res.Status != http.StatusTooManyRequests || try >= maxTries || !c.opt.Pause(ctx, min(max(e.Wait, time.Second), maxWait)) {
			return e
		}
	}
}

// explain turns a refusal into an error with the way out.
func explain(op string, res *httpx.Response) *drover.Error {
	e, _ := httpx.Explain(op, res)
	switch res.Status {
	case http.StatusForbidden:
		e.Kind = drover.Denied
		e.Hint = "sign in as somebody who may register applications (Application Administrator, Cloud Application Administrator, or an owner of this one), with an app that has consent to Application.ReadWrite.All; or follow: drover app manual"
	case http.StatusUnauthorized:
		e.Kind = drover.Denied
		e.Hint = "sign in again"
	case http.StatusNotFound:
		e.Kind, e.Err = drover.Denied, fmt.Errorf("%w (%s)", ErrUnknown, e.Code)
		e.Hint = "is the application ID right, and is the tenant the one in which it is registered?"
	case http.StatusBadRequest, http.StatusConflict:
		e.Kind = drover.Refused
	}
	return e
}

// What Graph has made may be unknown to its other servers for a while: no figure
// is documented, minutes are usual (reference entra-oauth §6).
const (
	firstPause = time.Second
	lastPause  = 15 * time.Second
	longest    = 5 * time.Minute
)

// unseen reports whether a refusal is what a server says that has not heard of a
// new application yet.
func unseen(err error) bool {
	e, ok := errors.AsType[*drover.Error](err)
	return ok && (errors.Is(err, ErrUnknown) || slices.Contains([]string{"NoBackingApplicationObject", "Request_ResourceNotFound"}, e.Code))
}

// settled repeats what may meet a server that does not know yet.
func (c *Client) settled(ctx context.Context, do func() error) error {
	var waited time.Duration
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := do()
		if err == nil || !unseen(err) || waited >= longest {
			return err
		}
		if !c.opt.Pause(ctx, pause) {
			return err
		}
		waited += pause
	}
}
