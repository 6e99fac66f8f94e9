package collect

import "time"

// allowance is what of an API's limit a feed may still use: a bucket of a third
// of a minute's requests that fills by the other two thirds a minute, so that
// no minute sees more than is allowed. Nobody waits for it: a feed that has
// used it up is due again when there is enough for another slice.
type allowance struct {
	used   float64 // of the bucket
	usedAt time.Time
}

func (a *allowance) spend(n int) { a.used += float64(n) }

// short is how long the feed must wait, 0 if it may ask.
func (r *reader) short() time.Duration {
	if r.c.opt.Allowance == nil {
		return 0
	}
	perMinute := float64(r.c.opt.Allowance(*r.tenant.Load(), r.feed.Source))
	if perMinute <= 0 {
		return 0
	}
	a, now := &r.allowance, time.Now()
	bucket, perSecond := max(perMinute/3, 1), perMinute*2/3/60
	if !a.usedAt.IsZero() {
		a.used = max(a.used-now.Sub(a.usedAt).Seconds()*perSecond, 0)
	}
	a.usedAt = now
	if bucket-a.used >= 1 {
		return 0
	}
	return time.Duration((a.used - bucket + min(bucket, sidePages)) / perSecond * float64(time.Second))
}

// ample reports whether more than half of the bucket is left.
func (r *reader) ample() bool {
	if r.c.opt.Allowance == nil {
		return true
	}
	perMinute := float64(r.c.opt.Allowance(*r.tenant.Load(), r.feed.Source))
	return perMinute <= 0 || r.allowance.used < max(perMinute/3, 1)/2
}
