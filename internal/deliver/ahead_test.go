package deliver_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"drover"
	"drover/internal/deliver"
	"drover/internal/ledger"
)

// settling counts how batches are claimed, and fails settles on demand.
type settling struct {
	ledger.Store
	claims, next int
	fail         func(s ledger.Settle) bool
}

func (s *settling) Claim(ctx context.Context, a ledger.Attempt) error {
	s.claims++
	return s.Store.Claim(ctx, a)
}

func (s *settling) Settle(ctx context.Context, o ledger.Settle) error {
	if s.fail != nil && s.fail(o) {
		return passing()
	}
	if o.Next != nil {
		s.next++
	}
	return s.Store.Settle(ctx, o)
}

func TestTheNextBatchIsClaimedInTheStepThatSettlesTheOneBefore(t *testing.T) {
	story(t, 2, func(w *world) {
		store := &settling{Store: w.store}
		w.store = store
		s := newSIEM()
		w.commit(0, 150)
		w.commit(1, 50)
		w.begin(deliver.Destination{ID: "s", Sink: asking{s}})
		w.pass(time.Minute)
		s.whole(t, 0, 150)
		s.whole(t, 1, 50)
		if store.claims != 1 || store.next != 19 {
			t.Errorf("20 batches: %d claimed by themselves, %d with the one before", store.claims, store.next)
		}
		w.stop()
		if open, err := w.store.Attempts(context.Background(), "s"); err != nil || len(open) != 0 {
			t.Errorf("open attempts: %v, %v", open, err)
		}
	})
}

func TestASettleThatFailsLosesNothingOfTheBatchBehindIt(t *testing.T) {
	story(t, 2, func(w *world) {
		n, failed := 0, 0
		w.store = &settling{Store: w.store, fail: func(o ledger.Settle) bool {
			if n++; n%3 == 1 && o.Next != nil {
				failed++
				return true
			}
			return false
		}}
		s := newSIEM()
		w.commit(0, 150)
		w.commit(1, 50)
		w.begin(deliver.Destination{ID: "s", Sink: asking{s}})
		w.pass(10 * time.Minute)
		s.whole(t, 0, 150)
		s.whole(t, 1, 50)
		if s.repeats() != 0 || w.owed("s") != 0 || failed < 4 {
			t.Errorf("%d repeats, %d owed, %d settles failed", s.repeats(), w.owed("s"), failed)
		}
	})
}

func TestABatchThatWasClaimedAheadIsFinishedAfterAStop(t *testing.T) {
	story(t, 1, func(w *world) {
		s := newSIEM()
		s.fail = func(b drover.Batch) (drover.Taken, error) {
			if len(s.got) == 20 {
				w.cancel() // while this one is sent: the next is not claimed any more
			}
			return drover.Taken{N: len(b.Records)}, nil
		}
		w.commit(0, 100)
		for range 5 {
			w.begin(deliver.Destination{ID: "s", Sink: asking{s}})
			w.pass(time.Minute)
			w.stop()
		}
		s.whole(t, 0, 100)
		if s.repeats() != 0 || w.owed("s") != 0 {
			t.Errorf("%d repeats, %d owed", s.repeats(), w.owed("s"))
		}
	})
}

func TestLinesAreTheRecordsBodies(t *testing.T) {
	story(t, 1, func(w *world) {
		s := newSIEM()
		whole, parts := 0, 0
		s.fail = func(b drover.Batch) (drover.Taken, error) {
			var want []byte
			for i := range b.Records {
				want = append(append(want, b.Records[i].Body...), '\n')
			}
			switch {
			case b.Lines == nil:
				parts++
			case bytes.Equal(b.Lines, want):
				whole++
			default:
				t.Errorf("lines of %d bytes, the records have %d", len(b.Lines), len(want))
			}
			if len(b.Records) == 10 {
				return drover.Taken{N: 4}, passing()
			}
			return drover.Taken{N: len(b.Records)}, nil
		}
		w.commit(0, 35)
		w.begin(deliver.Destination{ID: "s", Sink: asking{s}})
		w.pass(10 * time.Minute)
		s.whole(t, 0, 35)
		if whole < 4 {
			t.Errorf("%d batches had their lines, %d had none", whole, parts)
		}
	})
}
