package admin

import (
	"testing"
	"time"

	"drover"
	"drover/internal/ledger"
)

func TestWhatIsLeftOfABackfillIsReckonedFromWhatIsDone(t *testing.T) {
	asked := drover.InstantOf(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))
	day := func(n int) drover.Instant { return asked.Add(time.Duration(n-100) * 24 * time.Hour) }
	for name, tt := range map[string]struct {
		at                drover.Instant
		state             ledger.BackfillState
		perMinute         int
		requests, seconds int64
	}{
		"at the beginning nothing can be told":       {day(1), ledger.BackfillOpen, 50, -1, -1},
		"a quarter is done, with a known limit":      {day(25), ledger.BackfillOpen, 50, 301, 362},
		"a quarter is done, and no limit is known":   {day(25), ledger.BackfillOpen, 0, 301, 1801},
		"one that is done has nothing left":          {day(100), ledger.BackfillDone, 50, 0, 0},
		"one that was cancelled has nothing left":    {day(50), ledger.BackfillCancelled, 50, 0, 0},
		"almost done: a request, and a little while": {day(100) - 1, ledger.BackfillOpen, 60, 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			l := &Local{Allowance: func(drover.Tenant, drover.SourceID) int { return tt.perMinute }}
			s := l.backfillStatus(ledger.Backfill{Span: drover.Span{From: day(0), To: day(100)}, At: tt.at, State: tt.state, Pages: 100, Asked: asked, Changed: asked.Add(10 * time.Minute)}, drover.Tenant{})
			if s.RequestsLeft != tt.requests || s.SecondsLeft != tt.seconds {
				t.Errorf("%d requests, %d s left; want %d and %d", s.RequestsLeft, s.SecondsLeft, tt.requests, tt.seconds)
			}
		})
	}
}
