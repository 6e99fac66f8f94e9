package collect

import (
	"math"
	"time"

	"drover"
)

// clock estimates the server's time between two answers.
type clock struct {
	said drover.Instant
	at   time.Time
}

func (k *clock) set(i drover.Instant) {
	if i.Known() {
		k.said, k.at = i, time.Now()
	}
}

func (k *clock) now() drover.Instant {
	if !k.said.Known() {
		return drover.NoInstant
	}
	return k.said.Add(time.Since(k.at))
}

// maxSkew is how far clocks may differ before it is said (reference faults
// P13). Nothing is read by our own clock, but certificates and tokens are
// judged by it.
const maxSkew = 2 * time.Minute

// noSkew stands for a skew that is not known.
const noSkew = math.MinInt64

// hear takes note of what the server's clock says, and tells when it begins to
// differ much from ours.
func (r *reader) hear(date drover.Instant) {
	if !date.Known() {
		return
	}
	r.server.set(date)
	// A Date is cut to the second, so half a second is missing on average.
	d := time.Until(date.Time()) + time.Second/2
	before := r.skew.Swap(int64(d))
	switch far, was := d.Abs() > maxSkew, before != noSkew && time.Duration(before).Abs() > maxSkew; {
	case far && !was:
		if !r.c.skewed.Swap(true) { // once for all feeds
			r.c.log.Warn("this machine's clock and the API's differ", "feed", r.feed, "api_is_ahead_by", d.Round(time.Second))
		}
		r.c.notify(Event{Feed: r.feed, What: "skew", N: 1, Skew: d})
	case was && !far:
		r.c.skewed.Store(false)
	}
}
