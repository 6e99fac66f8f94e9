package collect

import (
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

// hear takes note of what the server's clock says, and tells when it begins to
// differ much from ours.
func (r *reader) hear(date drover.Instant) {
	if !date.Known() {
		return
	}
	r.server.set(date)
	// A Date is cut to the second, so half a second is missing on average.
	d, before := time.Until(date.Time())+time.Second/2, r.skew.Load()
	r.skew.Store(&d)
	switch far, was := d.Abs() > maxSkew, before != nil && before.Abs() > maxSkew; {
	case far && !was:
		if !r.c.skewed.Swap(true) { // once for all feeds
			r.c.log.Warn("this machine's clock and the API's differ", "feed", r.feed, "api_is_ahead_by", d.Round(time.Second))
		}
		r.c.notify(Event{Feed: r.feed, What: "skew", N: 1, Skew: d})
	case was && !far:
		r.c.skewed.Store(false)
	}
}
