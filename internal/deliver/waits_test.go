package deliver

import (
	"testing"
	"time"

	"drover"
)

func TestAFeedThatIsTooYoungIsLeftAloneUntilItIsNot(t *testing.T) {
	f := drover.Feed{Tenant: "t", Source: drover.MDEAlerts}
	d := &Deliverer{}
	s := newDest(d, Destination{ID: "soc", MaxRecords: 10, MaxAge: time.Second, Lanes: 1})
	x := &feed{Feed: f, lane: s.lane("all"), want: "all"}
	s.feeds[f] = x
	now := time.Now()
	s.later(x, now.Add(time.Hour), 48*time.Hour)
	if s.hint(f, 1); x.pending {
		t.Error("a hint makes it be looked at")
	}
	if wait := s.ripen(now); wait != time.Minute || x.pending {
		t.Errorf("the next look is in %s", wait)
	}
	s.later(x, now.Add(time.Second), 48*time.Hour)
	if wait := s.ripen(now); wait != time.Second {
		t.Errorf("the next look is in %s", wait)
	}
	if s.ripen(now.Add(time.Second)); !x.pending || len(s.unripe) != 0 {
		t.Error("it is old enough and is not looked at")
	}
	x.pending = false
	s.later(x, now.Add(50*time.Hour), 48*time.Hour)
	if s.hint(f, 1); !x.pending {
		t.Error("what a wrong clock stored in the future is waited for")
	}
	if s.sooner(x); len(s.unripe) != 0 {
		t.Error("it is looked at and still waits")
	}
}
