package splunk

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"

	"drover"
	"drover/internal/httpx"
)

const sendOp = "send to Splunk"

// leastZipped is from how many bytes on a body is compressed.
const leastZipped = 1000

var zips = sync.Pool{New: func() any {
	z, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is one
	}
	return z
}}

func zip(body []byte) ([]byte, error) {
	var buf bytes.Buffer
	z := zips.Get().(*gzip.Writer)
	defer zips.Put(z)
	z.Reset(&buf)
	_, err := z.Write(body)
	err = errors.Join(err, z.Close()) // only now is the rest in buf
	return buf.Bytes(), err
}

// post makes a request of the lane. Any status is an answer.
func (s *Sink) post(ctx context.Context, l *lane, endpoint string, body []byte) (*answer, error) {
	token, err := l.token()
	if err != nil {
		return nil, &drover.Error{Op: sendOp, Kind: drover.Denied, Err: err, Hint: "the token cannot be read: check what token: names"}
	}
	h := http.Header{"Content-Type": {"application/json"}, "Authorization": {"Splunk " + token.Reveal()}}
	if s.opt.Ack {
		h.Set("X-Splunk-Request-Channel", l.channel)
	}
	if c := l.cookies.header(); c != "" {
		h.Set("Cookie", c)
	}
	if len(body) >= leastZipped {
		if body, err = zip(body); err != nil {
			return nil, &drover.Error{Op: sendOp, Kind: drover.Broken, Err: err}
		}
		h.Set("Content-Encoding", "gzip")
	}
	res, err := s.opt.HTTP.Do(ctx, httpx.Request{Method: http.MethodPost, URL: s.base + endpoint, Origin: s.base, Header: h, Body: body, MaxBody: maxAnswer})
	if err != nil {
		return nil, unreached(sendOp, err)
	}
	l.cookies.take(res.Header)
	return read(res), nil
}

// unreached is the error of a request that got no answer. Nothing is ever sent
// over a connection that is not verified: somebody has to see to it.
func unreached(op string, err error) error {
	e := &drover.Error{Op: op, Kind: drover.Transient, Err: err}
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	switch {
	case certificate:
		e.Kind, e.Hint = drover.Denied, "Splunk's certificate does not hold, so nothing was sent: renew it, or name its authority under ca_file:"
	case alert:
		e.Kind, e.Hint = drover.Denied, "Splunk refuses our TLS: it wants a client certificate, or an older version than 1.2"
	case errors.Is(err, http.ErrSchemeMismatch):
		e.Kind, e.Hint = drover.Denied, "Splunk speaks plain HTTP at this address: switch SSL on for the collector; nothing is sent without it"
	case errors.Is(err, httpx.ErrPrivate), errors.Is(err, httpx.ErrOrigin), errors.Is(err, httpx.ErrPlaintext):
		e.Kind, e.Hint = drover.Denied, "check the url of this sink"
	}
	return e
}

// cookies keep a lane's events and polls at one indexer behind a load balancer.
// Each lane has its own: with another's it would ask an indexer that does not
// know its channel. They go to the sink's origin only, so that no more of them
// is kept than name and value.
type cookies struct{ list []*http.Cookie }

// A balancer sets one or two; who sets more is not followed.
const (
	maxCookies = 16
	maxCookie  = 4096 // bytes of a value
)

// take books what an answer sets and takes back.
func (c *cookies) take(h http.Header) {
	for _, n := range (&http.Response{Header: h}).Cookies() {
		at := -1
		for i, old := range c.list {
			if old.Name == n.Name {
				at = i
			}
		}
		switch {
		case n.MaxAge < 0 || n.Value == "" || len(n.Value) > maxCookie:
			if at >= 0 {
				c.list = append(c.list[:at], c.list[at+1:]...)
			}
		case at >= 0:
			c.list[at] = n
		case len(c.list) < maxCookies:
			c.list = append(c.list, n)
		}
	}
}

// header is the value of a Cookie header, "" for none.
func (c *cookies) header() string {
	var out []string
	for _, n := range c.list {
		//nolint:gosec // a request's cookies have no attributes
		out = append(out, (&http.Cookie{Name: n.Name, Value: n.Value, Quoted: n.Quoted}).String())
	}
	return strings.Join(out, "; ")
}
