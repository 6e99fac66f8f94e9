package collect

import (
	"slices"
	"testing"
	"time"
)

func TestAFeedIsReadSoonAfterNewRowsAndRarelyWhereNothingHappens(t *testing.T) {
	const s = time.Second
	var p pace
	var got []time.Duration
	for n := range 24 {
		fresh := 0
		if n == 2 || n == 3 {
			fresh = 1
		}
		got = append(got, p.next(60*s, fresh, true))
	}
	want := []time.Duration{60 * s, 60 * s, 15 * s, 15 * s, 30 * s, 60 * s}
	if !slices.Equal(got[:6], want) {
		t.Errorf("got %v, want %v", got[:6], want)
	}
	if got[14] != 60*s || got[15] != 75*s || got[23] != 120*s || slices.Max(got) != 120*s {
		t.Errorf("where nothing happens: %v", got[6:])
	}
	if d := p.next(60*s, 1, false); d != 60*s {
		t.Errorf("without room in the budget after new rows %s", d)
	}
	if d := p.next(60*s, 1, true); d != 15*s {
		t.Errorf("an idle feed with new rows waits %s", d)
	}
	for _, interval := range []time.Duration{s / 10, s, 5 * s} {
		var p pace
		if d := p.next(interval, 1, true); d != interval {
			t.Errorf("of an interval of %s %s are left", interval, d)
		}
	}
}
