package deliver_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"drover"
	"drover/internal/deliver"
	"drover/internal/ledger"
	"drover/internal/proof"
	"drover/internal/revision"
)

// state is one state of an alert as the test knows it.
type state struct {
	seq      uint64
	alert    string
	at       time.Time
	touch    bool
	late     bool // it is older than the state that was read before it
	previous uint64
}

// states are all of a tenant's, by sequence number less one.
type states []state

// change stores one state each of some alerts, as a reader would: each names
// the state before it. A name that begins with "~" is only touched, one with
// "<" shows a state that is older than all others.
func (w *world) change(n int, told *states, names ...string) {
	w.Helper()
	f, at := feed(n), drover.InstantOf(time.Now())
	const created = drover.Instant(1)
	var revs []drover.Revision
	for _, name := range names {
		alert, touch := strings.CutPrefix(name, "~")
		alert, late := strings.CutPrefix(alert, "<")
		seq := uint64(len(*told)) + 1
		raw := fmt.Appendf(nil, `{"id":%q,"n":%d}`, alert, seq)
		rev := drover.Revision{AlertID: alert, Changed: at + drover.Instant(seq), Created: created, Sum: sha256.Sum256(raw), Raw: raw}
		if touch {
			rev.Flags = drover.Touch
		}
		if late {
			rev.Flags, rev.Changed = drover.Late, drover.Instant(seq)-1e9
		}
		before, err := w.store.Newest(context.Background(), f, ledger.AlertHash(alert), created)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			w.Fatal(err)
		}
		rev.Previous = before.Seq
		revs = append(revs, rev)
		*told = append(*told, state{seq, alert, time.Now(), touch, late, rev.Previous})
	}
	if _, err := w.store.Commit(context.Background(), ledger.Commit{Feed: f, Epoch: w.epochs[f], Revisions: revs, Whole: drover.NoInstant}); err != nil {
		w.Fatal(err)
	}
	if w.d != nil {
		w.d.Hint(f, len(revs))
	}
}

// wanted says in the plainest way which states a choice gives.
func (all states) wanted(choice revision.Choice) (seqs []uint64) {
	for i, s := range all {
		give := true
		switch choice {
		case revision.NoTouches:
			give = !s.touch
		case revision.Created:
			give = !slices.ContainsFunc(all[:i], func(o state) bool { return o.alert == s.alert })
		case revision.Settled:
			if k := slices.IndexFunc(all[i+1:], func(o state) bool { return o.alert == s.alert && !o.late }); k >= 0 && !s.late {
				next := all[i+1+k]
				give = next.at.Sub(s.at) >= 10*time.Minute || next.at.Hour() != s.at.Hour() || next.at.YearDay() != s.at.YearDay()
			}
		}
		if give {
			seqs = append(seqs, s.seq)
		}
	}
	return seqs
}

// tallied adds up a sink's daily counts.
func (w *world) tallied(s drover.SinkID) map[string]int {
	w.Helper()
	list, err := w.store.Counts(context.Background(), "")
	if err != nil {
		w.Fatal(err)
	}
	sum := make(map[string]int)
	for _, c := range list {
		if c.Sink == s {
			sum[c.What] += int(c.N)
		}
	}
	return sum
}

// sound runs the ledger's own check.
func (w *world) sound() {
	w.Helper()
	found, err := w.store.Check(context.Background())
	if err != nil || len(found) > 0 {
		w.Errorf("check: %v, %v", found, err)
	}
}

func TestASinkIsGivenTheRevisionsThatItAsksFor(t *testing.T) {
	story(t, 1, func(w *world) {
		var told states
		sinks := make(map[revision.Choice]*siem)
		var dests []deliver.Destination
		for _, c := range revision.Choices {
			sinks[c] = newSIEM()
			dests = append(dests, deliver.Destination{ID: drover.SinkID(c), Sink: asking{sinks[c]}, Revisions: c, MaxRecords: 3})
		}
		w.change(0, &told, "a", "b", "c")
		w.begin(dests...)
		for _, names := range [][]string{{"a"}, {"~b"}, {"~b", "c"}, {"d", "~a"}, {"~c", "b"}, {"e"}, {"e"}} {
			w.pass(4 * time.Minute)
			w.change(0, &told, names...)
		}
		w.pass(20 * time.Minute)
		for c, s := range sinks {
			want := told.wanted(c)
			if got := s.seqs[string(id(0))]; !slices.Equal(got, want) || s.repeats() != 0 || w.owed(drover.SinkID(c)) != 0 {
				t.Errorf("%s: %v arrived, want %v; %d repeats, %d owed", c, got, want, s.repeats(), w.owed(drover.SinkID(c)))
			}
			counts := map[string]int{"taken": len(want)}
			if n := len(told) - len(want); n > 0 {
				counts["passed_over"] = n
			}
			if got := w.tallied(drover.SinkID(c)); !maps.Equal(got, counts) {
				t.Errorf("%s: counted %v, want %v", c, got, counts)
			}
		}
		w.stop()
		w.sound()
	})
}

