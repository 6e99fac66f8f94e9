package deliver_test

import (
	"errors"
	"testing"
	"time"

	"drover"
	"drover/internal/deliver"
)

func TestASinkThatAsksForNextToNoPatienceIsAskedEverMoreRarely(t *testing.T) {
	story(t, 1, func(w *world) {
		s := newSIEM()
		s.fail = func(drover.Batch) (drover.Taken, error) {
			return drover.Taken{}, &drover.Error{Op: "send", Kind: drover.Throttled, Wait: time.Second, Err: errors.New("429, Retry-After: 0")}
		}
		w.commit(0, 3)
		w.begin(deliver.Destination{ID: "s", Sink: s})
		w.pass(time.Hour)
		if n := len(s.times); n < 50 || n > 70 {
			t.Errorf("%d tries in an hour", n)
		}
	})
}
