package collect

import (
	"math"
	"math/bits"
	"time"

	"drover"
)

// pulse knows how long a feed is usually silent: the longest time between two
// new rows, by their change times, within half a year. One silence longer than
// twice that is worth a word.
//
// Twice the longest of n gaps is passed by the next one with a chance of
// 2/((n+1)(n+2)) where rows come by chance (exponential gaps), so a feed that
// has been watched for d days says it falsely about 2/(n·d) times a day. It
// says nothing at all before n·d is enough for less than one in a thousand
// days. Only gaps of the longest one's order count for n: what lies within a
// burst or a working day says nothing about nights.
type pulse struct {
	first, last drover.Instant // of the rows that were seen
	week        int64          // of the newest row
	longest     [weeks]seconds
	gaps        [powers]float32 // by the power of two of their seconds
}

// seconds is how long a gap is, in whole ones. A hundred years are far too many.
type seconds uint32

func secondsOf(gap time.Duration) seconds {
	return seconds(min((gap+time.Second-1)/time.Second, math.MaxUint32))
}

func (s seconds) duration() time.Duration { return time.Duration(s) * time.Second }

const (
	weeks = 26 // as long as a source keeps its rows
	week  = 7 * 24 * time.Hour
	// armed is what n·d must reach: 2/2500 is less than one in a thousand, with
	// something left for gaps that are longer than by chance.
	armed = 2500
	// order is how many powers of two shorter than the longest a gap may be and
	// still count.
	order = 3
	// powers of two, up to a hundred years.
	powers = 32
	// silences is how many times the usual silence is worth a word.
	silences = 2
)

// beat takes note of a row's change time. Rows that are not newer than all
// before say nothing.
func (p *pulse) beat(at drover.Instant) {
	if !at.Known() {
		return
	}
	if p.first == 0 && p.last == 0 {
		p.first, p.last, p.week = at, at, weekOf(at)
		return
	}
	if at <= p.last {
		return
	}
	gap := at.Sub(p.last)
	if usual, ok := p.usual(0); ok {
		gap = min(gap, silences*usual) // an outage is not usual; one silence after another becomes so
	}
	p.last = at
	for w := weekOf(at); p.week < w; {
		p.week = max(p.week+1, w-weeks)
		p.longest[p.week%weeks] = 0
		for i := range p.gaps {
			p.gaps[i] *= (weeks - 1.0) / weeks
		}
	}
	p.longest[p.week%weeks] = max(p.longest[p.week%weeks], secondsOf(gap))
	p.gaps[power(gap)]++
}

func weekOf(at drover.Instant) int64 { return at.Time().Unix() / int64(week/time.Second) }

func power(gap time.Duration) int {
	return min(bits.Len64(uint64(gap/time.Second)), powers-1)
}

// usual is the longest silence that is usual, at least floor, and whether
// enough is known to go by it.
func (p *pulse) usual(floor time.Duration) (time.Duration, bool) {
	var longest time.Duration
	for _, d := range p.longest {
		longest = max(longest, d.duration())
	}
	var n float32
	for i := max(power(longest)-order, 0); i < len(p.gaps); i++ {
		n += p.gaps[i]
	}
	days := min(p.last.Sub(p.first), weeks*week).Hours() / 24
	return max(longest, floor), float64(n)*days >= armed
}

// silent reports whether a feed that has been read up to now is silent for
// longer than it ever is, and since when it is silent at all.
func (p *pulse) silent(now drover.Instant, floor time.Duration) (since drover.Instant, usual time.Duration, yes bool) {
	usual, ok := p.usual(floor)
	return p.last, usual, ok && now.Known() && now.Sub(p.last) > silences*usual
}

// calendar is in which minutes of half a year any of many feeds had a row. It
// takes them in any order.
type calendar struct {
	newest int64 // minute
	minute [weeks * 7 * 24 * 60 / 64]uint64
}

const calendarMinutes = weeks * 7 * 24 * 60

func (c *calendar) mark(at drover.Instant) {
	if !at.Known() {
		return
	}
	m := at.Time().Unix() / 60
	switch {
	case m <= c.newest-calendarMinutes || m < 0:
		return
	case m > c.newest:
		for n := max(c.newest+1, m-calendarMinutes+1); n <= m; n++ {
			c.minute[n%calendarMinutes/64] &^= 1 << (n % 64)
		}
		c.newest = m
	}
	c.minute[m%calendarMinutes/64] |= 1 << (m % 64)
}

// pulse is that of all the feeds together.
func (c *calendar) pulse() *pulse {
	p := new(pulse)
	for m := max(c.newest-calendarMinutes+1, 0); m <= c.newest; m++ {
		if c.minute[m%calendarMinutes/64]&(1<<(m%64)) != 0 {
			p.beat(drover.InstantOf(time.Unix(m*60, 0)))
		}
	}
	return p
}