// TestAnAlertIsToldWhenItRestsAndOneThatNeverRestsEveryHour looks at when what
// arrives.
func TestAnAlertIsToldWhenItRestsAndOneThatNeverRestsEveryHour(t *testing.T) {
	story(t, 1, func(w *world) {
		var told states
		s := newSIEM()
		arrived := make(map[uint64]time.Time)
		s.fail = func(b drover.Batch) (drover.Taken, error) {
			for i := range b.Records {
				arrived[b.Records[i].Seq] = time.Now()
			}
			return drover.Taken{N: len(b.Records)}, nil
		}
		w.begin(deliver.Destination{ID: "s", Sink: s, Revisions: revision.Settled})
		for minute := range 6 * 60 {
			names := []string{}
			if minute%4 == 0 {
				names = append(names, "restless")
			}
			if minute%7 == 0 {
				names = append(names, fmt.Sprint("quiet", minute))
			}
			if len(names) > 0 {
				w.change(0, &told, names...)
			}
			w.pass(time.Minute)
		}
		w.pass(30 * time.Minute)
		var latest, pause time.Duration
		var before time.Time
		restless, quiet := 0, 0
		for _, x := range told {
			at, there := arrived[x.seq]
			if !there {
				if x.alert != "restless" {
					t.Errorf("%s did not arrive", x.alert)
				}
				continue
			}
			latest = max(latest, at.Sub(x.at))
			if at.Sub(x.at) < revision.Quiet {
				t.Errorf("%d arrived after %s", x.seq, at.Sub(x.at))
			}
			if x.alert != "restless" {
				quiet++
				continue
			}
			if restless++; restless > 1 {
				pause = max(pause, at.Sub(before))
			}
			before = at
		}
		if restless != 6 || quiet != 52 || latest > revision.Quiet+5*time.Second || pause > time.Hour+revision.Quiet || w.owed("s") != 0 {
			t.Errorf("of one that never rests %d arrived, at most %s apart, of those that rest %d; the latest after %s; %d owed", restless, pause, quiet, latest, w.owed("s"))
		}
		proof.Ran(t, "sink.settled", "an alert that changes every 4 minutes for 6 hours: told %d times, at most %s apart; %d others told at most %s after they were read", restless, pause, quiet, latest)
	})
}

func TestAPausedTenantIsDrainedAtOnce(t *testing.T) {
	story(t, 1, func(w *world) {
		var told states
		s := newSIEM()
		w.begin(deliver.Destination{ID: "s", Sink: s, Revisions: revision.Settled})
		w.change(0, &told, "a", "b")
		w.change(0, &told, "a")
		w.pass(5 * time.Second)
		if s.arrived(0) != 0 || w.owed("s") != 3 {
			t.Fatalf("%d arrived before they rested, %d owed", s.arrived(0), w.owed("s"))
		}
		if err := w.store.SetTenantState(context.Background(), id(0), drover.Paused); err != nil {
			t.Fatal(err)
		}
		w.pass(5 * time.Second)
		if got := s.seqs[string(id(0))]; !slices.Equal(got, []uint64{2, 3}) || w.owed("s") != 0 {
			t.Errorf("%v arrived, %d owed", got, w.owed("s"))
		}
	})
}

