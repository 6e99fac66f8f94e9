package httpx

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Bounds of what a peer may ask us to wait.
const (
	minWait = time.Second
	maxWait = time.Hour
)

// RetryAfter reads how long the peer asks us to wait: seconds, a fraction of
// them, or an HTTP date, which is taken against the answer's own Date if it
// has one, else against now. The wait is between one second and one hour; ok
// is false if the peer did not ask, or not in a way that can be read
// (reference faults P25, graph-security §8).
func RetryAfter(h http.Header, now time.Time) (wait time.Duration, ok bool) {
	for _, v := range h.Values("Retry-After") {
		if d, good := oneWait(strings.TrimSpace(v), h, now); good {
			wait, ok = max(wait, d), true
		}
	}
	return wait, ok
}

func oneWait(v string, h http.Header, now time.Time) (time.Duration, bool) {
	if v != "" && strings.Trim(v, "+-.0123456789eE") == "" {
		sec, err := strconv.ParseFloat(v, 64)
		if err != nil && !math.IsInf(sec, 0) {
			return 0, false
		}
		switch {
		case sec >= maxWait.Seconds():
			return maxWait, true
		case sec <= minWait.Seconds():
			return minWait, true
		}
		// Rounded up: never earlier than asked.
		return time.Duration(math.Ceil(sec*1000)) * time.Millisecond, true
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	if d, err := http.ParseTime(h.Get("Date")); err == nil {
		now = d // by the peer's own clock
	}
	// A date is cut to the second; one more is never too early.
	return min(max(at.Sub(now)+time.Second, minWait), maxWait), true
}
