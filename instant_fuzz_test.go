package drover

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// FuzzParseInstant holds ParseInstant against another reading of the same
// grammar, which takes and refuses the very same texts, and against time.Parse
// wherever that reads the text too. Next to the text as it came, one is made
// that is a time in most cases: of a moment, an offset in minutes, a number of
// digits below the second, and how it is spelled.
func FuzzParseInstant(f *testing.F) {
	for text := range instants {
		f.Add(text, int64(len(text))*1e15, int16(len(text)-30)*15, byte(len(text)), byte(len(text)))
	}
	f.Add("2024-02-29T23:59:60.9999999+14:00", int64(minInstant), int16(-840), byte(7), byte(0))
	f.Add("1900-02-29T00:00:00-00:00", int64(maxInstant), int16(840), byte(9), byte(7))
	f.Fuzz(func(t *testing.T, text string, at int64, offset int16, digits, spelling byte) {
		sameReading(t, text)
		sameReading(t, compose(at, int(offset), int(digits%12), spelling))
	})
}

// sameReading checks one text.
func sameReading(t *testing.T, text string) {
	t.Helper()
	got, err := ParseInstant(text)
	again, errBytes := ParseInstant([]byte(text))
	if got != again || (err == nil) != (errBytes == nil) {
		t.Fatalf("%q: as bytes it is %d, %v; as a string %d, %v", text, again, errBytes, got, err)
	}
	want, ok := civil(text)
	if ok != (err == nil) || ok && got != want {
		t.Fatalf("%q: got %d, %v; want %d, %v", text, got, err, want, ok)
	}
	if err != nil {
		if got != NoInstant || err.Error() != errTime.Error() {
			t.Fatalf("%q: %d, %v", text, got, err)
		}
		return
	}
	if back, err := ParseInstant(got.String()); err != nil || back != got {
		t.Fatalf("%q is written as %s and read back as %s, %v", text, got, back, err)
	}
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil && InstantOf(at) != got {
		t.Fatalf("%q is %s, not %s", text, at.UTC(), got)
	}
}

// compose spells a moment. Bits of spelling choose among what the APIs write,
// and some that is no time.
func compose(at int64, offset, digits int, spelling byte) string {
	span := int64(maxInstant-minInstant) + 1
	at = int64(minInstant) + (at%span+span)%span
	text := Instant(at).String()
	frac := (text[20:27] + "12345")[:digits]
	text = text[:19]
	if spelling&1 != 0 {
		text = strings.Replace(text, "T", " ", 1)
	}
	if spelling&2 != 0 {
		text = text[:17] + "60"
	}
	if spelling&4 != 0 {
		text = text[:8] + fmt.Sprintf("%02d", 28+digits%5) + text[10:] // the end of a month, or what is behind it
	}
	if frac != "" {
		text += "." + frac
	}
	switch spelling >> 3 & 3 {
	case 0:
		text += "Z"
	case 1, 2:
		sign := "+"
		if offset < 0 {
			sign, offset = "-", -offset
		}
		text += fmt.Sprintf("%s%02d:%02d", sign, offset/60%100, offset%60)
	}
	return text
}

// civil reads a time by the shape of its text and by the Gregorian calendar's
// day numbers, without the package time.
func civil(text string) (Instant, bool) {
	shape := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return '9'
		}
		return r
	}, text)
	if len(shape) < 19 || shape[:10] != "9999-99-99" || !strings.ContainsAny(shape[10:11], "Tt ") || shape[11:19] != "99:99:99" {
		return 0, false
	}
	value := func(from, to int) (n int64) {
		for _, c := range text[from:to] {
			n = 10*n + int64(c-'0')
		}
		return n
	}
	y, m, d := value(0, 4), value(5, 7), value(8, 10)
	hour, minute, sec := value(11, 13), value(14, 16), value(17, 19)
	if y == 0 || m < 1 || m > 12 || d < 1 || hour > 23 || minute > 59 || sec > 60 {
		return 0, false
	}
	length := []int64{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}[m-1]
	if m == 2 && y%4 == 0 && (y%100 != 0 || y%400 == 0) {
		length = 29
	}
	if d > length {
		return 0, false
	}
	rest, ticks := shape[19:], int64(0)
	if rest != "" && (rest[0] == '.' || rest[0] == ',') {
		n := len(rest[1:]) - len(strings.TrimLeft(rest[1:], "9"))
		if n == 0 {
			return 0, false
		}
		ticks = value(20, 20+min(n, 7))
		for range 7 - min(n, 7) {
			ticks *= 10
		}
		rest = rest[1+n:]
	}
	east := int64(0)
	switch rest {
	case "", "Z", "z":
	case "+99:99", "-99:99", " 99:99":
		end := len(text)
		h, m := value(end-5, end-3), value(end-2, end)
		if h > 14 || m > 59 {
			return 0, false
		}
		if east = 3600*h + 60*m; rest[0] == '-' {
			east = -east
		}
	default:
		return 0, false
	}
	// The Julian day number of a date (Fliegel and Van Flandern 1968); that of
	// 2000-01-01 is 2451545.
	a := (m - 14) / 12
	day := (1461*(y+4800+a))/4 + (367*(m-2-12*a))/12 - (3*((y+4900+a)/100))/4 + d - 32075 - 2451545
	total := (day*86400+hour*3600+minute*60+sec-east)*10_000_000 + ticks
	first, last := int64(-730119*86400)*10_000_000, int64(2921940*86400)*10_000_000-1 // the years 1 to 9999
	return Instant(total), total >= first && total <= last
}
