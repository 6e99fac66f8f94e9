package drover

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Instant is a moment in steps of 100 ns since 2000-01-01T00:00:00Z, the
// precision of every time that Defender serves. It is what keys are made of:
// it compares as a number, and no local clock or zone is in it. The years 1 to
// 9999 fit.
type Instant int64

// NoInstant marks a time that was missing or could not be read. It sorts
// before every real instant.
const NoInstant Instant = math.MinInt64

// Tick is the length of one step of Instant.
const Tick = 100 * time.Nanosecond

// epoch2000 is 2000-01-01T00:00:00Z in seconds since 1970.
const epoch2000 = 946684800

const ticksPerSecond = int64(time.Second / Tick)

// The first and the last instant that an ISO 8601 time can name.
const (
	minInstant Instant = -63082281600 * Instant(ticksPerSecond)
	maxInstant Instant = 252455616000*Instant(ticksPerSecond) - 1
)

// errTime is returned by ParseInstant; the text is left out, it may be
// anything a peer chose to send.
var errTime = errors.New("not a time of the form 2006-01-02T15:04:05.9999999Z")

// InstantOf converts t, cutting off what lies below 100 ns.
func InstantOf(t time.Time) Instant {
	return Instant((t.Unix()-epoch2000)*ticksPerSecond + int64(t.Nanosecond())/int64(Tick))
}

// Time returns i in UTC, or the zero time for NoInstant.
func (i Instant) Time() time.Time {
	if i == NoInstant {
		return time.Time{}
	}
	sec, tick := floorDiv(int64(i), ticksPerSecond)
	return time.Unix(sec+epoch2000, tick*int64(Tick)).UTC()
}

// Add returns i moved by d, cut to whole steps. NoInstant stays NoInstant.
func (i Instant) Add(d time.Duration) Instant {
	if i == NoInstant {
		return i
	}
	return i + Instant(d/Tick)
}

// Sub returns the time from j to i, 0 if one of them is not known. It is at the
// limits of time.Duration when they are more than about 292 years apart.
func (i Instant) Sub(j Instant) time.Duration {
	if i == NoInstant || j == NoInstant {
		return 0
	}
	d := int64(i) - int64(j)
	switch limit := int64(math.MaxInt64 / Tick); {
	case d > limit:
		return math.MaxInt64
	case d < -limit:
		return math.MinInt64
	}
	return time.Duration(d) * Tick
}

// Known reports whether i is a real moment.
func (i Instant) Known() bool { return i != NoInstant }

// String renders i the way drover writes times everywhere: RFC 3339 in UTC
// with seven digits, or "-" for NoInstant.
func (i Instant) String() string { return string(i.Append(nil)) }

// Append appends String's text to b without allocating.
func (i Instant) Append(b []byte) []byte {
	if i == NoInstant {
		return append(b, '-')
	}
	return i.Time().AppendFormat(b, "2006-01-02T15:04:05.0000000Z")
}

// MarshalText makes Instant readable in JSON and YAML.
func (i Instant) MarshalText() ([]byte, error) { return i.Append(nil), nil }

// UnmarshalText reads what MarshalText wrote, and any spelling that
// ParseInstant takes.
func (i *Instant) UnmarshalText(b []byte) error {
	if string(b) == "-" {
		*i = NoInstant
		return nil
	}
	v, err := ParseInstant(b)
	if err == nil {
		*i = v
	}
	return err
}

// ParseInstant reads an ISO 8601 time as Defender's APIs write it: date, T or
// blank, time, no fraction or one of any length, then Z, an offset, or
// nothing, which means UTC (reference graph-security §3, siem-api §3). Digits
// below 100 ns are cut off; no number passes through a float. A second of 60
// is read as the second that follows. What an offset moves out of the years 1
// to 9999 is no time. The error holds no part of the text.
func ParseInstant[T string | []byte](s T) (Instant, error) {
	if len(s) < len("2006-01-02T15:04:05") {
		return NoInstant, errTime
	}
	var bad bool
	num := func(from, to int) int {
		n := 0
		for _, c := range []byte(s[from:to]) {
			if c < '0' || c > '9' {
				bad = true
				return 0
			}
			n = n*10 + int(c-'0')
		}
		return n
	}
	year, month, day := num(0, 4), num(5, 7), num(8, 10)
	hour, minute, sec := num(11, 13), num(14, 16), num(17, 19)
	if bad || s[4] != '-' || s[7] != '-' || (s[10] != 'T' && s[10] != 't' && s[10] != ' ') || s[13] != ':' || s[16] != ':' ||
		year < 1 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || sec > 60 {
		return NoInstant, errTime
	}
	pos, frac, scale := 19, int64(0), ticksPerSecond/10
	if pos < len(s) && (s[pos] == '.' || s[pos] == ',') {
		pos++
		start := pos
		for ; pos < len(s) && s[pos] >= '0' && s[pos] <= '9'; pos++ {
			frac += int64(s[pos]-'0') * scale
			scale /= 10
		}
		if pos == start {
			return NoInstant, errTime
		}
	}
	offset, err := parseOffset(string(s[pos:]))
	if err != nil {
		return NoInstant, err
	}
	t := time.Date(year, time.Month(month), day, hour, minute, sec, 0, time.UTC).Unix() - int64(offset)
	i := Instant((t-epoch2000)*ticksPerSecond + frac)
	if i < minInstant || i > maxInstant {
		return NoInstant, errTime
	}
	return i, nil
}

// parseOffset returns the seconds east of UTC that a zone suffix names.
func parseOffset(z string) (int, error) {
	switch {
	case z == "" || z == "Z" || z == "z":
		return 0, nil
	case len(z) == 6 && z[3] == ':' && (z[0] == '+' || z[0] == '-' || z[0] == ' '):
		h, errH := strconv.ParseUint(z[1:3], 10, 8)
		m, errM := strconv.ParseUint(z[4:6], 10, 8)
		if errH != nil || errM != nil || h > 14 || m > 59 {
			return 0, errTime
		}
		sec := int(h)*3600 + int(m)*60
		if z[0] == '-' {
			sec = -sec
		}
		return sec, nil
	}
	return 0, errTime
}

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

func floorDiv(a, b int64) (q, r int64) {
	q, r = a/b, a%b
	if r < 0 {
		q, r = q-1, r+b
	}
	return q, r
}

// Span is a stretch of change time, From included, To not. A To of NoInstant
// means "open": up to whatever is newest.
type Span struct {
	From, To Instant
}

// Open reports whether s has no upper bound.
func (s Span) Open() bool { return s.To == NoInstant }

// Contains reports whether i lies in s.
func (s Span) Contains(i Instant) bool { return i >= s.From && (s.Open() || i < s.To) }

// String is for people: "from … to …".
func (s Span) String() string {
	if s.Open() {
		return fmt.Sprintf("from %s on", s.From)
	}
	return fmt.Sprintf("from %s to %s", s.From, s.To)
}
