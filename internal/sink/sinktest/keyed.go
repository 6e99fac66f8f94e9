package sinktest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"drover"
)

// Keyed is the kill suite, for sinks that say what they have (drover.Asker):
// the process dies before every single change that the sink makes, and the
// power is cut there. Afterwards each record is there once, whole and in
// order.
type Keyed struct {
	// New makes an empty destination. step is called before each change of it
	// and may panic: the process is dead then.
	New func(t testing.TB, step func()) World
	// Cuts is how many states of a power cut are tried at each step; 0: 6.
	Cuts int
	Ran
}

// World is a destination that outlives the processes that write to it.
type World interface {
	// Open builds the sink as a new process would. The one before was killed.
	Open() (drover.Sink, error)
	// Records lists the event IDs of the whole records that a reader finds in
	// the lane, in order; an error says what a reader must not find.
	Records(lane string) ([]string, error)
	// Cut returns the destination as it could be found after a power cut now.
	// Its changes call step from then on.
	Cut(rng *rand.Rand, step func()) World
}

// killed is what step panics with.
type killed struct{}

// steps counts changes and ends the process at one of them.
type steps struct {
	n, at int // dies before the at-th, from 0; below 0: never
}

func (s *steps) step() {
	if s.n == s.at {
		s.n++
		panic(killed{})
	}
	s.n++
}

// caller is what drover's deliverer does with a lane and its ledger, which
// loses nothing: what it holds survives kills and cuts.
type caller struct {
	recs  []drover.Record
	batch int
	step  func()

	place int
	mark  []byte
	open  int // end of the batch that is claimed; 0: none
}

// run delivers what is left, as a new process.
func (c *caller) run(w World) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(killed); !ok {
				panic(p)
			}
			err = errKilled
		}
	}()
	s, err := w.Open()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	asker, ok := s.(drover.Asker)
	if !ok {
		return errors.New("the sink cannot be asked")
	}
	lane := s.Lane(Tenants[0])
	if c.open > 0 {
		if err := c.settle(asker.Taken(bg, Batch(lane, c.recs[c.place:c.open], c.mark))); err != nil {
			return fmt.Errorf("ask: %w", err)
		}
		// Safe to call twice.
		if c.open > 0 {
			if err := c.settle(asker.Taken(bg, Batch(lane, c.recs[c.place:c.open], c.mark))); err != nil {
				return fmt.Errorf("ask again: %w", err)
			}
		}
	}
	for c.place < len(c.recs) {
		if c.open == 0 {
			c.open = min(c.place+c.batch, len(c.recs))
		}
		if err := c.settle(s.Deliver(bg, Batch(lane, c.recs[c.place:c.open], c.mark))); err != nil {
			return fmt.Errorf("deliver: %w", err)
		}
	}
	return nil
}

var (
	errKilled = errors.New("killed")
	bg        = context.Background() // a process that is killed is not asked to stop
)

// settle stores what the sink said. Dying before or after is a step too.
func (c *caller) settle(taken drover.Taken, err error) error {
	c.step()
	if verr := taken.Validate(c.open - c.place); verr != nil {
		return verr
	}
	if len(taken.Also) > 0 {
		return fmt.Errorf("%v are there beyond a gap, though they were written in order", taken.Also)
	}
	c.place += taken.N
	if taken.Mark != nil {
		c.mark = taken.Mark
	}
	if c.place == c.open {
		c.open = 0
	}
	c.step()
	return err
}

// verify reads the destination from outside.
func (c *caller) verify(w World) error {
	got, err := w.Records(Lane(w))
	if err != nil {
		return err
	}
	want := IDs(c.recs)
	if slices.Equal(got, want) {
		return nil
	}
	count := make(map[string]int)
	for _, id := range got {
		count[id]++
	}
	lost, repeated := 0, 0
	for _, id := range want {
		if count[id] == 0 {
			lost++
		}
		repeated += max(count[id]-1, 0)
	}
	return fmt.Errorf("%d records, want %d: %d lost, %d repeated", len(got), len(want), lost, repeated)
}

// Lane returns the lane of the first tenant at a world.
func Lane(w World) string {
	s, err := w.Open()
	if err != nil {
		panic(err)
	}
	return s.Lane(Tenants[0])
}

func (k *Keyed) run(t *testing.T) {
	recs := Records(Tenants[0], 1, 23)
	for _, batch := range []int{1, 5} {
		t.Run(fmt.Sprintf("killed and cut off at every step, batches of %d", batch), func(t *testing.T) { k.kill(t, recs, batch) })
	}
	t.Run("killed again and again", k.again)
}

// kill dies at each step once; goes on as it is and after power cuts.
func (k *Keyed) kill(t *testing.T, recs []drover.Record, batch int) {
	cuts := k.Cuts
	if cuts == 0 {
		cuts = 6
	}
	whole := &steps{at: -1}
	w := k.New(t, whole.step)
	c := &caller{recs: recs, batch: batch, step: whole.step}
	if err := c.run(w); err != nil {
		t.Fatal(err)
	}
	if err := c.verify(w); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, uint64(batch)))
	kills, images := 0, 0
	for at := range whole.n {
		s := &steps{at: at}
		w := k.New(t, s.step)
		c := &caller{recs: recs, batch: batch, step: s.step}
		if err := c.run(w); !errors.Is(err, errKilled) {
			t.Fatalf("step %d of %d: not killed: %v", at, whole.n, err)
		}
		for i := range cuts {
			after := *c
			quiet := &steps{at: -1}
			after.step = quiet.step
			image := w.Cut(rng, quiet.step)
			if err := finish(&after, image); err != nil {
				t.Fatalf("power cut %d before step %d of %d: %v", i, at, whole.n, err)
			}
			images++
			// And again, while it is recovering.
			after = *c
			second := &steps{at: rng.IntN(max(quiet.n/2, 1))}
			after.step = second.step
			image = w.Cut(rng, second.step)
			if err := after.run(image); err != nil && !errors.Is(err, errKilled) {
				t.Fatalf("second kill after a power cut before step %d of %d: %v", at, whole.n, err)
			}
			after.step = func() {}
			if err := finish(&after, image.Cut(rng, func() {})); err != nil {
				t.Fatalf("second power cut, after one before step %d of %d: %v", at, whole.n, err)
			}
			images++
		}
		if err := finish(c, w); err != nil {
			t.Fatalf("killed before step %d of %d: %v", at, whole.n, err)
		}
		kills++
	}
	k.ran(t, "D24", "%d kills and %d power cuts, at each of %d steps, batches of %d: lost 0, repeated 0, torn 0", kills, images, whole.n, batch)
}

// finish goes on where a process died and judges the end.
func finish(c *caller, w World) error {
	if err := c.run(w); err != nil {
		return err
	}
	return c.verify(w)
}

// again kills at random steps until all is delivered.
func (k *Keyed) again(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	kills := 0
	for range 40 {
		s := &steps{at: rng.IntN(12)}
		w := k.New(t, s.step)
		c := &caller{recs: Records(Tenants[0], 1, 60), batch: 1 + rng.IntN(9), step: s.step}
		for {
			err := c.run(w)
			if err == nil {
				break
			}
			if !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			kills++
			s.at = s.n + 3 + rng.IntN(14) // a few steps each time, so that it ends
			if rng.IntN(2) == 0 {
				w = w.Cut(rng, s.step)
			}
		}
		if err := c.verify(w); err != nil {
			t.Fatal(err)
		}
	}
	k.ran(t, "D18", "%d kills over 40 runs: lost 0, repeated 0, torn 0", kills)
}
