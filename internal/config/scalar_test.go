package config

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDurations(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"60s": time.Minute, "15m": 15 * time.Minute, "2h": 2 * time.Hour, "7d": 168 * time.Hour, "180d": 4320 * time.Hour,
		"1h30m": 90 * time.Minute, "250ms": 250 * time.Millisecond, "0s": 0, "106751d": 106751 * 24 * time.Hour,
	} {
		if got, err := parseDuration(s); err != nil || got != want {
			t.Errorf("%s: got %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "s", "5", "5 s", "1.5h", "-1s", "+1s", "1w", "1y", "1H", "106752d", "9999999999999s", "1h 30m", "∞", "1e3s"} {
		if got, err := parseDuration(s); err == nil {
			t.Errorf("%q: accepted as %v", s, got)
		}
	}
}

func TestSizes(t *testing.T) {
	for s, want := range map[string]Size{"1B": 1, "500kB": 500_000, "500KB": 500_000, "1MB": 1_000_000, "64MiB": 64 << 20, "64 MiB": 64 << 20, "2GiB": 2 << 30, "8388607TiB": 8388607 << 40} {
		if got, err := parseSize(s); err != nil || got != want {
			t.Errorf("%s: got %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "5", "MB", "1.5MB", "-1MB", "1Mb", "1mb", "8388608TiB", "1e3MB"} {
		if got, err := parseSize(s); err == nil {
			t.Errorf("%q: accepted as %v", s, got)
		}
	}
}

func TestAShareOfANumberNeverOverflows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, math.MaxInt64).Draw(t, "n")
		s := Share(rapid.IntRange(0, 100).Draw(t, "share"))
		got := s.Of(n)
		if want := int64(float64(n) * float64(s) / 100); got < 0 || got > n || math.Abs(float64(got-want)) > 1+float64(n)/1e12 {
			t.Fatalf("%d%% of %d is %d, want about %d", s, n, got, want)
		}
	})
}

func TestNearest(t *testing.T) {
	known := []string{"interval", "overlap", "concurrency", "max_bytes", "max_age"}
	for word, want := range map[string]string{
		"intervall": "interval", "intreval": "interval", "Interval": "interval", "overlaps": "overlap", "maxBytes": "max_bytes", "max-age": "max_age",
		"bytes": "max_bytes", "conc": "concurrency", "zzz": "", "": "", "a": "",
	} {
		if got, _ := nearest(word, known); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}
