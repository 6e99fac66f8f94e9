package deliver_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"drover"
	"drover/internal/deliver"
	"drover/internal/proof"
)

func TestEverythingArrivesOnceAndInOrder(t *testing.T) {
	story(t, 3, func(w *world) {
		s := newSIEM()
		w.commit(0, 25)
		w.begin(deliver.Destination{ID: "s", Sink: s})
		w.pass(5 * time.Second)
		for range 20 {
			w.commit(0, 3)
			w.commit(1, 1)
			w.commit(2, 40)
			w.pass(300 * time.Millisecond)
		}
		w.pass(10 * time.Second)
		s.whole(t, 0, 85)
		s.whole(t, 1, 20)
		s.whole(t, 2, 800)
		if s.repeats() != 0 || w.owed("s") != 0 {
			t.Errorf("%d repeats, %d owed", s.repeats(), w.owed("s"))
		}
	})
}

func TestWhatNoHintToldOfIsFoundByTheScan(t *testing.T) {
	story(t, 1, func(w *world) {
		s := newSIEM()
		w.begin(deliver.Destination{ID: "s", Sink: s})
		w.pass(5 * time.Second)
		d := w.d
		w.d = nil
		w.commit(0, 5)
		w.d = d
		w.pass(2 * time.Minute)
		s.whole(t, 0, 5)
	})
}

func TestADeadSinkLosesNothingAndDelaysNobody(t *testing.T) {
	for _, outage := range []time.Duration{time.Minute, 6 * time.Hour, 2 * 24 * time.Hour} {
		story(t, 1, func(w *world) {
			dead, alive := newSIEM(), newSIEM()
			start := time.Now()
			dead.fail = func(b drover.Batch) (drover.Taken, error) {
				if time.Since(start) < outage {
					return drover.Taken{}, passing()
				}
				return drover.Taken{N: len(b.Records)}, nil
			}
			w.begin(deliver.Destination{ID: "dead", Sink: dead}, deliver.Destination{ID: "alive", Sink: alive})
			waited := 0
			for time.Since(start) < outage {
				w.commit(0, 4)
				w.pass(max(outage/30, 2*time.Second))
				if w.owed("alive") != 0 {
					waited++
				}
			}
			dead.mu.Lock()
			tries := len(dead.times)
			dead.mu.Unlock()
			end := time.Now()
			for w.owed("dead") > 0 && time.Since(end) < outage {
				w.pass(time.Second)
			}
			drained := time.Since(end)
			want := w.n[feed(0)]
			dead.whole(w.T, 0, want)
			alive.whole(w.T, 0, want)
			lost, repeats := want-dead.arrived(0), dead.repeats()+alive.repeats()
			if most := max(outage/10, time.Minute); drained > most || waited > 0 || lost+repeats > 0 {
				w.Errorf("drained after %s, at most %s; lost %d, repeated %d, the other sink waited %d times", drained, most, lost, repeats, waited)
			}
			if most := int(outage/time.Minute)*2 + 20; tries > most {
				w.Errorf("%d tries, want at most %d", tries, most)
			}
			proof.Ran(t, "D01", "sink dead for %s, %d records: lost %d, repeated %d, %d tries, drained in %s; the other sink waited %d times", outage, want, lost, repeats, tries, drained, waited)
		})
	}
}

func TestALaneThatIsRefusedDoesNotStopTheOthers(t *testing.T) {
	story(t, 2, func(w *world) {
		s := newSIEM()
		s.lane = func(t drover.Tenant) string { return string(t.ID) }
		denied := true
		s.fail = func(b drover.Batch) (drover.Taken, error) {
			if b.Lane == string(id(0)) && denied {
				return drover.Taken{}, &drover.Error{Op: "send", Kind: drover.Denied, Err: errors.New("code 7")}
			}
			return drover.Taken{N: len(b.Records)}, nil
		}
		w.begin(deliver.Destination{ID: "s", Sink: s})
		for range 60 {
			w.commit(0, 1)
			w.commit(1, 1)
			w.pass(time.Minute)
		}
		s.whole(t, 1, 60)
		behind := 60 - s.arrived(1)
		s.mu.Lock()
		tries := len(s.times) - 60
		denied = false
		s.mu.Unlock()
		if tries > 15 {
			t.Errorf("%d tries of a refused lane in an hour", tries)
		}
		w.pass(15 * time.Minute)
		s.whole(t, 0, 60)
		if s.mixed {
			t.Error("a batch mixed two lanes")
		}
		proof.Ran(t, "D10", "a lane refused for an hour, %d tries: the other lane was %d of 60 behind; afterwards the refused one lost %d", tries, behind, 60-s.arrived(0))
	})
}

func TestWhatIsNotRoutedIsPassedOverAndCounted(t *testing.T) {
	story(t, 2, func(w *world) {
		s := newSIEM()
		w.route = func(t drover.Tenant, _ drover.SinkID) bool { return t.ID == id(0) }
		w.commit(0, 5)
		w.commit(1, 6)
		w.begin(deliver.Destination{ID: "s", Sink: s})
		w.pass(time.Minute)
		s.whole(t, 0, 5)
		if s.arrived(1) != 0 {
			t.Error("a tenant's records went where no route leads")
		}
		counts, err := w.store.Counts(context.Background(), id(1))
		if err != nil {
			t.Fatal(err)
		}
		unrouted := int64(0)
		for _, c := range counts {
			if c.What == "unrouted" {
				unrouted += c.N
			}
		}
		if unrouted != 6 || w.owed("s") != 0 {
			t.Errorf("counted %d, owed %d", unrouted, w.owed("s"))
		}
	})
}

func TestASinkThatMiscountsStopsTheProcess(t *testing.T) {
	story(t, 1, func(w *world) {
		s := newSIEM()
		s.fail = func(b drover.Batch) (drover.Taken, error) { return drover.Taken{N: len(b.Records) - 1}, nil }
		w.commit(0, 5)
		w.begin(deliver.Destination{ID: "s", Sink: s})
		w.pass(time.Minute)
		if err := <-w.done; drover.KindOf(err) != drover.Broken {
			t.Errorf("got %v", err)
		}
		w.cancel()
		w.cancel = nil
	})
}
