package revision

import (
	"testing"

	"drover"
)

func TestAChoiceGoesByTheRevisionAlone(t *testing.T) {
	first, touch, change := drover.Revision{}, drover.Revision{Previous: 1, Flags: drover.Touch | drover.Late}, drover.Revision{Previous: 1}
	for choice, want := range map[Choice][3]bool{"": {true, true, true}, All: {true, true, true}, NoTouches: {true, false, true}, Created: {true, false, false}, Settled: {true, true, true}} {
		if got := [3]bool{choice.Takes(&first), choice.Takes(&touch), choice.Takes(&change)}; got != want {
			t.Errorf("%q takes a first state, a touch and a change: %v, want %v", choice, got, want)
		}
	}
}

func TestAStateIsOutrunBySoonAndInTheSameHour(t *testing.T) {
	for name, tt := range map[string]struct {
		at, next string
		want     bool
	}{
		"at once":                       {"2026-03-02T08:00:00Z", "2026-03-02T08:00:00Z", true},
		"just before it rested":         {"2026-03-02T08:00:00Z", "2026-03-02T08:09:59.9999999Z", true},
		"after it had rested":           {"2026-03-02T08:00:00Z", "2026-03-02T08:10:00Z", false},
		"in the next hour":              {"2026-03-02T08:59:59.9999999Z", "2026-03-02T09:00:00Z", false},
		"at the end of the hour":        {"2026-03-02T08:50:01Z", "2026-03-02T08:59:59.9999999Z", true},
		"by a clock that was set back":  {"2026-03-02T08:30:00Z", "2026-03-02T08:10:00Z", true},
		"set back into the hour before": {"2026-03-02T08:30:00Z", "2026-03-02T07:50:00Z", false},
		"before the year 2000":          {"1999-12-31T23:59:00Z", "2000-01-01T00:00:00Z", false},
		"long before it, in one hour":   {"1999-12-31T22:00:00Z", "1999-12-31T22:09:00Z", true},
	} {
		at, err := drover.ParseInstant(tt.at)
		if err != nil {
			t.Fatal(err)
		}
		next, err := drover.ParseInstant(tt.next)
		if err != nil {
			t.Fatal(err)
		}
		if got := Outrun(at, next); got != tt.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
