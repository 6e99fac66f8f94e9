package collect

import (
	"testing"
	"time"
)

func TestOnlyAJumpAgainstWhatIsUsualIsAnAlarm(t *testing.T) {
	for name, tt := range map[string]struct {
		late, rows, usualLate, usualRows int64
		want                             bool
	}{
		"a few are none, however unusual":      {9, 20, 0, 10_000, false},
		"many where there were none":           {12, 400, 0, 10_000, true},
		"as many as ever":                      {200, 1000, 2000, 10_000, false},
		"three times as many":                  {60, 1000, 200, 10_000, false},
		"five times as many":                   {100, 1000, 200, 10_000, true},
		"more rows, and as large a share late": {500, 10_000, 500, 10_000, false},
		"five times as many of few":            {10, 200, 100, 10_000, false},
	} {
		if got := jumped(tt.late, tt.rows, tt.usualLate, tt.usualRows); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestTheHistogramSaysWithinWhatMostCame(t *testing.T) {
	var l Lateness
	for range 98 {
		l.add(4 * time.Minute)
	}
	l.add(time.Minute)
	l.add(10 * 24 * time.Hour)
	if l.Class[0] != 1 || l.Class[1] != 98 || l.Class[len(l.Class)-1] != 1 || l.Most != 10*24*time.Hour || l.Late != 100 {
		t.Errorf("%+v", l)
	}
	if d := l.within(0.99); d != 5*time.Minute {
		t.Errorf("99 %% within %s", d)
	}
	if d := l.within(1); d != 10*24*time.Hour {
		t.Errorf("all within %s", d)
	}
}
