package httpx

import (
	"net/http"
	"testing"
	"time"

	"drover/internal/proof"
)

func TestRetryAfterIsReadInEverySpelling(t *testing.T) {
	spellings, wrong := 0, 0
	now := time.Date(2026, 3, 2, 8, 15, 4, 0, time.UTC)
	date := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for name, tt := range map[string]struct {
		value string
		want  time.Duration
		ok    bool
	}{
		"seconds":                     {"17", 17 * time.Second, true},
		"a fraction, rounded up":      {"2.128", 2128 * time.Millisecond, true},
		"a finer fraction":            {"2.1281", 2129 * time.Millisecond, true},
		"blanks around":               {"  5 ", 5 * time.Second, true},
		"zero is a second":            {"0", time.Second, true},
		"less than a second":          {"0.2", time.Second, true},
		"negative":                    {"-1", time.Second, true},
		"a billion is an hour":        {"1000000000", time.Hour, true},
		"more than a number holds":    {"1e999", time.Hour, true},
		"with an exponent":            {"1e1", 10 * time.Second, true},
		"an hour":                     {"3600", time.Hour, true},
		"a date":                      {date(time.Minute), 61 * time.Second, true},
		"a past date":                 {date(-time.Minute), time.Second, true},
		"a date far away":             {date(24 * time.Hour), time.Hour, true},
		"an older form of date":       {now.Add(time.Minute).Format(time.RFC850), 61 * time.Second, true},
		"absent":                      {"", 0, false},
		"junk":                        {"soon", 0, false},
		"a number with a unit":        {"17s", 0, false},
		"no number":                   {"NaN", 0, false},
		"hexadecimal":                 {"0x10", 0, false},
		"several dots":                {"1.2.3", 0, false},
		"a date of another format":    {"2026-03-02T08:16:04Z", 0, false},
		"digits that are none":        {"\u0661\u0662", 0, false},
		"only signs that numbers use": {"-", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.Header{}
			if tt.value != "" {
				h.Set("Retry-After", tt.value)
			}
			spellings++
			if got, ok := RetryAfter(h, now); got != tt.want || ok != tt.ok {
				t.Errorf("got %v, %v; want %v, %v", got, ok, tt.want, tt.ok)
				wrong++
			}
		})
	}
	proof.Ran(t, "P25", "Retry-After read otherwise than meant in %d of %d spellings; never less than a second, never more than an hour", wrong, spellings)
}

func TestADateIsTakenAgainstThePeersOwnClock(t *testing.T) {
	peer := time.Date(2026, 3, 2, 8, 15, 4, 0, time.UTC)
	h := http.Header{"Date": {peer.Format(http.TimeFormat)}, "Retry-After": {peer.Add(90 * time.Second).Format(http.TimeFormat)}}
	for _, off := range []time.Duration{0, time.Hour, -48 * time.Hour} {
		if got, ok := RetryAfter(h, peer.Add(off)); !ok || got != 91*time.Second {
			t.Errorf("clock off by %v: got %v, %v", off, got, ok)
		}
	}
}

func TestOfTwoWaitsTheLongerCounts(t *testing.T) {
	h := http.Header{"Retry-After": {"3", "junk", "7"}}
	if got, ok := RetryAfter(h, time.Now()); !ok || got != 7*time.Second {
		t.Errorf("got %v, %v", got, ok)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"1", "1.5", "-1", "1e9", "Mon, 02 Mar 2026 08:15:04 GMT", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := RetryAfter(http.Header{"Retry-After": {s}}, time.Unix(0, 0))
		if ok && (got < time.Second || got > time.Hour) || !ok && got != 0 {
			t.Errorf("%q: %v, %v", s, got, ok)
		}
	})
}
