package collect

import (
	"time"

	"drover"
)

// allowance is what of an API's limits a feed may still use: of a minute's, and
// of an hour's where there is one. Nobody waits for it: a feed that has used one
// up is due again when there is enough for another slice.
type allowance struct{ minute, hour bucket }

func (a *allowance) spend(n int) {
	a.minute.used += float64(n)
	a.hour.used += float64(n)
}

// bucket holds a third of what is allowed over a time, and fills by the other
// two thirds in that time, so that no such time sees more than is allowed.
type bucket struct {
	used   float64
	usedAt time.Time
}

// short is how long to wait for a slice of requests, 0 if there is one left.
func (b *bucket) short(most int, over time.Duration, now time.Time) time.Duration {
	if most <= 0 {
		return 0
	}
	size, perSecond := max(float64(most)/3, 1), float64(most)*2/3/over.Seconds()
	if !b.usedAt.IsZero() {
		b.used = max(b.used-now.Sub(b.usedAt).Seconds()*perSecond, 0)
	}
	b.usedAt = now
	if size-b.used >= 1 {
		return 0
	}
	return time.Duration((b.used - size + min(size, sidePages)) / perSecond * float64(time.Second))
}

// ample reports whether more than half of the bucket is left.
func (b *bucket) ample(most int) bool { return most <= 0 || b.used < max(float64(most)/3, 1)/2 }

// limits are how many requests a minute and an hour the feed may use, 0 for no
// bound.
func (r *reader) limits() (minute, hour int) {
	of := func(most func(drover.Tenant, drover.SourceID) int) int {
		if most == nil {
			return 0
		}
		return most(*r.tenant.Load(), r.feed.Source)
	}
	return of(r.c.opt.Allowance), of(r.c.opt.Hourly)
}

// short is how long the feed must wait, 0 if it may ask.
func (r *reader) short() time.Duration {
	minute, hour := r.limits()
	now := time.Now()
	return max(r.allowance.minute.short(minute, time.Minute, now), r.allowance.hour.short(hour, time.Hour, now))
}

// ample reports whether more than half of what is allowed is left.
func (r *reader) ample() bool {
	minute, hour := r.limits()
	return r.allowance.minute.ample(minute) && r.allowance.hour.ample(hour)
}
