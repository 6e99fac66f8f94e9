package api

import (
	"math"
	"net/http"
	"strconv"
	"time"
)

// bucket holds the requests that one app still has in one tenant (reference
// graph-security §9). Throttled requests count as well.
type bucket struct {
	left  float64
	at    time.Time
	until time.Time // said by the last 429: no request is welcome before
}

// throttled answers 429 when the app has had its share.
func (q *request) throttled() bool {
	rate := q.sw.PerMinute
	if q.api == "siem" {
		rate = q.sw.SIEMPerMinute
	}
	if rate <= 0 {
		return false
	}
	wait, early := q.a.take(q.api+"/"+q.caller.Tenant+"/"+q.caller.App, float64(rate), q.a.opt.Clock(), q.sw.RetryAfter)
	if !early.IsZero() {
		q.a.opt.Truth.Event("early", "tenant", q.caller.Tenant, "api", q.api, "until", early)
	}
	if wait == 0 {
		return false
	}
	switch q.sw.RetryAfter {
	case "none":
	case "fractional":
		q.w.Header().Set("Retry-After", strconv.FormatFloat(math.Ceil(wait.Seconds()*1000)/1000, 'f', -1, 64))
	default:
		q.w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
	q.fail(http.StatusTooManyRequests, "TooManyRequests", "Please retry again later.")
	return true
}

// take takes one request out of a bucket. wait is how long until there is
// another one, 0 if it could be had; early is what the last 429 said, if it
// was not obeyed.
func (a *API) take(key string, rate float64, now time.Time, form string) (wait time.Duration, early time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := a.buckets[key]
	if b == nil {
		b = &bucket{left: rate, at: now}
		a.buckets[key] = b
	}
	b.left = min(rate, b.left+rate*now.Sub(b.at).Minutes())
	b.at = now
	if now.Before(b.until) {
		early = b.until
	}
	// A client that goes on regardless waits longer, but not for ever.
	b.left = max(b.left-1, -rate/4)
	if b.left >= -1e-9 {
		b.until = time.Time{}
		return 0, early
	}
	wait = time.Duration((1 - b.left) / rate * float64(time.Minute))
	b.until = now.Add(wait)
	if form == "none" {
		b.until = time.Time{}
	}
	return wait, early
}
