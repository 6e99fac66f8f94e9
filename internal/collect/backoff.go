package collect

import (
	"time"

	"drover"
)

// Pauses by kind of error (design §5; reference faults-and-invariants P25, P26, P33).
const (
	firstPause = time.Second
	longPause  = time.Minute // the longest after passing errors
	firstProbe = time.Minute // of a denied feed
	lastProbe  = time.Hour
	trusted    = 4                // refusals in a row after which a peer that names a time is asked more rarely than it says
	fullPause  = 10 * time.Second // the ledger's disk is full
	skipAfter  = 5                // equal failures after which a place is left behind as a gap
	skipTime   = 30 * time.Minute // or this long
)

// double returns first·2ⁿ, at most limit.
func double(first, limit time.Duration, n int) time.Duration {
	for ; n > 0 && first < limit; n-- {
		first *= 2
	}
	return min(first, limit)
}

// pause returns how long a feed waits after its n-th failure in a row
// (counted from 1). What the peer asked for is a floor and gets jitter on top,
// never below; one that always asks for next to nothing is still asked ever
// more rarely.
func (c *Collector) pause(err error, n int) time.Duration {
	switch drover.KindOf(err) {
	case drover.Throttled:
		if wait := drover.WaitOf(err); wait > 0 {
			wait = max(wait, double(firstPause, longPause, max(n-trusted, 0)))
			return wait + c.random(max(wait/10, grid))
		}
		p := double(firstPause, longPause, n-1)
		return p + c.random(p)
	case drover.Denied:
		p := double(firstProbe, lastProbe, n-1)
		return p + c.random(p/10)
	default:
		p := double(firstPause, longPause, n-1)
		return p/2 + c.random(p/2) + c.random(p/4)
	}
}
