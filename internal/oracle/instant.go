package oracle

import (
	"math"
	"time"
)

// tick is a moment in steps of 100 ns since 1970, the precision that sources
// serve.
type tick int64

// noTick stands for a time that is missing or cannot be read. It is before
// every other.
const noTick tick = math.MinInt64

const ticksPerSecond = 10_000_000

func (t tick) time() time.Time {
	return time.Unix(int64(t)/ticksPerSecond, int64(t)%ticksPerSecond*100).UTC()
}

// sub returns t − u.
func (t tick) sub(u tick) time.Duration { return time.Duration(t-u) * 100 }

// parseTick reads date, T or blank, time, an optional fraction of which seven
// digits count, and Z, an offset, or nothing for UTC.
func parseTick(s string) tick {
	clock, zone, frac := s, "Z", ""
	if len(s) < 19 {
		return noTick
	}
	clock, rest := s[:19], s[19:]
	if rest != "" && (rest[0] == '.' || rest[0] == ',') {
		n := 1
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		if n == 1 {
			return noTick
		}
		frac, rest = rest[1:n], rest[n:]
	}
	if rest != "" {
		zone = rest
	}
	layout := "2006-01-02T15:04:05"
	switch clock[10] {
	case ' ':
		layout = "2006-01-02 15:04:05"
	case 't':
		layout = "2006-01-02t15:04:05"
	}
	leap := clock[17:] == "60" // read as the second that follows
	if leap {
		clock = clock[:17] + "59"
	}
	t, err := time.Parse(layout, clock)
	if err != nil {
		return noTick
	}
	sec := t.Unix()
	if leap {
		sec++
	}
	if zone != "Z" && zone != "z" {
		off, err := time.Parse("-07:00", zone)
		if err != nil {
			return noTick
		}
		_, seconds := off.Zone()
		sec -= int64(seconds)
	}
	ticks, scale := int64(0), int64(ticksPerSecond/10)
	for _, c := range []byte(frac) {
		ticks += int64(c-'0') * scale
		scale /= 10
	}
	return tick(sec*ticksPerSecond + ticks)
}
