// Package defender holds the sources: how Graph alerts and incidents, alerts of
// Defender for Endpoint and SIEM detections are asked for, paged and read
// (reference graph-security, mde-api, siem-api; design §5).
//
// It promises:
//
//   - Rows keep the bytes they were received with; nothing is decoded but their
//     identity.
//   - A pass returns every row that the API showed in its span, in whatever way
//     the API pages, clamps, ties or slides, or says which stretch it left out.
//   - Page.Through never passes a row of the span that was not returned, and
//     never follows a time that the server's own clock has not reached.
//   - A token goes to the one collection it is for, or nowhere.
//   - The number of requests that one page, one instant and one window can
//     cost is bounded, whatever the API answers.
package defender

import (
	"context"
	"errors"
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
	// Token returns a token for the source's API in the tenant.
	Token(ctx context.Context, t drover.Tenant, s drover.SourceID) (drover.Secret, error)
	// Invalidate says that the API did not accept token, so that the next
	// Token is a new one.
	Invalidate(t drover.Tenant, s drover.SourceID, token drover.Secret)
}

// Options of a source. HTTP, Tokens and Host are required.
type Options struct {
	// HTTP returns the client for a tenant's cloud.
	HTTP   func(t drover.Tenant) (Doer, error)
	Tokens Tokens
	// Host returns the base URL of the API for a tenant, without a slash at
	// the end.
	Host func(t drover.Tenant) (string, error)
	// PageSize: how many rows are asked for at once (Graph alerts 500, at most
	// 1,000; incidents 50, never more; Defender for Endpoint 1,000, at most
	// 10,000); for the SIEM API, from how many rows an answer is taken for cut
	// (1,000).
	PageSize int
	// Caps are numbers of rows at which an answer without a stated cap is
	// taken for cut; DefaultCaps if nil.
	Caps []int
	// Gzip asks for compressed answers: about a seventh of the traffic for
	// three times the CPU of the download.
	Gzip bool
	// Now is the local clock, time.Now if nil. It is only trusted until the
	// server has told its own.
	Now func() time.Time
}

// DefaultCaps are the page sizes that APIs of this family cut at without
// saying so (reference graph-security §2, siem-api §3).
var DefaultCaps = []int{100, 200, 250, 500, 1000, 2000, 5000, 10000}

func (o Options) withDefaults() Options {
	if o.Caps == nil {
		o.Caps = DefaultCaps
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Limits is how many requests a minute and an hour an API allows an app for a
// tenant, 0: as many as the other one lets through. Those of Graph's alerts and
// of Defender for Endpoint are documented; for incidents Graph says nothing, so
// it is that of the API behind them, and for the SIEM API it is that of its
// neighbour (reference graph-security §9, mde-api §6, siem-api §6).
func Limits(s drover.SourceID) (minute, hour int64) {
	switch s {
	case drover.GraphIncidents:
		return 50, 1500
	case drover.MDEAlerts:
		return 100, 1500
	case drover.SIEMDetections:
		return 100, 0
	}
	return 150, 0
}

// plausible is how far ahead of the local clock a row's time may lie and still
// be believed when the server does not tell its own.
const plausible = 24 * time.Hour

// grain is how coarsely an API may compare a time literal: the precision is
// not documented (reference graph-security §2), and milliseconds are the
// coarsest that its samples show. The outer bounds of a pass are widened by
// it, so that a span of one instant is not empty for such an API; a row beside
// the span costs a look-up.
const grain = time.Millisecond

// checkSpan refuses what no caller may ask for: an API that is asked for an
// empty stretch answers with a success that means nothing.
func checkSpan(op string, t drover.Tenant, span drover.Span) error {
	if span.Open() || span.From < span.To {
		return nil
	}
	return &drover.Error{Op: op, Tenant: t.ID, Kind: drover.Broken, Err: errors.New("an empty span was asked for: " + span.String())}
}

// clock is what a pass knows of the server's time.
type clock struct {
	now  func() time.Time
	date drover.Instant // of the last answer, as it said
	asOf drover.Instant // of the last answer: what changed before could be in it
}

func newClock(now func() time.Time) clock {
	return clock{now, drover.NoInstant, drover.NoInstant}
}

// heard takes note of an answer that took so long: what is in it was looked up
// somewhere between the question and its Date. An answer without a Date leaves
// nothing known, as what an earlier one said was before it.
func (c *clock) heard(date drover.Instant, took time.Duration) {
	c.date, c.asOf = date, date
	if date.Known() {
		c.asOf = date.Add(-max(took, 0))
	}
}

// believes reports whether a row may carry time i.
func (c *clock) believes(i drover.Instant) bool {
	if c.asOf.Known() {
		return i <= c.asOf
	}
	return i <= drover.InstantOf(c.now().Add(plausible))
}
