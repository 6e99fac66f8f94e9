package api

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// bucket holds the requests that one app still has in one tenant (reference
// graph-security §9, mde-api §6). Throttled requests count as well.
type bucket struct {
	left  float64
	at    time.Time
	until time.Time // said by the last 429: no request is welcome before
}

// limit is so many requests within a span.
type limit struct {
	rate int // 0: any number
	span time.Duration
}

// limits of the API that is asked. Those of an hour are only known of the native
// APIs and of incidents, which seem to stand on them.
func (q *request) limits() []limit {
	switch q.api {
	case "siem":
		return []limit{{q.sw.SIEMPerMinute, time.Minute}}
	case "graph.incidents":
		return []limit{{q.sw.IncidentsPerMinute, time.Minute}, {q.sw.IncidentsPerHour, time.Hour}}
	case "mde":
		return []limit{{q.sw.MDEPerMinute, time.Minute}, {q.sw.MDEPerHour, time.Hour}}
	}
	return []limit{{q.sw.PerMinute, time.Minute}}
}

// throttled answers 429 when the app has had its share.
func (q *request) throttled() bool {
	var wait time.Duration
	var early time.Time
	var hit limit
	for _, l := range q.limits() {
		if l.rate <= 0 {
			continue
		}
		w, e := q.a.take(q.api+"/"+q.caller.Tenant+"/"+q.caller.App+"/"+l.span.String(), l, q.a.opt.Clock(), q.sw)
		if w > wait {
			wait, hit = w, l
		}
		if e.After(early) {
			early = e
		}
	}
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
	if native := q.api == "mde" || q.api == "graph.incidents"; native && q.a.spellsNumber(q.sw.Code429) {
		at := time.Unix(0, 0).UTC().Add(hit.span).Format(time.TimeOnly)
		q.fail(http.StatusTooManyRequests, "429", fmt.Sprintf("API calls quota exceeded! maximum allowed %d per %s", hit.rate, at))
		return true
	}
	q.fail(http.StatusTooManyRequests, "TooManyRequests", "Please retry again later.")
	return true
}

// spellsNumber reports whether the code of this 429 is the number.
func (a *API) spellsNumber(how string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused++
	return how == "number" || how == "turns" && a.refused%2 == 0
}

// take takes one request out of a bucket. wait is how long until there is
// another one, 0 if it could be had; early is what the last 429 said, if it
// was not obeyed.
func (a *API) take(key string, l limit, now time.Time, sw Switches) (wait time.Duration, early time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	rate := float64(l.rate)
	b := a.buckets[key]
	if b == nil {
		b = &bucket{left: rate, at: now}
		a.buckets[key] = b
	}
	window := sw.HourWindow && l.span == time.Hour
	switch passed := now.Sub(b.at); {
	case !window:
		b.left = min(rate, b.left+rate*passed.Minutes()/l.span.Minutes())
		b.at = now
	case passed >= l.span: // a new window begins with this request
		b.left, b.at = rate, now
	}
	if now.Before(b.until) {
		early = b.until
	}
	// A client that goes on regardless waits longer, but not for ever.
	b.left = max(b.left-1, -rate/4)
	if b.left >= -1e-9 {
		b.until = time.Time{}
		return 0, early
	}
	if wait = time.Duration((1 - b.left) / rate * float64(l.span)); window {
		wait = b.at.Add(l.span).Sub(now)
	}
	b.until = now.Add(wait)
	if sw.RetryAfter == "none" {
		b.until = time.Time{}
	}
	return wait, early
}
