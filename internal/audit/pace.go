package audit

import (
	"context"
	"sync"
	"time"

	"drover"
)

// Paces keep audits to what an API allows a tenant's app and nobody else uses.
// Audits of one process share them.
type Paces struct {
	// Allowed is how many requests a minute and an hour are drover's at a
	// tenant's source; 0: any number.
	Allowed func(t drover.Tenant, s drover.SourceID) (minute, hour int)
	// Used is how many of them the collector has made within the last minute and
	// hour. It is nil where nothing reads beside the audit.
	Used func(f drover.Feed) (minute, hour int)

	mu    sync.Mutex
	feeds map[drover.Feed]*pace
}

// of returns a feed's pace.
func (p *Paces) of(t drover.Tenant, s drover.SourceID) *pace {
	f := drover.Feed{Tenant: t.ID, Source: s}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.feeds == nil {
		p.feeds = make(map[drover.Feed]*pace)
	}
	x := p.feeds[f]
	if x == nil {
		x = &pace{}
		p.feeds[f] = x
	}
	minute, hour := 0, 0
	if p.Allowed != nil {
		minute, hour = p.Allowed(t, s)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.used = nil
	if p.Used != nil {
		x.used = func() (int, int) { return p.Used(f) }
	}
	x.minute.allow(minute, time.Minute, x.used == nil)
	x.hour.allow(hour, time.Hour, x.used == nil)
	return x
}

// pace is that of one API in one tenant. Beside a collector a third of what is
// allowed is left to it even while it does nothing, and all of what it uses, or
// will if it goes on as in the last minute. What the audit used before a
// collector woke goes by as fast as that fills up again (collect.bucket), so both
// together stay within what is allowed, but for a twelfth: that much the audit has
// in any case, so that it ends.
type pace struct {
	mu           sync.Mutex
	minute, hour bucket
	used         func() (minute, hour int)
}

// bucket is full at first and fills evenly, so that no stretch of its length
// sees more requests than a full one and what flows into it.
type bucket struct {
	most  int // that are allowed over the length; 0: any number
	over  time.Duration
	size  float64
	rate  float64 // a second
	left  float64
	at    time.Time // when left was reckoned
	asked Recent
}

// Of what is allowed a full bucket holds the burst, and the flow comes in over
// its length. Alone, the third that is else left to the collector is shared out
// as well.
const (
	burst, flow           = 1. / 12, 7. / 12
	burstAlone, flowAlone = 1. / 8, 7. / 8
)

// allow sets what is allowed.
func (b *bucket) allow(most int, over time.Duration, alone bool) {
	burst, flow := burst, flow
	if alone {
		burst, flow = burstAlone, flowAlone
	}
	size := max(float64(most)*burst, 1)
	if b.at.IsZero() || b.most != most {
		b.left = size
	}
	b.most, b.over, b.size, b.rate = most, over, size, float64(most)*flow/over.Seconds()
}

// short is how long to wait for a request, 0 if one may be made; used is how
// many others have made within the bucket's length.
func (b *bucket) short(used int, beside bool, now time.Time) time.Duration {
	if b.most <= 0 {
		return 0
	}
	if !b.at.IsZero() {
		b.left = min(b.size, b.left+now.Sub(b.at).Seconds()*b.rate)
	}
	b.at = now
	if b.left < 1 {
		return time.Duration((1-b.left)/b.rate*float64(time.Second)) + time.Millisecond
	}
	if mine := b.asked.Count(b.over, now); beside && mine+max(used, b.most/3) >= b.most && mine >= max(b.most/12, 1) {
		return b.over / 60
	}
	return 0
}

func (b *bucket) spend(now time.Time) {
	b.left--
	b.asked.Add(b.over, now)
}

// wait returns when a request may be made, and books it.
func (p *pace) wait(ctx context.Context) error {
	for {
		p.mu.Lock()
		now, minute, hour := time.Now(), 0, 0
		if p.used != nil && p.minute.most+p.hour.most > 0 {
			minute, hour = p.used()
			hour = max(hour, 60*minute) // it may go on as it does now
		}
		wait := max(p.minute.short(minute, p.used != nil, now), p.hour.short(hour, p.used != nil, now))
		if wait == 0 {
			p.minute.spend(now)
			p.hour.spend(now)
			p.mu.Unlock()
			return nil
		}
		p.mu.Unlock()
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// lasts is about how long n requests take, at best, and each a second itself.
func (p *pace) lasts(n int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := time.Duration(n) * time.Second
	for _, b := range []*bucket{&p.minute, &p.hour} {
		if b.most > 0 && float64(n) > b.left {
			d = max(d, time.Duration((float64(n)-b.left)/b.rate*float64(time.Second)))
		}
	}
	return d
}

// Recent counts what happened within a length of time that has just gone by: in
// the one under way, and a share of the one before as if that had been evenly
// spread.
type Recent struct {
	n      int64 // which length of time is under way
	is, at uint32
}

// Add counts one.
func (w *Recent) Add(over time.Duration, now time.Time) {
	w.turn(over, now)
	w.is++
}

// Count returns how many happened, rounded up.
func (w *Recent) Count(over time.Duration, now time.Time) int {
	w.turn(over, now)
	left := over - time.Duration(now.UnixNano())%over
	return int(w.is) + int((int64(w.at)*int64(left)+int64(over)-1)/int64(over))
}

// turn begins another length of time.
func (w *Recent) turn(over time.Duration, now time.Time) {
	switch n := now.UnixNano() / int64(over); {
	case n == w.n+1:
		w.n, w.at, w.is = n, w.is, 0
	case n != w.n:
		*w = Recent{n: n}
	}
}
