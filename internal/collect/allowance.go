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

// short is how long the feed must wait, 0 if it may ask.
func (r *reader) short() time.Duration {
	most := func(of func(drover.Tenant, drover.SourceID) int) int {
		if of == nil {
			return 0
		}
		return of(*r.tenant.Load(), r.feed.Source)
	}
	now := time.Now()
	return max(r.allowance.minute.short(most(r.c.opt.Allowance), time.Minute, now), r.allowance.hour.short(most(r.c.opt.Hourly), time.Hour, now))
}