// TestNothingThatMattersIsPassedOver tells any story to sinks of all four
// kinds, with lost answers, outages, stops, and a choice that is changed while
// a batch is under way; then counts.
func TestNothingThatMattersIsPassedOver(t *testing.T) {
	sent, over, lost, repeats, stops, silent := 0, 0, 0, 0, 0, 0
	for seed := range uint64(2) {
		keyed := seed%2 == 0
		story(t, 1, func(w *world) {
			rng := rand.New(rand.NewPCG(seed, 77))
			var told states
			sinks := make(map[revision.Choice]*siem)
			var dests []deliver.Destination
			var calm atomic.Bool
			for _, c := range revision.Choices {
				s := newSIEM()
				sinks[c] = s
				its := rand.New(rand.NewPCG(seed, uint64(len(dests))))
				s.fail = func(b drover.Batch) (drover.Taken, error) {
					if calm.Load() {
						return drover.Taken{N: len(b.Records)}, nil
					}
					switch n := its.IntN(len(b.Records) + 1); its.IntN(4) {
					case 0: // the answer is lost
						if keyed {
							for i := range n {
								s.take(&b.Records[i])
							}
						}
						return drover.Taken{}, passing()
					case 1:
						return drover.Taken{N: n}, passing()
					}
					return drover.Taken{N: len(b.Records)}, nil
				}
				var sink drover.Sink = s
				if keyed {
					sink = asking{s}
				}
				dests = append(dests, deliver.Destination{ID: drover.SinkID(c), Sink: sink, Revisions: c, MaxRecords: 4})
			}
			w.begin(dests...)
			for range 90 {
				var names []string
				for n := range 6 {
					switch rng.IntN(5 + n) {
					case 0:
						names = append(names, fmt.Sprint("alert", n))
					case 1:
						names = append(names, fmt.Sprint("~alert", n))
					case 2:
						if slices.ContainsFunc(told, func(o state) bool { return o.alert == fmt.Sprint("alert", n) }) {
							names = append(names, fmt.Sprint("<alert", n))
						}
					}
				}
				if rng.IntN(4) == 0 {
					names = append(names, fmt.Sprint("once", len(told)))
				}
				if len(names) > 0 {
					w.change(0, &told, names...)
				}
				w.pass(time.Duration(rng.IntN(9*60)) * time.Second)
				if rng.IntN(12) == 0 {
					w.stop()
					stops++
					if rng.IntN(2) == 0 {
						time.Sleep(time.Duration(rng.IntN(40)) * time.Minute)
					}
					w.begin(dests...)
				}
			}
			calm.Store(true)
			w.pass(time.Hour)
			w.stop()
			for c, s := range sinks {
				want, got := told.wanted(c), s.seqs[string(id(0))]
				sent, repeats = sent+len(got), repeats+s.repeats()
				for _, seq := range want {
					if !slices.Contains(got, seq) {
						lost++
					}
				}
				if keyed && !slices.Equal(got, want) {
					t.Errorf("seed %d, %s: %v arrived, want %v", seed, c, got, want)
				}
				newest := make(map[string]uint64)
				for _, x := range told {
					if !x.late {
						newest[x.alert] = x.seq
					}
				}
				for _, seq := range newest {
					if c != revision.Created && !told[seq-1].touch && !slices.Contains(got, seq) {
						silent++
					}
				}
				counts := w.tallied(drover.SinkID(c))
				over += counts["passed_over"]
				if counts["taken"]+counts["passed_over"] != len(told) || counts["taken"] != len(want) || w.owed(drover.SinkID(c)) != 0 {
					t.Errorf("seed %d, %s: counted %v of %d, want %d taken; %d owed", seed, c, counts, len(told), len(want), w.owed(drover.SinkID(c)))
				}
			}
			w.sound()
		})
	}
	if lost+silent+repeats != 0 {
		t.Errorf("lost %d, last states not told %d, repeats %d", lost, silent, repeats)
	}
	proof.Ran(t, "sink.revisions", "%d sent and %d passed over at sinks of four choices, %d stops: lost %d, an alert's last state not told %d, repeats %d; taken and passed over add up", sent, over, stops, lost, silent, repeats)
	proof.Ran(t, "P12", "touches are marked, and kept from a sink that wants none: of %d records lost %d", sent, lost)
}

func TestABatchUnderWayIsSentWhateverTheSinkIsGivenByNow(t *testing.T) {
	story(t, 1, func(w *world) {
		var told states
		s := newSIEM()
		down := true
		s.fail = func(b drover.Batch) (drover.Taken, error) {
			if down {
				s.take(&b.Records[0])
				return drover.Taken{}, passing()
			}
			return drover.Taken{N: len(b.Records)}, nil
		}
		w.change(0, &told, "a", "b")
		w.change(0, &told, "a", "b")
		w.change(0, &told, "~a", "~b")
		w.begin(deliver.Destination{ID: "s", Sink: asking{s}, Revisions: revision.NoTouches, MaxRecords: 5})
		w.pass(5 * time.Second)
		w.stop()
		if open, err := w.store.Attempts(context.Background(), "s"); err != nil || len(open) != 1 || len(open[0].Ranges) != 1 || open[0].Ranges[0].Last != 4 {
			t.Fatalf("open attempts: %+v, %v", open, err)
		}
		down = false
		w.change(0, &told, "c", "a")
		w.begin(deliver.Destination{ID: "s", Sink: asking{s}, Revisions: revision.Created, MaxRecords: 5})
		w.pass(5 * time.Minute)
		if got := s.seqs[string(id(0))]; !slices.Equal(got, []uint64{1, 2, 3, 4, 7}) || s.repeats() != 0 || w.owed("s") != 0 {
			t.Errorf("%v arrived, %d repeats, %d owed", got, s.repeats(), w.owed("s"))
		}
		if got := w.tallied("s"); !maps.Equal(got, map[string]int{"taken": 5, "passed_over": 3}) {
			t.Errorf("counted %v", got)
		}
		w.stop()
		w.sound()
	})
}
