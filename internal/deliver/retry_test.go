package deliver_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/deliver"
	"drover/internal/ledger"
	"drover/internal/proof"
)

func TestARetrySendsWhatIsLeftOfTheBatchAndNothingElse(t *testing.T) {
	story(t, 1, func(w *world) {
		s := newSIEM()
		var batches []string
		n := 0
		s.fail = func(b drover.Batch) (drover.Taken, error) {
			n++
			var seqs []string
			for i := range b.Records {
				seqs = append(seqs, fmt.Sprint(b.Records[i].Seq))
			}
			batches = append(batches, strings.Join(seqs, " "))
			switch n {
			case 1:
				return drover.Taken{N: 2, Also: []int{4, 5}}, passing()
			case 2:
				return drover.Taken{}, passing()
			}
			return drover.Taken{N: len(b.Records)}, nil
		}
		w.commit(0, 8)
		w.begin(deliver.Destination{ID: "s", Sink: s})
		w.pass(time.Second)
		w.commit(0, 3) // must not join the batch
		w.pass(time.Minute)
		want := []string{"1 2 3 4 5 6 7 8", "3 4 7 8", "3 4 7 8", "9 10 11"}
		owed := w.owed("s")
		w.stop()
		if !slices.Equal(batches, want) {
			t.Errorf("sent %q, want %q", batches, want)
		}
		if s.repeats() != 0 || owed != 0 {
			t.Errorf("%d repeats, %d owed", s.repeats(), owed)
		}
		proof.Ran(t, "D03", "taken in part, twice: lost %d, extra sends of taken records %d", 11-s.arrived(0), s.repeats())
	})
}

func TestARefusedRecordIsSetAsideAndTheRestFlows(t *testing.T) {
	story(t, 1, func(w *world) {
		s := newSIEM()
		s.fail = func(b drover.Batch) (drover.Taken, error) {
			taken := drover.Taken{N: len(b.Records)}
			for i := range b.Records {
				if b.Records[i].Seq%7 == 0 {
					taken.Refused = append(taken.Refused, drover.Refusal{Index: i, Reason: "code 13"})
				}
			}
			return taken, nil
		}
		w.commit(0, 50)
		w.begin(deliver.Destination{ID: "s", Sink: s})
		w.pass(time.Minute)
		aside, err := w.store.SetAside(context.Background(), ledger.AsideFilter{Sink: "s"})
		if err != nil || len(aside) != 7 || aside[0].Detail != "code 13" || aside[0].EventID == "" {
			t.Errorf("set aside %d, %v: %+v", len(aside), err, aside)
		}
		if w.owed("s") != 0 {
			t.Errorf("%d owed", w.owed("s"))
		}
		s.whole(t, 0, 43)
		proof.Ran(t, "D04", "set aside %d of 7 dealt; %d of 43 others arrived", len(aside), s.arrived(0))
	})
}

func TestASinkThatCanBeAskedIsAskedBeforeAnythingIsSentAgain(t *testing.T) {
	story(t, 2, func(w *world) {
		s := newSIEM()
		n := 0
		s.fail = func(b drover.Batch) (drover.Taken, error) {
			if n++; n%3 == 1 { // takes some, and the answer is lost
				for i := range b.Records[:len(b.Records)*2/3] {
					s.take(&b.Records[i])
				}
				return drover.Taken{}, passing()
			}
			return drover.Taken{N: len(b.Records)}, nil
		}
		w.begin(deliver.Destination{ID: "s", Sink: asking{s}})
		for range 30 {
			w.commit(0, 4)
			w.commit(1, 7)
			w.pass(20 * time.Second)
		}
		w.pass(2 * time.Minute)
		s.whole(t, 0, 120)
		s.whole(t, 1, 210)
		w.stop()
		if s.repeats() != 0 || s.asked == 0 {
			t.Errorf("%d repeats; asked %d times", s.repeats(), s.asked)
		}
		proof.Ran(t, "D06", "answers lost in every third of %d sends: lost %d, visible repeats %d at a sink that can be asked", n, 330-s.arrived(0)-s.arrived(1), s.repeats())
	})
}

func TestAfterAStopTheOpenBatchIsAskedForAndFinished(t *testing.T) {
	story(t, 1, func(w *world) {
		s := newSIEM()
		down := true
		s.fail = func(b drover.Batch) (drover.Taken, error) {
			if down {
				for i := range b.Records[:3] {
					s.take(&b.Records[i])
				}
				return drover.Taken{}, passing()
			}
			return drover.Taken{N: len(b.Records)}, nil
		}
		w.commit(0, 9)
		w.begin(deliver.Destination{ID: "s", Sink: asking{s}})
		w.pass(2 * time.Second)
		w.stop()
		if open, err := w.store.Attempts(context.Background(), "s"); err != nil || len(open) != 1 {
			t.Fatalf("open attempts: %v, %v", open, err)
		}
		down = false
		w.commit(0, 4)
		w.begin(deliver.Destination{ID: "s", Sink: asking{s}})
		w.pass(time.Minute)
		s.whole(t, 0, 13)
		if s.repeats() != 0 {
			t.Errorf("%d repeats", s.repeats())
		}
		if open, _ := w.store.Attempts(context.Background(), "s"); len(open) != 0 {
			t.Errorf("still open: %v", open)
		}
		proof.Ran(t, "D18", "stopped in the middle of a send: lost %d, repeated %d", 13-s.arrived(0), s.repeats())
	})
}
